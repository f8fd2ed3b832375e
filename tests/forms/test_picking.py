"""Which images are taken: an index's own words, references, names, and what is said of them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.builders import File, layer
from tests.forms import result
from tests.forms.command import done, failed, squash
from tests.forms.samples import TWO
from tests.forms.shapes import (
    CONTAINERD_NAME,
    LAYERS,
    OCI_MANIFEST,
    REF_NAME,
    blob,
    config_of,
    describe,
    dump,
    index_of,
    item,
    layout,
    manifest_of,
    pack,
    plain,
    plain_files,
    stored,
)


def place(text: str) -> dict[str, str]:
    """Return the `platform` object of a descriptor."""
    return dict(zip(("os", "architecture", "variant"), text.split("/"), strict=False))


def one_each(*places: str, config: str = "amd64", same_blob: bool = False) -> bytes:
    """Return an archive whose index has an image for each of `places`; all configs say `config`."""
    files: dict[str, bytes] = {}
    pointers = []
    for n, text in enumerate(places):
        who = config_of(architecture=config, author="all" if same_blob else str(n))
        image = stored(dump(who))
        manifest = manifest_of(image.config, image.descriptors)
        pointers.append(describe(OCI_MANIFEST, manifest, platform=place(text)))
        files |= layout(b"{}", *image.blobs, image.config, manifest)
    return pack(files | {"index.json": index_of(*pointers)})


MIRROR = one_each("linux/amd64", "linux/arm64", "linux/s390x", "linux/ppc64le")


@pytest.mark.parametrize(
    ("wanted", "n"),
    [("linux/amd64", 0), ("linux/arm64", 1), ("linux/aarch64", 1), ("linux/ppc64le", 3)],
)
def test_an_index_knows_better_than_the_config(wanted: str, n: int) -> None:
    """oc-mirror: the configs all say amd64, the index says what each image is for."""
    found = result.read(done(squash("--platform", wanted, stdin=MIRROR)).out)
    assert found.one.config["author"] == str(n)
    assert found.one.config["architecture"] == "amd64"
    assert found.one.descriptor["platform"] == place(wanted.replace("aarch64", "arm64"))


def test_titles_and_hints_have_the_words_of_the_index() -> None:
    line = failed(squash("--platform", "linux/riscv64", stdin=MIRROR), 4)
    assert "no image linux/riscv64" in line
    document = json.loads(done(squash("inspect", "--json", stdin=MIRROR)).out)
    places = [image["platform"] for image in document["images"]]
    assert places == ["linux/amd64", "linux/arm64", "linux/s390x", "linux/ppc64le"]


def test_variants_that_only_the_index_tells() -> None:
    archive = one_each("linux/arm/v6", "linux/arm/v7", config="arm")
    for wanted, n in (
        ("linux/arm/v6", 0),
        ("linux/armel", 0),
        ("linux/arm/v7", 1),
        ("linux/arm", 1),
    ):
        found = result.read(done(squash("--platform", wanted, stdin=archive)).out)
        assert found.one.config["author"] == str(n)


@pytest.mark.parametrize("form", ["docker", "oci"])
def test_one_image_for_two_platforms(form: str) -> None:
    archive = one_each("linux/arm/v6", "linux/arm/v7", config="arm", same_blob=True)
    words = ("--format", form, "--platform", "linux/arm/v7")
    found = result.read(done(squash(*words, stdin=archive)).out)
    (pointer,) = found.index["manifests"]
    assert pointer["platform"] == place("linux/arm/v7")


def test_an_index_that_says_half_of_a_platform_says_none() -> None:
    archive = one_each("linux", config="s390x")
    assert done(squash("--platform", "linux/s390x", stdin=archive)).out


def test_a_platform_that_is_no_text_is_refused() -> None:
    broken = MIRROR.replace(
        b'"os":"linux","architecture":"s390x"', b'"os":1234567,"architecture":"s390x"'
    )
    assert "platform.os: a string is expected" in failed(squash(stdin=broken), 3)


def test_a_selection_of_several_says_so() -> None:
    archive = one_each("linux/amd64", "linux/amd64", "linux/arm64")
    ended = done(squash("--platform", "linux/amd64", stdin=archive))
    assert "linux/amd64 fits 2 images: all of them are squashed" in ended.err
    assert "images, and all" not in done(squash("--platform", "linux/arm64", stdin=archive)).err
    assert "images, and all" not in done(squash(stdin=archive)).err


@pytest.mark.parametrize(
    "archive",
    [
        MIRROR,
        one_each("linux/x86_64", "linux/amd64/v2"),
        one_each("linux/arm/v6", "linux/arm/v7", config="arm"),
        one_each("linux/amd64", "linux/amd64"),
    ],
    ids=["mirror", "odd", "variants", "twins"],
)
def test_the_lines_of_inspect_pick_their_image(archive: bytes, tmp_path: Path) -> None:
    path = tmp_path / "in.tar"
    path.write_bytes(archive)
    document = json.loads(done(squash("inspect", "--json", path)).out)
    for image in document["images"]:
        words = shlex.split(image["bases"][0]["command"])
        report = tmp_path / "report.json"
        done(squash(*words[1:-2], "--dry-run", "--report", report))
        (told,) = json.loads(report.read_text())["images"]
        assert told["source_image_id"] == image["image_id"]
        assert told["platform"] == image["platform"]


# ---------------------------------------------------------------- names and references

FULL = "docker.io/library/app:1"
REF = {
    "app": {REF_NAME: "app:1"},
    "word": {REF_NAME: "latest"},
    "odd": {REF_NAME: "My image/one"},
    "both": {CONTAINERD_NAME: FULL, REF_NAME: "stable"},
    "docker": {CONTAINERD_NAME: FULL, REF_NAME: "1"},
}


def under(*names: Any, items: Sequence[Sequence[str]] | None = None) -> bytes:
    """Return an OCI archive with one image for each of the annotations, perhaps listed as well."""
    files: dict[str, bytes] = {}
    pointers, listed = [], []
    for n, own in enumerate(names):
        image = stored(dump(config_of(author=str(n))))
        manifest = manifest_of(image.config, image.descriptors)
        notes = {"annotations": own} if own else {}
        pointers.append(describe(OCI_MANIFEST, manifest, **notes))
        listed.append(item(blob(image.config), [blob(x) for x in image.blobs], ()))
        files |= layout(b"{}", *image.blobs, image.config, manifest)
    files["index.json"] = index_of(*pointers)
    if items is not None:
        rows = [{**listed[n % len(names)], "RepoTags": tags} for n, tags in enumerate(items)]
        files["manifest.json"] = dump(rows)
    return pack(files)


def notes_of(found: result.Result) -> list[dict[str, str]]:
    """Return the annotations of the descriptors in the index."""
    return [pointer.get("annotations") or {} for pointer in found.index["manifests"]]


def put(folder: Path, files: dict[str, bytes]) -> None:
    """Write the files of a layout."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


@pytest.mark.parametrize("kind", ["app", "word", "odd", "both"])
def test_references_come_out_of_an_oci_archive_as_they_went_in(kind: str, tmp_path: Path) -> None:
    source, out = tmp_path / "in.tar", tmp_path / "out.tar"
    source.write_bytes(under(REF[kind]))
    ref = REF[kind][REF_NAME]
    done(squash(f"oci-archive:{source}:{ref}", "-o", f"oci-archive:{out}", "--verify"))
    assert notes_of(result.read(out.read_bytes())) == [REF[kind]]
    assert done(squash(f"oci-archive:{out}:{ref}")).out


@pytest.mark.parametrize(
    ("kind", "tags", "expected"),
    [
        ("app", ["app:1"], [REF["app"] | {CONTAINERD_NAME: FULL}]),
        ("word", [], [REF["word"]]),
        ("odd", [], [REF["odd"]]),
        ("both", ["app:1"], [REF["both"]]),
        ("docker", ["app:1"], [{CONTAINERD_NAME: FULL, REF_NAME: FULL}]),
    ],
)
def test_references_are_in_a_docker_archive_as_well(
    kind: str, tags: list[str], expected: list[dict[str, str]]
) -> None:
    found = result.read(done(squash("--verify", stdin=under(REF[kind]))).out)
    assert found.tags == [tags]
    assert notes_of(found) == expected


def test_a_reference_beside_no_name_of_its_own_tag() -> None:
    archive = under(REF["word"] | {CONTAINERD_NAME: "Bad Name"})
    found = result.read(done(squash("--format", "oci", stdin=archive)).out)
    assert notes_of(found) == [REF["word"] | {CONTAINERD_NAME: "Bad Name"}]


def test_a_new_tag_takes_the_place_of_references() -> None:
    for form in ("docker", "oci"):
        words = ("-t", "new:1", "--format", form, "--verify")
        found = result.read(done(squash(*words, stdin=under(REF["word"]))).out)
        full = dict.fromkeys((CONTAINERD_NAME, REF_NAME), "docker.io/library/new:1")
        assert notes_of(found) == [full]
        found = result.read(done(squash("--no-tag", *words[2:], stdin=under(REF["word"]))).out)
        assert notes_of(found) == [{}]


def test_what_images_are_called_is_told() -> None:
    archive = under(REF["word"], REF["app"], None)
    ended = squash("--image", "none", stdin=archive)
    failed(ended, 4)
    _, *table = ended.err.splitlines()
    assert [line.split()[0] for line in table[:2]] == ["latest", "app:1"]
    assert table[2].startswith("  sha256:")
    shown = done(squash("inspect", stdin=archive)).out.decode()
    assert "latest  linux/amd64\n" in shown
    document = json.loads(done(squash("inspect", "--json", stdin=archive)).out)
    assert [each["references"] for each in document["images"]] == [["latest"], ["app:1"], []]
    assert [each["name"] for each in document["images"]][:2] == ["latest", "app:1"]


@pytest.mark.parametrize("command", [(), ("inspect",)])
def test_which_of_several_images_is_damaged_is_told(command: tuple[str, ...]) -> None:
    """Beside others an error has its name and platform, alone it has not."""
    files = plain_files(TWO)
    paths = [image["Layers"] for image in json.loads(files["manifest.json"] or b"")]
    (path,) = set(paths[0][3:4]) - set(paths[1])
    files[path] = LAYERS[0]
    damaged = pack(files)
    several = failed(squash(*command, stdin=damaged), 3)
    assert ": example.com/team/app:1.0 (linux/amd64): layer 4 of 5: blob: " in several
    alone = failed(squash(*command, "--image", "example.com/team/app:1.0", stdin=damaged), 3)
    assert alone == several.replace("example.com/team/app:1.0 (linux/amd64): ", "")
    done(squash(*command, "--image", "debian:12", stdin=damaged))


def test_which_of_several_images_a_policy_is_missed_by_is_told() -> None:
    files = plain_files(TWO)
    items = json.loads(files["manifest.json"] or b"")
    odd = plain(config_of(layers := [layer(File(b"f"), File(b"f"))]), layers, tags=("odd:1",))
    files |= plain_files(odd)
    items += json.loads(plain_files(odd)["manifest.json"] or b"")
    archive = pack(files | {"manifest.json": dump(items)})
    line = failed(squash("--strict=duplicate-path", stdin=archive), 1)
    assert ": odd:1 (linux/amd64): --strict: engines disagree about layer 1: duplicate-" in line


def test_a_title_never_cuts_the_platform_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    words = [word for n in range(9) for word in ("-t", f"a-long-name-{n}/app:1")]
    found = done(squash(*words, stdin=MIRROR_ONE)).out
    shown = done(squash("inspect", stdin=found)).out.decode()
    assert shown.splitlines()[0].endswith("…  linux/amd64")


@pytest.mark.parametrize("place", ["archive", "folder"])
def test_a_base_by_its_reference(place: str, tmp_path: Path) -> None:
    """Also where a transport's reference has picked another image of the same layout."""
    app = stored(dump(config_of()))
    below = dump(config_of(LAYERS[:2]))
    both = [
        ("base", below, manifest_of(below, app.descriptors[:2])),
        ("app", app.config, manifest_of(app.config, app.descriptors)),
    ]
    pointers = [describe(OCI_MANIFEST, data, annotations={REF_NAME: ref}) for ref, _, data in both]
    files = layout(index_of(*pointers), *app.blobs, *(x for _, *more in both for x in more))
    source = tmp_path / "in"
    if place == "folder":
        put(source, files)
    else:
        source.write_bytes(pack(files))
    kind = "oci" if place == "folder" else "oci-archive"
    for words in ((f"{kind}:{source}:app",), ("--image", "app", source)):
        found = result.read(done(squash("-f", "base", *words)).out)
        assert found.one.layers[:2] == LAYERS[:2]
        assert len(found.one.layers) == 3


def test_images_by_their_position(tmp_path: Path) -> None:
    source = tmp_path / "in.tar"
    source.write_bytes(under(REF["word"], REF["app"], None))
    for n in range(3):
        found = result.read(done(squash(f"oci-archive:{source}:@{n}")).out)
        assert found.one.config["author"] == str(n)
    line = failed(squash(f"oci-archive:{source}:@3"), 4)
    assert "no image at position 3, counted from 0" in line
    source.write_bytes(under(None, None, items=[["b:1"], ["a:1"], ["b:2"]]))
    for n, author in enumerate("010"):
        found = result.read(done(squash(f"docker-archive:{source}:@{n}")).out)
        assert found.one.config["author"] == author
    failed(squash(f"docker-archive:{source}:@3"), 4)
    for kind in ("oci-archive", "docker-archive"):
        failed(squash(source, "--image", "a:1", "-o", f"{kind}:{tmp_path}/out.tar:@0"), 2)


def test_two_items_for_one_image_keep_both_names() -> None:
    for archive in (
        under(None, items=[["a:1"], ["b:1"]]),
        under(REF["docker"], items=[["app:1", "a:1"], ["b:1"]]),
    ):
        for form in ("docker", "oci"):
            ended = done(squash("--format", form, "--verify", stdin=archive))
            found = result.read(ended.out)
            names = {notes[CONTAINERD_NAME] for notes in notes_of(found)}
            assert {"docker.io/library/a:1", "docker.io/library/b:1"} <= names
            assert "give the images different names" not in ended.err


def test_two_items_with_other_members_for_one_image_keep_both_names() -> None:
    image = stored()
    names = [f"{n}.tar" for n in range(5)]
    files = dict(zip(names, LAYERS, strict=True)) | dict.fromkeys(
        ("a.json", "b.json"), image.config
    )
    rows = [item("a.json", names, ["a:1"]), item("b.json", names, ["b:1"])]
    archive = pack(files | {"manifest.json": dump(rows)})
    found = result.read(done(squash("--verify", stdin=archive)).out)
    assert found.tags == [["a:1", "b:1"]]


def test_names_of_manifest_json_and_of_the_index_both_stay() -> None:
    archive = under(REF["docker"], items=[["other:2"]])
    told = []
    for form in ("docker", "oci"):
        ended = done(squash("--format", form, "--verify", stdin=archive))
        assert "give the images different names: all of them are kept" in ended.err
        told.append({notes[CONTAINERD_NAME] for notes in notes_of(result.read(ended.out))})
    assert told == [{"docker.io/library/app:1", "docker.io/library/other:2"}] * 2


def test_a_name_that_two_images_claim_is_what_manifest_json_says() -> None:
    archive = under(REF["docker"], None, items=[["x:1"], ["app:1"]])
    for form in ("docker", "oci"):
        found = result.read(done(squash("--format", form, "--verify", stdin=archive)).out)
        names = [notes[CONTAINERD_NAME].rpartition("/")[2] for notes in notes_of(found)]
        assert names == ["x:1", "app:1"]


def test_a_folder_of_docker_save_stays_of_one_mind(tmp_path: Path) -> None:
    """What is added is in manifest.json as well, and has the name that it takes over."""
    folder = tmp_path / "saved"
    put(folder, plain_files(under(REF["docker"], items=[["app:1", "app:old"]])))
    source = tmp_path / "new.tar"
    source.write_bytes(under(REF["docker"]))
    done(squash("--keep-layers", "1", "--verify", source, "-o", f"oci:{folder}"))
    listed = json.loads((folder / "manifest.json").read_bytes())
    assert [each["RepoTags"] for each in listed] == [["app:old"], ["app:1"]]
    index = json.loads((folder / "index.json").read_bytes())
    assert len(index["manifests"]) == 1
    done(squash("--keep-layers", "1", source, "-o", f"oci:{folder}"))
    again = json.loads((folder / "manifest.json").read_bytes())
    assert again == listed
    (folder / "manifest.json").write_bytes(b"{}")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    line = failed(squash(source, "-o", f"oci:{folder}"), 6)
    assert "is not a valid manifest.json" in line
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").mkdir()
    assert "cannot be" in failed(squash(source, "-o", f"oci:{folder}"), 6)


@pytest.mark.parametrize("count", [237, 238])
def test_names_that_no_engine_takes(count: int) -> None:
    """docker.io/library/ and the name have 255 characters at the most."""
    ended = squash("-t", "a" * count + ":1", stdin=MIRROR_ONE)
    assert ended.code == (0 if count + len("docker.io/library/") <= 255 else 2)


MIRROR_ONE = one_each("linux/amd64")


# ---------------------------------------------------------------- one half is sound


def both_halves() -> dict[str, bytes]:
    """Return the members of an archive with manifest.json and an index over the same blobs."""
    return plain_files(under(REF["docker"], items=[["app:1"]]))


def without_layers(files: dict[str, bytes]) -> None:
    """Lead to a manifest without layers, as docker 25.0.0-rc.1 wrote it."""
    image = stored(dump(config_of(author="0")))
    manifest = manifest_of(image.config, [])
    files[blob(manifest)] = manifest
    files["index.json"] = index_of(describe(OCI_MANIFEST, manifest))


def wrong_size(files: dict[str, bytes]) -> None:
    """Say another size of the manifest."""
    index = json.loads(files["index.json"])
    index["manifests"][0]["size"] += 1
    files["index.json"] = dump(index)


def altered_manifest(files: dict[str, bytes]) -> None:
    """Change the manifest, and not the digest that names it."""
    digest = json.loads(files["index.json"])["manifests"][0]["digest"]
    files["blobs/" + digest.replace(":", "/")] += b"\n"


def no_json(files: dict[str, bytes]) -> None:
    """Break index.json."""
    files["index.json"] = b"<html>"


def no_list(files: dict[str, bytes]) -> None:
    """Break manifest.json."""
    files["manifest.json"] = b"{}"


HALVES = (without_layers, wrong_size, altered_manifest, no_json, no_list)


@pytest.mark.parametrize("broken", HALVES)
@pytest.mark.parametrize("form", ["docker", "oci"])
def test_a_half_that_is_sound_alone_is_enough(broken: Any, form: str) -> None:
    files = both_halves()
    broken(files)
    ended = done(squash("--format", form, "--verify", stdin=pack(files)))
    assert "only one of manifest.json and index.json can be read, and it is used: " in ended.err
    found = result.read(ended.out).one
    assert found.config["author"] == "0"
    assert result.tree(found.layers) == result.tree(LAYERS)


@pytest.mark.parametrize("broken", HALVES[:-1])
def test_no_half_is_sound(broken: Any) -> None:
    files = both_halves()
    broken(files)
    no_list(files)
    assert "manifest.json: a list is expected" in failed(squash(stdin=pack(files)), 3)
    del files["manifest.json"]
    failed(squash(stdin=pack(files)), 3)
