"""The plan of a new layer: which bytes of which layer make it up, in which order."""

from __future__ import annotations

from dataclasses import dataclass

from squasher.tar.entry import BLOCK

#: Ends every layer, an empty one too: containerd 1.6 refuses a layer of no bytes.
TRAILER = bytes(2 * BLOCK)


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes `start` to `stop` of the uncompressed layer `source`."""

    source: int
    start: int
    stop: int


Piece = Span | bytes


@dataclass(frozen=True, slots=True)
class MergePlan:
    """The new layer: `pieces` in write order, trailer included, `size` bytes in all.

    entries, whiteouts   how many of each it holds
    provided             how many entries were left out because the base has them
    clamped              how many entries have an earlier time than they came with
    """

    pieces: tuple[Piece, ...]
    size: int
    entries: int
    whiteouts: int
    provided: int
    clamped: int = 0
