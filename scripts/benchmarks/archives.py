"""Archives that are made up, and their members."""

from __future__ import annotations

import hashlib
import io
import json
import random
import tarfile
from collections.abc import Sequence

#: Bytes of this alphabet compress to about half.
_LETTERS = bytes(b"etaoinshrdlu \n0123456789abcdefgh"[i * i % 32] for i in range(256))


def header(name: str, size: int) -> bytes:
    """Return a ustar header, after a PAX header if the name has more than 100 bytes."""
    raw, before = name.encode(), b""
    if len(raw) > 100:
        record = b" path=" + raw + b"\n"
        length = len(record) + len(str(len(record) + len(str(len(record)))))
        record = b"%d" % length + record
        before = block(b"pax", len(record), b"x") + record + bytes(-len(record) % 512)
    return before + block(raw[:100], size, b"0")


def block(name: bytes, size: int, kind: bytes) -> bytes:
    """Return one block of 512 bytes, much faster than `tarfile` does."""
    head = b"%s%s0000644\0000000000\0000000000\0%011o\00014000000000\0" % (
        name,
        bytes(100 - len(name)),
        size,
    )
    tail = kind + bytes(100) + b"ustar\00000"
    return head + b"%06o\0 " % (sum(head) + 256 + sum(tail)) + tail + bytes(247)


def add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    """Append a member to the outer archive."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def add_image(archive: tarfile.TarFile, layers: Sequence[bytes]) -> None:
    """Write a docker-archive of such layers."""
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    for name, data in zip(names, layers, strict=True):
        add(archive, name, data)
    diff_ids = ["sha256:" + hashlib.sha256(data).hexdigest() for data in layers]
    add_documents(archive, names, diff_ids)


def add_documents(archive: tarfile.TarFile, names: Sequence[str], diff_ids: Sequence[str]) -> None:
    """Write the config and manifest.json."""
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "history": [{"created_by": f"layer {number}"} for number in range(len(names))],
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    raw = json.dumps(config).encode()
    config_name = f"{hashlib.sha256(raw).hexdigest()}.json"
    add(archive, config_name, raw)
    item = {"Config": config_name, "RepoTags": ["many:latest"], "Layers": names}
    add(archive, "manifest.json", json.dumps([item]).encode())


def member(archive: tarfile.TarFile, name: str) -> io.BufferedReader:
    """Return an open member of the outer archive."""
    file = archive.extractfile(name)
    if not isinstance(file, io.BufferedReader):
        raise SystemExit(f"bench: no member {name!r}")
    return file


def package_files(folder: str, megabytes: int, number: int) -> list[tuple[str, bytes]]:
    """Return files of 1 KiB to 1 MiB; half of each file can be compressed, half cannot."""
    sizes = random.Random(number)  # noqa: S311
    files: list[tuple[str, bytes]] = []
    left = megabytes << 20
    while left > 0:
        size = min(left, int(1024 * 2 ** sizes.uniform(0, 10)))
        name = f"{folder}/{len(files) // 40}/file{len(files)}"
        files.append((name, content(name, size)))
        left -= size
    return files


def content(name: str, size: int) -> bytes:
    """Return bytes that depend only on the name: one half letters, one half any bytes."""
    stream = random.Random(name)  # noqa: S311
    return stream.randbytes(size // 2).translate(_LETTERS) + stream.randbytes(size - size // 2)
