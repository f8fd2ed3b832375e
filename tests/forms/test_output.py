"""Ways out: forms, transports, compression, times, reports, proofs; and options that conflict."""

from __future__ import annotations

import bz2
import datetime
import gzip
import io
import json
import lzma
import os
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

import squasher
from squasher import _squash, job, writer
from squasher.content import Content
from squasher.image import Blob
from squasher.location import Location, parse_location
from tests.builders import File, Hardlink, Sparse, archive, layer, sha256
from tests.forms import result
from tests.forms.command import done, failed, squash
from tests.forms.shapes import (
    ARM,
    CONTAINERD_NAME,
    CREATED,
    DOCKER_LAYER,
    LAYERS,
    OCI_INDEX,
    OCI_LAYER,
    REF_NAME,
    SAMPLE,
    SHAPES,
    TAG,
    Document,
    Folder,
    config_of,
    describe,
    dump,
    gzipped,
    index_of,
    layout,
    pack,
    plain,
    plain_files,
)

IMAGE = SHAPES["docker-25"]().archive
GZIPPED = SHAPES["skopeo-oci-archive"]().archive
ZSTD = SHAPES["podman-zstd-chunked"]().archive
DOCKER_TYPES = SHAPES["buildx-docker"]().archive
TWO = SHAPES["several-images"]().archive
PLATFORMS = SHAPES["buildx-oci"]().archive


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Return the path of the sample."""
    path = tmp_path / "image.tar"
    path.write_bytes(IMAGE)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return an empty folder for results."""
    path = tmp_path / "out"
    path.mkdir()
    return path


def notes_of(index: Document) -> list[Document]:
    """Return the annotations of the descriptors of an index."""
    return [pointer.get("annotations") or {} for pointer in index["manifests"]]


# ---------------------------------------------------------------- options in conflict


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("-f 1 --keep-layers 1", "-f and --keep-layers exclude each other"),
        ("-t a --no-tag", "--tag and --no-tag exclude each other"),
        ("-q -v", "--quiet and --verbose exclude each other"),
        ("--dry-run --load", "--dry-run and --load exclude each other"),
        ("--keep-layers -1", "-1 is no number of layers"),
        ("-f 0", "0 rows leave nothing to squash"),
        ("--format tar", "tar"),
        ("--history half", "half"),
        ("--format docker -o oci:OUT/x", "oci: is not --format docker"),
        ("--format docker -o oci-archive:OUT/x", "oci-archive: is not --format docker"),
        ("--format oci -o docker-archive:OUT/x", "docker-archive: is not --format oci"),
        ("--format oci -o docker-daemon:app", "docker-daemon: is not --format oci"),
        ("--format oci --load", "the daemon takes --format docker"),
        ("--load -o oci:OUT/x", "the daemon takes --format docker"),
        ("--load -o oci-archive:OUT/x", "the daemon takes --format docker"),
        ("--load --format oci -o OUT/x", "the daemon takes --format docker"),
        ("-t a -o docker-archive:OUT/x:b", "the output names the image, and so do the tags"),
        ("--no-tag -o docker-archive:OUT/x:b", "the output names the image, and so do the tags"),
        ("-t a -o docker-daemon:b", "the output names the image, and so do the tags"),
        ("-o docker-archive:OUT/x:Bad", "is no image name"),
        ("-t Bad", "'Bad' is no image name"),
        ("-t a:b:c", "is no image name"),
        ("--cleanup", "--cleanup: needs a docker-daemon: input and --load"),
        ("--cleanup --load", "--cleanup: needs a docker-daemon: input and --load"),
        ("--report - -o -", "stdout takes the archive already"),
        ("--report -", "stdout takes the archive already"),
        ("--strict=nonsense", "'nonsense' is no kind of warning; give some of default-acl, "),
        ("--compress lz4", "'lz4' is not known; auto, none, gzip or zstd[:LEVEL]"),
        ("--compress gzip:10", "'10' is no level of gzip; 0 to 9"),
        ("--compress gzip:", "'' is no level of gzip"),
        ("--compress zstd:0", "'0' is no level of zstd; 1 to 19"),
        ("--compress zstd:-1", "'-1' is no level of zstd"),
        ("--compress none:1", "'none:1' is not known"),
        ("--message \udcff", "--message: is no UTF-8"),
        ("--created yesterday", "'yesterday' is no time; give RFC 3339 or epoch seconds"),
        ("--created 2024-02-30T00:00:00Z", "is no time"),
        ("--created 2024-01-01T00:00:00+24:00", "is no time"),
        ("--created 99999999999999999999", "is no time"),
        ("-o docker://registry/app", "the transport docker:// is not supported"),
        ("-o containers-storage:app", "the transport containers-storage: is not supported"),
        ("-o oci:", "names no path"),
    ],
)
def test_options_in_conflict(options: str, says: str, image: Path, out: Path) -> None:
    words = [word.replace("OUT", str(out)) for word in options.split()]
    assert says in failed(squash(*words, image), 2)
    assert os.listdir(out) == []


def test_cleanup_needs_load_and_a_daemon(image: Path) -> None:
    for words in (("docker-daemon:app", "-o", "-"), (str(image), "--load")):
        assert "--cleanup: needs" in failed(squash("--cleanup", *words), 2)


@pytest.mark.parametrize("option", ["-o", "-f"])
def test_an_empty_value_is_an_unset_variable(option: str, image: Path) -> None:
    assert "empty" in failed(squash(option, "", image), 2)


@pytest.mark.parametrize("value", ["-1", "many", "1.5"])
def test_a_size_that_is_none(value: str, image: Path) -> None:
    assert value in failed(squash("--max-size", value, image), 2)


@pytest.mark.parametrize("options", [["-t", "one"], ["-o", "oci-archive:{}/x:one"]])
def test_one_name_for_several_images(options: list[str], out: Path) -> None:
    words = [word.format(out) for word in options]
    line = failed(squash(*words, stdin=TWO), 2)
    assert "2 images, a name fits one; choose one with --image or --platform" in line
    assert os.listdir(out) == []
    words += ["--image", TAG]
    done(squash(*words, stdin=TWO))


def test_several_platforms_under_one_name(out: Path) -> None:
    line = failed(squash(stdin=PLATFORMS), 2)
    assert f"{TAG} names several images (linux/amd64, linux/arm64/v8)" in line
    assert "--platform" in line
    assert "--format oci" in line
    found = result.read(done(squash("--platform", "linux/arm64", stdin=PLATFORMS)).out)
    assert found.one.config["architecture"] == "arm64"
    done(squash("--format", "oci", stdin=PLATFORMS))
    done(squash("-o", f"oci:{out}/layout", stdin=PLATFORMS))
    done(squash("--no-tag", "--platform", "linux/amd64", stdin=PLATFORMS))


# ---------------------------------------------------------------- choosing images


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        (TAG, 1),
        ("debian:12", 1),
        ("docker.io/library/debian:12", 1),
        (sha256(SAMPLE), 1),
        ("sha256:" + sha256(SAMPLE)[:6], 1),
    ],
)
def test_an_image_of_several(name: str, layers: int) -> None:
    found = result.read(done(squash("--image", name, stdin=TWO)).out)
    assert len(found.one.layers) == layers
    tree = LAYERS[:2] if "debian" in name else LAYERS
    assert result.tree(found.one.layers) == result.tree(tree)


@pytest.mark.parametrize("name", ["debian", "none:1", sha256(SAMPLE)[:5], "sha256:ffffff"])
def test_an_image_that_is_not_there(name: str) -> None:
    ended = squash("--image", name, stdin=TWO)
    assert f"no image {name}; the archive holds those below" in failed(ended, 4)
    _, *table = ended.err.splitlines()
    assert table == [f"  {TAG} (linux/amd64)", "  debian:12 (linux/amd64)"]


@pytest.mark.parametrize("name", ["linux/arm64", "linux/arm64/v8", "Linux/aarch64"])
def test_a_platform(name: str) -> None:
    found = result.read(done(squash("--platform", name, stdin=PLATFORMS)).out)
    assert found.one.config["variant"] == "v8"
    assert len(found.files) == 3 + 3


@pytest.mark.parametrize("name", ["linux/arm64/v7", "windows/amd64", "linux", "amd64"])
def test_a_platform_that_is_not_there(name: str) -> None:
    assert f"no image {name}" in failed(squash("--platform", name, stdin=PLATFORMS), 4)


def test_an_image_for_a_platform() -> None:
    options = ("--image", TAG, "--platform")
    assert done(squash(*options, "linux/x86_64", stdin=PLATFORMS)).out
    line = failed(squash(*options, "linux/s390x", stdin=PLATFORMS), 4)
    assert f"no image {TAG} for linux/s390x" in line


def test_the_index_tree_without_what_was_not_chosen() -> None:
    options = ("--format", "oci", "--platform", "linux/amd64")
    found = result.read(done(squash(*options, stdin=PLATFORMS)).out)
    assert found.one.descriptor["platform"] == {"architecture": "amd64", "os": "linux"}
    assert found.index["manifests"][0]["mediaType"] == OCI_INDEX


def test_a_branch_of_the_index_that_was_not_chosen_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "layout"
    put(folder, SHAPES["umoci-layout"]().files)
    done(squash("--format", "oci", "-o", tmp_path / "oci.tar", "--image", "app", folder))
    found = result.read((tmp_path / "oci.tar").read_bytes())
    assert notes_of(found.index) == [{REF_NAME: "app"}]
    nested = SHAPES["buildx-oci"]().archive
    files = plain_files(nested)
    inner = index_of(*json.loads(files["index.json"])["manifests"])
    other = SHAPES["umoci-layout"]().files
    pointers = (
        describe(OCI_INDEX, inner, annotations={REF_NAME: "both"}),
        *json.loads(other["index.json"])["manifests"],
    )
    both = {**layout(index_of(*pointers), inner), **files, **other}
    both["index.json"] = index_of(*pointers)
    put(tmp_path / "both", both)
    for name, count in (("both", 2), ("base", 1)):
        source = f"oci:{tmp_path / 'both'}:{name}"
        found = result.read(done(squash("--format", "oci", source)).out)
        assert len(found.images) == count


def put(folder: Path, files: Folder) -> None:
    """Write the files of a layout."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


# ---------------------------------------------------------------- the config as text

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


# ---------------------------------------------------------------- names


def test_tags_replace_those_of_the_input(image: Path) -> None:
    found = result.read(done(squash("-t", "one", "-t", "x.example/two:2", image)).out)
    assert found.tags == [["one:latest", "x.example/two:2"]]
    full = ["docker.io/library/one:latest", "x.example/two:2"]
    assert notes_of(found.index) == [{CONTAINERD_NAME: x, REF_NAME: x} for x in full]


@pytest.mark.parametrize("form", ["docker", "oci"])
def test_no_tag_drops_them(form: str, image: Path) -> None:
    found = result.read(done(squash("--no-tag", "--format", form, image)).out)
    assert notes_of(found.index) == [{}]
    assert found.tags in ([[]], [])


def test_tags_in_the_oci_form() -> None:
    several = SHAPES["several-names"]().archive
    found = result.read(done(squash("--format", "oci", "-t", "one", stdin=several)).out)
    name = "docker.io/library/one:latest"
    assert notes_of(found.index) == [{CONTAINERD_NAME: name, REF_NAME: name}]


def test_the_reference_of_a_docker_archive_is_its_name(image: Path, out: Path) -> None:
    done(squash(image, "-o", f"docker-archive:{out}/x.tar:app:2"))
    assert result.read((out / "x.tar").read_bytes()).tags == [["app:2"]]
    done(squash(image, "-o", f"docker-archive:{out}/x.tar"))
    assert result.read((out / "x.tar").read_bytes()).tags == [[TAG]]


def test_the_reference_of_an_oci_archive(image: Path, out: Path) -> None:
    done(squash(image, "-o", f"oci-archive:{out}/x.tar:ref"))
    found = result.read((out / "x.tar").read_bytes())
    assert notes_of(found.index) == [{CONTAINERD_NAME: TAG, REF_NAME: "ref"}]
    assert not found.listed
    done(squash(image, "--no-tag", "-o", f"oci-archive:{out}/x.tar:ref"))
    found = result.read((out / "x.tar").read_bytes())
    assert notes_of(found.index) == [{REF_NAME: "ref"}]


# ---------------------------------------------------------------- the folder of a layout


def test_a_layout_is_made(image: Path, out: Path) -> None:
    done(squash(image, "-o", f"oci:{out}/new:ref"))
    found = result.read(result.folder(out / "new"))
    assert notes_of(found.index) == [{CONTAINERD_NAME: TAG, REF_NAME: "ref"}]
    assert result.tree(found.one.layers) == result.tree(LAYERS)
    assert sorted(os.listdir(out / "new")) == ["blobs", "index.json", "oci-layout"]
    modes = {stat.S_IMODE(path.stat().st_mode) for path in out.rglob("*") if path.is_file()}
    assert modes == {0o644}


def test_a_layout_without_a_reference_keeps_the_name(image: Path, out: Path) -> None:
    done(squash(image, "-o", f"oci:{out}/new"))
    found = result.read(result.folder(out / "new"))
    assert notes_of(found.index) == [{CONTAINERD_NAME: TAG, REF_NAME: TAG}]


def test_a_layout_in_an_empty_folder_and_in_none(image: Path, out: Path) -> None:
    done(squash(image, "-o", f"oci:{out}:ref"))
    assert result.read(result.folder(out)).one
    assert "No such file" in failed(squash(image, "-o", f"oci:{out}/no/such"), 6)


def test_other_images_of_a_layout_stay(image: Path, out: Path) -> None:
    put(out, SHAPES["umoci-layout"]().files)
    before = result.folder(out)
    done(squash(image, "-o", f"oci:{out}:new"))
    after = result.folder(out)
    found = result.read(after)
    assert [each[REF_NAME] for each in notes_of(found.index)] == ["app", "base", "new"]
    assert {**after, "index.json": b""} | {**before, "index.json": b""} == {
        **after,
        "index.json": b"",
    }
    assert [len(each.layers) for each in found.images] == [5, 2, 1]


def test_a_name_that_is_there_leads_to_the_new_image(image: Path, out: Path) -> None:
    put(out, SHAPES["umoci-layout"]().files)
    done(squash("--keep-layers", "2", f"oci:{out}:app", "-o", f"oci:{out}:app"))
    found = result.read(result.folder(out), lenient=True)
    assert [each[REF_NAME] for each in notes_of(found.index)] == ["base", "app"]
    assert [len(each.layers) for each in found.images] == [2, 3]
    same = result.folder(out)
    done(squash("--keep-layers", "2", f"oci:{out}:app", "-o", f"oci:{out}:app"))
    assert result.folder(out) == same


def test_images_without_a_name_do_not_displace_each_other(image: Path, out: Path) -> None:
    for keep in ("0", "1", "0", "1"):
        done(squash("--keep-layers", keep, "--no-tag", image, "-o", f"oci:{out}"))
    found = result.read(result.folder(out))
    assert [len(each.layers) for each in found.images] == [1, 2]


def test_two_platforms_go_to_a_layout(out: Path) -> None:
    done(squash("-o", f"oci:{out}", stdin=PLATFORMS))
    found = result.read(result.folder(out))
    assert [each.config["architecture"] for each in found.images] == ["amd64", "arm64"]
    assert notes_of(found.index)[0][REF_NAME] == TAG


@pytest.mark.parametrize("fails", range(8))
@pytest.mark.parametrize("there", [False, True])
def test_after_a_failure_a_layout_is_as_it_was(
    fails: int, there: bool, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "layout"
    if there:
        put(folder, SHAPES["umoci-layout"]().files)
    before = sorted(tmp_path.rglob("*")), result.folder(folder) if there else {}
    real, count = os.replace, iter(range(99))

    def full(source: str, target: str) -> None:
        if next(count) == fails:
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    outcome = squash(image, "--keep-layers", "1", "-o", f"oci:{folder}:new")
    total = next(count)
    if fails >= total:
        assert outcome.code == 0
        return
    assert "No space left" in failed(outcome, 6)
    assert (sorted(tmp_path.rglob("*")), result.folder(folder) if there else {}) == before


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"manifests":[1]}'])
def test_a_layout_whose_index_is_damaged_is_as_it_was(text: bytes, image: Path, out: Path) -> None:
    put(out, {"index.json": text, "oci-layout": b"{}"})
    before = sorted(out.rglob("*"))
    assert "index.json" in failed(squash(image, "-o", f"oci:{out}"), 6)
    assert sorted(out.rglob("*")) == before
    assert (out / "index.json").read_bytes() == text


def test_a_layout_in_place_of_a_file_or_with_a_folder_for_its_index(image: Path, out: Path) -> None:
    (out / "file").write_bytes(b"x")
    failed(squash(image, "-o", f"oci:{out}/file"), 6)
    (out / "layout" / "index.json").mkdir(parents=True)
    before = sorted(out.rglob("*"))
    assert "index.json" in failed(squash(image, "-o", f"oci:{out}/layout"), 6)
    assert sorted(out.rglob("*")) == before


def test_a_layout_keeps_blobs_that_are_there_and_mends_short_ones(image: Path, out: Path) -> None:
    done(squash(image, "-o", f"oci:{out}"))
    whole = result.folder(out)
    (short, *_rest) = sorted((out / "blobs" / "sha256").iterdir())
    short.write_bytes(short.read_bytes()[:-1])
    done(squash(image, "-o", f"oci:{out}"))
    assert result.folder(out) == whole


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("name", "unpack", "notice"),
    [
        ("x.tar.gz", gzip.decompress, "compressed with gzip: docker loads it"),
        ("x.tgz", gzip.decompress, "compressed with gzip: docker loads it"),
        ("x.tar.zst", zstd.decompress, "compressed with zstd: docker before 29"),
        ("x.tar", bytes, ""),
        ("x.gz", bytes, ""),
    ],
)
@pytest.mark.parametrize("transport", ["", "docker-archive:", "oci-archive:"])
def test_a_name_that_asks_for_compression(
    name: str,
    unpack: Callable[[bytes], bytes],
    notice: str,
    transport: str,
    image: Path,
    out: Path,
) -> None:
    written = []
    for _ in range(2):
        outcome = done(squash(image, "-o", f"{transport}{out}/{name}"))
        written.append((out / name).read_bytes())
        (out / name).unlink()
    assert written[0] == written[1]
    found = result.read(unpack(written[0]))
    assert result.tree(found.one.layers) == result.tree(LAYERS)
    assert bool(notice) == ("the archive is compressed" in outcome.err)
    assert notice in outcome.err


def test_an_archive_in_place_of_a_folder(image: Path, out: Path) -> None:
    for transport in ("docker-archive", "oci-archive"):
        assert "is a folder" in failed(squash(image, "-o", f"{transport}:{out}"), 6)
    assert os.listdir(out) == []


def test_a_fifo_behind_a_transport(image: Path, out: Path) -> None:
    os.mkfifo(out / "fifo")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append((out / "fifo").read_bytes()))
    reader.start()
    done(squash(image, "-o", f"oci-archive:{out}/fifo"))
    reader.join()
    assert result.read(got[0]).one


def test_windows_drives_and_references() -> None:
    assert parse_location("oci-archive:C:\\x.tar:app:1") == Location(
        "oci-archive", "C:\\x.tar", "app:1"
    )
    assert parse_location("oci:/x:y") == Location("oci", "/x", "y")
    assert parse_location("docker-daemon:sha256:ab") == Location("docker-daemon", "sha256:ab")
    assert parse_location("C:\\x.tar") == Location("path", "C:\\x.tar")
    assert parse_location("-") == Location("stream", "-")


def test_the_library_takes_no_stream_without_its_file_object(image: Path, out: Path) -> None:
    with pytest.raises(squasher.UsageError, match="give a file object"):
        squasher.squash_archive(image, parse_location("-"))
    with (
        pytest.raises(squasher.UsageError, match="give a file object"),
        squasher.open_archive(parse_location("-")),
    ):
        pass
    squasher.squash_archive(parse_location(str(image)), parse_location(f"{out}/x.tar", output=True))
    assert result.read((out / "x.tar").read_bytes()).one
    squasher.write((), parse_location(f"oci:{out}/layout"))
    with (
        pytest.raises(squasher.ArchiveError, match="names no image"),
        squasher.open_archive(parse_location(f"{out}/layout")),
    ):
        pass


def test_a_form_that_is_none(image: Path) -> None:
    with pytest.raises(squasher.UsageError, match="'tar' is neither docker nor oci"):
        squasher.squash_archive(image, None, form="tar")  # type: ignore[arg-type]


def test_no_destination_writes_nothing(image: Path, out: Path) -> None:
    report = squasher.squash_archive(image, None)
    assert report.size > 0
    assert report.loaded == ()
    outcome = done(squash("--dry-run", image, "-o", f"oci:{out}/x", "--report", out / "r.json"))
    assert outcome.out == b""
    assert os.listdir(out) == ["r.json"]


# ---------------------------------------------------------------- compression

HEADS = {"none": b"", "gzip": b"\x1f\x8b\x08\0\0\0\0\0\0\xff", "zstd": b"\x28\xb5\x2f\xfd"}


@pytest.mark.parametrize("form", ["docker", "oci"])
@pytest.mark.parametrize("how", ["none", "gzip", "gzip:1", "gzip:9", "zstd", "zstd:1", "zstd:19"])
@pytest.mark.parametrize("docker_types", [False, True])
def test_a_new_layer_is_stored_as_asked(how: str, form: str, docker_types: bool) -> None:
    source = DOCKER_TYPES if docker_types else GZIPPED
    options = ("--keep-layers", "2", "--compress", how, "--format", form)
    outcome = done(squash(*options, stdin=source))
    assert outcome.out == done(squash(*options, stdin=source)).out
    image = result.read(outcome.out).one
    name = how.partition(":")[0]
    head = HEADS[name]
    assert image.blobs[2].startswith(head)
    assert bool(head) == (image.blobs[2] != image.layers[2])
    # docker has no type for zstd, and no layout takes its types.
    docker = docker_types and form == "docker" and name != "zstd"
    types = [each["mediaType"] for each in (image.manifest, *image.manifest["layers"])]
    assert all(each.startswith("application/vnd.docker.") == docker for each in types)
    suffix = "" if name == "none" else f".{name}" if docker else f"+{name}"
    assert types[3] == (DOCKER_LAYER if docker else OCI_LAYER) + suffix
    assert image.descriptor["mediaType"] == types[0]
    assert ("docker before 23 does not load it" in outcome.err) == (name == "zstd")


def test_levels_differ_and_give_the_same_image() -> None:
    made = {}
    for how in ("none", "gzip:1", "gzip:9", "zstd:1", "zstd:19"):
        made[how] = result.read(done(squash("--compress", how, stdin=big())).out).one
    assert len({each.image_id for each in made.values()}) == 1
    assert len({each.blobs for each in made.values()}) == len(made)
    assert len(made["gzip:9"].blobs[0]) < len(made["gzip:1"].blobs[0])


def big() -> bytes:
    """Return an image whose merged layer is larger than a window."""
    text = b"".join(b"%d squared is %d\n" % (n, n * n) for n in range(150_000))
    return archive([layer(File(b"a", text)), layer(File(b"b", text[::-1]))])


@pytest.mark.parametrize("how", ["none", "gzip", "zstd"])
def test_threads_change_nothing(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    results = set()
    for threads in (1, 4):
        monkeypatch.setattr(job, "_THREADS", threads)
        results.add(done(squash("--compress", how, "--format", "oci", stdin=big())).out)
    assert len(results) == 1


@pytest.mark.parametrize(
    ("source", "form", "name"),
    [
        (IMAGE, "docker", "none"),
        (GZIPPED, "docker", "gzip"),
        (ZSTD, "docker", "gzip"),
        (ZSTD, "oci", "zstd"),
        (SHAPES["layers-of-mixed-compression"]().archive, "oci", "gzip"),
    ],
)
def test_auto_stores_it_as_the_newest_layer_was(source: bytes, form: str, name: str) -> None:
    outcome = done(squash("--keep-layers", "3", "--format", form, stdin=source))
    image = result.read(outcome.out).one
    assert image.blobs[3].startswith(HEADS[name])
    assert bool(HEADS[name]) == (image.blobs[3] != image.layers[3])


@pytest.mark.parametrize("compression", ["xz", "bzip2"])
def test_auto_after_what_is_only_read(compression: str) -> None:
    ways: dict[str, Callable[[bytes], bytes]] = {"xz": lzma.compress, "bzip2": bz2.compress}
    image = plain(SAMPLE, [ways[compression](data) for data in LAYERS])
    outcome = done(squash("--keep-layers", "1", stdin=image))
    found = result.read(outcome.out).one
    assert found.blobs[1].startswith(HEADS["gzip"])
    assert f"a kept layer is compressed with {compression}: containerd does not" in outcome.err


def test_a_kept_zstd_layer_gives_a_notice() -> None:
    outcome = done(squash("--keep-layers", "1", stdin=ZSTD))
    assert "a layer is compressed with zstd: docker before 23 does not load it" in outcome.err
    outcome = done(squash("--compress", "none", stdin=ZSTD))
    assert "zstd" not in outcome.err


# ---------------------------------------------------------------- times


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("source", CREATED),
        ("2020-02-29T12:00:00Z", "2020-02-29T12:00:00Z"),
        ("2020-02-29T12:00:00.123456789+01:30", "2020-02-29T12:00:00.123456789+01:30"),
        ("0", "1970-01-01T00:00:00Z"),
        ("1700000000", "2023-11-14T22:13:20Z"),
        ("now", "2001-09-09T01:46:40Z"),
    ],
)
def test_created(option: str, expected: str, monkeypatch: pytest.MonkeyPatch, image: Path) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    config = result.read(done(squash("--created", option, image)).out).one.config
    assert config["created"] == config["history"][-1]["created"] == expected
    assert config["history"][0]["created"] == CREATED


def test_now_is_one_time_for_all_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    found = result.read(done(squash("--created", "now", stdin=TWO)).out).images
    assert len(found) == 2
    assert len({image.config["created"] for image in found}) == 1


def test_created_now_is_the_clock(monkeypatch: pytest.MonkeyPatch, image: Path) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    before = datetime.datetime.now(datetime.timezone.utc)
    config = result.read(done(squash("--created", "now", image)).out).one.config
    made = datetime.datetime.fromisoformat(config["created"].replace("Z", "+00:00"))
    assert before <= made <= datetime.datetime.now(datetime.timezone.utc)


def test_created_that_is_absent_stays_absent() -> None:
    config = config_of()
    del config["created"]
    image = plain(config, LAYERS)
    found = result.read(done(squash(stdin=image)).out).one.config
    assert "created" not in found
    assert "created" not in found["history"][-1]
    found = result.read(done(squash("--created", "0", stdin=image)).out).one.config
    assert found["created"] == found["history"][-1]["created"] == "1970-01-01T00:00:00Z"


@pytest.mark.parametrize("value", ["soon", "-1", "1.5", "9" * 30, "2024-01-01T00:00:00Z"])
def test_a_malformed_source_date_epoch(
    value: str, monkeypatch: pytest.MonkeyPatch, image: Path
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", value)
    line = failed(squash("--created", "now", image), 2)
    assert line.startswith("SOURCE_DATE_EPOCH: ")
    done(squash(image))


# ---------------------------------------------------------------- the report


def test_the_report_as_json(image: Path, out: Path) -> None:
    options = ("--keep-layers", "2", "--compress", "gzip", "-t", "app")
    done(squash(*options, image, "-o", out / "x.tar", "--report", out / "report.json"))
    report = json.loads((out / "report.json").read_text())
    written = (out / "x.tar").read_bytes()
    found = result.read(written).one
    assert (report["schema"], report["format"]) == (1, "docker")
    assert report["version"] == squasher.__version__
    assert report["archive_size"] == len(written)
    assert report["seconds"] >= 0
    (one,) = report["images"]
    assert one["tags"] == ["app:latest"]
    assert one["platform"] == "linux/amd64"
    assert one["squashed"] is True
    assert one["kept_layers"] == 2
    assert one["source_image_id"] == "sha256:" + sha256(SAMPLE)
    assert one["image_id"] == found.image_id
    assert one["manifest_digest"] == found.descriptor["digest"]
    assert one["size_before"] == sum(map(len, LAYERS))
    assert one["size_after"] == sum(map(len, found.blobs))
    assert one["compressor"].startswith("zlib ")
    assert (one["overwritten"], one["deleted"], one["provided_by_base"]) == (1, 0, 1)
    assert one["whiteouts"] == 2
    assert [each["diff_id"] for each in one["layers_after"]] == found.config["rootfs"]["diff_ids"]
    digests = [f"sha256:{sha256(data)}" for data in found.blobs]
    assert [each["digest"] for each in one["layers_after"]] == digests
    assert [each["size"] for each in one["layers_after"]] == [len(data) for data in found.blobs]
    assert [each["created_by"] for each in one["layers_before"]] == [
        f"RUN step {n} # buildkit" for n in range(5)
    ]
    assert [each["entries"] for each in one["layers_before"]] == [9, 3, 3, 3, 3]


def test_the_report_of_zstd_names_its_library(image: Path, out: Path) -> None:
    report = out / "r.json"
    for how, name in (("zstd", "zstd "), ("none", "")):
        done(squash("--compress", how, image, "--report", report))
        compressor = json.loads(report.read_text())["images"][0]["compressor"]
        assert compressor.startswith(name)
        assert bool(compressor) == bool(name)


WARNS = archive(
    [
        layer(File(b"a`|*_<b>", b"1"), File(b"a`|*_<b>", b"2")),
        layer(File(b"c"), File(b"c"), File(b"d"), File(b"d")),
    ]
)


def test_the_report_has_all_warnings(out: Path) -> None:
    outcome = done(squash("--report", out / "r.json", stdin=WARNS))
    (one,) = json.loads((out / "r.json").read_text())["images"]
    assert one["warnings"] == [
        {"kind": "duplicate-path", "layer": 0, "path": "a`|*_<b>"},
        {"kind": "duplicate-path", "layer": 1, "path": "c"},
        {"kind": "duplicate-path", "layer": 1, "path": "d"},
    ]
    assert outcome.err.count("duplicate-path") == 1
    assert "and 2 more" in outcome.err
    outcome = done(squash("-v", stdin=WARNS))
    assert "         layer 2, 'd'" in outcome.err or "         layer 2, d" in outcome.err


def test_the_report_as_markdown(out: Path) -> None:
    done(squash("--report", out / "r.md", "-o", out / "x.tar.gz", stdin=WARNS))
    text = (out / "r.md").read_text()
    assert "duplicate-path" in text
    assert "the archive is compressed with gzip" in text
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    done(squash("--keep-layers", "1", "--report", out / "r.md", stdin=WARNS))
    assert "nothing to squash" in (out / "r.md").read_text()


def test_the_report_on_stdout_when_the_archive_goes_elsewhere(image: Path, out: Path) -> None:
    for destination in (f"{out}/x.tar", f"oci:{out}/layout", f"oci-archive:{out}/y.tar"):
        outcome = done(squash(image, "-o", destination, "--report", "-"))
        assert json.loads(outcome.out)["schema"] == 1
    outcome = done(squash("--dry-run", image, "--report", "-"))
    assert json.loads(outcome.out)["images"]


def test_a_report_that_cannot_be_written(image: Path, out: Path) -> None:
    """That is told before an archive is made, and takes the place of an older one."""
    old = out / "x.tar"
    old.write_bytes(b"old")
    for report in (out / "no" / "r.json", out):
        failed(squash(image, "-o", old, "--report", report), 6)
        assert old.read_bytes() == b"old"


@pytest.mark.parametrize("option", ["--report", "inspect --html"])
def test_a_report_never_takes_the_place_of_an_image(
    option: str, image: Path, tmp_path: Path
) -> None:
    data = image.read_bytes()
    (tmp_path / "link").symlink_to(image)
    os.link(image, tmp_path / "other")
    *command, name = option.split()
    words = command or ["-o", str(tmp_path / "o.tar")]
    for path in (image, tmp_path / "link", tmp_path / "other"):
        failed(squash(*words, image, name, path), 2)
    assert image.read_bytes() == data
    assert not (tmp_path / "o.tar").exists()


def test_a_report_never_takes_the_place_of_a_base_or_of_a_part_of_a_layout(
    image: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base.tar"
    base.write_bytes(archive(LAYERS[:1]))
    for text in (base, f"docker-archive:{base}"):
        line = failed(squash("-f", text, image, "-o", tmp_path / "o", "--report", base), 2)
        assert line == f"--report {base}: the image is read from there"
    layout = tmp_path / "layout"
    done(squash(image, "-o", f"oci:{layout}"))
    index = layout / "index.json"
    failed(squash(image, "-o", f"oci:{layout}", "--report", index), 2)
    failed(squash(f"oci:{layout}", "-o", tmp_path / "o", "--report", index), 2)
    done(squash(f"oci:{layout}", "-o", tmp_path / "o", "--report", layout / "r.json"))


@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_a_report_to_the_stdout_that_the_archive_has(path: str, image: Path) -> None:
    line = failed(squash(image, "-o", "-", "--report", path), 2)
    assert line == f"--report {path}: stdout takes the archive already"


def test_a_dry_run_plans_for_the_destination(tmp_path: Path) -> None:
    source = tmp_path / "in.tar"
    source.write_bytes(ZSTD)
    found = []
    for more in ((), ("--dry-run",)):
        report = tmp_path / "r.json"
        words = ("--keep-layers", "2", source, "-o", f"oci:{tmp_path}/layout:x", "--report", report)
        done(squash(*words, *more))
        document = json.loads(report.read_bytes())
        for key in ("seconds", "profile"):
            document.pop(key, None)
        found.append(document)
    assert found[0] == found[1]
    for bad in ("docker://x", "", f"oci:{tmp_path}/o"):
        failed(squash("--dry-run", source, "-o", bad, "--format", "docker"), 2)


@pytest.mark.parametrize(
    "words",
    [
        ("--image", ""),
        ("--platform", ""),
        ("-o", ""),
        ("--report", ""),
        ("-f", ""),
        ("--tmp-dir", ""),
    ],
)
def test_an_empty_text_is_an_unset_variable(words: tuple[str, str], image: Path) -> None:
    assert "empty" in failed(squash(image, "-o", "-" if "-o" not in words else "", *words), 2)
    failed(squash("", "-o", "-"), 2)


def test_a_folder_that_is_not_there_is_no_file(image: Path, out: Path) -> None:
    assert failed(squash(image, "-o", f"{out}/no/"), 6) == f"{out}/no/: no such folder"
    assert os.listdir(out) == []


def test_outputs_of_other_tools_are_refused_with_the_line_that_writes_them(image: Path) -> None:
    line = failed(squash(image, "-o", "docker://example.com/app"), 2)
    assert "`skopeo copy oci-archive:image.tar docker://example.com/app`" in line
    line = failed(squash(image, "-o", "containers-storage:app"), 2)
    assert "`podman load -i image.tar`" in line
    line = failed(squash(image, "-o", "docker-daemon:sha256:123456789012"), 2)
    assert "ID follows from its content" in line


def test_images_of_one_name_keep_their_references(tmp_path: Path) -> None:
    """`oci:DIR:REF` tells them apart; the name alone would lose one of them."""
    layout, again = tmp_path / "layout", tmp_path / "again.tar"
    for ref, keep in (("v1", "1"), ("v2", "2")):
        source = tmp_path / f"{ref}.tar"
        source.write_bytes(IMAGE)
        done(squash(source, "--keep-layers", keep, "-o", f"oci:{layout}:{ref}"))
    done(squash(layout, "-o", again, "--format", "oci", "--verify"))
    index = json.loads(plain_files(again.read_bytes())["index.json"])
    found = [pointer["annotations"][REF_NAME] for pointer in index["manifests"]]
    assert found == ["v1", "v2"]
    done(squash(layout, "-o", f"oci:{layout}"))
    index = json.loads((layout / "index.json").read_bytes())
    assert [x["annotations"][REF_NAME] for x in index["manifests"]] == ["v1", "v2"]
    line = failed(squash(layout, "-o", again), 2)
    assert "choose one by its reference, oci:DIR:REF" in line


def test_a_damaged_image_is_refused_though_nothing_is_to_be_squashed(out: Path) -> None:
    broken = [layer(File(b"a")), layer(Hardlink(b"b", b"nowhere"))]
    for keep in ("0", "1"):
        line = failed(squash("--keep-layers", keep, "-o", out / "x", stdin=archive(broken)), 3)
        assert line.startswith("stdin: layer 2 of 2: 'b': hard link to 'nowhere'")


def test_holes_count_for_the_size_that_an_image_unpacks_to() -> None:
    image = archive([layer(Sparse(b"s", 10 << 30, [(0, b"x")], "1.0"))] * 2)
    done(squash("--max-size", str((20 << 30) + 9999), stdin=image))
    for keep in ("0", "2"):
        line = failed(squash("--keep-layers", keep, "--max-size", "9999999", stdin=image), 3)
        assert "unpacks to more than 9999999 bytes" in line


def test_an_image_that_is_not_all_there_beside_others(tmp_path: Path) -> None:
    files = plain_files(archive(LAYERS[:2]))
    (item,) = json.loads(files["manifest.json"])
    gone = {**item, "RepoTags": ["gone:1"], "Layers": [*item["Layers"][:1], "gone/layer.tar"]}
    files["manifest.json"] = dump([gone, item])
    outcome = done(squash(stdin=pack(files)))
    assert "left out images whose blobs are not all in the archive (1)" in outcome.err
    files["manifest.json"] = dump([gone])
    assert "manifest.json[0].Layers[1]" in failed(squash(stdin=pack(files)), 3)


def test_the_summary_names_sizes_and_ids(image: Path) -> None:
    outcome = done(squash("--keep-layers", "1", image))
    found = result.read(outcome.out).one
    for text in (
        "before ",
        "after ",
        "kept: RUN step 0",
        "squashed",
        "% saved)",
        "2 overwritten, 0 deleted, 1 already in the base",
        f"tags     {TAG}",
        f"image    {found.image_id}",
        f"manifest {found.descriptor['digest']}",
    ):
        assert text in outcome.err


def test_the_summary_of_many_layers() -> None:
    layers = [layer(File(b"f%d" % n, b"x" * 10**5)) for n in range(50)]
    outcome = done(squash(stdin=archive(layers, tags=None)))
    assert "... and 10 more" in outcome.err
    assert "MB" in outcome.err
    assert "tags     none" in outcome.err


# ---------------------------------------------------------------- proofs


@pytest.mark.parametrize("name", SHAPES)
def test_verify_proves_what_is_right(name: str, tmp_path: Path) -> None:
    shape = SHAPES[name]()
    outcome = squash("--verify", "--keep-layers", "1", "--format", "oci", stdin=shape.archive)
    assert done(outcome).out
    done(squash("--verify", "-o", tmp_path / "x", "--format", "oci", stdin=shape.archive))


@pytest.mark.parametrize("destination", ["{}/x.tar", "{}/x.tar.gz", "oci:{}/layout", "-"])
def test_verify_of_every_way_out(destination: str, image: Path, out: Path) -> None:
    done(squash("--verify", "-v", image, "-o", destination.format(out)))


Plant = Callable[[pytest.MonkeyPatch], None]


def plant_byte(patch: pytest.MonkeyPatch) -> None:
    """Write a wrong byte into the archive or the blob."""

    def wrong(real: Callable[..., Iterator[bytes]], *arguments: Any) -> Iterator[bytes]:
        for chunk in real(*arguments):
            yield chunk.replace(b"hello again", b"hello ag\0in")

    for name in ("chunks", "_counted"):
        patch.setattr(writer, name, partial(wrong, getattr(writer, name)))


def plant_merge(patch: pytest.MonkeyPatch) -> None:
    """Take files for the same that are not: the new one is left out."""
    patch.setattr(_squash, "same_content", lambda pairs, uppers, lowers: set(pairs))


def plant_kept(patch: pytest.MonkeyPatch) -> None:
    """Write the kept layer otherwise: the same files, but another blob."""
    real = writer.lay_out

    def wrong(found: squasher.Archive, *arguments: Any, **options: Any) -> Any:
        (first, *rest), image = found.images[0].layers, found.images[0]
        data = gzip.compress(first.blob.content.read_at(0, first.blob.size))
        media_type = "application/vnd.oci.image.layer.v1.tar+gzip"
        blob = Blob(Content((data,)), media_type, squasher.Digest.of(data), "gzip")
        other = replace(image, layers=(replace(first, blob=blob, descriptor={}), *rest))
        return real(replace(found, images=(other,)), *arguments, **options)

    patch.setattr(writer, "lay_out", wrong)


def plant_image(patch: pytest.MonkeyPatch) -> None:
    """Write another image."""
    real = writer.lay_out

    def wrong(found: squasher.Archive, *arguments: Any, **options: Any) -> Any:
        other = replace(found.images[0], config=replace(found.images[0].config, raw=ARM))
        return real(replace(found, images=(other,)), *arguments, **options)

    patch.setattr(writer, "lay_out", wrong)


SAME_HEADER = plain(
    config_of(
        layers := (
            layer(File(b"f", b"hello again")),
            layer(File(b"f", b"hello Again")),
            layer(File(b"g")),
        )
    ),
    layers,
)


@pytest.mark.parametrize(
    ("plant", "says"),
    [
        (plant_byte, "expected sha256:"),
        (plant_merge, "'f' differs: content"),
        (plant_kept, "kept layer 1 is not the same"),
        (plant_image, ""),
    ],
)
@pytest.mark.parametrize("destination", ["{}/x.tar", "{}/x.tar.gz", "oci:{}/layout", "-"])
def test_verify_catches_what_is_wrong(
    plant: Plant, says: str, destination: str, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    words = ("--keep-layers", "1", "-o", destination.format(out))
    line = failed(squash("--verify", *words, stdin=SAME_HEADER), 1)
    assert line.startswith("not verified: ")
    assert says in line
    assert os.listdir(out) == []


def test_verify_comes_before_a_fifo_gets_anything(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be taken back is first written to --tmp-dir (contract of --verify)."""
    fifo = out / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        done(squash("--verify", "--keep-layers", "1", "-o", fifo, stdin=SAME_HEADER))
        good = os.read(reader, 1 << 20)
        assert result.read(good).one
        plant_image(monkeypatch)
        line = failed(squash("--verify", "--keep-layers", "1", "-o", fifo, stdin=SAME_HEADER), 1)
        assert line.startswith("not verified: ")
        assert os.read(reader, 1 << 20) == b""
    finally:
        os.close(reader)


# ---------------------------------------------------------------- policies


def test_strict_refuses_images_on_which_engines_disagree(image: Path, out: Path) -> None:
    for option in ("--strict", "--strict=duplicate-path", "--strict=odd-mtime,duplicate-path"):
        line = failed(squash(option, "-o", out / "x.tar", stdin=WARNS), 1)
        assert "engines disagree about layer 1: duplicate-path: 'a`|*_<b>'" in line
    done(squash("--strict=odd-mtime", stdin=WARNS))
    line = failed(squash("--strict", image), 1)
    assert "engines disagree about layer 4: implicit-base-directory" in line
    assert line == failed(squash("--strict", "--keep-layers", "4", image), 1)
    done(squash("--strict=duplicate-path", image))
    assert os.listdir(out) == []


@pytest.mark.parametrize("source", [IMAGE, GZIPPED, ZSTD])
@pytest.mark.parametrize("keep", ["0", "4", "5"])
def test_max_size(source: bytes, keep: str) -> None:
    total = sum(map(len, LAYERS))
    options = ("--keep-layers", keep, "--max-size")
    done(squash(*options, str(total), stdin=source))
    line = failed(squash(*options, str(total - 1), stdin=source), 3)
    assert f"the image unpacks to more than {total - 1} bytes" in line


# ---------------------------------------------------------------- the library


def test_the_base_and_options_together() -> None:
    with squasher.open_archive(io.BytesIO(IMAGE)) as archive:
        image = archive.images[0]
        options = squasher.Options(history="drop")
        assert squasher.squash(image, "3", options=options).kept == squasher.squash(image, "3").kept
        with pytest.raises(squasher.UsageError, match="given twice"):
            squasher.squash(image, "3", options=squasher.Options(base="3"))
    with pytest.raises(squasher.UsageError, match="neither keep nor drop"):
        squasher.Options(history="x")  # type: ignore[arg-type]


def test_the_side_of_a_comparison_that_is_damaged(tmp_path: Path) -> None:
    damaged = bytearray(IMAGE)
    damaged[IMAGE.index(LAYERS[2]) + 600] ^= 1
    for sides in ((IMAGE, damaged), (damaged, IMAGE)):
        place = ("before", "after")[sides.index(damaged)]
        with (
            squasher.open_archive(io.BytesIO(sides[0])) as one,
            squasher.open_archive(io.BytesIO(sides[1])) as two,
            pytest.raises(squasher.ArchiveError) as raised,
        ):
            squasher.compare(one.images[0], two.images[0])
        assert raised.value.where.startswith(f"{place}: layer 3 of 5")


def test_writing_and_comparing_images(image: Path, out: Path) -> None:
    with squasher.open_archive(image) as found:
        squashed = squasher.squash(found.images[0], "4")
        written = squasher.write([squashed.image], out / "x.tar")
        assert written.size == (out / "x.tar").stat().st_size
        assert squasher.compare(found.images[0], squashed.image, tmp_dir=out) == ()
        with squasher.open_archive(io.BytesIO(SAME_HEADER)) as other:
            differences = squasher.compare(squashed.image, other.images[0])
        assert differences
        assert all(each.path and each.what for each in differences)
    with squasher.open_archive(parse_location(f"docker-archive:{out}/x.tar:{TAG}")) as again:
        assert again.images[0].config == squashed.image.config


def test_writing_to_a_layout_and_to_a_stream(image: Path, out: Path) -> None:
    with squasher.open_archive(image) as found:
        squasher.write(found.images, parse_location(f"oci:{out}/layout:x"))
        stream = io.BytesIO()
        squasher.write(found.images, stream, form="oci")
    assert result.read(result.folder(out / "layout")).one.raw_config == SAMPLE
    assert result.read(stream.getvalue()).one.raw_config == SAMPLE


def test_writing_blobs_that_no_document_names() -> None:
    data = archive(LAYERS, form="legacy", gzip_layers=range(len(LAYERS)))
    stream = io.BytesIO()
    with squasher.open_archive(io.BytesIO(data)) as found:
        squasher.write(found.images, stream)
    assert result.read(stream.getvalue()).one.layers == LAYERS


def test_writing_under_the_name_of_the_destination(image: Path, out: Path) -> None:
    with squasher.open_archive(image) as found:
        squasher.write(found.images, parse_location(f"docker-archive:{out}/x.tar:new:1"))
        assert result.read((out / "x.tar").read_bytes()).tags == [["new:1"]]
        for name in ("docker-archive", "oci-archive"):
            destination = parse_location(f"{name}:{out}/two.tar:new:1")
            with pytest.raises(squasher.UsageError, match="a name fits one"):
                squasher.write(found.images * 2, destination)


def test_progress_reaches_what_it_announces(image: Path, out: Path) -> None:
    for source in (image, io.BytesIO(GZIPPED), io.BytesIO(TWO)):
        counts: dict[str, int] = {}
        totals: dict[str, int] = {}

        def progress(phase: str, done: int, total: int) -> None:
            counts[phase] = counts.get(phase, 0) + done  # noqa: B023
            totals[phase] = total  # noqa: B023

        layout_ = parse_location(f"oci:{out}/{len(os.listdir(out))}", output=True)
        for destination in (io.BytesIO(), out / "out.tar", layout_):
            counts.clear()
            squasher.squash_archive(source, destination, progress=progress)
            assert counts["write"] == totals["write"] > 0
            assert counts["read"] == totals["read"] > 0


def test_two_images_of_one_name_cannot_be_written() -> None:
    with squasher.open_archive(io.BytesIO(TWO)) as found:
        images = [replace(image, tags=("app:1",)) for image in found.images]
        with pytest.raises(squasher.UsageError, match="names several images"):
            squasher.write(images, io.BytesIO())


def test_the_warnings_of_a_report() -> None:
    report = squasher.squash_archive(io.BytesIO(WARNS), io.BytesIO())
    assert len(report.warnings) == 3


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


def test_outer_gzip_input_that_is_a_pipe_to_a_gzip_output(out: Path) -> None:
    done(squash("-o", out / "x.tar.gz", stdin=gzipped(IMAGE)))
    assert result.read(gzip.decompress((out / "x.tar.gz").read_bytes())).tags == [[TAG]]


def test_a_layout_of_docker_types_speaks_oci(out: Path) -> None:
    """What podman and umoci take from a layout, with the digests of all kept layers."""
    ctr = SHAPES["ctr-export"]()
    done(squash("--keep-layers", "2", "-o", f"oci:{out}:app", stdin=ctr.archive))
    found = result.read(result.folder(out))
    assert b"vnd.docker" not in b"".join(
        data for data in found.files.values() if data.startswith(b"{")
    )
    (source,) = ctr.images
    kept = [each["digest"] for each in source.descriptors[:2]]
    assert [each["digest"] for each in found.one.manifest["layers"][:2]] == kept


def test_an_image_that_is_listed_twice_is_one() -> None:
    files = plain_files(plain(SAMPLE, LAYERS))
    (entry,) = json.loads(files["manifest.json"])
    again = {**entry, "RepoTags": ["app:1", TAG]}
    files["manifest.json"] = dump([entry, again])
    found = result.read(done(squash(stdin=pack(files))).out)
    assert found.tags == [[TAG, "app:1"]]


def test_the_report_does_not_go_where_the_archive_goes(image: Path, out: Path) -> None:
    (out / "link").symlink_to("x.tar")
    for report in ("x.tar", "./x.tar", "link"):
        line = failed(squash(image, "-o", out / "x.tar", "--report", f"{out}/{report}"), 2)
        assert "the archive goes there" in line
