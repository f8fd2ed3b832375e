"""Files, pipes and streams as ways out."""

from __future__ import annotations

import gzip
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import squasher
from squasher.archive.location import Location, parse_location
from tests.forms import result
from tests.forms.command import done, failed, squash
from tests.forms.samples import (
    IMAGE,
    ZSTD,
)
from tests.forms.shapes import (
    LAYERS,
    TAG,
    gzipped,
)
from tests.zstd import zstd


@pytest.mark.parametrize(
    ("name", "unpack", "notice"),
    [
        ("x.tar.gz", gzip.decompress, "compressed with gzip: docker loads it"),
        ("x.tgz", gzip.decompress, "compressed with gzip: docker loads it"),
        ("x.tar.zst", zstd.decompress, "compressed with zstd: docker before 29"),
        ("x.tar", bytes, ""),
        ("x.gz", bytes, ""),
    ],
)
@pytest.mark.parametrize("transport", ["", "docker-archive:", "oci-archive:"])
def test_a_name_that_asks_for_compression(
    name: str,
    unpack: Callable[[bytes], bytes],
    notice: str,
    transport: str,
    image: Path,
    out: Path,
) -> None:
    written = []
    for _ in range(2):
        outcome = done(squash(image, "-o", f"{transport}{out}/{name}"))
        written.append((out / name).read_bytes())
        (out / name).unlink()
    assert written[0] == written[1]
    found = result.read(unpack(written[0]))
    assert result.tree(found.one.layers) == result.tree(LAYERS)
    assert bool(notice) == ("the archive is compressed" in outcome.err)
    assert notice in outcome.err


def test_an_archive_in_place_of_a_folder(image: Path, out: Path) -> None:
    for transport in ("docker-archive", "oci-archive"):
        assert "is a folder" in failed(squash(image, "-o", f"{transport}:{out}"), 6)
    assert os.listdir(out) == []


def test_a_fifo_behind_a_transport(image: Path, out: Path) -> None:
    os.mkfifo(out / "fifo")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append((out / "fifo").read_bytes()))
    reader.start()
    done(squash(image, "-o", f"oci-archive:{out}/fifo"))
    reader.join()
    assert result.read(got[0]).one


def test_windows_drives_and_references() -> None:
    assert parse_location("oci-archive:C:\\x.tar:app:1") == Location(
        "oci-archive", "C:\\x.tar", "app:1"
    )
    assert parse_location("oci:/x:y") == Location("oci", "/x", "y")
    assert parse_location("docker-daemon:sha256:ab") == Location("docker-daemon", "sha256:ab")
    assert parse_location("C:\\x.tar") == Location("path", "C:\\x.tar")
    assert parse_location("-") == Location("stream", "-")


def test_the_library_takes_no_stream_without_its_file_object(image: Path, out: Path) -> None:
    with pytest.raises(squasher.UsageError, match="give a file object"):
        squasher.squash_archive(image, parse_location("-"))
    with (
        pytest.raises(squasher.UsageError, match="give a file object"),
        squasher.open_archive(parse_location("-")),
    ):
        pass
    squasher.squash_archive(parse_location(str(image)), parse_location(f"{out}/x.tar", output=True))
    assert result.read((out / "x.tar").read_bytes()).one
    squasher.write((), parse_location(f"oci:{out}/layout"))
    with (
        pytest.raises(squasher.ArchiveError, match="no image that index"),
        squasher.open_archive(parse_location(f"{out}/layout")),
    ):
        pass


def test_no_destination_writes_nothing(image: Path, out: Path) -> None:
    report = squasher.squash_archive(image, None)
    assert report.size > 0
    assert report.loaded == ()
    outcome = done(squash("--dry-run", image, "-o", f"oci:{out}/x", "--report", out / "r.json"))
    assert outcome.out == b""
    assert os.listdir(out) == ["r.json"]


def test_a_dry_run_plans_for_the_destination(tmp_path: Path) -> None:
    source = tmp_path / "in.tar"
    source.write_bytes(ZSTD)
    found = []
    for more in ((), ("--dry-run",)):
        report = tmp_path / "r.json"
        words = ("--keep-layers", "2", source, "-o", f"oci:{tmp_path}/layout:x", "--report", report)
        done(squash(*words, *more))
        document = json.loads(report.read_bytes())
        for key in ("seconds", "profile"):
            document.pop(key, None)
        found.append(document)
    assert found[0] == found[1]
    for bad in ("docker://x", "", f"oci:{tmp_path}/o"):
        failed(squash("--dry-run", source, "-o", bad, "--format", "docker"), 2)


def test_outer_gzip_input_that_is_a_pipe_to_a_gzip_output(out: Path) -> None:
    done(squash("-o", out / "x.tar.gz", stdin=gzipped(IMAGE)))
    assert result.read(gzip.decompress((out / "x.tar.gz").read_bytes())).tags == [[TAG]]
