"""squasher.errors: one line, the place in front, what to do behind."""

from __future__ import annotations

import pytest

from squasher import errors
from squasher.errors import (
    ArchiveError,
    BaseNotFoundError,
    DigestMismatchError,
    OutputError,
    SquasherError,
)

CODES = {
    "SquasherError": 1,
    "PolicyError": 1,
    "UsageError": 2,
    "ArchiveError": 3,
    "DocumentError": 3,
    "DigestMismatchError": 3,
    "BaseNotFoundError": 4,
    "UnsupportedImageError": 5,
    "OutputError": 6,
    "EngineError": 7,
}


def test_every_error_has_its_exit_code() -> None:
    found = {
        name: value.exit_code
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, SquasherError)
    }
    assert found == CODES


@pytest.mark.parametrize(
    ("name", "standard"),
    [
        ("UsageError", ValueError),
        ("ArchiveError", ValueError),
        ("BaseNotFoundError", LookupError),
        ("UnsupportedImageError", ValueError),
        ("OutputError", OSError),
        ("EngineError", RuntimeError),
    ],
)
def test_errors_derive_from_the_standard_exception_that_fits(
    name: str, standard: type[Exception]
) -> None:
    assert issubclass(getattr(errors, name), standard)


def test_a_message_is_place_fault_and_hint() -> None:
    assert str(ArchiveError("is empty")) == "is empty"
    assert str(ArchiveError("is empty", where="a.tar")) == "a.tar: is empty"
    assert str(ArchiveError("is empty", hint="look")) == "is empty; look"
    error = OutputError("full", where="b", hint="make room")
    assert str(error) == "b: full; make room"
    assert (error.what, error.where, error.hint) == ("full", "b", "make room")


def test_each_level_adds_its_place_in_front() -> None:
    error = ArchiveError("is empty")
    assert error.within("layer 1") is error
    assert str(error.within("a.tar")) == "a.tar: layer 1: is empty"


def test_facts_are_fields() -> None:
    mismatch = DigestMismatchError("one", "two", where="blob")
    assert (mismatch.expected, mismatch.actual) == ("one", "two")
    assert str(mismatch) == "blob: expected one, found two"
    assert BaseNotFoundError("no").image is None
