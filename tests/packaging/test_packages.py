"""sdist and wheel: what is in them, what they ask for, that they install and work."""

from __future__ import annotations

import configparser
import email
import hashlib
import json
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest
from markdown_it import MarkdownIt

from squasher._version import __version__
from tests.docs.test_pages import anchors
from tests.packaging.conftest import DEMO, ROOT, VERSIONS, done, run, wanted


def test_twine_takes_them(packages: Path) -> None:
    done(run(sys.executable, "-m", "twine", "check", "--strict", *packages.iterdir()))


def test_the_wheel_has_the_package_and_nothing_else(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    info = f"image_squasher-{__version__}.dist-info/"
    shared = f"image_squasher-{__version__}.data/data/share/man/man1/"
    package = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "squasher").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    own = {name for name in names if not name.startswith((info, shared))}
    assert own == package
    assert {name.removeprefix(shared) for name in names if name.startswith(shared)} == {
        path.name for path in (ROOT / "man").iterdir()
    }
    assert f"{info}licenses/LICENSE" in names


def test_what_the_wheel_asks_for_has_no_upper_bound(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        text = archive.read(f"image_squasher-{__version__}.dist-info/METADATA").decode()
    metadata = email.message_from_string(text)
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["License-Expression"] == "Apache-2.0"
    wanted = [line.partition(";")[0].strip() for line in metadata.get_all("Requires-Dist", [])]
    assert not [line for line in wanted if "<" in line or "~=" in line or "==" in line]
    always = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert sorted(always) == ["click>=8.1", "tqdm>=4.60"]


def test_the_page_on_the_index_leads_somewhere(wheel: Path) -> None:
    """Each link has a host; those of the project are files and headings that are there."""
    with ZipFile(wheel) as archive:
        text = archive.read(f"image_squasher-{__version__}.dist-info/METADATA").decode()
    metadata = email.message_from_string(text)
    own = configparser.ConfigParser()
    own.read(ROOT / "setup.cfg")
    url, tag = own["metadata"]["url"], f"v{__version__}"
    page = MarkdownIt("commonmark").enable("table").parse(text.partition("\n\n")[2])
    targets = {
        str(token.attrGet("href") or token.attrGet("src"))
        for block in page
        for token in block.children or ()
        if token.type in ("link_open", "image")
    }
    addresses = {line.partition(", ")[2] for line in metadata.get_all("Project-URL", [])}
    assert len(targets) > 20 < len(addresses) + 20
    for target in targets | (addresses - {url}):
        assert target.startswith("https://"), target
        if target.startswith(url):
            lead = "raw" if target.endswith((".png", ".svg")) else "blob"
            path, _, anchor = target.removeprefix(f"{url}/{lead}/{tag}/").partition("#")
            assert (ROOT / path).is_file(), target
            assert not anchor or anchor in anchors(ROOT / path), target
    assert all(target.startswith(url) for target in addresses)


def test_the_sdist_has_what_the_suite_needs(sdist: Path, sources: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for folder in (
        ".ci",
        ".github",
        "ci",
        "docs",
        "examples",
        "man",
        "scripts",
        "squasher",
        "testdata",
        "tests",
    ):
        here = {
            str(path.relative_to(sources))
            for path in (sources / folder).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert here <= names, folder
    assert {path.name for path in sources.iterdir() if path.is_file()} <= names


def squash_demo(command: list[str | Path], folder: Path) -> tuple[str, str]:
    """Squash the demo image; return the digests of the archive and of the image."""
    out, report = folder / "small.tar", folder / "report.json"
    done(run(*command, "--keep-layers", "1", DEMO, "-o", out, "--report", report, "--verify"))
    (image,) = json.loads(report.read_text())["images"]
    return hashlib.sha256(out.read_bytes()).hexdigest(), image["image_id"]


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Give what the sources make of the demo image."""
    folder = tmp_path_factory.mktemp("expected")
    return squash_demo([sys.executable, "-m", "squasher"], folder)


def installed(python: Path, package: Path, folder: Path) -> Path:
    """Install a package into a new environment; return the folder of its commands."""
    done(run(python, "-m", "venv", folder))
    pip = (folder / "bin/python", "-m", "pip", "--disable-pip-version-check")
    done(run(*pip, "install", "--quiet", package))
    done(run(*pip, "check"))
    names = {each["name"].lower() for each in json.loads(done(run(*pip, "list", "--format=json")))}
    assert names - {"pip", "setuptools"} == {"image-squasher", "click", "tqdm"}
    return folder / "bin"


def test_the_wheel_works_on_every_python(
    python: Path, wheel: Path, tmp_path: Path, expected: tuple[str, str]
) -> None:
    commands = installed(python, wheel, tmp_path / "environment")
    assert done(run(commands / "squash", "--version")) == f"squash {__version__}\n"
    assert squash_demo([commands / "squash"], tmp_path) == expected
    assert (tmp_path / "environment/share/man/man1/squash.1").is_file()
    line = run(commands / "squash", "docker-daemon:app", "-o", "x.tar", cwd=tmp_path)
    assert (line.returncode, "pip install 'image-squasher[docker]'" in line.stderr) == (7, True)


@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]])
def test_the_sdist_works(
    version: str, sdist: Path, tmp_path: Path, expected: tuple[str, str]
) -> None:
    """On the oldest and the newest: what it installs is a wheel, the same on every version."""
    commands = installed(wanted(version), sdist, tmp_path / "environment")
    assert squash_demo([commands / "squash"], tmp_path) == expected
