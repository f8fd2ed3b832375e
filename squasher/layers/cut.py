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
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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


@dataclass(frozen=True, slots=True)
class Part:
    """What is not parted: one entry, mostly, or all names of one file.

    path     its first name: a cut before it falls there
    size     bytes in the tar, headers and padding included
    folders  numbers of the directories that it lies in
    """

    path: bytes
    size: int
    folders: Sequence[int]


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
        self._sizes = array("q")
        self._turns = array("q")
        before: Sequence[int] = ()
        for i, part in enumerate(parts):  # once: parts may be made while they are looked at
            self._sizes.append(part.size)
            if part.folders != before:
                self._turns.append(i)
                before = part.folders

    def __call__(self, run: range) -> Sequence[int]:
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
        return array("q", accumulate(sizes))


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
        (plan.size, table.path(run.start))
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


class _Parts(Sequence[Part]):
    """The parts of a plan: numbers and names; a `Part` is made when one is asked for.

    A million entries are a million parts, mostly, so there is no object for each. Every directory
    to be said and every name is a row: the number of its item, and the name, None for a directory
    itself. A part has rows one behind the other, and a size.
    """

    def __init__(self, items: Sequence[Item], numbers: Mapping[Folder, int]) -> None:
        self._items = items
        #: By the number of the item: that of its directory.
        self._folders = array("q", (numbers[_folder(item)] for item in items))
        self._sizes = array("q")
        self._at = array("q")
        self._names: list[bytes | None] = []
        self._starts = array("q")
        self._part = array("q")  # of each row, while parts are added

    def add(self, size: int = 0) -> int:
        """Add a part without a row, and return its number."""
        self._sizes.append(size)
        return len(self._sizes) - 1

    def put(self, part: int, at: int, name: bytes | None, size: int) -> None:
        """Add a row of that many bytes to a part."""
        self._part.append(part)
        self._at.append(at)
        self._names.append(name)
        self._sizes[part] += size

    def join(self, ranges: Iterable[range]) -> Sequence[int]:
        """Make the parts of each range one; return by old number the new one. Ends the adding."""
        ends: dict[int, int] = {}
        for each in ranges:
            ends[each.start] = max(ends.get(each.start, 0), each.stop)
        sizes, numbers, end = array("q"), array("q"), 0
        for i, size in enumerate(self._sizes):
            if i < end:
                sizes[-1] += size
            else:
                sizes.append(size)
            numbers.append(len(sizes) - 1)
            end = max(end, ends.get(i, 0))
        numbers.append(len(sizes))
        self._sizes = sizes
        part = array("q", (numbers[i] for i in self._part))
        if any(one > two for one, two in pairwise(part)):  # a name that joined an earlier part
            order = sorted(range(len(part)), key=part.__getitem__)
            part = array("q", map(part.__getitem__, order))
            self._at = array("q", map(self._at.__getitem__, order))
            self._names = [self._names[i] for i in order]
        self._starts = array("q", [0])
        for i, (one, two) in enumerate(pairwise(part), 1):
            if one != two:
                self._starts.append(i)
        self._starts.append(len(part))
        self._part = array("q")
        return numbers

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, i: int) -> Part:  # type: ignore[override]  # nobody asks for slices
        rows = range(self._starts[i], self._starts[i + 1])
        folders = [self._folders[self._at[row]] for row in rows]
        return Part(self.path(i), self._sizes[i], folders)

    def path(self, i: int) -> bytes:
        """Return the path of the first row of a part."""
        item, name = self._items[self._at[self._starts[i]]], self._names[self._starts[i]]
        return _folder(item).path if name is None else join(_folder(item).path, name)

    def rows(self, run: range) -> Iterator[tuple[int, int, bytes | None]]:
        """Yield item, directory and name of the rows of these parts."""
        for row in range(self._starts[run.start], self._starts[run.stop]):
            at = self._at[row]
            yield at, self._folders[at], self._names[row]


def _folder(item: Item) -> Folder:
    return item if type(item) is Folder else item.folder  # type: ignore[union-attr]


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
        self._gone = [folder for folder in self._all if folder.whiteouts]
        self.parts = self._parts()

    def _parts(self) -> _Parts:
        """Return the parts in the order of the plan; whiteouts are the first, if there are any."""
        parts = _Parts(self._items, self._number)
        if self._gone:
            gone = parts.add()
            for folder in self._gone:
                parts.put(gone, self._at[folder], None, whiteouts_size(folder))
        alone, bound = self._without_content(), self._bound()
        firsts: dict[Entry, tuple[bytes, int]] = {}
        joins: list[range] = []
        for at, item in enumerate(self._items):
            if type(item) is Folder:
                if item.node.default_acl:
                    self._not_before[item] = len(parts)
                if item in alone:
                    parts.put(parts.add(), at, None, 0)
                continue
            for name, path, entry in self._names(item):
                first, to = path, len(parts)
                if entry in self._final.link_overrides:
                    first, to = firsts.setdefault(entry, (path, to))
                if first == path or entry in bound:
                    new = parts.add()
                    if to != new:
                        joins.append(range(to, new + 1))
                        to = new
                parts.put(to, at, name, entry_size(path, entry, first, self._final))
        numbers = parts.join(joins)
        for folder, number in self._not_before.items():
            self._not_before[folder] = numbers[number]
        return parts

    def path(self, part: int) -> bytes:
        """Return the first name of a part; none for whiteouts."""
        return b"" if self._gone and not part else self.parts.path(part)

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

    def items(self, run: range) -> list[Item]:
        """Return what the layer with the parts `run` says, in the order of the plan."""
        names: dict[int, list[bytes]] = {}
        below: set[Folder] = set()
        for at, number, name in self.parts.rows(run):
            below.add(self._all[number])
            if name is not None:
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
