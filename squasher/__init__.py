"""Squash the layers of a container image above a chosen base, exactly.

    import squasher

    report = squasher.squash_archive("app.tar", "small.tar", base="sha256:5f70bf18a086")

    with squasher.open_archive("app.tar") as archive:
        squashed = squasher.squash(archive.images[0], "3")
        squasher.write([squashed.image], "small.tar")

Layers are always counted and listed lowest first. Nothing is printed; errors derive from
`SquasherError` and carry the exit code that the command gives them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from squasher._version import __version__

if TYPE_CHECKING:
    from squasher.analysis.dive import Dive
    from squasher.analysis.inspection import (
        BaseChoice,
        FolderShare,
        HistoryRow,
        Inspection,
        LayerShare,
        PathShare,
        inspect,
    )
    from squasher.api import open_archive, squash_archive, write
    from squasher.archive.location import Location, parse_location
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
    from squasher.image.auto_base import Claim, Finding
    from squasher.image.configs import HistoryEntry, ImageConfig
    from squasher.image.model import Archive, Image, Layer
    from squasher.layers.options import Options
    from squasher.layers.result import LayerReport, Squashed
    from squasher.layers.squash import squash
    from squasher.request import SquashReport
    from squasher.verify.comparison import (
        ConfigDifference,
        Difference,
        Facts,
        compare,
        config_differences,
    )

#: Where the public names live, what others need first. They are imported when they are first used,
#: so that the command can print its version or an error without the rest.
_HOMES = (
    "errors",
    "digest",
    "archive.location",
    "image.configs",
    "image.model",
    "image.auto_base",
    "layers.options",
    "layers.result",
    "layers.squash",
    "request",
    "api",
    "verify.comparison",
    "analysis.dive",
    "analysis.inspection",
)

__all__ = [
    "Archive",
    "ArchiveError",
    "BaseChoice",
    "BaseNotFoundError",
    "Claim",
    "ConfigDifference",
    "Difference",
    "Digest",
    "DigestMismatchError",
    "Dive",
    "DocumentError",
    "EngineError",
    "Facts",
    "Finding",
    "FolderShare",
    "HistoryEntry",
    "HistoryRow",
    "Image",
    "ImageConfig",
    "Inspection",
    "Layer",
    "LayerReport",
    "LayerShare",
    "Location",
    "Options",
    "OutputError",
    "PathShare",
    "PolicyError",
    "SquashReport",
    "Squashed",
    "SquasherError",
    "UnsupportedImageError",
    "UsageError",
    "__version__",
    "compare",
    "config_differences",
    "inspect",
    "open_archive",
    "parse_location",
    "squash",
    "squash_archive",
    "write",
]


def __getattr__(name: str) -> Any:
    for home in _HOMES if name in __all__ else ():
        module = import_module(f"squasher.{home}")
        if hasattr(module, name):
            value = globals()[name] = getattr(module, name)
            return value
    raise AttributeError(f"module 'squasher' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
