"""The steps for CI: sound for their systems, and their shell parts do what they say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml

import squasher

ROOT = Path(__file__).parent.parent.parent
CI = ROOT / "ci"
DEMO = ROOT / "testdata" / "demo.tar"
EVIL = 'x"; touch broken; "$(touch broken)`touch broken`'


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def action_script() -> str:
    (step,) = [step for step in load(CI / "github/action.yml")["runs"]["steps"] if "id" in step]
    return str(step["run"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with a `docker` that saves the demo image and keeps what it has to load.

    As docker's own, it fails with 1 if that is nothing.
    """
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    kept = f'"{tmp_path}/loaded.tar"'
    docker.write_text(
        f'#!/bin/sh\ncase $1 in save) cat "{DEMO}" ;;\n'
        f"load) cat >{kept} && test -s {kept} ;; esac\n"
    )
    docker.chmod(0o755)
    return tmp_path


def run(command: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    path = f"{folder}/bin:{sysconfig.get_path('scripts')}:{os.path.dirname(sys.executable)}"
    env = {"PATH": f"{path}:{os.environ['PATH']}", "HOME": str(folder), **variables}
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.parametrize(
    ("schema", "file"),
    [("vendor.github-actions", "github/action.yml"), ("vendor.gitlab-ci", "gitlab/squash.yml")],
)
def test_it_fits_its_schema(schema: str, file: str, tmp_path: Path) -> None:
    words = ["check-jsonschema", "--builtin-schema", schema]
    assert run([*words, str(CI / file)], tmp_path).returncode == 0
    broken = tmp_path / Path(file).name
    broken.write_text((CI / file).read_text("utf-8").replace("script:", "skript:").replace(
        "using: composite", "using: compost"))  # fmt: skip
    assert run([*words, str(broken)], tmp_path).returncode == 1


def test_no_input_is_part_of_a_script() -> None:
    for step in load(CI / "github/action.yml")["runs"]["steps"]:
        assert "${{" not in step["run"]


def loaded(folder: Path) -> squasher.Image:
    with squasher.open_archive(folder / "loaded.tar") as archive:
        (image,) = archive.images
        return image


def github(folder: Path, **inputs: str) -> subprocess.CompletedProcess[str]:
    names = {
        "IMAGE": "demo:latest",
        "BASE": "10",
        "TAGS": "",
        "MIN_EFFICIENCY": "",
        "MAX_WASTED": "",
    }
    files = {"GITHUB_OUTPUT": f"{folder}/output", "GITHUB_STEP_SUMMARY": f"{folder}/summary"}
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", action_script()]
    return run(command, folder, RUNNER_TEMP=str(folder), **files, **names | inputs)


def test_the_action(folder: Path) -> None:
    done = github(folder, TAGS="small:1\nsmall:2", MIN_EFFICIENCY="0.5", MAX_WASTED="1MB")
    assert done.returncode == 0, done.stderr
    image = loaded(folder)
    assert image.tags == ("small:1", "small:2")
    outputs = dict(line.split("=") for line in (folder / "output").read_text().splitlines())
    assert outputs["image-id"] == str(image.config.image_id)
    assert int(outputs["size-after"]) < int(outputs["size-before"])
    assert "small:1" in (folder / "summary").read_text()
    assert not list(folder.glob("image.*"))


def test_the_action_misses_a_threshold(folder: Path) -> None:
    done = github(folder, MAX_WASTED="1B")
    assert done.returncode == 1
    assert "bytes wasted, above --max-wasted 1B" in done.stderr
    assert not (folder / "loaded.tar").exists()


@pytest.mark.parametrize(("base", "code"), [("sha256:abcdef", 4), ("", 2)])
def test_steps_end_with_the_exit_code_of_squash(base: str, code: int, folder: Path) -> None:
    assert github(folder, BASE=base).returncode == code
    assert shell(folder, "demo:latest", base).returncode == code
    assert not (folder / "loaded.tar").exists()


@pytest.mark.parametrize("name", ["IMAGE", "BASE", "TAGS", "MIN_EFFICIENCY", "MAX_WASTED"])
def test_no_input_is_run(name: str, folder: Path) -> None:
    github(folder, **{name: EVIL})
    assert not (folder / "broken").exists()


def shell(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return run([str(CI / "shell/squash-step.sh"), *words], folder, TMPDIR=str(folder), **variables)


def test_the_shell_step(folder: Path) -> None:
    done = shell(folder, "demo:latest", "10", "r.md", SQUASH_MIN_EFFICIENCY="0.5")
    assert done.returncode == 0, done.stderr
    assert loaded(folder).tags == ("demo:latest",)
    assert "demo:latest" in (folder / "r.md").read_text()
    assert not list(folder.glob("squash-step.*"))


def test_the_shell_step_fails_as_squash_does(folder: Path) -> None:
    assert shell(folder, "demo:latest", "10", SQUASH_MAX_WASTED="1B").returncode == 1
    assert not (folder / "loaded.tar").exists()
    assert "no layer" in shell(folder, "demo:latest", "sha256:abcdef").stderr


def test_every_step_installs_what_makes_it_fast() -> None:
    """Layers in CI are gzip or zstd: registries, BuildKit and containerd's store have no others."""
    lines = {
        path.name: line
        for folder in ("ci", "examples")
        for path in (CI.parent / folder).rglob("*")
        if path.is_file()
        for line in path.read_text("utf-8").splitlines()
        if "pip install" in line
    }
    assert len(lines) == 8
    for name, line in lines.items():
        assert re.search(r"'image-squasher\[(docker,)?fast,zstd\]'", line), name


def test_the_gitlab_job(folder: Path) -> None:
    job = load(CI / "gitlab/squash.yml")["squash"]
    install, *script = job["script"]
    assert re.fullmatch(r"pip install .*'image-squasher\[fast,zstd\]'", install)
    shutil.copy(DEMO, folder / "image.tar")
    variables = job["variables"] | {"BASE": "10", "PIP_CACHE_DIR": ""}
    done = run(["bash", "-eo", "pipefail", "-c", "\n".join(script)], folder, **variables)
    assert done.returncode == 0, done.stderr
    for name in job["artifacts"]["paths"]:
        assert (folder / name).stat().st_size
    report = json.loads((folder / "squash.json").read_text())
    assert report["images"][0]["squashed"]


# ---------------------------------------------------------------- build, squash, push

PUSH = ROOT / "examples" / "push"
BUILDX = 'docker buildx build --build-arg "BASE=$BASE" --output type=oci,dest=app.tar .'


@pytest.mark.parametrize(
    ("schema", "file"),
    [("vendor.github-workflows", "github.yml"), ("vendor.gitlab-ci", "gitlab.yml")],
)
def test_a_step_that_pushes_fits_its_schema(schema: str, file: str, tmp_path: Path) -> None:
    words = ["check-jsonschema", "--builtin-schema", schema]
    assert run([*words, str(PUSH / file)], tmp_path).returncode == 0


def test_steps_that_push_build_alike() -> None:
    """Each is run against a registry in tests/engines/test_push.py."""
    task = load(PUSH / "tekton-task.yaml")["spec"]
    given = {item["value"] for step in task["steps"] for item in step["env"]}
    params = {f"$(params.{each['name']})" for each in task["params"]}
    assert params | {"$(results.image.path)"} <= given
    assert not [step for step in task["steps"] if "$(params" in step["script"]]
    for file in ("Jenkinsfile", "github.yml"):
        assert BUILDX in (PUSH / file).read_text("utf-8")


@pytest.mark.parametrize("code", [0, 4])
def test_nothing_is_pushed_if_squash_fails(code: int, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, body in {
        "skopeo": 'echo "$@" >>skopeo.log',
        "squash": f'test {code} = 0 && printf sha256:abc >"$6" || exit {code}',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    words = [str(PUSH / "squash-and-push.sh"), "app.tar", "r:5000/debian", "r:5000/app"]
    path = f"{programs}:{os.environ['PATH']}"
    done = subprocess.run(
        words,
        cwd=tmp_path,
        env={"PATH": path, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    pushed = [line for line in (tmp_path / "skopeo.log").read_text().splitlines() if "app" in line]
    assert bool(pushed) == (code == 0)
    assert done.stdout == ("r:5000/app@sha256:abc\n" if code == 0 else "")
    assert not list(tmp_path.glob("squash-and-push.*"))
