"""The config of an image: read, and edited in place so that every other byte stays."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from squasher.digest import Digest
from squasher.errors import DocumentError
from squasher.image import documents
from squasher.image.platforms import Platform

#: Describes the layers as built, for BuildKit's cache; untrue once they are merged.
BUILDKIT_CACHE = "moby.buildkit.cache.v0"


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """A row of the history; `text` is its JSON as it stands in the config."""

    text: str
    empty_layer: bool
    created_by: str
    created: str
    comment: str


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """An image config. `raw` is the document byte for byte; the rest is read from it.

    diff_ids  lowest first
    history   lowest first; None if the config has none
    created   as it is written; None if the config has none
    """

    raw: bytes
    diff_ids: tuple[Digest, ...]
    history: tuple[HistoryEntry, ...] | None
    created: str | None
    architecture: str
    os: str
    variant: str

    @property
    def platform(self) -> Platform:
        """The platform in the config; that of an index counts more, see `Image.platform`."""
        return Platform(self.os, self.architecture, self.variant)

    @property
    def image_id(self) -> Digest:
        """The digest of the bytes, which docker's classic store and podman call the image ID."""
        return Digest.of(self.raw)


def kept_weight(config: ImageConfig) -> int:
    """Return how many bytes of memory a config takes once it has been read."""
    return 4 * len(config.raw) + 600 * len(config.history or ()) + 200 * len(config.diff_ids)


def parse_config(data: bytes, where: str = "config") -> ImageConfig:
    """Read an image config. O(its length). Raises DocumentError."""
    document = documents.load_config(data, where)
    text = documents.decoded(data)
    spans = _members(text, where)
    rootfs = documents.as_object(documents.field(document, "rootfs", where), f"{where}.rootfs")
    diff_ids = documents.field(rootfs, "diff_ids", f"{where}.rootfs")
    rows = documents.field(document, "history", where)
    history = None
    if rows is not None:
        bounds = _elements(text, _span(spans, "history").start)
        texts = (text[start:stop] for start, stop in bounds)
        history = documents.elements(
            rows, f"{where}.history", lambda row, place: _history_entry(row, next(texts), place)
        )
    created = documents.field(document, "created", where)
    return ImageConfig(
        data,
        documents.elements(diff_ids, f"{where}.rootfs.diff_ids", documents.as_digest),
        history,
        None if created is None else documents.as_text(created, f"{where}.created"),
        *(
            documents.text_or_none(document, key, where)
            for key in ("architecture", "os", "variant")
        ),
    )


def _history_entry(value: Any, text: str, where: str) -> HistoryEntry:
    row = documents.as_object(value, where)
    empty = documents.field(row, "empty_layer", where)
    if empty is not None and not isinstance(empty, bool):
        raise DocumentError("true or false is expected", where=f"{where}.empty_layer")
    created = documents.text_or_none(row, "created", where)
    made_by, comment = (_shown(row, key, where) for key in ("created_by", "comment"))
    return HistoryEntry(text, bool(empty), made_by, created, comment)


def _shown(row: dict[str, Any], key: str, where: str) -> str:
    """Return a text of a row for people; what UTF-8 cannot hold is replaced, as Go does."""
    value = documents.field(row, key, where)
    if isinstance(value, str):
        value = documents.SURROGATE.sub("\ufffd", value)
    return "" if value is None else documents.as_text(value, f"{where}.{key}")


def emptied(row: HistoryEntry) -> HistoryEntry:
    """Return the row of a layer that is no more: `empty_layer` true, the rest untouched."""
    if row.empty_layer:
        return row
    spans = _members(row.text, "history")
    own = next((span for span in spans if documents.fold(span.key) == "empty_layer"), None)
    if own is not None:
        text = row.text[: own.start] + "true" + row.text[own.stop :]
    else:
        comma = "," if spans else ""
        text = row.text[: row.text.rindex("}")] + comma + '"empty_layer":true}'
    return replace(row, text=text, empty_layer=True)


def history_entry(created: str | None, comment: str) -> HistoryEntry:
    """Return the row for a squashed layer, as `docker build --squash` leaves it."""
    document: dict[str, str] = {} if created is None else {"created": created}
    document |= {"created_by": "", "comment": comment}
    return HistoryEntry(documents.dump(document), False, "", created or "", comment)


def edit_config(
    config: ImageConfig,
    diff_ids: Sequence[Digest],
    history: Sequence[HistoryEntry] | None,
    created: str | None,
) -> ImageConfig:
    """Return `config` with these layers, history and time; I1: every other byte stays.

    `created` None leaves the time as it is; `history` None leaves it absent. BuildKit's cache
    record is removed: it describes layers that no longer exist.
    """
    text = documents.decoded(config.raw)
    spans = _members(text, "config")
    rootfs = _span(spans, "rootfs")
    inner = text[rootfs.start : rootfs.stop]
    ids = json.dumps([str(value) for value in diff_ids], separators=(",", ":"))
    changes = [(rootfs.start, rootfs.stop, _with_member(inner, "diff_ids", ids))]
    if history is not None:
        rows = _span(spans, "history")
        changes.append((rows.start, rows.stop, "[" + ",".join(row.text for row in history) + "]"))
    for i, span in enumerate(spans):
        if span.key == BUILDKIT_CACHE:
            # A member goes together with one comma: its own, or the one before the last.
            begin = span.begin if i + 1 < len(spans) else spans[i - 1].stop
            end = spans[i + 1].begin if i + 1 < len(spans) else span.stop
            changes.append((begin, end, ""))
    for start, stop, new in sorted(changes, reverse=True):
        text = text[:start] + new + text[stop:]
    if created is not None:
        text = _with_member(text, "created", json.dumps(created))
    return parse_config(documents.encoded(text))


@dataclass(frozen=True, slots=True)
class _Span:
    """A member of an object in a text: where it begins, and where its value lies."""

    key: str
    begin: int
    start: int
    stop: int


def _members(text: str, where: str) -> list[_Span]:
    """Return the members of the object that `text`, valid JSON, consists of."""
    spans: list[_Span] = []
    at = _skip(text, _skip(text, 0) + 1)
    while text[at] != "}":
        begin = at
        key, at = documents.DECODER.raw_decode(text, at)
        start = _skip(text, _skip(text, at) + 1)
        _, stop = documents.DECODER.raw_decode(text, start)
        spans.append(_Span(key, begin, start, stop))
        at = _skip(text, stop)
        if text[at] == ",":
            at = _skip(text, at + 1)
    seen: set[str] = set()
    for span in spans:
        if documents.fold(span.key) in seen:  # readers differ on which one counts
            raise DocumentError("the key occurs twice", where=documents.place_of(where, span.key))
        seen.add(documents.fold(span.key))
    return spans


def _elements(text: str, at: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of the elements of the list that begins at `at`."""
    at = _skip(text, at + 1)
    while text[at] != "]":
        _, stop = documents.DECODER.raw_decode(text, at)
        yield at, stop
        at = _skip(text, stop)
        if text[at] == ",":
            at = _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    match = documents.SPACE.match(text, at)
    assert match is not None  # noqa: S101
    return match.end()


def _span(spans: Sequence[_Span], name: str) -> _Span:
    return next(span for span in spans if documents.fold(span.key) == name)


def _with_member(text: str, name: str, value: str) -> str:
    """Return the object `text` with the member `name` set to the JSON `value`."""
    spans = _members(text, name)
    for span in spans:
        if documents.fold(span.key) == name:
            return text[: span.start] + value + text[span.stop :]
    at = _skip(text, 0) + 1
    return text[:at] + f'"{name}":{value}' + ("," if spans else "") + text[at:]
