"""Layers that an archive leaves out, because a host has them: where else they lie.

A partial archive and a sparse OCI layout are complete but for the blobs of some layers. Other
archives lend those, under the digest by which the manifest asks for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from squasher.archive.documents import Documents
from squasher.archive.members import FolderStore, TarStore
from squasher.archive.reader import read
from squasher.blobs.compression import HEAD, sniff
from squasher.blobs.content import Content
from squasher.digest import Digest
from squasher.errors import SquasherError, placed
from squasher.image.manifests import blob_digest, parse_manifest_json
from squasher.image.model import Archive, Unread


class Lenders:
    """Archives that lend blobs, with their names for messages."""

    def __init__(self, stores: Sequence[tuple[TarStore | FolderStore, str]]) -> None:
        self._stores = stores

    def lend(self, name: str) -> Content | None:
        """Return the blob of the member `name` from the first archive that has it.

        Its bytes are checked when they are read. Raises ArchiveError for a manifest.json that
        cannot be read.
        """
        digest = blob_digest(name)
        if digest is None:
            return None
        for store, _ in self._stores:
            if name in store:
                return store.content(name)
        return self._unnamed.get(digest)

    def archives(self) -> tuple[Archive, ...]:
        """Return what each archive holds; for one that holds no image, why.

        They may lend layers to each other.
        """
        return tuple(self._read(store, name) for store, name in self._stores)

    def _read(self, store: TarStore | FolderStore, name: str) -> Archive:
        try:
            return read(store, name, self.lend)
        except SquasherError as error:
            return Archive(name, (), unread=(Unread(error),))

    @cached_property
    def _unnamed(self) -> dict[Digest, Content]:
        """Plain layers of archives that do not name their blobs, by diff_id.

        docker before 25, podman and others give such members other names.
        """
        found: dict[Digest, Content] = {}
        for store, name in self._stores:
            with placed(name):
                for diff_id, content in _plain_layers(store):
                    found.setdefault(diff_id, content)
        return found


def _plain_layers(store: TarStore | FolderStore) -> Iterator[tuple[Digest, Content]]:
    """Yield the plain layers that manifest.json names, with the diff_ids of the config."""
    if "manifest.json" not in store:
        return
    documents = Documents(store)
    for item in parse_manifest_json(documents.get("manifest.json")):
        if item.config not in store:
            continue
        config = documents.config(documents.get(item.config), item.config)
        for member, diff_id in zip(item.layers, config.diff_ids, strict=False):
            if member in store:
                content = store.content(member)
                if not sniff(content.read_at(0, HEAD)):
                    yield diff_id, content
