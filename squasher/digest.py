"""Digests, and readers that check them as bytes go by."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from squasher.errors import DigestMismatchError, DocumentError, UnsupportedImageError

_SHA256 = re.compile(r"sha256:([0-9a-f]{64})")
#: Characters of a text that a message repeats.
_SHOWN = 100
_OTHER = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A SHA-256 digest. `str()` gives `sha256:<hex>`. Source: image-spec, descriptor.md."""

    hex: str

    def __str__(self) -> str:
        return f"sha256:{self.hex}"

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Return the digest that `text` spells.

        Raises DocumentError if it is none, UnsupportedImageError for another algorithm.
        """
        match = _SHA256.fullmatch(text)
        if match:
            return cls(match[1])
        if _OTHER.fullmatch(text) and not text.startswith("sha256:"):
            raise UnsupportedImageError(f"the digest {text[:_SHOWN]!r} is not SHA-256")
        raise DocumentError(f"{text[:_SHOWN]!r} is not a valid digest")

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """Return the digest of `data`."""
        return cls(hashlib.sha256(data).hexdigest())


def check(expected: Digest, actual: Digest, *, where: str = "") -> None:
    """Raise DigestMismatchError unless both digests are the same."""
    if expected != actual:
        raise DigestMismatchError(str(expected), str(actual), where=where)
