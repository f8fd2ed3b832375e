"""The job array of Slurm: 24 images on two nodes, of which one is lost in the middle."""

from __future__ import annotations

import json
import os
import zipapp
from collections.abc import Iterator
from pathlib import Path

import pytest

import squasher
from tests import builders
from tests.builders import File
from tests.docs import slurm
from tests.docs.blocks import ROOT, blocks
from tests.docs.conftest import Workshop
from tests.docs.slurm import Cluster, wait_for

PAGE = ROOT / "docs/how-to/many-images.md"
NAMES = [f"image-{number:02}.tar" for number in range(1, 25)]
#: On the second node each task hangs once some are done: the result is written, but has no name.
MAIN = """\
import os
import time
from pathlib import Path

from squasher.cli.main import main

fsync = os.fsync


def hanging(descriptor):
    os.fsync = fsync
    if os.environ["SLURMD_NODENAME"] == "n2" and len(list(Path("squashed").glob("*.json"))) > 5:
        Path(f"hangs-{os.environ['SLURM_ARRAY_TASK_ID']}").touch()
        time.sleep(600)
    fsync(descriptor)


os.fsync = hanging
main()
"""


@pytest.fixture
def shared(workshop: Workshop) -> Workshop:
    """Give the folder that the nodes share: the list, the archives, squash.pyz."""
    base = builders.layer(File(b"etc/release", b"12"))
    folder = workshop.folder
    (folder / "base.tar").write_bytes(builders.archive([base], tags=["debian:12"]))
    for name in NAMES:
        upper = (File(b"srv/old", b"o" * 5000), File(b"srv/name", name.encode()))
        layers = [base, *(builders.layer(each) for each in upper)]
        (folder / name).write_bytes(builders.archive(layers, tags=[f"{Path(name).stem}:1"]))
    (folder / "images.txt").write_text("".join(f"{name} base.tar\n" for name in NAMES))
    source = folder.parent / "pyz"
    source.mkdir()
    (source / "__main__.py").write_text(MAIN)
    zipapp.create_archive(source, folder / "squash.pyz")
    return workshop


@pytest.fixture
def cluster(shared: Workshop) -> Iterator[Cluster]:
    if reason := slurm.missing(shared.env):
        if os.environ.get("SQUASHER_ENGINES") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    with slurm.running(shared.env) as found:
        yield found


def submit(shared: Workshop, cluster: Cluster) -> None:
    """Run the line of the page."""
    (block,) = [block for block in blocks(PAGE) if block.needs == "slurm"]
    Workshop(shared.folder, shared.programs, more=shared.more | cluster.env).run(block)


def finished(folder: Path) -> dict[str, int]:
    """Require that what has its name is whole, and right; return the inodes of what is reported."""
    found = {}
    for result in sorted((folder / "squashed").glob("*.tar")):
        with (
            squasher.open_archive(folder / result.name) as before,
            squasher.open_archive(result) as after,
        ):
            assert squasher.compare(before.images[0], after.images[0]) == ()
            assert [len(archive.images[0].layers) for archive in (before, after)] == [3, 2]
    for path in sorted((folder / "squashed").glob("*.json")):
        (image,) = json.loads(path.read_text())["images"]
        assert (image["kept_layers"], image["tags"]) == (1, [f"{path.name[:8]}:1"])
        found[path.stem] = path.with_suffix("").stat().st_ino
    return found


def test_a_node_is_lost_in_the_middle(shared: Workshop, cluster: Cluster) -> None:
    folder = shared.folder
    submit(shared, cluster)
    wait_for("a task that hangs", lambda: list(folder.glob("hangs-*")))
    cluster.kill("n2")
    cut = {NAMES[int(path.name.removeprefix("hangs-")) - 1] for path in folder.glob("hangs-*")}
    idle = ("--states=RUNNING,COMPLETING", "--nodelist=n1"), ("--states=PENDING",)
    wait_for("the other node", lambda: not any(cluster.tasks(*words) for words in idle))
    first = finished(folder)
    lost = set(NAMES) - first.keys()
    assert cut <= lost
    assert len(lost) <= 2  # as many tasks as a node runs at once
    assert len(list((folder / "squashed").glob(".squash-*.tmp"))) >= len(cut)
    assert not any((folder / "squashed" / name).exists() for name in cut)
    wait_for("the lost node", lambda: cluster.state("n2") == "down*")
    wait_for("its tasks", lambda: not cluster.tasks())
    submit(shared, cluster)
    wait_for("the second run", lambda: not cluster.tasks())
    second = finished(folder)
    assert list(second) == NAMES
    assert second.items() >= first.items()
