"""Squash the layers of a container image above a chosen base, exactly.

    import squasher

    report = squasher.squash_archive("app.tar", "small.tar", base="sha256:5f70bf18a086")

    with squasher.open_archive("app.tar") as archive:
        squashed = squasher.squash(archive.images[0], "3")
        squasher.write([squashed.image], "small.tar")

Layers are always counted and listed from the lowest up. Nothing is printed; errors derive from
`SquasherError` and carry the exit code that the command gives them.
"""

from squasher._core import SquashReport, compare, open_archive, squash_archive, write
from squasher._squash import LayerReport, Options, Squashed, squash
from squasher._version import __version__
from squasher.compare import Difference
from squasher.digest import Digest
from squasher.errors import (
    ArchiveError,
    BaseNotFoundError,
    DigestMismatchError,
    DocumentError,
    EngineError,
    OutputError,
    PolicyError,
    SquasherError,
    UnsupportedImageError,
    UsageError,
)
from squasher.image import Archive, Image, Layer
from squasher.spec import HistoryEntry, ImageConfig

__all__ = [
    "Archive",
    "ArchiveError",
    "BaseNotFoundError",
    "Difference",
    "Digest",
    "DigestMismatchError",
    "DocumentError",
    "EngineError",
    "HistoryEntry",
    "Image",
    "ImageConfig",
    "Layer",
    "LayerReport",
    "Options",
    "OutputError",
    "PolicyError",
    "SquashReport",
    "Squashed",
    "SquasherError",
    "UnsupportedImageError",
    "UsageError",
    "__version__",
    "compare",
    "open_archive",
    "squash",
    "squash_archive",
    "write",
]
