"""What is promised to users leads to the test that holds it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from markdown_it.token import Token

from tests.docs.blocks import ROOT, tokens

#: Where promises stand: the page, its heading, what a promise is in Markdown.
SECTIONS = (
    ("README.md", "What is promised", "list_item", 8),
    ("SECURITY.md", "What is promised, and against whom", "tr", 8),
)


def section(page: Path, heading: str) -> list[Token]:
    """Return what stands between a heading and the next one."""
    found = list(tokens(page))
    starts = [at for at, token in enumerate(found) if token.type == "heading_open"]
    (start,) = [at for at in starts if found[at + 1].content == heading]
    return found[start + 3 : min(at for at in [*starts, len(found)] if at > start)]


def promises(page: Path, heading: str, kind: str) -> list[list[Token]]:
    """Return the promises of a section, each as the links to tests in it."""
    found: list[list[Token]] = []
    for token in section(page, heading):
        if token.type == f"{kind}_open":
            found.append([])
        elif token.type == "link_open" and str(token.attrGet("href")).startswith("tests/"):
            found[-1].append(token)
    return found[1:] if kind == "tr" else found  # the first row is the head


def functions(test: Path) -> set[str]:
    return {
        node.name
        for node in ast.parse(test.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


@pytest.mark.parametrize(("name", "heading", "kind", "least"), SECTIONS, ids=["README", "SECURITY"])
def test_every_promise_leads_to_its_test(name: str, heading: str, kind: str, least: int) -> None:
    found = promises(ROOT / name, heading, kind)
    assert len(found) >= least
    for number, links in enumerate(found, 1):
        assert links, f"promise {number} has no test"
        for link in links:
            test, title = ROOT / str(link.attrGet("href")), link.attrGet("title")
            there = functions(test)
            assert test.is_file(), test
            assert test.name.startswith("test_"), test
            assert there, test
            if name == "README.md":
                assert title in there, "the title of a link names the function"


def test_a_promise_without_a_test_is_told(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text('# One\n\n- a\n- b [t](tests/x.py "test_y") [o](o)\n\n## Two\n\n- c\n')
    first, second = promises(page, "One", "list_item")
    assert first == []
    assert [(link.attrGet("href"), link.attrGet("title")) for link in second] == [
        ("tests/x.py", "test_y")
    ]
