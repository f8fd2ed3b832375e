"""Whatever form an image comes in, squashing gives the same image, and keeps what it should."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import squasher
from tests.builders import sha256
from tests.conformance import safe
from tests.conformance.check import check_merged
from tests.forms import result
from tests.forms.result import Document, Found, Result
from tests.forms.shapes import (
    ARM,
    CONTAINERD_NAME,
    LAYERS,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    OUTER,
    REF_NAME,
    SAMPLE,
    SHAPES,
    TAG,
    Folder,
    Odd,
    Shape,
    Stored,
    blob,
    config_of,
    describe,
    dump,
    gzipped,
    index_of,
    item,
    layout,
    manifest_of,
    oci_type,
    odd_documents,
    pack,
    plain_files,
    spoken_oci,
    stored,
)

ODD = odd_documents()
#: Several platforms under one name: a docker-archive cannot hold them.
PLATFORMS = {"buildx-oci", "ctr-export-all-platforms"}


def squash(
    shape: Shape, tmp_path: Path, keep: int, **options: Any
) -> tuple[squasher.SquashReport, Result]:
    """Squash a shape above the `keep` lowest layers (all of a smaller image)."""
    source: Any = io.BytesIO(shape.data) if isinstance(shape.data, bytes) else tmp_path / "layout"
    files = shape.data if isinstance(shape.data, dict) else {}
    for name, data in files.items():
        path = tmp_path / "layout" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    destination = io.BytesIO()
    report = squasher.squash_archive(source, destination, keep_layers=keep, **options)
    return report, result.read(destination.getvalue())


@cache
def expected_id(config: bytes, keep: int) -> str:
    """Return the image ID that squashing the same image gives from a plain docker-archive."""
    source, destination = io.BytesIO(SHAPES["docker-25"]().archive), io.BytesIO()
    report = squasher.squash_archive(source, destination, keep_layers=keep)
    (new,) = report.images
    assert new.image.config.image_id != new.source_id or keep >= len(LAYERS) - 1
    if config == SAMPLE:
        return str(new.image.config.image_id)
    text = new.image.config.raw.replace(b'"amd64"', b'"arm64","variant":"v8"')
    return str(
        squasher.Digest.of(
            text.replace(str(new.source_id).encode(), str(squasher.Digest.of(config)).encode())
        )
    )


@pytest.mark.parametrize("form", ["docker", "oci"])
@pytest.mark.parametrize("keep", range(len(LAYERS) + 1))
@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_squashed_is_the_image(name: str, keep: int, form: str, tmp_path: Path) -> None:
    shape = SHAPES[name]()
    if any(keep > len(image.layers) for image in shape.images):
        with pytest.raises(squasher.BaseNotFoundError, match="cannot keep"):
            squash(shape, tmp_path, keep, form=form)
        return
    if name in PLATFORMS and form == "docker":
        with pytest.raises(squasher.UsageError, match=r"(?s)--platform.*--format oci"):
            squash(shape, tmp_path, keep, form=form)
        return
    report, found = squash(shape, tmp_path, keep, form=form)
    assert len(report.images) == len(found.images) == len(shape.images)
    for source, squashed, manifest, image in zip(
        shape.images, report.images, report.manifests, found.images, strict=True
    ):
        assert squashed.image.config.raw == image.raw_config
        assert image.descriptor["digest"] == str(manifest)
        check_image(source, image, keep, form)
        if source.config in (SAMPLE, ARM):
            assert image.image_id == expected_id(source.config, keep)
    if form == "docker":
        assert found.tags == [list(image.tags) for image in shape.images]
    for notice in shape.notices:
        assert any(notice in each for each in report.notices), report.notices
    if keep < len(LAYERS) - 1:
        assert not {data for data in shape.gone if data in found.files.values()}


def check_image(source: Stored, image: Found, keep: int, form: str) -> None:
    """Require that kept layers are as they were and that the rest has become one."""
    merged = len(source.layers) - keep > 1
    kept = keep if merged else len(source.layers)
    assert image.blobs[:kept] == source.blobs[:kept]
    assert image.layers[:kept] == source.layers[:kept]
    if source.descriptors:
        described = list(source.descriptors[:kept])
        if form == "oci" or image.manifest["layers"][-1]["mediaType"].endswith("+zstd"):
            described = list(map(spoken_oci, described))  # docker's types do not reach there
        assert image.manifest["layers"][:kept] == described
    if not merged:
        assert image.raw_config == source.config
        assert image.blobs == source.blobs
        return
    assert len(image.layers) == keep + 1
    safe.check_layer(image.layers[keep])
    check_merged(source.layers, keep, image.layers[keep])
    assert result.tree(image.layers) == result.tree(source.layers)
    check_media_type(image, keep)
    check_config(source, image, keep)


def check_media_type(image: Found, keep: int) -> None:
    """Require that the type of the new layer says how it is compressed."""
    media_type = image.manifest["layers"][keep]["mediaType"]
    gzip = image.blobs[keep].startswith(b"\x1f\x8b")
    zstd = image.blobs[keep].startswith(b"\x28\xb5\x2f\xfd")
    suffix = "gzip" if gzip else "zstd" if zstd else "tar"
    assert media_type.endswith(suffix)
    families = {
        each["mediaType"].split("/")[-1].split(".")[1]
        for each in (image.manifest, image.manifest["config"], image.manifest["layers"][keep])
    }
    assert len(families) == 1, "a manifest is of one family: c/image takes no mixture"


def check_config(source: Stored, image: Found, keep: int) -> None:
    """Require that the config says what it said, but for layers and history."""
    before, after = json.loads(source.config), image.config
    for key in before.keys() | after.keys():
        if key not in ("rootfs", "history"):
            assert after[key] == before[key]
    if b'"Odd"' in source.config:
        assert b'"Odd":12345678901234567890.10' in image.raw_config or source.config != SAMPLE
    assert after["rootfs"]["diff_ids"][:keep] == before["rootfs"]["diff_ids"][:keep]
    *rows, new = after["history"]
    assert len(rows) == len(before["history"])
    assert not new.get("empty_layer")
    assert sum(not row.get("empty_layer") for row in rows) == keep


# ---------------------------------------------------------------- the index


def skeleton(shape: Folder, pointers: list[Document], images: list[str]) -> Iterator[Any]:
    """Yield the index tree without what must change: digests, sizes, names, what is left out."""
    for pointer in pointers:
        data = shape.get("blobs/" + pointer["digest"].replace(":", "/"))
        notes = pointer.get("annotations") or {}
        if data is None or "vnd.docker.reference.type" in notes:
            continue
        if not pointer["mediaType"].startswith(("application/vnd.oci.", "application/vnd.docker.")):
            continue
        document = json.loads(data)
        if "manifests" not in document and "config" not in document:
            continue
        if any("cosign" in x["mediaType"] for x in document.get("layers", ())):
            continue
        shown = {k: v for k, v in pointer.items() if k not in ("digest", "size", "annotations")}
        others = {k: v for k, v in notes.items() if k not in (CONTAINERD_NAME, REF_NAME)}
        if "manifests" in document:
            below = list(skeleton(shape, document["manifests"], images))
            inner = {k: v for k, v in document.items() if k != "manifests"}
            yield spoken_oci(shown), others, spoken_oci(inner), below
        else:
            blobs = [x["digest"] for x in document["layers"]]
            missing = [x for x in blobs if "blobs/" + x.replace(":", "/") not in shape]
            inner = {k: v for k, v in document.items() if k not in ("config", "layers", "subject")}
            if not missing:
                config_type = oci_type(document["config"]["mediaType"])
                yield spoken_oci(shown), others, spoken_oci(inner), config_type


WITH_INDEX = [
    name
    for name in SHAPES
    if name != "docker-25.0.0-wrong-index" and b"index.json" in (SHAPES[name]().archive)
]


@pytest.mark.parametrize("keep", [0, 2])
@pytest.mark.parametrize("name", WITH_INDEX)
def test_the_index_tree_is_kept(name: str, keep: int, tmp_path: Path) -> None:
    shape = SHAPES[name]()
    _, found = squash(shape, tmp_path, keep, form="oci")
    files = shape.data if isinstance(shape.data, dict) else plain_files(shape.data)
    before = list(skeleton(files, json.loads(files["index.json"])["manifests"], []))
    after = list(skeleton(found.files, found.index["manifests"], []))
    assert after == (before[1:] if "pinned" in name else before)  # what only such a name led to
    named = [(x.get("annotations") or {}).get(REF_NAME) for x in found.index["manifests"]]
    assert len(named) == len(set(named))


@pytest.mark.parametrize("name", SHAPES)
def test_tagged_descriptors_carry_the_full_name_twice(name: str, tmp_path: Path) -> None:
    shape = SHAPES[name]()
    _, found = squash(shape, tmp_path, 0, form="oci")
    names = []
    for pointer in found.index["manifests"]:
        notes = pointer.get("annotations") or {}
        if CONTAINERD_NAME in notes:
            assert notes[CONTAINERD_NAME] == notes[REF_NAME]
            names.append(notes[REF_NAME].removeprefix("docker.io/library/"))
    wanted = [tag for image in shape.images for tag in image.tags]
    assert sorted(set(wanted)) == sorted(names)


def test_a_reference_of_a_layout_stays_and_can_be_chosen(tmp_path: Path) -> None:
    shape = SHAPES["umoci-layout"]()
    _, found = squash(shape, tmp_path, 0, form="oci")
    references = [x["annotations"] for x in found.index["manifests"]]
    assert references == [{REF_NAME: "app"}, {REF_NAME: "base"}]
    _, found = squash(shape, tmp_path, 0, form="oci", image="base")
    assert [x["annotations"] for x in found.index["manifests"]] == [{REF_NAME: "base"}]
    assert result.tree(found.one.layers) == result.tree(LAYERS[:2])


@pytest.mark.parametrize("form", ["docker", "oci"])
@pytest.mark.parametrize("name", ["ctr-export-pinned", "ctr-export-pinned-alone"])
def test_no_name_with_a_digest_stays(name: str, form: str, tmp_path: Path) -> None:
    """Also not on an image that is passed through: the one archive would have it, the other not."""
    for keep in (0, len(LAYERS)):
        _, found = squash(SHAPES[name](), tmp_path, keep, form=form)
        assert b"@sha256:" not in dump(found.index) + dump(found.tags)
        notes = [x.get("annotations") or {} for x in found.index["manifests"]]
        names = [TAG, "newest"] if name == "ctr-export-pinned" else [None]
        found_by = [each.get(REF_NAME) for each in notes]
        assert found_by == (names if form == "oci" else names[-1:])
        assert form == "oci" or found.tags == [[x for x in names if x == TAG]]


@pytest.mark.parametrize("what", ["config", "manifest", "index"])
def test_an_image_by_what_engines_call_its_id(what: str, tmp_path: Path) -> None:
    """The containerd store takes the digest of what the name leads to."""
    shape = SHAPES["docker-29"]()
    files = plain_files(shape.archive)
    index = json.loads(files["index.json"])["manifests"][0]["digest"]
    manifest = json.loads(files["blobs/" + index.replace(":", "/")])["manifests"][0]["digest"]
    config = str(squasher.Digest.of(shape.images[0].config))
    digest = {"config": config, "manifest": manifest, "index": index}[what]
    for name in (digest, digest.removeprefix("sha256:"), digest[7:13]):
        report, _ = squash(shape, tmp_path, 0, image=name)
        assert len(report.images) == 1
    with pytest.raises(squasher.BaseNotFoundError, match="no image"):
        squash(shape, tmp_path, 0, image=digest[:-1] + ("0" if digest[-1] != "0" else "1"))


def test_an_index_by_its_digest_is_all_its_images(tmp_path: Path) -> None:
    shape = SHAPES["buildx-oci"]()
    top = json.loads(plain_files(shape.archive)["index.json"])["manifests"][0]["digest"]
    report, _ = squash(shape, tmp_path, 0, form="oci", image=top)
    assert len(report.images) == 2


def named_layout(**annotations: str) -> tuple[Shape, str]:
    """Return a layout of one image with these annotations, `{}` in them for its digest."""
    image = stored(pack_layer=gzipped, media_type=f"{OCI_LAYER}+gzip")
    manifest = manifest_of(image.config, image.descriptors)
    digest = f"sha256:{sha256(manifest)}"
    keys = {"name": CONTAINERD_NAME, "ref": REF_NAME}
    notes = {keys[key]: text.format(digest) for key, text in annotations.items()}
    index = index_of(describe(OCI_MANIFEST, manifest, annotations=notes))
    return Shape(layout(index, *image.blobs, image.config, manifest), (image,)), digest


def test_a_reference_with_a_digest_can_be_chosen_and_goes(tmp_path: Path) -> None:
    shape, digest = named_layout(ref="app@{}")
    report, found = squash(shape, tmp_path, 0, form="oci", image=f"app@{digest}")
    assert "annotations" not in found.index["manifests"][0]
    assert f"'docker.io/library/app@{digest}' names the image before squashing" in report.notices[0]
    place = squasher.parse_location(f"oci:{tmp_path / 'layout'}:app@{digest}")
    with squasher.open_archive(place) as archive:
        assert len(archive.images) == 1


@pytest.mark.parametrize(
    ("notes", "tags", "reference"),
    [
        ({"name": "docker.io/library/app:1", "ref": "app@{}"}, ("app:1",), None),
        ({"name": "docker.io/library/app@{}", "ref": "latest"}, (), "latest"),
    ],
)
def test_a_name_beside_one_with_a_digest_stays(
    notes: dict[str, str], tags: tuple[str, ...], reference: str | None, tmp_path: Path
) -> None:
    shape, _ = named_layout(**notes)
    report, found = squash(shape, tmp_path, 0, verify=True)
    assert report.images[0].image.tags == tags
    _, found = squash(shape, tmp_path, 0, form="oci", image=reference or "app:1", verify=True)
    (pointer,) = found.index["manifests"]
    assert pointer["annotations"][REF_NAME] == (reference or "docker.io/library/app:1")


def test_no_output_is_called_by_a_digest(tmp_path: Path) -> None:
    shape, digest = named_layout(ref="latest")
    for kind in ("oci", "oci-archive"):
        destination = squasher.parse_location(f"{kind}:{tmp_path}/out:app@{digest}", output=True)
        with pytest.raises(
            squasher.UsageError, match="a digest cannot be chosen: it follows from the content"
        ):
            squasher.squash_archive(io.BytesIO(shape.archive), destination)


@pytest.mark.parametrize("form", ["docker", "oci"])
def test_documents_whose_own_type_nobody_knows(form: str, tmp_path: Path) -> None:
    """Their descriptors have led to them; those that are written must, too."""
    image = stored(pack_layer=gzipped, media_type=f"{OCI_LAYER}+gzip")
    manifest = manifest_of(image.config, image.descriptors, "application/vnd.example.manifest")
    inner = index_of(describe(OCI_MANIFEST, manifest), media_type="application/vnd.example.list")
    index = index_of(describe(OCI_INDEX, inner), media_type="application/vnd.example.list")
    data = pack(layout(index, *image.blobs, image.config, manifest, inner))
    report, found = squash(Shape(data, ()), tmp_path, 0, form=form, verify=True)
    assert str(report.manifests[0]) == found.one.descriptor["digest"]
    assert b"vnd.example" not in b"".join(found.files.values())


def test_a_base_by_the_digest_of_its_index(tmp_path: Path) -> None:
    pointers, blobs_, digests = [], [], {}
    for name, layers in (("app", LAYERS), ("base", LAYERS[:2])):
        config = dump(config_of(layers))
        described = [describe(OCI_LAYER, each) for each in layers]
        manifest = manifest_of(config, described)
        inner = index_of(describe(OCI_MANIFEST, manifest))
        pointers.append(describe(OCI_INDEX, inner, annotations={REF_NAME: name}))
        blobs_ += [config, manifest, inner, *layers]
        digests[name] = pointers[-1]["digest"]
    data = pack(layout(index_of(*pointers), *blobs_))
    for base in (digests["base"], digests["base"][7:17]):
        report = squasher.squash_archive(io.BytesIO(data), None, base=base, image="app")
        assert report.images[0].kept == 2


def test_a_base_by_the_digest_of_its_manifest(tmp_path: Path) -> None:
    shape = SHAPES["umoci-layout"]()
    files = plain_files(shape.archive)
    app, base = json.loads(files["index.json"])["manifests"]
    for name in (base["digest"], base["digest"][7:15]):
        report = squasher.squash_archive(io.BytesIO(shape.archive), None, base=name, image="app")
        assert report.images[0].kept == 2
    with pytest.raises(squasher.BaseNotFoundError):
        squasher.squash_archive(io.BytesIO(shape.archive), None, base=app["digest"], image="app")


@pytest.mark.parametrize("name", ["../outside.tar", "/etc/hostname", "a/../../outside.tar"])
def test_nothing_outside_of_a_folder_is_read(name: str, tmp_path: Path) -> None:
    image = stored()
    files = plain_files(pack({"outside.tar": image.blobs[0], "config.json": image.config}))
    listed = [name, *map(blob, image.blobs[1:])]
    files |= layout(index_of(), *image.blobs[1:])
    files["manifest.json"] = dump([item("config.json", listed, ["app:1"])])
    (tmp_path / "outside.tar").write_bytes(image.blobs[0])
    with pytest.raises(squasher.ArchiveError, match="leads out of the folder"):
        squash(Shape(files, ()), tmp_path, 0)


def test_two_platforms_share_their_blobs(tmp_path: Path) -> None:
    _, found = squash(SHAPES["buildx-oci"](), tmp_path, 2, form="oci")
    one, two = found.images
    assert one.blobs == two.blobs
    assert one.raw_config != two.raw_config
    assert len([name for name in found.files if name.startswith("blobs/")]) == 3 + 2 + 2 + 1


# ---------------------------------------------------------------- documents, outer compression


@pytest.mark.parametrize("form", ["docker", "oci"])
@pytest.mark.parametrize("keep", [0, 2])
@pytest.mark.parametrize("name", ODD)
def test_odd_documents(name: str, keep: int, form: str, tmp_path: Path) -> None:
    odd = ODD[name]
    keep = min(keep, len(odd.layers))
    report, found = squash(Shape(odd.archive, ()), tmp_path, keep, form=form)
    image = found.one
    (squashed,) = report.images
    assert squashed.image.tags == odd.tags
    assert image.layers[:keep] == odd.layers[:keep]
    assert result.tree(image.layers) == result.tree(odd.layers)
    if odd.layers:
        assert len(image.layers) == keep + 1
        check_merged(odd.layers, keep, image.layers[keep])
        if keep == 0:
            assert bool(image.config.get("history")) == odd.history
        assert all(image.config[key] == value for key, value in odd.more.items())
        assert "moby.buildkit.cache.v0" not in image.config
    else:
        assert not squashed.merged


def test_history_that_is_null_stays_null(tmp_path: Path) -> None:
    _, found = squash(Shape(ODD["history-null"].archive, ()), tmp_path, 0)
    assert found.one.config["history"] is None
    _, found = squash(Shape(ODD["history-absent"].archive, ()), tmp_path, 0)
    assert "history" not in found.one.config


@pytest.mark.parametrize("same", [True, False])
def test_blobs_that_manifest_json_does_not_name(same: bool) -> None:
    """The index has the same config over the same blobs, or over others."""
    image = stored(pack_layer=gzipped, media_type=f"{OCI_LAYER}+gzip")
    other = stored(pack_layer=lambda data: gzip.compress(data, 1, mtime=1))
    listed = image if same else other
    manifest = manifest_of(listed.config, listed.descriptors)
    names = [*map(blob, image.blobs[:1]), *(f"{i}.tar" for i in range(1, len(image.blobs)))]
    index = index_of(describe(OCI_MANIFEST, manifest))
    files = layout(index, *other.blobs, *image.blobs, image.config, manifest)
    files |= dict(zip(names[1:], image.blobs[1:], strict=True))
    files["manifest.json"] = dump([item(blob(image.config), names, ["app:1"])])
    report = squasher.squash_archive(io.BytesIO(pack(files)), io.BytesIO())
    told = [notice for notice in report.notices if "manifest.json is used" in notice]
    assert len(told) == (not same)


def test_a_history_that_is_too_short_gets_no_row_and_a_notice(tmp_path: Path) -> None:
    report, found = squash(Shape(ODD["history-short"].archive, ()), tmp_path, 3)
    assert len(found.one.config["history"]) == 3
    assert any("fewer layer rows" in notice for notice in report.images[0].notices)
    report, found = squash(Shape(ODD["history-short"].archive, ()), tmp_path, 2)
    assert len(found.one.config["history"]) == 4


def test_the_buildkit_cache_goes_with_a_notice(tmp_path: Path) -> None:
    report, _ = squash(Shape(ODD["buildkit-cache"].archive, ()), tmp_path, 0)
    assert any("moby.buildkit.cache.v0" in notice for notice in report.images[0].notices)


def test_a_layer_that_comes_47_times_is_stored_once(tmp_path: Path) -> None:
    odd = ODD["layer-47-times"]
    _, found = squash(Shape(odd.archive, ()), tmp_path, 40)
    assert len([name for name in found.files if name.startswith("blobs/")]) == 3 + 1 + 2


@pytest.mark.parametrize("piped", [False, True])
@pytest.mark.parametrize("how", list(OUTER))
def test_outer_compression(how: str, piped: bool, tmp_path: Path) -> None:
    shape = SHAPES["skopeo-docker-archive"]()
    data = OUTER[how](shape.archive)
    path = tmp_path / "image.tar.anything"
    path.write_bytes(data)
    destination = io.BytesIO()
    source: Any = Pipe(data) if piped else path
    squasher.squash_archive(source, destination, keep_layers=2)
    found = result.read(destination.getvalue())
    assert found.one.image_id == expected_id(SAMPLE, 2)
    assert found.tags == [[TAG]]


class Pipe(io.RawIOBase):
    """A stream that cannot seek and gives little at a time."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data = data

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Give at most seven bytes first, then more."""
        count = min(len(buffer), 7 if len(self._data) % 2 else 70_001)
        part, self._data = self._data[:count], self._data[count:]
        buffer[: len(part)] = part
        return len(part)


@pytest.mark.parametrize("name", SHAPES)
def test_squashing_twice_changes_nothing(name: str, tmp_path: Path) -> None:
    shape = SHAPES[name]()
    first, second = io.BytesIO(), io.BytesIO()
    source: Any = io.BytesIO(shape.archive)
    squasher.squash_archive(source, first, keep_layers=1, form="oci")
    report = squasher.squash_archive(first, second, keep_layers=1, form="oci")
    assert first.getvalue() == second.getvalue()
    assert not any(squashed.merged for squashed in report.images)


def test_the_odd_cases_are_not_all_alike() -> None:
    assert len({odd.archive for odd in ODD.values()}) == len(ODD)
    assert all(isinstance(odd, Odd) for odd in ODD.values())
