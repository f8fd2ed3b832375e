"""Compressed layers and archives that are damaged, lie, or ask for more than they are worth."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator

from tests.builders import archive, image_config, outer_tar, sha256
from tests.hostile.case import GOOD, Case, docker, dump, item, refused
from tests.zstd import zstd

SMALL = GOOD + bytes(9000)
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "zstd": zstd.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
}


def packed(blob: bytes, tar: bytes = GOOD) -> bytes:
    """Return an image whose lower layer is stored as `blob`; its diff_id is that of `tar`."""
    config = dump(image_config([tar, GOOD]))
    manifest = [{"Config": "config.json", "RepoTags": None, "Layers": ["blob", "layer.tar"]}]
    return docker(manifest, config, {"blob": blob})


def greedy_xz(held: bytes = GOOD, bits: int = 32) -> bytes:
    """Return an xz stream that asks for a dictionary of so many bits. Source: xz-file-format, 3.1.

    32 stand for 4 GiB - 1.
    """
    data = bytearray(lzma.compress(held))
    header = data[12 : 12 + 4 * (data[12] + 1)]
    at = header.index(b"\x21\x01") + 2
    header[at] = 2 * (bits - 12)
    header[-4:] = zlib.crc32(header[:-4]).to_bytes(4, "little")
    data[12 : 12 + len(header)] = header
    return bytes(data)


def greedy_zstd() -> bytes:
    """Return a zstd frame that asks for a window of 2 GiB. Source: RFC 8878, 3.1.1.1.2."""
    window = (31 - 10) << 3
    raw = len(GOOD) << 3 | 1  # one raw block, the last
    return b"\x28\xb5\x2f\xfd" + bytes((0, window)) + raw.to_bytes(3, "little") + GOOD


def cases() -> Iterator[Case]:
    """Yield every case of this theme."""
    for name, pack in PACKED.items():
        data = pack(GOOD)
        damaged = f"damaged {name} data: "
        other = f"diff_id: expected sha256:{sha256(GOOD)}, found sha256:"
        for what, blob, says in (
            ("cut in its header", data[: 12 if name == "bzip2" else 7], damaged),
            ("cut in the middle", data[: len(data) // 2], damaged),
            ("cut before its last byte", data[:-1], damaged),
            # zstd as its library writes it has no checksum: the tar is found to be damaged.
            ("damaged", _flipped(data, len(data) // 2), "'" if name == "zstd" else damaged),
            ("of another layer", pack(SMALL), other),
            ("packed twice", pack(data), ""),
        ):
            yield refused(
                f"{name}: layer {what}",
                lambda blob=blob: packed(blob),  # type: ignore[misc]
                f"layer 1 of 2: {says}",
            )
        whole = archive([GOOD, GOOD], form="podman")
        yield refused(
            f"{name}: archive cut",
            lambda pack=pack, whole=whole: pack(whole)[:-1],  # type: ignore[misc]
            f"damaged {name} data: ",
        )
        yield refused(
            f"{name}: archive of text",
            lambda pack=pack: pack(b"text" * 999),  # type: ignore[misc]
            "is not a tar archive",
        )
        if name == "bzip2":  # an empty stream of it has no magic
            continue
        yield refused(f"{name}: layer of nothing", packed(pack(b"")), f"layer 1 of 2: {other}")
        yield Case(
            f"{name}: a thousand empty streams before the layer",
            lambda pack=pack: packed(pack(b"") * 1000 + pack(GOOD)),  # type: ignore[misc]
            0,
            "",
            (GOOD, GOOD),
        )
    yield refused(
        "gzip: checksum wrong",
        lambda: packed(_flipped(PACKED["gzip"](GOOD), -8)),
        "layer 1 of 2: damaged gzip data: Error -3 while decompressing data: incorrect data check",
    )
    yield refused(
        "gzip: length wrong",
        lambda: packed(_flipped(PACKED["gzip"](GOOD), -1)),
        "layer 1 of 2: damaged gzip data: Error -3 while decompressing data: incorrect length",
    )
    yield refused(
        "gzip: reserved flags and a name that never ends",
        lambda: packed(b"\x1f\x8b\x08\xff" + b"n" * 5000),
        "layer 1 of 2: damaged gzip data: ",
    )
    yield refused(
        "xz: a dictionary of 4 GiB",
        lambda: packed(greedy_xz()),
        "layer 1 of 2: unpacking the xz data takes more than 512 MiB of memory",
        5,
    )
    yield refused(
        "zstd: a window of 2 GiB",
        lambda: packed(greedy_zstd()),
        "layer 1 of 2: unpacking the zstd data takes more than 512 MiB of memory",
        5,
    )
    yield refused(
        "zstd: an unknown dictionary",
        lambda: packed(b"\x28\xb5\x2f\xfd\x03\0\x77\x77\x77\x77\x01\0\0"),
        "layer 1 of 2: damaged zstd",
    )
    yield refused(
        "squashfs as a layer",
        lambda: packed(b"hsqs" + bytes(1000)),
        "manifest.json[0].Layers[0]: squashfs layers are not supported",
        5,
    )
    yield refused(
        "manifest.json compressed",
        lambda: outer_tar({"manifest.json": PACKED["gzip"](dump(item()))}),
        "manifest.json: not valid JSON",
    )


def _flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 0xFF
    return bytes(changed)
