"""A folder to run a page's commands in, and the engines that some of them need."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import sysconfig
import tarfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

import squasher
from tests import builders
from tests.builders import Dir, File, Whiteout
from tests.docs.blocks import ROOT, Block, run
from tests.engines.engines import Docker, Podman, claim, engines, places
from tests.forms.shapes import SHAPES

DEMO = ROOT / "testdata" / "demo.tar"
NEXT = ROOT / "testdata" / "demo-1.1.tar.gz"
# podman and buildah raise these limits, which some sandboxes forbid even root.
LIMITS = "--ulimit=nofile=1024:1024 --ulimit=nproc=1024:1024"
# No registry can be reached: an OCI layout stands in for every one. Its blobs are compressed too.
SKOPEO = """#!/bin/sh
for word; do
    shift
    case $word in docker://*) word=oci:$REGISTRY:${word#docker://} ;; esac
    set -- "$@" "$word"
done
exec /usr/bin/skopeo --insecure-policy "$@"
"""


@dataclass(frozen=True)
class Workshop:
    """A folder, and the shell that a page's blocks run in."""

    folder: Path
    programs: Path
    shell: tuple[str, ...] = ("sh", "-c")
    more: dict[str, str] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        """The environment: our programs first, 80 columns, no engine but those given."""
        path = f"{self.programs}:/usr/bin:/bin:/usr/sbin:/sbin:{Path(sys.executable).parent}"
        kept = {key: value for key, value in os.environ.items() if not key.startswith("DOCKER")}
        home = str(self.folder.parent)
        return {
            **kept,
            "PATH": path,
            "COLUMNS": "80",
            "HOME": home,
            "LC_ALL": "C.UTF-8",
            **self.more,
        }

    def run(self, block: Block) -> None:
        """Run a block of a page."""
        run(block, self.folder, self.shell, self.env)


def program(path: Path, words: str, *cases: str) -> None:
    """Write a program that runs `words` with its arguments, but for some first arguments."""
    body = "\n".join(["#!/bin/sh", *cases, f'exec {words} "$@"', ""])
    path.write_text(body)
    path.chmod(0o755)


def _lowest() -> bytes:
    with tarfile.open(DEMO) as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest is not None
        layer = tar.extractfile(json.load(manifest)[0]["Layers"][0])
        assert layer is not None
        return layer.read()


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the archives that pages speak of.

    app.tar is the demo image as app:latest, base.tar its lowest layer as debian:12, both.tar the
    two as `docker save` puts them; app-1.0.tar, app-1.1.tar and app-1.2.tar are
    releases; multi.tar is an image of two platforms; deep.tar has more layers than docker takes;
    leak.tar has secrets: a file that a later step deletes, a build argument in the history.
    """
    folder = tmp_path_factory.mktemp("images")
    (folder / "testdata").mkdir()
    shutil.copy(DEMO, folder / "testdata")
    shutil.copy(NEXT, folder / "testdata")
    shutil.copy(DEMO, folder)
    (folder / "base.tar").write_bytes(builders.archive([_lowest()], tags=["debian:12"]))
    with squasher.open_archive(DEMO) as demo:
        app = replace(demo.images[0], tags=("app:latest",))
        squasher.write([app], folder / "app.tar")
        squasher.write([app], folder / "image.tar")
        with squasher.open_archive(folder / "base.tar") as archive:
            squasher.write([app, archive.images[0]], folder / "both.tar")
    lowest, base = _lowest(), File(b"opt/app/data", b"the same" * 4000)
    for release in ("1.0", "1.1", "1.2"):
        upper = (
            builders.layer(Dir(b"opt"), Dir(b"opt/app"), base),
            builders.layer(File(b"opt/app/release", release.encode())),
        )
        name = f"app-{release}.tar"
        (folder / name).write_bytes(builders.archive([lowest, *upper], tags=[f"app:{release}"]))
    (folder / "multi.tar").write_bytes(SHAPES["buildx-oci"]().archive)
    (folder / "deep.tar").write_bytes(_deep(lowest))
    (folder / "leak.tar").write_bytes(_leak(lowest))
    return folder


def _deep(lowest: bytes) -> bytes:
    steps = [builders.layer(File(b"srv/%d" % step)) for step in range(1, 130)]
    return builders.archive([lowest, *steps], tags=["app:deep"])


def _leak(lowest: bytes) -> bytes:
    secret = b"BEGIN PRIVATE KEY\n"
    steps = (
        builders.layer(File(b"root/key.pem", secret)),
        builders.layer(File(b"srv/app"), Whiteout(b"root/key.pem")),
    )
    rows = [{"created_by": "base"}, {"created_by": "COPY key.pem /root/key.pem"}]
    rows.append({"created_by": "|1 NPM_TOKEN=s3cr3t /bin/sh -c npm ci && rm /root/key.pem"})
    return builders.archive([lowest, *steps], tags=["app:leak"], history=rows)


@pytest.fixture
def workshop(images: Path, tmp_path: Path) -> Workshop:
    """Give a folder with the archives, and `squash` and `python3` as they are here."""
    programs, folder = tmp_path / "programs", tmp_path / "page"
    programs.mkdir()
    shutil.copytree(images, folder)
    shutil.copytree(ROOT / "examples", folder / "examples")
    python = shlex.quote(sys.executable)
    program(programs / "python3", python)
    (programs / "squash").symlink_to(Path(sysconfig.get_path("scripts")) / "squash")
    return Workshop(folder, programs, more={"PYTHONPATH": str(ROOT)})


@pytest.fixture
def harbour(workshop: Workshop) -> Workshop:
    """Give a workshop inside the older generation of engines, with app:latest and debian:12."""
    place = places()[0]
    if reason := place.missing():
        if os.environ.get("SQUASHER_ENGINES") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    claim(place.state.parent)
    for engine in engines():
        if engine.place == place:
            engine.prune()
            engine.load(workshop.folder / "both.tar")
    docker, podman = Docker(place), Podman(place)
    made = workshop.programs
    program(made / "docker", f"/usr/bin/docker --host={docker.host}")
    words = shlex.join(podman.command()[podman.command().index("podman") :])
    words = f"/usr/bin/{words}"
    program(
        made / "podman",
        words,
        f'case $1 in build) shift; exec {words} build --isolation=chroot {LIMITS} "$@" ;;',
        f'run) shift; exec {words} run {LIMITS} "$@" ;; esac',
    )
    root = f"--root={place.state}/podman --runroot=/run/squasher-podman --storage-driver=overlay"
    program(made / "buildah", f"/usr/bin/buildah {root}")
    program(made / "ctr", f"/usr/bin/ctr --address={place.state}/containerd.sock")
    (made / "skopeo").write_text(SKOPEO)
    (made / "skopeo").chmod(0o755)
    shell = tuple(place.command("sh", "-c"))
    registry = workshop.folder.parent / "registry"
    more = {"DOCKER_HOST": docker.host, "DOCKER_BUILDKIT": "0", "REGISTRY": str(registry)}
    ready = replace(workshop, shell=shell, more=workshop.more | more)
    for archive, image in (("app.tar", "app:1.0"), ("base.tar", "debian:12")):
        copy = f"skopeo copy --quiet docker-archive:{archive} docker://registry.example.com/{image}"
        ready.run(Block(0, "sh", "", copy))
    return ready
