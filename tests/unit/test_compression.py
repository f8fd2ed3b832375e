"""squasher.blobs.compression: told by the first bytes, read by libraries."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from squasher.blobs import gzipped
from squasher.blobs.compression import (
    Compression,
    compress,
    decompress,
    default,
    parse_compression,
    sniff,
    version,
)
from squasher.errors import ArchiveError, UnsupportedImageError, UsageError
from tests.hostile.streams import greedy_xz
from tests.zstd import zstd

DATA = bytes(range(256)) * 9000  # more than two windows
PACKED = {
    "gzip": gzip.compress(DATA),
    "xz": lzma.compress(DATA),
    "bzip2": bz2.compress(DATA),
    "zstd": b"".join(compress(default("zstd"), [DATA])),
}

each = pytest.mark.parametrize("name", PACKED)


def unpacked(name: str, data: bytes) -> bytes:
    return b"".join(decompress(name, io.BytesIO(data)))


@each
def test_what_is_packed_is_told_by_its_head(name: str) -> None:
    assert sniff(PACKED[name]) == name
    assert sniff(PACKED[name][:2]) == ""


@pytest.mark.parametrize("low", [0x50, 0x5F])
def test_a_skippable_frame_begins_zstd(low: int) -> None:
    assert sniff(bytes([low]) + b"\x2a\x4d\x18") == "zstd"


@pytest.mark.parametrize(
    "head", [b"", b"\x1f\x8b", b"etc/", bytes(512), b"\x60\x2a\x4d\x18", b"BZhello", b"BZ"]
)
def test_other_heads_are_not(head: bytes) -> None:
    assert sniff(head) == ""


@each
def test_it_is_unpacked_in_windows(name: str, gzip_library: str) -> None:
    windows = list(decompress(name, io.BytesIO(PACKED[name])))
    assert b"".join(windows) == DATA
    assert max(map(len, windows)) <= 1 << 20


@each
def test_all_members_are_read(name: str, gzip_library: str) -> None:
    assert unpacked(name, PACKED[name] * 2) == DATA * 2


@each
def test_nothing_packed_is_nothing(name: str, gzip_library: str) -> None:
    empty = {
        "gzip": gzip.compress(b""),
        "xz": lzma.compress(b""),
        "bzip2": bz2.compress(b""),
        "zstd": b"".join(compress(default("zstd"), [])),
    }
    assert unpacked(name, empty[name]) == b""


@each
@pytest.mark.parametrize("cut", [1, 5, 100])
def test_what_ends_early_is_an_error(name: str, cut: int, gzip_library: str) -> None:
    with pytest.raises(ArchiveError, match=f"damaged {name} data"):
        unpacked(name, PACKED[name][:-cut])


@each
def test_what_is_damaged_is_an_error(name: str, gzip_library: str) -> None:
    damaged = bytearray(PACKED[name])
    damaged[len(damaged) // 2] ^= 0xFF
    with pytest.raises(ArchiveError, match=f"damaged {name} data"):
        unpacked(name, bytes(damaged))


@each
def test_an_error_of_the_reader_below_stays(name: str) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise ArchiveError("shorter than it was")

    with pytest.raises(ArchiveError, match=r"^shorter"):
        list(decompress(name, Broken()))


@pytest.mark.parametrize("text", ["gzip", "gzip:1", "zstd", "zstd:19", "none"])
def test_what_is_compressed_can_be_read_and_is_the_same_each_time(
    text: str, gzip_library: str
) -> None:
    how = parse_compression(text)
    assert how is not None
    whole = b"".join(compress(how, [DATA]))
    assert whole == b"".join(compress(how, [DATA]))
    assert sniff(whole) == how.name
    assert (unpacked(how.name, whole) if how.name else whole) == DATA
    assert how.suffix == (f"+{how.name}" if how.name else "")


@pytest.mark.parametrize("level", ["", ":0", ":1", ":9"])
def test_gzip_has_neither_time_nor_name(level: str, gzip_library: str) -> None:
    how = parse_compression(f"gzip{level}")
    assert how is not None
    packed = b"".join(compress(how, [b"one ", b"two"]))
    assert packed[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    assert gzip.decompress(packed) == b"one two"
    assert b"".join(compress(how, [b"one tw", b"o"])) == packed


def test_gzip_without_a_level_is_the_middle_one(gzip_library: str) -> None:
    """It is 6 of zlib, 5 of libdeflate: docs/speed.md."""
    middle = {"zlib": 6, "libdeflate": 5}[gzip_library]
    text = b"".join(b"%d squared is %d\n" % (n, n * n) for n in range(20_000))
    made = {n: b"".join(compress(Compression("gzip", n), [text])) for n in (-1, 4, 5, 6, 7)}
    assert [n for n in (4, 5, 6, 7) if made[n] == made[-1]] == [middle]


def test_options() -> None:
    assert parse_compression("auto") is None
    assert parse_compression("none") == Compression("")
    assert parse_compression("gzip") == default("gzip") == Compression("gzip", -1)
    assert parse_compression("gzip:9") == Compression("gzip", 9)
    assert parse_compression("zstd:5") == Compression("zstd", 5)
    assert default("") == Compression("")


@pytest.mark.parametrize(
    "text", ["", "xz", "gzip:", "gzip:10", "gzip:-1", "gzip:²", "zstd:0", "zstd:20", "none:1"]
)
def test_what_is_no_option(text: str) -> None:
    with pytest.raises(UsageError, match="--compress"):
        parse_compression(text)


def test_zstd_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("compression.zstd", "compression", "backports.zstd", "backports"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UnsupportedImageError, match=r"pip install 'image-squasher\[zstd\]'"):
        list(decompress("zstd", io.BytesIO(PACKED["zstd"])))
    with pytest.raises(UnsupportedImageError):
        list(compress(Compression("zstd", 3), [b""]))


def test_versions(gzip_library: str) -> None:
    told = {"zlib": r"zlib 1\..*", "libdeflate": r"libdeflate \(deflate \d+\.\d+\.\d+\)"}
    assert re.fullmatch(told[gzip_library], version("gzip"))
    assert version("zstd").startswith("zstd 1.")
    assert version("") == ""


def test_blocks_that_come_out_even(monkeypatch: pytest.MonkeyPatch, gzip_library: str) -> None:
    monkeypatch.setattr(gzipped, "_BLOCK", 1000)
    for size in (0, 1, 999, 1000, 1001, 3000, 3500):
        data = DATA[:size]
        packed = b"".join(compress(default("gzip"), [data[:700], data[700:]]))
        assert gzip.decompress(packed) == data
        assert unpacked("gzip", packed) == data
        blocks = max(1, -(-size // 1000))
        assert len(members(packed)) == (blocks if gzip_library == "libdeflate" else 1)


def members(packed: bytes) -> list[bytes]:
    """Return the members of a gzip stream."""
    found = []
    while packed:
        inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
        inflate.decompress(packed)
        assert inflate.eof
        found.append(packed[: len(packed) - len(inflate.unused_data)])
        packed = inflate.unused_data
    return found


def test_no_member_is_one_of_an_estargz(gzip_library: str) -> None:
    """Its readers look for a last member that is empty and has an extra field.

    Source: stargz-snapshotter, docs/estargz.md, "Footer".
    """
    for data in (b"", DATA):
        for member in members(b"".join(compress(default("gzip"), [data]))):
            assert member[3] == 0, "no flags: no extra field"


def test_threads_change_no_byte(monkeypatch: pytest.MonkeyPatch, gzip_library: str) -> None:
    made = set()
    for threads in (1, 2, 7):
        monkeypatch.setattr(gzipped, "_THREADS", threads)
        made.add(b"".join(compress(default("gzip"), [DATA, DATA])))
    assert len(made) == 1


def test_a_failure_before_the_compressor_is_raised(gzip_library: str) -> None:
    def windows() -> Iterator[bytes]:
        yield DATA
        raise ArchiveError("shorter than it was")

    with pytest.raises(ArchiveError, match="shorter"):
        list(compress(default("gzip"), windows()))


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (b"", ""),
        (bytes(600), ""),
        (b"\n", "damaged gzip data: it ends early"),
        (b"no gzip at all", "damaged gzip data: Error -3 while decompressing data: incorrect head"),
        (PACKED["gzip"][:-1], "damaged gzip data: it ends early"),
        (PACKED["gzip"][:-8] + bytes(8), "damaged gzip data: .*: incorrect data check"),
        (PACKED["gzip"][:-4] + bytes(4), "damaged gzip data: .*: incorrect length check"),
    ],
)
def test_both_libraries_say_the_same_of_what_follows(
    more: bytes, says: str, gzip_library: str
) -> None:
    if says:
        with pytest.raises(ArchiveError, match=says):
            unpacked("gzip", PACKED["gzip"] + more)
    else:
        assert unpacked("gzip", PACKED["gzip"] + more) == DATA


# ---------------------------------------------------------------- what the extra would have saved


def test_advice_if_it_took_long(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch)
    assert gzipped.advice(4.9) == ""
    assert gzipped.advice(10.0) == (
        "compressing took 10.0 s; the extra `fast` saves about 6 s:"
        " pip install 'image-squasher[fast]'"
    )


def test_no_advice_where_the_extra_is() -> None:
    pytest.importorskip("deflate", reason="needs the extra `fast`")
    assert gzipped.advice(10.0) == ""


@pytest.mark.parametrize("where", ["pypy", "riscv64", "1.3.1.zlib-ng"])
def test_no_advice_where_it_does_not_fit(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Wheels are missing there, or Python's zlib is zlib-ng already."""
    hide(monkeypatch)
    if where == "pypy":
        monkeypatch.setattr(sys, "implementation", SimpleNamespace(name=where))
    elif where == "riscv64":
        monkeypatch.setattr("platform.machine", lambda: where)
    else:
        monkeypatch.setattr(zlib, "ZLIB_RUNTIME_VERSION", where)
    assert gzipped.advice(10.0) == ""


def hide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the extra missing, on a machine that it is built for."""
    monkeypatch.setitem(sys.modules, "deflate", None)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(zlib, "ZLIB_RUNTIME_VERSION", "1.2.13")


def test_the_extra_is_for_the_machines_that_are_told_of_it() -> None:
    text = (Path(__file__).parents[2] / "setup.cfg").read_text("utf-8")
    assert text.count(f'platform_machine in "{" ".join(gzipped._MACHINES)}"') == 2


@pytest.mark.parametrize("name", ["gzip", "xz"])
@pytest.mark.parametrize("zeros", [4, 512, 700_000])
def test_padding_between_streams_and_behind_them(name: str, zeros: int, gzip_library: str) -> None:
    padded = PACKED[name] + bytes(zeros)
    assert unpacked(name, padded) == DATA
    assert unpacked(name, padded + padded) == DATA * 2


@pytest.mark.parametrize("zeros", [1, 6, 700_001])
def test_padding_that_is_none(zeros: int) -> None:
    """The padding of xz is made of fours: what follows another one is no stream of its own."""
    assert unpacked("xz", PACKED["xz"] + bytes(zeros) + PACKED["xz"]) == DATA


def windowed(name: str, bits: int) -> bytes:
    """Return DATA packed with a window of so many bits."""
    if name == "xz":
        return greedy_xz(DATA, bits)
    packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: bits})
    return packer.compress(DATA) + packer.flush()


@pytest.mark.parametrize("name", ["xz", "zstd"])
@pytest.mark.parametrize("bits", [27, 28, 29])
def test_windows_that_engines_take(name: str, bits: int) -> None:
    assert unpacked(name, windowed(name, bits)) == DATA


@pytest.mark.parametrize("name", ["xz", "zstd"])
def test_a_window_that_is_too_long(name: str) -> None:
    """Our own limit is no damage; also of a second stream, where xz may have anything else."""
    says = rf"^unpacking the {name} data takes more than 512 MiB .*; unpack it first"
    for data in (windowed(name, 30), PACKED[name] + windowed(name, 30)):
        with pytest.raises(UnsupportedImageError, match=says):
            unpacked(name, data)


def test_more_memory_than_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Greedy:
        """Is refused what it asks for."""

        eof = False

        def decompress(self, data: bytes, most: int) -> bytes:
            """Fail."""
            raise MemoryError

    monkeypatch.setattr(lzma, "LZMADecompressor", lambda *options: Greedy())
    with pytest.raises(UnsupportedImageError, match="or more than is free"):
        unpacked("xz", PACKED["xz"])
