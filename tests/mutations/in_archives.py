"""Faults in the archive: its documents, its blobs, its bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from squasher.content import Content
from squasher.digest import Digest
from squasher.writer import Written
from tests.builders import END, File, encode
from tests.model import read
from tests.mutations.fault import VERIFY, Fault

Document = dict[str, Any]
Blobs = dict[Digest, Content]
WRITER = "tests/unit/test_writer.py::test_members_are_sorted_files_without_times_and_owners"


# ---------------------------------------------------------------- documents


def written(
    name: str, plant: Callable[[Written], Written | None], caught: str = VERIFY, why: str = ""
) -> Fault:
    return Fault(name, "written", plant, caught, why)


def document(member: str, edit: Callable[[Any], object]) -> Callable[[Written], Written | None]:
    """Edit a document, if that changes anything."""

    def plant(found: Written) -> Written | None:
        value = json.loads(found.documents[member])
        edit(value)
        if value == json.loads(found.documents[member]):
            return None
        return replace(found, documents=found.documents | {member: json.dumps(value).encode()})

    return plant


def item(edit: Callable[[Document], object]) -> Callable[[Written], Written | None]:
    """Edit the only element of manifest.json."""
    return document("manifest.json", lambda items: edit(items[0]))


def pointer(edit: Callable[[Document], object]) -> Callable[[Written], Written | None]:
    """Edit the first descriptor of the index."""
    return document("index.json", lambda index: edit(index["manifests"][0]))


def without_document(member: str) -> Callable[[Written], Written]:
    return lambda found: replace(
        found, documents={name: data for name, data in found.documents.items() if name != member}
    )


def manifest(edit: Callable[[Document], object]) -> Callable[[Written], Written | None]:
    """Edit the manifest; the index leads to what becomes of it."""

    def plant(found: Written) -> Written | None:
        old = found.manifests[0]
        value = json.loads(bytes_of(found.blobs[old]))
        edit(value)
        if value == json.loads(bytes_of(found.blobs[old])):
            return None
        data = json.dumps(value).encode()
        blobs = {digest: content for digest, content in found.blobs.items() if digest != old}
        blobs[Digest.of(data)] = Content((data,))
        about = {"digest": str(Digest.of(data)), "size": len(data)}
        return pointer(lambda x: x.update(about))(replace(found, blobs=blobs))

    return plant


# ---------------------------------------------------------------- blobs


def bytes_of(content: Content) -> bytes:
    return content.read_at(0, content.size)


def blob(
    which: Callable[[Written], Digest], change: Callable[[bytes], bytes | None]
) -> Callable[[Written], Written]:
    """Change the bytes of a blob that keeps its name; None takes it away."""

    def plant(found: Written) -> Written:
        digest = which(found)
        blobs = dict(found.blobs)
        data = change(bytes_of(blobs.pop(digest)))
        return replace(found, blobs=blobs if data is None else blobs | {digest: Content((data,))})

    return plant


def manifest_of(found: Written) -> Digest:
    return found.manifests[0]


def described(found: Written) -> Document:
    value: Document = json.loads(bytes_of(found.blobs[manifest_of(found)]))
    return value


def config_of(found: Written) -> Digest:
    return Digest(described(found)["config"]["digest"].partition(":")[2])


def layer_of(found: Written) -> Digest:
    return Digest(described(found)["layers"][-1]["digest"].partition(":")[2])


# ---------------------------------------------------------------- bytes of the archive


def chunks(
    name: str, plant: Callable[[bytes], bytes | None], caught: str = VERIFY, why: str = ""
) -> Fault:
    return Fault(name, "chunks", plant, caught, why)


def members(data: bytes) -> list[tuple[str, bytes]]:
    return [(entry.raw_path.decode(), entry.data) for entry in read(data)]


def rebuilt(
    change: Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]], **options: Any
) -> Callable[[bytes], bytes]:
    """Write the members anew, as plainly as they are written, but for `options`."""

    def plant(data: bytes) -> bytes:
        plain = {"uid": 0, "gid": 0, "mtime": 0} | options
        parts = [encode(File(n.encode(), d, **plain)) for n, d in change(members(data))]
        return b"".join(parts) + END

    return plant


def sized(data: bytes) -> bytes:
    """Let the header of the first member say half of its size."""
    first = members(data)[0]
    return (
        encode(replace(File(first[0].encode(), first[1]), size=len(first[1]) // 2))
        + data[512 + -(-len(first[1]) // 512) * 512 :]
    )


SORTED = "loaders find members by name"

IN_ARCHIVES = (
    # -------- manifest.json
    written("manifest.json is missing", without_document("manifest.json")),
    written(
        "manifest.json has an element of nothing",
        document("manifest.json", lambda items: items.append({})),
    ),
    written(
        "manifest.json has layers turned round", item(lambda x: x.update(Layers=x["Layers"][::-1]))
    ),
    written(
        "manifest.json lacks the lowest layer", item(lambda x: x.update(Layers=x["Layers"][1:]))
    ),
    written("manifest.json lacks the new layer", item(lambda x: x.update(Layers=x["Layers"][:-1]))),
    written(
        "manifest.json has the new layer twice",
        item(lambda x: x.update(Layers=[*x["Layers"], x["Layers"][-1]])),
    ),
    written(
        "manifest.json has a layer that is not there",
        item(lambda x: x["Layers"].__setitem__(0, "blobs/sha256/no")),
    ),
    written("manifest.json has no tags", item(lambda x: x.update(RepoTags=[]))),
    written("manifest.json has null for tags", item(lambda x: x.update(RepoTags=None))),
    written("manifest.json has another tag", item(lambda x: x.update(RepoTags=["another:latest"]))),
    written(
        "manifest.json has a config that is not there", item(lambda x: x.update(Config="no.json"))
    ),
    written(
        "manifest.json has a layer for a config", item(lambda x: x.update(Config=x["Layers"][0]))
    ),
    # -------- the index
    written("the index is missing", without_document("index.json")),
    written("the index leads nowhere", document("index.json", lambda x: x.update(manifests=[]))),
    written(
        "the index leads to what is not there",
        pointer(lambda x: x.update(digest=str(Digest.of(b"")))),
    ),
    written(
        "the index leads to the config",
        pointer(lambda x: x.update(mediaType="application/vnd.oci.image.config.v1+json")),
    ),
    written("the index has no names", pointer(lambda x: x.pop("annotations"))),
    written(
        "the index has a short name",
        pointer(
            lambda x: x["annotations"].update(
                {
                    "io.containerd.image.name": "latest",
                    "org.opencontainers.image.ref.name": "latest",
                }
            )
        ),
    ),
    written(
        "the index has another name",
        pointer(
            lambda x: x["annotations"].update(
                {
                    "io.containerd.image.name": "docker.io/library/x:1",
                    "org.opencontainers.image.ref.name": "docker.io/library/x:1",
                }
            )
        ),
    ),
    written(
        "the index has the size of the manifest wrong",
        pointer(lambda x: x.update(size=x["size"] + 1)),
    ),
    # -------- the manifest
    written("the manifest has layers turned round", manifest(lambda x: x["layers"].reverse())),
    written("the manifest lacks the lowest layer", manifest(lambda x: x["layers"].pop(0))),
    written("the manifest lacks the new layer", manifest(lambda x: x["layers"].pop())),
    written(
        "the manifest has the new layer twice",
        manifest(lambda x: x["layers"].append(x["layers"][-1])),
    ),
    written(
        "the manifest has the size of a layer wrong",
        manifest(lambda x: x["layers"][0].update(size=x["layers"][0]["size"] + 1)),
    ),
    written(
        "the manifest has the size of the config wrong",
        manifest(lambda x: x["config"].update(size=1)),
    ),
    written(
        "the manifest has the digest of a layer wrong",
        manifest(lambda x: x["layers"][0].update(digest=str(Digest.of(b"")))),
    ),
    written(
        "the manifest has the digest of the config wrong",
        manifest(lambda x: x["config"].update(digest=x["layers"][0]["digest"])),
    ),
    # -------- blobs
    written("the manifest is not stored", blob(manifest_of, lambda data: None)),
    written("the config is not stored", blob(config_of, lambda data: None)),
    written("the new layer is not stored", blob(layer_of, lambda data: None)),
    written("the manifest is cut short", blob(manifest_of, lambda data: data[:-1])),
    written("the config has a space more", blob(config_of, lambda data: data + b" ")),
    written(
        "the new layer is stored without its last byte", blob(layer_of, lambda data: data[:-1])
    ),
    written("the new layer is stored empty", blob(layer_of, lambda data: b"")),
    written(
        "the new layer is stored with one bit changed",
        blob(layer_of, lambda data: data[:-1] + b"\1"),
    ),
    written(
        "the config is stored for the new layer",
        lambda found: blob(layer_of, lambda data: bytes_of(found.blobs[config_of(found)]))(found),
    ),
    # -------- bytes
    chunks("the archive ends in the middle", lambda data: data[: len(data) // 2]),
    chunks("the archive lacks its first block", lambda data: data[512:]),
    chunks("the archive is empty", lambda data: b""),
    chunks("a header is damaged", lambda data: bytes((data[0] ^ 1,)) + data[1:]),
    chunks("a header has half the size", sized),
    chunks(
        "members are not padded", lambda data: data[:512] + data[512:].replace(bytes(64), b"", 1)
    ),
    chunks(
        "members are padded with a block too many",
        lambda data: data[:512] + bytes(512) + data[512:],
    ),
    chunks("only zeros are in the archive", lambda data: bytes(len(data))),
    chunks("the first member is missing", rebuilt(lambda found: found[1:])),
    chunks(
        "the content of two members exchanged",
        rebuilt(lambda x: [(x[0][0], x[1][1]), (x[1][0], x[0][1]), *x[2:]]),
    ),
    chunks("members come twice", rebuilt(lambda found: found * 2)),
    chunks("members in disorder", rebuilt(lambda found: found[::-1]), WRITER, SORTED),
    chunks(
        "members with a time",
        rebuilt(lambda found: found, mtime=10**9),
        WRITER,
        "loaders do not look",
    ),
    chunks(
        "members with an owner", rebuilt(lambda found: found, uid=7), WRITER, "loaders do not look"
    ),
)
