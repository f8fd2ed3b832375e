"""`-f auto`: archives as builders write them that name their base, and what proves it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import squasher
from squasher.archive import daemon
from squasher.image.base import Base
from tests.builders import sha256
from tests.forms import result
from tests.forms.command import done, failed, squash
from tests.forms.shapes import (
    AMD64,
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
    gzipped,
    index_of,
    item,
    layout,
    manifest_of,
    names,
    pack,
    plain,
    plain_files,
)

BLOBS = [gzipped(data) for data in LAYERS]
KEPT = 2
BASE = "example.com/base:12"
IN_TOTO = "application/vnd.in-toto+json"
PROVENANCE = {"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"}
SBOM = {"in-toto.io/predicate-type": "https://spdx.dev/Document"}
NAME, DIGEST = "org.opencontainers.image.base.name", "org.opencontainers.image.base.digest"


def described(data: Sequence[bytes] = BLOBS) -> list[Document]:
    return [describe(f"{OCI_LAYER}+gzip", each) for each in data]


def manifest(
    config: bytes, data: Sequence[bytes] = BLOBS, annotations: dict[str, str] | None = None
) -> bytes:
    document = json.loads(manifest_of(config, described(data)))
    return dump({**document, **({"annotations": annotations} if annotations else {})})


BASE_CONFIG = dump(config_of(LAYERS[:KEPT]))
BASE_MANIFEST = manifest(BASE_CONFIG, BLOBS[:KEPT])


def max_predicate(blobs: Sequence[bytes] = BLOBS[:KEPT]) -> Document:
    """Return what mode=max says: FROM the base, then RUN."""
    source = {"identifier": f"docker-image://{BASE}@sha256:{sha256(BASE_MANIFEST)}"}
    steps = [
        {"id": "step0", "op": {"Op": {"source": source}}},
        {"id": "step1", "op": {"Op": {"exec": {"mounts": [{"dest": "/"}]}}}, "inputs": ["step0:0"]},
        {"id": "step2", "op": {"Op": {}}, "inputs": ["step1:0"]},
    ]
    layers = {"step0:0": [[{"digest": f"sha256:{sha256(data)}"} for data in blobs]]}
    key = "https://mobyproject.org/buildkit@v1#metadata"
    return {"buildConfig": {"llbDefinition": steps}, "metadata": {key: {"layers": layers}}}


def min_predicate() -> Document:
    """Return what mode=min says: the digests of the images that were used."""
    digest = {"sha256": sha256(BASE_MANIFEST)}
    return {"materials": [{"uri": "pkg:docker/example.com/base@12", "digest": digest}]}


def statement(predicate: Document, of: bytes, **more: Any) -> bytes:
    subject = [{"name": "pkg:docker/app", "digest": {"sha256": sha256(of)}}]
    kind = "https://slsa.dev/provenance/v0.2"
    return dump({"predicateType": kind, "subject": subject, "predicate": predicate, **more})


def built(
    statements: Callable[[bytes], Sequence[tuple[bytes, Document]]],
    *,
    without: Sequence[bytes] = (),
    base: bool = False,
    config: bytes = dump(config_of()),
    annotations: dict[str, str] | None = None,
    media_type: str = IN_TOTO,
) -> bytes:
    """Return an OCI archive as buildx writes it: the image and its attestation in an index.

    `statements` gives the attestation's blobs with their annotations, from the image's manifest.
    """
    image = manifest(config, annotations=annotations)
    here = describe(OCI_MANIFEST, image, platform=AMD64)
    told = statements(image)
    about = dump({**UNKNOWN, "config": {}, "rootfs": {"type": "layers", "diff_ids": []}})
    beside = manifest_of(about, [describe(media_type, x, annotations=kind) for x, kind in told])
    nested = index_of(here, attested(here, beside))
    tops = [describe(OCI_INDEX, nested, annotations=names(TAG, TAG))]
    data = [*BLOBS, config, image, nested, about, beside, *(x for x, _ in told)]
    if base:
        tops.append(describe(OCI_MANIFEST, BASE_MANIFEST, annotations=names(BASE, BASE)))
        data += [BASE_CONFIG, BASE_MANIFEST]
    missing = {sha256(each) for each in without}
    return pack(layout(index_of(*tops), *(x for x in data if sha256(x) not in missing)))


def said(predicate: Document) -> Callable[[bytes], list[tuple[bytes, Document]]]:
    return lambda image: [(dump({"spdx": "x"}), SBOM), (statement(predicate, image), PROVENANCE)]


def kept(image: bytes, *words: str) -> int:
    """Require that `-f auto` merges; return how many layers it keeps, which are as they were."""
    ended = done(squash("-f", "auto", *words, stdin=image))
    assert "the base is " in ended.err
    found = result.read(ended.out).images
    layers = next(x.layers for x in found if len(x.layers) != KEPT)
    assert layers[:-1] == LAYERS[: len(layers) - 1]
    return len(layers) - 1


def test_provenance_of_a_buildx_build_decides() -> None:
    """The base that buildx writes down with mode=max is kept; nothing else need be there."""
    ended = done(squash("-f", "auto", stdin=built(said(max_predicate()))))
    assert len(result.read(ended.out).images[0].layers) == KEPT + 1
    digest = sha256(BASE_MANIFEST)
    assert f"the base is {BASE}@sha256:{digest} (BuildKit's provenance): its 2 layers" in ended.err


def test_the_same_as_by_hand() -> None:
    image = built(said(max_predicate()))
    by_hand = done(squash("--keep-layers", str(KEPT), stdin=image))
    assert done(squash("-f", "auto", stdin=image)).out == by_hand.out


def test_min_provenance_wants_the_base_beside_it() -> None:
    assert kept(built(said(min_predicate()), base=True), "--image", TAG) == KEPT
    ended = squash("-f", "auto", stdin=built(said(min_predicate())))
    line = failed(ended, 4)
    digest = sha256(BASE_MANIFEST)
    assert f"names {BASE}@sha256:{digest}, but nothing proves that it is the base" in line
    assert f"`skopeo copy docker://example.com/base@sha256:{digest} oci-archive:base.tar`" in line
    assert "  BuildKit's provenance: " in ended.err
    assert "  -f N  -f ID  " in ended.err


def test_layers_that_are_not_the_lowest_prove_nothing() -> None:
    image = built(said(max_predicate(BLOBS[1:3])))
    ended = squash("-f", "auto", stdin=image)
    assert "nothing proves that it is the base" in failed(ended, 4)
    assert "its layers are not the lowest of the image" in ended.err


def test_converted_layers_are_proven_by_the_base() -> None:
    """With another compression the blobs of the base are not those that the build began with."""
    image = built(said(max_predicate([b"other", b"blobs"])), base=True)
    assert kept(image, "--image", TAG) == KEPT


def without_kind(image: bytes) -> list[tuple[bytes, Document]]:
    return [(statement(max_predicate(), image), {})]


def without_subject(image: bytes) -> list[tuple[bytes, Document]]:
    return [(statement(max_predicate(), image, subject=None), PROVENANCE)]


@pytest.mark.parametrize("statements", [without_kind, without_subject])
def test_statements_that_say_less_of_themselves(
    statements: Callable[[bytes], list[tuple[bytes, Document]]],
) -> None:
    assert kept(built(statements)) == KEPT


def of_another(image: bytes) -> list[tuple[bytes, Document]]:
    return [(statement(max_predicate(), b"another manifest"), PROVENANCE)]


def of_another_kind(image: bytes) -> list[tuple[bytes, Document]]:
    told = statement(max_predicate(), image, predicateType="https://example.com/x")
    return [(told, PROVENANCE), (statement(max_predicate(), image), SBOM)]


@pytest.mark.parametrize("statements", [of_another, of_another_kind])
def test_statements_that_are_not_of_this_image(
    statements: Callable[[bytes], list[tuple[bytes, Document]]],
) -> None:
    ended = squash("-f", "auto", stdin=built(statements))
    assert "names no base" in failed(ended, 4)
    assert "BuildKit's provenance: none" in ended.err


def test_an_attestation_of_another_form_is_passed_over() -> None:
    image = built(said(max_predicate()), media_type="application/octet-stream")
    assert "names no base" in failed(squash("-f", "auto", stdin=image), 4)


@pytest.mark.parametrize("which", ["statement", "manifest"])
def test_an_attestation_that_is_not_there(which: str) -> None:
    found: list[bytes] = []

    def statements(image: bytes) -> list[tuple[bytes, Document]]:
        found.append(statement(max_predicate(), image))
        return [(found[0], PROVENANCE)]

    whole = built(statements)
    if which == "statement":
        image = built(statements, without=found)
    else:
        kinds = (data for data in plain_files(whole).values() if b"in-toto" in data)
        image = built(statements, without=[next(kinds)])
    assert "names no base" in failed(squash("-f", "auto", stdin=image), 4)


@pytest.mark.parametrize("change", [lambda data: data[:-1] + b" ", lambda data: data + b" "])
def test_a_damaged_attestation_decides_nothing(change: Callable[[bytes], bytes]) -> None:
    """It is an error for who asks for it; `inspect` says so; nobody else reads it."""
    files = plain_files(built(said(max_predicate())))
    name = next(name for name, data in files.items() if b"llbDefinition" in data)
    image = pack({**files, name: change(files[name])})
    assert name in failed(squash("-f", "auto", stdin=image), 3)
    assert done(squash("--keep-layers", "1", stdin=image)).out
    shown = done(squash("inspect", stdin=image)).out.decode()
    assert "BuildKit's provenance: cannot be read: " in shown


def test_annotations_name_a_base_of_the_same_archive() -> None:
    """As buildah writes them."""
    words = {NAME: BASE, DIGEST: f"sha256:{sha256(BASE_MANIFEST)}"}
    assert kept(built(lambda image: [], annotations=words, base=True), "--image", TAG) == KEPT


def saved_with(config: bytes, base: str) -> bytes:
    """Return what `docker save app:1 BASE` wrote before docker 25."""
    files = {f"{sha256(data)}.tar": data for data in LAYERS}
    entries = []
    for name, own, layers in (("app:1", config, LAYERS), (base, BASE_CONFIG, LAYERS[:KEPT])):
        files[f"{sha256(own)}.json"] = own
        layer_names = [f"{sha256(data)}.tar" for data in layers]
        entries.append(item(f"{sha256(own)}.json", layer_names, [name]))
    return pack({**files, "manifest.json": dump(entries)})


def with_labels(labels: Document) -> bytes:
    document = config_of()
    document["config"]["Labels"] = labels
    return dump(document)


def test_buildpacks_name_their_run_image_by_its_highest_layer() -> None:
    run = {"topLayer": f"sha256:{sha256(LAYERS[KEPT - 1])}", "reference": "run@sha256:" + "0" * 64}
    label = {"io.buildpacks.lifecycle.metadata": json.dumps({"runImage": run, "app": []})}
    assert kept(plain(with_labels(label), LAYERS)) == KEPT


def test_the_base_and_the_image_in_a_classic_docker_save() -> None:
    """`docker save app base` has no digests of manifests: the name and the layers decide."""
    both = saved_with(with_labels({NAME: BASE}), BASE)
    ended = done(squash("-f", "auto", "--image", "app:1", stdin=both))
    assert f"the 2 layers of {BASE} of the archive are" in ended.err
    assert len(result.read(ended.out).images[0].layers) == KEPT + 1


# ---------------------------------------------------------------- the daemon


DAEMON_BASE = Base(tuple(squasher.Digest(sha256(data)) for data in LAYERS[:KEPT]))


def asked_daemon(*words: str | Path, docker: bool, image: bytes) -> tuple[Any, list[str]]:
    """Run with a daemon that has the base under its name alone; return what it was asked for."""
    asked: list[str] = []

    def base(name: str) -> Base:
        asked.append(name)
        if name == BASE:
            return DAEMON_BASE
        raise squasher.BaseNotFoundError("the daemon has no such image", where=name)

    with mock.patch.object(daemon, "base", base):
        first = ("squash",) if docker else ()
        return squash(*first, "-f", "auto", *words, stdin=image, docker=docker), asked


def test_the_daemon_is_asked_where_it_gave_the_image(tmp_path: Path) -> None:
    image = plain(with_labels({NAME: BASE, DIGEST: "sha256:" + "1" * 64}), LAYERS)
    (tmp_path / "app.tar").write_bytes(image)
    out = tmp_path / "out.tar"
    ended, asked = asked_daemon(str(tmp_path / "app.tar"), "-o", str(out), docker=True, image=b"")
    assert f"the 2 layers of docker-daemon:{BASE} are" in done(ended).err
    assert asked == [f"example.com/base@sha256:{'1' * 64}", "sha256:" + "1" * 64, BASE]
    with (tmp_path / "app.tar").open("rb") as stream, mock.patch.object(daemon, "export") as export:
        export.return_value.__enter__.return_value = stream
        ended, asked = asked_daemon("docker-daemon:app", "-o", str(out), docker=False, image=b"")
        assert done(ended).code == 0
        assert BASE in asked


def test_no_daemon_is_asked_for_a_file() -> None:
    image = plain(with_labels({NAME: BASE}), LAYERS)
    ended, asked = asked_daemon(docker=False, image=image)
    assert f"-f docker-daemon:{BASE}" in failed(ended, 4)
    assert asked == []


# ---------------------------------------------------------------- archives that lend layers


def base_layout() -> dict[str, bytes]:
    """Return an OCI layout of the base alone."""
    top = describe(OCI_MANIFEST, BASE_MANIFEST, annotations=names(BASE, BASE))
    return layout(index_of(top), BASE_CONFIG, BASE_MANIFEST, *BLOBS[:KEPT])


def docker_save_of_base() -> bytes:
    """Return what `docker save BASE` wrote before docker 25."""
    return plain(BASE_CONFIG, LAYERS[:KEPT], tags=[BASE])


@pytest.mark.parametrize(
    ("image", "lender"),
    [
        (built(said(min_predicate())), pack(base_layout())),
        (
            built(
                lambda image: [],
                annotations={NAME: BASE, DIGEST: f"sha256:{sha256(BASE_MANIFEST)}"},
            ),
            pack(base_layout()),
        ),
        (built(lambda image: [], annotations={NAME: BASE}), docker_save_of_base()),
        (plain(with_labels({NAME: BASE}), LAYERS), docker_save_of_base()),
    ],
    ids=["provenance", "annotation", "annotation-name", "label"],
)
def test_a_lender_proves_the_base(image: bytes, lender: bytes, tmp_path: Path) -> None:
    path = tmp_path / "base.tar"
    path.write_bytes(lender)
    failed(squash("-f", "auto", stdin=image), 4)
    ended = done(squash("-f", "auto", "--blobs-from", path, stdin=image))
    assert f"the 2 layers of {BASE} of {path} are the lowest of the image" in ended.err
    assert ended.out == done(squash("-f", path, stdin=image)).out
    found, shown = inspected(image, "--blobs-from", path)
    assert found["base"]["kept_layers"] == KEPT
    assert found["base"]["why"].startswith(f"the 2 layers of {BASE} of {path} are ")
    assert "base     2 layers, " in shown


def test_a_lender_of_the_daemon_proves_the_base() -> None:
    image = built(said(min_predicate()))
    stream = io.BytesIO(pack(base_layout()))
    with mock.patch.object(daemon, "export") as export:
        export.return_value.__enter__.return_value = stream
        words = ("-f", "auto", "--blobs-from", f"docker-daemon:{BASE}")
        ended = done(squash(*words, stdin=image))
    assert f"the 2 layers of {BASE} of docker-daemon:{BASE} are " in ended.err


def test_lenders_of_an_image_that_lacks_the_layers_of_its_base(tmp_path: Path) -> None:
    """The base is in parts as well: what it leaves out, the next lender has."""
    image = built(said(min_predicate()), without=BLOBS[:KEPT])
    files = base_layout()
    lowest = f"blobs/sha256/{sha256(BLOBS[0])}"
    first, second = tmp_path / "first.tar", tmp_path / "second"
    first.write_bytes(pack({name: data for name, data in files.items() if name != lowest}))
    (second / lowest).parent.mkdir(parents=True)
    (second / lowest).write_bytes(files[lowest])
    lenders = ("--blobs-from", first, "--blobs-from", second)
    ended = done(squash("-f", "auto", "--verify", *lenders, stdin=image))
    assert f"the 2 layers of {BASE} of {first} are " in ended.err


def test_a_lender_that_holds_no_image_still_lends(tmp_path: Path) -> None:
    """It proves nothing; where nothing else does, the error says why."""
    folder, damaged = tmp_path / "blobs", tmp_path / "damaged.tar"
    (folder / "blobs/sha256").mkdir(parents=True)
    damaged.write_bytes(pack({"manifest.json": b"[", "x": b"y"}))
    lenders = ("--blobs-from", folder, "--blobs-from", damaged)
    for data in BLOBS[:KEPT]:
        (folder / f"blobs/sha256/{sha256(data)}").write_bytes(data)
    image = built(said(max_predicate()), without=BLOBS[:KEPT])
    done(squash("-f", "auto", *lenders[:2], stdin=image))
    ended = squash("-f", "auto", *lenders, stdin=built(said(min_predicate())))
    assert "nothing proves that it is the base" in failed(ended, 4)
    assert f"  --blobs-from: {folder}: holds no image: it has neither manifest.json" in ended.err
    assert f"  --blobs-from: {damaged}: manifest.json: " in ended.err


def test_a_lender_with_other_layers_proves_nothing(tmp_path: Path) -> None:
    other = tmp_path / "other.tar"
    other.write_bytes(plain(dump(config_of(LAYERS[1:3])), LAYERS[1:3], tags=[BASE]))
    image = plain(with_labels({NAME: BASE}), LAYERS)
    ended = squash("-f", "auto", "--blobs-from", other, stdin=image)
    assert "nothing proves that it is the base" in failed(ended, 4)
    assert f"{BASE} of {other} has other layers" in ended.err
    found, _ = inspected(image, "--blobs-from", other)
    assert found["base"] is None


def test_the_archive_itself_comes_before_its_lenders(tmp_path: Path) -> None:
    lender = tmp_path / "base.tar"
    lender.write_bytes(pack(base_layout()))
    image = built(said(min_predicate()), base=True)
    ended = done(squash("-f", "auto", "--image", TAG, "--blobs-from", lender, stdin=image))
    assert f"the 2 layers of {BASE} of the archive are " in ended.err


# ---------------------------------------------------------------- the library, names, inspect


def test_the_library_takes_it(tmp_path: Path) -> None:
    path = tmp_path / "app.tar"
    path.write_bytes(built(said(max_predicate())))
    report = squasher.squash_archive(path, tmp_path / "out.tar", base="auto")
    assert report.images[0].kept == KEPT
    assert report.images[0].image.attested() == ()
    with squasher.open_archive(path) as archive:
        assert archive.images[0].attested()
        assert archive.lenders() == ()


def test_the_library_has_the_images_of_lenders(tmp_path: Path) -> None:
    path, lender = tmp_path / "app.tar", tmp_path / "base.tar"
    path.write_bytes(built(said(min_predicate())))
    lender.write_bytes(pack(base_layout()))
    lent = [str(lender)]
    report = squasher.squash_archive(path, tmp_path / "out.tar", base="auto", blobs_from=lent)
    assert report.images[0].kept == KEPT
    with squasher.open_archive(path, blobs_from=lent) as archive:
        (base,) = archive.lenders()
        assert (base.name, base.images[0].tags) == (str(lender), (BASE,))
        image = archive.images[0]
        assert squasher.inspect(image).base is None
        found = squasher.inspect(image, lenders=archive.lenders()).base
        assert found is not None
        assert found.split is not None
        assert found.split.kept == KEPT


def test_an_image_called_so_is_named_with_its_tag() -> None:
    both = saved_with(dump(config_of()), "auto:latest")
    assert "names no base" in failed(squash("-f", "auto", "--image", "app:1", stdin=both), 4)
    assert done(squash("-f", "auto:latest", "--image", "app:1", stdin=both)).code == 0


def inspected(image: bytes, *words: str | Path) -> tuple[Document, str]:
    found = json.loads(done(squash("inspect", "--json", *words, stdin=image)).out)["images"][0]
    return found, done(squash("inspect", *words, stdin=image)).out.decode()


def test_inspect_shows_the_base_and_keeps_it() -> None:
    """Giving up the base would save more: it is shown, and not recommended."""
    unnamed, _ = inspected(built(lambda image: []))
    assert (unnamed["base"], unnamed["named_bases"]) == (None, [])
    assert unnamed["best_kept_layers"] < KEPT
    found, shown = inspected(built(said(max_predicate())))
    assert found["base"] == {
        "place": "provenance",
        "name": BASE,
        "digest": f"sha256:{sha256(BASE_MANIFEST)}",
        "kept_layers": KEPT,
        "why": "its 2 layers are the lowest of the image",
    }
    assert found["best_kept_layers"] >= KEPT
    assert found["best_kept_layers_without_base"] == unnamed["best_kept_layers"]
    assert f"base     2 layers, {BASE}@sha256:" in shown
    assert "BuildKit's provenance: its 2 layers are the lowest of the image" in shown
    assert "* best trade: " in shown
    assert "To squash the base too, which other images share, would save " in shown


def test_inspect_where_squashing_above_the_base_saves_nothing() -> None:
    found, shown = inspected(built(said(max_predicate(BLOBS[:4]))))
    assert found["base"]["kept_layers"] == 4
    assert found["best_kept_layers"] is None
    assert "Squashing saves nothing, above the base." in shown
    assert "To squash the base too, which other images share, would save " in shown


def test_inspect_shows_what_is_not_proven() -> None:
    found, shown = inspected(built(said(min_predicate())))
    assert found["base"] is None
    assert [each["kept_layers"] for each in found["named_bases"]] == [None]
    assert f"base     named: not proven, {BASE}@sha256:" in shown
    assert "BuildKit's provenance: there is no such image to compare with" in shown


def test_inspect_shows_what_else_is_named() -> None:
    config = with_labels({NAME: "other:1"})
    _, shown = inspected(built(said(max_predicate()), config=config))
    lines = [line for line in shown.splitlines() if line.startswith("base ")]
    assert lines[0].startswith("base     2 layers, ")
    assert lines[1] == "base     also named: not proven, other:1"


def test_inspect_of_several_images_looks_at_the_others() -> None:
    image = built(said(min_predicate()), base=True)
    found, _ = inspected(image, "--image", TAG)
    assert found["base"]["kept_layers"] == KEPT
