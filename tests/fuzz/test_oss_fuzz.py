"""The files for OSS-Fuzz: build.sh, run here with stand-ins for what only its image has."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.fuzz.seeds import HARNESSES

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "scripts/oss-fuzz"
PYTHON = shlex.quote(sys.executable)
PROGRAMS = {
    "pip3": "",
    "python3": f'exec {PYTHON} "$@"',
    # It makes a program of a script; here, a copy beside what else it was told.
    "compile_python_fuzzer": 'cp "$1" "$OUT" && echo "$@" >"$OUT/$(basename "$1").words"',
    "zip": f'exec {PYTHON} -m zipfile -c "$2" $(cat)',
}
#: atheris, but for the fuzzing: it hands the harness one input.
ATHERIS = """import contextlib, sys
@contextlib.contextmanager
def instrument_imports(include):
    yield
def Setup(words, one):
    global go
    go = lambda: one(open(words[1], "rb").read())
def Fuzz():
    go()
"""
#: A line of a dictionary. Source: LLVM, libFuzzer, "Dictionaries".
LINE = re.compile(r'"(?:[^"\\\n]|\\["\\]|\\x[0-9A-Fa-f]{2})+"')


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that build.sh has filled."""
    programs, out = tmp_path_factory.mktemp("programs"), tmp_path_factory.mktemp("out")
    for name, text in PROGRAMS.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    env = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "OUT": str(out)}
    done = subprocess.run(
        [FOLDER / "build.sh"], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return out


def test_every_harness_is_built(built: Path) -> None:
    assert {path.stem for path in built.glob("*.py")} == {f"fuzz_{name}" for name in HARNESSES}


@pytest.mark.parametrize("name", HARNESSES)
def test_what_is_built_runs_a_seed(name: str, built: Path, tmp_path: Path) -> None:
    with ZipFile(built / f"fuzz_{name}_seed_corpus.zip") as seeds:
        assert len(seeds.namelist()) > 10
        seed = tmp_path / "seed"
        seed.write_bytes(seeds.read(seeds.namelist()[0]))
    (tmp_path / "atheris.py").write_text(ATHERIS)
    words = (built / f"fuzz_{name}.py.words").read_text()
    assert f"--hidden-import tests.fuzz.{name} " in words
    done = subprocess.run(
        [sys.executable, built / f"fuzz_{name}.py", seed],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.dict")), ids=lambda path: path.stem)
def test_a_dictionary_is_one(path: Path, built: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    assert lines
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    assert (built / f"fuzz_{path.stem}.dict").read_bytes() == path.read_bytes()
