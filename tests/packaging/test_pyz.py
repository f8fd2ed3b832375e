"""squash.pyz: one file, and any python3."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from zipfile import ZipFile

import pytest

from squasher._version import __version__
from tests.builders import sha256
from tests.forms import result
from tests.forms.daemon import running
from tests.forms.shapes import LAYERS, SAMPLE, SHAPES
from tests.packaging.conftest import DEMO, ROOT, done, missing, run, wanted

#: Licenses that let a copy travel with ours, as long as their text does.
LICENSES = {"Apache-2.0", "BSD-3-Clause", "MIT", "MPL-2.0", "MPL-2.0 AND MIT"}
#: Nothing of this environment: no PATH with other tools, no HOME, no PYTHONPATH.
BARE = {"PATH": "/usr/bin"}


def alone(python: Path, pyz: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the file with an interpreter that sees nothing that was installed."""
    return run(python, "-I", "-S", pyz, *words, env=BARE)


def test_it_runs_on_every_python(python: Path, pyz: Path, tmp_path: Path) -> None:
    shutil.copy(pyz, tmp_path / "squash.pyz")
    lonely, out = tmp_path / "squash.pyz", tmp_path / "small.tar"
    done(alone(python, lonely, "--keep-layers", "1", DEMO, "-o", out, "--verify"))
    own = tmp_path / "own.tar"
    done(run(sys.executable, "-m", "squasher", "--keep-layers", "1", DEMO, "-o", own))
    assert out.read_bytes() == own.read_bytes()
    assert done(alone(python, lonely, "--version")) == f"squash {__version__}\n"
    assert "BEFORE" in done(alone(python, lonely, "diff", "--help"))


def test_the_systems_python_and_nothing_else(pyz: Path, tmp_path: Path) -> None:
    system = Path("/usr/bin/python3")
    if not system.exists():
        missing("no /usr/bin/python3")
    out = tmp_path / "small.tar"
    done(run("/usr/bin/env", "-i", "PATH=/usr/bin", system, pyz, DEMO, "-o", out))
    assert len(result.read(out.read_bytes()).one.layers) == 1


def test_it_can_be_run_by_its_name(pyz: Path) -> None:
    assert os.access(pyz, os.X_OK)
    assert pyz.read_bytes().startswith(b"#!/usr/bin/env python3\n")


def test_it_carries_the_docker_sdk(pyz: Path, tmp_path: Path) -> None:
    layers = [f"sha256:{sha256(data)}" for data in LAYERS]
    with running() as daemon:
        identity = f"sha256:{sha256(SAMPLE)}"
        daemon.put("app:1", identity, layers, SHAPES["docker-20.10"]().archive)
        env = {"PATH": os.environ["PATH"], "DOCKER_HOST": daemon.host, "HOME": str(tmp_path)}
        done(run(sys.executable, "-I", pyz, "docker-daemon:app:1", "--load", env=env))
        assert len(daemon.loaded) == 1


def test_zstd_is_said_to_be_missing(pyz: Path, tmp_path: Path) -> None:
    """No pip can bring it into the file."""
    said = alone(wanted("3.10"), pyz, "--compress", "zstd", DEMO, "-o", tmp_path / "x.tar")
    assert said.returncode == 5
    assert (
        "this single file carries no compiled code: run it with Python 3.14 or newer, or use "
        in (said.stderr)
    )


@pytest.mark.parametrize("version", ["3.9", "2.7"])
def test_an_older_python_is_told(version: str, pyz: Path) -> None:
    said = run(wanted(version), pyz, "--version")
    assert (said.returncode, said.stdout) == (5, "")
    assert said.stderr == f"squash: Python 3.10 or newer is needed, this is {version}\n"


def test_what_it_carries_may_be_carried(pyz: Path) -> None:
    with ZipFile(pyz) as archive:
        names = archive.namelist()
        assert archive.read("LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert not [name for name in names if name.endswith((".so", ".pyd", ".pyc", "RECORD"))]
    found = {each.metadata["Name"]: each for each in distributions(path=[str(pyz)])}
    pinned = [
        line.partition("==")[0]
        for line in (ROOT / "scripts/pyz.txt").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert sorted(name.replace("_", "-") for name in found) == sorted(pinned)
    for name, each in found.items():
        terms = each.metadata["License-Expression"] or each.metadata["License"]
        assert terms in LICENSES, name
        texts = each.metadata.get_all("License-File")
        assert texts, name
        info = f"{name.replace('-', '_')}-{each.version}.dist-info/licenses/"
        assert {f"{info}{text}" for text in texts} <= set(names), name
