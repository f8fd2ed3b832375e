"""Several new layers in place of one (I4): where `--max-layer-size` cuts the plan.

The plan is cut, not the content: what the one new layer would say, several say together, in the
same order. Applied one after the other they give the same tree on every engine, because

- all whiteouts are in the first layer: a later one would hide what an earlier one brings;
- the names of one file are in one layer: a hard link to a lower layer is refused (A5);
- each layer has the entries of the directories that it writes into, with the attributes that they
  have in the end: overlay engines reset a directory that the topmost layer mentions without its
  entry, and all engines change its time;
- a directory with a default ACL has no entry before what must not inherit from it (M6).

Cuts fall at names. Where several would do, a hash of the name decides, so that a file that grew
changes its own layer and leaves the cuts where they were.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise

from squasher.errors import UsageError
from squasher.layers.assemble import (
    assemble,
    directory_size,
    entry_size,
    left_out,
    whiteouts_size,
)
from squasher.layers.changes import ChangedDirectory as Folder
from squasher.layers.changes import Item, Run
from squasher.layers.plan import TRAILER, MergePlan
from squasher.layers.tree import Tree
from squasher.tar.entry import Entry
from squasher.tar.paths import join, show

#: Layers that docker mounts in one container. Source: moby, daemon/graphdriver/overlay2, maxDepth
#: (128), less those that it adds itself.
LAYERS_MAX = 125
#: A layer is planned that much smaller than it may be: directories that are said again take room.
_HEADROOM = 32
#: A cut may lie that far from the middle of the two layers beside it, in parts of a layer.
_REACH = 8


@dataclass(slots=True)
class Part:
    """What is not parted: one entry, mostly, or all names of one file.

    path     its first name: a cut before it falls there
    size     bytes in the tar, headers and padding included
    folders  numbers of the directories that it lies in
    names    its entries: the number of the item in the plan, and the name there
    """

    path: bytes
    size: int
    folders: list[int]
    names: list[tuple[int, bytes]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Folders:
    """Directories by number: that of the one above (-1: none), and bytes of the entry (0: none)."""

    above: Sequence[int]
    sizes: Sequence[int]


def cut(parts: Sequence[Part], folders: Folders, limit: int, most: int) -> list[range]:
    """Return which of `parts` each layer has, in order: none larger than `limit` bytes.

    Directories and the end of the tar included. A part that alone is larger has a layer of its
    own. Gives up with one layer more than `most`. O(parts * log layers).
    """
    return _cut(_Ends(parts, folders), limit, most)


def _cut(ends_of: _Ends, limit: int, most: int) -> list[range]:
    parts = ends_of.parts
    done: list[range] = []
    todo = [range(len(parts))]
    while todo and len(done) <= most:
        run = todo.pop()
        ends = ends_of(run)
        if len(run) <= 1 or ends[-1] + len(TRAILER) <= limit:
            done.append(run)
            continue
        at = run.start + _place(parts, run, ends, limit)
        todo += [range(at, run.stop), range(run.start, at)]
    return done


def smallest_limit(parts: Sequence[Part], folders: Folders, limit: int, most: int) -> int:
    """Return a limit above `limit` that takes at most `most` layers, as small as bisecting finds.

    The search begins where layers would be equally full, in steps that double.
    O(parts * log(bytes) * log layers).
    """
    ends_of = _Ends(parts, folders)
    whole = ends_of(range(len(parts)))[-1] + len(TRAILER)
    too_small, enough = limit // 512, -(-whole // 512)
    at = max(too_small + 1, whole // most // 512)
    step = 1 + at // 64
    while at < enough and len(_cut(ends_of, at * 512, most)) > most:
        too_small, at, step = at, at + step, step * 2
    enough = min(at, enough)
    while enough - too_small > 1:
        middle = (too_small + enough) // 2
        if len(_cut(ends_of, middle * 512, most)) > most:
            too_small = middle
        else:
            enough = middle
    return enough * 512


class _Ends:
    """How many bytes the parts of a run take up to and with each, with directories.

    Only where the directories of neighbours differ need they be looked at.
    """

    def __init__(self, parts: Sequence[Part], folders: Folders) -> None:
        self.parts = parts
        self._folders = folders
        self._sizes = [part.size for part in parts]
        pairs = enumerate(pairwise(parts), 1)
        self._turns = [i for i, (one, two) in pairs if one.folders != two.folders]

    def __call__(self, run: range) -> list[int]:
        """Return the bytes up to and with each part of `run`, from its first on."""
        sizes = self._sizes[run.start : run.stop]
        low, high = (bisect_right(self._turns, run.start), bisect_left(self._turns, run.stop))
        above, seen = self._folders.above, set[int]()
        for i in (*run[:1], *self._turns[low:high]):
            for number in self.parts[i].folders:
                while number >= 0 and number not in seen:
                    seen.add(number)
                    sizes[i - run.start] += self._folders.sizes[number]
                    number = above[number]
        return list(accumulate(sizes))


def _place(parts: Sequence[Part], run: range, ends: Sequence[int], limit: int) -> int:
    """Return how many parts of `run` come before the cut that halves its layers.

    It lies as near as the balance asks; of the names that are near enough, a hash picks one.
    """
    total = ends[-1]
    usable = max(1, limit - limit // _HEADROOM - len(TRAILER))
    layers = max(2, -(-total // usable))
    left = layers // 2
    target, reach = total * left // layers, total // layers // _REACH
    low = max(target - reach, total - (layers - left) * usable)
    high = min(target + reach, left * usable)
    # The cut before part i leaves `ends[i - 1]` bytes on the left.
    near = range(bisect_left(ends, low) + 1, bisect_right(ends, high, hi=len(ends) - 1) + 1)
    if near:
        return min(near, key=lambda i: (zlib.crc32(parts[run[i]].path), i))
    after = min(bisect_left(ends, target) + 1, len(run) - 1)
    before = max(after - 1, 1)
    return before if target - ends[before - 1] <= ends[after - 1] - target else after


# ---------------------------------------------------------------- the plan, in parts


def plans(
    items: Sequence[Item],
    provided: Collection[Entry],
    final: Tree,
    sizes: Sequence[int],
    limit: int,
    kept: int,
) -> tuple[tuple[MergePlan, ...], tuple[str, ...]]:
    """Return the plans of the layers that `items` are cut into, lowest first, and notices.

    `items` to `sizes` are what `assemble` takes; `limit` is the size of a layer in bytes, `kept`
    the number of layers below. Raises UsageError, with the smallest limit that fits, if there
    would be more layers than engines mount.
    """
    table = _Table(items, provided, final)
    most = LAYERS_MAX - kept
    runs = cut(table.parts, table.folders, limit, most)
    if len(runs) > most:
        fits = smallest_limit(table.parts, table.folders, limit, most) if most > 0 else 0
        raise UsageError(
            f"layers of {limit} bytes would be more than {LAYERS_MAX} in all, and docker mounts no"
            " more than that",
            where="--max-layer-size",
            hint=f"the smallest size that fits is {fits}" if fits else f"{kept} layers are kept",
        )
    found = tuple(assemble(table.items(run), provided, final, sizes) for run in runs)
    # What is left out has no layer: the first one counts it.
    found = (replace(found[0], provided=left_out(items, provided)), *found[1:])
    large = [
        (plan.size, table.parts[run.start].path)
        for run, plan in zip(runs, found, strict=True)
        if plan.size > limit
    ]
    return found, tuple(_notices(large, limit))


def _notices(large: Sequence[tuple[int, bytes]], limit: int) -> Iterator[str]:
    """Yield the line about layers that are too large, given with the name of what is in them."""
    if not large:
        return
    size, path = max(large)
    what = show(path) if path else "the list of deleted paths"
    more = f" (and {len(large) - 1} more like it)" if len(large) > 1 else ""
    yield (
        f"--max-layer-size {limit}: {what} cannot be split and has a layer of its own of"
        f" {size} bytes{more}"
    )


class _Table:
    """The items of a plan as parts and numbered directories."""

    def __init__(self, items: Sequence[Item], provided: Collection[Entry], final: Tree) -> None:
        self._items = items
        self._final = final
        self._provided = provided
        self._at = {item: i for i, item in enumerate(items) if type(item) is Folder}
        self._all = list(self._at)
        self._number = {folder: i for i, folder in enumerate(self._all)}
        above = [self._number[f.parent] if f.parent else -1 for f in self._all]
        self.folders = Folders(above, [directory_size(f) for f in self._all])
        #: Directories that must not be said earlier than they are, by the number of the part there.
        self._not_before: dict[Folder, int] = {}
        self.parts = self._parts()

    def _parts(self) -> list[Part]:
        """Return the parts in the order of the plan; whiteouts are the first, if there are any."""
        parts: list[Part] = []
        hiding = [folder for folder in self._all if folder.whiteouts]
        if hiding:
            size = sum(map(whiteouts_size, hiding))
            parts.append(Part(b"", size, [self._number[folder] for folder in hiding]))
        alone, bound = self._without_content(), self._bound()
        firsts: dict[Entry, tuple[bytes, int]] = {}
        joins: list[range] = []
        for at, item in enumerate(self._items):
            if type(item) is Folder:
                if item.node.default_acl:
                    self._not_before[item] = len(parts)
                if item in alone:
                    parts.append(Part(item.path, 0, [self._number[item]]))
                continue
            for name, path, entry in self._names(item):
                first, to = path, len(parts)
                if entry in self._final.link_overrides:
                    first, to = firsts.setdefault(entry, (path, to))
                size = entry_size(path, entry, first, self._final)
                if first == path or entry in bound:
                    parts.append(Part(path, 0, []))
                    joins.append(range(to, len(parts)))
                    to = len(parts) - 1
                parts[to].size += size
                parts[to].folders.append(self._number[item.folder])  # type: ignore[union-attr]
                parts[to].names.append((at, name))
        return self._joined(parts, [each for each in joins if len(each) > 1])

    def _names(self, item: Item) -> Iterator[tuple[bytes, bytes, Entry]]:
        """Yield name, path and entry of what is written of a run."""
        assert type(item) is Run  # noqa: S101
        for name, entry in item.entries:
            if entry not in self._provided:
                yield name, join(item.folder.path, name), entry

    def _without_content(self) -> set[Folder]:
        """Return the directories that are written, and that no part behind them has to say."""
        alone: set[Folder] = set()
        covered = {
            folder
            for folder in _with_above(folder for folder in self._all if folder.whiteouts)
            if not folder.node.default_acl
        }
        for item in reversed(self._items):
            if type(item) is not Folder:
                if next(self._names(item), None) is not None:
                    covered.update(list(_above(item.folder, covered)))  # type: ignore[union-attr]
            elif item.written and item not in covered:
                alone.add(item)
                covered.update(list(_above(item, covered)))
        return alone

    def _bound(self) -> set[Entry]:
        """Return the files whose names stay where they are, for some engine minds their place.

        That is below a directory with a default ACL, and below the place of a base symlink (M6).
        """
        minds: dict[Folder, bool] = {}
        for folder in self._all:  # those above come first, but above what must not inherit
            chain = list(_above(folder, minds))
            for each in reversed(chain):
                above = each.parent is not None and minds[each.parent]
                minds[each] = above or each.late or each.node.default_acl
        return {
            entry
            for item in self._items
            if type(item) is Run and minds[item.folder]
            for _, entry in item.entries
            if entry in self._final.link_overrides
        }

    def _joined(self, parts: list[Part], joins: Sequence[range]) -> list[Part]:
        """Return the parts with those of each range made one."""
        found: list[Part] = []
        numbers: list[int] = []
        ends: dict[int, int] = {}
        for each in joins:
            ends[each.start] = max(ends.get(each.start, 0), each.stop)
        end = 0
        for i, part in enumerate(parts):
            if i < end:
                found[-1].size += part.size
                found[-1].folders += part.folders
                found[-1].names += part.names
            else:
                found.append(part)
            numbers.append(len(found) - 1)
            end = max(end, ends.get(i, 0))
        numbers.append(len(found))
        for folder, number in self._not_before.items():
            self._not_before[folder] = numbers[number]
        return found

    def items(self, run: range) -> list[Item]:
        """Return what the layer with the parts `run` says, in the order of the plan."""
        names: dict[int, list[bytes]] = {}
        below: set[Folder] = set()
        for i in run:
            below.update(self._all[number] for number in self.parts[i].folders)
            for at, name in self.parts[i].names:
                names.setdefault(at, []).append(name)
        found: dict[int, Item] = {
            at: Run(self._items[at].folder, sorted(some))  # type: ignore[union-attr]
            for at, some in names.items()
        }
        for folder in _with_above(below):
            written = folder.written and self._not_before.get(folder, 0) < run.stop
            whiteouts = folder.whiteouts if run.start == 0 else []
            if written or whiteouts:
                found[self._at[folder]] = folder.repeated(written=written, whiteouts=whiteouts)
        return [found[at] for at in sorted(found)]


def _above(folder: Folder, known: Container[Folder]) -> Iterator[Folder]:
    """Yield the directory and those above it, up to the first that is known."""
    at: Folder | None = folder
    while at is not None and at not in known:
        yield at
        at = at.parent


def _with_above(folders: Iterable[Folder]) -> set[Folder]:
    found: set[Folder] = set()
    for folder in folders:
        found.update(list(_above(folder, found)))
    return found
