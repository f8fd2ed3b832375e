"""What all commands share of their arguments: places, options that cannot be used together."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, BinaryIO

from squasher.cli.console import give
from squasher.errors import ArchiveError, OutputError, UsageError, placed

if TYPE_CHECKING:
    from squasher.archive.location import Location


#: How every command shows its help.
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def exclude(*options: tuple[str, object]) -> None:
    """Raise UsageError if more than one of the options, given with their values, is used."""
    used = [name for name, value in options if value]
    if len(used) > 1:
        raise UsageError(f"{' and '.join(used)} cannot be used together")


_STDOUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


def require(*options: tuple[str, str | None]) -> None:
    """Raise UsageError for an option that is given an empty text: an unset variable, mostly."""
    for option, value in options:
        if value == "":
            raise UsageError("the name is empty", where=option)


def check_place(
    option: str,
    path: str,
    *,
    inputs: Iterable[object],
    output: object = None,
    stdout_takes: str = "",
) -> None:
    """Require that what `option` writes can go to `path`, before there is anything to write.

    `inputs` and `output` are paths, streams and Locations: none may be overwritten. Raises
    UsageError, OutputError (there is no such folder).
    """
    require((option, path))
    where = f"{option} {path}"
    if path in _STDOUT or (sys.stdout is not None and _same(path, sys.stdout)):
        if stdout_takes:
            raise UsageError(f"stdout already takes {stdout_takes}", where=where)
        if sys.stdout is None:
            raise OutputError("is closed", where="stdout")
        return
    for place in inputs:
        if _same(path, place):
            raise UsageError("squash reads the image from this file", where=where)
    if _same(path, output):
        raise UsageError("squash writes the archive to this file", where=where)
    folder = os.path.dirname(os.path.realpath(path))
    if not os.path.isdir(folder) or os.path.isdir(path):
        what = "is a folder" if os.path.isdir(path) else "no such folder"
        raise OutputError(what, where=where)


def check_folder(option: str, path: str | None, inputs: Iterable[object], output: object) -> None:
    """Require that `option` can fill the folder `path`, if there is one, before anything is read.

    `inputs` and `output` are paths, streams and Locations: it is none of these. Raises UsageError,
    OutputError.
    """
    require((option, path))
    if path is None:
        return
    from squasher.archive.saved import require_new

    where = f"{option} {path}"
    if path == "-":
        raise UsageError("a folder is needed", where=where)
    if any(_same(path, place) for place in inputs):
        raise UsageError("squash reads the image from this file", where=where)
    if _same(path, output):
        raise UsageError("squash writes the archive to this file", where=where)
    with placed(option):
        require_new(path)


def _same(path: str, place: object) -> bool:
    """Tell whether a path leads to the file or stream, or into the layout, `place`."""
    name = getattr(place, "path", place)
    try:
        if isinstance(name, str):
            if os.path.isdir(name) and "blobs" in os.listdir(name):  # an OCI layout
                inside = os.path.relpath(os.path.realpath(path), os.path.realpath(name))
                return inside.split(os.sep)[0] in ("blobs", "index.json", "oci-layout")
            if os.path.realpath(path) == os.path.realpath(name):
                return True
            other = os.stat(name)
        else:
            other = os.fstat(place.fileno())  # type: ignore[attr-defined]
        found = os.stat(path)
    except (OSError, ValueError, AttributeError):
        return False
    return os.path.samestat(found, other) and not stat.S_ISCHR(found.st_mode)


def source(name: str | None) -> str | BinaryIO | Location:
    """Return what the argument `name` stands for: a path, stdin (also for None), a transport.

    Raises ArchiveError, UsageError.
    """
    from squasher.archive.location import parse_location
    from squasher.image.references import normalise_tag

    require(("IMAGE", name))
    location = parse_location(name if name is not None else "-")
    if location.kind == "path":
        if not os.path.exists(location.path) and normalise_tag(location.path):
            raise ArchiveError(
                "no such file",
                where=location.path,
                hint=f"for an image of the docker daemon: docker-daemon:{location.path}",
            )
        return location.path
    if location.kind != "stream":
        return location
    if sys.stdin is None or sys.stdin.isatty():
        what = "closed" if sys.stdin is None else "a terminal"
        raise UsageError(f"stdin is {what}", where="IMAGE", hint="give an archive, or pipe one in")
    return getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)


def write_file(path: str, content: str) -> None:
    """Write a report to the file `path`, or to stdout for "-"; complete or not at all, as archives.

    Raises OutputError.
    """
    from squasher.archive import output_file

    if path == "-":
        give(content.removesuffix("\n"))
    else:
        output_file.put(path, (content.encode(),))
