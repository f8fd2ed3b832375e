"""The merge rules: from the tree of the base and the final tree to the one new layer.

Pure: headers in, plan out. `changes` finds what differs, `redundant` what of it the base has,
`assemble` makes the plan, `cut` several plans of it. A `Draft` holds everything that the new layer
could contain; for some of its entries only their content can tell whether the base already
provides them, and the caller, who can read, answers that. The `MergePlan` then says which bytes of
which layer make up the new one, in which order, and how many they are.

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
    reach comes before its directory, and names elsewhere of what inherits it behind both (`heirs`);
    what is below the place of a base symlink comes last, for umoci follows that, and writes over
    what hard links after it would lead to.
M7  Plain headers pass through as they were (`tar.headers` says which); one that has to change
    is written in ustar or PAX. No layer begins with a name that looks like gzip or the like: then
    an extended header that says nothing comes first.

M8  What only has other children has no entry: engines give it the time of unpacking, as before.
M9  Times that are too late were made earlier when the layers were read, those of the base too.

D0 to D3 leave out what the base already provides, where every engine shows the same without it.

Source: OCI image-spec, layer.md, "Whiteouts", "Opaque Whiteout", "Hardlinks", and the engines.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from squasher.layers.assemble import assemble, directory_size, entry_size, whiteout_sizes
from squasher.layers.changes import ChangedDirectory, Changes, Run, find_changes
from squasher.layers.cut import plans
from squasher.layers.heirs import heirs_first
from squasher.layers.plan import MergePlan
from squasher.layers.redundant import Redundant
from squasher.layers.tree import Node, Tree
from squasher.tar.entry import Entry, ImageWarning, Pair
from squasher.tar.paths import join


class Said(NamedTuple):
    """A path of which the new layer says something: bytes in its tar; no node is a whiteout."""

    path: bytes
    size: int
    node: Node | None


@dataclass(frozen=True, slots=True)
class Draft:
    """What squashing some layers would write, before content is looked at."""

    _final: Tree
    _changes: Changes
    _redundant: Redundant

    @classmethod
    def of(cls, base: Tree, final: Tree, first: int) -> Draft:
        """Return the draft for the layers from `first` on.

        `base` is the tree of the layers below, `final` a fork of it with all others applied.
        O(what they touched).
        """
        redundant = Redundant(base, final)
        found = find_changes(base, final, first, redundant)
        changes = replace(found, items=heirs_first(found, final.inherited_acls))
        redundant.settle(changes.names)
        return cls(final, changes, redundant)

    @property
    def doubtful(self) -> tuple[Pair, ...]:
        """Pairs (upper, base) of files whose headers agree.

        The upper one is left out if the content is the same.
        """
        return self._redundant.doubtful

    @property
    def warnings(self) -> Sequence[ImageWarning]:
        """What engines disagree about in what is to be written."""
        return self._changes.warnings

    @property
    def survivors(self) -> int:
        """Entries of the squashed layers that are still seen, provided by the base or not."""
        return self._changes.survivors

    def plan(self, same: Collection[Pair], sizes: Sequence[int]) -> MergePlan:
        """Return the plan that leaves out those of `doubtful` that are in `same`.

        `sizes` are the uncompressed sizes of all layers. O(entries to write). Raises ArchiveError
        for an image that says far more than it spells out.
        """
        provided = self._redundant.provided(same)
        self._changes.weigh(provided)
        return assemble(self._changes.items, provided, self._final, sizes)

    def cut(
        self, same: Collection[Pair], sizes: Sequence[int], limit: int, kept: int
    ) -> tuple[tuple[MergePlan, ...], tuple[str, ...]]:
        """Return that plan cut into layers of at most `limit` bytes, lowest first, and notices.

        `kept` layers lie below. Raises UsageError for more layers in all than engines mount.
        """
        provided = self._redundant.provided(same)
        self._changes.weigh(provided)
        return plans(self._changes.items, provided, self._final, sizes, limit, kept)

    def said(self, same: Collection[Pair]) -> Iterator[Said]:
        """Yield what that plan says, path by path, in its order; all of its bytes but the end."""
        provided = self._redundant.provided(same)
        self._changes.weigh(provided)
        firsts: dict[Entry, bytes] = {}
        for item in self._changes.items:
            if type(item) is Run:
                for name, entry in item.entries:
                    if entry not in provided:
                        path = join(item.folder.path, name)
                        first = firsts.setdefault(entry, path)
                        yield Said(path, entry_size(path, entry, first, self._final), entry)
            elif type(item) is ChangedDirectory:
                if item.written:
                    yield Said(item.path, directory_size(item), item.node)
                for name, size in whiteout_sizes(item):
                    yield Said(join(item.path, name), size, None)

    def still_used(self, same: Collection[Pair]) -> int:
        """Return how many bytes of files in the base the final tree still shows."""
        return self._redundant.still_used(same)
