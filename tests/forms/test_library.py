"""The library's calls: open, squash, write, compare."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

import squasher
from squasher.archive.location import parse_location
from tests.builders import archive
from tests.forms import result
from tests.forms.samples import (
    GZIPPED,
    IMAGE,
    SAME_HEADER,
    TWO,
)
from tests.forms.shapes import (
    LAYERS,
    SAMPLE,
    TAG,
)


def test_the_side_of_a_comparison_that_is_damaged(tmp_path: Path) -> None:
    damaged = bytearray(IMAGE)
    damaged[IMAGE.index(LAYERS[2]) + 600] ^= 1
    for sides in ((IMAGE, damaged), (damaged, IMAGE)):
        place = ("before", "after")[sides.index(damaged)]
        with (
            squasher.open_archive(io.BytesIO(sides[0])) as one,
            squasher.open_archive(io.BytesIO(sides[1])) as two,
            pytest.raises(squasher.ArchiveError) as raised,
        ):
            squasher.compare(one.images[0], two.images[0])
        assert raised.value.where.startswith(f"{place}: layer 3 of 5")


def test_writing_and_comparing_images(image: Path, out: Path) -> None:
    with squasher.open_archive(image) as found:
        squashed = squasher.squash(found.images[0], "4")
        written = squasher.write([squashed.image], out / "x.tar")
        assert written.size == (out / "x.tar").stat().st_size
        assert squasher.compare(found.images[0], squashed.image, tmp_dir=out) == ()
        with squasher.open_archive(io.BytesIO(SAME_HEADER)) as other:
            differences = squasher.compare(squashed.image, other.images[0])
        assert differences
        assert all(each.path and each.what for each in differences)
    with squasher.open_archive(parse_location(f"docker-archive:{out}/x.tar:{TAG}")) as again:
        assert again.images[0].config == squashed.image.config


def test_a_base_is_named_in_one_way() -> None:
    with pytest.raises(squasher.UsageError, match="-f and --keep-layers cannot be used together"):
        squasher.squash_archive(io.BytesIO(IMAGE), None, base="4", keep_layers=1)


def test_writing_to_a_layout_and_to_a_stream(image: Path, out: Path) -> None:
    with squasher.open_archive(image) as found:
        squasher.write(found.images, parse_location(f"oci:{out}/layout:x"))
        stream = io.BytesIO()
        squasher.write(found.images, stream, form="oci")
    assert result.read(result.folder(out / "layout")).one.raw_config == SAMPLE
    assert result.read(stream.getvalue()).one.raw_config == SAMPLE


def test_writing_blobs_that_no_document_names() -> None:
    data = archive(LAYERS, form="legacy", gzip_layers=range(len(LAYERS)))
    stream = io.BytesIO()
    with squasher.open_archive(io.BytesIO(data)) as found:
        squasher.write(found.images, stream)
    assert result.read(stream.getvalue()).one.layers == LAYERS


def test_progress_reaches_what_it_announces(image: Path, out: Path) -> None:
    for source in (image, io.BytesIO(GZIPPED), io.BytesIO(TWO)):
        counts: dict[str, int] = {}
        totals: dict[str, int] = {}

        def progress(phase: str, done: int, total: int) -> None:
            counts[phase] = counts.get(phase, 0) + done  # noqa: B023
            totals[phase] = total  # noqa: B023

        layout_ = parse_location(f"oci:{out}/{len(os.listdir(out))}", output=True)
        for destination in (io.BytesIO(), out / "out.tar", layout_):
            counts.clear()
            squasher.squash_archive(source, destination, progress=progress)
            assert counts["write"] == totals["write"] > 0
            assert counts["read"] == totals["read"] > 0
