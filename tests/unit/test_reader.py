"""squasher.archive.reader beside tests/forms: indexes with little in them."""

from __future__ import annotations

import io
import json
import tarfile
from typing import Any

import pytest

import squasher
from squasher.archive import reader
from squasher.archive.oci_index import tags_of
from squasher.errors import SquasherError
from squasher.image.manifests import IMAGE_NAME, REF_NAME
from squasher.image.model import Archive
from tests import model
from tests.builders import File, archive, layer, outer_tar, sha256

LAYERS = [layer(File(b"a")), layer(File(b"b"))]


@pytest.mark.parametrize(
    ("annotations", "tags"),
    [
        ({}, ()),
        ({IMAGE_NAME: "docker.io/library/a:1"}, ("a:1",)),
        ({REF_NAME: "latest"}, ()),
        ({REF_NAME: "a:1"}, ("a:1",)),
        ({IMAGE_NAME: "Bad Name:1", REF_NAME: "a:1"}, ("a:1",)),
        ({IMAGE_NAME: "Bad Name:1"}, ()),
    ],
)
def test_the_name_that_a_descriptor_carries(
    annotations: dict[str, str], tags: tuple[str, ...]
) -> None:
    assert tags_of({"annotations": annotations}) == tags


def test_an_index_that_leads_nowhere_is_left_out() -> None:
    members: dict[str, Any] = {
        b"/".join(entry.path).decode(): entry.data
        for entry in model.read(archive(LAYERS, form="oci"))
        if entry.kind == "file"
    }
    gone = {"digest": "sha256:" + "0" * 64, "size": 1}
    nested = json.dumps({"manifests": [gone]}).encode()
    index = json.loads(members["index.json"])
    index["manifests"].append({"digest": "sha256:" + sha256(nested), "size": len(nested)})
    members["index.json"] = json.dumps(index).encode()
    members[f"blobs/sha256/{sha256(nested)}"] = nested
    with squasher.open_archive(io.BytesIO(outer_tar(members))) as opened:
        assert len(opened.images) == len(opened.tree) == 1
        assert len(opened.notices) == 1


def test_a_result_without_the_image_is_not_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    real = reader.read

    def read(store: Any, name: str, *more: Any) -> Archive:
        found = real(store, name, *more)
        return Archive(name, ()) if name == "the result" else found

    monkeypatch.setattr(reader, "read", read)
    with pytest.raises(SquasherError, match="not verified: an image is missing") as raised:
        squasher.squash_archive(io.BytesIO(archive(LAYERS)), io.BytesIO(), verify=True)
    assert raised.value.exit_code == 1


def test_a_manifest_has_the_size_that_the_index_says() -> None:
    with tarfile.open(fileobj=io.BytesIO(archive(LAYERS, form="oci"))) as tar:
        members = {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}  # type: ignore[union-attr]
    index = json.loads(members["index.json"])
    index["manifests"][0]["size"] += 1
    members["index.json"] = json.dumps(index).encode()
    with (
        pytest.raises(SquasherError, match=r"blobs/sha256/.*: expected \d+ bytes, found"),
        squasher.open_archive(io.BytesIO(outer_tar(members))),
    ):
        pass
