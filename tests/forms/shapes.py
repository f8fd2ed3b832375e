"""Archives and layouts as each tool writes them, built in memory from their documented formats.

Every shape holds the same image (`SAMPLE`, sometimes with an arm64 sibling), so that what squashing
makes of it must be the same whatever the shape. A shape says what it holds: `Stored`, an image with
its blobs and the descriptors that point at them.

Sources: docker image specification v1.2; OCI image-spec, image-layout.md, image-index.md,
annotations.md; BuildKit docs, "attestation-storage.md"; containers-transports(5);
go-containerregistry, pkg/v1/tarball; jib, DockerLoader; rules_docker, join_layers.py; rules_oci,
tarball.sh; containerd, "images export"; RFC 1952 and RFC 8878 for members, frames and skippable
frames; eStargz and zstd:chunked for their annotations.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from tests import model
from tests.builders import Dir, File, Hardlink, Opaque, Symlink, Whiteout, layer, outer_tar, sha256
from tests.zstd import zstd

Document = dict[str, Any]
Folder = dict[str, bytes]

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
#: What OCI calls docker's types. Source: image-spec, media-types.md, "Compatibility Matrix".
OCI_TYPES = {
    DOCKER_LIST: OCI_INDEX,
    DOCKER_MANIFEST: OCI_MANIFEST,
    DOCKER_CONFIG: OCI_CONFIG,
    DOCKER_LAYER: OCI_LAYER,
    f"{DOCKER_LAYER}.gzip": f"{OCI_LAYER}+gzip",
    f"{DOCKER_LAYER}.zstd": f"{OCI_LAYER}+zstd",
}
CONTAINERD_NAME = "io.containerd.image.name"
REF_NAME = "org.opencontainers.image.ref.name"
CREATED = "2024-01-02T03:04:05.678901234Z"
LAYOUT = b'{"imageLayoutVersion": "1.0.0"}'
TAG = "example.com/team/app:1.0"

LAYERS = (
    layer(
        Dir(b"bin"),
        File(b"bin/sh", b"shell" * 99, mode=0o755),
        Hardlink(b"bin/ash", b"bin/sh", mode=0o755),
        Dir(b"etc"),
        File(b"etc/issue", b"old"),
        File(b"etc/motd", b"hello\n"),
        Dir(b"var"),
        Dir(b"var/cache"),
        File(b"var/cache/a", b"a"),
    ),
    layer(Dir(b"etc"), File(b"etc/os-release", b"ID=sample\n"), Symlink(b"lib", b"usr/lib")),
    layer(Dir(b"etc"), Whiteout(b"etc/issue"), File(b"etc/motd", b"hello again\n", uid=7)),
    layer(Dir(b"var/cache"), Opaque(b"var/cache"), File(b"var/cache/b", b"b" * 700)),
    layer(Dir(b"app"), File(b"app/foo.wh.bar", b"a file"), File(b"etc/motd", b"hello\n")),
)


def dump(value: Any) -> bytes:
    """Return compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


def config_of(layers: Sequence[bytes] = LAYERS, **more: Any) -> Document:
    """Return a config with rows that have a layer and rows that have none."""
    rows: list[Document] = []
    for n in range(len(layers)):
        rows.append({"created": CREATED, "created_by": f"RUN step {n} # buildkit"})
        rows.append({"created": CREATED, "created_by": f"ENV N={n}", "empty_layer": True})
    return {
        "architecture": "amd64",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"], "Odd": 12345678901234567890.0},
        "created": CREATED,
        "history": rows,
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(x)}" for x in layers]},
        **more,
    }


# `Odd` is a number that no float survives as it is written.
SAMPLE = dump(config_of()).replace(b"1.2345678901234567e+19", b"12345678901234567890.10")
ARM = SAMPLE.replace(b'"amd64"', b'"arm64","variant":"v8"')


@dataclass(frozen=True)
class Stored:
    """An image in an archive: blobs as stored, and the descriptors of its layers, () without."""

    config: bytes
    layers: tuple[bytes, ...]
    blobs: tuple[bytes, ...]
    tags: tuple[str, ...] = ()
    descriptors: tuple[Document, ...] = ()


@dataclass(frozen=True)
class Shape:
    """An archive, or the files of a folder, and the images in it that can be squashed.

    notices   texts of which each must be in what squashing reports
    gone      blobs that are in the archive and must not be in the result
    """

    data: bytes | Folder
    images: tuple[Stored, ...]
    notices: tuple[str, ...] = ()
    gone: tuple[bytes, ...] = ()

    @property
    def files(self) -> Folder:
        """The files of a folder."""
        assert isinstance(self.data, dict)
        return self.data

    @property
    def archive(self) -> bytes:
        """The bytes of an archive; a folder is packed to one."""
        return pack(self.data) if isinstance(self.data, dict) else self.data


SHAPES: dict[str, Callable[[], Shape]] = {}


def shape(name: str) -> Callable[[Callable[[], Shape]], Callable[[], Shape]]:
    """Register a shape by its name."""

    def register(make: Callable[[], Shape]) -> Callable[[], Shape]:
        SHAPES[name] = cache(make)
        return SHAPES[name]

    return register


# ---------------------------------------------------------------- parts


def pack(files: Mapping[str, bytes | None], links: Mapping[str, str] | None = None) -> bytes:
    """Return the tar of these members."""
    return outer_tar(files, links)


def plain_files(data: bytes) -> Folder:
    """Return the regular files of any archive."""
    return {b"/".join(x.path).decode(): x.data for x in model.read(data) if x.kind == "file"}


def gzipped(data: bytes) -> bytes:
    """Return one gzip member."""
    return gzip.compress(data, mtime=0)


def members_of_gzip(data: bytes, size: int = 1000) -> bytes:
    """Return many gzip members, as estargz has one for each file, and an empty one at the end."""
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(gzip.compress(part, mtime=0) for part in (*parts, b""))


def frames_of_zstd(data: bytes, size: int = 1000) -> bytes:
    """Return many zstd frames with skippable frames first, between and last, as zstd:chunked."""
    skip = b"\x50\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"toc"
    parts = [zstd.compress(data[at : at + size]) for at in range(0, len(data), size)]
    return skip + skip.join(parts) + b"\x5f" + skip[1:]


def blob(data: bytes) -> str:
    """Return the name of a blob in a layout."""
    return f"blobs/sha256/{sha256(data)}"


def blobs(*data: bytes) -> Folder:
    """Return blobs as members of a layout."""
    return {blob(each): each for each in data}


def describe(media_type: str, data: bytes, **more: Any) -> Document:
    """Return a descriptor."""
    return {"mediaType": media_type, "digest": f"sha256:{sha256(data)}", "size": len(data), **more}


def manifest_of(
    config: bytes,
    layers: Sequence[Document],
    media_type: str = OCI_MANIFEST,
    config_type: str = OCI_CONFIG,
    **more: Any,
) -> bytes:
    """Return a manifest."""
    return dump(
        {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": describe(config_type, config),
            "layers": list(layers),
            **more,
        }
    )


def index_of(*pointers: Document, media_type: str | None = OCI_INDEX, **more: Any) -> bytes:
    """Return an index."""
    typed = {} if media_type is None else {"mediaType": media_type}
    return dump({"schemaVersion": 2, **typed, "manifests": list(pointers), **more})


def layout(index: bytes, *data: bytes) -> Folder:
    """Return the files of a layout."""
    return {**blobs(*data), "index.json": index, "oci-layout": LAYOUT}


def names(tag: str, ref: str | None = None, **more: str) -> Document:
    """Return the annotations by which containerd, docker and BuildKit name an image."""
    return {CONTAINERD_NAME: tag, REF_NAME: ref or tag.rpartition(":")[2], **more}


AMD64 = {"architecture": "amd64", "os": "linux"}
ARM64 = {"architecture": "arm64", "os": "linux", "variant": "v8"}
UNKNOWN = {"architecture": "unknown", "os": "unknown"}


def attestation(of: Document, media_type: str = "application/vnd.in-toto+json") -> list[bytes]:
    """Return the blobs of an attestation manifest, itself last, as BuildKit makes them."""
    statement = dump({"_type": "https://in-toto.io/Statement/v0.1", "subject": [of["digest"]]})
    config = dump(
        {
            **UNKNOWN,
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(statement)}"]},
        }
    )
    kind = {"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"}
    described = describe(media_type, statement, annotations=kind)
    return [statement, config, manifest_of(config, [described])]


def attested(of: Document, manifest: bytes) -> Document:
    """Return the descriptor of the attestation `manifest` for the image `of`."""
    notes = {
        "vnd.docker.reference.digest": of["digest"],
        "vnd.docker.reference.type": "attestation-manifest",
    }
    return describe(OCI_MANIFEST, manifest, annotations=notes, platform=UNKNOWN)


def stored(
    config: bytes = SAMPLE,
    pack_layer: Callable[[bytes], bytes] = bytes,
    media_type: str = OCI_LAYER,
    tags: Sequence[str] = (TAG,),
    annotations: bool = False,
) -> Stored:
    """Return the sample with its layers stored as `pack_layer` has them."""
    found = tuple(map(pack_layer, LAYERS))
    more: list[Document] = [
        {"annotations": {"org.example.layer": f"{n}"}} if annotations else {}
        for n in range(len(found))
    ]
    described = tuple(
        describe(media_type, each, **extra) for each, extra in zip(found, more, strict=True)
    )
    return Stored(config, LAYERS, found, tuple(tags), described)


def without_descriptors(image: Stored) -> Stored:
    """Return an image of an archive that has no descriptors."""
    return replace(image, descriptors=())


def item(config: str, layers: Sequence[str], tags: Sequence[str] | None, **more: Any) -> Document:
    """Return an element of manifest.json."""
    listed = None if tags is None else list(tags)
    return {"Config": config, "RepoTags": listed, "Layers": list(layers), **more}


def spoken_oci(document: Document) -> Document:
    """Return a document with OCI's media type in place of docker's."""
    media_type = document.get("mediaType")
    return document if media_type is None else {**document, "mediaType": oci_type(media_type)}


def oci_type(media_type: str) -> str:
    """Return OCI's name for a media type of docker's."""
    return OCI_TYPES.get(media_type, media_type)


# ---------------------------------------------------------------- docker


def _v1_folder(blob_: bytes, parent: str) -> tuple[str, Folder]:
    identity = sha256(f"{parent} {sha256(blob_)}".encode())
    about = {"id": identity, "created": "1970-01-01T00:00:00Z", "os": "linux"}
    if parent:
        about["parent"] = parent
    return identity, {f"{identity}/VERSION": b"1.0", f"{identity}/json": dump(about)}


@shape("docker-20.10")
def docker_20() -> Shape:
    """`docker save` before 25: a folder for each layer."""
    image = without_descriptors(stored())
    files: dict[str, bytes | None] = {}
    paths, identity = [], ""
    for data in image.blobs:
        identity, about = _v1_folder(data, identity)
        files |= {f"{identity}/": None, **about, f"{identity}/layer.tar": data}
        paths.append(f"{identity}/layer.tar")
    files[f"{sha256(SAMPLE)}.json"] = SAMPLE
    files["manifest.json"] = dump([item(f"{sha256(SAMPLE)}.json", paths, image.tags)])
    files["repositories"] = dump({TAG.rpartition(":")[0]: {"1.0": identity}})
    return Shape(pack(files), (image,))


def _docker_25(image: Stored, manifest: bytes, layers: Sequence[bytes]) -> Folder:
    pointer = describe(OCI_MANIFEST, manifest, annotations=names(TAG))
    sources = {
        f"sha256:{sha256(data)}": descriptor
        for data, descriptor in zip(image.layers, image.descriptors, strict=True)
    }
    about = dump({"id": sha256(b"v1"), "created": "1970-01-01T00:00:00Z", "os": "linux"})
    files = layout(index_of(pointer), *image.blobs, image.config, manifest, about)
    entry = item(blob(image.config), [*map(blob, layers)], image.tags, LayerSources=sources)
    return files | {
        "manifest.json": dump([entry]),
        "repositories": dump({TAG.rpartition(":")[0]: {"1.0": sha256(about)}}),
    }


@shape("docker-25")
def docker_25() -> Shape:
    """`docker save` since 25 with the classic store: manifest.json over an OCI layout."""
    image = stored()
    manifest = manifest_of(image.config, image.descriptors)
    return Shape(pack(_docker_25(image, manifest, image.blobs)), (image,))


@shape("docker-25.0.0-wrong-index")
def docker_wrong_index() -> Shape:
    """Return an archive whose index leads to the layers in another order."""
    image = stored()
    manifest = manifest_of(image.config, image.descriptors[::-1])
    data = pack(_docker_25(image, manifest, image.blobs))
    return Shape(data, (without_descriptors(image),), ("disagree; manifest.json is used",))


@shape("docker-25.0.0-wrong-manifest-json")
def docker_wrong_manifest() -> Shape:
    """Return an archive whose manifest.json lists the layers in another order."""
    image = stored()
    manifest = manifest_of(image.config, image.descriptors)
    data = pack(_docker_25(image, manifest, image.blobs[::-1]))
    return Shape(data, (image,), ("disagree; index.json is used",))


@shape("docker-29")
def docker_29() -> Shape:
    """`docker save` from the containerd store: other platforms are named but not there."""
    image = stored(pack_layer=gzipped, media_type=f"{OCI_LAYER}+gzip")
    manifest = manifest_of(image.config, image.descriptors)
    here = describe(OCI_MANIFEST, manifest, platform=AMD64)
    absent = describe(OCI_MANIFEST, b"not in the archive", platform=ARM64)
    statement = attestation(here)
    pointers = (
        here,
        absent,
        attested(here, statement[-1]),
        attested(absent, b"an absent statement"),
    )
    nested = index_of(*pointers)
    top = describe(OCI_INDEX, nested, annotations=names(TAG, TAG))
    files = layout(index_of(top), *image.blobs, image.config, manifest, nested, *statement)
    files["manifest.json"] = dump([item(blob(image.config), [*map(blob, image.blobs)], image.tags)])
    notices = ("attestations (2)", "incomplete images (1)")
    return Shape(pack(files), (image,), notices, (*statement, nested))


# ---------------------------------------------------------------- BuildKit


@shape("buildx-oci")
def buildx_oci() -> Shape:
    """`buildx build --output type=oci` for two platforms, each with its attestation."""
    images = [stored(config, gzipped, f"{OCI_LAYER}+gzip") for config in (SAMPLE, ARM)]
    manifests = [manifest_of(x.config, x.descriptors) for x in images]
    here = [
        describe(OCI_MANIFEST, data, platform=place)
        for data, place in zip(manifests, (AMD64, ARM64), strict=True)
    ]
    statements = [attestation(pointer) for pointer in here]
    pointers = [attested(of, x[-1]) for of, x in zip(here, statements, strict=True)]
    nested = index_of(*here, *pointers, annotations={"org.example.index": "kept"})
    notes = names(TAG, **{"org.opencontainers.image.created": "2024-01-02T03:04:05Z"})
    top = describe(OCI_INDEX, nested, annotations=notes)
    gone = [data for statement in statements for data in statement]
    data = [x for image in images for x in (*image.blobs, image.config)]
    files = layout(index_of(top), *data, *manifests, nested, *gone)
    return Shape(pack(files), tuple(images), ("attestations (2)",), (*gone, nested, *manifests))


@shape("buildx-docker")
def buildx_docker() -> Shape:
    """`buildx build --output type=docker`: docker's media types and manifest.json."""
    image = stored(pack_layer=gzipped, media_type=f"{DOCKER_LAYER}.gzip")
    manifest = manifest_of(image.config, image.descriptors, DOCKER_MANIFEST, DOCKER_CONFIG)
    notes = names(TAG, **{"org.opencontainers.image.created": "2024-01-02T03:04:05Z"})
    top = describe(DOCKER_MANIFEST, manifest, annotations=notes)
    files = layout(index_of(top), *image.blobs, image.config, manifest)
    files["manifest.json"] = dump([item(blob(image.config), [*map(blob, image.blobs)], image.tags)])
    return Shape(pack(files), (image,))


# ---------------------------------------------------------------- containers/image


@shape("skopeo-docker-archive")
def skopeo_docker() -> Shape:
    """`skopeo copy ... docker-archive:`: flat layers, and folders with symlinks to them."""
    image = without_descriptors(stored())
    files: dict[str, bytes | None] = {f"{sha256(data)}.tar": data for data in image.blobs}
    links, identity = {}, ""
    for data in image.blobs:
        identity, about = _v1_folder(data, identity)
        files |= about
        links[f"{identity}/layer.tar"] = f"../{sha256(data)}.tar"
    files[f"{sha256(SAMPLE)}.json"] = SAMPLE
    paths = [f"{sha256(data)}.tar" for data in image.blobs]
    files["repositories"] = dump({TAG.rpartition(":")[0]: {"1.0": identity}})
    files["manifest.json"] = dump([item(f"{sha256(SAMPLE)}.json", paths, image.tags)])
    return Shape(pack(files, links), (image,))


@shape("skopeo-docker-archive-through-links")
def skopeo_links() -> Shape:
    """Return the same where manifest.json names the symlinks, as skopeo before 0.1.40 wrote it."""
    image = without_descriptors(stored())
    files: dict[str, bytes | None] = {f"{sha256(data)}.tar": data for data in image.blobs}
    links, identity = {}, ""
    for data in image.blobs:
        identity, about = _v1_folder(data, identity)
        files |= about
        links[f"{identity}/layer.tar"] = f"../{sha256(data)}.tar"
    files["config.json"] = SAMPLE
    files["manifest.json"] = dump([item("config.json", [*links], image.tags)])
    return Shape(pack(files, links), (image,))


@shape("skopeo-oci-archive")
def skopeo_oci() -> Shape:
    """`skopeo copy ... oci-archive:FILE:app`: the reference is not a valid image name."""
    image = stored(pack_layer=gzipped, media_type=f"{OCI_LAYER}+gzip", tags=(), annotations=True)
    manifest = manifest_of(image.config, image.descriptors, annotations={"org.example.m": "kept"})
    pointer = describe(OCI_MANIFEST, manifest, annotations={REF_NAME: "app"})
    index = index_of(pointer, media_type=None)
    return Shape(pack(layout(index, *image.blobs, image.config, manifest)), (image,))


@shape("podman-docker-archive")
def podman_docker() -> Shape:
    """`podman save`: flat layers, the config by its ID."""
    image = without_descriptors(stored())
    files: dict[str, bytes | None] = {f"{sha256(data)}.tar": data for data in image.blobs}
    files[f"{sha256(SAMPLE)}.json"] = SAMPLE
    files["manifest.json"] = dump([item(f"{sha256(SAMPLE)}.json", [*files][:-1], image.tags)])
    return Shape(pack(files), (image,))


@shape("podman-zstd-chunked")
def podman_chunked() -> Shape:
    """`podman push --compression-format zstd:chunked oci-archive:`."""
    image = stored(pack_layer=frames_of_zstd, media_type=f"{OCI_LAYER}+zstd")
    notes = {
        "io.github.containers.zstd-chunked.manifest-checksum": "sha256:" + "0" * 64,
        "io.github.containers.zstd-chunked.manifest-position": "157:251:386:1",
        "io.github.containers.zstd-chunked.tarsplit-position": "416:252:3651",
    }
    image = replace(
        image, descriptors=tuple({**x, "annotations": notes} for x in image.descriptors)
    )
    manifest = manifest_of(image.config, image.descriptors)
    pointer = describe(OCI_MANIFEST, manifest, annotations={REF_NAME: TAG})
    files = layout(index_of(pointer), *image.blobs, image.config, manifest)
    return Shape(pack(files), (image,))


# ---------------------------------------------------------------- builders without a daemon


@shape("kaniko")
def kaniko() -> Shape:
    """`kaniko --tar-path`, `crane pull`: go-containerregistry's tarball."""
    image = without_descriptors(stored(pack_layer=gzipped))
    paths = [f"{sha256(data)}.tar.gz" for data in image.blobs]
    files = {f"sha256:{sha256(SAMPLE)}": SAMPLE, **dict(zip(paths, image.blobs, strict=True))}
    files["manifest.json"] = dump([item(f"sha256:{sha256(SAMPLE)}", paths, image.tags)])
    return Shape(pack(files), (image,))


@shape("crane-layout")
def crane_layout() -> Shape:
    """`crane pull --format=oci` into a folder: an index without a media type or names."""
    image = stored(pack_layer=gzipped, media_type=f"{DOCKER_LAYER}.gzip", tags=())
    manifest = manifest_of(image.config, image.descriptors, DOCKER_MANIFEST, DOCKER_CONFIG)
    pointer = describe(DOCKER_MANIFEST, manifest)
    files = layout(index_of(pointer), *image.blobs, image.config, manifest)
    return Shape(files, (image,))


@shape("jib")
def jib() -> Shape:
    """`jib:buildTar`: keys in lower case, which Go reads alike."""
    image = without_descriptors(stored(pack_layer=gzipped))
    paths = [f"{sha256(data)}.tar.gz" for data in image.layers]
    files = {**dict(zip(paths, image.blobs, strict=True)), "config.json": SAMPLE}
    entry = {"config": "config.json", "repoTags": list(image.tags), "layers": paths}
    return Shape(pack({**files, "manifest.json": dump([entry])}), (image,))


@shape("bazel-rules-docker")
def rules_docker() -> Shape:
    """`bazel run :image.tar` of rules_docker: names with `./`, manifest.json in the middle."""
    image = without_descriptors(stored())
    paths = [f"{sha256(data)}/layer.tar" for data in image.layers]
    first, *rest = [(f"./{path}", data) for path, data in zip(paths, image.blobs, strict=True)]
    files: dict[str, bytes | None] = {"./": None, first[0]: first[1]}
    files["./manifest.json"] = dump([item(f"{sha256(SAMPLE)}.json", paths, image.tags)])
    files |= {**dict(rest), f"./{sha256(SAMPLE)}.json": SAMPLE}
    return Shape(pack(files), (image,))


@shape("bazel-rules-oci")
def rules_oci() -> Shape:
    """`bazel run :load` of rules_oci: blobs with a suffix, and no index."""
    image = without_descriptors(stored(pack_layer=gzipped))
    paths = [f"{blob(data)}.tar.gz" for data in image.blobs]
    files = {**dict(zip(paths, image.blobs, strict=True)), blob(SAMPLE): SAMPLE}
    files["manifest.json"] = dump([item(blob(SAMPLE), paths, image.tags)])
    return Shape(pack(files), (image,))


# ---------------------------------------------------------------- containerd, umoci


@shape("ctr-export")
def ctr_export() -> Shape:
    """`ctr images export --platform linux/amd64`: the other platform's blobs are not there."""
    image = stored(pack_layer=gzipped, media_type=f"{DOCKER_LAYER}.gzip", annotations=True)
    manifest = manifest_of(image.config, image.descriptors, DOCKER_MANIFEST, DOCKER_CONFIG)
    here = describe(DOCKER_MANIFEST, manifest, platform=AMD64)
    far = manifest_of(ARM, [describe(f"{DOCKER_LAYER}.gzip", b"absent")], DOCKER_MANIFEST)
    there = describe(DOCKER_MANIFEST, far, platform=ARM64)
    nested = index_of(here, there, media_type=DOCKER_LIST)
    top = describe(DOCKER_LIST, nested, annotations=names(TAG))
    files = layout(
        index_of(top, media_type=None), *image.blobs, image.config, manifest, nested, far
    )
    files["manifest.json"] = dump([item(blob(image.config), [*map(blob, image.blobs)], image.tags)])
    return Shape(
        pack(files),
        (image,),
        ("incomplete images (1)",),
        (nested, far, manifest),
    )


@shape("ctr-export-all-platforms")
def ctr_all() -> Shape:
    """`ctr images export --all-platforms`: manifest.json has one of them."""
    images = [stored(config, gzipped, f"{OCI_LAYER}+gzip") for config in (SAMPLE, ARM)]
    manifests = [manifest_of(x.config, x.descriptors) for x in images]
    places = zip(manifests, (AMD64, ARM64), strict=True)
    nested = index_of(*(describe(OCI_MANIFEST, x, platform=place) for x, place in places))
    top = describe(OCI_INDEX, nested, annotations=names(TAG))
    data = [x for image in images for x in (*image.blobs, image.config)]
    files = layout(index_of(top), *data, *manifests, nested)
    here = images[0]
    files["manifest.json"] = dump([item(blob(here.config), [*map(blob, here.blobs)], here.tags)])
    return Shape(pack(files), tuple(images), (), (nested, *manifests))


@shape("ctr-export-pinned")
def ctr_pinned() -> Shape:
    """`ctr images export` of all names of a pod's image: it is pinned by its digest as well."""
    image = stored(pack_layer=gzipped, media_type=f"{OCI_LAYER}+gzip")
    manifest = manifest_of(image.config, image.descriptors)
    pinned = f"{TAG.partition(':')[0]}@sha256:{sha256(manifest)}"
    named = [names(pinned, f"@{pinned.partition('@')[2]}"), names(TAG), names(pinned, "newest")]
    pointers = [describe(OCI_MANIFEST, manifest, annotations=each) for each in named]
    files = layout(index_of(*pointers), *image.blobs, image.config, manifest)
    blobs_ = [*map(blob, image.blobs)]
    files["manifest.json"] = dump([item(blob(image.config), blobs_, [pinned, TAG])])
    return Shape(pack(files), (image,), (f"a digest (1): {pinned!r}",), (manifest,))


@shape("ctr-export-pinned-alone")
def ctr_pinned_alone() -> Shape:
    """Do the same with no other name, and without manifest.json, as nerdctl can."""
    image = stored(pack_layer=gzipped, media_type=f"{OCI_LAYER}+gzip", tags=())
    manifest = manifest_of(image.config, image.descriptors)
    pinned = f"example.com/app@sha256:{sha256(manifest)}"
    named = names(pinned, f"@{pinned.partition('@')[2]}")
    pointers = [describe(OCI_MANIFEST, manifest, annotations=named) for _ in range(2)]
    files = layout(index_of(*pointers), *image.blobs, image.config, manifest)
    return Shape(pack(files), (image,), (f"a digest (1): {pinned!r}",), (manifest,))


@shape("umoci-layout")
def umoci_layout() -> Shape:
    """Return what umoci keeps: two references, of which one is the base of the other."""
    image = stored(pack_layer=gzipped, media_type=f"{OCI_LAYER}+gzip", tags=())
    base_layers = LAYERS[:2]
    base = Stored(
        dump(config_of(base_layers)), base_layers, image.blobs[:2], (), image.descriptors[:2]
    )
    both = (image, base)
    manifests = [manifest_of(x.config, x.descriptors) for x in both]
    pointers = [
        describe(OCI_MANIFEST, x, annotations={REF_NAME: ref})
        for x, ref in zip(manifests, ("app", "base"), strict=True)
    ]
    data = (*image.blobs, image.config, base.config)
    files = layout(index_of(*pointers, media_type=None), *data, *manifests)
    return Shape(files, both, (), (manifests[0],))


# ---------------------------------------------------------------- odd ones that engines take


@shape("estargz")
def estargz() -> Shape:
    """Layers of many gzip members, with the annotations of a lazy puller."""
    image = stored(pack_layer=members_of_gzip, media_type=f"{OCI_LAYER}+gzip")
    notes = {
        "containerd.io/snapshot/stargz/toc.digest": "sha256:" + "1" * 64,
        "io.containers.estargz.uncompressed-size": "1024",
    }
    image = replace(
        image, descriptors=tuple({**x, "annotations": notes} for x in image.descriptors)
    )
    manifest = manifest_of(image.config, image.descriptors)
    pointer = describe(OCI_MANIFEST, manifest, annotations=names(TAG))
    files = layout(index_of(pointer), *image.blobs, image.config, manifest)
    return Shape(pack(files), (image,))


def _lying(media_type: str, pack_layer: Callable[[bytes], bytes]) -> Shape:
    image = stored(pack_layer=pack_layer, media_type=media_type)
    manifest = manifest_of(image.config, image.descriptors)
    pointer = describe(OCI_MANIFEST, manifest, annotations=names(TAG))
    return Shape(pack(layout(index_of(pointer), *image.blobs, image.config, manifest)), (image,))


@shape("gzip-called-zstd")
def gzip_called_zstd() -> Shape:
    """Return layers whose media type lies: content decides."""
    return _lying(f"{OCI_LAYER}+zstd", gzipped)


@shape("plain-called-gzip")
def plain_called_gzip() -> Shape:
    """Return layers whose media type lies: content decides."""
    return _lying(f"{OCI_LAYER}+gzip", bytes)


@shape("layers-without-media-type")
def no_media_type() -> Shape:
    """Media types are empty: content decides."""
    return _lying("", gzipped)


@shape("layers-of-mixed-compression")
def mixed() -> Shape:
    """Every compression in one image, xz and bzip2 included."""
    ways: tuple[Callable[[bytes], bytes], ...] = (
        gzipped,
        lzma.compress,
        bz2.compress,
        frames_of_zstd,
        members_of_gzip,
    )
    kinds = ("+gzip", "", "", "+zstd", "+gzip")
    found = tuple(way(data) for way, data in zip(ways, LAYERS, strict=True))
    described = tuple(
        describe(OCI_LAYER + kind, data) for kind, data in zip(kinds, found, strict=True)
    )
    image = Stored(SAMPLE, LAYERS, found, (TAG,), described)
    manifest = manifest_of(SAMPLE, described)
    pointer = describe(OCI_MANIFEST, manifest, annotations=names(TAG))
    return Shape(pack(layout(index_of(pointer), *found, SAMPLE, manifest)), (image,))


@shape("unreferenced-and-artifact")
def with_artifact() -> Shape:
    """Put a signature beside the image, as cosign does, an idle blob, and a `subject`."""
    image = stored(pack_layer=gzipped, media_type=f"{OCI_LAYER}+gzip")
    manifest = manifest_of(image.config, image.descriptors, subject=describe(OCI_MANIFEST, b"s"))
    payload = b'{"critical":{}}'
    kind = "application/vnd.dev.cosign.simplesigning.v1+json"
    signature = manifest_of(dump({"os": "", "rootfs": {}}), [describe(kind, payload)])
    artifact = dump({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "blobs": []})
    pointers = (
        describe(OCI_MANIFEST, manifest, annotations=names(TAG), platform=AMD64),
        describe(OCI_MANIFEST, signature),
        describe(OCI_MANIFEST, artifact, artifactType="application/x"),
    )
    gone = (signature, payload, artifact, b"nobody", manifest)
    files = layout(index_of(*pointers), *image.blobs, image.config, *gone)
    return Shape(
        pack(files), (image,), ("artifacts that are not images, such as signatures (2)",), gone
    )


@shape("unknown-types")
def unknown_types() -> Shape:
    """Put beside the image what an index may also lead to: image-layout.md has such an example."""
    image = stored(pack_layer=gzipped, media_type=f"{OCI_LAYER}+gzip")
    manifest = manifest_of(image.config, image.descriptors)
    page, packages = b"<page/>", bytes((5 << 20) + 1)
    inner = index_of(
        describe(OCI_MANIFEST, manifest, platform=AMD64),
        describe("application/spdx+json", packages),
    )
    pointers = (
        describe("application/xml", page, annotations={"org.freedesktop.specifications": "x"}),
        describe(OCI_INDEX, inner, annotations=names(TAG)),
        describe("application/vnd.example", b"not in the archive"),
    )
    gone = (page, packages, inner, manifest)
    files = layout(index_of(*pointers), *image.blobs, image.config, *gone)
    return Shape(pack(files), (image,), ("such as signatures (3)",), gone)


@shape("several-names")
def several_names() -> Shape:
    """One image under two names, as docker 25 writes it: a descriptor for each."""
    tags = (TAG, "app:latest")
    image = stored(tags=tags)
    manifest = manifest_of(image.config, image.descriptors)
    full = (TAG, "docker.io/library/app:latest")
    pointers = (describe(OCI_MANIFEST, manifest, annotations=names(tag)) for tag in full)
    files = layout(index_of(*pointers), *image.blobs, image.config, manifest)
    files["manifest.json"] = dump([item(blob(image.config), [*map(blob, image.blobs)], tags)])
    return Shape(pack(files), (image,))


@shape("several-images")
def several_images() -> Shape:
    """`docker save app other`: two images of which one is the base of the other."""
    image = without_descriptors(stored())
    base = Stored(dump(config_of(LAYERS[:2])), LAYERS[:2], LAYERS[:2], ("debian:12",))
    files = {f"{sha256(data)}/layer.tar": data for data in LAYERS}
    items = []
    for each in (image, base):
        files[f"{sha256(each.config)}.json"] = each.config
        paths = [f"{sha256(data)}/layer.tar" for data in each.layers]
        items.append(item(f"{sha256(each.config)}.json", paths, each.tags))
    return Shape(pack({**files, "manifest.json": dump(items)}), (image, base))


# ---------------------------------------------------------------- documents from the field


NULL = object()


def plain(
    config: Document | bytes,
    layers: Sequence[bytes],
    *,
    listed: Any = ...,
    tags: Any = (TAG,),
    **files: bytes,
) -> bytes:
    """Return a docker-archive of this config; `listed` and `tags` may be what tools get wrong."""
    raw = config if isinstance(config, bytes) else dump(config)
    members = {f"{sha256(data)}.tar": data for data in layers}
    entry: Document = {"Config": "config.json"}
    if listed is NULL:
        entry["Layers"] = None
    elif listed is not None:
        entry["Layers"] = [f"{sha256(x)}.tar" for x in layers] if listed is ... else listed
    if tags is not None:
        entry["RepoTags"] = list(tags) if isinstance(tags, tuple) else tags
    return pack({**members, **files, "config.json": raw, "manifest.json": dump([entry])})


@dataclass(frozen=True)
class Odd:
    """An archive with documents as they occur, the layers in it, and the tags of the result."""

    archive: bytes
    layers: tuple[bytes, ...] = LAYERS
    tags: tuple[str, ...] = (TAG,)
    history: bool = True
    more: Document = field(default_factory=dict)


def _without(key: str, config: Document) -> Document:
    return {name: value for name, value in config.items() if name != key}


def odd_documents() -> dict[str, Odd]:
    """Return archives whose documents have null, nothing or too much where a list should be."""
    full = config_of()
    empty = {"type": "layers", "diff_ids": []}
    repeated = (*LAYERS[:2], *(LAYERS[2],) * 47)
    hollow = (LAYERS[0], b"", LAYERS[2], b"")
    return {
        "history-null": Odd(plain({**full, "history": None}, LAYERS), history=False),
        "history-absent": Odd(plain(_without("history", full), LAYERS), history=False),
        "history-empty": Odd(plain({**full, "history": []}, LAYERS)),
        "history-short": Odd(plain({**full, "history": full["history"][:3]}, LAYERS)),
        "history-all-empty": Odd(
            plain({**full, "history": [{"empty_layer": True}, {"empty_layer": True}]}, LAYERS)
        ),
        "created-absent": Odd(plain(_without("created", full), LAYERS)),
        "os-absent": Odd(plain(_without("os", full), LAYERS)),
        "config-in-odd-case": Odd(
            plain({**_without("rootfs", full), "RootFS": {"DIFF_IDS": _ids(LAYERS)}}, LAYERS)
        ),
        "rootfs-without-type": Odd(plain({**full, "rootfs": {"diff_ids": _ids(LAYERS)}}, LAYERS)),
        "no-layers": Odd(plain(config_of((), rootfs=empty), ()), layers=()),
        "no-layers-null": Odd(
            plain(config_of((), rootfs={"type": "layers", "diff_ids": None}), (), listed=NULL),
            layers=(),
        ),
        "no-layers-absent": Odd(
            plain(config_of((), rootfs={"type": "layers"}), (), listed=None), layers=()
        ),
        "tags-null": Odd(_nulled("RepoTags"), tags=()),
        "tags-absent": Odd(plain(full, LAYERS, tags=None), tags=()),
        "tags-empty": Odd(plain(full, LAYERS, tags=()), tags=()),
        "layer-47-times": Odd(plain(config_of(repeated), repeated), layers=repeated),
        "layers-of-0-bytes": Odd(plain(config_of(hollow), hollow), layers=hollow),
        "no-trailer": Odd(
            plain(config_of(cut := tuple(data[:-1024] for data in LAYERS)), cut), layers=cut
        ),
        "spaces-and-unknown-keys": Odd(
            plain(json.dumps({**full, "x-unknown": [1, {"y": None}]}, indent=3).encode(), LAYERS),
            more={"x-unknown": [1, {"y": None}]},
        ),
        "extra-keys-in-manifest-json": Odd(_extra()),
        "buildkit-cache": Odd(plain({**full, "moby.buildkit.cache.v0": "e30="}, LAYERS)),
    }


def _ids(layers: Sequence[bytes]) -> list[str]:
    return [f"sha256:{sha256(data)}" for data in layers]


def _nulled(key: str) -> bytes:
    entry = {**item("c", [f"{sha256(x)}.tar" for x in LAYERS], (TAG,)), key: None}
    files = {f"{sha256(data)}.tar": data for data in LAYERS}
    return pack({**files, "c": dump(config_of()), "manifest.json": dump([entry])})


def _extra() -> bytes:
    paths = [f"{sha256(x)}.tar" for x in LAYERS]
    entry = item("c", paths, (TAG,), Parent="sha256:" + "0" * 64, Whatever={"a": [1]})
    files = {f"{sha256(data)}.tar": data for data in LAYERS}
    return pack({**files, "c": dump(config_of()), "manifest.json": dump([entry])})


OUTER: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzipped,
    "gzip-members": lambda data: members_of_gzip(data, 4000),
    "zstd": zstd.compress,
    "zstd-frames": lambda data: frames_of_zstd(data, 4000),
    "xz": lzma.compress,
    "bzip2": bz2.compress,
}
