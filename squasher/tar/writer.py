"""The headers that we write: ustar, and PAX for what ustar cannot say."""

from __future__ import annotations

from collections.abc import Sequence

from squasher.errors import ArchiveError
from squasher.tar.entry import BLOCK, DIR, SPECIAL_MAX, XATTR, Owner, SparseMap, Xattrs
from squasher.tar.headers import PAX
from squasher.tar.paths import show


def header(
    path: bytes,
    kind: int,
    owner: Owner = (0o600, 0, 0),
    *,
    size: int = 0,
    mtime: int = 0,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
    xattrs: Xattrs = (),
    sparse: SparseMap | Sequence[tuple[int, int]] | None = None,
) -> bytes:
    """Return a header for `path`: ustar, preceded by PAX records for what ustar cannot say.

    `mtime` in nanoseconds. Directories get their slash; no path is the root as `/`. A `sparse` file
    gets its map, in the format 1.0 of GNU tar, which all engines read; its fragments follow the
    header as one. The same arguments always give the same bytes. Source: POSIX pax; values are
    placed as every engine was seen to read them. Raises ArchiveError for a header larger than
    engines read.
    """
    mode, uid, gid = owner
    name = path + b"/" if kind == DIR else path
    seconds, fraction = divmod(mtime, 10**9)
    records: list[tuple[bytes, bytes]] = []
    data_map = b""
    if sparse is not None:
        numbers = [len(sparse), *(value for fragment in sparse for value in fragment)]
        data_map = b"".join(b"%d\n" % value for value in numbers)
        data_map += bytes(-len(data_map) % BLOCK)
        records += [
            (b"GNU.sparse.major", b"1"),
            (b"GNU.sparse.minor", b"0"),
            (b"GNU.sparse.name", name),
            (b"GNU.sparse.realsize", b"%d" % size),
        ]
        size = len(data_map) + sum(length for _, length in sparse)
    elif len(name) > 100:
        records.append((b"path", name))
    if len(link) > 100:
        records.append((b"linkpath", link))
    for key, value, limit in ((b"uid", uid, 8**7), (b"gid", gid, 8**7), (b"size", size, 8**11)):
        if value >= limit:
            records.append((key, b"%d" % value))
    if fraction or not 0 <= seconds < 8**11:
        records.append((b"mtime", _decimal_time(mtime)))
    records += [(XATTR + key, value) for key, value in xattrs]
    block = ustar_header(
        name[:100],
        kind,
        mode,
        uid if uid < 8**7 else 0,
        gid if gid < 8**7 else 0,
        size if size < 8**11 else 0,
        seconds if 0 <= seconds < 8**11 else 0,
        link[:100],
        device,
    )
    if not records:
        return block
    body = b"".join(pax_record(key, value) for key, value in sorted(records))
    if len(body) > SPECIAL_MAX:
        raise ArchiveError(f"an extended header of {len(body)} bytes", where=show(path))
    return _extension(body) + block + data_map


def shield() -> bytes:
    """Return what begins a layer whose first name looks like something else than a tar.

    An extended header; POSIX has the key `comment` for what every reader passes over.
    """
    return _extension(pax_record(b"comment", b"a tar"))


def _extension(body: bytes) -> bytes:
    """Return PAX records with their own header and padding."""
    head = ustar_header(b"PaxHeader", PAX, 0o644, 0, 0, len(body))
    return head + body + bytes(-len(body) % BLOCK)


def _decimal_time(mtime: int) -> bytes:
    sign = b"-" if mtime < 0 else b""
    seconds, fraction = divmod(abs(mtime), 10**9)
    digits = b"%d" % seconds
    if fraction:
        digits += b"." + (b"%09d" % fraction).rstrip(b"0")
    return sign + digits


def pax_record(key: bytes, value: bytes) -> bytes:
    """Return a PAX record; its length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)


def ustar_header(
    name: bytes,
    kind: int,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    seconds: int = 0,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
) -> bytes:
    """Return one block of header in ustar."""
    block = b"".join(
        (
            name.ljust(100, b"\0"),
            b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, uid, gid, size, seconds),
            b" " * 8,
            bytes((kind,)),
            link.ljust(100, b"\0"),
            b"ustar\00000".ljust(72, b"\0"),
            b"%07o\0%07o\0" % device,
            bytes(167),
        )
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]
