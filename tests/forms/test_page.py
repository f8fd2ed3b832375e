"""`squash inspect --html FILE`: where the page goes, and what is in its way."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.builders import Dir, File, Whiteout, archive, layer
from tests.forms.command import done, failed, squash

APP = archive(
    [layer(Dir(b"d"), File(b"d/f", b"x" * 5000)), layer(Dir(b"d"), Whiteout(b"d/f"))],
    tags=("app:1",),
)


def test_the_page_is_a_file_beside_the_tables(tmp_path: Path) -> None:
    result = done(squash("inspect", "--html", tmp_path / "app.html", stdin=APP))
    html = (tmp_path / "app.html").read_text(encoding="utf-8")
    assert html.startswith("<!DOCTYPE html>")
    assert "app:1" in html
    assert b"app:1" in result.out
    assert b"<" not in result.out


def test_the_page_on_stdout_stands_alone() -> None:
    result = done(squash("inspect", "--html", "-", stdin=APP))
    assert result.out.startswith(b"<!DOCTYPE html>")
    assert result.out.endswith(b"</html>\n")


def test_the_page_beside_the_document(tmp_path: Path) -> None:
    result = done(squash("inspect", "--json", "--html", tmp_path / "app.html", stdin=APP))
    assert result.out.startswith(b"{")
    assert (tmp_path / "app.html").stat().st_size > 10_000
    assert "stdout" in failed(squash("inspect", "--json", "--html", "-", stdin=APP), 2)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    result = squash("inspect", "--quiet", "--html", tmp_path / "no" / "app.html", stdin=APP)
    assert "no such folder" in failed(result, 6)


def test_what_is_missing_is_said_before_the_image_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    result = squash("inspect", "--html", tmp_path / "app.html", stdin=b"no image")
    assert failed(result, 2) == (
        "--html: needs the extra `html`; pip install 'image-squasher[html]'"
    )
    assert not (tmp_path / "app.html").exists()
