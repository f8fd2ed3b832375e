"""Times that are too late, as `--verify` compares them: its own reading of the rule M9."""

from __future__ import annotations

from squasher.errors import PolicyError
from squasher.tar.entry import Changeset
from squasher.tar.paths import show


def clamp(changes: Changeset, latest: int | None, *, made: bool) -> None:
    """Make times of entries that are later than `latest`, in nanoseconds, `latest`; in place.

    None leaves all. A layer that was `made` here must have none that is later. O(entries).
    Raises PolicyError.
    """
    if latest is None:
        return
    for path, entry in zip(changes.paths, changes.entries, strict=True):
        if entry.mtime > latest:
            if made:
                where = f"layer {changes.layer + 1}"
                raise PolicyError(f"{show(path)} is later than --clamp-mtime allows", where=where)
            entry.mtime = latest
