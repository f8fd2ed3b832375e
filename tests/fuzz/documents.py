"""Fuzz the JSON documents: any bytes are one, or an error of ours; an edited config keeps the rest.

What "the rest" is comes from a tokenizer of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from squasher.digest import Digest
from squasher.errors import DocumentError, SquasherError, UnsupportedImageError
from squasher.image import configs, documents, manifests, platforms, references
from squasher.image.model import rows
from tests.fuzz.walk import require_ours
from tests.fuzz.wire import Dice

IDS = tuple(Digest.of(bytes((n,))) for n in range(3))
TIMES = (None, "2024-01-02T03:04:05Z", '"\\\n\x00\u20ac')
OWN = frozenset(("rootfs", "history", "created"))
PLATFORMS = ("linux/amd64", "linux/arm64/v8", "", "/", "linux")


def one(data: bytes) -> None:
    """Read one input: four bytes of choices, then a document."""
    dice = Dice(data)
    what = dice(("config", "manifest.json", "index", "manifest", "name"))
    count, time, mode = dice((0, 1, 2, 3)), dice(TIMES), dice(("keep", "absent", "drop"))
    text = dice.rest()
    try:
        match what:
            case "config":
                edited(text, count, time, mode)
            case "manifest.json":
                for item in manifests.parse_manifest_json(text):
                    for tag in item.tags:
                        named(tag)
            case "index":
                index = manifests.parse_document(text, "index.json")
                for descriptor in manifests.parse_index(index, "index.json"):
                    documents.dump(descriptor.document).encode()
            case "manifest":
                manifest = manifests.parse_document(text, "manifest")
                documents.dump(manifests.parse_manifest(manifest, "manifest").document).encode()
            case _:
                named(text.decode("utf-8", "replace"))
    except (DocumentError, UnsupportedImageError) as error:
        require_ours(error, *((3, 5) if error.where else ()))


def named(tag: str) -> None:
    """Require of a name what docker does with it: completing and shortening say the same name."""
    whole = references.normalise_tag(tag)
    if whole is None:
        return
    assert references.normalise_tag(whole) == whole
    full = references.full_name(whole)
    assert references.full_name(full) == full
    assert references.same_name(references.short_name(full), tag)


def edited(text: bytes, count: int, time: str | None, mode: str) -> None:
    """Edit a config as squashing does; require that it reads as asked and keeps all else."""
    config = configs.parse_config(text)
    for platform in PLATFORMS:
        platforms.same(platform, config.platform)
    str(config.platform)
    try:
        rows(config)
    except SquasherError as error:
        require_ours(error, 3)
    history = None
    if mode != "absent" and config.history is not None:
        kept = config.history[: count if mode == "drop" else None]
        history = (*map(configs.emptied, kept), configs.history_entry(time or config.created, "m"))
    new = configs.edit_config(config, IDS[:count], history, time)
    assert new.diff_ids == IDS[:count]
    assert new.created == (config.created if time is None else time)
    expected = config.history if history is None else history
    assert new.history == expected
    before, after = dict(outside(text)), dict(outside(new.raw))
    before.pop("moby.buildkit.cache.v0", None)  # describes layers that are no more
    if time is not None and not any(key.lower() == "created" for key in before):
        after.pop("created")
    assert list(before) == list(after), "other keys, or in another order"
    for key, value in before.items():
        if key.lower() not in OWN:
            assert after[key] == value, "a member differs"
    assert rest_of(before, "rootfs", "diff_ids") == rest_of(after, "rootfs", "diff_ids")
    if config.history is not None and history is not None:
        for old, row in zip(config.history, history[:-1], strict=False):
            assert rest_of(
                {"r": old.text.encode("utf-8", "surrogateescape")}, "r", "empty_layer"
            ) == rest_of({"r": row.text.encode("utf-8", "surrogateescape")}, "r", "empty_layer")
            assert row.empty_layer
            assert row.created_by == old.created_by


_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+', re.DOTALL)


def outside(text: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the members of a JSON object, their values byte for byte."""
    depth = 0
    key: bytes | None = None
    begin = 0
    for found in _TOKEN.finditer(text):
        token = found[0]
        if depth == 1 and token in b",}":
            if key is not None:
                yield (
                    json.loads(key.decode("utf-8", "surrogateescape")),
                    text[begin : found.start()].strip(b" \t\r\n"),
                )
            key = None
        elif depth == 1 and key is None:
            key = token
        elif depth == 1 and token == b":":
            begin = found.end()
        depth += (token in b"{[") - (token in b"}]")


def rest_of(members: dict[str, bytes], name: str, but: str) -> dict[str, bytes]:
    """Return the members of the object `name` without the one that changes."""
    whole = next(value for key, value in members.items() if key.lower() == name)
    return {key: value for key, value in outside(whole) if key.lower() != but}
