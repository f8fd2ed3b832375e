"""Fuzz the tar walk: any bytes are a layer, or an error of ours, and the same one in any windows.

Where the walk takes a layer, the model takes it and says the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

from squasher.errors import ArchiveError, SquasherError
from squasher.tar.entry import Changeset, Entry
from squasher.tar.members import members
from squasher.tar.walk import LayerWalk
from tests import model
from tests.fuzz.wire import Dice, expand, mended

WINDOWS = ((1 << 20,), (512,), (1,), (513, 7), (1024, 1500), (100, 4096))
#: The model makes sparse files whole; no larger ones are asked of it.
SPARSE_MAX = 1 << 20


def one(data: bytes) -> None:
    """Walk one input: three bytes of choices, then a tar, short or not."""
    dice = Dice(data)
    windows = dice(WINDOWS)
    short, mend, how = dice((True, False)), dice((0, 1, 2)), dice(("feed", "outer", "jump"))
    tar = dice.rest()
    if short:
        tar = expand(tar)
    if mend:
        tar = mended(tar, mend == 1)
    if how == "outer":
        outer(tar)
        return
    whole, split = walked(tar, (len(tar) or 1,)), walked(tar, windows, jump=how == "jump")
    if isinstance(whole, ArchiveError) or isinstance(split, ArchiveError):
        assert type(whole) is type(split), "the windows decide"
    else:
        assert said(whole) == said(split), "the windows decide what is said"
        compare(tar, whole)


def walked(tar: bytes, windows: Sequence[int], *, jump: bool = False) -> Changeset | ArchiveError:
    """Return what the walk makes of a layer that comes in windows of these sizes.

    With `jump` what nobody looks at is left out.
    """
    walk = LayerWalk(0)
    try:
        for size in cycle(windows):
            if walk.offset >= len(tar):
                break
            walk.feed(tar[walk.offset : walk.offset + size])
            if jump:
                walk.jump(len(tar))
        return walk.finish()
    except ArchiveError as error:
        require_ours(error, 3)
        return error


def require_ours(error: SquasherError, *codes: int) -> None:
    """Require that an error reads as ours do: one line, with one of these exit codes."""
    assert str(error)
    assert "\n" not in str(error)
    assert error.exit_code in codes, str(error)


def said(changes: Changeset) -> list[object]:
    """Return all that a changeset says, as values."""
    return [
        changes.size,
        list(changes.paths),
        [[getattr(entry, name) for name in Entry.__slots__] for entry in changes.entries],
        changes.whiteouts,
        changes.opaques,
        changes.warnings,
    ]


def outer(tar: bytes) -> None:
    """Read an outer archive: its members lie inside it, one behind the other."""
    end = 0
    try:
        for member in members(lambda at, size: tar[at : at + size], len(tar)):
            assert end + 512 <= member.offset <= member.offset + member.size <= len(tar)
            end = member.offset + member.size
    except ArchiveError as error:
        require_ours(error, 3)


def compare(tar: bytes, changes: Changeset) -> None:
    """Require that the model reads the same entries, in the same order."""
    if too_sparse(changes):
        return
    expected = [
        (
            entry.kind,
            b"/".join(entry.path),
            (entry.mode, chowned(entry.uid, entry.kind), chowned(entry.gid, entry.kind)),
            entry.mtime,
            tuple(sorted(entry.xattrs.items())),
            entry.target if entry.kind in ("symlink", "hardlink") else b"",
            entry.device,
            len(entry.data),
        )
        for entry in model.read(tar)
        if entry.kind not in ("whiteout", "opaque")
    ]
    found = [
        (
            model.KINDS[bytes((entry.kind,))],
            path,
            entry.owner,
            entry.mtime,
            entry.xattrs,
            entry.target if isinstance(entry.target, bytes) else b"",
            entry.target if entry.kind in b"34" else (0, 0),
            entry.size,
        )
        for path, entry in zip(changes.paths, changes.entries, strict=True)
    ]
    assert found == expected
    hidden = [
        (e.kind, b"/".join(e.path)) for e in model.read(tar) if e.kind in ("whiteout", "opaque")
    ]
    assert sorted(hidden) == sorted(
        [("whiteout", gone.path) for gone in changes.whiteouts]
        + [("opaque", gone.path) for gone in changes.opaques]
    )


def chowned(number: int, kind: str) -> int:
    """Return an owner as lchown(2) takes it: all ones leave what a link leads to, or root's."""
    return 0 if number == model.NOBODY and kind != "hardlink" else number


def too_sparse(changes: Changeset) -> bool:
    """Tell whether a file is too large for the model."""
    return any(entry.sparse is not None and entry.size > SPARSE_MAX for entry in changes.entries)
