"""The folder of an OCI layout as a way out."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.forms import result
from tests.forms.command import done, failed, squash
from tests.forms.samples import (
    PLATFORMS,
    notes_of,
    put,
)
from tests.forms.shapes import (
    CONTAINERD_NAME,
    LAYERS,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    REF_NAME,
    SHAPES,
    TAG,
    config_of,
    describe,
    dump,
    index_of,
    layout,
    manifest_of,
    names,
    pack,
)


def test_a_layout_is_made(image: Path, out: Path) -> None:
    done(squash(image, "-o", f"oci:{out}/new:ref"))
    found = result.read(result.folder(out / "new"))
    assert notes_of(found.index) == [{CONTAINERD_NAME: TAG, REF_NAME: "ref"}]
    assert result.tree(found.one.layers) == result.tree(LAYERS)
    assert sorted(os.listdir(out / "new")) == ["blobs", "index.json", "oci-layout"]
    modes = {stat.S_IMODE(path.stat().st_mode) for path in out.rglob("*") if path.is_file()}
    assert modes == {0o644}


def test_a_layout_without_a_reference_keeps_the_name(image: Path, out: Path) -> None:
    done(squash(image, "-o", f"oci:{out}/new"))
    found = result.read(result.folder(out / "new"))
    assert notes_of(found.index) == [{CONTAINERD_NAME: TAG, REF_NAME: TAG}]


def test_a_layout_in_an_empty_folder_and_in_none(image: Path, out: Path) -> None:
    done(squash(image, "-o", f"oci:{out}:ref"))
    assert result.read(result.folder(out)).one
    assert "No such file" in failed(squash(image, "-o", f"oci:{out}/no/such"), 6)


def test_other_images_of_a_layout_stay(image: Path, out: Path) -> None:
    put(out, SHAPES["umoci-layout"]().files)
    before = result.folder(out)
    done(squash(image, "-o", f"oci:{out}:new"))
    after = result.folder(out)
    found = result.read(after)
    assert [each[REF_NAME] for each in notes_of(found.index)] == ["app", "base", "new"]
    assert {**after, "index.json": b""} | {**before, "index.json": b""} == {
        **after,
        "index.json": b"",
    }
    assert [len(each.layers) for each in found.images] == [5, 2, 1]


def test_a_name_that_is_there_leads_to_the_new_image(image: Path, out: Path) -> None:
    put(out, SHAPES["umoci-layout"]().files)
    done(squash("--keep-layers", "2", f"oci:{out}:app", "-o", f"oci:{out}:app"))
    found = result.read(result.folder(out), lenient=True)
    assert [each[REF_NAME] for each in notes_of(found.index)] == ["base", "app"]
    assert [len(each.layers) for each in found.images] == [2, 3]
    same = result.folder(out)
    done(squash("--keep-layers", "2", f"oci:{out}:app", "-o", f"oci:{out}:app"))
    assert result.folder(out) == same


def test_images_without_a_name_do_not_displace_each_other(image: Path, out: Path) -> None:
    for keep in ("0", "1", "0", "1"):
        done(squash("--keep-layers", keep, "--no-tag", image, "-o", f"oci:{out}"))
    found = result.read(result.folder(out))
    assert [len(each.layers) for each in found.images] == [1, 2]


def test_two_platforms_go_to_a_layout(out: Path) -> None:
    done(squash("-o", f"oci:{out}", stdin=PLATFORMS))
    found = result.read(result.folder(out))
    assert [each.config["architecture"] for each in found.images] == ["amd64", "arm64"]
    assert notes_of(found.index)[0][REF_NAME] == TAG


@pytest.mark.parametrize("fails", range(8))
@pytest.mark.parametrize("there", [False, True])
def test_after_a_failure_a_layout_is_as_it_was(
    fails: int, there: bool, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "layout"
    if there:
        put(folder, SHAPES["umoci-layout"]().files)
    before = sorted(tmp_path.rglob("*")), result.folder(folder) if there else {}
    real, count = os.replace, iter(range(99))

    def full(source: str, target: str) -> None:
        if next(count) == fails:
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    outcome = squash(image, "--keep-layers", "1", "-o", f"oci:{folder}:new")
    total = next(count)
    if fails >= total:
        assert outcome.code == 0
        return
    assert "No space left" in failed(outcome, 6)
    assert (sorted(tmp_path.rglob("*")), result.folder(folder) if there else {}) == before


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"manifests":[1]}'])
def test_a_layout_whose_index_is_damaged_is_as_it_was(text: bytes, image: Path, out: Path) -> None:
    put(out, {"index.json": text, "oci-layout": b"{}"})
    before = sorted(out.rglob("*"))
    assert "index.json" in failed(squash(image, "-o", f"oci:{out}"), 6)
    assert sorted(out.rglob("*")) == before
    assert (out / "index.json").read_bytes() == text


def test_a_layout_in_place_of_a_file_or_with_a_folder_for_its_index(image: Path, out: Path) -> None:
    (out / "file").write_bytes(b"x")
    failed(squash(image, "-o", f"oci:{out}/file"), 6)
    (out / "layout" / "index.json").mkdir(parents=True)
    before = sorted(out.rglob("*"))
    assert "index.json" in failed(squash(image, "-o", f"oci:{out}/layout"), 6)
    assert sorted(out.rglob("*")) == before


def test_a_layout_keeps_blobs_that_are_there_and_mends_short_ones(image: Path, out: Path) -> None:
    done(squash(image, "-o", f"oci:{out}"))
    whole = result.folder(out)
    (short, *_rest) = sorted((out / "blobs" / "sha256").iterdir())
    short.write_bytes(short.read_bytes()[:-1])
    done(squash(image, "-o", f"oci:{out}"))
    assert result.folder(out) == whole


def test_a_layout_of_docker_types_speaks_oci(out: Path) -> None:
    """What podman and umoci take from a layout, with the digests of all kept layers."""
    ctr = SHAPES["ctr-export"]()
    done(squash("--keep-layers", "2", "-o", f"oci:{out}:app", stdin=ctr.archive))
    found = result.read(result.folder(out))
    assert b"vnd.docker" not in b"".join(
        data for data in found.files.values() if data.startswith(b"{")
    )
    (source,) = ctr.images
    kept = [each["digest"] for each in source.descriptors[:2]]
    assert [each["digest"] for each in found.one.manifest["layers"][:2]] == kept


def test_a_digest_of_another_algorithm_leaves_its_image_out() -> None:
    """It is named, and the others are squashed; alone it is an error."""
    config = dump(config_of())
    manifest = manifest_of(config, [describe(OCI_LAYER, each) for each in LAYERS])
    good = describe(OCI_MANIFEST, manifest, annotations=names(TAG))
    odd = {**good, "digest": f"sha512:{'0' * 128}", "annotations": names("example.com/odd:1")}
    nested = index_of(odd, good)
    whole = describe(OCI_INDEX, nested)
    for tops in ((odd, good), (whole,)):
        image = pack(layout(index_of(*tops), *LAYERS, config, manifest, nested))
        ended = done(squash("--format", "oci", stdin=image))
        why = "'example.com/odd:1': "
        assert f"left out images that cannot be squashed (1): {why}" in ended.err
        assert "the digest 'sha512:000" in ended.err
        assert len(result.read(ended.out).images) == 1
    alone = pack(layout(index_of({**odd, "annotations": {}}), *LAYERS, config, manifest))
    line = failed(squash("--format", "oci", stdin=alone), 5)
    assert line.startswith("stdin: index.json.manifests[0].digest: the digest 'sha512:0")
