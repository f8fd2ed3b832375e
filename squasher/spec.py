"""The JSON documents of an image: read strictly, edited in place, written anew.

Documents come from strangers: every reader here says which place is wrong
(`manifest.json[0].Layers[2]`). A config is edited as text, member by member, so that all it says
besides (unknown keys, order, numbers of any size or spelling) stays byte for byte.

Source: OCI image-spec, config.md, manifest.md, image-index.md, image-layout.md, annotations.md;
docker image specification v1.2 ("manifest.json"); keys are matched as Go does, exactly or else in
any case.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from squasher.digest import Digest
from squasher.errors import DocumentError, SquasherError
from squasher.paths import show
from squasher.platforms import Platform

#: A real one has kilobytes; podman, skopeo and CRI-O read no longer config than 4 MiB
#: (containers/image, internal/iolimits), docker was seen to load one of 9 MiB.
DOCUMENT_MAX = 16 << 20
#: Lists and objects inside each other; real documents have five levels. Far below what Python's own
#: recursion allows, so that what has been read can also be written.
DEPTH_MAX = 100
#: The same in a config, of which little is written anew: docker takes 10,000.
CONFIG_DEPTH_MAX = 400
#: What engines read of a config. Source: image-spec, config.md; docker, image.Image.
_CONFIG = frozenset(
    (
        *("architecture", "author", "comment", "config", "container", "container_config"),
        *("created", "docker_version", "history", "id", "os", "os.features", "os.version"),
        *("parent", "rootfs", "size", "variant"),
    )
)

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"

IMAGE_NAME = "io.containerd.image.name"
REF_NAME = "org.opencontainers.image.ref.name"
#: Describes the layers as built, for BuildKit's cache; untrue once they are merged.
BUILDKIT_CACHE = "moby.buildkit.cache.v0"

#: Bytes of memory that a character stands for where it is no part of a text: a list, an object, a
#: name with its place, a value with its place. Measured with CPython 3.10 to 3.14.
_WEIGHTS = {b"[": 96, b"{": 250, b":": 200, b",": 64}

_DECODER = json.JSONDecoder()
_SURROGATE = re.compile("[\ud800-\udfff]")
_SPACE = re.compile(r"[ \t\r\n]*")


# ---------------------------------------------------------------- reading


def load(data: bytes, where: str) -> Any:
    """Return the JSON value in `data`. Raises DocumentError for anything else than one."""
    if len(data) > DOCUMENT_MAX:
        raise DocumentError(f"a document of {len(data)} bytes", where=where)
    try:
        value = json.loads(
            data.decode("utf-8"),
            parse_constant=_no_constant,
            parse_float=_finite,
            object_pairs_hook=_once,
        )
    except ValueError as error:
        raise DocumentError(f"no valid JSON: {error}", where=where) from None
    except RecursionError:
        raise _too_deep(where, DEPTH_MAX) from None
    _check_depth(value, DEPTH_MAX, where)
    return value


def load_config(data: bytes, where: str) -> dict[str, Any]:
    """Return the object in `data`, of which all that we do not know may be odd: it stays as text.

    That is bytes that are no UTF-8, numbers beyond all (both become text), keys that come twice
    under a key that no engine knows (the last one counts), and more levels. Raises DocumentError.
    """
    if len(data) > DOCUMENT_MAX:
        raise DocumentError(f"a document of {len(data)} bytes", where=where)
    try:
        value = json.loads(
            _decoded(data),
            parse_constant=_no_constant,
            parse_float=_number,
            object_pairs_hook=_perhaps_twice,
        )
    except ValueError as error:
        raise DocumentError(f"no valid JSON: {error}", where=where) from None
    except RecursionError:
        raise _too_deep(where, CONFIG_DEPTH_MAX) from None
    document = as_object(value, where)
    _check_depth(document, CONFIG_DEPTH_MAX, where)
    level: list[Any] = [document]
    while level:
        for found in level:
            if isinstance(found, _Ambiguous):
                raise DocumentError(f"no valid JSON: {found.told}", where=where)
        level = [
            inner
            for outer in level
            for inner in _inside(_known(outer) if outer is document else outer)
        ]
    return document


def _known(document: dict[str, Any]) -> dict[str, Any]:
    """Return the members of a config that engines read."""
    return {key: value for key, value in document.items() if fold(key) in _CONFIG}


def _decoded(data: bytes) -> str:
    """Return the text of a config; `_encoded` gives the same bytes again, UTF-8 or not."""
    return data.decode("utf-8", "surrogateescape")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _check_depth(value: Any, most: int, where: str) -> None:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(most):
        level = [inner for outer in level for inner in _inside(outer)]
    if level:
        raise _too_deep(where, most)


def weight(data: bytes) -> int:
    """Return how many bytes of memory reading a document takes at most. O(its length).

    What is in its texts counts as well: nobody has read them yet. One rare character makes each of
    a text four bytes long.
    """
    length = len(data) * (2 if data.isascii() and b"\\u" not in data else 9)
    return length + sum(data.count(key) * cost for key, cost in _WEIGHTS.items())


def _inside(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    """Return the lists and objects that are directly in `value`."""
    inner = value.values() if isinstance(value, dict) else value
    return (x for x in inner if isinstance(x, dict | list))


def _too_deep(where: str, most: int) -> DocumentError:
    return DocumentError(f"nested more than {most} times", where=where)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _number(text: str) -> float | str:
    """Return a number, as text if it is beyond all that a float can be."""
    value = float(text)
    return text if value in (float("inf"), -float("inf")) else value


def _finite(text: str) -> float:
    value = _number(text)
    if isinstance(value, str):
        raise ValueError(f"{text[:40]} is no number that can be kept")
    return value


class _Ambiguous(dict[str, Any]):
    """An object with a key that comes twice: readers take either, or both."""

    told = ""


def _perhaps_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    counts = Counter(key for key, _ in pairs)
    twice = next(key for key, count in counts.items() if count > 1)
    found = _Ambiguous(value)
    found.told = f"the key {show(twice.encode('utf-8', 'surrogatepass'))} occurs twice"
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = _perhaps_twice(pairs)
    if isinstance(value, _Ambiguous):
        raise ValueError(value.told)
    return value


def fold(key: str) -> str:
    """Return what Go compares of the name of a member: case counts for nothing.

    Source: Go encoding/json, fold.go: the long s and the Kelvin sign are letters, too.
    """
    return key.replace("\u017f", "s").lower()


def field(value: dict[str, Any], name: str, where: str = "") -> Any:
    """Return the member `name` as Go finds it, in any case; None if absent.

    Raises DocumentError if there are several: readers differ on which one counts.
    """
    folded = name.lower()
    keys = [key for key in value if fold(key) == folded]
    if len(keys) > 1:
        raise DocumentError("the key occurs twice", where=f"{where}.{name}")
    return value[keys[0]] if keys else None


def _spelt(value: Any, names: Sequence[str], where: str) -> dict[str, Any]:
    """Return the object `value` with `names` spelt so, as Go would find them; null is absent.

    From here on a member is found by its name, and written once.
    """
    known = {name.lower(): name for name in names}
    result: dict[str, Any] = {}
    seen: set[str] = set()
    for key, member in as_object(value, where).items():
        name = known.get(fold(key), key)
        if name in seen:
            raise DocumentError("the key occurs twice", where=_within(where, name))
        seen.add(name)
        if member is not None or name not in names:
            result[name] = member
    return result


def as_object(value: Any, where: str) -> dict[str, Any]:
    """Return `value` if it is an object."""
    if not isinstance(value, dict):
        raise DocumentError("an object is expected", where=where)
    return value


def as_list(value: Any, where: str) -> list[Any]:
    """Return `value` if it is a list; null and absent are an empty one, as Go has it."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise DocumentError("a list is expected", where=where)
    return value


def as_text(value: Any, where: str) -> str:
    """Return `value` if it is a string without characters that UTF-8 cannot hold."""
    if not isinstance(value, str):
        raise DocumentError("a string is expected", where=where)
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise DocumentError("a string with a lone surrogate", where=where) from None
    return value


def _within(where: str, key: str) -> str:
    """Return the place of a member whose name comes from the document, fit for a message."""
    return f"{where}.{show(key.encode('utf-8', 'surrogatepass'))[1:-1]}"


def _text_or_none(document: dict[str, Any], key: str, where: str) -> str:
    """Return the string `key` of an object, "" if it is null or absent."""
    value = field(document, key, where)
    return "" if value is None else as_text(value, f"{where}.{key}")


def as_size(value: Any, where: str) -> int:
    """Return `value` if it is a whole number that can be a size."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise DocumentError("a size is expected", where=where)
    return value


def as_digest(value: Any, where: str) -> Digest:
    """Return the digest that `value` spells."""
    text = as_text(value, where)
    try:
        return Digest.parse(text)
    except SquasherError as error:
        raise error.within(where) from None


@dataclass(frozen=True, slots=True)
class ManifestItem:
    """One image of a docker-archive: the names of its members, lowest layer first.

    `pinned` are those of its names that end in a digest.
    """

    config: str
    layers: tuple[str, ...]
    tags: tuple[str, ...]
    pinned: tuple[str, ...] = ()


def parse_manifest_json(data: bytes) -> tuple[ManifestItem, ...]:
    """Read `manifest.json`. Raises DocumentError."""
    where = "manifest.json"
    value = load(data, where)
    if isinstance(value, dict) and field(value, "schemaVersion", where) is not None:
        raise DocumentError(
            "is a registry's manifest, as the transport dir: has it",
            where=where,
            hint="`skopeo copy dir:FOLDER oci-archive:image.tar` first",
        )
    return tuple(
        _manifest_item(as_object(item, f"{where}[{i}]"), f"{where}[{i}]")
        for i, item in enumerate(as_list(value, where))
    )


def _manifest_item(item: dict[str, Any], where: str) -> ManifestItem:
    layers = as_list(field(item, "Layers", where), f"{where}.Layers")
    values = as_list(field(item, "RepoTags", where), f"{where}.RepoTags")
    tags = [_image_name(tag, f"{where}.RepoTags[{i}]") for i, tag in enumerate(values)]
    return ManifestItem(
        as_text(field(item, "Config", where), f"{where}.Config"),
        tuple(as_text(name, f"{where}.Layers[{i}]") for i, name in enumerate(layers)),
        tuple(tag for tag in tags if not is_pinned(tag)),
        tuple(tag for tag in tags if is_pinned(tag)),
    )


def _image_name(value: Any, where: str) -> str:
    """Return `value` if it names an image; docker, podman and skopeo refuse the archive else.

    `ctr images export` also writes names that end in a digest.
    """
    name = as_text(value, where)
    if normalise_tag(name) is None and not is_pinned(name):
        raise DocumentError(f"{show(name.encode())} is no image name", where=where)
    return name


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What points at a blob; `document` has all its keys, annotations included."""

    digest: Digest
    size: int
    media_type: str
    document: dict[str, Any]


_DESCRIPTOR = ("mediaType", "digest", "size", "urls", "annotations", "data", "platform")
_PLATFORM = ("os", "architecture", "variant")
_MANIFEST = ("schemaVersion", "mediaType", "config", "layers", "manifests", "subject")


def parse_descriptor(value: Any, where: str) -> Descriptor:
    """Read a descriptor. Raises DocumentError."""
    document = _spelt(value, _DESCRIPTOR, where)
    if "annotations" in document:
        annotations = as_object(document["annotations"], f"{where}.annotations")
        for name, text in annotations.items():
            as_text(text, _within(f"{where}.annotations", name))
    if "platform" in document:
        place = document["platform"] = _spelt(document["platform"], _PLATFORM, f"{where}.platform")
        for name in _PLATFORM:
            _text_or_none(place, name, f"{where}.platform")
    return Descriptor(
        as_digest(document.get("digest"), f"{where}.digest"),
        as_size(document.get("size"), f"{where}.size"),
        _text_or_none(document, "mediaType", where),
        document,
    )


def platform_of(pointer: dict[str, Any]) -> Platform | None:
    """Return the platform that a descriptor names; None if it does not say both halves of one."""
    place = pointer.get("platform") or {}
    if not place.get("os") or not place.get("architecture"):
        return None
    return Platform(place["os"], place["architecture"], place.get("variant", ""))


def parse_document(data: bytes, where: str) -> dict[str, Any]:
    """Read a manifest or an index, what it points at apart. Raises DocumentError."""
    document = _spelt(load(data, where), _MANIFEST, where)
    _text_or_none(document, "mediaType", where)
    return document


@dataclass(frozen=True, slots=True)
class Manifest:
    """An OCI manifest, or docker's schema 2, which has the same shape."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    document: dict[str, Any]


def parse_manifest(document: dict[str, Any], where: str) -> Manifest:
    """Return what a manifest, as `parse_document` gives it, points at. Raises DocumentError."""
    layers = as_list(document.get("layers"), f"{where}.layers")
    config = parse_descriptor(document.get("config"), f"{where}.config")
    return Manifest(
        config,
        tuple(parse_descriptor(layer, f"{where}.layers[{i}]") for i, layer in enumerate(layers)),
        document | {"config": config.document},
    )


def parse_index(document: dict[str, Any], where: str) -> tuple[Descriptor, ...]:
    """Return what an index, as `parse_document` gives it, points at. Raises DocumentError."""
    manifests = as_list(document.get("manifests"), f"{where}.manifests")
    return tuple(
        parse_descriptor(value, f"{where}.manifests[{i}]") for i, value in enumerate(manifests)
    )


# ---------------------------------------------------------------- the config


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

    history   lowest first; None where the config has none
    created   as written; None where absent
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
        """What it says that it runs on; an index can know better."""
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
    document = load_config(data, where)
    text = _decoded(data)
    spans = _members(text, where)
    rootfs = as_object(field(document, "rootfs", where), f"{where}.rootfs")
    diff_ids = as_list(field(rootfs, "diff_ids", f"{where}.rootfs"), f"{where}.rootfs.diff_ids")
    rows = field(document, "history", where)
    history = None
    if rows is not None:
        at = _span(spans, "history").start
        texts = (
            [text[a:b] for a, b in _elements(text, at)] if as_list(rows, f"{where}.history") else []
        )
        history = tuple(
            _history_entry(
                as_object(row, f"{where}.history[{i}]"), texts[i], f"{where}.history[{i}]"
            )
            for i, row in enumerate(rows)
        )
    created = field(document, "created", where)
    return ImageConfig(
        data,
        tuple(
            as_digest(value, f"{where}.rootfs.diff_ids[{i}]") for i, value in enumerate(diff_ids)
        ),
        history,
        None if created is None else as_text(created, f"{where}.created"),
        *(_text_or_none(document, key, where) for key in ("architecture", "os", "variant")),
    )


def _history_entry(row: dict[str, Any], text: str, where: str) -> HistoryEntry:
    empty = field(row, "empty_layer", where)
    if empty is not None and not isinstance(empty, bool):
        raise DocumentError("true or false is expected", where=f"{where}.empty_layer")
    created = _text_or_none(row, "created", where)
    made_by, comment = (_shown(row, key, where) for key in ("created_by", "comment"))
    return HistoryEntry(text, bool(empty), made_by, created, comment)


def _shown(row: dict[str, Any], key: str, where: str) -> str:
    """Return a text of a row for people; what UTF-8 cannot hold is replaced, as Go does."""
    value = field(row, key, where)
    if isinstance(value, str):
        value = _SURROGATE.sub("\ufffd", value)
    return "" if value is None else as_text(value, f"{where}.{key}")


def emptied(row: HistoryEntry) -> HistoryEntry:
    """Return the row of a layer that is no more: `empty_layer` true, the rest untouched."""
    if row.empty_layer:
        return row
    spans = _members(row.text, "history")
    own = next((span for span in spans if fold(span.key) == "empty_layer"), None)
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
    return HistoryEntry(dump(document), False, "", created or "", comment)


def edit_config(
    config: ImageConfig,
    diff_ids: Sequence[Digest],
    history: Sequence[HistoryEntry] | None,
    created: str | None,
) -> ImageConfig:
    """Return `config` with these layers, history and time; every other byte stays.

    `created` None leaves the time as it is; `history` None leaves it absent. BuildKit's cache
    record is removed: it describes layers that no longer exist.
    """
    text = _decoded(config.raw)
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
    return parse_config(_encoded(text))


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
        key, at = _DECODER.raw_decode(text, at)
        start = _skip(text, _skip(text, at) + 1)
        _, stop = _DECODER.raw_decode(text, start)
        spans.append(_Span(key, begin, start, stop))
        at = _skip(text, stop)
        if text[at] == ",":
            at = _skip(text, at + 1)
    seen: set[str] = set()
    for span in spans:
        if fold(span.key) in seen:  # readers differ on which one counts
            raise DocumentError("the key occurs twice", where=_within(where, span.key))
        seen.add(fold(span.key))
    return spans


def _elements(text: str, at: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of the elements of the list that begins at `at`."""
    at = _skip(text, at + 1)
    while text[at] != "]":
        _, stop = _DECODER.raw_decode(text, at)
        yield at, stop
        at = _skip(text, stop)
        if text[at] == ",":
            at = _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    assert match is not None  # noqa: S101
    return match.end()


def _span(spans: Sequence[_Span], name: str) -> _Span:
    return next(span for span in spans if fold(span.key) == name)


def _with_member(text: str, name: str, value: str) -> str:
    """Return the object `text` with the member `name` set to the JSON `value`."""
    spans = _members(text, name)
    for span in spans:
        if fold(span.key) == name:
            return text[: span.start] + value + text[span.stop :]
    at = _skip(text, 0) + 1
    return text[:at] + f'"{name}":{value}' + ("," if spans else "") + text[at:]


# ---------------------------------------------------------------- writing


def dump(document: Any) -> str:
    """Return `document` as compact JSON; equal documents give equal text."""
    return json.dumps(document, separators=(",", ":"))


def oci_type(media_type: str) -> str:
    """Return the media type that OCI has for one of docker's; any other stays.

    Source: image-spec, media-types.md, "Compatibility Matrix".
    """
    if media_type.startswith(DOCKER_LAYER):
        return OCI_LAYER + media_type.removeprefix(DOCKER_LAYER).replace(".", "+")
    pairs = {DOCKER_MANIFEST: OCI_MANIFEST, DOCKER_INDEX: OCI_INDEX, DOCKER_CONFIG: OCI_CONFIG}
    return pairs.get(media_type, media_type)


def blob_name(digest: Digest) -> str:
    """Return the member that holds a blob. Source: image-spec, image-layout.md, "Blobs"."""
    return f"blobs/sha256/{digest.hex}"


def descriptor(media_type: str, digest: Digest, size: int, **more: Any) -> dict[str, Any]:
    """Return a descriptor document."""
    return {"mediaType": media_type, "digest": str(digest), "size": size, **more}


# ---------------------------------------------------------------- names

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:(?P<domain>{_DOMAIN})/)?(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)(?::(?P<tag>\w[\w.-]{{0,127}}))?",
    re.ASCII,
)


#: Characters of a name with its registry, without the tag. Source: distribution/reference,
#: NameTotalLengthMax.
NAME_MAX = 255
#: Looks like an image ID: no engine takes it for a name.
_ID = re.compile(r"[0-9a-f]{64}")
_PIN = re.compile(r"@sha256:[0-9a-f]{64}$")


def normalise_tag(name: str) -> str | None:
    """Return `name` with its tag, `latest` if it has none; None if it is no image name.

    Source: distribution/reference (the grammar that docker, containerd and podman share).
    """
    match = _REFERENCE.fullmatch(name)
    if match is None or _ID.fullmatch(name):
        return None
    tag = f":{match['tag']}" if match["tag"] else ""
    if len(full_name(name.removesuffix(tag))) > NAME_MAX:
        return None
    return name if match["tag"] else f"{name}:latest"


def ends_in_digest(reference: str) -> bool:
    """Tell whether a reference is true of one manifest only; `ctr` also writes bare `@sha256:…`."""
    return _PIN.search(reference) is not None


def is_pinned(name: str) -> bool:
    """Tell whether an image name ends in a digest."""
    return ends_in_digest(name) and normalise_tag(name.rpartition("@")[0]) is not None


def full_name(tag: str) -> str:
    """Return `tag` with registry and namespace, as docker completes short names."""
    for hub in ("docker.io/", "index.docker.io/"):
        if tag.startswith(hub):
            rest = tag.removeprefix(hub)
            return f"docker.io/{rest}" if "/" in rest else f"docker.io/library/{rest}"
    domain, slash, _ = tag.partition("/")
    if not slash:
        return f"docker.io/library/{tag}"
    if "." in domain or ":" in domain or domain == "localhost" or domain != domain.lower():
        return tag
    return f"docker.io/{tag}"


def short_name(name: str) -> str:
    """Return `name` as docker shows it: without the registry and namespace that it would add."""
    for prefix in ("docker.io/library/", "docker.io/"):
        if name.startswith(prefix) and full_name(name[len(prefix) :]) == name:
            return name[len(prefix) :]
    return name


def same_name(one: str, other: str) -> bool:
    """Tell whether docker takes both for the same image name."""
    names = [normalise_tag(name) for name in (one, other)]
    return None not in names and full_name(names[0] or "") == full_name(names[1] or "")
