"""`--onto PREVIOUS`: what names it, what it costs, history and config, refusals."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import squasher
from squasher import request
from squasher.layers.squash import begin
from tests.builders import Dir, File, Whiteout, archive, layer, sha256
from tests.forms import result
from tests.forms.command import done, failed, squash
from tests.forms.shapes import LAYERS, SHAPES, config_of, plain

BASE = layer(Dir(b"etc"), File(b"etc/release", b"12"))
OLD = layer(Dir(b"app"), File(b"app/a", b"a" * 5000), File(b"app/b", b"b" * 5000))
NEW = layer(Dir(b"app"), File(b"app/a", b"a" * 5000), File(b"app/c", b"c"))
GONE = layer(Dir(b"app"), Whiteout(b"app/a"))
PREVIOUS = archive([BASE, OLD], tags=["app:1.0"])
IMAGE = archive([BASE, NEW], tags=["app:1.1"])
SCHEMA = json.loads(
    (Path(squasher.__file__).parent.parent / "docs/schema/report-1.json").read_text()
)


@pytest.fixture
def previous(tmp_path: Path) -> Path:
    path = tmp_path / "release-1.0.tar"
    path.write_bytes(PREVIOUS)
    return path


def rows(image: result.Found) -> list[tuple[str, bool]]:
    return [
        (row.get("created_by", "") or row.get("comment", "")[:5], row.get("empty_layer", False))
        for row in image.config["history"]
    ]


def test_all_layers_of_the_previous_image_and_one_more(previous: Path) -> None:
    ended = done(squash("--onto", previous, stdin=IMAGE))
    image = result.read(ended.out).one
    assert image.layers[:2] == (BASE, OLD)
    assert len(image.layers) == 3
    assert result.read(ended.out).tags == [["app:1.1"]]
    assert "update   a host with the previous image fetches" in ended.err
    assert "dead     50 % of the files in the previous image, 10.0 kB," in ended.err
    assert rows(image) == [("step 0", False), ("step 1", False), ("step 1", True), ("merge", False)]
    ended = done(squash("--onto", previous, "--history", "drop", "-m", "up", stdin=IMAGE))
    image = result.read(ended.out).one
    assert rows(image) == [("step 0", False), ("step 1", False), ("up", False)]


def test_nothing_differs(previous: Path) -> None:
    ended = done(squash("--onto", previous, stdin=PREVIOUS))
    assert result.read(ended.out).one.layers == (BASE, OLD)
    assert "nothing differs from the previous image: no new layer is written" in ended.err


def test_the_base_of_the_previous_image_is_given_up(previous: Path) -> None:
    ended = done(squash("--onto", previous, stdin=archive([NEW])))
    assert "shares no layer with the previous one" in ended.err


def test_what_is_gone_gets_a_whiteout(previous: Path) -> None:
    image = result.read(done(squash("--onto", previous, stdin=archive([BASE, OLD, GONE]))).out).one
    assert b"app/a" not in result.tree(image.layers)
    assert image.layers[2].startswith(b"app/\0")


@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [
        (None, [], [("step 1", True)]),
        ([{"created_by": "x"}], [], [("step 1", True)]),
        ([{"created_by": "x"}, {"created_by": "y"}, {"empty_layer": True}], ["merge"], None),
    ],
)
def test_history(
    lower: list[dict[str, Any]] | None, upper: list[str], expected: Any, tmp_path: Path
) -> None:
    config = config_of([BASE, OLD])
    config.pop("history")
    path = tmp_path / "previous.tar"
    path.write_bytes(plain(config | ({"history": lower} if lower else {}), [BASE, OLD]))
    ended = done(squash("--onto", path, stdin=IMAGE))
    found = rows(result.read(ended.out).one)
    if expected is None:
        assert found == [("x", False), ("y", False), ("step 1", True), ("merge", False)]
    else:
        assert found == expected
        assert "the history of the previous image has too few rows" in ended.err


def test_absent_history_stays_absent(previous: Path) -> None:
    config = config_of([BASE, NEW])
    config.pop("history")
    image = result.read(done(squash("--onto", previous, stdin=plain(config, [BASE, NEW]))).out).one
    assert "history" not in image.config


def test_another_image_of_the_archive() -> None:
    both = SHAPES["several-images"]().archive
    with squasher.open_archive(io.BytesIO(both)) as found:
        first, second = found.images
    options = ["--image", second.tags[0], "--onto", first.tags[0]]
    image = result.read(done(squash(*options, stdin=both)).out).one
    diff_ids = [f"sha256:{sha256(each)}" for each in image.layers]
    assert diff_ids[: len(first.layers)] == [str(each) for each in first.config.diff_ids]


def test_the_image_of_the_same_platform(tmp_path: Path) -> None:
    path = tmp_path / "platforms.tar"
    path.write_bytes(SHAPES["buildx-oci"]().archive)
    ended = done(squash("--onto", path, "--format", "oci", path))
    with squasher.open_archive(path) as before:
        expected = [image.config.diff_ids for image in before.images]
    with squasher.open_archive(io.BytesIO(ended.out)) as after:
        assert [image.config.diff_ids[:-1] for image in after.images] == expected
    line = failed(squash("--onto", path, stdin=plain(config_of(os="plan9"), LAYERS)), 4)
    assert "0 of its 2 images are for plan9/amd64" in line


def test_a_transport(previous: Path) -> None:
    ended = done(squash("--onto", f"docker-archive:{previous}:app:1.0", stdin=IMAGE))
    assert len(result.read(ended.out).one.layers) == 3


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--onto", ""], 2, "--onto"),
        (["--onto", "-"], 2, "--onto -: give a path or a transport"),
        (
            ["--onto", "no-such.tar"],
            4,
            "--onto no-such.tar: there is no such file, and no image of",
        ),
        (["--onto", "/dev/null"], 3, "--onto: /dev/null: "),
        (["--onto", "{}", "-f", "1"], 2, "--onto and -f cannot be used together"),
        (
            ["--onto", "{}", "--keep-layers", "1"],
            2,
            "--onto and --keep-layers cannot be used together",
        ),
        (["--max-dead", "0.5"], 2, "--max-dead: needs --onto"),
        (["--onto", "{}", "--max-dead", "2"], 2, "--max-dead: '2' is not a valid share"),
        (["--onto", "{}", "--max-dead", "30%"], 1, "50% of the previous image is replaced"),
    ],
)
def test_refusals(options: list[str], code: int, says: str, previous: Path) -> None:
    words = [word.format(previous) for word in options]
    assert says in failed(squash(*words, stdin=IMAGE), code)


def test_enough_is_alive(previous: Path) -> None:
    done(squash("--onto", previous, "--max-dead", "0.5", stdin=IMAGE))


def test_damage_in_the_previous_image_names_it(tmp_path: Path) -> None:
    path = tmp_path / "previous.tar"
    path.write_bytes(PREVIOUS.replace(b"b" * 5000, b"B" + b"b" * 4999))
    line = failed(squash("--onto", path, stdin=IMAGE), 3)
    assert "the previous image: layer 2 of 2: " in line


def test_the_report(previous: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    done(squash("--onto", previous, "--report", path, stdin=IMAGE))
    document = json.loads(path.read_text())
    jsonschema.validate(document, SCHEMA)
    update = document["images"][0]["update"]
    assert update["shared_layers"] == 1
    assert (update["dead_bytes"], update["dead_share"]) == (5000, 0.4999)
    assert update["fetch"] == document["images"][0]["layers_after"][-1]["size"]
    assert update["fetch_without"] == len(NEW)


def test_the_library_takes_one_base(previous: Path) -> None:
    with squasher.open_archive(previous) as found:
        image = found.images[0]
        with pytest.raises(squasher.UsageError, match="give no other base"):
            squasher.squash(image, "1", onto=image)
        assert squasher.squash(image, onto=image).image.config.diff_ids == image.config.diff_ids


def test_verify_catches_another_previous_image(
    previous: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = begin

    def wrong(*arguments: Any, **options: Any) -> squasher.Squashed:
        made = real(*arguments, **options)
        assert made.update is not None
        below = made.update.previous
        return replace(
            made,
            update=replace(made.update, previous=replace(below, layers=below.layers[::-1])),
        )

    monkeypatch.setattr(request, "begin", wrong)
    line = failed(squash("--onto", previous, "--verify", stdin=IMAGE), 1)
    assert "not verified" in line
