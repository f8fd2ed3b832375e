"""The comparison with Go's reader, with answers of Go that are written down here."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest

from squasher.tar.entry import DIR, LINK, REG, SYM
from tests.builders import MTIME, Char, Dir, File, Hardlink, Symlink, Whiteout, layer
from tests.conformance.corpus import CASES
from tests.fuzz import peer

TAR = layer(
    Dir(b"d", mode=0o1777),
    File(b"d/f", b"data", xattrs={b"user.a": b"1"}),
    Hardlink(b"d/h", b"d/f"),
    Symlink(b"s", b"d"),
    Char(b"null", device=(1, 3)),
    Whiteout(b"gone"),
    File(b".wh..wh.aufs"),
)


def said(kind: int, name: bytes, **more: Any) -> dict[str, Any]:
    """Return an entry as peer.go writes it."""
    texts = {"Name": name, "Link": b"", "Sha256": hashlib.sha256(b"").digest(), **more}
    coded = {k: base64.b64encode(v).decode() for k, v in texts.items() if isinstance(v, bytes)}
    seconds, rest = divmod(MTIME, 10**9)
    numbers = {"UID": 0, "GID": 0, "Size": 0, "Major": 0, "Minor": 0, "Mode": 0o644}
    times = {"Seconds": seconds, "Nanoseconds": rest, "Xattrs": None}
    return {"Type": kind, **numbers, **times, **more, **coded}


def answer() -> dict[str, Any]:
    """Return what Go says of TAR."""
    xattr = [[base64.b64encode(x).decode() for x in (b"user.a", b"1")]]
    content = hashlib.sha256(b"data").digest()
    return {
        "Error": "",
        "Entries": [
            said(ord("g"), b"pax_global_header"),
            said(DIR, b"d/", Mode=0o41777),
            said(REG, b"d/f", Size=4, Sha256=content, Xattrs=xattr),
            said(LINK, b"d/h", Link=b"d/f"),
            said(SYM, b"s", Link=b"d", Mode=0o777),
            said(ord("3"), b"null", Mode=0o666, Major=1, Minor=3),
            said(REG, b".wh.gone"),
            said(REG, b".wh..wh.aufs"),
        ],
    }


class Answers(peer.Peer):
    """A reader that always says the same."""

    def __init__(self, says: dict[str, Any]) -> None:
        self._says = says

    def read(self, tar: bytes) -> dict[str, Any]:
        """Return it."""
        return self._says


def test_the_same_is_no_difference() -> None:
    assert peer.difference(TAR, Answers(answer())) == ""
    assert peer.difference(b"no tar", Answers({"Error": "invalid", "Entries": None})) == ""


@pytest.mark.parametrize(
    ("at", "changes", "how"),
    [
        (1, {"UID": 1}, "uid: 0 | 1"),
        (2, {"Sha256": ""}, "content: "),
        (2, {"Size": 5}, "size: 4 | 5"),
        (2, {"Xattrs": None}, "xattrs: "),
        (3, {"Link": ""}, "link: b'd/f' | b''"),
        (5, {"Minor": 4}, "device: (1, 3) | (1, 4)"),
        (6, {"Name": base64.b64encode(b".wh.x").decode()}, "whiteouts"),
        (4, {"Name": base64.b64encode(b".").decode()}, "5 entries | 4"),
    ],
)
def test_a_difference_is_told(at: int, changes: dict[str, Any], how: str) -> None:
    says = answer()
    says["Entries"][at].update(changes)
    assert peer.difference(TAR, Answers(says)).startswith(how)


def test_who_refuses_what_the_other_takes() -> None:
    refuses = Answers({"Error": "archive/tar: invalid tar header", "Entries": None})
    assert peer.difference(TAR, refuses) == "taken | archive/tar: invalid tar header"
    strays = Answers({"Error": "", "Entries": [said(REG, b"../x")]})
    how = peer.difference(layer(File(b"../x")), strays)
    assert how == "the name leads out of the root | taken"
    assert any(re.search(pattern, how) for pattern, _ in peer.EXPLAINED)


@pytest.mark.parametrize(
    "member",
    [
        *(File(name) for name in (b".wh.a/b", b".wh.", b"/", b"n" * 256, b"p/" * 2100 + b"x")),
        replace(File(b"x"), type=b"V"),
        Symlink(b"s", b""),
        File(b"x", xattrs={b"user.%d" % n: b"" for n in range(1001)}),
    ],
    ids=lambda member: member.path[:9].decode(),
)
def test_what_squash_alone_refuses_is_explained(member: Any) -> None:
    how = peer.difference(layer(member), Answers({"Error": "", "Entries": []}))
    assert any(re.search(pattern, how) for pattern, _ in peer.EXPLAINED), how


def test_what_is_changed_is_mostly_a_tar() -> None:
    known = [tar for case in CASES[:40] for tar in case.layers]
    made = list(islice(peer.inputs(known, Random(3)), len(known) + 300))
    assert made[: len(known)] == known
    assert len(set(made)) > len(known)
    taken = [tar for tar in made[len(known) :] if not peer.ours(tar)[0]]
    assert 30 < len(taken) < 290


def test_go_says_the_same_of_the_corpus(tmp_path: Path) -> None:
    if not shutil.which("go"):
        pytest.skip("go is not there")
    reader = peer.Peer(str(tmp_path))
    try:
        for case in CASES[::7]:
            for tar in case.layers:
                how = peer.difference(tar, reader)
                explained = any(re.search(pattern, how) for pattern, _ in peer.EXPLAINED)
                assert explained or not how, case.name
    finally:
        reader.close()
