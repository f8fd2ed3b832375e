"""squash as a container image: the Containerfile, on a base made here, squashed by itself.

The base is the python3 of a place with the libraries that it needs, and nothing else: no shell.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.check import squash
from tests.docs.blocks import ROOT, blocks
from tests.engines.engines import Docker, places
from tests.engines.tree import differences
from tests.forms import result

DEMO = ROOT / "testdata" / "demo.tar"
#: Somebody whom no machine knows.
UID, GID = 12345, 23456
#: As many images are made: what nobody needs goes in a later step, and stays in the layer below.
BASE = """FROM scratch
COPY tree /
RUN ["python3", "-B", "-c", "import pathlib, shutil; \
  lib = pathlib.Path('/usr/lib/python3.14'); \
  [shutil.rmtree(lib / x) for x in ('test', 'ensurepip', 'pydoc_data')]; \
  [shutil.rmtree(x) for x in list(lib.rglob('__pycache__'))]"]
"""
_TREE = """
cd / && tree=$1
mkdir -p "$tree/tmp" "$tree/proc" && chmod 1777 "$tree/tmp"
lib=usr/lib/python3.14
ldd usr/bin/python3.14 $lib/lib-dynload/*.so >"$tree.ldd"
libraries=$(grep -o '/[^ :]*[.]so[^ :]*' "$tree.ldd" | grep -v dynload | sort -u)
cp -L --parents usr/bin/python3.14 $libraries "$tree"
cp -a --parents $lib "$tree"
ln -s python3.14 "$tree/usr/bin/python3"
"""


@dataclass(frozen=True)
class Shipped:
    """The image, as built and as squashed by itself, in a docker; and a folder of somebody's.

    since    ns, before docker unpacked any of it
    report   what it says of squashing itself
    """

    docker: Docker
    folder: Path
    since: int
    report: dict[str, Any]

    def squash(
        self, image: str, *words: str, stdin: Path | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the image as strictly as docker can, as the owner of the folder."""
        with (stdin or Path(os.devnull)).open("rb") as given:
            return subprocess.run(
                self.docker.command(*strict(self.folder), image, "--no-progress", *words),
                stdin=given,
                capture_output=True,
                timeout=120,
                check=False,
            )


def strict(folder: Path) -> list[str]:
    """Return the words before an image: nothing to write but the folder and a small /tmp."""
    rights = ["--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none"]
    disk = ["--read-only", "--tmpfs=/tmp:size=1m", f"--volume={folder}:/w"]
    return ["run", "--rm", "--interactive", *rights, *disk, f"--user={UID}:{GID}"]


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shipped]:
    """Build the image from squash.pyz, let it squash itself, and load the result."""
    docker = Docker(places()[-1])
    if reason := docker.place.missing():
        if os.environ.get("SQUASHER_ENGINES") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    docker.prune()
    since = time.time_ns()
    with docker.place.folder() as name:
        folder = Path(name)
        home = folder / "home"
        home.mkdir(mode=0o700)
        shutil.copy(DEMO, home)
        for path in (home, home / DEMO.name):
            os.chown(path, UID, GID)
        (folder / "base").mkdir()
        docker.place.call("sh", "-euc", _TREE, "sh", f"{folder}/base/tree")
        (folder / "base/tree.ldd").unlink()
        (folder / "base/Dockerfile").write_text(BASE)
        build = ("buildx", "build", "--quiet", "--load", "--network=none", "--provenance=false")
        run(docker, *build, "--tag=example.com/python:3.14", f"{folder}/base")
        pyz = tmp_path_factory.mktemp("pyz") / "squash.pyz"
        env = {**os.environ, "SQUASHER_PYTHON": sys.executable}
        subprocess.run([ROOT / "scripts/build-pyz", pyz], env=env, check=True, capture_output=True)
        (folder / "context").mkdir()
        for file in (pyz, ROOT / "Containerfile"):
            shutil.copy(file, folder / "context")
        words = ["--build-arg=BASE=example.com/python:3.14", "--tag=squasher:built"]
        recipe = f"--file={folder}/context/Containerfile"
        run(docker, *build, *words, recipe, f"{folder}/context")
        docker.save("squasher:built", home / "squasher.tar")
        os.chown(home / "squasher.tar", UID, GID)
        docker.prune()  # what was built here has other times of directories than its layers say
        docker.load(home / "squasher.tar")
        words = ["-t", "squasher:latest", "-o", "small.tar", "--verify", "--report", "report.json"]
        run(docker, *strict(home), "squasher:built", "squasher.tar", *words)
        docker.load(home / "small.tar")
        yield Shipped(docker, home, since, json.loads((home / "report.json").read_text()))


def run(docker: Docker, *words: str | Path) -> None:
    done = subprocess.run(
        docker.command(*map(str, words)), capture_output=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")


def test_it_squashes_itself(shipped: Shipped) -> None:
    built, small = map(shipped.docker.tree, ("squasher:built", "squasher:latest"))
    assert differences(built, small, stamped_since=shipped.since) == []
    assert len(shipped.docker.layer_digests("squasher:latest")) == 1
    assert not [path for path in built if path.endswith((b"/sh", b"/bash", b"/env", b"/busybox"))]
    (told,) = shipped.report["images"]
    assert told["size_after"] < 0.8 * told["size_before"]


def test_it_writes_as_who_calls_it(shipped: Shipped) -> None:
    words = ("--keep-layers", "1", "demo.tar", "-o", "out.tar", "--compress", "none")
    done = shipped.squash("squasher:latest", *words)
    assert done.returncode == 0, done.stderr
    out = shipped.folder / "out.tar"
    assert (out.stat().st_uid, out.stat().st_gid) == (UID, GID)
    assert result.read(out.read_bytes()) == result.read(squash(DEMO.read_bytes(), 1)[1])


def test_a_pipe_needs_more_room_than_a_small_tmp_has(shipped: Shipped) -> None:
    full = shipped.squash("squasher:latest", stdin=DEMO)
    assert full.returncode == 6
    assert b"--tmp-dir" in full.stderr
    assert not full.stdout
    done = shipped.squash("squasher:latest", "--tmp-dir=/w", stdin=DEMO)
    assert done.returncode == 0, done.stderr
    assert len(result.read(done.stdout).one.layers) == 1


def test_without_a_user_it_is_nobody(shipped: Shipped) -> None:
    words = ("run", "--rm", "--entrypoint=python3", "squasher:latest", "-c")
    script = "import os; print(os.getuid(), os.getgid(), os.getcwd(), os.environ['TMPDIR'])"
    done = subprocess.run(
        shipped.docker.command(*words, script), capture_output=True, timeout=60, check=False
    )
    assert done.stdout == b"65532 65532 /w /tmp\n", done.stderr


def test_the_blocks_of_the_page(shipped: Shipped) -> None:
    page = ROOT / "docs/how-to/install.md"
    env = f"DOCKER_HOST={shipped.docker.host}"
    folder = shipped.folder.parent / "page"
    folder.mkdir()
    shutil.copy(DEMO, folder)
    ran = 0
    for block in blocks(page):
        if block.needs == "image":
            script = f"cd {folder}\n{block.text}"
            shipped.docker.place.call("env", env, "sh", "-euc", script)
            ran += 1
    assert ran
