"""`--provenance`: what it says of the result and of what that was made from; who takes it."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement

import squasher
from tests.builders import File, archive, layer, sha256
from tests.forms import result
from tests.forms.command import done, failed, squash
from tests.forms.daemon import running
from tests.forms.samples import GZIPPED, IMAGE, PLATFORMS
from tests.forms.shapes import LAYERS, SAMPLE

ROOT = Path(squasher.__file__).parent.parent
SCHEMA = json.loads((ROOT / "docs/schema/provenance-1.json").read_text())
BASE = [layer(File(b"base"))]
APP = [*BASE, layer(File(b"one")), layer(File(b"two"))]


def stated(out: Path, *words: str | Path, stdin: bytes = b"") -> dict[str, Any]:
    """Squash with a statement, which must be one to all who define it; return it."""
    path = out / "provenance.json"
    done(squash(*words, "--provenance", path, stdin=stdin))
    document: dict[str, Any] = json.loads(path.read_text())
    check(document)
    return document


def check(document: dict[str, Any]) -> None:
    """Require what our schema says, and the definitions of in-toto and SLSA, unknown keys too."""
    jsonschema.validate(document, SCHEMA)
    statement = json_format.ParseDict(document, statement_pb2.Statement())
    Statement.copy_from_pb(statement).validate()
    predicate = json_format.ParseDict(document["predicate"], provenance_pb2.Provenance())
    assert json_format.MessageToDict(predicate) == document["predicate"]


def definition(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["predicate"]["buildDefinition"]
    return found


def dependencies(document: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return role, what the digest is of, and the digest."""
    return [
        (each["name"], each["annotations"]["digestOf"], each["digest"]["sha256"])
        for each in definition(document)["resolvedDependencies"]
    ]


def test_it_is_about_what_was_written(image: Path, out: Path) -> None:
    document = stated(out, "--keep-layers", "2", "-t", "app", image, "-o", out / "x.tar")
    found = result.read((out / "x.tar").read_bytes()).one
    assert document["subject"] == [
        {
            "name": "app:latest",
            "digest": {"sha256": found.descriptor["digest"].removeprefix("sha256:")},
            "annotations": {
                "imageId": found.image_id,
                "platform": "linux/amd64",
                "squashed": True,
            },
        }
    ]
    assert definition(document)["externalParameters"] == {
        "image": str(image),
        "options": {"--keep-layers": 2, "--output": str(out / "x.tar"), "--tag": ["app"]},
    }
    assert definition(document)["internalParameters"] == {"format": "docker", "compressors": []}
    assert document["predicate"]["runDetails"]["builder"]["version"] == {
        "image-squasher": squasher.__version__
    }
    (source,) = dependencies(document)
    with squasher.open_archive(image) as before:
        assert source == ("source", "manifest", before.images[0].manifest_digests[0].hex)
    (named,) = definition(document)["resolvedDependencies"]
    assert named["annotations"]["imageId"] == "sha256:" + sha256(SAMPLE)


@pytest.mark.parametrize("key", ["subject", "predicate"])
def test_what_is_none_is_told(key: str, image: Path, out: Path) -> None:
    """The definitions would refuse what squash does not write."""
    document = stated(out, image, "-o", out / "x.tar")
    less, more = copy.deepcopy(document), copy.deepcopy(document)
    del less[key]
    more["more"] = 1
    for other in (less, more):
        with pytest.raises((jsonschema.ValidationError, json_format.ParseError, ValueError)):
            check(other)


def test_the_same_image_and_options_give_the_same_text(image: Path, out: Path) -> None:
    texts = set()
    for quiet in (["-q"], ["-v"], ["--no-progress", "--report", str(out / "r.md")]):
        done(squash(*quiet, image, "-o", out / "x.tar", "--provenance", out / "p.json"))
        texts.add((out / "p.json").read_bytes())
    assert len(texts) == 1
    assert texts.pop().endswith(b"}\n")


def test_a_source_with_a_manifest(out: Path) -> None:
    document = stated(out, "--compress", "gzip:1", "-o", out / "x.tar", stdin=GZIPPED)
    with squasher.open_archive(out / "x.tar") as written:
        assert (
            document["subject"][0]["digest"]["sha256"] == written.images[0].manifest_digests[0].hex
        )
    (out / "source.tar").write_bytes(GZIPPED)
    with squasher.open_archive(out / "source.tar") as source:
        manifest = source.images[0].manifest_digests[0].hex
    assert dependencies(document) == [("source", "manifest", manifest)]
    (compressor,) = definition(document)["internalParameters"]["compressors"]
    assert compressor.startswith(("zlib ", "libdeflate "))
    assert definition(document)["externalParameters"]["image"] == "-"


def test_a_base_that_is_an_image(out: Path) -> None:
    (out / "base.tar").write_bytes(archive(BASE, tags=["registry.example.com:5000/os/base:12"]))
    app = archive(APP, tags=["app:1"])
    document = stated(out, "-f", out / "base.tar", "-o", out / "x.tar", stdin=app)
    with squasher.open_archive(out / "base.tar") as base:
        base_id = base.images[0].config.image_id
    assert dependencies(document)[1] == ("base", "config", base_id.hex)
    assert [each["uri"] for each in definition(document)["resolvedDependencies"]] == [
        "pkg:docker/app@1?platform=linux%2Famd64",
        "pkg:docker/registry.example.com%3A5000/os/base@12?platform=linux%2Famd64",
    ]
    document = stated(out, "-f", "2", "-o", out / "x.tar", stdin=app)
    assert [each[0] for each in dependencies(document)] == ["source"]


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("config", None),
        ("config", [["Backing Filesystem", "extfs"]]),
        ("manifest", [["driver-type", "io.containerd.snapshotter.v1"]]),
    ],
)
def test_a_base_of_the_daemon(kind: str, status: list[list[str]] | None, out: Path) -> None:
    """An ID in containerd's store is the digest of a manifest."""
    identity = "sha256:" + "b" * 64
    with running() as daemon, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", daemon.host)
        daemon.put("os:12", identity, [f"sha256:{sha256(LAYERS[0])}"], b"")
        daemon.status = status
        document = stated(out, "-f", "docker-daemon:os:12", "-o", out / "x.tar", stdin=IMAGE)
    assert dependencies(document)[1] == ("base", kind, "b" * 64)
    (_, base) = definition(document)["resolvedDependencies"]
    assert base["uri"].startswith("pkg:docker/os@12")


def test_a_base_of_a_daemon_that_does_not_tell_its_store(out: Path) -> None:
    """Proxies of the socket often refuse that request: the base is found all the same."""
    identity = "sha256:" + "b" * 64
    with running() as daemon, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", daemon.host)
        daemon.put("os:12", identity, [f"sha256:{sha256(LAYERS[0])}"], b"")
        daemon.answers["GET /info"] = (403, "forbidden")
        document = stated(out, "-f", "docker-daemon:os:12", "-o", out / "x.tar", stdin=IMAGE)
    assert dependencies(document)[1] == ("base", "config", "b" * 64)


def test_a_base_that_the_image_names(out: Path) -> None:
    """Another image of the archive, which a label names."""
    base = archive(BASE, tags=["os:12"])
    (out / "base.tar").write_bytes(base)
    done(squash("-o", f"oci:{out}/both:os:12", out / "base.tar"))
    labels = {"config": {"Labels": {"org.opencontainers.image.base.name": "os:12"}}}
    (out / "app.tar").write_bytes(archive(APP, config=labels, tags=["app:1"]))
    done(squash("--keep-layers", "3", "-o", f"oci:{out}/both:app:1", out / "app.tar"))
    words = ("-f", "auto", "--image", "app:1", f"oci:{out}/both", "-o", out / "x.tar")
    document = stated(out, *words)
    assert [each[:2] for each in dependencies(document)] == [
        ("source", "manifest"),
        ("base", "manifest"),
    ]


def test_the_previous_image(out: Path) -> None:
    (out / "old.tar").write_bytes(archive([*BASE, layer(File(b"old"))], tags=["app:1"]))
    words = ("--onto", out / "old.tar", "-o", f"oci-archive:{out}/x.tar:app:2")
    document = stated(out, *words, stdin=archive(APP, tags=[]))
    assert [each[:2] for each in dependencies(document)] == [
        ("source", "config"),
        ("previous", "config"),
    ]
    assert definition(document)["internalParameters"]["format"] == "oci"
    source, previous = definition(document)["resolvedDependencies"]
    assert "uri" not in source  # it has no name
    assert previous["uri"] == "pkg:docker/app@1?platform=linux%2Famd64"


def test_each_image_is_a_subject(out: Path) -> None:
    document = stated(out, "--format", "oci", "-o", out / "x.tar", stdin=PLATFORMS)
    platforms = [each["annotations"]["platform"] for each in document["subject"]]
    assert platforms == ["linux/amd64", "linux/arm64/v8"]
    assert len(set(dependencies(document))) == 2


def test_an_image_that_is_passed_through(out: Path) -> None:
    document = stated(out, "--no-tag", "-o", out / "x.tar", stdin=archive(BASE, tags=["os:1"]))
    (subject,) = document["subject"]
    assert (subject["name"], subject["annotations"]["squashed"]) == ("image", False)


@pytest.mark.parametrize(
    ("options", "there"),
    [
        (["--created", "now"], True),
        (["--clamp-mtime"], True),
        (["--created", "0"], False),
        (["--clamp-mtime=5"], False),
    ],
    ids=str,
)
def test_the_variable_that_an_option_reads(
    options: list[str], there: bool, image: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    document = stated(out, *options, image, "-o", out / "x.tar")
    asked = definition(document)["externalParameters"]
    assert asked.get("environment") == ({"SOURCE_DATE_EPOCH": "1700000000"} if there else None)
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    if options == ["--created", "now"]:
        document = stated(out, *options, image, "-o", out / "x.tar")
        assert "environment" not in definition(document)["externalParameters"]


def test_on_stdout(image: Path, out: Path) -> None:
    ended = done(squash("-q", "--provenance", "-", image, "-o", out / "x.tar"))
    check(json.loads(ended.out))


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("--dry-run --provenance OUT/p", 2, "--dry-run and --provenance cannot be used together"),
        ("--provenance -", 2, "--provenance -: stdout already takes the archive"),
        (
            "--provenance OUT/x -o OUT/x",
            2,
            "--provenance OUT/x: squash writes the archive to this file",
        ),
        ("--provenance OUT/no/p -o OUT/x", 6, "--provenance OUT/no/p: no such folder"),
        ("--provenance= -o OUT/x", 2, "--provenance: the name is empty"),
    ],
)
def test_where_it_cannot_go(words: str, code: int, said: str, image: Path, out: Path) -> None:
    given = words.replace("OUT", str(out)).split()
    line = failed(squash(*given, image), code)
    assert said.replace("OUT", str(out)) in line
    assert os.listdir(out) == []


def test_no_result_no_statement(image: Path, out: Path) -> None:
    failed(squash("-f", "abcdef", image, "-o", out / "x", "--provenance", out / "p"), 4)
    assert os.listdir(out) == []
