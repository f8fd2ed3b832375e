"""D0 to D3: what the base already provides, so that it may be left out."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from squasher.layers.tree import Node, Tree
from squasher.tar.entry import DISPUTED, REG, Entry, Pair
from squasher.tar.paths import Cover, join

#: Stands for "the base has nothing that would do".
_NOTHING = Entry(REG, -1, 0, 0, 0, (0, 0, 0), 0)
_ONE = frozenset((b"",))


class Redundant:
    """The files of squashed layers that the base may provide.

    doubtful  pairs (upper, base) whose headers agree, so that their content decides; known once
              all are proposed and settled
    """

    def __init__(self, base: Tree, final: Tree) -> None:
        self._base = base
        self._final = final
        self._provided: set[Entry] = set()
        self._candidates: dict[Entry, Entry] = {}
        self._questions: dict[Pair, Entry] = {}
        self._disputed = final.replaced_targets.union(warning.path for warning in base.warnings)
        self._doubt = Cover(
            self._disputed.union(x.path for x in final.warnings if x.kind == "default-acl")
        )

    def trusted(self, path: bytes) -> bool:
        """D3: tell whether every engine reads the base alike at `path`, and above it.

        A default ACL of a squashed layer reaches what is below it, not its own directory; what a
        lower symlink led to, some engines have changed.
        """
        return path not in self._disputed and not self._doubt.below(path)

    def propose(
        self, parent: bytes, name: bytes, entry: Entry, state: Entry, lower: Entry, *, solid: bool
    ) -> None:
        """Note that the base may provide `entry`, as `lower` at the same path.

        `state` is the entry with the attributes that it has now; `solid` is its directory (D0).
        """
        below = self._base.state(lower)
        agree = (
            solid
            and not below.flags & DISPUTED
            and state.same_attributes(below)
            and (not self._doubt or self.trusted(join(parent, name)))
        )
        known = self._candidates.setdefault(entry, lower if agree else _NOTHING)
        if known is not lower or not agree:
            self._candidates[entry] = _NOTHING

    def settle(self, names: Iterable[tuple[bytes, Entry]]) -> None:
        """Settle what headers can settle; `names` are all that would be written, with entries."""
        candidates = {x: b for x, b in self._candidates.items() if b is not _NOTHING}
        upper_groups = {x for x in candidates if x in self._final.link_overrides}
        lower_groups = {b for b in candidates.values() if b in self._base.link_overrides}
        if upper_groups or lower_groups:
            uppers = _names_of(upper_groups, names)
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

    @property
    def doubtful(self) -> tuple[Pair, ...]:
        """The pairs whose content decides."""
        return tuple(self._questions)

    def provided(self, same: Collection[Pair]) -> set[Entry]:
        """Return what the base provides if those of `doubtful` in `same` have the same content."""
        return self._provided | {self._questions[pair] for pair in same}

    def still_used(self, same: Collection[Pair]) -> int:
        """Return how many bytes of files in the base the final tree still shows."""
        lower = {self._candidates[entry] for entry in self.provided(same)}
        return sum(entry.size for entry in lower if entry.kind == REG)


def _names_of(
    entries: Collection[Entry], names: Iterable[tuple[bytes, Node]]
) -> dict[Node, set[bytes]]:
    found: dict[Node, set[bytes]] = {}
    if entries:
        for path, node in names:
            if node in entries:
                found.setdefault(node, set()).add(path)
    return found
