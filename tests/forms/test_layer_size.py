"""`--max-layer-size SIZE`: sizes, rows, reports, all beside the other options; refusals."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import pytest

import squasher
from tests.builders import Dir, File, Hardlink, Whiteout, archive, layer
from tests.forms import result
from tests.forms.command import done, failed, squash

BASE = layer(Dir(b"etc"), File(b"etc/release", b"12"), File(b"etc/old", b"x"))
FILES = [File(b"app/%02d" % i, bytes([i]) * 4000) for i in range(20)]
ONE = layer(Dir(b"app"), *FILES[:15], Hardlink(b"app/link", b"app/03"))
TWO = layer(Dir(b"app", mode=0o750), *FILES[15:], Dir(b"etc"), Whiteout(b"etc/old"))
IMAGE = archive([BASE, ONE, TWO], tags=["app:1"])
SIZE = ("--max-layer-size", "40kB")


def new_layers(out: bytes, kept: int = 1) -> list[bytes]:
    return [*result.read(out).one.layers[kept:]]


def test_no_new_layer_is_larger() -> None:
    ended = done(squash("--keep-layers", "1", *SIZE, "--verify", stdin=IMAGE))
    image = result.read(ended.out).one
    assert image.layers[0] == BASE
    assert len(image.layers) == 4
    assert max(map(len, image.layers[1:])) <= 40_000
    whole = result.read(done(squash("--keep-layers", "1", stdin=IMAGE)).out).one
    assert result.tree(image.layers) == result.tree(whole.layers)
    assert b"etc/.wh.old" in image.layers[1]
    assert ended.err.count("  squashed") == 3


def test_it_fits_into_one() -> None:
    plain = done(squash("--keep-layers", "1", stdin=IMAGE)).out
    assert done(squash("--keep-layers", "1", "--max-layer-size", "1GiB", stdin=IMAGE)).out == plain


@pytest.mark.parametrize(
    ("history", "rows"),
    [
        ("keep", [("step 0", 0), ("step 1", 1), ("step 2", 1), ("", 0), ("", 0), ("", 0)]),
        ("drop", [("step 0", 0), ("", 0), ("", 0), ("", 0)]),
    ],
)
def test_a_row_for_each_layer(history: str, rows: list[tuple[str, int]]) -> None:
    options = ("--keep-layers", "1", *SIZE, "--history", history, "-m", "new")
    config = result.read(done(squash(*options, stdin=IMAGE)).out).one.config
    found = [(row.get("created_by", ""), row.get("empty_layer", 0)) for row in config["history"]]
    assert found == rows
    assert [row.get("comment") for row in config["history"][-3:]] == ["new"] * 3


def test_every_compression() -> None:
    plain = new_layers(done(squash("--keep-layers", "1", *SIZE, stdin=IMAGE)).out)
    for how in ("gzip", "zstd"):
        out = done(squash("--keep-layers=1", *SIZE, "--compress", how, "--verify", stdin=IMAGE)).out
        with squasher.open_archive(io.BytesIO(out)) as found:
            layers = found.images[0].layers
            assert [each.blob.compression for each in layers[1:]] == [how] * 3
            assert [each.diff_id for each in layers[1:]] == [
                each.diff_id for each in _read(IMAGE, "--compress=none")
            ]
        if how == "gzip":
            blobs = [
                b"".join(each.blob.content.windows()) for each in _read(IMAGE, "--compress=gzip")
            ]
            assert [gzip.decompress(each) for each in blobs] == plain
    packed = archive([BASE, ONE, TWO], gzip_layers=(0, 1, 2))
    out = done(squash("--keep-layers", "1", *SIZE, "--compress=none", stdin=packed)).out
    assert new_layers(out) == plain


def _read(image: bytes, how: str) -> tuple[squasher.Layer, ...]:
    out = done(squash("--keep-layers", "1", *SIZE, how, stdin=image)).out
    with squasher.open_archive(io.BytesIO(out)) as found:
        return found.images[0].layers[1:]


def test_an_update_in_several_layers(tmp_path: Path) -> None:
    previous = tmp_path / "previous.tar"
    previous.write_bytes(archive([BASE, layer(Dir(b"app"), FILES[0], File(b"gone"))]))
    report = tmp_path / "report.json"
    options = ("--onto", previous, *SIZE, "--verify", "--report", report)
    out = done(squash(*options, stdin=IMAGE)).out
    layers = new_layers(out, 2)
    assert len(layers) == 3
    found = json.loads(report.read_text())["images"][0]
    assert found["update"]["fetch"] == sum(map(len, layers))
    assert len(found["layers_after"]) == 5
    assert found["whiteouts"] == 2
    # Each layer that writes into `app` says it again.
    assert found["entries"] == sum(each["entries"] for each in found["layers_after"][2:]) - 2
    out = done(squash("--onto", previous, *SIZE, stdin=previous.read_bytes())).out
    assert new_layers(out, 2) == []


@pytest.mark.parametrize("onto", [False, True])
def test_what_the_base_has_is_counted_once(tmp_path: Path, onto: bool) -> None:
    """Files and directories, as without the option."""
    again = layer(Dir(b"etc"), File(b"etc/release", b"12"), Dir(b"app", mode=0o750), *FILES)
    counts = []
    previous = tmp_path / "previous.tar"
    previous.write_bytes(archive([BASE, layer(Dir(b"app"), *FILES[:4])]))
    for size in ((), SIZE):
        report = tmp_path / "report.json"
        options = ("--onto", previous) if onto else ("--keep-layers=1",)
        ended = done(squash(*options, *size, "--report", report, stdin=archive([BASE, ONE, again])))
        counts.append(json.loads(report.read_text())["images"][0]["provided_by_base"])
        assert f"{counts[0]} already in the base" in ended.err
    assert counts == ([7, 7] if onto else [2, 2])


def test_a_single_layer_is_cut_too() -> None:
    """Squashed before, and now too large for one stream: that is something to do."""
    image = archive([BASE, ONE])
    ended = done(squash("--keep-layers", "1", *SIZE, "--verify", stdin=image))
    assert len(new_layers(ended.out)) == 2
    ended = done(squash("--keep-layers", "1", "--max-layer-size", "1MB", stdin=image))
    assert new_layers(ended.out) == [ONE]
    assert "nothing to squash" in ended.err
    assert "--max-layer-size have no effect" in ended.err
    assert done(squash("--keep-layers", "2", *SIZE, stdin=image)).err.count("nothing to squash")


def test_a_large_file_has_its_own_layer() -> None:
    image = archive([BASE, layer(File(b"big", b"x" * 50_000)), layer(*FILES)])
    ended = done(squash("--keep-layers", "1", *SIZE, "--verify", stdin=image))
    assert "--max-layer-size 40000: 'big' cannot be split" in ended.err
    assert [len(each) for each in new_layers(ended.out)].count(512 + 50_176 + 1024) == 1


def test_too_many_layers_name_the_size_that_fits(tmp_path: Path) -> None:
    image = archive([BASE, layer(*(File(b"f%03d" % i) for i in range(300)))])
    out = tmp_path / "out.tar"
    line = failed(squash("--keep-layers=1", "--max-layer-size=1", "-o", out, stdin=image), 2)
    assert "--max-layer-size: layers of 1 bytes would be more than 125 in all" in line
    size = line.rpartition(" ")[2]
    assert not out.exists()
    ended = done(squash("--keep-layers=1", f"--max-layer-size={size}", stdin=image))
    assert len(new_layers(ended.out)) <= 124


@pytest.mark.parametrize("size", ["", "0", "0MB", "-1", "some", "1.5", "20 XB"])
def test_what_is_no_size(size: str) -> None:
    line = failed(squash("--max-layer-size", size, stdin=IMAGE), 2)
    assert line == (f"--max-layer-size: {size!r} is not a valid size; give bytes, 200MB or 1GiB")


def test_the_library() -> None:
    with squasher.open_archive(io.BytesIO(IMAGE)) as found:
        options = squasher.Options(keep_layers=1, max_layer_size=40_000)
        squashed = squasher.squash(found.images[0], options=options)
        assert len(squashed.after) == len(squashed.image.layers) == 4
    with pytest.raises(squasher.UsageError):
        squasher.Options(max_layer_size=0)


def test_it_is_the_same_every_time_and_dry() -> None:
    once, again = (done(squash("--keep-layers=1", *SIZE, stdin=IMAGE)).out for _ in range(2))
    assert once == again
    ended = squash("--keep-layers=1", *SIZE, "--dry-run", stdin=IMAGE)
    assert (ended.code, ended.out) == (0, b"")
    assert ended.err.count("  squashed") == 3
