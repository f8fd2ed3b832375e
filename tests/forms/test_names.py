"""What the result is called: tags, and references of transports."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

import squasher
from squasher.archive.location import parse_location
from tests.builders import File, Hardlink, archive, layer
from tests.forms import result
from tests.forms.command import done, failed, squash
from tests.forms.samples import (
    IMAGE,
    TWO,
    notes_of,
)
from tests.forms.shapes import (
    CONTAINERD_NAME,
    REF_NAME,
    SHAPES,
    TAG,
    plain_files,
)


def test_tags_replace_those_of_the_input(image: Path) -> None:
    found = result.read(done(squash("-t", "one", "-t", "x.example/two:2", image)).out)
    assert found.tags == [["one:latest", "x.example/two:2"]]
    full = ["docker.io/library/one:latest", "x.example/two:2"]
    assert notes_of(found.index) == [{CONTAINERD_NAME: x, REF_NAME: x} for x in full]


@pytest.mark.parametrize("form", ["docker", "oci"])
def test_no_tag_drops_them(form: str, image: Path) -> None:
    found = result.read(done(squash("--no-tag", "--format", form, image)).out)
    assert notes_of(found.index) == [{}]
    assert found.tags in ([[]], [])


def test_tags_in_the_oci_form() -> None:
    several = SHAPES["several-names"]().archive
    found = result.read(done(squash("--format", "oci", "-t", "one", stdin=several)).out)
    name = "docker.io/library/one:latest"
    assert notes_of(found.index) == [{CONTAINERD_NAME: name, REF_NAME: name}]


def test_the_reference_of_a_docker_archive_is_its_name(image: Path, out: Path) -> None:
    done(squash(image, "-o", f"docker-archive:{out}/x.tar:app:2"))
    assert result.read((out / "x.tar").read_bytes()).tags == [["app:2"]]
    done(squash(image, "-o", f"docker-archive:{out}/x.tar"))
    assert result.read((out / "x.tar").read_bytes()).tags == [[TAG]]


def test_the_reference_of_an_oci_archive(image: Path, out: Path) -> None:
    done(squash(image, "-o", f"oci-archive:{out}/x.tar:ref"))
    found = result.read((out / "x.tar").read_bytes())
    assert notes_of(found.index) == [{CONTAINERD_NAME: TAG, REF_NAME: "ref"}]
    assert not found.listed
    done(squash(image, "--no-tag", "-o", f"oci-archive:{out}/x.tar:ref"))
    found = result.read((out / "x.tar").read_bytes())
    assert notes_of(found.index) == [{REF_NAME: "ref"}]


def test_images_of_one_name_keep_their_references(tmp_path: Path) -> None:
    """`oci:DIR:REF` tells them apart; the name alone would lose one of them."""
    layout, again = tmp_path / "layout", tmp_path / "again.tar"
    for ref, keep in (("v1", "1"), ("v2", "2")):
        source = tmp_path / f"{ref}.tar"
        source.write_bytes(IMAGE)
        done(squash(source, "--keep-layers", keep, "-o", f"oci:{layout}:{ref}"))
    done(squash(layout, "-o", again, "--format", "oci", "--verify"))
    index = json.loads(plain_files(again.read_bytes())["index.json"])
    found = [descriptor["annotations"][REF_NAME] for descriptor in index["manifests"]]
    assert found == ["v1", "v2"]
    done(squash(layout, "-o", f"oci:{layout}"))
    index = json.loads((layout / "index.json").read_bytes())
    assert [x["annotations"][REF_NAME] for x in index["manifests"]] == ["v1", "v2"]
    line = failed(squash(layout, "-o", again), 2)
    with squasher.open_archive(layout) as both:
        ids = [image.config.image_id.hex[:12] for image in both.images]
    assert f"choose one with --image {' or '.join(ids)}, or write them all with" in line
    for identity, ref in zip(ids, ("v1", "v2"), strict=True):
        done(squash(layout, "--image", identity, "-o", again))
        with squasher.open_archive(again) as one:
            assert one.images[0].config.image_id.hex[:12] == identity, ref


def test_writing_under_the_name_of_the_destination(image: Path, out: Path) -> None:
    with squasher.open_archive(image) as found:
        squasher.write(found.images, parse_location(f"docker-archive:{out}/x.tar:new:1"))
        assert result.read((out / "x.tar").read_bytes()).tags == [["new:1"]]
        for name in ("docker-archive", "oci-archive"):
            destination = parse_location(f"{name}:{out}/two.tar:new:1")
            with pytest.raises(squasher.UsageError, match="a name is for one image"):
                squasher.write(found.images * 2, destination)


def test_two_images_of_one_name_cannot_be_written() -> None:
    with squasher.open_archive(io.BytesIO(TWO)) as found:
        images = [replace(image, tags=("app:1",)) for image in found.images]
        with pytest.raises(squasher.UsageError, match="names 2 images"):
            squasher.write(images, io.BytesIO())


def test_podman_takes_one_image_of_an_oci_archive(out: Path, tmp_path: Path) -> None:
    """So podman 4.3 and 5.4 do, which say: more than one image in oci, choose an image."""
    several = tmp_path / "several.tar"
    images = []
    for name, data in (("one", b"1"), ("two", b"2")):
        path = tmp_path / name
        path.write_bytes(archive([layer(File(b"f", data))], tags=[f"{name}:1"]))
        images.append(path)
    with squasher.open_archive(images[0]) as one, squasher.open_archive(images[1]) as two:
        squasher.write([one.images[0], two.images[0]], several)
    says = "notice   podman cannot load an OCI archive of several images"
    assert says in done(squash(several, "--format", "oci", "-o", out / "x")).err
    assert says in done(squash(several, "-o", f"oci-archive:{out}/x")).err
    for words in (("-o", out / "x"), ("-o", f"oci:{out}/folder")):
        assert says not in done(squash(several, *words)).err
    for of_one in ((several, "--image", "one:1"), (images[0],)):
        assert says not in done(squash(*of_one, "--format", "oci", "-o", out / "x")).err


def test_what_became_of_it_is_not_said_where_nothing_was_done() -> None:
    image = archive([layer(File(b"a", b"1")), layer(Hardlink(b"b", b"a"))])
    squashed = done(squash(stdin=image)).err
    assert "overlay engines refuse; the file is repeated: layer 2" in squashed
    passed = done(squash("--keep-layers", "1", stdin=image)).err
    assert "overlay engines refuse: layer 2" in passed
