"""What of a config squashing must leave as it is (I1), as `--verify` reads it."""

from __future__ import annotations

from typing import Any

from squasher.image import configs, documents
from squasher.image.model import Image

#: Keys of the config that squashing may change.
_CHANGED = frozenset(("rootfs", "history", "created", configs.BUILDKIT_CACHE))


def what_stays(image: Image) -> dict[str, Any]:
    """Return the config without what squashing may change. Raises ArchiveError."""
    found = documents.load_config(image.config.raw, "config")
    return {key: value for key, value in found.items() if documents.fold(key) not in _CHANGED}
