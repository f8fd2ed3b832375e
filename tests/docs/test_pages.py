"""Every command in the README and in docs/ does what the page says; every link leads somewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.blocks import LISTED, NEEDS, ROOT, RUN, blocks, fits, name, pages, tokens
from tests.docs.conftest import Workshop

ENGINES = [page for page in pages() if any(block.needs == "engines" for block in blocks(page))]
#: Pages beside the README.
TOP = ("CONTRIBUTING.md", "SECURITY.md")
PLAIN = [page for page in pages() if page not in ENGINES]


@pytest.mark.parametrize("page", PLAIN, ids=name)
def test_the_commands_of_a_page(page: Path, workshop: Workshop) -> None:
    for block in blocks(page):
        if block.language in RUN and block.needs == "":
            workshop.run(block)


@pytest.mark.parametrize("page", ENGINES, ids=name)
def test_the_commands_of_a_page_without_engines(page: Path, workshop: Workshop) -> None:
    for block in blocks(page):
        if block.language in RUN and block.needs == "":
            workshop.run(block)


@pytest.mark.parametrize("page", ENGINES, ids=name)
def test_the_commands_of_a_page_with_engines(page: Path, harbour: Workshop) -> None:
    for block in blocks(page):
        if block.language in RUN and block.needs in ("", "engines"):
            harbour.run(block)


@pytest.mark.parametrize("page", pages(), ids=name)
def test_a_block_is_run_or_is_no_command(page: Path) -> None:
    for block in blocks(page):
        assert block.language in (*RUN, *LISTED), f"line {block.line}: {block.language!r}"
        assert block.needs in NEEDS, f"line {block.line}: {block.needs!r}"
        if block.language not in RUN:
            lines = [line for line in block.text.splitlines() if "[OPTIONS]" not in line]
            assert not [line for line in lines if line.lstrip().startswith(("$ ", "squash "))]
    assert not [token for token in tokens(page) if token.type == "code_block"], "fence it"


@pytest.mark.parametrize("page", [*pages(), *map(ROOT.joinpath, TOP)], ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = [
        str(token.attrGet("href") or token.attrGet("src"))
        for token in tokens(page)
        if token.type in ("link_open", "image")
    ]
    for target in targets:
        path, _, anchor = target.partition("#")
        if ":" in path:
            continue
        found = (page.parent / path) if path else page
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found), target


def anchors(page: Path) -> set[str]:
    """Return the names that headings can be linked to by."""
    found, inside = set(), False
    for token in tokens(page):
        if inside and token.type == "inline":
            text = "".join(
                char for char in token.content.lower() if char.isalnum() or char in " -_"
            )
            found.add(text.replace(" ", "-"))
        inside = token.type == "heading_open"
    return found


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=name)
def test_a_page_can_be_found(page: Path) -> None:
    if page.name == "README.md":
        return
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    assert f"]({page.relative_to(ROOT / 'docs')})" in index


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) < 200


@pytest.mark.parametrize(
    ("expected", "output", "same"),
    [
        ("", "", True),
        ("", "x", False),
        ("a\nb", "a\nb\n", True),
        ("a\nb", "a\nc\n", False),
        ("a...c", "abbc", True),
        ("a...c", "abbd", False),
        ("a\n...\nc", "a\nb\nb\nc", True),
        ("a\n...\nc", "a\nc", True),
        ("a\n...", "a\nb", True),
        ("took 0.1 s", "took 12.5 s", True),
        ("took 0.1 s", "took 0.1 m", False),
        ("1.5 MB", "1.6 MB", False),
    ],
)
def test_what_fits(expected: str, output: str, *, same: bool) -> None:
    assert fits(expected, output) == same
