"""The commands that are measured: of this checkout, and of its peers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

from scripts.benchmarks.archives import member
from scripts.benchmarks.measuring import ROOT, SEED, Command

PEERS = ("docker-squash==1.2.2", "oci-squash==0.1.0")


def ours() -> Command:
    """Return the command line of this checkout, installed as a user would, without extras."""
    return [_installed("venv-squash"), "-m", "squasher", "--quiet"]


def ours_with(extras: str) -> Path:
    """Return the Python of an environment that has these extras."""
    return _installed(f"venv-squash-{extras.replace(',', '-')}", extras)


def _installed(name: str, *extras: str) -> Path:
    """Return the Python of an environment with this checkout, compiled as pip compiles it."""
    venv = SEED / name
    subprocess.run(
        [ROOT / "scripts/environment", *extras],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "SQUASHER_VENV": str(venv)},
    )
    python = venv / "bin/python"
    subprocess.run([python, "-m", "compileall", "-q", ROOT / "squasher"], check=True)
    return python


def peer_commands() -> Path:
    """Return the folder with the commands of the peers, which have an environment of their own."""
    venv = SEED / "venv-peers"
    if not (venv / "bin/oci-squash").exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin/pip", "install", "-qq", *PEERS], check=True)
    return venv / "bin"


def rows_above_base(image: Path) -> int:
    """Count the rows of the history above the lowest layer's, which is the base."""
    with tarfile.open(image) as archive:
        (item,) = json.load(member(archive, "manifest.json"))
        history = json.load(member(archive, item["Config"]))["history"]
    return len(history) - 1 - [bool(row.get("empty_layer")) for row in history].index(False)
