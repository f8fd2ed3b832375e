"""Faults in the archive: its documents, its blobs, its bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from squasher.archive.lay_out import Written
from squasher.blobs.content import Content
from squasher.digest import Digest
from tests.builders import Member, layer
from tests.mutations.fault import VERIFY, Fault, members

Document = dict[str, Any]
Blobs = dict[Digest, Content]
WRITER = "tests/unit/test_writer.py::test_members_are_sorted_and_without_times_and_owners"


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


def rebuilt(change: Callable[[list[Member]], Sequence[Member]]) -> Callable[[bytes], bytes]:
    """Write other members."""
    return lambda data: layer(*change(members(data)))


def file(member: Member) -> bool:
    return member.type == b"0"


def without(at: int) -> Callable[[list[Member]], Sequence[Member]]:
    """Lose a file; `at` counts them."""

    def change(found: list[Member]) -> Sequence[Member]:
        gone = [member for member in found if file(member)][at]
        return [member for member in found if member is not gone]

    return change


def contents_exchanged(found: list[Member]) -> Sequence[Member]:
    one, two = [member for member in found if file(member)][:2]
    data = {one.path: two.data, two.path: one.data}
    return [replace(x, data=data.get(x.path, x.data)) for x in found]


def half_as_large(found: list[Member]) -> Sequence[Member]:
    """Let the headers of files say half of their size."""
    return [replace(x, size=len(x.data) // 2) for x in found]


def each(**fields: Any) -> Callable[[list[Member]], Sequence[Member]]:
    return lambda found: [replace(member, **fields) for member in found]


def headless(data: bytes) -> bytes:
    """Lose the header of the first file."""
    folders = [member for member in members(data) if not file(member)]
    at = len(layer(*folders, trailer=b""))
    return data[:at] + data[at + 512 :]


def one_block_more(data: bytes) -> bytes:
    """Put a block in front of the content of the first file."""
    folders = [member for member in members(data) if not file(member)]
    at = len(layer(*folders, trailer=b"")) + 512
    return data[:at] + bytes(512) + data[at:]


SORTED = "loaders find members by name"

IN_ARCHIVES = (
    written("oci-layout is missing", without_document("oci-layout")),
    # -------- manifest.json
    written("manifest.json is missing", without_document("manifest.json")),
    written("manifest.json is empty", document("manifest.json", lambda items: items.clear())),
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
    chunks("the header of the first file is missing", headless),
    chunks("the archive is empty", lambda data: b""),
    chunks("a header is damaged", lambda data: bytes((data[0] ^ 1,)) + data[1:]),
    chunks("headers have half the size", rebuilt(half_as_large)),
    chunks("a file has a block too many in front", one_block_more),
    chunks("only zeros are in the archive", lambda data: bytes(len(data))),
    chunks("the last file is missing", rebuilt(without(-1))),
    chunks("the first file is missing", rebuilt(without(0))),
    chunks("the content of two files exchanged", rebuilt(contents_exchanged)),
    chunks("members come twice", rebuilt(lambda found: found * 2)),
    chunks("members in disorder", rebuilt(lambda found: found[::-1]), WRITER, SORTED),
    chunks("members with a time", rebuilt(each(mtime=10**9)), WRITER, "loaders do not look"),
    chunks("members with an owner", rebuilt(each(uid=7)), WRITER, "loaders do not look"),
    chunks("members for everybody", rebuilt(each(mode=0o777)), WRITER, "loaders do not look"),
)
