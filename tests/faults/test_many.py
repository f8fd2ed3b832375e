"""More images than a process may have files open, and files that are none."""

from __future__ import annotations

import gzip
import json
import os
import resource
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import squasher
from squasher.archive import members as members_module
from squasher.archive.members import FolderFile, FolderStore, OpenFiles
from squasher.blobs.content import Content, Extent
from squasher.errors import ArchiveError
from squasher.run import Job
from tests.builders import File, image_config, layer, outer_tar, sha256
from tests.faults.command import error_line, squash
from tests.faults.conftest import Here

#: What a process may have open here, Python's own included; half of what the smallest systems give.
DESCRIPTORS = 128
LOWER = layer(File(b"lower", b"l" * 3000))
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def few() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))


def in_few(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    return squash(*arguments, preexec_fn=few, timeout=250)


def descriptor(media_type: str, data: bytes, **more: Any) -> dict[str, Any]:
    digest = f"sha256:{sha256(data)}"
    return {"mediaType": media_type, "digest": digest, "size": len(data), **more}


def many(count: int, own: Callable[[int], tuple[bytes, ...]]) -> Iterator[tuple[str, bytes]]:
    """Yield the members of a layout of `count` images: a layer that all share, and their own."""
    descriptors = []
    yield f"blobs/sha256/{sha256(LOWER)}", LOWER
    for i in range(count):
        tars = own(i)
        blobs = [gzip.compress(each, 1) for each in tars]
        config = json.dumps({**image_config([LOWER, *tars]), "author": f"{i}"}).encode()
        layers = [descriptor(LAYER, LOWER), *(descriptor(f"{LAYER}+gzip", each) for each in blobs)]
        document = {"schemaVersion": 2, "config": descriptor(CONFIG, config), "layers": layers}
        manifest = json.dumps(document).encode()
        for blob in (*blobs, config, manifest):
            yield f"blobs/sha256/{sha256(blob)}", blob
        names = {"org.opencontainers.image.ref.name": f"n{i}"}
        descriptors.append(descriptor(MANIFEST, manifest, annotations=names))
    yield "oci-layout", b'{"imageLayoutVersion": "1.0.0"}'
    yield "index.json", json.dumps({"schemaVersion": 2, "manifests": descriptors}).encode()


def unpack(members: Iterator[tuple[str, bytes]], folder: Path) -> Path:
    (folder / "blobs/sha256").mkdir(parents=True)
    for name, data in members:
        (folder / name).write_bytes(data)
    return folder


def own(i: int) -> tuple[bytes, ...]:
    return (layer(File(b"f", b"%d" % i)), layer(File(b"g", b"%d" % i)))


def test_one_of_ten_thousand_images(tmp_path: Path) -> None:
    folder = unpack(many(10_000, lambda i: ()), tmp_path / "layout")
    done = in_few(f"oci:{folder}:n7777", "--quiet", "-o", tmp_path / "out.tar")
    assert (done.returncode, done.stderr) == (0, b"")
    with squasher.open_archive(tmp_path / "out.tar") as archive:
        assert len(archive.images) == 1


@pytest.mark.parametrize("form", ["oci", "oci-archive"])
def test_more_images_than_descriptors(form: str, tmp_path: Path) -> None:
    """All are squashed, each with layers to unpack and one to compress: exit 6 before."""
    count = DESCRIPTORS + 12
    source = tmp_path / "layout"
    if form == "oci":
        unpack(many(count, own), source)
    else:
        source.write_bytes(outer_tar(dict(many(count, own))))
    done = in_few(
        "--quiet", "--keep-layers", "1", f"{form}:{source}", "--verify", "-o", f"oci:{tmp_path}/new"
    )
    assert (done.returncode, done.stderr) == (0, b"")
    with squasher.open_archive(tmp_path / "new") as archive:
        assert [len(image.layers) for image in archive.images] == [2] * count


# ---------------------------------------------------------------- what nobody asked for

ARM = {"os": "linux", "architecture": "arm64"}
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "bytes": lambda data: data[:-1] + b"!",
    "longer": lambda data: data + b" ",
    "no JSON": lambda data: b"x",
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("part", ["manifest", "config", "layer"])
@pytest.mark.parametrize("place", [None, ARM])
@pytest.mark.parametrize("form", ["oci", "oci-archive"])
def test_an_image_that_was_not_picked_is_damaged(
    form: str, place: dict[str, str] | None, part: str, damage: str, tmp_path: Path, here: Here
) -> None:
    """One of three: nobody who picks another one hears of it; who picks it, or all, does."""
    members = dict(many(3, own))
    index = json.loads(members["index.json"])
    described = index["manifests"][1]
    if place:
        described["platform"] = place
    members["index.json"] = json.dumps(index).encode()
    manifest = json.loads(members[f"blobs/sha256/{described['digest'][7:]}"])
    parts = {"manifest": described, "config": manifest["config"], "layer": manifest["layers"][1]}
    name = f"blobs/sha256/{parts[part]['digest'][7:]}"
    members[name] = DAMAGES[damage](members[name])
    source = tmp_path / "source"
    if form == "oci":
        unpack(iter(members.items()), source)
    else:
        source.write_bytes(outer_tar(members))
    out = ("-o", tmp_path / "out.tar", "--quiet")
    picked = here(f"{form}:{source}:n0", *out)
    assert (picked.returncode, picked.stderr) == (0, b"")
    assert here("--image", "n2", source, *out).returncode == 0
    late = part == "layer" and damage == "bytes"  # found when the layer is read
    amd64 = here("--platform", "linux/amd64", source, *out, "--format", "oci")
    assert amd64.returncode == (3 if late and not place else 0)
    ways: list[list[str | Path]] = [[source], [f"{form}:{source}:n1"], ["--image", "n1", source]]
    if not late:
        ways.append(["--image", described["digest"][7:20], source])
        ways += [["--platform", "linux/arm64", source]] if place else []
    for way in ways:
        done = here(*way, *out)
        assert done.returncode == 3, way
        assert error_line(done.stderr)


def test_a_docker_archive_of_which_one_image_is_damaged(tmp_path: Path, here: Here) -> None:
    config = json.dumps(image_config([LOWER])).encode()
    items = [
        {"Config": f"{name}.json", "RepoTags": [f"{name}:1"], "Layers": ["layer.tar"]}
        for name in ("good", "bad")
    ]
    members = {"good.json": config, "bad.json": b"x", "layer.tar": LOWER}
    source = tmp_path / "source"
    source.write_bytes(outer_tar({"manifest.json": json.dumps(items).encode(), **members}))
    out = ("-o", tmp_path / "out.tar", "--quiet")
    assert here("--image", "good:1", source, *out).returncode == 0
    for way in ([], ["--image", "bad:1"], ["--platform", "linux/s390x"]):
        done = here(*way, source, *out)
        assert done.returncode == 3
        assert "bad.json: not valid JSON" in error_line(done.stderr)
    with squasher.open_archive(source) as archive:
        assert [image.name for image in archive.images] == ["good:1"]
        assert [unread.names for unread in archive.unread] == [("bad:1",)]
        assert "left out images that cannot be read (1): bad.json: no" in archive.notices[-1]


# ---------------------------------------------------------------- what is open


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_few_files_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members_module, "_OPEN_MAX", 3)
    for i in range(9):
        (tmp_path / f"{i}").write_bytes(b"%d" % i)
    with Job() as job:
        before = open_files()
        found = FolderStore(str(tmp_path), job)
        contents = [found.content(f"{i}") for i in range(9)]
        assert open_files() == before
        for _ in range(2):
            assert [each.read_at(0, 5) for each in contents] == [b"%d" % i for i in range(9)]
        assert open_files() == before + 3
    assert open_files() == before
    assert contents[8].read_at(0, 5) == b"8"  # for this read alone
    assert open_files() == before


def test_two_read_one_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"12")
    with Job() as job:
        before = open_files()
        files = OpenFiles()
        file = FolderFile(str(tmp_path / "f"), files)
        with (
            files.opened(file._path, file._state) as one,
            files.opened(file._path, file._state) as two,
        ):
            assert one is not two
        assert open_files() == before + 1
        job.spool.keep(files)


@pytest.mark.parametrize("change", ["replace", "write", "remove"])
def test_a_file_that_is_another_one_when_it_is_opened_again(change: str, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"12")
    os.utime(path, (1, 1))
    with Job() as job:
        content = FolderStore(str(tmp_path), job).content("f")
        content.check()
        if change == "write":
            path.write_bytes(b"34")
        else:
            path.unlink()
        if change == "replace":
            path.write_bytes(b"12")
        says = "cannot be read: No such file" if change == "remove" else "the input changed"
        with pytest.raises(ArchiveError, match=says):
            content.read_at(0, 2)
        with pytest.raises(ArchiveError, match="the input changed while it was read"):
            content.check()


def test_temporary_files_are_used_again(tmp_path: Path) -> None:
    """One after the other in one file; at once in two."""
    with Job(tmp_path) as job:
        before = open_files()
        contents = [job.spool.store([b"%d" % i, b"x" * i]) for i in range(50)]
        assert open_files() == before + 1
        job.spool.store(iter(lambda: b"".join(_stored(job)), b"within"))
        assert open_files() == before + 2
        for i, content in enumerate(contents):
            assert content.read_at(0, 100) == b"%d" % i + b"x" * i
            content.check()
    parts = [part for content in contents for part in content.parts]
    assert len({part.file for part in parts if isinstance(part, Extent)}) == 50


def _stored(job: Job) -> Iterator[bytes]:
    assert isinstance(job.spool.store([b"inner"]), Content)
    yield b"within"


# ---------------------------------------------------------------- what is no file


def fifo(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(path.parent)  # the name of a socket is short
        server.bind(path.name)
        os.chdir(here)


NO_FILES = [fifo, device, listening, Path.mkdir]


@pytest.mark.parametrize("make", [fifo, device])
@pytest.mark.parametrize("at", range(4))
def test_a_member_of_a_folder(at: int, make: Callable[[Path], None], tmp_path: Path) -> None:
    """The index, the manifest, the config, a layer: each waited for a writer, or never ended."""
    folder = unpack(many(1, own), tmp_path / "layout")
    index = json.loads((folder / "index.json").read_bytes())
    manifest = _blob(folder, index["manifests"][0])
    document = json.loads(manifest.read_bytes())
    config, upper = (_blob(folder, x) for x in (document["config"], document["layers"][2]))
    path = (folder / "index.json", manifest, config, upper)[at]
    path.unlink()
    make(path)
    out = tmp_path / "out.tar"
    for arguments in ([folder], ["-f", folder, _other(tmp_path)]):
        done = squash(*arguments, "-o", out)
        assert done.returncode == 3
        says = "is not in the archive" if at else "holds no image"
        assert says in error_line(done.stderr)
    assert not out.exists()


@pytest.mark.parametrize("make", NO_FILES)
def test_what_is_opened_by_its_name(make: Callable[[Path], None], tmp_path: Path) -> None:
    """It may have been exchanged since it was found."""
    make(tmp_path / "f")
    with Job() as job, pytest.raises(ArchiveError, match="f: cannot be read: it is not a regular"):
        FolderStore(str(tmp_path), job).content("f")


@pytest.mark.parametrize("make", NO_FILES)
def test_the_index_where_the_result_goes(make: Callable[[Path], None], tmp_path: Path) -> None:
    folder = unpack(many(1, own), tmp_path / "layout")
    (folder / "index.json").unlink()
    make(folder / "index.json")
    done = squash(_other(tmp_path), "-o", f"oci:{folder}:new")
    assert done.returncode == 6
    assert "index.json: cannot be read: it is not a regular file" in error_line(done.stderr)


@pytest.mark.parametrize("make", [fifo, device, listening])
def test_a_blob_where_the_result_goes(make: Callable[[Path], None], tmp_path: Path) -> None:
    """What is no blob is replaced, as a damaged one is."""
    folder = unpack(many(1, own), tmp_path / "layout")
    blob = folder / "blobs/sha256" / sha256(LOWER)
    blob.unlink()
    make(blob)
    done = squash(_other(tmp_path), "--keep-layers", "1", "-o", f"oci:{folder}:new", "--verify")
    assert done.returncode == 0, done.stderr
    assert blob.read_bytes() == LOWER
    assert not blob.is_symlink()


def _other(folder: Path) -> Path:
    path = folder / "other.tar"
    path.write_bytes(outer_tar(dict(many(1, own))))
    return path


def _blob(folder: Path, described: dict[str, Any]) -> Path:
    digest: str = described["digest"]
    return folder / "blobs" / digest.replace(":", "/")
