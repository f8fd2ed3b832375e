"""Fuzz squashing as a whole: bytes in, and an error of ours or the same root filesystem.

An input is ten choices and an image in one of three ways:

* `raw`: the archive, its zeros made short;
* `parts`: blobs, manifest.json and index.json between cuts. `#N`, `@N` and `$N` stand for the
  diff_id, digest and size of the part N before them: mutated layers still fit their config;
* `layers`: choices that make layers, which are held against the whole specification.
"""

from __future__ import annotations

import gzip
import io
import posixpath
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import squasher
from squasher.blobs.compression import decompress
from squasher.blobs.content import ContentReader
from tests import generator, model
from tests.builders import archive, outer_tar, sha256
from tests.conformance.check import check_merged, comparable
from tests.fuzz.walk import require_ours
from tests.fuzz.wire import Dice, expand, mended, shorten

CUT = b"\n--8<--\n"
#: Images that unpack to more are refused: a bomb costs no more than this.
MAX_SIZE = 4 << 20
BASES = ("1", "2", "sha256:", "abcdef", "example", "example:latest", "0", "-", "99999")


def one(data: bytes) -> None:
    """Squash one input."""
    dice = Dice(data)
    how = dice(("layers", "parts", "raw"))
    options: dict[str, Any] = {
        "keep_layers": dice((0, 1, 0, 1, 2, None)),
        "history": dice(("keep", "drop")),
        "compress": dice(("none", "auto", "gzip:1", "zstd:1")),
        "form": dice(("docker", "oci")),
        "created": dice(("source", "1700000000")),
        "tags": dice((None, (), ("new/name:1",), ("a", "b"))),
        "verify": dice((False, False, True)),
        "max_size": MAX_SIZE,
    }
    if options["keep_layers"] is None:
        options["base"] = dice(BASES)
    mend = dice((1, 0, 2))
    if how == "layers":
        specified(dice)
        return
    rest = dice.rest()
    image = assembled(rest, mend) if how == "parts" else expand(rest)
    if how == "raw" and mend:
        image = mended(image, mend == 1)
    try:
        same(image, options)
    except squasher.SquasherError as error:
        require_ours(error, 2, 3, 4, 5)  # 1 would be `verify`, that has found something


# ---------------------------------------------------------------- layers


def specified(dice: Dice) -> None:
    """Squash layers that the dice make, at a base that they choose, and check every rule."""
    keep = dice((0, 1, 2))
    layers = generator.layers(dice)
    good = generator.sound(layers)
    if good != layers and keep < len(layers) - 1:
        refused(layers, keep)
    checked(good, min(keep, len(good)))


def refused(layers: Sequence[bytes], keep: int) -> None:
    """Require that layers that the model refuses are refused when they are merged."""
    try:
        squash(archive(layers), keep_layers=keep)
    except squasher.ArchiveError as error:
        require_ours(error, 3)
    else:
        raise AssertionError("the model refuses this image")


def checked(layers: Sequence[bytes], keep: int) -> None:
    """Require all that the specification says of squashing `layers` above the lowest `keep`."""
    report, image = squash(archive(layers, form="v25"), keep_layers=keep)
    ((_, result),) = images(image)
    assert result[:keep] == list(layers[:keep]), "a kept layer differs"
    if len(layers) - keep <= 1:
        assert result == list(layers), "nothing to merge, and yet it was"
        return
    check_merged(layers, keep, result[keep])
    noted = {(w.kind, w.layer, w.path) for w in report.warnings}
    expected = {(w.kind, w.layer, w.path) for w in model.apply(layers).warnings}
    if any(kind == "duplicate-path" for kind, _, _ in expected):
        # Which of the places that one name had in a layer is told, is left open.
        assert {known[:2] for known in noted} == {known[:2] for known in expected}
    else:
        assert noted == expected


# ---------------------------------------------------------------- any image


def same(image: bytes, options: dict[str, Any]) -> None:
    """Squash an archive and require the same root filesystems. Raises SquasherError."""
    report, result = squash(image, **options)
    before, after = images(image), dict(images(result))
    assert len(report.images) == len(before)
    for (_, layers), squashed in zip(before, report.images, strict=True):
        new = after[str(squashed.image.config.image_id)]
        kept = squashed.kept
        assert new[:kept] == layers[:kept], "a kept layer differs"
        if not squashed.merged:
            assert new == layers
        elif not too_sparse(layers):
            assert len(new) == kept + 1
            one, two = model.apply(layers), model.apply(new)
            assert comparable(one, two, kept) == comparable(two, two, kept)


def squash(image: bytes, **options: Any) -> tuple[squasher.SquashReport, bytes]:
    """Return the report and the archive that squashing gives."""
    destination = io.BytesIO()
    report = squasher.squash_archive(io.BytesIO(image), destination, **options)
    assert report.size == len(destination.getvalue())
    return report, destination.getvalue()


def images(image: bytes) -> list[tuple[str, list[bytes]]]:
    """Return ID and uncompressed layers of each image in an archive."""
    with squasher.open_archive(io.BytesIO(image)) as opened:
        return [
            (str(found.config.image_id), [_uncompressed(layer) for layer in found.layers])
            for found in opened.images
        ]


def _uncompressed(layer: squasher.Layer) -> bytes:
    content = layer.blob.content
    if not layer.blob.compression:
        return content.read_at(0, content.size)
    reader: Any = ContentReader(content)
    return b"".join(decompress(layer.blob.compression, reader))


_SPARSE = re.compile(rb"GNU\.sparse\.(?:size|realsize)=[+0]*[0-9]{7}")


def too_sparse(layers: Sequence[bytes]) -> bool:
    """Tell whether a file may be too large for the model, which makes holes real."""
    return any(_SPARSE.search(layer) for layer in layers)


# ---------------------------------------------------------------- parts


@dataclass(frozen=True)
class _Blob:
    diff_id: str
    data: bytes


_REFERENCE = re.compile(rb"([#@$])([0-9]{1,2})")


def assembled(data: bytes, mend: int) -> bytes:
    """Return the archive that the parts of an input make."""
    parts = data.split(CUT)
    *first, manifest, index = parts if len(parts) > 1 else (*parts, b"")
    blobs: list[_Blob] = []
    for part in first:
        blobs.append(_blob(part, blobs, mend))
    members: dict[str, bytes | None] = {f"blobs/sha256/{sha256(b.data)}": b.data for b in blobs}
    if manifest:
        members["manifest.json"] = _filled(manifest, blobs)
    if index:
        members["index.json"] = _filled(index, blobs)
        members["oci-layout"] = b'{"imageLayoutVersion":"1.0.0"}'
    return outer_tar(members)


def _blob(part: bytes, blobs: Sequence[_Blob], mend: int) -> _Blob:
    """Return a part as a blob: a document, a layer, or with `r` in front any bytes.

    A layer has `t` in front, or `z` if it is to be compressed.
    """
    kind, rest = part[:1], part[1:]
    if kind == b"r":
        return _Blob(sha256(expand(rest)), expand(rest))
    if kind not in (b"t", b"z"):
        text = _filled(part, blobs)
        return _Blob(sha256(text), text)
    tar = expand(rest)
    if mend:
        tar = mended(tar, mend == 1)
    return _Blob(sha256(tar), gzip.compress(tar, 1, mtime=0) if kind == b"z" else tar)


def _filled(text: bytes, blobs: Sequence[_Blob]) -> bytes:
    def value(found: re.Match[bytes]) -> bytes:
        number = int(found[2])
        if number >= len(blobs):
            return found[0]
        blob = blobs[number]
        texts = {b"#": blob.diff_id, b"@": sha256(blob.data), b"$": str(len(blob.data))}
        return texts[found[1]].encode()

    return _REFERENCE.sub(value, text)


def disassembled(image: bytes) -> bytes:
    """Return the parts that make `image`; all of its blobs get the names that OCI has for them."""
    entries = model.read(image)
    read = {_name(entry): entry.data for entry in entries if entry.kind == "file"}
    for entry in entries:
        if entry.kind == "symlink":
            folder, target = (
                posixpath.dirname(_name(entry)),
                entry.target.decode("utf-8", "replace"),
            )
            target = posixpath.normpath(posixpath.join(folder, target))
            if target in read:
                read[_name(entry)] = read[target]
    documents = [read.pop(name, b"") for name in ("manifest.json", "index.json")]
    blobs = {name: data for name, data in read.items() if _is_blob(name)}
    texts = {name: data for name, data in blobs.items() if data[:1] in (b"{", b"[")}
    order: list[str] = []
    for name in (*sorted(set(blobs) - set(texts)), *texts):
        _visit(name, texts, order)

    def emptied(text: bytes, upto: int) -> bytes:
        for n, name in enumerate(order[:upto]):  # names first: most have a digest in them
            text = text.replace(b'"%b"' % name.encode(), b'"blobs/sha256/@%d"' % n)
        for n, name in enumerate(order[:upto]):
            data = blobs[name]
            text = text.replace(sha256(data).encode(), b"@%d" % n)
            text = text.replace(sha256(_plain(data)).encode(), b"#%d" % n)
            text = re.sub(rb'("size": ?)%d\b' % len(data), rb"\g<1>$%d" % n, text)
        return text

    parts = [
        emptied(texts[name], n) if name in texts else _short(blobs[name])
        for n, name in enumerate(order)
    ]
    return CUT.join((*parts, *(emptied(text, len(order)) for text in documents)))


def _name(entry: model.Entry) -> str:
    return b"/".join(entry.path).decode("utf-8", "replace")


def _is_blob(name: str) -> bool:
    """Tell whether a member is more than what docker writes beside the blobs."""
    return name.rpartition("/")[2] not in ("oci-layout", "repositories", "VERSION", "json")


def _visit(name: str, texts: dict[str, bytes], order: list[str]) -> None:
    """Add a blob to `order`, behind those that it names."""
    if name in order:
        return
    for other in texts:
        if other != name and other.rpartition("/")[2].encode() in texts.get(name, b""):
            _visit(other, texts, order)
    if name not in order:
        order.append(name)


def _plain(blob: bytes) -> bytes:
    try:
        return gzip.decompress(blob)
    except (OSError, EOFError, zlib.error):
        return blob


def _short(blob: bytes) -> bytes:
    plain = _plain(blob)
    kind = b"z" if plain != blob else b"t" if plain[257:262] in (b"", b"ustar") else b"r"
    return kind + shorten(plain)
