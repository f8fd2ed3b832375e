"""`--export-attestations`: what the result cannot have is saved, complete or not at all."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import jsonschema
import pytest

import squasher
from squasher.archive import saved
from tests.builders import sha256
from tests.forms.command import done, failed, squash
from tests.forms.samples import IMAGE
from tests.forms.shapes import (
    AMD64,
    ARM64,
    LAYERS,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    TAG,
    UNKNOWN,
    Document,
    attested,
    config_of,
    describe,
    dump,
    index_of,
    layout,
    manifest_of,
    names,
    pack,
)

ROOT = Path(squasher.__file__).parent.parent
SCHEMA = json.loads((ROOT / "docs/schema/report-1.json").read_text())
IN_TOTO = "application/vnd.in-toto+json"
SPDX, SLSA = "https://spdx.dev/Document", "https://slsa.dev/provenance/v1"
SIMPLE = "application/vnd.dev.cosign.simplesigning.v1+json"
DSSE = "application/vnd.dsse.envelope.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
Blobs = list[bytes]

SBOM = dump({"_type": "https://in-toto.io/Statement/v1", "predicateType": SPDX, "predicate": {}})
PROVENANCE = dump({"_type": "https://in-toto.io/Statement/v1", "predicateType": SLSA})


def image_of(platform: Document = AMD64) -> tuple[Document, Blobs]:
    """Return an image for a platform: its descriptor and its blobs, the layers apart."""
    config = dump(config_of() | platform)
    manifest = manifest_of(config, [describe(OCI_LAYER, each) for each in LAYERS])
    return describe(OCI_MANIFEST, manifest, platform=platform), [config, manifest]


def buildkit(
    of: Document,
    told: Sequence[tuple[str, bytes]] = ((SPDX, SBOM), (SLSA, PROVENANCE)),
    **changes: Any,
) -> tuple[Document, Blobs]:
    """Return what BuildKit writes beside an image; `changes` are of the descriptors of blobs."""
    config = dump({**UNKNOWN, "config": {}, "rootfs": {"type": "layers", "diff_ids": []}})
    pointers = [
        {**describe(IN_TOTO, data, annotations={"in-toto.io/predicate-type": kind}), **changes}
        for kind, data in told
    ]
    manifest = manifest_of(config, pointers)
    return attested(of, manifest), [config, manifest, *(data for _, data in told)]


def artifact(
    blob: bytes, media_type: str, annotations: Document | None = None, **manifest: Any
) -> tuple[Document, Blobs]:
    """Return an artifact of one blob: descriptor, blobs."""
    blob_pointer = describe(media_type, blob, annotations={"predicateType": ""})
    document = manifest_of(b"{}", [blob_pointer], config_type=EMPTY, **manifest)
    notes = {"annotations": annotations} if annotations else {}
    return describe(OCI_MANIFEST, document, **notes), [b"{}", document, blob]


def signature(of: Document, **more: Any) -> tuple[Document, Blobs]:
    """Return what `cosign sign` stores, with the tag that says to which image it belongs."""
    tag = f"{of['digest'].replace(':', '-')}.sig"
    config = dump(config_of([b""]))
    manifest = manifest_of(config, [describe(SIMPLE, b'{"critical": 1}', **more)])
    names_ = {"org.opencontainers.image.ref.name": tag}
    found = describe(OCI_MANIFEST, manifest, annotations=names_)
    return found, [config, manifest, b'{"critical": 1}']


def packed(*parts: tuple[Document, Blobs], without: Sequence[bytes] = ()) -> bytes:
    """Return a layout of images and what lies beside them, which leaves out some blobs."""
    tops, data = [], [*LAYERS]
    for n, (pointer, blobs) in enumerate(parts):
        tops.append({"annotations": names(TAG, TAG), **pointer} if n == 0 else pointer)
        data += blobs
    return pack(layout(index_of(*tops), *(x for x in data if x not in without)))


def exported(out: Path, image: bytes, *words: str) -> dict[str, bytes]:
    """Squash with the option; return the files, which the report must tell."""
    report = out / "report.json"
    places = ("--export-attestations", out / "beside", "--report", report, "-o", out / "result.tar")
    done(squash(*places, *words, stdin=image))
    document = json.loads(report.read_text())
    jsonschema.validate(document, SCHEMA)
    found = {path.name: path.read_bytes() for path in (out / "beside").iterdir()}
    told = {each["file"]: (each["digest"], each["size"]) for each in document["attestations"]}
    assert told == {name: (f"sha256:{sha256(x)}", len(x)) for name, x in found.items()}
    assert sorted(os.listdir(out)) == ["beside", "report.json", "result.tar"]
    return found


def named(kind: str, data: bytes, suffix: str = ".json") -> str:
    return f"{kind}.{sha256(data)}{suffix}"


def test_attestations_of_buildkit(out: Path) -> None:
    image = image_of()
    pointer, blobs = buildkit(image[0])
    assert exported(out, packed(image, (pointer, blobs))) == {
        named("spdx.dev-Document", SBOM): SBOM,
        named("slsa.dev-provenance-v1", PROVENANCE): PROVENANCE,
        named("manifest", blobs[1]): blobs[1],
    }


def test_what_is_said_of_each(out: Path) -> None:
    image = image_of()
    image_pointer = image[0]
    exported(out, packed(image, buildkit(image_pointer, [(SPDX, SBOM)])))
    told = json.loads((out / "report.json").read_text())["attestations"]
    manifest, sbom = told
    assert sbom == {
        "file": named("spdx.dev-Document", SBOM),
        "digest": f"sha256:{sha256(SBOM)}",
        "size": len(SBOM),
        "media_type": IN_TOTO,
        "kind": SPDX,
        "about": image_pointer["digest"],
    }
    assert (manifest["kind"], manifest["media_type"]) == ("manifest", OCI_MANIFEST)


def test_signatures_and_referrers(out: Path) -> None:
    """Cosign's tag, OCI's subject, and what is about something that is about the image."""
    image = image_of()
    sbom = artifact(SBOM, "application/spdx+json", subject=image[0], artifactType="text/spdx")
    signed = artifact(b"{sig}", DSSE, subject=sbom[0])
    found = exported(out, packed(image, signed, sbom, signature(image[0])))
    assert {name for name in found if not name.startswith("manifest.")} == {
        named("application-spdx-json", SBOM),
        named("application-vnd.dsse.envelope.v1-json", b"{sig}"),
        named("application-vnd.dev.cosign.simplesigning.v1-json", b'{"critical": 1}'),
    }
    assert len(found) == 6


@pytest.mark.parametrize("kind", ["sigs", "atts"])
def test_layouts_of_cosign_save(kind: str, out: Path) -> None:
    """Nothing there says to which image a signature belongs: there is one."""
    image = image_of()
    notes = {"kind": f"dev.cosignproject.cosign/{kind}"}
    signed = artifact(b"{sig}", DSSE, annotations=notes)
    found = exported(out, packed(image, signed))
    assert named("application-vnd.dsse.envelope.v1-json", b"{sig}") in found


def test_the_deprecated_manifest_of_artifacts(out: Path) -> None:
    image = image_of()
    kind = "application/vnd.oci.artifact.manifest.v1+json"
    document = dump({"mediaType": kind, "blobs": [describe("text/plain", b"note")]})
    name = {"org.opencontainers.image.ref.name": image[0]["digest"].replace(":", "-")}
    pointer = describe(kind, document, annotations=name)
    assert exported(out, packed(image, (pointer, [document, b"note"]))) == {
        named("text-plain", b"note", ""): b"note",
        named("manifest", document): document,
    }


def test_a_signature_of_the_whole_index(out: Path) -> None:
    one, two = image_of(), image_of(ARM64)
    index = index_of(one[0], two[0])
    top = describe(OCI_INDEX, index)
    whole = (top, [*one[1], *two[1], index])
    found = exported(out, packed(whole, signature(top)), "--platform", "linux/arm64", "--no-tag")
    assert len(found) == 2


def test_only_of_the_image_that_is_picked(out: Path) -> None:
    one, two = image_of(), image_of(ARM64)
    other = dump({"other": 1})
    index = index_of(one[0], two[0])
    whole = (describe(OCI_INDEX, index), [*one[1], *two[1], index])
    beside = [buildkit(one[0], [(SPDX, SBOM)]), buildkit(two[0], [(SPDX, other)])]
    found = exported(out, packed(whole, *beside), "--platform", "linux/arm64")
    assert named("spdx.dev-Document", other) in found
    assert len(found) == 2


def test_one_blob_for_two_images_is_one_file(out: Path) -> None:
    one, two = image_of(), image_of(ARM64)
    beside = [buildkit(each[0], [(SPDX, SBOM)]) for each in (one, two)]
    index = index_of(one[0], two[0])
    whole = (describe(OCI_INDEX, index), [*one[1], *two[1], index])
    found = exported(out, packed(whole, *beside, *beside), "--format", "oci")
    assert list(found.values()).count(SBOM) == 1


def test_what_is_no_attestation_stays(out: Path) -> None:
    """A chart in the same layout says nothing of the image; nor does what has a wrong subject."""
    image = image_of()
    chart = artifact(b"chart", "application/x-chart")
    odd = [artifact(b"x", DSSE, subject=x) for x in ("a", {"digest": 1}, {"digest": "sha512:ab"})]
    other = artifact(b"y", DSSE, subject=describe(OCI_MANIFEST, b"another image"))
    assert exported(out, packed(image, chart, *odd, other)) == {}


def test_nothing_there(out: Path) -> None:
    words = ("--export-attestations", out / "beside", "-o", out / "x.tar")
    for n, given in enumerate((IMAGE, packed(image_of()))):
        ended = done(squash(*words, stdin=given))
        assert f"notice   {saved.NONE}" in ended.err
        assert "saved    0 files, 0 B" in ended.err
        assert os.listdir(out / "beside") == [], n


@pytest.mark.parametrize("missing", [0, 1])
def test_blobs_that_are_not_there(missing: int, out: Path) -> None:
    """Archives of docker have the descriptors of attestations whose blobs it never fetched."""
    image = image_of()
    pointer, blobs = buildkit(image[0], [(SPDX, SBOM)])
    given = packed(image, (pointer, blobs), without=[(blobs[1], SBOM)[missing]])
    words = ("--export-attestations", out / "beside", "-o", out / "x.tar")
    ended = done(squash(*words, stdin=given))
    assert f"notice   {saved.MISSING.format(1)}" in ended.err
    assert len(os.listdir(out / "beside")) == missing


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"digest": f"sha256:{'0' * 64}"}, 0, ""),  # not there
        ({"size": 1}, 3, f"blobs/sha256/{sha256(SBOM)}: expected 1 bytes, found {len(SBOM)}"),
        ({"size": -1}, 3, "layers[0].size"),
        ({"digest": "sha256:../../etc/passwd"}, 3, "is not a valid digest"),
        ({"digest": f"sha512:{'0' * 128}"}, 5, "is not SHA-256"),
        ({"annotations": {"in-toto.io/predicate-type": 5}}, 3, "in-toto.io/predicate-type"),
    ],
    ids=str,
)
def test_hostile_descriptors(changes: Document, code: int, says: str, out: Path) -> None:
    image = image_of()
    given = packed(image, buildkit(image[0], [(SPDX, SBOM)], **changes))
    words = ("--export-attestations", out / "beside", "-o", out / "x.tar")
    ended = squash(*words, stdin=given)
    assert ended.code == code, ended.err
    if code:
        assert says in failed(ended, code)
        assert os.listdir(out) == []


def test_a_blob_that_is_another(out: Path) -> None:
    image = image_of()
    pointer, blobs = buildkit(image[0], [(SPDX, SBOM)])
    files = layout(index_of(image[0], pointer), *LAYERS, *image[1], *blobs)
    files[f"blobs/sha256/{sha256(SBOM)}"] = SBOM.replace(b"predicate", b"PREDICATE")
    words = ("--export-attestations", out / "beside", "-o", out / "x.tar")
    line = failed(squash(*words, stdin=pack(files)), 3)
    assert f"stdin: blobs/sha256/{sha256(SBOM)}: " in line
    assert os.listdir(out) == []


@pytest.mark.parametrize(
    ("kind", "safe"),
    [
        ("../../etc/passwd", "etc-passwd"),
        ("https://../..//a b\n\x1b[31m", "a-b-31m"),
        ("", "application-vnd.in-toto-json"),
        ("http://", "blob"),
        ("ä/ö", "blob"),
        ("-rf", "rf"),
        ("x" * 5000, "x" * 60),
    ],
)
def test_names_are_safe(kind: str, safe: str, out: Path) -> None:
    image = image_of()
    found = exported(out, packed(image, buildkit(image[0], [(kind, SBOM)])))
    assert named(safe, SBOM) in found


def test_an_sbom_longer_than_any_document(out: Path) -> None:
    image = image_of()
    long = b'{"a": "' + b"x" * (20 << 20) + b'"}'
    found = exported(out, packed(image, buildkit(image[0], [(SPDX, long)])))
    assert found[named("spdx.dev-Document", long)] == long


def test_a_long_chain_of_referrers(out: Path) -> None:
    """In any order, and in time that grows with their number."""
    image = image_of()
    chain = [image]
    for n in range(300):
        chain.append(artifact(b"%d" % n, "text/plain", subject=chain[-1][0]))
    assert len(exported(out, packed(image, *reversed(chain[1:])))) == 600


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("--dry-run --export-attestations OUT/d", 2, "--dry-run and --export-attestations cannot"),
        ("--export-attestations - -o OUT/x", 2, "--export-attestations -: a folder is needed"),
        ("--export-attestations= -o OUT/x", 2, "--export-attestations: the name is empty"),
        (
            "--export-attestations OUT/x -o OUT/x",
            2,
            "OUT/x: squash writes the archive to this file",
        ),
        (
            "--export-attestations OUT/x -o oci:OUT/x",
            2,
            "OUT/x: squash writes the archive to this file",
        ),
        ("--export-attestations IMAGE -o OUT/x", 2, "IMAGE: squash reads the image from this file"),
        (
            "--export-attestations OUT/no/d -o OUT/x",
            6,
            "--export-attestations: OUT/no/d: no such folder",
        ),
        ("--export-attestations FILE -o OUT/x", 6, "FILE: is not a folder"),
        ("--export-attestations FULL -o OUT/x", 6, "FULL: is not empty"),
    ],
)
def test_where_it_cannot_go(
    words: str, code: int, said: str, image: Path, out: Path, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    places = {
        "OUT": out,
        "IMAGE": image,
        "FILE": tmp_path / "full/file",
        "FULL": tmp_path / "full",
    }
    for name, place in places.items():
        words, said = (text.replace(name, str(place)) for text in (words, said))
    line = failed(squash(*words.split(), image), code)
    assert said in line
    assert os.listdir(out) == []


def test_an_empty_folder_keeps_its_mode(out: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o750)
    (out / "link").symlink_to(tmp_path / "mine")
    given = image_of()
    words = ("--export-attestations", out / "link", "-o", out / "x.tar")
    done(squash(*words, stdin=packed(given, buildkit(given[0]))))
    assert (out / "link").is_symlink()
    assert (tmp_path / "mine").stat().st_mode & 0o7777 == 0o750
    assert len(os.listdir(tmp_path / "mine")) == 3


def test_a_folder_that_somebody_fills_meanwhile(out: Path) -> None:
    """What somebody else wrote stays; the archive is there, as with other files beside it."""
    given = image_of()

    def fill(phase: str, done: int, total: int) -> None:
        if phase == "write":
            (out / "beside").mkdir(exist_ok=True)
            (out / "beside/other").touch()

    (out / "given.tar").write_bytes(packed(given, buildkit(given[0])))
    with pytest.raises(squasher.OutputError, match="is not empty"):
        squasher.squash_archive(
            out / "given.tar",
            out / "x.tar",
            export_attestations=out / "beside",
            progress=fill,
        )
    assert sorted(os.listdir(out)) == ["beside", "given.tar", "x.tar"]
    assert os.listdir(out / "beside") == ["other"]


def test_a_disk_that_is_full(out: Path) -> None:
    given = image_of()
    words = ("--export-attestations", out / "beside", "-o", out / "x.tar")
    full = OSError(errno.ENOSPC, "No space left on device")
    with mock.patch.object(saved, "put_all", side_effect=full):
        ended = squash(*words, stdin=packed(given, buildkit(given[0])))
    assert f"{out}/beside: cannot be written: No space left on device" in failed(ended, 6)
    assert os.listdir(out) == []


def test_no_result_no_folder(out: Path) -> None:
    given = image_of()
    words = ("-f", "abcdef", "--export-attestations", out / "beside", "-o", out / "x.tar")
    failed(squash(*words, stdin=packed(given, buildkit(given[0]))), 4)
    assert os.listdir(out) == []


def test_a_dry_run_of_the_library_saves_nothing(out: Path) -> None:
    given = image_of()
    (out / "given.tar").write_bytes(packed(given, buildkit(given[0])))
    report = squasher.squash_archive(
        out / "given.tar", None, dry_run=True, export_attestations=out / "beside"
    )
    assert report.attestations is None
    assert os.listdir(out) == ["given.tar"]


def test_the_statement_of_a_squash_does_not_name_it(out: Path) -> None:
    given = image_of()
    words = ("--export-attestations", out / "beside", "--provenance", out / "p.json")
    done(squash(*words, "-o", out / "x.tar", stdin=packed(given, buildkit(given[0]))))
    assert "export-attestations" not in (out / "p.json").read_text()
