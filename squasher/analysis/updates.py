"""What an update would cost a host that has the previous image: path by path, and why."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from squasher.analysis.books import folder_sums
from squasher.digest import Digest
from squasher.errors import placed
from squasher.image.model import Image
from squasher.layers.apply import apply
from squasher.layers.content import Scan, same_content
from squasher.layers.merge import Draft, Said
from squasher.layers.read import scan, stacked
from squasher.layers.tree import Directory, Node, Tree
from squasher.run import Job
from squasher.tar.entry import REG, SYM, Entry, Owner, Pair, Xattrs

#: Why a path is in the update, what costs most first: a path that the previous image lacks; other
#: bytes, another type or target; mode, owner or xattrs; the time and nothing else; a whiteout; the
#: same as it was, for a directory of what changed, or another name of a file that did.
REASONS = ("new", "content", "attributes", "time alone", "deleted", "repeated")


@dataclass(frozen=True, slots=True)
class PathCost:
    """A path in the update.

    why    "new", "content", "attributes", "time alone", "deleted", or "repeated" (not changed, but
           a directory with a change below it, or another name of a changed file)
    size   bytes in the tar of the new layer, headers included
    """

    path: bytes
    why: str
    size: int


@dataclass(frozen=True, slots=True)
class FolderCost:
    """A directory with everything below it, in bytes; `time_alone` are part of `size`."""

    path: bytes
    size: int
    time_alone: int


@dataclass(frozen=True, slots=True)
class UpdateCost:
    """What the update from a previous image would hold.

    previous_name, previous_id   name and image ID of the previous image
    size     bytes of the new layer as a tar, 0 if nothing differs
    paths    most bytes first, then by path
    folders  every directory with such a path below it; sorted by path, the root is b""
    """

    previous_name: str
    previous_id: Digest
    size: int
    paths: tuple[PathCost, ...]
    folders: tuple[FolderCost, ...]

    @property
    def costly(self) -> tuple[FolderCost, ...]:
        """All `folders`, most bytes first, then by path."""
        return tuple(sorted(self.folders, key=lambda each: (-each.size, each.path)))

    @property
    def reasons(self) -> dict[str, tuple[int, int]]:
        """For each `why`, the number of paths and their bytes."""
        found = dict.fromkeys(REASONS, (0, 0))
        for each in self.paths:
            count, size = found[each.why]
            found[each.why] = count + 1, size + each.size
        return found


def update_cost(
    image: Image,
    previous: Image,
    *,
    max_size: int | None = None,
    tmp_dir: str | os.PathLike[str] | None = None,
) -> UpdateCost:
    """Return what `--onto previous` would write for `image`.

    Both are read whole and checked, layers that both have once; compressed ones are unpacked to
    temporary files in `tmp_dir`, gone at the end. Time O(bytes), memory O(entries). Raises
    ArchiveError (also for more than `max_size` bytes), OutputError.
    """
    stack, places = stacked(image, previous)
    kept = len(previous.layers)
    with Job(tmp_dir) as job, job.verified():
        lower, upper = Tree(), Tree(kept)
        scans: list[Scan] = []
        for done, changes in scan(stack, 0, job, max_size, places):
            with placed(places[len(scans)]):
                apply(lower if len(scans) < kept else upper, changes)
            scans.append(done)
        draft = Draft.of(lower, upper, kept)
        same = same_content(draft.doubtful, scans, scans)
        plan = draft.plan(same, [done.size for done in scans])
        said = tuple(draft.said(same))
        paths = tuple(_costs(said, lower, upper, scans))
        return UpdateCost(
            previous.name,
            previous.config.image_id,
            plan.size if said else 0,
            tuple(sorted(paths, key=lambda each: (-each.size, each.path))),
            tuple(FolderCost(*each) for each in folder_sums(map(_of_folder, paths))),
        )


def _of_folder(cost: PathCost) -> tuple[bytes, int, int]:
    return cost.path, cost.size, cost.size if cost.why == "time alone" else 0


def _costs(
    said: Sequence[Said], lower: Tree, upper: Tree, scans: Sequence[Scan]
) -> Iterator[PathCost]:
    """Yield what each path costs, and why. O(bytes of files whose headers alone may differ)."""
    find = lower.finder()
    pairs: set[Pair] = set()
    for each in said:
        old, new = find(each.path), each.node
        if type(old) is Entry and type(new) is Entry and _may_be_same(old, new):
            pairs.add((upper.state(new), lower.state(old)))
    same = same_content((x for x in pairs if _place(x[0]) != _place(x[1])), scans, scans)
    same |= {x for x in pairs if _place(x[0]) == _place(x[1])}
    for each in said:
        old = find(each.path)
        yield PathCost(each.path, _why(old, each.node, lower, upper, same), each.size)


def _place(entry: Entry) -> tuple[int, int]:
    return entry.source, entry.data


def _may_be_same(old: Entry, new: Entry) -> bool:
    return old.kind == new.kind == REG and old.size == new.size != 0


def _why(old: Node | None, new: Node | None, lower: Tree, upper: Tree, same: set[Pair]) -> str:
    """Return why the update says what it says of a path; None is nothing there."""
    if new is None:
        return "deleted"
    if old is None:
        return "new"
    if type(old) is Directory and type(new) is Directory:
        x, b = new.entry, old.entry
        if x is None or b is None:
            return "repeated" if x is b else "attributes"
        return _attributes(x, b)
    if type(old) is not Entry or type(new) is not Entry:
        return "content"
    x, b = upper.state(new), lower.state(old)
    if x.kind != b.kind or x.size != b.size or (x.kind != REG and x.target != b.target):
        return "content"
    if _may_be_same(b, x) and (x, b) not in same:
        return "content"
    return _attributes(x, b)


def _attributes(x: Entry, b: Entry) -> str:
    if _inode(x) != _inode(b):
        return "attributes"
    return "repeated" if x.mtime == b.mtime else "time alone"


def _inode(entry: Entry) -> tuple[Owner | tuple[int, int], Xattrs]:
    """Return owner, mode and xattrs; the kernel ignores the mode of a symlink."""
    return (entry.owner[1:] if entry.kind == SYM else entry.owner), entry.xattrs
