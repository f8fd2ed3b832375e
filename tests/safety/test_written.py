"""What every squashed image of the corpus is held to (`conformance/safe.py`) tells harm."""

from __future__ import annotations

import tarfile

import pytest

from tests.builders import Char, Dir, File, Hardlink, Member, Symlink, Whiteout, layer, outer_tar
from tests.conformance import safe

F = File(b"f", b"content")
HARM: dict[str, tuple[str, list[Member]]] = {
    "an absolute name": ("absolute", [File(b"/etc/passwd")]),
    "a name that leads out": ("leads out", [File(b"../f")]),
    "a name that leads out and in again": ("leads out", [File(b"d/../f")]),
    "a file twice": ("twice", [F, F]),
    "a file twice, spelled otherwise": ("twice", [F, File(b"./f")]),
    "an entry below a symlink": ("no folder", [Symlink(b"s", b"/etc"), File(b"s/passwd")]),
    "an entry below a symlink that comes later": (
        "no folder",
        [File(b"s/d/passwd"), Symlink(b"s", b"/etc")],
    ),
    "an entry below a file": ("no folder", [F, File(b"f/g")]),
    "a link to an absolute name": ("absolute", [F, Hardlink(b"l", b"/f")]),
    "a link that leads out": ("leads out", [F, Hardlink(b"l", b"../../etc/passwd")]),
    "a link to what is not there": ("not there", [Hardlink(b"l", b"f"), F]),
    "a link to a folder": ("to a folder", [Dir(b"d"), Hardlink(b"l", b"d")]),
    "a whiteout of the layer's own file": ("hidden", [Whiteout(b"f"), F]),
    "a whiteout of a folder with its own file": ("hidden", [File(b"d/f"), Whiteout(b"d")]),
}


@pytest.mark.parametrize(("says", "members"), HARM.values(), ids=HARM)
def test_a_layer_that_does_harm(says: str, members: list[Member]) -> None:
    with pytest.raises(AssertionError, match=says):
        safe.check_layer(layer(*members))


def test_a_layer_that_does_none() -> None:
    folder = [Dir(b"./"), Dir(b"d"), Whiteout(b"d/gone"), File(b"./d/f"), Hardlink(b"d/l", b"d/f")]
    safe.check_layer(layer(*folder, Symlink(b"s", b"/etc"), Char(b"c"), Whiteout(b"g")))
    safe.check_layer(layer())


@pytest.mark.parametrize(
    "data",
    [
        layer(F)[:-512],
        layer(F) + bytes(512),
        layer(F, trailer=b""),
        layer(F)[:1024] + layer(F),
        layer(F)[:512] + bytes(1024),
    ],
)
def test_headers_that_do_not_lead_to_the_end(data: bytes) -> None:
    with pytest.raises((AssertionError, tarfile.ReadError)):
        safe.check_layer(data)


def test_an_archive_that_does_harm() -> None:
    blob = "blobs/sha256/" + "0" * 64
    folders: dict[str, bytes | None] = {"blobs": None, "blobs/sha256": None}
    safe.check_archive(outer_tar({**folders, blob: b"", "index.json": b"", "oci-layout": b""}))
    for names in ((blob, "x"), ("index.json", blob), ("../index.json",), ("/index.json",)):
        with pytest.raises(AssertionError):
            safe.check_archive(outer_tar(folders | dict.fromkeys(names, b"")))
    for bad in ({blob: b""}, folders | {"etc": None}, dict.fromkeys(reversed(folders), None)):
        with pytest.raises(AssertionError):
            safe.check_archive(outer_tar(bad))
    above = (Dir(b"blobs"), Dir(b"blobs/sha256"))
    with pytest.raises(AssertionError):
        safe.check_archive(layer(*above, File(b"index.json"), File(b"index.json")))
    with pytest.raises(AssertionError):
        safe.check_archive(layer(*above, Symlink(b"index.json", b"/etc/passwd")))
