"""What cannot be squashed: the exit code, and a sentence that helps."""

from __future__ import annotations

import builtins
import errno
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from squasher.archive import documents, members
from squasher.blobs import content
from tests.builders import Dir, Fifo, File, Symlink, layer, outer_tar, sha256
from tests.forms.command import failed, squash
from tests.forms.shapes import (
    AMD64,
    DOCKER_MANIFEST,
    LAYERS,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    SAMPLE,
    SHAPES,
    Document,
    Folder,
    attestation,
    attested,
    blob,
    blobs,
    config_of,
    describe,
    dump,
    frames_of_zstd,
    gzipped,
    index_of,
    item,
    layout,
    manifest_of,
    pack,
    plain,
    plain_files,
    stored,
)


def oci(
    layers: list[Document] | None = None, config: bytes = SAMPLE, **more: Any
) -> tuple[Folder, bytes]:
    """Return the files of a layout of the sample, and its manifest."""
    described = [describe(OCI_LAYER, data) for data in LAYERS] if layers is None else layers
    manifest = manifest_of(config, described, **more)
    pointer = describe(OCI_MANIFEST, manifest)
    return layout(index_of(pointer), *LAYERS, config, manifest), manifest


def refused(data: bytes | Mapping[str, bytes | None], code: int, *options: str) -> str:
    """Return the line that refuses an archive, given as such or by its files."""
    archive = data if isinstance(data, bytes) else pack(data)
    return failed(squash(*options, "--keep-layers", "0", stdin=archive), code)


# ---------------------------------------------------------------- no image


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("manifest.json", "[]" * 500)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty; did the command before the pipe fail?"),
        (b"\xff\xfem\0a\0", "is text in UTF-16, as PowerShell's > writes it; use `docker save -o"),
        (b"\n<!DOCTYPE html>\n<p>", "is a web page (HTML); does the download need a login?"),
        (b"<HTML>", "is a web page (HTML)"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "is a Git LFS pointer, not the file; run `git lfs pull`",
        ),
        (b"#!/usr/bin/env run-singularity\n\0SIF_MAGIC\0" + bytes(900), "(SIF); give the image"),
        (gzipped(gzipped(b"text")), "is compressed twice, the second time with gzip; decompress"),
        (layer(File(b"app/manifest.json")), "the image is in a folder of it, 'app'; give"),
        (
            layer(Dir(b"a"), File(b"a/b/index.json"), File(b"l/index.json")),
            "in a folder of it, 'l'",
        ),
        (b"\n", "not a tar archive; give what `docker save` writes"),
        (b"Error: no such image\n" * 90, "not a tar archive"),
        (b"\x89PNG\r\n\x1a\n" + bytes(900), "not a tar archive"),
        (_zip(), "is a zip file; unzip it first: CI systems zip their artifacts"),
        (gzipped(b"text"), "not a tar archive"),
        (gzipped(b""), "is empty"),
        (gzipped(bytes(5000))[:-9], "gzip"),
        (layer(File(b"notes.txt", b"hello")), "neither manifest.json nor index.json"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_no_image(data: bytes, says: str) -> None:
    assert says in refused(data, 3)


@pytest.mark.parametrize("name", ["manifest.json", "index.json"])
def test_a_folder_around_an_image(tmp_path: Path, name: str) -> None:
    (tmp_path / "README").touch()
    (tmp_path / "an image").mkdir()
    (tmp_path / "an image" / name).touch()
    line = failed(squash(tmp_path), 3)
    assert "the image is in a folder of it, 'an image'; give that folder, or an archive of" in line


def test_a_folder_of_other_things(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/index.html").touch()
    assert "holds no image: it has neither" in failed(squash(tmp_path), 3)


def test_docker_export() -> None:
    members = (Dir(b"bin"), File(b"bin/sh"), Dir(b"etc"), File(b"etc/passwd"), Dir(b"usr"))
    line = refused(layer(File(b".dockerenv"), *members), 3)
    assert "root filesystem, not an image; use `docker save`, not `docker export`" in line


def test_an_archive_of_docker_before_1_10() -> None:
    about = dump({"id": "a" * 64})
    files = {f"{'a' * 64}/json": about, f"{'a' * 64}/layer.tar": LAYERS[0]}
    line = refused({**files, "repositories": dump({"app": {"latest": "a" * 64}})}, 3)
    assert "docker before 1.10" in line
    assert "save the image again" in line


@pytest.mark.parametrize("text", [b"[]", b"null"])
def test_a_manifest_json_without_images(text: bytes) -> None:
    assert "lists no image" in refused({"manifest.json": text}, 3)


@pytest.mark.parametrize("manifests", [[], None, ...])
def test_an_index_without_images(manifests: Any) -> None:
    document = {"schemaVersion": 2} | ({} if manifests is ... else {"manifests": manifests})
    files = {"index.json": dump(document), "oci-layout": b"{}"}
    assert "no image that index.json lists is in the archive" in refused(files, 3)


def test_an_index_with_nothing_but_attestations() -> None:
    _, manifest = oci()
    of = describe(OCI_MANIFEST, manifest, platform=AMD64)
    parts = attestation(of)
    only = layout(index_of(attested(of, parts[-1])), *parts)
    assert "no image that index.json lists is in the archive" in refused(only, 3)


def test_a_folder_that_is_no_layout(tmp_path: Path) -> None:
    assert "neither manifest.json nor index.json" in failed(squash(tmp_path), 3)
    (tmp_path / "index.json").mkdir()
    assert "neither manifest.json nor index.json" in failed(squash(tmp_path), 3)


def test_a_layout_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*arguments: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    (tmp_path / "index.json").touch()
    monkeypatch.setattr(members, "open_regular", forbidden)
    assert "index.json: cannot be read: Permission denied" in failed(squash(tmp_path), 3)


def test_a_transport_of_the_wrong_kind(tmp_path: Path) -> None:
    (tmp_path / "image.tar").write_bytes(SHAPES["skopeo-oci-archive"]().archive)
    line = failed(squash(f"oci:{tmp_path}/image.tar"), 3)
    assert "is a file; oci-archive: takes files, oci: takes folders" in line
    for transport in ("oci-archive", "docker-archive"):
        assert "is a folder" in failed(squash(f"{transport}:{tmp_path}"), 3)
        assert "No such file" in failed(squash(f"{transport}:{tmp_path}/none"), 3)


def test_a_name_that_is_no_file() -> None:
    for name in ("debian:12", "no-such-image"):
        line = failed(squash(name), 3)
        assert "no such file" in line
        assert f"docker-daemon:{name}" in line
    assert "docker-daemon" not in failed(squash("./No Such File"), 3)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("docker://debian:12", "skopeo copy docker://debian:12 oci-archive:image.tar"),
        ("containers-storage:debian", "podman save debian -o image.tar"),
        ("dir:/tmp/x", "skopeo copy dir:/tmp/x oci-archive:image.tar"),
    ],
)
def test_transports_that_need_another_tool(name: str, says: str, tmp_path: Path) -> None:
    assert says in failed(squash(name), 2)
    image = tmp_path / "image.tar"
    image.write_bytes(SHAPES["docker-25"]().archive)
    failed(squash(image, "-o", name), 2)


@pytest.mark.parametrize("name", ["docker-daemon:", "oci:", "oci-archive:", "docker-archive::tag"])
def test_transports_that_name_nothing(name: str) -> None:
    assert " is missing" in failed(squash(name), 2)


# ---------------------------------------------------------------- not all there


@pytest.mark.parametrize("member", ["config.json", f"{sha256(LAYERS[1])}.tar"])
def test_a_member_that_manifest_json_names_is_missing(member: str) -> None:
    files = {**plain_files(plain(SAMPLE, LAYERS))}
    del files[member]
    line = refused(files, 3)
    assert f"{member!r}: is not in the archive" in line or f"{member}: is not" in line
    assert "manifest.json[0]." in line


@pytest.mark.parametrize("which", ["config", "layer", "manifest"])
def test_a_blob_that_an_index_leads_to_is_missing(which: str) -> None:
    files, manifest = oci()
    name = blob({"config": SAMPLE, "layer": LAYERS[2], "manifest": manifest}[which])
    del files[name]
    assert f"{name}: is not in the archive" in refused(files, 3)


@pytest.mark.parametrize("which", ["config", "layer", "manifest"])
def test_a_blob_with_other_bytes(which: str) -> None:
    files, manifest = oci()
    name = blob({"config": SAMPLE, "layer": LAYERS[2], "manifest": manifest}[which])
    files[name] = files[name].replace(b"hello again", b"Hello again").replace(b'"', b" ", 1)
    line = refused(files, 3)
    assert name.rpartition("/")[2] in line
    assert "expected" in line


@pytest.mark.parametrize("which", ["config", "layer"])
def test_a_descriptor_with_another_size(which: str) -> None:
    described = [describe(OCI_LAYER, data) for data in LAYERS]
    config = describe("application/vnd.oci.image.config.v1+json", SAMPLE)
    (described[2] if which == "layer" else config)["size"] += 1
    manifest = dump({"schemaVersion": 2, "config": config, "layers": described})
    files = layout(index_of(describe(OCI_MANIFEST, manifest)), *LAYERS, SAMPLE, manifest)
    assert "bytes, found" in refused(files, 3)


def test_the_config_of_a_docker_archive_with_other_bytes() -> None:
    files = plain_files(SHAPES["docker-25"]().archive)
    del files["index.json"]
    files[blob(SAMPLE)] += b" "
    assert sha256(SAMPLE) in refused(files, 3)


def test_layers_and_diff_ids_of_different_number() -> None:
    assert "4 layers, but the config has 5" in refused(plain(SAMPLE, LAYERS[:4]), 3)
    described = [describe(OCI_LAYER, data) for data in LAYERS[:4]]
    assert "4 layers, but the config has 5" in refused(oci(described)[0], 3)


def test_layers_in_another_order() -> None:
    line = refused(plain(SAMPLE, LAYERS[::-1]), 3)
    assert "layer 1 of 5: " in line or "layer 5 of 5: " in line
    assert ": expected sha256:" in line


def test_manifest_json_and_index_json_that_are_both_wrong() -> None:
    image = stored()
    manifest = manifest_of(SAMPLE, image.descriptors[::-1])
    files = layout(index_of(describe(OCI_MANIFEST, manifest)), *LAYERS, SAMPLE, manifest)
    swapped = [blob(data) for data in (LAYERS[1], LAYERS[0], *LAYERS[2:])]
    files["manifest.json"] = dump([item(blob(SAMPLE), swapped, None)])
    assert "disagree, and the layers of neither fit" in refused(files, 3)


def test_both_wrong_because_of_damaged_compression() -> None:
    image = stored(pack_layer=gzipped)
    manifest = manifest_of(SAMPLE, image.descriptors[::-1])
    broken = gzipped(LAYERS[0])[:-5]
    files = layout(index_of(describe(OCI_MANIFEST, manifest)), *image.blobs, SAMPLE, manifest)
    files["x"] = broken
    listed = ["x", *(blob(data) for data in image.blobs[1:])]
    files["manifest.json"] = dump([item(blob(SAMPLE), listed, None)])
    assert "disagree, and the layers of neither fit" in refused(files, 3)


@pytest.mark.parametrize("target", ["nowhere", "../../etc/passwd", "manifest.json", "/folder"])
def test_a_manifest_json_that_is_a_link_to_nothing(target: str) -> None:
    assert "manifest.json" in refused(outer_tar({"folder/": None}, {"manifest.json": target}), 3)


def test_a_layer_that_is_no_file() -> None:
    files = plain_files(plain(SAMPLE, LAYERS))
    name = f"{sha256(LAYERS[0])}.tar"
    del files[name]
    assert name in refused({**files, f"{name}/": None}, 3)
    fifo = layer(*(File(k.encode(), v) for k, v in files.items()), Fifo(name.encode()))
    assert "is not a regular file" in refused(fifo, 3)


def test_a_chain_of_links_is_followed_and_has_an_end(tmp_path: Path) -> None:
    name = f"{sha256(LAYERS[0])}.tar"
    for length, code in ((7, 0), (9, 3)):
        files = plain_files(plain(SAMPLE, LAYERS))
        files["real"] = files.pop(name)
        links = [Symlink(b"l%d" % n, b"l%d" % (n + 1)) for n in range(length - 2)]
        last = Symlink(b"l%d" % (length - 2), b"/real")
        data = layer(
            *(File(key.encode(), value) for key, value in files.items()),
            Symlink(name.encode(), b"./l0"),
            *links,
            last,
        )
        assert squash(stdin=data).code == code


def test_indexes_inside_each_other_without_end() -> None:
    files, manifest = oci()
    pointer = describe(OCI_MANIFEST, manifest)
    for _ in range(9):
        index = index_of(pointer)
        files[blob(index)] = index
        pointer = describe(OCI_INDEX, index)
    files["index.json"] = index_of(pointer)
    assert "more than 8 nested indexes" in refused(files, 3)


def test_documents_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "DOCUMENT_MAX", len(SAMPLE) - 1)
    assert f"the document has {len(SAMPLE)} bytes" in refused(plain(SAMPLE, LAYERS), 5)


# ---------------------------------------------------------------- sound, but not supported


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
    ],
)
@pytest.mark.parametrize("there", [True, False])
def test_foreign_layers(media_type: str, there: bool) -> None:
    described = [describe(OCI_LAYER, data) for data in LAYERS]
    described[0] = describe(media_type, LAYERS[0], urls=["https://example.com/layer"])
    files, _ = oci(described)
    if not there:
        del files[blob(LAYERS[0])]
    assert "foreign layers are not supported" in refused(files, 5)


@pytest.mark.parametrize(
    ("media_type", "what"),
    [
        (
            f"{OCI_LAYER}+encrypted",
            "encrypted layers are not supported; `skopeo copy --decryption-key",
        ),
        (
            f"{OCI_LAYER}+gzip+encrypted",
            "encrypted layers are not supported; `skopeo copy --decryption-key",
        ),
        (
            f"{OCI_LAYER}+zstd+encrypted",
            "encrypted layers are not supported; `skopeo copy --decryption-key",
        ),
        (
            "application/vnd.erofs.layer.v1",
            "EROFS layers are not supported; squash the image with tar layers",
        ),
        (
            "application/vnd.erofs.layer.v1+zstd",
            "EROFS layers are not supported; squash the image with tar",
        ),
        (
            "application/vnd.erofs+zstd",
            "EROFS layers are not supported; squash the image with tar layers",
        ),
        (
            "application/vnd.oci.image.layer.erofs",
            "EROFS layers are not supported; squash the image with tar",
        ),
        (
            "application/vnd.oci.image.layer.v1.erofs",
            "EROFS layers are not supported; squash the image with tar",
        ),
        (
            "application/vnd.oci.image.layer.squashfs",
            "squashfs layers are not supported; squash the image with",
        ),
    ],
)
@pytest.mark.parametrize("there", [True, False])
def test_layers_of_kinds_that_only_their_type_tells(
    media_type: str, what: str, there: bool
) -> None:
    described = [describe(OCI_LAYER, data) for data in LAYERS]
    described[1] = describe(media_type, LAYERS[1])
    files, manifest = oci(described)
    if not there:
        del files[blob(LAYERS[1])]
    assert f"{blob(manifest)}.layers[1]: {what}" in refused(files, 5)


def test_an_artifact_may_have_such_layers() -> None:
    described = [describe("application/vnd.erofs.layer.v1", data) for data in LAYERS]
    line = refused(oci(described, config_type="application/vnd.example.disk.v1+json")[0], 5)
    assert "an artifact that is not an image ('application/vnd.erofs.layer.v1')" in line


def test_a_layer_that_is_there_and_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is no image that the layout leaves out: it may be the one meant."""
    one = dump(config_of(LAYERS[:1]))
    both = (
        manifest_of(one, [describe(OCI_LAYER, LAYERS[0])]),
        manifest_of(SAMPLE, [describe(OCI_LAYER, data) for data in LAYERS]),
    )
    index = index_of(*(describe(OCI_MANIFEST, manifest) for manifest in both))
    files = layout(index, *LAYERS, SAMPLE, one, *both)
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data or b"")
    real = content.open_regular
    name = blob(LAYERS[1])

    def denied(path: str) -> BinaryIO:
        if path.endswith(name):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path)

    monkeypatch.setattr(members, "open_regular", denied)
    line = failed(squash(f"oci:{tmp_path}"), 3)
    assert f"{name}: cannot be read: Permission denied" in line


def test_documents_that_take_too_much_memory_are_not_read_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An image of a kind that cannot be squashed is left out; this one may be the one meant."""
    large = dump(config_of(config={"Labels": {"x": "\u0101" * 20_000}}))
    described = [describe(OCI_LAYER, data) for data in LAYERS]
    both = [manifest_of(config, described) for config in (SAMPLE, large)]
    index = index_of(*(describe(OCI_MANIFEST, manifest) for manifest in both))
    files = layout(index, *LAYERS, SAMPLE, large, *both)
    assert squash(stdin=pack(files)).code == 0
    monkeypatch.setattr(documents, "DOCUMENTS_MEMORY", 200_000)
    assert f"{blob(large)}: documents that take more than" in refused(files, 5)


def test_manifest_schema_1() -> None:
    manifest = dump({"schemaVersion": 1, "name": "app", "fsLayers": [], "history": []})
    kind = "application/vnd.docker.distribution.manifest.v1+json"
    files = layout(index_of(describe(kind, manifest)), manifest)
    assert "manifest schema 1" in refused(files, 5)


ARTIFACTS = {
    "helm": (
        "application/vnd.cncf.helm.config.v1+json",
        "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
    ),
    "sbom": ("application/vnd.oci.image.config.v1+json", "text/spdx+json"),
    "signature": (
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.dev.cosign.simplesigning.v1+json",
    ),
    "oras": ("application/vnd.oci.empty.v1+json", "application/vnd.oci.image.layer.v1.tar"),
    "wasm": ("application/vnd.wasm.config.v0+json", "application/wasm"),
    "singularity": (
        "application/vnd.sylabs.sif.config.v1+json",
        "application/vnd.sylabs.sif.layer.v1.sif",
    ),
    "nydus": (
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.oci.image.layer.nydus.blob.v1",
    ),
}


@pytest.mark.parametrize("name", ARTIFACTS)
def test_artifacts(name: str) -> None:
    config_type, layer_type = ARTIFACTS[name]
    config, content = b"{}", b"content"
    manifest = manifest_of(config, [describe(layer_type, content)], config_type=config_type)
    files = layout(index_of(describe(OCI_MANIFEST, manifest)), config, content, manifest)
    line = refused(files, 5)
    assert "an artifact that is not an image (" in line
    assert layer_type in line or config_type in line


def test_an_artifact_without_a_config() -> None:
    manifest = dump({"schemaVersion": 2, "artifactType": "application/x", "blobs": []})
    files = layout(index_of(describe(OCI_MANIFEST, manifest)), manifest)
    assert "an artifact that is not an image" in refused(files, 5)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("squashfs layers are not supported", b"hsqs" + bytes(4092)),
        ("EROFS layers are not supported", bytes(1024) + b"\xe2\xe1\xf5\xe0" + bytes(3068)),
    ],
)
def test_layers_that_are_file_systems(name: str, data: bytes) -> None:
    config = config_of((data, *LAYERS[1:]))
    line = refused(plain(config, (data, *LAYERS[1:])), 5)
    assert f"{name}; squash the image with tar layers that it was made from" in line
    described = [describe(OCI_LAYER, each) for each in (data, *LAYERS[1:])]
    files = {**oci(described, dump(config))[0], blob(data): data}
    assert f"layers[0]: {name}; squash the image" in refused(files, 5)


def test_a_tar_is_a_tar_whatever_its_files_begin_with() -> None:
    """The magic of EROFS lies where the second member's header has a name."""
    data = layer(File(b"a", b"x"), File(b"\xe2\xe1\xf5\xe0", b""))
    assert data[1024:1028] == b"\xe2\xe1\xf5\xe0"
    image = plain(config_of((data, *LAYERS[1:])), (data, *LAYERS[1:]))
    assert squash("--keep-layers", "0", stdin=image).code == 0


def test_windows_images() -> None:
    assert "Windows images are not supported" in refused(plain(config_of(os="windows"), LAYERS), 5)
    config = dump(config_of(os="windows"))
    assert "Windows images are not supported" in refused(oci(config=config)[0], 5)


def _sha512(data: bytes) -> str:
    return f"sha512:{hashlib.sha512(data).hexdigest()}"


def _stored_by_sha512(place: str) -> Folder:
    """Return the sample where one kind of blob is called by its SHA-512."""
    config = config_of()
    if place == "diff_ids":
        config["rootfs"]["diff_ids"] = [_sha512(data) for data in LAYERS]
    raw = dump(config)
    described = [describe(OCI_LAYER, data) for data in LAYERS]
    if place == "layers":
        described = [
            {**each, "digest": _sha512(x)} for each, x in zip(described, LAYERS, strict=True)
        ]
    document = json.loads(manifest_of(raw, described))
    if place == "config":
        document["config"]["digest"] = _sha512(raw)
    manifest = dump(document)
    pointer = describe(OCI_MANIFEST, manifest)
    if place == "manifests":
        pointer["digest"] = _sha512(manifest)
    files = layout(index_of(pointer), *LAYERS, raw, manifest)
    for data in (*LAYERS, raw, manifest):
        files[f"blobs/sha512/{hashlib.sha512(data).hexdigest()}"] = data
    return files


@pytest.mark.parametrize("place", ["manifests", "config", "layers", "diff_ids"])
def test_digests_that_are_not_sha256(place: str) -> None:
    line = refused(_stored_by_sha512(place), 5)
    assert place in line
    assert "the digest 'sha512:" in line
    assert "is not SHA-256" in line


def test_zstd_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name in ("backports", "compression"):
            raise ImportError(name)
        return real(name, *rest, **more)

    archive = SHAPES["podman-zstd-chunked"]().archive
    plain_archive = SHAPES["docker-25"]().archive
    monkeypatch.setattr(builtins, "__import__", without)
    line = refused(archive, 5)
    assert "zstd needs the extra `zstd`; pip install 'image-squasher[zstd]'" in line
    assert "pip install" in refused(frames_of_zstd(plain_archive, 10**6), 5)
    assert "pip install" in refused(plain_archive, 5, "--compress", "zstd")


# ---------------------------------------------------------------- one of several


def _two(second: bytes, *data: bytes) -> Folder:
    files, manifest = oci()
    pointers = (
        describe(OCI_MANIFEST, manifest, annotations={"org.opencontainers.image.ref.name": "a"}),
        describe(DOCKER_MANIFEST, second, annotations={"org.opencontainers.image.ref.name": "b"}),
    )
    return {**files, **blobs(second, *data), "index.json": index_of(*pointers)}


def test_an_image_that_is_not_supported_beside_one_that_is() -> None:
    described = [describe(f"{OCI_LAYER}+encrypted", data) for data in LAYERS]
    done = squash("--format", "oci", stdin=pack(_two(manifest_of(SAMPLE, described))))
    assert done.code == 0
    assert "encrypted" in done.err


def test_an_image_that_is_damaged_beside_one_that_is_not() -> None:
    described = [describe(OCI_LAYER, data) for data in LAYERS[:4]]
    refused(_two(manifest_of(SAMPLE, described)), 3)


def test_json_that_is_none() -> None:
    for name in ("manifest.json", "index.json"):
        for text in (b"", b"{", b"\xef\xbb\xbf[]", b"[" * 100_000, b'"\\ud800"'):
            assert name in refused({name: text}, 3)
    files, _ = oci()
    assert json.loads(files["index.json"])
