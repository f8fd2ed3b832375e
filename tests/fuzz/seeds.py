"""What the fuzzers begin with, made from the corpora of the other tests.

    python -m tests.fuzz.seeds FOLDER       FOLDER/HARNESS/NAME, one file an input

The first bytes of an input are choices; each harness says which.
"""

from __future__ import annotations

import gzip
import hashlib
import sys
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

from tests import model
from tests.builders import archive
from tests.conformance.corpus import CASES
from tests.forms.shapes import SHAPES, odd_documents
from tests.fuzz.command import disassembled
from tests.fuzz.wire import shorten
from tests.generator import random_image
from tests.hostile.corpus import CASES as HOSTILE
from tests.hostile.streams import cases as damaged_streams

#: Larger inputs are slow, and say nothing that small ones cannot.
INPUT_MAX = 16 << 10
RANDOM_IMAGES = 100


def walk() -> Iterator[bytes]:
    """Yield layers and outer archives."""
    for n, tar in enumerate(_layers()):
        yield bytes((n % 6, 0, n % 3, n % 2 * 2)) + shorten(tar)
    for image in (*archives(), *_hostile()):
        yield b"\0\0\1\1" + shorten(image)


def tars() -> Iterator[bytes]:
    """Yield the same as they are."""
    yield from _layers()
    yield from archives()
    yield from _hostile()


def documents() -> Iterator[bytes]:
    """Yield the documents of every shape, and names."""
    for image in (*archives(), *_hostile()):
        for n, (name, text) in enumerate(_documents(image)):
            kind = {"manifest.json": 1, "index.json": 2}.get(
                name, 3 if b'"config":{' in text else 0
            )
            if kind == 3 and b'"rootfs"' in text:
                kind = 0
            yield bytes((kind, n % 4, n % 3, n % 3)) + text
    for name in ("debian", "docker.io/library/debian:12", "localhost:5000/a/b-c_d:1.0", "[::1]/a"):
        yield b"\4\0\0\0" + name.encode()


def command() -> Iterator[bytes]:
    """Yield images in all three ways."""
    for n, case in enumerate(CASES):
        yield b"\1" + _options(n) + disassembled(archive(case.layers, form=("v25", "oci")[n % 2]))
    for n, image in enumerate((*archives(), *_hostile())):
        yield b"\2" + _options(n) + shorten(image)
        with suppress(model.ModelError):
            yield b"\1" + _options(n) + disassembled(image)
    for seed in range(RANDOM_IMAGES):
        random = Random(seed)
        yield b"\0" + random.randbytes(random.choice((100, 300, 600)))


def inflate() -> Iterator[bytes]:
    """Yield streams of gzip, sound and not, in steps of any size; deflated data; content."""
    for n, stream in enumerate(streams()):
        yield bytes((n % 4, n // 4 % 4, 0)) + stream
    for n, content in enumerate((b"", b"a" * 9000, bytes(range(256)) * 20, _text())):
        for level in (0, 1, 6, 9):
            yield bytes((n % 4, level % 4, 1)) + zlib.compress(content, level)[2:-4]
        yield bytes((n % 4, n % 4, 2)) + content


def streams() -> Iterator[bytes]:
    """Yield the gzip streams of the corpora, and some that are odd in one way each."""
    images = (*archives(), *(case.make() for case in damaged_streams() if "gzip" in case.name))
    for image in images:
        for data in (image, *(data for _, data in _files(image))):
            if data.startswith(b"\x1f\x8b") and len(data) <= INPUT_MAX:
                yield data
    text = _text()
    whole = gzip.compress(text, mtime=0)
    yield from (whole, whole * 3, gzip.compress(b"") * 9 + whole, whole + bytes(700))
    yield from (whole + b"\n", whole + bytes(9) + whole, whole + bytes(9) + b"\x1f", whole[:10])
    yield from (whole + whole[:-1], whole[:-8] + bytes(8), whole[:-4] + bytes(4))
    named = b"name\0" + whole[10:]
    for flags, more in ((8, b""), (16, b""), (1, b""), (4, b"\2\0ab"), (2, b"\0\0"), (0xE0, b"")):
        yield b"\x1f\x8b\x08" + bytes((flags,)) + whole[4:10] + more + named
    for at in range(0, len(whole), 17):
        yield whole[:at]
        yield whole[:at] + bytes((whole[at] ^ 1 << at % 8,)) + whole[at + 1 :]


def _text() -> bytes:
    return b"".join(b"%d squared is %d\n" % (n, n * n) for n in range(200))


HARNESSES = {"walk": walk, "documents": documents, "command": command, "inflate": inflate}


def _options(n: int) -> bytes:
    random = Random(n)
    return bytes(
        (n % 2, random.randrange(2), random.choice((0, 1, 2, 3)), random.randrange(2), *bytes(4))
    )


def _layers() -> Iterator[bytes]:
    for case in CASES:
        yield from case.layers
    for seed in range(RANDOM_IMAGES):
        yield from random_image(seed)
    for image in _hostile():
        yield from (data for _, data in _files(image) if data[:1] not in (b"{", b"["))


def archives() -> Iterator[bytes]:
    for make in SHAPES.values():
        yield make().archive
    for odd in odd_documents().values():
        yield odd.archive
    for form in ("legacy", "v25", "podman", "oci"):
        yield archive(random_image(1), form=form, gzip_layers=(0,))


def _hostile() -> Iterator[bytes]:
    for case in HOSTILE:
        image = case.make()
        if len(image) <= 4 * INPUT_MAX:
            yield image


def _files(image: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the files of an archive that the model can read."""
    try:
        members = model.read(image)
    except model.ModelError:
        return
    for member in members:
        if member.kind == "file":
            yield b"/".join(member.path).decode("utf-8", "replace"), member.data


def _documents(image: bytes) -> Iterator[tuple[str, bytes]]:
    return ((name, data) for name, data in _files(image) if data[:1] in (b"{", b"["))


def write(folder: Path) -> None:
    """Write the seeds of every harness below `folder`."""
    for name, seeds in HARNESSES.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for seed in seeds():
            if len(seed) <= INPUT_MAX:
                (folder / name / hashlib.sha256(seed).hexdigest()[:20]).write_bytes(seed)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
