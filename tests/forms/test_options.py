"""Options that conflict, and values that are none."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

import squasher
from tests.forms import result
from tests.forms.command import done, failed, squash
from tests.forms.samples import (
    IMAGE,
    PLATFORMS,
    TWO,
)
from tests.forms.shapes import (
    TAG,
)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("-f 1 --keep-layers 1", "-f and --keep-layers cannot be used together"),
        ("-t a --no-tag", "--tag and --no-tag cannot be used together"),
        ("-q -v", "--quiet and --verbose cannot be used together"),
        ("--dry-run --load", "--dry-run and --load cannot be used together"),
        ("--keep-layers -1", "-1 is not a valid number of layers"),
        ("-f 0", "-f 0: 0 history rows were asked for; give 1 or more, or leave -f out"),
        ("--format tar", "tar"),
        ("--history half", "half"),
        ("--format docker -o oci:OUT/x", "oci: cannot be written as --format docker"),
        (
            "--format docker -o oci-archive:OUT/x",
            "oci-archive: cannot be written as --format docker",
        ),
        (
            "--format oci -o docker-archive:OUT/x",
            "docker-archive: cannot be written as --format oci",
        ),
        ("--format oci -o docker-daemon:app", "docker-daemon: cannot be written as --format oci"),
        ("--format oci --load", "the daemon takes --format docker"),
        ("--load -o oci:OUT/x", "the daemon takes --format docker"),
        ("--load -o oci-archive:OUT/x", "the daemon takes --format docker"),
        ("--load --format oci -o OUT/x", "the daemon takes --format docker"),
        ("-t a -o docker-archive:OUT/x:b", "the output has a name for the image, too"),
        ("--no-tag -o docker-archive:OUT/x:b", "the output has a name for the image, too"),
        ("-t a -o docker-daemon:b", "the output has a name for the image, too"),
        ("-o docker-archive:OUT/x:Bad", "is not a valid image name"),
        ("-t Bad", "'Bad' is not a valid image name"),
        ("-t a:b:c", "is not a valid image name"),
        ("--cleanup", "--cleanup: needs a docker-daemon: input and --load"),
        ("--cleanup --load", "--cleanup: needs a docker-daemon: input and --load"),
        ("-from root", "-from: there is no such option; use -f BASE to keep a base"),
        ("-i", "-i: there is no such option; give the archive without"),
        ("-verbose", "-verbose: there is no such option; --verbose"),
        ("-tag a", "-tag: there is no such option; --tag"),
        (
            "-q inspect",
            "inspect: the command must be the first word; run `squash inspect ...`; for",
        ),
        ("-t a diff", "diff: the command must be the first word; run `squash diff ...`"),
        ("--report - -o -", "stdout already takes the archive"),
        ("--report -", "stdout already takes the archive"),
        ("--iidfile -", "--iidfile /dev/stdout: stdout already takes the archive"),
        ("--digestfile -", "--digestfile /dev/stdout: stdout already takes the archive"),
        ("--iidfile OUT/x -o OUT/x", "--iidfile OUT/x: squash writes the archive to this file"),
        ("--strict=nonsense", "'nonsense' is not a kind of warning; give some of default-acl, "),
        ("--compress lz4", "'lz4' is not known; give auto, none, gzip or zstd[:LEVEL]"),
        ("--compress gzip:10", "'10' is not a level of gzip; give 0 to 9"),
        ("--compress gzip:", "'' is not a level of gzip"),
        ("--compress zstd:0", "'0' is not a level of zstd; give 1 to 19"),
        ("--compress zstd:-1", "'-1' is not a level of zstd"),
        ("--compress none:1", "'none:1' is not known"),
        ("--message \udcff", "--message: is not UTF-8"),
        ("--created yesterday", "'yesterday' is not a valid time; give RFC 3339 or epoch seconds"),
        ("--created 2024-02-30T00:00:00Z", "is not a valid time"),
        ("--created 2024-01-01T00:00:00+24:00", "is not a valid time"),
        ("--created 99999999999999999999", "is not a valid time"),
        ("-o docker://registry/app", "the transport docker:// is not supported"),
        ("-o containers-storage:app", "the transport containers-storage: is not supported"),
        ("-o oci:", "the path is missing"),
    ],
)
def test_options_in_conflict(options: str, says: str, image: Path, out: Path) -> None:
    words = [word.replace("OUT", str(out)) for word in options.split()]
    assert says.replace("OUT", str(out)) in failed(squash(*words, image), 2)
    assert os.listdir(out) == []


def test_cleanup_needs_load_and_a_daemon(image: Path) -> None:
    for words in (("docker-daemon:app", "-o", "-"), (str(image), "--load")):
        assert "--cleanup: needs" in failed(squash("--cleanup", *words), 2)


@pytest.mark.parametrize("option", ["-o", "-f"])
def test_an_empty_value_is_an_unset_variable(option: str, image: Path) -> None:
    assert "empty" in failed(squash(option, "", image), 2)


@pytest.mark.parametrize("value", ["-1", "many", "1.5"])
def test_a_size_that_is_none(value: str, image: Path) -> None:
    assert value in failed(squash("--max-size", value, image), 2)


@pytest.mark.parametrize("options", [["-t", "one"], ["-o", "oci-archive:{}/x:one"]])
def test_one_name_for_several_images(options: list[str], out: Path) -> None:
    words = [word.format(out) for word in options]
    line = failed(squash(*words, stdin=TWO), 2)
    assert "2 images, but a name is for one image; choose one with --image or --platform" in line
    assert os.listdir(out) == []
    words += ["--image", TAG]
    done(squash(*words, stdin=TWO))


@pytest.mark.parametrize("option", ["--iidfile", "--digestfile"])
def test_one_id_for_several_images(option: str, out: Path) -> None:
    words = (option, out / "id", "-o", out / "x.tar")
    line = failed(squash(*words, stdin=TWO), 2)
    assert f"{option}: the archive has 2 images, but the file takes one ID; choose one with" in line
    assert os.listdir(out) == []
    done(squash(*words, "--image", TAG, stdin=TWO))


def test_several_platforms_under_one_name(out: Path) -> None:
    line = failed(squash(stdin=PLATFORMS), 2)
    assert f"{TAG} names 2 images (linux/amd64, linux/arm64/v8)" in line
    assert "--platform" in line
    assert "--format oci" in line
    found = result.read(done(squash("--platform", "linux/arm64", stdin=PLATFORMS)).out)
    assert found.one.config["architecture"] == "arm64"
    done(squash("--format", "oci", stdin=PLATFORMS))
    done(squash("-o", f"oci:{out}/layout", stdin=PLATFORMS))
    done(squash("--no-tag", "--platform", "linux/amd64", stdin=PLATFORMS))


def test_a_form_that_is_none(image: Path) -> None:
    with pytest.raises(squasher.UsageError, match="'tar' is neither docker nor oci"):
        squasher.squash_archive(image, None, form="tar")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "words",
    [
        ("--image", ""),
        ("--platform", ""),
        ("-o", ""),
        ("--report", ""),
        ("-f", ""),
        ("--tmp-dir", ""),
    ],
)
def test_an_empty_text_is_an_unset_variable(words: tuple[str, str], image: Path) -> None:
    assert "empty" in failed(squash(image, "-o", "-" if "-o" not in words else "", *words), 2)
    failed(squash("", "-o", "-"), 2)


def test_a_folder_that_is_not_there_is_no_file(image: Path, out: Path) -> None:
    assert failed(squash(image, "-o", f"{out}/no/"), 6) == f"{out}/no/: no such folder"
    assert os.listdir(out) == []


def test_outputs_of_other_tools_are_refused_with_the_line_that_writes_them(image: Path) -> None:
    line = failed(squash(image, "-o", "docker://example.com/app"), 2)
    assert "`skopeo copy oci-archive:image.tar docker://example.com/app`" in line
    line = failed(squash(image, "-o", "containers-storage:app"), 2)
    assert "`podman load -i image.tar`" in line
    line = failed(squash(image, "-o", "docker-daemon:sha256:123456789012"), 2)
    assert "an ID cannot be chosen: it follows from the content" in line


def test_the_base_and_options_together() -> None:
    with squasher.open_archive(io.BytesIO(IMAGE)) as archive:
        image = archive.images[0]
        options = squasher.Options(history="drop")
        assert squasher.squash(image, "3", options=options).kept == squasher.squash(image, "3").kept
        with pytest.raises(squasher.UsageError, match="given twice"):
            squasher.squash(image, "3", options=squasher.Options(base="3"))
    with pytest.raises(squasher.UsageError, match="neither keep nor drop"):
        squasher.Options(history="x")  # type: ignore[arg-type]


@pytest.mark.parametrize("option", ["-m", "-qm", "--message", "--message=x -m"])
def test_the_value_of_an_option_is_no_command(option: str, image: Path, out: Path) -> None:
    for value in ("inspect", "-from"):
        done(squash(*option.split(), value, image, "-o", out / "x.tar"))


def test_what_is_there_is_no_command(
    image: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(out)
    for name in ("inspect", "-from"):
        (out / name).write_bytes(image.read_bytes())
    done(squash("-o", "x.tar", "inspect"))
    done(squash("-o", "x.tar", "--", "-from"))
