"""The reference says what the code says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import squasher
from squasher.cli import report
from tests.docs import reference
from tests.docs.blocks import ROOT, name

PAGES = sorted(reference.FOLDER.glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_page_is_what_the_code_says(page: Path) -> None:
    """If not: python -m tests.docs.reference."""
    text = page.read_text("utf-8")
    assert text == reference.updated(text)


@pytest.mark.parametrize(
    ("page", "parts"),
    [
        ("command.md", ("squash", "inspect", "diff")),
        ("exit-codes.md", ("errors",)),
        ("library.md", ("calls", "values", "types")),
        ("warnings.md", ("warnings",)),
    ],
)
def test_the_page_has_its_parts(page: str, parts: tuple[str, ...]) -> None:
    text = (reference.FOLDER / page).read_text("utf-8")
    for part in parts:
        assert f"<!-- from the code: {part} -->" in text
        assert reference.written(part) in text


def test_every_public_name_is_in_the_reference() -> None:
    text = "".join(page.read_text("utf-8") for page in PAGES)
    for each in squasher.__all__:
        assert each == "__version__" or f"### {each}\n" in text or f"| `{each}` |" in text


def test_every_exit_code_of_the_library_is_in_the_table() -> None:
    table = (reference.FOLDER / "exit-codes.md").read_text("utf-8").split("##")[0]
    for each in reference.public("errors"):
        assert f"\n| {getattr(squasher, each).exit_code} | " in table


def test_every_key_of_the_report_is_explained(tmp_path: Path) -> None:
    page = (reference.FOLDER / "report.md").read_text("utf-8")
    demo = Path(ROOT, "testdata", "demo.tar")
    done = squasher.squash_archive(demo, tmp_path / "out.tar", keep_layers=1)
    document = report.to_json(done)
    for keys, title in (
        (document, "The document"),
        (document["images"][0], "An image"),
        (document["images"][0]["layers_after"][0], "A layer"),
    ):
        section = page.split(f"## {title}\n")[1].split("\n## ")[0]
        told = [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]
        assert told == list(keys)
    example = page.split("```json\n")[1].split("```")[0]
    assert json.loads(example).keys() == document.keys()
