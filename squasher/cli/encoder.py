"""One encoder for the documents that `--json` and `--report` write."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import Any

from squasher._version import __version__
from squasher.digest import Digest
from squasher.image.platforms import Platform

#: Of every document: it counts up when a key changes its meaning or goes. New keys may come.
_SCHEMA = 1


def document(**keys: object) -> dict[str, Any]:
    """Return a document with these keys, behind its schema and the version of the package."""
    return {"schema": _SCHEMA, "version": __version__, **plain(keys)}


def text(found: dict[str, Any]) -> str:
    """Return a document as it is written."""
    return json.dumps(found, indent=2)


def renamed(value: Any, **names: str) -> dict[str, Any]:
    """Return the object of a dataclass's fields, of which those in `names` are called so."""
    return {names.get(key, key): each for key, each in plain(value).items()}


def plain(value: Any) -> Any:
    """Return `value` as JSON has it: a dataclass is an object of its fields, bytes are text.

    Bytes that are not UTF-8 are escaped. O(its size).
    """
    if isinstance(value, Digest | Platform):
        return str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if is_dataclass(value):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    return value
