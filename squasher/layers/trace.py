"""What applying one layer meets on its way, for `disagreements` to read."""

from __future__ import annotations

from squasher.layers.tree import Node
from squasher.tar.entry import ImageWarning


class Trace:
    """Notes about one layer, taken while it is applied.

    warnings    in the order in which they came up
    mentioned   directories that entries of the layer go through, by real path, with an entry of
                their own or not; whether a default ACL of the layer reaches them there
    implied     directories made without an entry, with the offset of the entry that they were
                made for
    emptied     what opaque whiteouts have hidden, by the path of the directory
    replaced_targets   targets of the lower layers' symlinks that a directory has replaced
    own_ways    paths of entries that replaced a symlink which their own names went through
    twice       whether a path may come twice; only then is it worth looking
    """

    def __init__(self, layer: int) -> None:
        self.layer = layer
        self.warnings: list[ImageWarning] = []
        self.mentioned: dict[bytes, bool] = {}
        self.implied: list[tuple[bytes, int]] = []
        self.emptied: dict[bytes, dict[bytes, Node]] = {}
        self.replaced_targets: set[bytes] = set()
        self.own_ways: list[bytes] = []
        self.twice = False

    def warn(self, kind: str, path: bytes) -> None:
        """Note something on which engines disagree."""
        self.warnings.append(ImageWarning(kind, self.layer, path))

    def mention_again(self, earlier: int) -> None:
        """Note that a path may come twice in the layer: what was there is of layer `earlier`."""
        if earlier == self.layer:
            self.twice = True
