"""docs/development/semantics.md: every rule is in the book, is cited by code and by tests."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

import squasher
from tests.conformance.corpus import CASES

ROOT = Path(squasher.__file__).parent.parent
BOOK = (ROOT / "docs" / "development" / "semantics.md").read_text(encoding="utf-8")
RULES = re.findall(r"^### (\w\d)$", BOOK, re.MULTILINE)
#: A citation is `M4`, `(M1, M2)`, `A1 to A6` in prose; identifiers are longer.
CITATION = re.compile(r"(?<![\w.`'\"])([RAMDI][0-9])(?![\w(=])")


def cited(folder: str) -> set[str]:
    """Return the rules that the comments and docstrings of a folder name."""
    found: set[str] = set()
    for path in (ROOT / folder).rglob("*.py"):
        found.update(rules_in(path.read_text(encoding="utf-8").splitlines()))
    return found


def rules_in(lines: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for line in lines:
        found.update(CITATION.findall(line))
        for first, last in re.findall(r"([RAMDI]\d)(?: to |-)([RAMDI]\d)", line):
            found.update(f"{first[0]}{n}" for n in range(int(first[1]), int(last[1]) + 1))
    return found


def test_the_book_has_each_rule_once() -> None:
    assert RULES
    assert len(RULES) == len(set(RULES))


@pytest.mark.parametrize("folder", ["squasher", "tests"])
def test_what_is_cited_is_in_the_book(folder: str) -> None:
    assert cited(folder) <= set(RULES)


@pytest.mark.parametrize("folder", ["squasher", "tests"])
def test_what_is_in_the_book_is_cited(folder: str) -> None:
    assert set(RULES) <= cited(folder)


def test_the_cases_that_the_book_names_are_in_the_corpus() -> None:
    names = {case.name for case in CASES}
    shapes = re.compile(r"`([a-z]\d{1,2}[a-z]?(?:-[\w-]+)?)`")
    assert set(shapes.findall(BOOK)) <= names
