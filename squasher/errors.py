"""What can go wrong, with the facts and the exit code of each failure.

Every error that the package raises on purpose derives from `SquasherError` and from the standard
exception that fits. Its text is one line, `<where>: <what is wrong>[; <what to do>]`; each level
that an error passes through adds its own place in front with `within`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, TypeVar

if TYPE_CHECKING:
    from squasher.image.model import Image

_E = TypeVar("_E", bound="SquasherError")


class SquasherError(Exception):
    """The common base; `where`, `what` and `hint` are the parts of the message."""

    exit_code: ClassVar[int] = 1
    #: The fault is not that of what the error passes through: `within` adds nothing more.
    elsewhere = False

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def within(self: _E, place: str) -> _E:
        """Return the same error with `place` put before where it happened."""
        if not self.elsewhere:
            self.where = f"{place}: {self.where}" if self.where else place
        return self

    def __str__(self) -> str:
        """Return the whole message, on one line."""
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}; {self.hint}" if self.hint else text


@contextmanager
def placed(place: str) -> Iterator[None]:
    """Put `place` before where an error that passes through has happened.

    Options are wrong wherever they are looked at: UsageError passes as it is.
    """
    try:
        yield
    except UsageError:
        raise
    except SquasherError as error:
        raise error.within(place) from None


class PolicyError(SquasherError):
    """The image or the result is not what was asked for: `strict`, `verify`, a threshold."""

    exit_code = 1


class UsageError(SquasherError, ValueError):
    """Options that make no sense, alone or together."""

    exit_code = 2


class ArchiveError(SquasherError, ValueError):
    """The input is missing, cannot be read, is damaged, or is not an archive of an image."""

    exit_code = 3


class DocumentError(ArchiveError):
    """A JSON document of the image is not valid; `where` names the place in it."""


class DigestMismatchError(ArchiveError):
    """Bytes do not have the digest or the size that a document gives for them."""

    def __init__(self, expected: str, actual: str, *, where: str = "") -> None:
        super().__init__(f"expected {expected}, found {actual}", where=where)
        self.expected = expected
        self.actual = actual


class BaseNotFoundError(SquasherError, LookupError):
    """The base, image or platform asked for is not there, or several fit.

    `image` is the image that was searched, so that its layers can be shown. `there` are lines, one
    for each name that can be asked for, or for each place that was searched.
    """

    exit_code = 4

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        hint: str = "",
        image: Image | None = None,
        there: tuple[str, ...] = (),
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.image = image
        self.there = there


class UnsupportedImageError(SquasherError, ValueError):
    """A valid image of a kind that cannot be squashed, or that needs an extra."""

    exit_code = 5


class OutputError(SquasherError, OSError):
    """The result could not be written."""

    exit_code = 6


class EngineError(SquasherError, RuntimeError):
    """An engine could not be reached, or refused; or the extra for it is missing."""

    exit_code = 7
