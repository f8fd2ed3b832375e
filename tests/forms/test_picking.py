"""Which images are taken: an index's own words, references, names, and what is said of them."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.forms import result
from tests.forms.command import done, failed, squash
from tests.forms.shapes import (
    OCI_MANIFEST,
    config_of,
    describe,
    dump,
    index_of,
    layout,
    manifest_of,
    pack,
    stored,
)


def place(text: str) -> dict[str, str]:
    """Return the `platform` object of a descriptor."""
    return dict(zip(("os", "architecture", "variant"), text.split("/"), strict=False))


def one_each(*places: str, config: str = "amd64", same_blob: bool = False) -> bytes:
    """Return an archive whose index has an image for each of `places`; all configs say `config`."""
    files: dict[str, bytes] = {}
    pointers = []
    for n, text in enumerate(places):
        who = config_of(architecture=config, author="all" if same_blob else str(n))
        image = stored(dump(who))
        manifest = manifest_of(image.config, image.descriptors)
        pointers.append(describe(OCI_MANIFEST, manifest, platform=place(text)))
        files |= layout(b"{}", *image.blobs, image.config, manifest)
    return pack(files | {"index.json": index_of(*pointers)})


MIRROR = one_each("linux/amd64", "linux/arm64", "linux/s390x", "linux/ppc64le")


@pytest.mark.parametrize(
    ("wanted", "n"),
    [("linux/amd64", 0), ("linux/arm64", 1), ("linux/aarch64", 1), ("linux/ppc64le", 3)],
)
def test_an_index_knows_better_than_the_config(wanted: str, n: int) -> None:
    """oc-mirror: the configs all say amd64, the index says what each image is for."""
    found = result.read(done(squash("--platform", wanted, stdin=MIRROR)).out)
    assert found.one.config["author"] == str(n)
    assert found.one.config["architecture"] == "amd64"
    assert found.one.descriptor["platform"] == place(wanted.replace("aarch64", "arm64"))


def test_titles_and_hints_have_the_words_of_the_index() -> None:
    line = failed(squash("--platform", "linux/riscv64", stdin=MIRROR), 4)
    assert "no image linux/riscv64" in line
    document = json.loads(done(squash("inspect", "--json", stdin=MIRROR)).out)
    places = [image["platform"] for image in document["images"]]
    assert places == ["linux/amd64", "linux/arm64", "linux/s390x", "linux/ppc64le"]


def test_variants_that_only_the_index_tells() -> None:
    archive = one_each("linux/arm/v6", "linux/arm/v7", config="arm")
    for wanted, n in (
        ("linux/arm/v6", 0),
        ("linux/armel", 0),
        ("linux/arm/v7", 1),
        ("linux/arm", 1),
    ):
        found = result.read(done(squash("--platform", wanted, stdin=archive)).out)
        assert found.one.config["author"] == str(n)


@pytest.mark.parametrize("form", ["docker", "oci"])
def test_one_image_for_two_platforms(form: str) -> None:
    archive = one_each("linux/arm/v6", "linux/arm/v7", config="arm", same_blob=True)
    words = ("--format", form, "--platform", "linux/arm/v7")
    found = result.read(done(squash(*words, stdin=archive)).out)
    (pointer,) = found.index["manifests"]
    assert pointer["platform"] == place("linux/arm/v7")


def test_an_index_that_says_half_of_a_platform_says_none() -> None:
    archive = one_each("linux", config="s390x")
    assert done(squash("--platform", "linux/s390x", stdin=archive)).out


def test_a_platform_that_is_no_text_is_refused() -> None:
    broken = MIRROR.replace(
        b'"os":"linux","architecture":"s390x"', b'"os":1234567,"architecture":"s390x"'
    )
    assert "platform.os: a string is expected" in failed(squash(stdin=broken), 3)


def test_a_selection_of_several_says_so() -> None:
    archive = one_each("linux/amd64", "linux/amd64", "linux/arm64")
    ended = done(squash("--platform", "linux/amd64", stdin=archive))
    assert "linux/amd64 fits 2 images, and all of them are taken" in ended.err
    assert "images, and all" not in done(squash("--platform", "linux/arm64", stdin=archive)).err
    assert "images, and all" not in done(squash(stdin=archive)).err


@pytest.mark.parametrize(
    "archive",
    [
        MIRROR,
        one_each("linux/x86_64", "linux/amd64/v2"),
        one_each("linux/arm/v6", "linux/arm/v7", config="arm"),
        one_each("linux/amd64", "linux/amd64"),
    ],
    ids=["mirror", "odd", "variants", "twins"],
)
def test_the_lines_of_inspect_pick_their_image(archive: bytes, tmp_path: Path) -> None:
    path = tmp_path / "in.tar"
    path.write_bytes(archive)
    document = json.loads(done(squash("inspect", "--json", path)).out)
    for image in document["images"]:
        words = shlex.split(image["bases"][0]["command"])
        report = tmp_path / "report.json"
        done(squash(*words[1:-2], "--dry-run", "--report", report))
        (told,) = json.loads(report.read_text())["images"]
        assert told["source_image_id"] == image["image_id"]
        assert told["platform"] == image["platform"]
