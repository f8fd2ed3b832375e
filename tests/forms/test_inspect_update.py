"""`squash inspect --onto PREVIOUS`: tables, the document, the page, what names the image."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import squasher
from tests.builders import Dir, File, archive, layer
from tests.forms.command import done, failed, squash
from tests.forms.shapes import SHAPES

ROOT = Path(__file__).parent.parent.parent
SCHEMA = json.loads((ROOT / "docs/schema/inspect-1.json").read_text("utf-8"))
FILES = [File(b"app/%02d" % i, bytes([i]) * 3000) for i in range(30)]
OLD = archive([layer(Dir(b"app"), *FILES, File(b"gone"))], tags=["app:1"])
NEW = archive(
    [
        layer(Dir(b"app"), *(replace(each, mtime=10**9) for each in FILES[:25]), *FILES[26:]),
        layer(Dir(b"app"), File(b"app/25", b"new " * 750), File(b"<b>&", b"x")),
    ],
    tags=["app:2"],
)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old.tar"
    path.write_bytes(OLD)
    return path


def document(*words: str | Path, stdin: bytes) -> dict[str, Any]:
    found = json.loads(done(squash("inspect", "--json", *words, stdin=stdin)).out)
    jsonschema.validate(found, SCHEMA, jsonschema.Draft202012Validator)
    update: dict[str, Any] = found["images"][0]["update"]
    return update


def test_tables(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = done(squash("inspect", "--onto", old, stdin=NEW)).out.decode()
    assert "update onto app:1: a layer of 9" in shown
    assert "time alone  25 paths" in shown
    assert "... and 9 more (--all)" in shown
    assert "'/gone'" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    shown = done(squash("inspect", "--all", "--onto", old, stdin=NEW)).out.decode()
    assert "deleted     '/gone'" in shown
    assert "3.6 kB  content     '/app/25'" in shown
    shown = done(squash("inspect", "--onto", old, stdin=OLD)).out.decode()
    assert "update onto app:1: nothing differs" in shown


def test_the_document(old: Path) -> None:
    update = document("--onto", old, stdin=NEW)
    assert update["previous_name"] == "app:1"
    assert {why: each["paths"] for why, each in update["reasons"].items()} == {
        "new": 1,
        "content": 1,
        "attributes": 0,
        "time alone": 25,
        "deleted": 1,
        "repeated": 1,
    }
    assert (update["paths_total"], len(update["paths"])) == (29, 20)
    assert len(document("--all", "--onto", old, stdin=NEW)["paths"]) == 29
    (root, app) = update["folders"]
    assert root["bytes"] + 1024 == update["layer_size"]
    assert (app["path"], app["time_alone_bytes"]) == ("app", 25 * 3584)
    found = json.loads(done(squash("inspect", "--json", stdin=NEW)).out)
    assert found["images"][0]["update"] is None
    assert document("--onto", old, stdin=OLD)["layer_size"] == 0


def test_the_page(old: Path, tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    page = tmp_path / "page.html"
    done(squash("inspect", "-q", "--html", page, "--onto", old, stdin=NEW))
    html = page.read_text("utf-8")
    assert "What an update costs" in html
    assert 'class="update"' in html
    assert "&lt;b&gt;&amp;" in html
    assert "time alone" in html
    done(squash("inspect", "-q", "--html", page, "--onto", old, stdin=OLD))
    assert "Nothing: no path differs from" in page.read_text("utf-8")
    done(squash("inspect", "-q", "--html", page, stdin=NEW))
    assert "What an update costs" not in page.read_text("utf-8")


def test_several_images_each_onto_its_own(tmp_path: Path) -> None:
    path = tmp_path / "platforms.tar"
    path.write_bytes(SHAPES["buildx-oci"]().archive)
    found = json.loads(done(squash("inspect", "--json", "--onto", path, path)).out)
    for each in found["images"]:
        assert each["update"]["previous_image_id"] == each["image_id"]
    both = SHAPES["several-images"]().archive
    with squasher.open_archive(io.BytesIO(both)) as archives:
        first, second = archives.images
    options = ("--image", second.tags[0], "--onto", first.tags[0])
    assert document(*options, stdin=both)["previous_name"] == first.name


@pytest.mark.parametrize(
    ("word", "code", "says"),
    [
        ("", 2, "--onto: the name is empty"),
        ("-", 2, "--onto -: give a path or a transport"),
        ("nothing.tar", 4, "--onto nothing.tar: there is no such file"),
    ],
)
def test_what_is_no_previous_image(word: str, code: int, says: str) -> None:
    assert says in failed(squash("inspect", "--onto", word, stdin=NEW), code)


def test_the_page_does_not_overwrite_the_previous_image(old: Path) -> None:
    pytest.importorskip("jinja2")
    line = failed(squash("inspect", "--onto", old, "--html", old, stdin=NEW), 2)
    assert "squash reads the image from this file" in line
