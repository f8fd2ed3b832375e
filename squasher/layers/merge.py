"""The merge rules: from the tree of the base and the final tree to the one new layer.

Pure: headers in, plan out. A `Draft` holds everything that the new layer could contain; for
some of its entries only their content can tell whether the base already provides them, and the
caller, who can read, answers that. The `MergePlan` then says which bytes of which layer make up
the new one, in which order, and how many they are.

The rules, with k the first squashed layer, D a directory of the final tree, b what the base has
at the same path:

M1  D is written if (a) a squashed layer has its entry; (b) squashed layers made it without an
    entry, unless it or one above took the place of the symlink b (then engines go on to part:
    a directory on overlay, the link's target elsewhere), or a setgid directory above it is
    written, too (each engine gives it another mode and group); (c) a base name below it has to
    be written again; (d) a squashed layer mentioned it, and a whiteout of the base hides nothing
    in it: overlay engines list such a name, unless a layer above has the directory as well.
M2  Every name of the base directory b that D lacks gets one whiteout, after D's own entry.
M3  Opaque whiteouts never survive; M2 says the same explicitly. (The specification prefers that;
    overlay engines forget `.wh.d` beside `d/`, and ignore an opaque whiteout at the root.)
M4  Any other entry is written if its attributes come from a squashed layer; a file with several
    names in full: the first carries the content, the others are links to it.
M5  All headers of such a group say the same: the last one unpacked wins on most engines.
M6  Order: directory, its whiteouts, its names sorted bytewise. Only what a default ACL must not
    reach comes before its directory; and what is below the place of a base symlink comes last, for
    umoci follows that, and writes over what hard links after it would lead to.
M7  Plain headers pass through as they were (`tarstream` says what is plain); one that has to change
    is written in ustar or PAX. No layer begins with a name that looks like gzip or the like: then
    an extended header that says nothing comes first.

M8  What only has other children has no entry: engines give it the time of unpacking, as before.
M9  Times that are too late were made earlier when the layers were read, those of the base too.

D0 to D3 leave out what the base already provides, where every engine shows the same without it.

Source: OCI image-spec, layer.md, "Whiteouts", "Opaque Whiteout", "Hardlinks", and the engines.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from squasher.errors import ArchiveError
from squasher.layers.plan import TRAILER, MergePlan, Piece, Span
from squasher.layers.tree import Directory, Node, Tree
from squasher.tar.entry import (
    ABSOLUTE,
    BLK,
    BLOCK,
    CHR,
    CLAMPED,
    DIR,
    DISPUTED,
    IMPLIED_FACTOR,
    IMPLIED_FREE,
    INHERITS,
    LINK,
    MAGIC,
    REG,
    REWRITE,
    SYM,
    Entry,
    ImageWarning,
    Pair,
)
from squasher.tar.paths import WHITEOUT_PREFIX, Cover, join
from squasher.tar.writer import header, shield

#: A name, or its part behind a prefix, for which engines would not take the layer for a tar.
_LOOKALIKE = re.compile(rb"(?:\A|/)(?:%b)" % MAGIC.pattern)
_IMPLIED_OWNER = (0o755, 0, 0)


class _Folder:
    """A directory on the way to the plan."""

    __slots__ = (
        "base",
        "carried",
        "droppable",
        "gone",
        "grouped",
        "late",
        "live",
        "node",
        "parent",
        "path",
        "reason",
        "solid",
        "through",
    )

    def __init__(
        self, path: bytes, node: Directory, base: Node | None, parent: _Folder | None
    ) -> None:
        self.path = path
        self.node = node
        self.base = base
        self.parent = parent
        self.reason = _NONE  # why it is written
        self.solid = parent is None  # it and all above have an entry (D0)
        self.through: bool = parent is not None and parent.through  # below a symlink of the base
        self.late: bool = parent is not None and parent.late  # comes after all that is not
        self.grouped = False  # nobody spelt it out, and a setgid directory above it is written
        self.droppable = False  # the base has the same (D2)
        self.gone: list[bytes] = []  # names that get a whiteout
        self.live = False  # something below it is written
        self.carried = False  # a base name below it is written again

    @property
    def gives_group(self) -> bool:
        """Whether engines, unpacking the new layer, pass on its group."""
        return self.reason == _OWN and self.node.setgid

    @property
    def written(self) -> bool:
        """Whether its own entry is part of the plan, once `live` and `carried` are known."""
        if self.reason == _OWN:
            return self.live or not self.droppable
        if self.reason == _LAZY:
            return not self.live
        if self.reason == _COVERS:
            return True
        if self.reason == _NEW:
            return self.live or not self.droppable
        return self.reason == _CARRIES and self.carried


_NONE, _OWN, _NEW, _LAZY, _CARRIES, _COVERS = range(6)
#: The header is that of the base, said again.
_AGAIN = frozenset((_CARRIES, _COVERS))


class _Run(NamedTuple):
    """Names of a directory that M4 writes, none of them a directory, with none between them."""

    folder: _Folder
    names: list[bytes]

    @property
    def entries(self) -> Iterator[tuple[bytes, Entry]]:
        """The names with what they lead to."""
        children = self.folder.node.children
        return ((name, children[name]) for name in self.names)  # type: ignore[misc]


class Draft:
    """What squashing the layers from `first` on would write, before content is looked at.

    base     the tree of the layers below `first`
    final    a fork of it with all others applied
    doubtful pairs (upper, base) of files whose headers agree: leave the upper one out if their
             content is the same
    """

    def __init__(self, base: Tree, final: Tree, first: int) -> None:
        self.first = first
        self._base = base
        self._final = final
        self._folders: list[_Folder] = []
        self._items: list[_Run | _Folder] = []
        self._provided: set[Entry] = set()
        self._candidates: dict[Entry, Entry] = {}
        self._questions: dict[Pair, Entry] = {}
        self.warnings: list[ImageWarning] = []
        # Files of the base that a squashed layer gave a name: every name is written again.
        restamped = {
            entry for entry, state in final.stamps.items() if entry.layer < first <= state.layer
        }
        self._carriers = self._find_carriers(restamped)
        self._whole = bool(restamped)
        self._covers = {path for path in base.haunted if final.haunted.get(path, -1) >= first}
        self._disputed = final.led.union(warning.path for warning in base.warnings)
        self._doubt = Cover(
            self._disputed.union(x.path for x in final.warnings if x.kind == "default-acl")
        )
        self._walk()
        self.doubtful = self._doubtful()

    # ------------------------------------------------------------ M1, M2, M4: what to write

    def _walk(self) -> None:
        """Visit what differs from the base, parents first, names sorted bytewise."""
        root = _Folder(b"", self._final.root, self._base.root, None)
        stack = [self._open(root)]
        while stack:
            for child in stack[-1]:
                stack.append(self._open(child))
                break
            else:
                stack.pop()
        if any(folder.late for folder in self._folders):
            self._items.sort(key=_is_late)

    def _open(self, folder: _Folder) -> Iterator[_Folder]:
        """Decide about the directory itself, then yield the directories in it, names in order."""
        self._folders.append(folder)
        node, base = folder.node, folder.base
        self._decide(folder)
        below: dict[bytes, Node] = base.children if type(base) is Directory else {}
        folder.gone = sorted(below.keys() - node.children.keys())
        names = sorted(node.children)
        if node.default_acl and folder.reason != _NONE:
            reached = [name for name in names if _inherits(node.children[name])]
            spared = [name for name in names if not _inherits(node.children[name])]
            yield from self._names(folder, below, spared)
            self._items.append(folder)
            yield from self._names(folder, below, reached)
        else:
            self._items.append(folder)
            yield from self._names(folder, below, names)

    def _names(
        self, folder: _Folder, below: dict[bytes, Node], names: Iterable[bytes]
    ) -> Iterator[_Folder]:
        # Runs once for each name of every directory that changed: hence the local names.
        children, stamps, first = folder.node.children, self._final.stamps, self.first
        whole = self._whole
        run: list[bytes] = []
        for name in names:
            node = children[name]
            if type(node) is Directory:
                lower = below.get(name)
                if node is not lower or whole:
                    if run:
                        self._items.append(_Run(folder, run))
                        run = []
                    yield _Folder(join(folder.path, name), node, lower, folder)
                continue
            assert type(node) is Entry  # noqa: S101
            state = stamps.get(node, node) if stamps else node
            if state.layer >= first:
                run.append(name)
                lower = below.get(name)
                if type(lower) is Entry:
                    self._propose(folder, name, node, state, lower)
        if run:
            self._items.append(_Run(folder, run))

    def _decide(self, folder: _Folder) -> None:
        """M1, for one directory."""
        node, base, parent = folder.node, folder.base, folder.parent
        if node.layer >= self.first and node.entry is not None:
            folder.reason = _OWN
            if type(base) is Directory and base.entry is not None:
                folder.droppable = (
                    (parent is None or parent.solid)
                    and node.entry.same_attributes(base.entry)
                    and not (node.entry.flags ^ base.entry.flags) & ABSOLUTE
                    and folder.path not in self._base.haunted
                    and self._trusted(folder.path)
                )
        elif parent is None:
            self._decide_root(folder)
        elif node.layer >= self.first:
            if base is not None and node.over is base:
                folder.through = True
                # What must not inherit an ACL from the directory comes before that, in its place.
                spared = parent.node.default_acl and parent.reason != _NONE and not node.inherits
                folder.late = folder.late or not spared
            given = parent.grouped or parent.gives_group
            folder.grouped = node.grouped and given and base is None
            folder.reason = _LAZY if folder.through or folder.grouped else _NEW
            # An update repeats no directory that nobody spells out, neither here nor there.
            folder.droppable = (
                type(base) is Directory
                and base.entry is None
                and base is not node
                and folder.path not in self._base.haunted
                and self._trusted(folder.path)
            )
        elif folder.path in self._covers:
            folder.reason = _COVERS
        elif folder.path in self._carriers:
            folder.reason = _CARRIES
        if parent is not None:
            folder.solid = parent.solid and folder.reason not in (_NONE, _LAZY)

    def _decide_root(self, root: _Folder) -> None:
        """Have the root written, which has no entry, if another image's entry shows there."""
        base = root.base
        if root.node.entry is not None or type(base) is not Directory or base.entry is None:
            return
        # podman heeds no entry but `/`.
        if (base.entry.owner, base.entry.xattrs) != (_IMPLIED_OWNER, ()) or (
            base.entry.flags & ABSOLUTE
        ):
            root.reason = _NEW
            self.warnings.append(ImageWarning("implicit-root", self.first, b""))

    def _find_carriers(self, restamped: set[Entry]) -> set[bytes]:
        """Return the directories above the base names that have to be written again."""
        carriers: set[bytes] = set()
        find = self._final.finder()
        for path, node in self._base.walk() if restamped else ():
            if node in restamped and find(path) is node:
                path = path.rpartition(b"/")[0]
                while path and path not in carriers:
                    carriers.add(path)
                    path = path.rpartition(b"/")[0]
        return carriers

    # ------------------------------------------------------------ D0 to D3: what to leave out

    def _trusted(self, path: bytes) -> bool:
        """D3: tell whether every engine reads the base alike at `path`, and above it.

        A default ACL of a squashed layer reaches what is below it, not its own directory; what a
        lower symlink led to, some engines have changed.
        """
        return path not in self._disputed and not self._doubt.below(path)

    def _propose(
        self, folder: _Folder, name: bytes, entry: Entry, state: Entry, lower: Entry
    ) -> None:
        """Note that the base may provide `entry`, as `lower` at the same path."""
        below = self._base.state(lower)
        agree = (
            folder.solid
            and not below.flags & DISPUTED
            and state.same_attributes(below)
            and (not self._doubt or self._trusted(join(folder.path, name)))
        )
        known = self._candidates.setdefault(entry, lower if agree else _NOTHING)
        if known is not lower or not agree:
            self._candidates[entry] = _NOTHING

    def _doubtful(self) -> tuple[Pair, ...]:
        """Settle what headers can settle; return the pairs whose content decides."""
        candidates = {x: b for x, b in self._candidates.items() if b is not _NOTHING}
        upper_groups = {x for x in candidates if x in self._final.stamps}
        lower_groups = {b for b in candidates.values() if b in self._base.stamps}
        if upper_groups or lower_groups:
            uppers = _names_of(upper_groups, self._final_names())
            lowers = _names_of(lower_groups, self._base.walk())
            candidates = {
                x: b
                for x, b in candidates.items()
                if not (x in upper_groups or b in lower_groups)
                or uppers.get(x, _ONE) == lowers.get(b, _ONE)
                or (len(uppers.get(x, _ONE)) == 1 == len(lowers.get(b, _ONE)))
            }
        for x, b in candidates.items():
            upper, lower = self._final.state(x), self._base.state(b)
            here = (upper.source, upper.data) == (lower.source, lower.data)
            if upper.kind != REG or not upper.size or here:
                self._provided.add(x)
            else:
                self._questions[upper, lower] = x
        return tuple(self._questions)

    def _final_names(self) -> Iterator[tuple[bytes, Node]]:
        for item in self._items:
            if type(item) is _Run:
                for name, entry in item.entries:
                    yield join(item.folder.path, name), entry

    # ------------------------------------------------------------ M3, M5 to M7: the plan

    def plan(self, same: Collection[Pair], sizes: Sequence[int]) -> MergePlan:
        """Return the plan that leaves out those of `doubtful` that are in `same`.

        `sizes` are the uncompressed sizes of all layers. O(entries to write). Raises ArchiveError
        for an image that says far more than it spells out.
        """
        provided = self._provided | {self._questions[pair] for pair in same}
        for folder in self._folders:
            folder.live, folder.carried = bool(folder.gone), False
        for item in self._items:
            if type(item) is _Run:
                if provided:
                    kept = [pair for pair in item.entries if pair[1] not in provided]
                else:
                    kept = list(item.entries) if self._whole else []
                item.folder.live |= bool(kept) or not provided
                item.folder.carried |= self._whole and any(
                    self._is_base_name(item.folder, *pair) for pair in kept
                )
        for folder in reversed(self._folders):
            if folder.parent is not None:
                folder.parent.live |= folder.live or folder.written
                folder.parent.carried |= folder.carried
        return _Assembly(self._final, sizes).plan(self._items, provided)

    def still_used(self, same: Collection[Pair]) -> int:
        """Return how many bytes of files in the base the final tree still shows."""
        provided = self._provided | {self._questions[pair] for pair in same}
        lower = {self._candidates[entry] for entry in provided}
        return sum(entry.size for entry in lower if entry.kind == REG)

    @property
    def survivors(self) -> int:
        """Entries of the squashed layers that are still seen, provided by the base or not."""
        count = sum(folder.reason == _OWN for folder in self._folders)
        for run in self._items:
            if type(run) is _Run:
                count += len(run.names)
                if self._whole:
                    count -= sum(self._is_base_name(run.folder, *pair) for pair in run.entries)
        return count

    def _is_base_name(self, folder: _Folder, name: bytes, entry: Entry) -> bool:
        """Tell whether `entry` is a file of the base under a name that it has there."""
        if entry.layer >= self.first:
            return False
        base = folder.base
        return type(base) is Directory and base.children.get(name) is entry


def _is_late(item: _Run | _Folder) -> bool:
    return item.late if type(item) is _Folder else item.folder.late  # type: ignore[union-attr]


#: Stands for "the base has nothing that would do".
_NOTHING = Entry(REG, -1, 0, 0, 0, (0, 0, 0), 0)
_ONE = frozenset((b"",))


def _inherits(node: Node) -> bool:
    return node.inherits if type(node) is Directory else bool(node.flags & INHERITS)  # type: ignore[union-attr]


def _names_of(
    entries: Collection[Entry], names: Iterable[tuple[bytes, Node]]
) -> dict[Node, set[bytes]]:
    """Return all names of each of `entries`."""
    found: dict[Node, set[bytes]] = {}
    if entries:
        for path, node in names:
            if node in entries:
                found.setdefault(node, set()).add(path)
    return found


def _entries(
    items: Iterable[_Run | _Folder], provided: Collection[Entry]
) -> Iterator[tuple[bytes, Entry | None]]:
    """Yield the entries that are written, with their paths: whiteouts apart."""
    for item in items:
        if type(item) is _Folder:
            if item.written:
                yield item.path, item.node.entry
        elif type(item) is _Run:
            for name, entry in item.entries:
                if entry not in provided:
                    yield join(item.folder.path, name), entry


class _Assembly:
    """Turns what is to be written into pieces; neighbours in one layer become one span."""

    def __init__(self, final: Tree, sizes: Sequence[int]) -> None:
        self._final = final
        self._sizes = sizes
        self._pieces: list[Piece] = []
        self._size = 0
        self._room = IMPLIED_FREE + IMPLIED_FACTOR * sum(sizes)  # for headers made here
        self._whiteouts = 0
        self._entries = 0
        self._clamped = 0
        self._first_names: dict[Entry, bytes] = {}

    def plan(self, items: Iterable[_Run | _Folder], provided: Collection[Entry]) -> MergePlan:
        stamps = self._final.stamps
        left_out = 0
        source, start, stop = -1, 0, 0  # the run of bytes that is growing
        for item in items:
            if type(item) is _Folder:
                written = item.written
                left_out += not written and item.reason == _OWN
                self._entries += written
                own = item.node.entry
                if (
                    own is None
                    or own.flags & REWRITE
                    or item.reason in _AGAIN
                    or item.gone
                    or not written
                ):
                    if written or item.gone:
                        self._span(source, start, stop)
                        source = -1
                        self._directory(item, written)
                    continue
                begin = own.data - own.lead
                if own.source != source or begin != stop:
                    self._span(source, start, stop)
                    source, start = own.source, begin
                stop = own.data
                continue
            assert type(item) is _Run  # noqa: S101
            folder, names = item
            children = folder.node.children
            self._entries += len(names)
            for name in names:  # once for each name that is written: no calls where none is needed
                entry: Entry = children[name]  # type: ignore[assignment]
                if provided and entry in provided:
                    left_out += 1
                    self._entries -= 1
                    continue
                if entry.flags & REWRITE or (stamps and entry in stamps):
                    self._span(source, start, stop)
                    source = -1
                    self._rewrite(join(folder.path, name), entry)
                    continue
                begin = entry.data - entry.lead
                if entry.source != source or begin != stop:
                    self._span(source, start, stop)
                    source, start = entry.source, begin
                stop = entry.data
                if entry.kind == REG:
                    stop += (entry.size if entry.target is None else entry.stored) + 511 & -512
        self._span(source, start, stop)
        self._literal(TRAILER)
        self._shield(items, provided)
        counts = self._entries, self._whiteouts, left_out, self._clamped
        return MergePlan(tuple(self._pieces), self._size, *counts)

    def _shield(self, items: Iterable[_Run | _Folder], provided: Collection[Entry]) -> None:
        """Let the layer begin with what all engines take for a tar."""
        first = self._pieces[0]
        if type(first) is Span:
            # Its bytes are not at hand, but its name is, whatever prefix it has there. A header
            # with extensions begins with theirs, and was seen when it was read.
            path, entry = next(_entries(items, provided))
            assert entry is not None  # noqa: S101  (a header that is made here is no span)
            looks = entry.lead == BLOCK and _LOOKALIKE.search(path + b"\0")
        else:
            looks = MAGIC.match(first)  # type: ignore[arg-type]
        if looks:
            block = shield()
            self._pieces.insert(0, block)
            self._size += len(block)

    def _span(self, source: int, start: int, stop: int) -> None:
        if source < 0 or start == stop:
            return
        end = min(stop, self._sizes[source])  # the padding of a layer's last block may be missing
        self._pieces.append(Span(source, start, end))
        self._size += end - start
        if stop > end:
            self._literal(bytes(stop - end))

    def _literal(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        self._room -= len(data)
        if self._room < 0:
            raise ArchiveError("the new headers take far more than the image: a trap for readers")

    def _directory(self, folder: _Folder, written: bool) -> None:
        """Write a directory's entry, if it is `written`, and its whiteouts."""
        node, entry = folder.node, folder.node.entry
        path = folder.path
        if not path and not (entry and entry.flags & ABSOLUTE):
            path = b"."
        if written:
            if entry is None:
                self._literal(header(path, DIR, _IMPLIED_OWNER, mtime=node.mtime))
            elif entry.flags & REWRITE or folder.reason in _AGAIN:
                self._literal(
                    header(path, DIR, entry.owner, mtime=entry.mtime, xattrs=entry.xattrs)
                )
                self._clamped += bool(entry.flags & CLAMPED)
            else:
                self._span(entry.source, entry.data - entry.lead, entry.data)
        for name in folder.gone:
            self._literal(header(join(folder.path, WHITEOUT_PREFIX + name), REG))
        self._whiteouts += len(folder.gone)

    def _rewrite(self, path: bytes, identity: Entry) -> None:
        """Write an entry under a new header: content for the first name of a file, then links."""
        entry = self._final.state(identity)
        self._clamped += bool(entry.flags & CLAMPED)
        first = self._first_names.setdefault(identity, path)
        if first != path:
            self._literal(
                header(path, LINK, entry.owner, mtime=entry.mtime, link=first, xattrs=entry.xattrs)
            )
            return
        target = entry.target
        self._literal(
            header(
                path,
                entry.kind,
                entry.owner,
                size=entry.size,
                mtime=entry.mtime,
                link=target if entry.kind == SYM else b"",  # type: ignore[arg-type]
                device=target if entry.kind in (CHR, BLK) else (0, 0),  # type: ignore[arg-type]
                xattrs=entry.xattrs,
                sparse=entry.sparse,
            )
        )
        self._span(entry.source, entry.data, entry.data + (entry.stored + 511 & -512))
