"""What is known of the layers that squashing made (I4), before they are read back."""

from __future__ import annotations

from dataclasses import dataclass

from squasher.errors import PolicyError
from squasher.tar.entry import DIR, LINK, Changeset


@dataclass(frozen=True, slots=True)
class NewLayers:
    """How many layers were made, 0 for none, and how many bytes each may have as a tar."""

    count: int
    limit: int | None = None

    def check(self, changes: Changeset, size: int, *, lowest: bool) -> None:
        """Require of a layer of `size` bytes what makes several as good as one.

        All whiteouts are in the `lowest`: another one would hide what that brings. A layer that is
        too large could not be smaller: it holds whiteouts, or one file, or what lies between the
        names of one. Raises PolicyError.
        """
        where = f"layer {changes.layer + 1}"
        if not lowest and changes.whiteouts:
            raise PolicyError("a whiteout that is not in the first new layer", where=where)
        if self.limit is None or size <= self.limit:
            return
        kinds = [entry.kind for entry in changes.entries if entry.kind != DIR]
        if LINK not in kinds and len(kinds) + bool(changes.whiteouts) > 1:
            raise PolicyError("is larger than --max-layer-size", where=where)
