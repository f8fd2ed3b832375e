"""In which fields two nodes of root filesystems differ: for `diff` and for `--verify`."""

from __future__ import annotations

from collections.abc import Iterator

from squasher.tar.entry import BLK, CHR, SYM, Entry

#: A directory that no layer has an entry for is 0755, of root, and of no certain time.
_IMPLIED = Entry(0, -1, 0, 0, 0, (0o755, 0, 0), 0)


def fields(x: Entry, b: Entry) -> Iterator[str]:
    """Yield in what two entries that are no directories differ, links and content apart."""
    if x.kind != b.kind:
        yield "type"
        return
    if x.kind != SYM and x.owner[0] != b.owner[0]:  # the kernel ignores the mode of a symlink
        yield "mode"
    yield from _others(x, b, timed=True)
    if x.kind == SYM and x.target != b.target:
        yield "target"
    if x.kind in (CHR, BLK) and x.target != b.target:
        yield "device"
    if x.size != b.size:
        yield "size"


def directory_fields(x: Entry | None, b: Entry | None) -> Iterator[str]:
    """Yield in what two directories differ; None is one without an entry, which has no time."""
    one, two = x or _IMPLIED, b or _IMPLIED
    if one.owner[0] != two.owner[0]:
        yield "mode"
    yield from _others(one, two, timed=x is not None and b is not None)


def _others(x: Entry, b: Entry, *, timed: bool) -> Iterator[str]:
    if x.owner[1:] != b.owner[1:]:
        yield "owner"
    if timed and x.mtime != b.mtime:
        yield "mtime"
    if x.packed != b.packed:
        yield "xattrs"
