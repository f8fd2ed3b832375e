"""What documents say beside what we understand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.forms import result
from tests.forms.command import done, squash
from tests.forms.samples import (
    GZIPPED,
)
from tests.forms.shapes import (
    LAYERS,
    OCI_INDEX,
    SHAPES,
    config_of,
    describe,
    dump,
    pack,
    plain,
    plain_files,
)

#: What nobody has to understand: no UTF-8, numbers beyond all, keys twice, 200 levels.
ODD = b'"caf\xe9":"\xff\xed\xa0\x80","beyond":[1e999],"deep":%s,"twice":{"a":1,"a":2}' % (
    b"[" * 200 + b"]" * 200
)


@pytest.mark.parametrize("form", ["docker", "oci"])
def test_what_need_not_be_understood_stays_as_it_is(form: str, tmp_path: Path) -> None:
    rows = b'"history":[{"created_by":"\\ud800 \xfe","comment":"\\udfff"}]'
    config = dump(config_of(history=[])).replace(b'"history":[]', rows)
    source = tmp_path / "in.tar"
    source.write_bytes(plain(config[:-1] + b"," + ODD + b"}", LAYERS))
    words = ("--format", form, "--created", "2024-01-02T03:04:05Z", "--verify")
    files = result.unpack(done(squash("--keep-layers", "1", *words, source)).out)
    (written,) = (data for data in files.values() if b"diff_ids" in data[:9999])
    assert written.endswith(b"," + ODD + b"}")
    assert rows[:-1] in written
    shown = done(squash("inspect", source)).out.decode()
    assert "\ufffd" in shown
    out = tmp_path / "out.tar"
    done(squash("--keep-layers", "1", *words, source, "-o", out))
    done(squash("diff", source, out))
    done(squash("inspect", "--json", out))


def test_documents_keep_annotations_of_the_index() -> None:
    manifest = SHAPES["skopeo-oci-archive"]()
    files = plain_files(manifest.archive)
    index = json.loads(files["index.json"]) | {
        "annotations": {"org.example": "kept"},
        "subject": describe(OCI_INDEX, b"x"),
        "artifactType": "application/x",
    }
    files["index.json"] = dump(index)
    found = result.read(done(squash("--format", "oci", stdin=pack(files))).out)
    assert found.index["annotations"] == {"org.example": "kept"}
    assert found.index["artifactType"] == "application/x"
    assert "subject" not in found.index


def test_what_a_descriptor_says_of_old_bytes_goes() -> None:
    files = plain_files(GZIPPED)
    index = json.loads(files["index.json"])
    index["manifests"][0] |= {"data": "e30=", "urls": ["https://example.com"]}
    files["index.json"] = dump(index)
    found = result.read(done(squash("--format", "oci", stdin=pack(files))).out)
    assert set(found.index["manifests"][0]) == {"mediaType", "digest", "size", "annotations"}
