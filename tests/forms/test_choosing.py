"""One image of several, by name and by platform."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.builders import File, Hardlink, archive, layer, sha256
from tests.forms import result
from tests.forms.command import done, failed, squash
from tests.forms.samples import (
    PLATFORMS,
    TWO,
    notes_of,
    put,
)
from tests.forms.shapes import (
    LAYERS,
    OCI_INDEX,
    REF_NAME,
    SAMPLE,
    SHAPES,
    TAG,
    describe,
    dump,
    index_of,
    layout,
    pack,
    plain,
    plain_files,
)


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        (TAG, 1),
        ("debian:12", 1),
        ("docker.io/library/debian:12", 1),
        (sha256(SAMPLE), 1),
        ("sha256:" + sha256(SAMPLE)[:6], 1),
    ],
)
def test_an_image_of_several(name: str, layers: int) -> None:
    found = result.read(done(squash("--image", name, stdin=TWO)).out)
    assert len(found.one.layers) == layers
    tree = LAYERS[:2] if "debian" in name else LAYERS
    assert result.tree(found.one.layers) == result.tree(tree)


@pytest.mark.parametrize("name", ["debian", "none:1", sha256(SAMPLE)[:5], "sha256:ffffff"])
def test_an_image_that_is_not_there(name: str) -> None:
    ended = squash("--image", name, stdin=TWO)
    assert f"no image {name}; choose one of the images below" in failed(ended, 4)
    _, *table = ended.err.splitlines()
    assert table == [f"  {TAG} (linux/amd64)", "  debian:12 (linux/amd64)"]


@pytest.mark.parametrize("name", ["linux/arm64", "linux/arm64/v8", "Linux/aarch64"])
def test_a_platform(name: str) -> None:
    found = result.read(done(squash("--platform", name, stdin=PLATFORMS)).out)
    assert found.one.config["variant"] == "v8"
    assert len(found.files) == 3 + 3


@pytest.mark.parametrize("name", ["linux/arm64/v7", "windows/amd64", "linux", "amd64"])
def test_a_platform_that_is_not_there(name: str) -> None:
    assert f"no image {name}" in failed(squash("--platform", name, stdin=PLATFORMS), 4)


def test_an_image_for_a_platform() -> None:
    options = ("--image", TAG, "--platform")
    assert done(squash(*options, "linux/x86_64", stdin=PLATFORMS)).out
    line = failed(squash(*options, "linux/s390x", stdin=PLATFORMS), 4)
    assert f"no image {TAG} for linux/s390x" in line


def test_the_index_tree_without_what_was_not_chosen() -> None:
    options = ("--format", "oci", "--platform", "linux/amd64")
    found = result.read(done(squash(*options, stdin=PLATFORMS)).out)
    assert found.one.descriptor["platform"] == {"architecture": "amd64", "os": "linux"}
    assert found.index["manifests"][0]["mediaType"] == OCI_INDEX


def test_a_branch_of_the_index_that_was_not_chosen_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "layout"
    put(folder, SHAPES["umoci-layout"]().files)
    done(squash("--format", "oci", "-o", tmp_path / "oci.tar", "--image", "app", folder))
    found = result.read((tmp_path / "oci.tar").read_bytes())
    assert notes_of(found.index) == [{REF_NAME: "app"}]
    nested = SHAPES["buildx-oci"]().archive
    files = plain_files(nested)
    inner = index_of(*json.loads(files["index.json"])["manifests"])
    other = SHAPES["umoci-layout"]().files
    pointers = (
        describe(OCI_INDEX, inner, annotations={REF_NAME: "both"}),
        *json.loads(other["index.json"])["manifests"],
    )
    both = {**layout(index_of(*pointers), inner), **files, **other}
    both["index.json"] = index_of(*pointers)
    put(tmp_path / "both", both)
    for name, count in (("both", 2), ("base", 1)):
        source = f"oci:{tmp_path / 'both'}:{name}"
        found = result.read(done(squash("--format", "oci", source)).out)
        assert len(found.images) == count


def test_a_damaged_image_is_refused_though_nothing_is_to_be_squashed(out: Path) -> None:
    broken = [layer(File(b"a")), layer(Hardlink(b"b", b"nowhere"))]
    for keep in ("0", "1"):
        line = failed(squash("--keep-layers", keep, "-o", out / "x", stdin=archive(broken)), 3)
        assert line.startswith("stdin: layer 2 of 2: 'b': hard link to 'nowhere'")


def test_an_image_that_is_not_all_there_beside_others(tmp_path: Path) -> None:
    files = plain_files(archive(LAYERS[:2]))
    (item,) = json.loads(files["manifest.json"])
    gone = {**item, "RepoTags": ["gone:1"], "Layers": [*item["Layers"][:1], "gone/layer.tar"]}
    files["manifest.json"] = dump([gone, item])
    outcome = done(squash(stdin=pack(files)))
    assert "left out incomplete images (1)" in outcome.err
    files["manifest.json"] = dump([gone])
    assert "manifest.json[0].Layers[1]" in failed(squash(stdin=pack(files)), 3)


def test_an_image_that_is_listed_twice_is_one() -> None:
    files = plain_files(plain(SAMPLE, LAYERS))
    (entry,) = json.loads(files["manifest.json"])
    again = {**entry, "RepoTags": ["app:1", TAG]}
    files["manifest.json"] = dump([entry, again])
    found = result.read(done(squash(stdin=pack(files))).out)
    assert found.tags == [[TAG, "app:1"]]
