"""Nothing from an image reaches a terminal or a report as anything but text."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import cmarkgfm
import pytest
from cmarkgfm.cmark import Options

import squasher
from squasher.cli import report
from squasher.errors import SquasherError
from tests import nasty
from tests.faults.conftest import Here, here

__all__ = ["here"]
FORMS = ("legacy", "v25", "podman", "oci")
BROKEN = dict(nasty.broken())


def squashed(form: str = "v25") -> squasher.SquashReport:
    return squasher.squash_archive(io.BytesIO(nasty.image(form)), io.BytesIO(), keep_layers=1)


def test_the_strings_do_harm() -> None:
    """A test of the test: each is unfit for a terminal, for HTML or for Markdown."""
    for what, text in nasty.STRINGS.items():
        assert f"{what}-evil" in text
        assert not nasty.harmless(text) or any(char in text for char in "<&|`{=@*"), what
    assert not any(map(nasty.harmless, ("\x1b[m", "a\rb", "\x9b", "\u202e", "\u200b", "\x7f")))
    assert nasty.harmless("one\ntwo é … 漢字\n")


@pytest.mark.parametrize("form", FORMS)
def test_the_summary(form: str, tmp_path: Path, here: Here) -> None:
    out = tmp_path / "out.tar"
    result = here("-v", "--keep-layers", "1", "-o", out, stdin=nasty.image(form))
    assert result.returncode == 0
    text = result.stderr.decode()
    assert nasty.harmless(text)
    own = "squash: |before |after |  [0-9a-f]{12} |size |dropped |notice |warning |         |tags "
    own += "|image |manifest |update |archive |time "
    assert all(re.match(own, line) for line in text.splitlines())
    assert "colour-evil" in text
    assert not re.search("^squash: lines-evil", text, re.MULTILINE)


@pytest.mark.parametrize("what", BROKEN)
def test_an_error(what: str, here: Here) -> None:
    result = here("-v", stdin=BROKEN[what])
    assert result.returncode in (3, 4, 5)
    text = result.stderr.decode()
    assert nasty.harmless(text)
    assert re.fullmatch("(squash: (copying|reading).*\n)*squash: .*\n", text)
    assert "line" not in what or "\nsquash: lines-evil" not in text


@pytest.mark.parametrize("what", BROKEN)
def test_an_error_of_the_library_is_one_line(what: str) -> None:
    with pytest.raises(SquasherError) as raised:
        squasher.squash_archive(io.BytesIO(BROKEN[what]), io.BytesIO())
    assert nasty.harmless(str(raised.value))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "arguments",
    [
        ("-f", "nowhere"),
        ("-f", "ffffff"),
        ("--image", "nowhere"),
        ("--platform", "linux/none"),
        ("--strict",),
        ("--max-size", "1"),
        ("--keep-layers", "9"),
        ("--image", "\x1b[31m\n"),
        ("-f", "\x1b[31m\nx"),
        ("-t", "\x1b[31m\n"),
        ("--platform", "\x1b[31m\n\u202e"),
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_a_refusal(arguments: tuple[str, ...], form: str, here: Here) -> None:
    """Also the table of what the base could have been, and names that were asked for."""
    result = here(*arguments, stdin=nasty.image(form))
    assert result.returncode in (1, 2, 3, 4)
    assert nasty.harmless(result.stderr.decode())


def test_the_report_as_json() -> None:
    done = squashed()
    text = report.render(done, markdown=False)
    assert text.isascii()
    assert all(line.isprintable() for line in text.splitlines())
    read = json.loads(text)
    (image,) = read["images"]
    rows = [layer["created_by"] for layer in image["layers_before"]]
    assert rows == list(nasty.STRINGS.values())[:3]
    paths = {warning["path"] for warning in image["warnings"]}
    assert len([path for path in paths if path.startswith("twice-")]) == len(nasty.STRINGS)


def html(markdown: str) -> str:
    """Return what a forge shows, with nothing filtered that Markdown lets through."""
    page: str = cmarkgfm.markdown_to_html_with_extensions(
        markdown,
        options=Options.CMARK_OPT_UNSAFE,
        extensions=["table", "autolink", "strikethrough", "tasklist"],
    )
    return page


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("turn", range(len(nasty.STRINGS)))
def test_the_report_as_markdown(form: str, turn: int) -> None:
    """Each string takes its turn as the row of the kept layer, which the table shows."""
    source = nasty.image(form, first=turn)
    done = squasher.squash_archive(io.BytesIO(source), io.BytesIO(), keep_layers=1)
    text = report.render(done, markdown=True)
    assert nasty.harmless(text)
    page = html(text)
    tags = set(re.findall(r"<(/?[a-z0-9]+)", page))
    allowed = {"h3", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "code", "ul", "li"}
    assert {tag.lstrip("/") for tag in tags} <= allowed
    assert page.count("<tr>") == 1 + len(done.images[0].after)
    assert page.count("<td") == 4 * len(done.images[0].after)
    assert page.count("<h3>") == page.count("<table>") == 1
    # What is not code would be taken for mentions, references, mathematics.
    plain = re.sub(r"<code>.*?</code>", "", page, flags=re.DOTALL)
    assert not re.search(r"[@$]|#\d|-evil|://|www", plain)
    shown = re.sub(r"<[^>]*>", "", page)
    assert nasty.MARKERS[turn] in shown


def test_the_input_and_its_own_error_are_not_trusted_with_the_terminal(
    tmp_path: Path, here: Here
) -> None:
    """Names of files come from whoever unpacked something, and are shown too."""
    path = tmp_path / "\x1b[31m\u202e\nsquash: fine.tar"
    result = here(path)
    assert result.returncode == 3
    assert nasty.harmless(result.stderr.decode())
    assert result.stderr.count(b"\n") == 1
    path.write_bytes(b"no archive")
    result = here(path)
    assert nasty.harmless(result.stderr.decode())
    out = tmp_path / "none" / "\x1b[31m\u202e"
    result = here("-o", out, stdin=nasty.image())
    assert result.returncode == 6
    assert nasty.harmless(result.stderr.decode())
