"""What the tests of the packages share: a copy of the sources, what is built of it, the Pythons.

They need a package index, and some an interpreter or a shell that not every machine has: without,
they skip, saying why. With SQUASHER_PACKAGES=required they fail instead, but for the CPythons that
nothing was said of: SQUASHER_PYTHONS lists those that must be there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "testdata/demo.tar"
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
#: What is no source.
LEFT_OUT = (
    *(".git", ".venv", ".*_cache", ".hypothesis", ".coverage*", ".fuzz"),
    *("__pycache__", "*.egg-info", "build", "dist"),
)
#: The time of what is built here.
EPOCH = "1700000000"


def missing(reason: str) -> None:
    """Skip the test, or fail where nothing may be missing."""
    if os.environ.get("SQUASHER_PACKAGES") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


def run(
    *words: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def done(result: subprocess.CompletedProcess[str]) -> str:
    """Require that a command succeeded; return what it printed."""
    assert result.returncode == 0, f"{result.args}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def interpreter(version: str) -> Path | None:
    """Return the CPython of that version: from PATH, or from pyenv's folder."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    found = [shutil.which(f"python{version}")]
    found += [str(path) for path in sorted(pyenv.glob(f"versions/{version}.*/bin/python"))]
    for path in filter(None, found):  # a shim may name a version that is not there
        said = run(path, "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
        if said.returncode == 0 and said.stdout.strip() == version:
            return Path(path)
    return None


def wanted(version: str) -> Path:
    """Return the CPython of that version; without one, skip the test or fail."""
    found = interpreter(version)
    if found is None:
        reason = f"no CPython {version}"
        if version in os.environ.get("SQUASHER_PYTHONS", "").split():
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture(params=VERSIONS)
def python(request: pytest.FixtureRequest) -> Path:
    """Give an interpreter of each version."""
    return wanted(request.param)


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Require that pip finds a package index."""
    folder = tmp_path_factory.mktemp("index")
    words = ("download", "--quiet", "--no-deps", "--no-cache-dir", "--retries", "0", "idna==3.20")
    said = run(sys.executable, "-m", "pip", *words, "--dest", folder)
    if said.returncode:
        missing(f"no package index: {said.stderr.strip().splitlines()[-1]}")


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a copy of the sources: building leaves files behind."""
    folder = tmp_path_factory.mktemp("sources") / "squasher"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
    return folder


@pytest.fixture(scope="session")
def release(index: None, sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with all that a release holds."""
    folder = tmp_path_factory.mktemp("release")
    env = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH}
    done(run(sources / "scripts/release", folder, env=env))
    return folder


@pytest.fixture(scope="session")
def packages(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    for path in (*release.glob("*.whl"), *release.glob("*.tar.gz")):
        shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="session")
def wheel(packages: Path) -> Path:
    """Give the wheel."""
    (found,) = packages.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def sdist(packages: Path) -> Path:
    """Give the sdist."""
    (found,) = packages.glob("*.tar.gz")
    return found


@pytest.fixture(scope="session")
def pyz(release: Path) -> Path:
    """Give the single file."""
    return release / "squash.pyz"
