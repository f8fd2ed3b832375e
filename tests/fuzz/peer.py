"""Hold the tar walk against Go's archive/tar, with which every engine reads layers.

    python -m tests.fuzz.peer SECONDS FINDINGS [--seed N] [FILE...]

Inputs are the layers of the corpora, and FILE..., changed at random. Go reads each beside the walk:
both refuse it, or both find the same entries with the same content. Where they may differ is in
EXPLAINED, with why; the first example of any other difference is left in the folder FINDINGS, and
the exit code is 1. `go` must be there. docs/development/semantics.md has what was found (R2).
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

from squasher.errors import ArchiveError
from squasher.tar import paths
from squasher.tar.entry import LEFT, LINK, REG, Entry
from squasher.tar.fields import device
from squasher.tar.paths import Meaning
from squasher.tar.walk import LayerWalk
from tests.builders import BLOCK, pax_record
from tests.fuzz import seeds
from tests.fuzz.wire import FIELDS, mended

SOURCE = Path(__file__).with_name("peer.go")
#: As in peer.go: content of larger files is not compared.
CONTENT_MAX = 1 << 20
TAR_MAX = 1 << 18

#: Where the walk and Go's reader may differ: a pattern for `ours | Go's`, and why it is right. An
#: error stands as its text, entries as "taken".
EXPLAINED: tuple[tuple[str, str], ...] = (
    (
        r"(leads out of the root|longer than \d+ bytes).* \| taken",
        "R3: Linux has no such name, and engines refuse names outside of the root",
    ),
    (
        r"(below a whiteout|whiteout without a name|can be the root).* \| taken",
        "R3, R4: names that have no meaning in a layer",
    ),
    (
        r"more than \d+ extended attributes \| taken",
        "a limit of ours: Linux lists no more, and each takes memory",
    ),
    (
        r"sparse map does not fit the data \| taken",
        "Go finds it where it reads the file, and files above 64 MiB are not read here",
    ),
    (r"a symlink without a target.* \| taken", "symlink(2) refuses it, and so every engine"),
    (
        r"the tar header type .* is not supported.* \| taken",
        "R2: Go hands on any type; engines refuse what they do not know",
    ),
)

# ---------------------------------------------------------------- Go's side


class Peer:
    """A process that reads tars with Go's archive/tar, one after the other."""

    def __init__(self, folder: str) -> None:
        program = Path(folder, "peer")
        subprocess.run(["go", "build", "-o", program, SOURCE], check=True)
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def read(self, tar: bytes) -> dict[str, Any]:
        """Return what it says of a tar: Entries, Error."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(struct.pack(">I", len(tar)) + tar)
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def _bytes(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def theirs(answer: dict[str, Any]) -> tuple[str, list[tuple[Any, ...]], list[tuple[str, bytes]]]:
    """Return (error, entries, whiteouts) as a layer has them, of what Go's reader says."""
    entries, hidden = [], []
    for said in answer["Entries"] or ():
        kind, name = said["Type"], _bytes(said["Name"])
        if kind == ord("g"):
            continue
        meaning, about = paths.classify(paths.clean(name))
        if meaning is not Meaning.ENTRY:
            if meaning is not Meaning.IGNORED:
                hidden.append((meaning.name, about))
            continue
        if not about and kind != ord("5"):
            continue
        size = said["Size"] if kind == REG else 0
        entries.append(
            (
                chr(kind),
                about,
                said["Mode"] & 0o7777,
                _owner(said["UID"], kind),
                _owner(said["GID"], kind),
                said["Seconds"] * 10**9 + said["Nanoseconds"],
                sorted((_bytes(k), _bytes(v)) for k, v in said["Xattrs"] or ()),
                _bytes(said["Link"]) if chr(kind) in "12" else b"",
                device(said["Major"], said["Minor"]) if chr(kind) in "34" else None,
                size,
                _bytes(said["Sha256"]).hex() if kind == REG and size <= CONTENT_MAX else "",
            )
        )
    return answer["Error"], entries, sorted(hidden)


def _owner(number: int, kind: int) -> int:
    number &= LEFT
    return 0 if number == LEFT and kind != LINK else number


# ---------------------------------------------------------------- our side


def ours(tar: bytes) -> tuple[str, list[tuple[Any, ...]], list[tuple[str, bytes]]]:
    """Return (error, entries, whiteouts) of what the walk says."""
    walk = LayerWalk(0)
    try:
        walk.feed(tar)
        changes = walk.finish()
    except ArchiveError as error:
        return str(error), [], []
    entries = [
        (
            chr(entry.kind),
            path,
            *entry.owner,
            entry.mtime,
            list(entry.xattrs),
            entry.target if entry.kind in b"12" else b"",
            entry.target if entry.kind in b"34" else None,
            entry.size,
            _digest(tar, entry) if entry.kind == REG and entry.size <= CONTENT_MAX else "",
        )
        for path, entry in zip(changes.paths, changes.entries, strict=True)
    ]
    marks = [(Meaning.WHITEOUT.name, x.path) for x in changes.whiteouts]
    marks += [(Meaning.OPAQUE.name, x.path) for x in changes.opaques]
    return "", entries, sorted(marks)


def _digest(tar: bytes, entry: Entry) -> str:
    sparse = entry.sparse
    if sparse is None:
        return hashlib.sha256(tar[entry.data : entry.data + entry.size]).hexdigest()
    content, at = bytearray(entry.size), entry.data
    for offset, length in sparse:
        content[offset : offset + length] = tar[at : at + length]
        at += length
    return hashlib.sha256(content).hexdigest()


_FIELDS = (
    *("kind", "path", "mode", "uid", "gid", "mtime", "xattrs", "link", "device", "size"),
    "content",
)


def difference(tar: bytes, peer: Peer) -> str:
    """Return how the two differ on a tar, "" if they do not."""
    error, entries, marks = ours(tar)
    answer = peer.read(tar)
    if answer["Error"]:
        return "" if error else f"taken | {answer['Error']}"
    if error:
        return f"{_worded(error)} | taken"
    _, expected, hidden = theirs(answer)
    if (entries, marks) == (expected, hidden):
        return ""
    if len(entries) != len(expected) or marks != hidden:
        return f"{len(entries)} entries | {len(expected)}" if marks == hidden else "whiteouts"
    for one, other in zip(entries, expected, strict=True):
        for name, x, y in zip(_FIELDS, one, other, strict=True):
            if x != y:
                return f"{name}: {str(x)[:60]} | {str(y)[:60]}"
    raise AssertionError


def _worded(error: str) -> str:
    """Return an error without the name and the place that it is about."""
    return re.sub(r"^'.*' at byte \d+: ", "", error)


# ---------------------------------------------------------------- inputs

NUMBERS = (
    *(b"", b"0", b"7", b"00000000001", b"777777777777", b"77777777777\0", b"-1", b"+1", b"0x1"),
    *(b" 1", b"1 ", b"\0001", b"1\0002", b"1 2", b"8", b"\t1", b"1\n", b"0" * 12, b" " * 12),
    *(b"\x80" + bytes(10) + b"\1", b"\xff" * 12, b"\x80" + b"\xff" * 11, b"\xc0", b"\xbf"),
    *(b"\x80" + bytes(3) + b"\x7f" + b"\xff" * 7, b"\x80" + bytes(3) + b"\x80" + bytes(7)),
    *(b"\xff" * 4 + b"\x80" + bytes(7), b"\xff" * 4 + b"\x7f" + bytes(7), b"\x81", b"\x80"),
)
TEXTS = (
    *(b"", b".", b"/", b"./", b"..", b"a/", b"a//b", b"/a", b"../a", b"a/../b", b".wh.a", b"a\0b"),
    *(b".wh..wh..opq", b".wh..wh.x", b".wh.", b".wh...", b"\xff\xfe", "ä".encode(), b"x" * 100),
    *(b"GNUSparseFile.0/a", b"a/.wh.b/c", b" a ", b"a\n", b"d/.wh..wh..opq", b"=", b"y" * 300),
)
MAGICS = (b"ustar\x0000", b"ustar  \0", b"ustar\0\0\0", b"ustar 00", bytes(8), b"USTAR\x0000")
TYPES = b"01234567xgLKSVMNDAIZ9\0"
DECIMALS = (
    *(b"", b"0", b"1", b"-1", b"+1", b"007", b"1.5", b"1.", b".5", b"-1.5", b"1e3", b" 1", b"1 "),
    *(b"4294967295", b"2097152", b"9223372036854775807", b"9223372036854775808", b"-0", b"-0.5"),
    *(b"99999999999999999999", b"1.999999999", b"1.9999999999999", b"1.a", b"0x10", b"1_0", b"--1"),
    *(b"0" * 30 + b"5", b"+", b"-", b"-9223372036854775808", b"1000", b"512", b"1,2", b"0,4,8,4"),
)
KEYS = (
    *(b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime", b"atime", b"ctime", b"uname"),
    *(b"gname", b"charset", b"comment", b"SCHILY.xattr.user.a", b"SCHILY.xattr.", b"SCHILY.dev"),
    *(b"GNU.sparse.major", b"GNU.sparse.minor", b"GNU.sparse.name", b"GNU.sparse.size"),
    *(b"GNU.sparse.realsize", b"GNU.sparse.map", b"GNU.sparse.numblocks", b"GNU.sparse.offset"),
    *(b"GNU.sparse.numbytes", b"LIBARCHIVE.xattr.user.a", b"SCHILY.realsize", b"hdrcharset", b""),
)


def header(dice: Random) -> bytes:
    """Return a header of an extension with its body."""
    flag = dice.choice(b"xxxxxxgLK")
    if flag in b"LK":
        body = dice.choice(TEXTS) + bytes(dice.randrange(3))
    else:
        body = b"".join(record(dice) for _ in range(dice.choice((0, 1, 1, 2, 3, 4))))
    block = bytearray(BLOCK)
    block[:5] = b"named"
    block[100:136] = b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % len(body)
    block[136:148] = b"00000000000\0"
    block[156] = flag
    block[257:265] = dice.choice(MAGICS)
    return bytes(block) + body + bytes(-len(body) % BLOCK)


def record(dice: Random) -> bytes:
    """Return a record of a PAX header, mostly of a right length."""
    key = dice.choice(KEYS)
    value = dice.choice(TEXTS if dice.random() < 0.3 else DECIMALS)
    if key in (b"path", b"linkpath", b"GNU.sparse.name") and dice.random() < 0.8:
        value = dice.choice(TEXTS)
    whole = pax_record(key, value)
    if dice.random() < 0.05:
        at = dice.randrange(len(whole))
        whole = whole[:at] + bytes((dice.randrange(256),)) + whole[at + 1 :]
    return whole


def headers_of(tar: bytes) -> list[int]:
    """Return where headers seem to begin."""
    found, at = [], 0
    while at + BLOCK <= len(tar):
        block = tar[at : at + BLOCK]
        at += BLOCK
        if any(block):
            found.append(at - BLOCK)
            digits = block[124:136].strip(b" \0")
            if digits and not digits.strip(b"01234567"):
                at += int(digits, 8) + -int(digits, 8) % BLOCK
    return found


def changed(tar: bytes, other: bytes, dice: Random) -> bytes:
    """Return `tar` with one change of some kind."""
    places = headers_of(tar)
    if not places:
        return other
    at = dice.choice(places)
    way = dice.randrange(12)
    if way < 5:
        return _with_field(tar, at, dice)
    if way < 8:
        return tar[:at] + header(dice) + tar[at:]
    if way == 8:
        at = dice.randrange(len(tar))
        return tar[:at] + bytes((dice.randrange(256),)) + tar[at + 1 :]
    if way == 9:  # blocks lost, doubled, or zero
        end = at + BLOCK * dice.randrange(3)
        return tar[:at] + dice.choice((b"", tar[at:end] * 2, bytes(BLOCK))) + tar[end:]
    if way == 10:
        return tar[: dice.randrange(len(tar) + 1)]
    there = dice.choice(headers_of(other) or [0])
    return tar[:at] + other[there : there + BLOCK * dice.randrange(1, 5)] + tar[at:]


def _with_field(tar: bytes, at: int, dice: Random) -> bytes:
    n = dice.randrange(len(FIELDS))
    begin, end = (FIELDS[n - 1] if n else 0), FIELDS[n]
    if begin == 156:
        value = bytes((dice.choice(TYPES),))
    elif begin == 257:
        value = dice.choice(MAGICS)
    elif begin in (0, 157, 345):
        value = dice.choice(TEXTS)
    elif begin == 500:
        value = dice.choice((b"\0" * 8 + b"tar\0", b"x" * 12, b""))
    else:
        value = dice.choice(NUMBERS)
    if dice.random() < 0.15:
        value = dice.randbytes(dice.randrange(end - begin + 1))
    elif dice.random() < 0.3:
        value = value.rjust(end - begin, dice.choice((b"0", b" ", b"\0")))
    value = value[: end - begin].ljust(end - begin, dice.choice((b"\0", b"\0", b"\0", b" ")))
    return tar[: at + begin] + value + tar[at + end :]


def inputs(known: Sequence[bytes], dice: Random) -> Iterator[bytes]:
    """Yield each of `known`, and then without end what changes make of them."""
    yield from known
    while True:
        tar = dice.choice(known)
        for _ in range(dice.choice((1, 1, 2, 2, 3, 5, 8))):
            tar = changed(tar, dice.choice(known), dice)
        if dice.random() < 0.92:
            tar = mended(tar, records=dice.random() < 0.3)
        if len(tar) <= TAR_MAX:
            yield tar


def main(words: Sequence[str]) -> int:
    """Compare for some time; say what was found."""
    parser = argparse.ArgumentParser(description="Hold the tar walk against Go's archive/tar.")
    parser.add_argument("seconds", type=int)
    parser.add_argument("findings", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("files", nargs="*", type=Path)
    asked = parser.parse_intermixed_args(words)
    asked.findings.mkdir(parents=True, exist_ok=True)
    known = [data for data in seeds.tars() if len(data) <= TAR_MAX]
    known += [path.read_bytes() for path in asked.files if path.stat().st_size <= TAR_MAX]
    print(f"{len(known)} tars to begin with", flush=True)
    counts: Counter[str] = Counter()
    new: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        peer, end, told = Peer(folder), time.monotonic() + asked.seconds, 0.0
        for tar in inputs(known, Random(asked.seed)):
            counts["inputs"] += 1
            how = difference(tar, peer)
            if how:
                why = next((why for pattern, why in EXPLAINED if re.search(pattern, how)), "")
                counts[why or "differences without an explanation"] += 1
                kind = re.sub(r"[0-9]+", "N", how)[:100]
                if not why and kind not in new:
                    new[kind] = len(new)
                    (asked.findings / f"peer-{new[kind]:03}.tar").write_bytes(tar)
                    print(f"peer-{new[kind]:03}.tar: {how}", flush=True)
            if time.monotonic() > told + 60 or time.monotonic() > end:
                told = time.monotonic()
                print(dict(counts), flush=True)
            if time.monotonic() > end:
                break
        peer.close()
    return 1 if new else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
