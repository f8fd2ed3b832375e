"""What others than engines read in a new layer: scanners are built on these.

Each layer that squashing the corpus makes is read with Python's tarfile, GNU tar, libarchive's
bsdtar, and node's `tar` and `tar-stream`, and each field that they give must be the model's.
SQUASHER_READERS=required makes a missing reader an error; otherwise it is a skip.
"""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import io
import json
import os
import posixpath
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from squasher.tar.walk import LayerWalk
from tests import model
from tests.builders import archive
from tests.conformance.check import layers_of, squash
from tests.conformance.corpus import CASES

SOUND = [case for case in CASES if case.verdict != "refuse"]
REQUIRED = os.environ.get("SQUASHER_READERS") == "required"
ROOT = Path(__file__).resolve().parents[2]
ENVIRON = {**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC"}
SECOND = 10**9
#: Beyond, a time is shown in as many ways as there are readers.
YEAR_2100 = 4_102_444_800 * SECOND
KINDS = {b"": "file", b"h": "hardlink", b"l": "symlink", b"d": "dir", b"c": "char", b"b": "block"}
FIELDS = ("name", "kind", "mode", "uid", "gid", "size", "mtime", "target", "sha256")


@dataclass(frozen=True)
class Layer:
    """A layer that was made, what the model reads in it, and which names are sparse files."""

    case: str
    data: bytes
    file: Path
    entries: list[dict[str, Any]]
    sparse: frozenset[bytes]


Reading = list[dict[str, Any]]


@pytest.fixture(scope="module")
def layers(tmp_path_factory: pytest.TempPathFactory) -> list[Layer]:
    """Return each layer that squashing the corpus, and what others have packed, makes, once."""
    folder = tmp_path_factory.mktemp("layers")
    images = [(case.name, case.layers) for case in SOUND]
    images += foreign(tmp_path_factory.mktemp("foreign"))
    found: dict[bytes, Layer] = {}
    for name, stack in images:
        for keep in range(len(stack) - 1):
            data = layers_of(squash(archive(stack), keep)[1])[keep]
            if data not in found:
                file = folder / f"{len(found)}.tar"
                file.write_bytes(data)
                found[data] = Layer(name, data, file, modelled(data), sparse(data))
    return list(found.values())


def foreign(place: Path) -> Iterator[tuple[str, tuple[bytes, ...]]]:
    """Yield an image of each other tar that is here, under its name."""
    from tests.readers.test_writers import ROOMY, WRITERS, above, hard, packed
    from tests.readers.test_writers import plain as fill

    for name, write in WRITERS.items():
        with contextlib.suppress(pytest.skip.Exception):
            lower = packed(write, hard if name in ROOMY else fill, place / f"{name}-lower")
            yield f"packed by {name}", (lower, packed(write, above, place / f"{name}-upper"))


def modelled(data: bytes) -> Reading:
    """Return what the model reads."""
    return [
        {
            "name": plain(entry.raw_path),
            "kind": model.KINDS[entry.typeflag],
            "mode": entry.mode,
            "uid": entry.uid % 2**32,
            "gid": entry.gid % 2**32,
            "size": len(entry.data),
            "mtime": entry.mtime,
            "target": entry.target if entry.typeflag in b"12" else b"",
            "sha256": hashlib.sha256(entry.data).hexdigest(),
        }
        for entry in model.read(data)
    ]


def sparse(data: bytes) -> frozenset[bytes]:
    """Return the names of the sparse files."""
    walk = LayerWalk(0)
    walk.feed(data)
    changes = walk.finish()
    pairs = zip(changes.paths, changes.entries, strict=True)
    return frozenset(path for path, entry in pairs if entry.sparse is not None)


def plain(name: bytes) -> bytes:
    """Return a name without what makes no difference: the root is also spelt with slashes."""
    return posixpath.normpath(name.lstrip(b"/"))


def need(*programs: str) -> None:
    """Skip, or fail where all must be there, if a program is missing."""
    for program in programs:
        if shutil.which(program) is None:
            (pytest.fail if REQUIRED else pytest.skip)(f"{program} is not here")


def same(
    layer: Layer, reading: Reading, fields: tuple[str, ...] = FIELDS, precision: int = 1
) -> Iterator[str]:
    """Yield where a reading differs from the model's, as far as it gives `fields`."""
    if len(reading) != len(layer.entries):
        yield f"{layer.case}: {len(reading)} entries where there are {len(layer.entries)}"
    for entry, other in zip(layer.entries, reading, strict=False):
        for field in fields:
            ours, theirs = entry[field], other[field]
            if field == "mode":
                theirs &= 0o7777
            elif field in ("uid", "gid"):
                theirs %= 2**32
            elif field == "mtime":
                if not 0 <= ours < YEAR_2100:
                    continue
                theirs = ours if abs(ours - theirs) <= precision else theirs
            if ours != theirs:
                yield f"{layer.case}: {entry['name']!r}: {field} {theirs!r} where it is {ours!r}"


def check(layers: list[Layer], read: Callable[[Layer], Iterator[str]]) -> None:
    """Require that all layers are read alike."""
    assert len(layers) > 500
    differences = [line for layer in layers for line in read(layer)]
    assert not differences, "\n" + "\n".join(differences)


def test_tarfile(layers: list[Layer]) -> None:
    def read(layer: Layer) -> Iterator[str]:
        with tarfile.open(fileobj=io.BytesIO(layer.data), errors="surrogateescape") as tar:
            found = [with_tarfile(tar, member) for member in tar]
        yield from same(layer, found, precision=1000)  # a float

    check(layers, read)


def with_tarfile(tar: tarfile.TarFile, member: tarfile.TarInfo) -> dict[str, Any]:
    """Return what Python's tarfile reads."""
    file = tar.extractfile(member) if member.isreg() else None
    return {
        "name": plain(os.fsencode(member.name)),
        "kind": model.KINDS[b"0" if member.isreg() else member.type],
        "mode": member.mode,
        "uid": member.uid,
        "gid": member.gid,
        "size": member.size,
        "mtime": round(member.mtime * SECOND),
        "target": os.fsencode(member.linkname) if member.issym() or member.islnk() else b"",
        "sha256": hashlib.sha256(file.read() if file else b"").hexdigest(),
    }


LINE = re.compile(
    rb"(.)([-rwxsStT]{9}) (-?\d+)/(-?\d+) +(\d+|\d+,\d+) (\S+ \S+) +"
    rb'"((?:[^"\\]|\\.)*)"(?: (?:->|link to) "((?:[^"\\]|\\.)*)")?'
)


def test_gnu_tar(layers: list[Layer]) -> None:
    need("tar")
    options = ("--numeric-owner", "--full-time", "--quoting-style=c")

    def read(layer: Layer) -> Iterator[str]:
        listed = run("tar", "-tvf", layer.file, *options)
        found = [with_gnu_tar(line) for line in listed.splitlines()]
        yield from same(layer, found, tuple(field for field in FIELDS if field != "sha256"))
        # Of a sparse file it writes to a pipe only what is stored.
        if not layer.sparse and run("tar", "-xOf", layer.file) != contents(layer):
            yield f"{layer.case}: the contents differ"

    check(layers, read)


def with_gnu_tar(line: bytes) -> dict[str, Any]:
    """Return what a line of GNU tar's list says."""
    match = LINE.fullmatch(line)
    assert match, line
    kind, mode, uid, gid, size, time, name, target = match.groups()
    moment, _, fraction = time.partition(b".")
    when = datetime.strptime(moment.decode(), "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc)
    return {
        "name": plain(unquoted(name)),
        "kind": {b"-": "file", b"p": "fifo", **KINDS}[kind],
        "mode": sum(
            bit
            for at, letter in enumerate(mode.decode())
            for bit in ((0o400 >> at) * (letter not in "-ST"), special(at, letter))
        ),
        "uid": int(uid),
        "gid": int(gid),
        "size": 0 if b"," in size else int(size),
        "mtime": int(when.timestamp()) * SECOND + int(fraction.ljust(9, b"0") or 0),
        "target": unquoted(target or b""),
    }


def special(at: int, letter: str) -> int:
    """Return the bit of setuid, setgid or the sticky one that a letter stands for."""
    return {2: 0o4000, 5: 0o2000, 8: 0o1000}[at] if letter in "sStT" else 0


def unquoted(text: bytes) -> bytes:
    """Return what GNU tar has quoted as C does."""
    return codecs.escape_decode(text)[0]


def contents(layer: Layer) -> bytes:
    """Return what all files hold, one behind the other."""
    return b"".join(entry.data for entry in model.read(layer.data))


def run(*command: str | Path) -> bytes:
    """Return what a program prints."""
    done = subprocess.run(command, env=ENVIRON, capture_output=True, check=False)
    return done.stdout + (done.stderr if done.returncode else b"")


def test_bsdtar(layers: list[Layer]) -> None:
    need("bsdtar")
    wanted = ("type", "mode", "uid", "gid", "size", "time", "link", "sha256")
    options = ",".join(f"mtree:{word}" for word in ("!all", "!use-set", *wanted))

    def read(layer: Layer) -> Iterator[str]:
        listed = run("bsdtar", "-cf", "-", "--format=mtree", "--options", options, f"@{layer.file}")
        found = dict(map(with_bsdtar, listed.splitlines()[1:]))
        names = [entry["name"] for entry in layer.entries]
        if missing := [name for name in names if name not in found]:
            yield f"{layer.case}: {missing} in {sorted(found)}"
            return
        for entry, other in zip(layer.entries, [found.pop(name) for name in names], strict=True):
            if entry["kind"] == "hardlink":  # mtree has files of no bytes and no digest
                other = {**other, "target": entry["target"]}
            if entry["name"] in layer.sparse:  # of what is stored
                other = {**other, "sha256": entry["sha256"]}
            yield from same(Layer(layer.case, b"", layer.file, [entry], layer.sparse), [other])
        if run("bsdtar", "-xOf", layer.file) != contents(layer):
            yield f"{layer.case}: the contents differ"
        if any(found.values()):  # folders without an entry are named, and nothing is said of them
            yield f"{layer.case}: also {found}"

    check(layers, read)


def with_bsdtar(line: bytes) -> tuple[bytes, dict[str, Any]]:
    """Return a name and what mtree, as libarchive writes it, says of it."""
    name, *words = line.split(b" ")
    said = dict(word.split(b"=", 1) for word in words if b"=" in word)
    path = plain(b"." if name == b"/." else unquoted(name))
    if set(said) <= {b"type"}:
        return path, {}
    digest = said.get(b"sha256digest", b"").decode()
    seconds, _, fraction = said[b"time"].partition(b".")
    kind = {b"link": "symlink"}.get(said[b"type"], said[b"type"].decode())
    return path, {
        "name": path,
        "kind": "hardlink" if kind == "file" and not digest else kind,
        "mode": int(said[b"mode"], 8),
        "uid": int(said[b"uid"]),
        "gid": int(said[b"gid"]),
        "size": int(said.get(b"size", 0)),
        "mtime": int(seconds) * SECOND + int(fraction),
        "target": unquoted(said.get(b"link", b"")),
        "sha256": digest or hashlib.sha256().hexdigest(),
    }


@pytest.fixture(scope="module")
def node_readings(layers: list[Layer]) -> list[Mapping[str, Any]]:
    """Return what the libraries of node read, for each layer."""
    need("node", "npm")
    made = subprocess.run([ROOT / "scripts/node-readers"], capture_output=True, text=True)
    if made.returncode:
        (pytest.fail if REQUIRED else pytest.skip)(f"npm installs nothing: {made.stderr[-500:]}")
    script = ROOT / "tests/readers/read.cjs"
    output = run("node", script, made.stdout.strip(), *(layer.file for layer in layers))
    return json.loads(output)  # type: ignore[no-any-return]


@pytest.mark.parametrize("library", ["tar", "tar-stream"])
def test_node(layers: list[Layer], node_readings: list[Mapping[str, Any]], library: str) -> None:
    readings = dict(zip([layer.file for layer in layers], node_readings, strict=True))

    def read(layer: Layer) -> Iterator[str]:
        reading = readings[layer.file][library]
        if isinstance(reading, str):
            yield f"{layer.case}: {reading}"
            return
        entries = [with_strings(entry) for entry in layer.entries]
        found = [from_node(entry) for entry in reading]
        for entry, other in zip(entries, found, strict=False):
            if entry["name"].encode() in layer.sparse:  # they know no sparse files
                other.update({field: entry[field] for field in ("name", "size", "sha256")})
        layer = Layer(layer.case, b"", layer.file, entries, layer.sparse)
        yield from same(layer, found, precision=SECOND // 1000)

    check(layers, read)


def with_strings(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry with names as node decodes them."""
    decoded = {field: entry[field].decode("utf-8", "replace") for field in ("name", "target")}
    return {**entry, **decoded}


def from_node(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry as the others are."""
    link = entry["link"] if entry["kind"] in ("symlink", "hardlink") else ""
    return {
        **entry,
        "name": posixpath.normpath(entry["name"].lstrip("/")),
        "target": link,
        "mtime": round(entry["mtime"] * 10**6),
    }
