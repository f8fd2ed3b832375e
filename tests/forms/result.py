"""Read an archive or a layout back as a careful loader would; require that all of it fits (I2).

Nothing here is shared with the package. Every descriptor must lead to a blob of its digest and
size, every layer must hash to its diff_id, no blob may be there that nothing leads to, and
manifest.json must say what index.json says.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import model
from tests.builders import sha256
from tests.forms.shapes import CONTAINERD_NAME, REF_NAME, Folder
from tests.zstd import zstd

#: Skopeo takes an archive from a plain user only if they are in it.
FOLDERS = ["blobs", "blobs/sha256"]

Document = dict[str, Any]


#: What docker completes short names with.
HUB = ("", "docker.io/", "docker.io/library/")


@dataclass(frozen=True)
class Found:
    """An image: the documents on the way to it, its blobs as stored and its layers as tars."""

    descriptor: Document
    manifest: Document
    raw_config: bytes
    blobs: tuple[bytes, ...]
    layers: tuple[bytes, ...]

    @property
    def config(self) -> Document:
        """The config."""
        document: Document = json.loads(self.raw_config)
        return document

    @property
    def image_id(self) -> str:
        """The digest of the config."""
        return f"sha256:{sha256(self.raw_config)}"


@dataclass(frozen=True)
class Result:
    """What an archive holds: its files, the images by the index, and manifest.json if there."""

    files: Folder
    index: Document
    images: tuple[Found, ...]
    listed: list[Document]

    @property
    def one(self) -> Found:
        """The only image."""
        (image,) = self.images
        return image

    @property
    def tags(self) -> list[list[str]]:
        """The tags of each image in manifest.json."""
        return [item["RepoTags"] for item in self.listed]


def unpack(data: bytes) -> Folder:
    """Return the files of an archive that must be as squash writes it: plain, once."""
    entries = model.read(data)
    for number, entry in enumerate(entries):
        assert (entry.kind, entry.mode, entry.uid, entry.gid, entry.mtime, entry.xattrs) == (
            *(("dir", 0o755) if number < len(FOLDERS) else ("file", 0o644)),
            *(0, 0, 0),
            {},
        )
    folders = [b"/".join(entry.path).decode() for entry in entries[: len(FOLDERS)]]
    assert folders == FOLDERS
    files = {b"/".join(entry.path).decode(): entry.data for entry in entries[len(FOLDERS) :]}
    assert len(files) == len(entries) - len(FOLDERS), "a member twice"
    assert len(data) % 512 == 0
    assert data.endswith(bytes(1024))
    return files


def folder(path: Path) -> Folder:
    """Return the files of a layout's folder."""
    return {str(x.relative_to(path)): x.read_bytes() for x in path.rglob("*") if x.is_file()}


def read(data: bytes | Folder, *, lenient: bool = False) -> Result:
    """Return what is in a result, having checked all of it; `lenient` allows idle blobs."""
    files = unpack(data) if isinstance(data, bytes) else data
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads(files["index.json"])
    assert index["schemaVersion"] == 2
    seen: set[str] = set()
    images: dict[str, Found] = {}
    for pointer in leaves(files, index["manifests"], seen):
        images.setdefault(pointer["digest"], image(files, pointer, seen))
    listed: list[Document] = []
    if "manifest.json" in files:
        listed = json.loads(files["manifest.json"])
        check_listed(files, listed, tuple(images.values()), index)
    if isinstance(data, bytes):
        layers = [
            x["digest"] for each in images.values() for x in reversed(each.manifest["layers"])
        ]
        first = dict.fromkeys("blobs/" + x.replace(":", "/") for x in layers)
        assert list(files) == [*first, *sorted(files.keys() - first.keys())]
    idle = {name for name in files if name.startswith("blobs/")} - seen
    assert lenient or not idle, f"blobs that nothing leads to: {idle}"
    return Result(files, index, tuple(images.values()), listed)


def leaves(files: Folder, pointers: list[Document], seen: set[str]) -> Iterator[Document]:
    """Yield the descriptors that lead to manifests, in order."""
    for pointer in pointers:
        document = json.loads(blob(files, pointer, seen))
        assert document.get("mediaType", pointer["mediaType"]) == pointer["mediaType"]
        assert "data" not in pointer
        assert "subject" not in document
        if "manifests" in document:
            yield from leaves(files, document["manifests"], seen)
        else:
            yield pointer


def blob(files: Folder, pointer: Document, seen: set[str]) -> bytes:
    """Return what a descriptor leads to."""
    name = "blobs/" + pointer["digest"].replace(":", "/")
    data = files[name]
    seen.add(name)
    assert sha256(data) == name.rpartition("/")[2]
    assert len(data) == pointer["size"]
    return data


def image(files: Folder, pointer: Document, seen: set[str]) -> Found:
    """Return the image that a descriptor leads to."""
    manifest = json.loads(blob(files, pointer, seen))
    assert manifest["schemaVersion"] == 2
    config = blob(files, manifest["config"], seen)
    blobs = tuple(blob(files, each, seen) for each in manifest["layers"])
    layers = tuple(map(uncompressed, blobs))
    document = json.loads(config)
    rootfs = next(document[key] for key in document if key.lower() == "rootfs")
    ids = next((rootfs[key] for key in rootfs if key.lower() == "diff_ids"), None) or []
    assert ids == [f"sha256:{sha256(data)}" for data in layers]
    return Found(pointer, manifest, config, blobs, layers)


def uncompressed(data: bytes) -> bytes:
    """Return the tar of a layer, told by its first bytes."""
    if data.startswith(b"\x1f\x8b"):
        return gzip.decompress(data)
    if data.startswith(b"\x28\xb5\x2f\xfd") or data[1:4] == b"\x2a\x4d\x18":
        return zstd.decompress(data)
    if data.startswith(b"BZh"):
        return bz2.decompress(data)
    return lzma.decompress(data) if data.startswith(b"\xfd7zXZ") else data


def check_listed(
    files: Folder, listed: list[Document], images: tuple[Found, ...], index: Document
) -> None:
    """Require that manifest.json and index.json say the same, names included."""
    ids = {found.image_id: found for found in images}
    assert len(listed) == len(ids)
    named: dict[str, str] = {}
    for item in listed:
        found = ids[f"sha256:{sha256(files[item['Config']])}"]
        assert [files[name] for name in item["Layers"]] == list(found.blobs)
        assert isinstance(item["RepoTags"], list)
        named |= dict.fromkeys(item["RepoTags"], found.image_id)
    pointed = {}
    for pointer in index["manifests"]:
        notes = pointer.get("annotations") or {}
        if CONTAINERD_NAME in notes:
            ref = notes[REF_NAME]
            spelt = ":" in ref or "/" in ref  # else it is a word of the layout's own
            assert not spelt or notes[CONTAINERD_NAME].removesuffix(ref) in HUB
            config = json.loads(files["blobs/" + pointer["digest"].replace(":", "/")])["config"]
            short = notes[CONTAINERD_NAME].removeprefix("docker.io/").removeprefix("library/")
            pointed[short] = config["digest"]
    assert pointed == {
        name.removeprefix("docker.io/").removeprefix("library/"): identity
        for name, identity in named.items()
    }


def tree(layers: tuple[bytes, ...]) -> dict[bytes, model.Record]:
    """Return the root filesystem as the specification has it."""
    return model.listing(model.apply(layers))
