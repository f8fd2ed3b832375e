"""What is said of the result: the summary, --report."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import squasher
from squasher.blobs import compression, gzipped
from tests.builders import File, archive, layer, sha256
from tests.forms import result
from tests.forms.command import done, failed, squash
from tests.forms.samples import (
    WARNS,
)
from tests.forms.shapes import (
    LAYERS,
    SAMPLE,
    TAG,
)


def test_the_report_as_json(image: Path, out: Path) -> None:
    options = ("--keep-layers", "2", "--compress", "gzip", "-t", "app")
    done(squash(*options, image, "-o", out / "x.tar", "--report", out / "report.json"))
    report = json.loads((out / "report.json").read_text())
    written = (out / "x.tar").read_bytes()
    found = result.read(written).one
    assert (report["schema"], report["format"]) == (1, "docker")
    assert report["version"] == squasher.__version__
    assert report["archive_size"] == len(written)
    assert report["seconds"] >= 0
    (one,) = report["images"]
    assert one["tags"] == ["app:latest"]
    assert one["platform"] == "linux/amd64"
    assert one["squashed"] is True
    assert one["kept_layers"] == 2
    assert one["source_image_id"] == "sha256:" + sha256(SAMPLE)
    assert one["image_id"] == found.image_id
    assert one["manifest_digest"] == found.descriptor["digest"]
    assert one["size_before"] == sum(map(len, LAYERS))
    assert one["size_after"] == sum(map(len, found.blobs))
    assert one["compressor"] == compression.version("gzip")
    assert (one["overwritten"], one["deleted"], one["provided_by_base"]) == (1, 0, 1)
    assert one["whiteouts"] == 2
    assert [each["diff_id"] for each in one["layers_after"]] == found.config["rootfs"]["diff_ids"]
    digests = [f"sha256:{sha256(data)}" for data in found.blobs]
    assert [each["digest"] for each in one["layers_after"]] == digests
    assert [each["size"] for each in one["layers_after"]] == [len(data) for data in found.blobs]
    assert [each["created_by"] for each in one["layers_before"]] == [
        f"RUN step {n} # buildkit" for n in range(5)
    ]
    assert [each["entries"] for each in one["layers_before"]] == [9, 3, 3, 3, 3]


@pytest.mark.parametrize("options", [(), ("--format", "oci")], ids=str)
def test_the_ids_in_files(options: tuple[str, ...], image: Path, out: Path) -> None:
    (out / "id").write_text("that of the build before")
    words = ("--iidfile", out / "id", "--digestfile", out / "digest", "--report", out / "r.json")
    done(squash(*options, *words, image, "-o", out / "x.tar"))
    (one,) = json.loads((out / "r.json").read_text())["images"]
    assert (out / "id").read_bytes() == one["image_id"].encode()
    assert (out / "digest").read_bytes() == one["manifest_digest"].encode()


def test_a_dry_run_writes_only_its_report(image: Path, out: Path) -> None:
    """An ID in a file would be that of an image that nobody has."""
    (out / "id").write_text("that of the build before")
    ids = ("--iidfile", out / "id", "--digestfile", out / "digest")
    done(squash("--dry-run", *ids, "--report", out / "r.json", image, "-o", out / "x.tar"))
    assert sorted(os.listdir(out)) == ["id", "r.json"]
    squasher.squash_archive(
        image, out / "x.tar", dry_run=True, iidfile=out / "id", digestfile=out / "digest"
    )
    assert sorted(os.listdir(out)) == ["id", "r.json"]
    assert (out / "id").read_text() == "that of the build before"
    assert done(squash("--dry-run", "--iidfile", "-", image)).out == b""


def test_no_ids_in_files_if_there_is_no_result(image: Path, out: Path) -> None:
    (out / "id").write_text("that of the build before")
    failed(squash("-f", "abcdef", "--iidfile", out / "id", image, "-o", out / "x.tar"), 4)
    failed(squash("--iidfile", out / "no/id", image, "-o", out / "x.tar"), 6)
    assert os.listdir(out) == ["id"]
    assert (out / "id").read_text() == "that of the build before"


def test_an_id_on_stdout(image: Path, out: Path) -> None:
    words = ["--iidfile", "-", "--report", out / "r.json", image, "-o", out / "x.tar"]
    command = [sys.executable, "-m", "squasher", *map(str, words)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    (one,) = json.loads((out / "r.json").read_text())["images"]
    assert printed.decode() == one["image_id"]


def test_the_report_names_the_library_of_gzip(image: Path, out: Path, gzip_library: str) -> None:
    report = out / "r.json"
    for how, name, timed in (
        ("gzip", "x.tar", True),
        ("none", "x.tar.gz", True),
        ("none", "x.tar", False),
    ):
        ran = done(squash("--compress", how, image, "-o", out / name, "--report", report))
        document = json.loads(report.read_text())
        compressor = document["images"][0]["compressor"]
        assert compressor.startswith(f"{gzip_library} " if how == "gzip" else "")
        assert ("gzip" in document["profile"]) == timed
        assert "compressing took" not in ran.err


def test_what_the_extra_would_have_saved(
    image: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "deflate", None)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(gzipped, "_LONG", 0.0)
    says = "the extra `fast` saves about 0 s: pip install 'image-squasher[fast]'"
    told = done(squash("--compress", "gzip", image, "-o", out / "x.tar.gz"))
    assert told.err.count(says) == 1
    assert done(squash("-q", "--compress", "gzip", image, "-o", out / "x.tar")).err == ""


def test_the_report_of_zstd_names_its_library(image: Path, out: Path) -> None:
    report = out / "r.json"
    for how, name in (("zstd", "zstd "), ("none", "")):
        done(squash("--compress", how, image, "--report", report))
        compressor = json.loads(report.read_text())["images"][0]["compressor"]
        assert compressor.startswith(name)
        assert bool(compressor) == bool(name)


def test_the_report_has_all_warnings(out: Path) -> None:
    outcome = done(squash("--report", out / "r.json", stdin=WARNS))
    (one,) = json.loads((out / "r.json").read_text())["images"]
    assert one["warnings"] == [
        {"kind": "duplicate-path", "layer": 0, "path": "a`|*_<b>"},
        {"kind": "duplicate-path", "layer": 1, "path": "c"},
        {"kind": "duplicate-path", "layer": 1, "path": "d"},
    ]
    assert outcome.err.count("duplicate-path") == 1
    assert "and 2 more" in outcome.err
    outcome = done(squash("-v", stdin=WARNS))
    assert "         layer 2, 'd'" in outcome.err or "         layer 2, d" in outcome.err


def test_the_report_as_markdown(out: Path) -> None:
    done(squash("--report", out / "r.md", "-o", out / "x.tar.gz", stdin=WARNS))
    text = (out / "r.md").read_text()
    assert "duplicate-path" in text
    assert "the archive is compressed with gzip" in text
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    done(squash("--keep-layers", "1", "--report", out / "r.md", stdin=WARNS))
    assert "nothing to squash" in (out / "r.md").read_text()


def test_the_report_on_stdout_when_the_archive_goes_elsewhere(image: Path, out: Path) -> None:
    for destination in (f"{out}/x.tar", f"oci:{out}/layout", f"oci-archive:{out}/y.tar"):
        outcome = done(squash(image, "-o", destination, "--report", "-"))
        assert json.loads(outcome.out)["schema"] == 1
    outcome = done(squash("--dry-run", image, "--report", "-"))
    assert json.loads(outcome.out)["images"]


def test_a_report_that_cannot_be_written(image: Path, out: Path) -> None:
    """That is told before an archive is made, and takes the place of an older one."""
    old = out / "x.tar"
    old.write_bytes(b"old")
    for report in (out / "no" / "r.json", out):
        failed(squash(image, "-o", old, "--report", report), 6)
        assert old.read_bytes() == b"old"


@pytest.mark.parametrize("option", ["--report", "inspect --html"])
def test_a_report_never_takes_the_place_of_an_image(
    option: str, image: Path, tmp_path: Path
) -> None:
    data = image.read_bytes()
    (tmp_path / "link").symlink_to(image)
    os.link(image, tmp_path / "other")
    *command, name = option.split()
    words = command or ["-o", str(tmp_path / "o.tar")]
    for path in (image, tmp_path / "link", tmp_path / "other"):
        failed(squash(*words, image, name, path), 2)
    assert image.read_bytes() == data
    assert not (tmp_path / "o.tar").exists()


def test_a_report_never_takes_the_place_of_a_base_or_of_a_part_of_a_layout(
    image: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base.tar"
    base.write_bytes(archive(LAYERS[:1]))
    for text in (base, f"docker-archive:{base}"):
        line = failed(squash("-f", text, image, "-o", tmp_path / "o", "--report", base), 2)
        assert line == f"--report {base}: squash reads the image from this file"
    layout = tmp_path / "layout"
    done(squash(image, "-o", f"oci:{layout}"))
    index = layout / "index.json"
    failed(squash(image, "-o", f"oci:{layout}", "--report", index), 2)
    failed(squash(f"oci:{layout}", "-o", tmp_path / "o", "--report", index), 2)
    done(squash(f"oci:{layout}", "-o", tmp_path / "o", "--report", layout / "r.json"))


@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_a_report_to_the_stdout_that_the_archive_has(path: str, image: Path) -> None:
    line = failed(squash(image, "-o", "-", "--report", path), 2)
    assert line == f"--report {path}: stdout already takes the archive"


def test_the_summary_names_sizes_and_ids(image: Path) -> None:
    outcome = done(squash("--keep-layers", "1", image))
    found = result.read(outcome.out).one
    for text in (
        "before ",
        "after ",
        "kept: RUN step 0",
        "squashed",
        "% saved)",
        "2 overwritten, 0 deleted, 1 already in the base",
        f"tags     {TAG}",
        f"image    {found.image_id}",
        f"manifest {found.descriptor['digest']}",
    ):
        assert text in outcome.err


def test_the_summary_of_many_layers() -> None:
    layers = [layer(File(b"f%d" % n, b"x" * 10**5)) for n in range(50)]
    outcome = done(squash(stdin=archive(layers, tags=None)))
    assert "... and 10 more" in outcome.err
    assert "MB" in outcome.err
    assert "tags     none" in outcome.err


def test_the_warnings_of_a_report() -> None:
    report = squasher.squash_archive(io.BytesIO(WARNS), io.BytesIO())
    assert len(report.warnings) == 3


def test_the_report_does_not_go_where_the_archive_goes(image: Path, out: Path) -> None:
    (out / "link").symlink_to("x.tar")
    for report in ("x.tar", "./x.tar", "link"):
        line = failed(squash(image, "-o", out / "x.tar", "--report", f"{out}/{report}"), 2)
        assert "squash writes the archive to this file" in line
