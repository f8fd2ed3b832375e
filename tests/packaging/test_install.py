"""The lines of the documentation that install something, run where nothing is installed."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from squasher._version import __version__
from tests.docs.blocks import Block, blocks, name, pages, run
from tests.packaging import conftest
from tests.packaging.conftest import DEMO, done

PAGES = [page for page in pages() if any(block.needs == "packages" for block in blocks(page))]


@dataclass(frozen=True)
class Place:
    """A folder with an image and squash.pyz, and a new environment on PATH."""

    folder: Path
    env: dict[str, str]

    def run(self, block: Block) -> None:
        """Run a block of a page."""
        run(block, self.folder, ("sh", "-c"), self.env)

    def ask(self, script: str) -> str:
        """Return what a script prints."""
        return done(conftest.run("sh", "-euc", script, cwd=self.folder, env=self.env))


@pytest.fixture(scope="module")
def place(packages: Path, pyz: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Give a place where pip finds our packages, as on the index once they are there."""
    folder = tmp_path_factory.mktemp("install")
    done(conftest.run(sys.executable, "-m", "venv", folder / "environment"))
    shutil.copy(DEMO, folder / "image.tar")
    shutil.copy(pyz, folder)
    path = f"{folder}/environment/bin:/usr/bin:/bin"
    links = f"{packages} {os.environ.get('PIP_FIND_LINKS', '')}".strip()
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return Place(folder, {**kept, "PATH": path, "PIP_FIND_LINKS": links, "HOME": str(folder)})


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_lines_that_install(page: Path, place: Place) -> None:
    place.ask("pip uninstall --quiet --yes image-squasher")
    for block in blocks(page):
        if block.needs == "packages":
            place.run(block)
    assert place.ask("squash --version") == f"squash {__version__}\n"


def test_all_extras_are_there(place: Place) -> None:
    place.ask("pip install --quiet 'image-squasher[docker,fast,html,zstd]'")
    place.ask("squash inspect -q --html page.html image.tar")
    place.ask("squash --compress zstd image.tar -o oci-archive:small.tar:app")
    assert (place.folder / "page.html").stat().st_size > 10_000
    place.ask("python -c 'import docker'")
    place.ask("squash --compress gzip --report report.json image.tar -o small.tar")
    compressor = json.loads((place.folder / "report.json").read_text())["images"][0]["compressor"]
    assert compressor.startswith("libdeflate ")
