"""The files for many images: sound for their systems, and their shell parts do what they should."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipapp
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

import squasher
from tests.docs.blocks import ROOT, Block
from tests.docs.conftest import Workshop

MANY = ROOT / "examples" / "many"
JOB = MANY / "kubernetes-job.yaml"


def load(path: Path) -> Any:
    """Read a YAML file; `on:` stays a string."""
    return yaml.load(path.read_text("utf-8"), Loader=yaml.BaseLoader)  # noqa: S506


# ---------------------------------------------------------------- their schemas


@pytest.mark.parametrize(
    ("schema", "file"),
    [
        ("vendor.github-workflows", "github-matrix.yml"),
        ("vendor.gitlab-ci", "gitlab-matrix.yml"),
    ],
)
def test_the_pipeline_fits_its_schema(workshop: Workshop, schema: str, file: str) -> None:
    words = ["check-jsonschema", "--builtin-schema", schema]
    subprocess.run([*words, MANY / file], env=workshop.env, check=True)
    broken = workshop.folder / file
    text = (MANY / file).read_text("utf-8").replace("matrix:", "matrix: 7 #", 1)
    broken.write_text(text.replace("parallel:", "parallel: []\nx:", 1))
    done = subprocess.run([*words, broken], env=workshop.env, capture_output=True, check=False)
    assert done.returncode == 1


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_the_job_fits_the_schema_of_kubernetes(version: str) -> None:
    job = yaml.safe_load(JOB.read_text("utf-8"))
    kubernetes_validate.validate(job, version, strict=True)
    job["spec"]["completionModus"] = "Indexed"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, version, strict=True)


# ---------------------------------------------------------------- Kubernetes


def pod(workshop: Workshop, index: int) -> subprocess.CompletedProcess[str]:
    """Run the container of a pod as the Job would, its mounts being folders here."""
    job = load(JOB)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    given = {item["name"]: item["value"] for item in container["env"]}
    mounts = {item["mountPath"]: item["name"] for item in container["volumeMounts"]}
    assert mounts == {"/images": "images", "/scratch": "scratch"}
    assert given == {"IMAGES": "/images", "TMPDIR": "/scratch"}
    scratch = workshop.folder.parent / f"scratch-{index}"
    scratch.mkdir(exist_ok=True)
    here = {"IMAGES": str(workshop.folder), "TMPDIR": str(scratch)}
    return subprocess.run(
        [*container["command"], *container["args"]],
        env={**workshop.env, **here, "JOB_COMPLETION_INDEX": str(index)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def volume(workshop: Workshop) -> Workshop:
    """Give a folder that is the Job's volume: the list, the archives, squash.pyz."""
    shutil.copy(MANY / "images.txt", workshop.folder)
    source = workshop.folder.parent / "pyz"
    source.mkdir()
    (source / "__main__.py").write_text("from squasher.cli.main import main\nmain()\n")
    zipapp.create_archive(source, workshop.folder / "squash.pyz")
    return workshop


def test_each_pod_squashes_its_line(volume: Workshop) -> None:
    lines = (MANY / "images.txt").read_text().splitlines()
    job = load(JOB)
    assert int(job["spec"]["completions"]) == len(lines)
    for index, line in enumerate(lines):
        done = pod(volume, index)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        archive = line.split()[0]
        report = json.loads((volume.folder / "squashed" / f"{archive}.json").read_text())
        assert report["images"][0]["kept_layers"] == 1
        with (
            squasher.open_archive(volume.folder / archive) as before,
            squasher.open_archive(volume.folder / "squashed" / archive) as after,
        ):
            assert squasher.compare(before.images[0], after.images[0]) == ()


def test_a_pod_leaves_alone_what_is_done(volume: Workshop) -> None:
    assert pod(volume, 0).returncode == 0
    result = volume.folder / "squashed" / "app.tar"
    result.write_bytes(b"")
    assert pod(volume, 0).returncode == 0
    assert result.read_bytes() == b""


def test_the_exit_code_says_whether_to_try_again(volume: Workshop) -> None:
    (rule,) = load(JOB)["spec"]["podFailurePolicy"]["rules"]
    final = [int(code) for code in rule["onExitCodes"]["values"]]
    (volume.folder / "images.txt").write_text("app.tar no-such-base\nmissing.tar base.tar\n")
    assert pod(volume, 0).returncode == 4
    assert pod(volume, 1).returncode == 3
    assert pod(volume, 2).returncode == 2
    assert final == [2, 3, 4, 5]
    assert not (volume.folder / "squashed").exists()
    (volume.folder / "images.txt").write_text("app.tar base.tar\n")
    (volume.folder / "squashed").write_text("no folder")
    assert pod(volume, 0).returncode not in (0, *final)


# ---------------------------------------------------------------- Slurm


def task(workshop: Workshop, number: int) -> subprocess.CompletedProcess[str]:
    """Run the script as a task of a job array; tests/docs/test_slurm.py has a real one."""
    return subprocess.run(
        [MANY / "slurm-array.sh"],
        cwd=workshop.folder,
        env={**workshop.env, "SLURM_ARRAY_TASK_ID": str(number)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_each_task_squashes_its_line(volume: Workshop) -> None:
    (volume.folder / "images.txt").write_text("app.tar base.tar\nsub/demo.tar 1f76799647c7\n")
    (volume.folder / "sub").mkdir()
    shutil.copy(volume.folder / "demo.tar", volume.folder / "sub")
    for number, archive in enumerate(("app.tar", "sub/demo.tar"), 1):
        done = task(volume, number)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        result = volume.folder / "squashed" / archive
        report = json.loads(Path(f"{result}.json").read_text())
        assert report["images"][0]["kept_layers"] == 1
        result.write_bytes(b"")
        assert task(volume, number).returncode == 0
        assert result.read_bytes() == b""


def test_the_exit_code_of_a_task(volume: Workshop) -> None:
    (volume.folder / "images.txt").write_text("app.tar no-such-base\nmissing.tar base.tar\n")
    assert [task(volume, number).returncode for number in (1, 2, 3)] == [4, 3, 2]
    assert not list(volume.folder.glob("squashed/*"))


# ---------------------------------------------------------------- GitHub, GitLab


def test_the_matrix_of_github(harbour: Workshop) -> None:
    jobs = load(MANY / "github-matrix.yml")["jobs"]
    name, base = "registry.example.com/app:1.0", "registry.example.com/debian:12"
    (harbour.folder / "images.txt").write_text(f"{name} {base}\n\n")
    output, summary = harbour.folder / "output", harbour.folder / "summary"
    output.touch()
    (listing,) = [step["run"] for step in jobs["list"]["steps"] if step.get("id") == "list"]
    given = f"export GITHUB_OUTPUT={output} GITHUB_STEP_SUMMARY={summary}\n"
    harbour.run(Block(0, "sh", "", given + listing))
    key, _, value = output.read_text().partition("=")
    assert (key, json.loads(value)) == ("images", [{"name": name, "base": base}])
    assert jobs["squash"]["env"]["NAME"] == "${{ matrix.image.name }}"
    script = jobs["squash"]["steps"][-1]["run"]
    harbour.run(Block(0, "sh", "", f"{given}NAME={name} BASE={base}\n{script}"))
    assert summary.read_text().startswith("### ")
    _pushed(harbour, name)


def test_the_matrix_of_gitlab(harbour: Workshop) -> None:
    job = load(MANY / "gitlab-matrix.yml")["squash"]
    first = job["parallel"]["matrix"][0]
    given = f"NAME={first['NAME']} BASE={first['BASE']}\n"
    harbour.run(Block(0, "sh", "", given + "\n".join(job["script"])))
    assert all((harbour.folder / path).is_file() for path in job["artifacts"]["paths"])
    _pushed(harbour, first["NAME"])


def _pushed(harbour: Workshop, name: str) -> None:
    script = f"""
    skopeo inspect --raw docker://{name} >before.json
    skopeo inspect --raw docker://{name}-squashed >after.json
    """
    harbour.run(Block(0, "sh", "", script))
    before, after = (
        json.loads((harbour.folder / f"{file}.json").read_text())["layers"]
        for file in ("before", "after")
    )
    assert len(after) == 2
    assert after[0] == before[0]
