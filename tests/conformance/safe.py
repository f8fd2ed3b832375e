"""What is written, read by Python's tarfile: unpacking it can do no harm.

Asked of the bytes, whatever tree they make: no name leads out of the root or through a symlink
of its own layer, none comes twice, and the headers say all there is.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Sequence

_END = bytes(1024)
_FOLDERS = ["blobs", "blobs/sha256"]
_MEMBER = re.compile(r"blobs/sha256/[0-9a-f]{64}|index\.json|manifest\.json|oci-layout")
_WHITEOUT = ".wh."


def members(data: bytes) -> list[tarfile.TarInfo]:
    """Return the members of an archive, whose headers must lead from its start to its end."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:", encoding="utf-8") as archive:
        found = archive.getmembers()
        assert data[archive.offset :] == _END, f"the headers lead to {archive.offset}"
    return found


def check_archive(data: bytes) -> None:
    """Require that an archive holds the files and folders of a layout, each once.

    The documents come last. `forms/result.py` knows the order of the blobs.
    """
    found = members(data)
    names = [member.name for member in found]
    assert len(names) == len(set(names)), "twice"
    documents = [name for name in names if not name.startswith("blobs")]
    assert names[len(names) - len(documents) :] == sorted(documents), "in disorder"
    assert [member.name for member in found if member.isdir()] == _FOLDERS
    for member in found[len(_FOLDERS) :]:
        assert member.isreg(), member.name
        assert _MEMBER.fullmatch(member.name), member.name


def check_layer(data: bytes) -> None:
    """Require that a layer can be unpacked without touching anything but what its names say."""
    kinds: dict[str, bytes] = {}
    hidden = set()
    for member in members(data):
        path = _inside(member.name)
        assert path not in kinds, f"twice: {path}"
        assert member.type in b"\x000123456S", f"unknown type: {path}"
        folder, _, name = path.rpartition("/")
        if name.startswith(_WHITEOUT):
            hidden.add(f"{folder}/{name.removeprefix(_WHITEOUT)}".lstrip("/"))
        if member.islnk():
            first = _inside(member.linkname)
            assert first in kinds, f"a link to what is not there: {path}"
            assert kinds[first] != tarfile.DIRTYPE, f"a link to a folder: {path}"
        kinds[path] = member.type
    for path in kinds:
        for above in _above(path):
            assert kinds.get(above, tarfile.DIRTYPE) == tarfile.DIRTYPE, f"no folder: {above}"
        assert not hidden.intersection((path, *_above(path))), f"hidden by its own layer: {path}"


def _inside(name: str) -> str:
    """Return the path that a name stands for; it must be inside the root however it is read."""
    parts = name.split("/")
    assert not name.startswith("/") or name == "/", f"absolute: {name}"
    assert ".." not in parts, f"leads out: {name}"
    assert "\0" not in name, f"cut short by whoever takes it for text of C: {name}"
    return "/".join(part for part in parts if part not in ("", "."))


def _above(path: str) -> Sequence[str]:
    """Return the folders that a path is in."""
    return [path[:at] for at, char in enumerate(path) if char == "/"]
