"""What `squash diff` has found, and the document of it."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from squasher.cli import encoder
from squasher.tar.paths import escape

if TYPE_CHECKING:
    from squasher.image.model import Image
    from squasher.verify.comparison import ConfigDifference, Difference, Facts


@dataclass(frozen=True, slots=True)
class Side:
    """One of two images, and what it was called."""

    name: str
    image: Image


@dataclass(frozen=True, slots=True)
class Result:
    """Where two images differ, apart from what was ignored.

    latest   nanoseconds since 1970: later times counted as this one; None without --clamp-mtime
    """

    before: Side
    after: Side
    files: tuple[Difference, ...]
    config: tuple[ConfigDifference, ...]
    ignored: tuple[str, ...]
    latest: int | None = None

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not self.files and not self.config


def counts(files: Sequence[Difference]) -> dict[str, int]:
    """Return how many paths are added, removed, and changed; of these, in time alone."""
    counted = Counter(change_of(each) for each in files)
    numbers = {kind: counted[kind] for kind in ("added", "removed", "changed")}
    return numbers | {"time_alone": sum(each.time_alone for each in files)}


def change_of(difference: Difference) -> str:
    """Return "added", "removed" or "changed"."""
    found = difference.what[0]
    return found if found in ("added", "removed") else "changed"


def key_of(difference: ConfigDifference) -> str:
    """Return a key of the config with the keys that lead to it, as config.Labels.name."""
    return ".".join(difference.key)


def path_text(path: bytes, root: str = "/") -> str:
    """Return a path as text that no terminal obeys, and that stands for one path only."""
    return root + "".join(
        char if char.isprintable() and char != "\\" else escape(char)
        for char in path.decode("utf-8", "surrogateescape")
    )


def to_json(result: Result) -> dict[str, Any]:
    """Return the result as the document that docs/schema/diff-1.json describes."""
    return encoder.document(
        same=result.same,
        ignored=result.ignored,
        clamped=None if result.latest is None else {"latest": result.latest},
        before=_side(result.before),
        after=_side(result.after),
        counts=counts(result.files),
        paths=[_path(each) for each in result.files],
        config=result.config,
    )


def _side(side: Side) -> dict[str, object]:
    image = side.image
    return {
        "name": side.name,
        "tags": image.tags,
        "platform": image.platform,
        "image_id": image.config.image_id,
        "layers": len(image.layers),
        "size": image.stored_size,
    }


def _path(each: Difference) -> dict[str, object]:
    return {
        **_bytes("path", each.path),
        "change": change_of(each),
        "what": each.what if change_of(each) == "changed" else (),
        "time_alone": each.time_alone,
        "before": _facts(each.before),
        "after": _facts(each.after),
    }


def _bytes(name: str, value: bytes) -> dict[str, str]:
    """Return bytes as text; what is not UTF-8 also exactly, in base64."""
    document = {name: value.decode("utf-8", "backslashreplace")}
    if document[name].encode("utf-8") != value:
        document[f"{name}_base64"] = base64.b64encode(value).decode("ascii")
    return document


def _facts(facts: Facts | None) -> dict[str, Any] | None:
    if facts is None:
        return None
    mode, uid, gid = facts.owner
    document: dict[str, Any] = {
        "type": facts.kind,
        "mode": f"{mode:04o}",
        "uid": uid,
        "gid": gid,
        "mtime": facts.mtime,
        "xattrs": {
            path_text(name, root=""): base64.b64encode(value).decode("ascii")
            for name, value in facts.xattrs
        },
    }
    if facts.kind == "file":
        document["size"] = facts.size
    if facts.kind == "symlink":
        document |= _bytes("target", facts.target)
    if facts.device is not None:
        document["device"] = facts.device
    if facts.links:  # and no list of all: each of them would repeat it
        document["links"] = {"count": len(facts.links), **_bytes("first", facts.links[0])}
    return document
