"""Text for people: sizes, widths, lines that a terminal cannot be controlled by."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

import click


def size(count: int) -> str:
    """Return a number of bytes as people read it, in powers of 1000 as docker has them."""
    if count < 1000:
        return f"{count} B"
    value = count / 1000
    for unit in ("kB", "MB"):
        if value < 999.95:
            return f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def counted(count: int, noun: str) -> str:
    """Return `1 layer`, `2,000 layers`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def more(count: int) -> Iterator[str]:
    """Yield the last line of a table that leaves out `count` rows; none for 0."""
    if count:
        yield f"... and {count:,} more (--all)"


def time_text(mtime: int | None) -> str:
    """Return nanoseconds since 1970 as people read them, in UTC; seconds where no calendar goes."""
    import datetime  # start-up is quicker without it

    seconds, nanoseconds = divmod(mtime or 0, 10**9)
    try:
        moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s"
    fraction = f".{nanoseconds:09}".rstrip("0") if nanoseconds else ""
    return f"{moment:%Y-%m-%d %H:%M:%S}{fraction}"


def text(value: str) -> str:
    """Return text from an image for one line of a terminal: nothing in it can control it."""
    return visible(" ".join(value.split()))


def visible(value: str) -> str:
    """Return `value` with escapes for all that is not printable, such as what turns the text."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "replace").decode("ascii")
        for char in value
    )


#: What builders put around the words of a Dockerfile: build arguments, the shell, who made it.
#: Source: moby, builder/dockerfile; buildkit, frontend/dockerfile/dockerfile2llb.
_SHELL = r"(?:RUN )?(?:\|\d+ .*?)?/bin/sh -c (#\(nop\) *)?"
_BUILDKIT = " # buildkit"


def step(created_by: str) -> str:
    """Return what a history row says, as its Dockerfile had it, on one line."""
    line = text(created_by).removesuffix(_BUILDKIT)
    shell = re.match(_SHELL, line)
    if shell is None:
        return line
    return line[shell.end() :] if shell[1] else f"RUN {line[shell.end() :]}"


def columns(value: str) -> int:
    """Return how many columns a terminal takes for `value`, which has no styles."""
    if value.isascii():
        return len(value)
    return sum(_columns(char) for char in value)


def _columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cut(value: str, width: int) -> str:
    """Return `value`, which has no styles, in at most `width` columns."""
    if columns(value) <= width:
        return value
    room = width - 1
    for i, char in enumerate(value):
        room -= _columns(char)
        if room < 0:
            return value[:i] + "…"
    raise AssertionError("it was too wide")  # pragma: no cover


#: What stays on one line: words, and commands between backticks, so that they can be copied.
_UNIT = r"(?:`[^`]*`|\S)+"


def fold(line: str, width: int) -> str:
    """Return `line` on several lines of `width` columns, the further ones below its second word.

    Only its first word may be styled; a command is not split.
    """
    plain = click.unstyle(line)
    first = re.match(r"\S+\s+", plain)
    if columns(plain) <= width or first is None or not line.endswith(plain[first.end() :]):
        return line
    start, rest = line[: -len(plain[first.end() :])], plain[first.end() :]
    lines = [""]
    for unit in re.findall(_UNIT, rest):
        longer = f"{lines[-1]} {unit}".strip()
        if lines[-1] and columns(longer) > width - first.end():
            lines.append(unit)
        else:
            lines[-1] = longer
    indents = (min(first.end(), max(0, width - columns(each))) for each in lines[1:])
    below = (" " * indent + each for indent, each in zip(indents, lines[1:], strict=True))
    return start + "\n".join((lines[0], *below))
