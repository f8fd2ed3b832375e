"""scripts/release: everything but the signatures, and every time the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import runpy
import shutil
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from squasher._version import __version__
from tests.packaging.conftest import EPOCH, ROOT, done, run

NAMES = {
    f"image_squasher-{__version__}-py3-none-any.whl",
    f"image_squasher-{__version__}.tar.gz",
    "squash.pyz",
    "squash.pyz.cdx.json",
}


def test_it_makes_everything(release: Path) -> None:
    assert {path.name for path in release.iterdir()} == NAMES | {"SHA256SUMS"}
    lines = (release / "SHA256SUMS").read_text().splitlines()
    assert {line[66:]: line[:64] for line in lines} == {
        name: hashlib.sha256((release / name).read_bytes()).hexdigest() for name in NAMES
    }


def test_two_builds_give_the_same_bytes(release: Path, sources: Path, tmp_path: Path) -> None:
    """Of the same sources: as a git checkout, elsewhere, with other times, modes and manners."""
    other = tmp_path / "elsewhere"
    shutil.copytree(sources, other, symlinks=True, copy_function=shutil.copyfile)
    for path in sources.rglob("*"):
        if path.is_file() and not path.is_symlink() and os.access(path, os.X_OK):
            (other / path.relative_to(sources)).chmod(0o755)
    env = {
        **{key: value for key, value in os.environ.items() if not key.startswith("GIT_")},
        **{
            f"GIT_{who}_{what}": "a@b"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        },
        "GIT_COMMITTER_DATE": f"{EPOCH} +0000",
        "TZ": "Asia/Tokyo",
        "LC_ALL": "C",
        "PYTHONHASHSEED": "1",
        "HOME": str(tmp_path),
    }
    script = (
        "umask 077; git init --quiet; git add --all; git commit --quiet --message x;"
        'echo not committed >README.md; touch docs/new.md; scripts/release "$1"'
    )
    again = tmp_path / "again"
    done(run("sh", "-euc", script, "sh", again, cwd=other, env=env))
    for path in sorted(release.iterdir()):
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.fixture
def sbom(release: Path) -> dict[str, Any]:
    """Give the SBOM of the single file."""
    found: dict[str, Any] = json.loads((release / "squash.pyz.cdx.json").read_text())
    return found


def test_the_sbom_is_cyclonedx(release: Path) -> None:
    text = (release / "squash.pyz.cdx.json").read_text()
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(text) is None
    assert validator.validate_str(text.replace('"library"', '"bookshop"')) is not None


def test_the_sbom_is_what_the_file_holds(pyz: Path, sbom: dict[str, Any]) -> None:
    own = sbom["metadata"]["component"]
    assert (own["name"], own["version"]) == ("image-squasher", __version__)
    assert own["hashes"][0]["content"] == hashlib.sha256(pyz.read_bytes()).hexdigest()
    there = {(each.name.replace("_", "-"), each.version) for each in distributions(path=[str(pyz)])}
    assert {(each["name"], each["version"]) for each in sbom["components"]} == there
    lock = re.findall(r"^(\S+)==.*sha256:(\w+)$", (ROOT / "scripts/pyz.txt").read_text(), re.M)
    assert {(each["name"], each["hashes"][0]["content"]) for each in sbom["components"]} == {*lock}
    assert all(each["licenses"] for each in sbom["components"])
    needs = {
        each["ref"].partition("@")[0]: each.get("dependsOn", []) for each in sbom["dependencies"]
    }
    assert [ref.partition("@")[0] for ref in needs["pkg:pypi/image-squasher"]] == [
        "pkg:pypi/click",
        "pkg:pypi/docker",
        "pkg:pypi/tqdm",
    ]
    assert "pkg:pypi/urllib3" in {ref.partition("@")[0] for ref in needs["pkg:pypi/requests"]}


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "old").touch()
    said = run(ROOT / "scripts/release", tmp_path)
    assert (said.returncode, "is not empty" in said.stderr) == (1, True)
    assert run(ROOT / "scripts/release").returncode == 2


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give the files that scripts/check-release reads, ready for release 1.2.3."""
    for name in ("setup.cfg", "scripts/check-release", "squasher/_version.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "squasher/_version.py").write_text('__version__ = "1.2.3"\n')
    text = (tmp_path / "setup.cfg").read_text()
    (tmp_path / "setup.cfg").write_text(text.replace("https://git.example", "https://git.test"))
    (tmp_path / "CHANGELOG.md").write_text(
        "## Unreleased\n\n## [1.2.3] - 2030-01-01\n\n### Fixed\n\n- x\n\n## 1.2.2\n\n- y\n"
    )
    return tmp_path


def check(tree: Path, tag: str = "v1.2.3") -> tuple[int, str]:
    said = run("python3", tree / "scripts/check-release", tag)
    return said.returncode, said.stdout + said.stderr


def test_a_release_that_is_one(tree: Path) -> None:
    assert check(tree) == (0, "### Fixed\n\n- x\n")


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("squasher/_version.py", "1.2.3", "1.2.4", "the tag is v1.2.3, the version of the sources"),
        ("CHANGELOG.md", "[1.2.3]", "[1.2.30]", "CHANGELOG.md has no section for 1.2.3"),
        ("setup.cfg", "https://git.test", "https://x.example", "the url in setup.cfg is one for"),
    ],
)  # fmt: skip
def test_a_release_that_is_none(file: str, old: str, new: str, said: str, tree: Path) -> None:
    path = tree / file
    path.write_text(path.read_text().replace(old, new))
    code, line = check(tree)
    assert (code, line.startswith(f"scripts/release: {said}")) == (1, True), line


def test_a_development_version_is_no_release(tree: Path) -> None:
    (tree / "squasher/_version.py").write_text('__version__ = "1.2.3.dev0"\n')
    said = "scripts/release: 1.2.3.dev0 is a development version\n"
    assert check(tree, "v1.2.3.dev0") == (1, said)


def test_a_link_becomes_absolute() -> None:
    absolute = runpy.run_path(str(ROOT / "setup.py"))["absolute"]
    text = "[a\nb](docs/a.md#x) ![c](docs/c.png) [d](#d) [e](https://e.test/)"
    assert absolute(text, "https://r.test/o", "v1") == (
        "[a\nb](https://r.test/o/blob/v1/docs/a.md#x) ![c](https://r.test/o/raw/v1/docs/c.png)"
        " [d](https://r.test/o/blob/v1/README.md#d) [e](https://e.test/)"
    )
