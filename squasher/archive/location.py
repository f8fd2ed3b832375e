"""What the text of an IMAGE, BASE or OUT names: a path, a stream, or a transport.

Source: containers-transports(5), for the transports and where their references begin.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Literal

from squasher.errors import UsageError

#: What a text names: a path, stdin or stdout, or one of the transports.
Kind = Literal["path", "stream", "docker-archive", "oci-archive", "oci", "docker-daemon"]

_TRANSPORT = re.compile(r"(docker-archive|oci-archive|oci|docker-daemon):(.*)", re.DOTALL)
_DRIVE = re.compile(r"[A-Za-z]:(?![a-z-]*:)")
#: Transports of other tools: the lines that read from them first, and write to them afterwards.
_REFUSED = {
    "docker://": (
        "skopeo copy {} oci-archive:image.tar",
        "skopeo copy oci-archive:image.tar {}",
    ),
    "containers-storage:": ("podman save {name} -o image.tar", "podman load -i image.tar"),
    "dir:": ("skopeo copy {} oci-archive:image.tar", "skopeo copy oci-archive:image.tar {}"),
}


@dataclass(frozen=True, slots=True)
class Location:
    """A source or a destination, as `parse_location` reads it.

    kind   "path", "stream" (stdin or stdout), or a transport: "docker-archive", "oci-archive",
           "oci", "docker-daemon"
    path   of a file or a folder; for "docker-daemon" the name of the image
    ref    of the image in a source, "" for all images; for a destination the name of the result
    """

    kind: Kind
    path: str
    ref: str = ""


def parse_location(text: str, *, output: bool = False) -> Location:
    """Return what `text` names: "-", a path, or a transport with its path or name.

    Raises UsageError if the path or the name is missing, and for a transport that needs another
    tool: the hint is the line to run before, or for an `output` after.
    """
    if text == "-":
        return Location("stream", "-")
    for prefix, instead in _REFUSED.items():
        if text.startswith(prefix):
            name = shlex.quote(text[len(prefix) :])
            line = instead[output].format(shlex.quote(text), name=name)
            hint = f"write image.tar, then run `{line}`" if output else f"run `{line}` first"
            raise UsageError(f"the transport {prefix} is not supported", where=text, hint=hint)
    match = _TRANSPORT.fullmatch(text)
    if match is None:
        return Location("path", text)
    kind, rest = match.groups()
    if kind == "docker-daemon":
        if not rest:
            raise UsageError("the name of the image is missing", where=text)
        return Location("docker-daemon", rest)
    start = 2 if _DRIVE.match(rest) else 0
    path, _, ref = rest[start:].partition(":")
    path = rest[:start] + path
    if not path:
        raise UsageError("the path is missing", where=text)
    return Location(kind, path, ref)  # type: ignore[arg-type]
