"""A fault in every phase of a run: its exit code, nothing half-made, nothing left behind."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from unittest import mock

import pytest

from squasher.cli.main import run
from tests.builders import Dir, File, archive, layer
from tests.faults.command import error_line, lacking
from tests.faults.conftest import LOWER, MIDDLE, UPPER
from tests.faults.phases import PHASES, acting
from tests.faults.test_signals import signals
from tests.forms.daemon import running

Capture = pytest.CaptureFixture[bytes]
SAME = layer(Dir(b"etc"), File(b"etc/motd", b"hello\n"), File(b"big", b"b" * 300_000))
IMAGE = archive([LOWER, MIDDLE, UPPER, SAME], gzip_layers=(2,))
#: The outputs that a run can have.
OUTPUTS = ["file", "layout", "pipe", "load"]


class Place:
    """A folder for every kind of file that a run reads and writes, and what lay there before."""

    def __init__(self, folder: Path) -> None:
        self.image, self.out, self.tmp = folder / "image.tar", folder / "out", folder / "tmp"
        self.image.write_bytes(IMAGE)
        for path in (self.out, self.tmp):
            path.mkdir()
        (self.out / "out.tar").write_bytes(b"old")
        assert run([str(self.image), "-q", "-o", f"oci:{self.out}/layout:old"]) == 0
        self.before = self.files()

    def words(self, phase: str, output: str) -> list[str]:
        """Return the arguments of a run that goes through the phase."""
        image = self.image
        if phase == "spool":
            image = self.image.with_suffix(".tar.gz")
            image.write_bytes(gzip.compress(IMAGE))
        to = {
            "file": ["-o", f"{self.out}/out.tar"],
            "layout": ["-o", f"oci:{self.out}/layout:new"],
            "pipe": [],
            "load": ["--load"],
        }
        more = ["--compress", "gzip"] if phase == "compress" else []
        more += ["--verify"] if phase == "verify" else []
        common = ["-q", "--keep-layers", "1", "--tmp-dir", str(self.tmp)]
        return [str(image), *common, *more, *to[output]]

    def files(self) -> dict[str, bytes]:
        """Return what lies in the folders for output and temporary files."""
        return {
            str(path): path.read_bytes() if path.is_file() else b""
            for folder in (self.out, self.tmp)
            for path in folder.rglob("*")
        }

    def nothing_left(self) -> None:
        """Require that all is as it was."""
        assert self.files() == self.before


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Return a place to run in."""
    return Place(tmp_path)


#: What comes before the output does not depend on it.
ENDS = {
    "begin to write": ["file", "layout"],
    "write": ["file", "layout", "pipe"],
    "finish": ["file", "layout"],
    "name": ["file", "layout"],
    "verify": OUTPUTS,
    "load": ["load"],
}


def cases(*left_out: str, outputs: Sequence[str] = OUTPUTS) -> list[tuple[str, str]]:
    """Return the phases with the outputs whose runs go through them."""
    return [
        (phase, output)
        for phase in PHASES
        for output in ENDS.get(phase, outputs[:1])
        if phase not in left_out and output in outputs
    ]


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let there be a daemon."""
    with running() as state:
        monkeypatch.setenv("DOCKER_HOST", state.host)
        yield
        assert not state.loaded


@signals
@pytest.mark.parametrize(("phase", "output"), cases())
@pytest.mark.usefixtures("daemon")
def test_a_signal(
    number: int, code: int, phase: str, output: str, place: Place, capfdbinary: Capture
) -> None:
    words = place.words(phase, output)
    with acting(phase, lambda: os.kill(os.getpid(), number)):
        assert run(words) == code
    said = capfdbinary.readouterr()
    assert error_line(said.err) == f"interrupted by {signal.Signals(number).name}"
    assert b"manifest.json" not in said.out
    place.nothing_left()


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize(("phase", "output"), cases("load"))
def test_a_kill(phase: str, output: str, place: Place, capfdbinary: Capture) -> None:
    """Nobody cleans up: what is left is a temporary file by its name, or a blob that is whole."""
    words = place.words(phase, output)
    child = os.fork()  # a new interpreter takes twenty times as long
    if not child:
        try:
            with acting(phase, lambda: os.kill(os.getpid(), signal.SIGKILL)):
                run(words)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert b"manifest.json" not in capfdbinary.readouterr().out
    found = place.files()
    assert {path: found.pop(path) for path in place.before} == place.before
    for path, data in found.items():
        folder, name = os.path.split(path)
        if re.fullmatch(r"\.squash-[0-9a-f]{16}\.tmp", name):
            continue
        assert folder.endswith("/blobs/sha256")
        assert name == hashlib.sha256(data).hexdigest()


# ---------------------------------------------------------------- read errors


def failing_reads() -> mock._patch[Callable[..., bytes]]:
    """Return a patch after which the disk of the input gives nothing but errors."""

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    return mock.patch.object(os, "pread", pread)


@pytest.mark.parametrize(
    ("phase", "output"),
    cases("lay out", "finish", "name", "load", "merge", "begin to write"),
)
@pytest.mark.usefixtures("daemon")
def test_a_read_error(phase: str, output: str, place: Place, capfdbinary: Capture) -> None:
    words = place.words(phase, output)
    broken = failing_reads()
    try:
        with acting(phase, broken.start):
            code = run(words)
    finally:
        broken.stop()
    said = capfdbinary.readouterr()
    line = error_line(said.err)
    assert "Input/output error" in line
    assert code == (1 if phase == "verify" else 3)
    assert line.startswith("not verified: ") == (phase == "verify")
    assert b"manifest.json" not in said.out
    place.nothing_left()


def test_a_read_error_of_the_base_archive(place: Place, capfdbinary: Capture) -> None:
    base = place.image.with_name("base.tar")
    base.write_bytes(archive([LOWER]))
    broken, real = failing_reads(), []

    def fail() -> None:  # the second archive that is opened
        real.append(acting("documents", broken.start))
        real[0].start()

    try:
        with acting("documents", fail):
            assert run([str(place.image), "-q", "-f", str(base), "-o", f"{place.out}/x"]) == 3
    finally:
        broken.stop()
        real[0].stop()
    assert error_line(capfdbinary.readouterr().err).startswith(f"-f: {base}: ")
    place.nothing_left()


@pytest.fixture
def bad_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a device that holds an image, the second half of which cannot be read."""
    backing = tmp_path / "backing"
    data = archive([LOWER, layer(File(b"big", b"b" * 4_000_000)), UPPER])
    backing.write_bytes(data + bytes(-len(data) % 4096))
    made = (
        subprocess.run(
            ["losetup", "--find", "--show", str(backing)],
            capture_output=True,
            text=True,
            check=False,
        )
        if shutil.which("losetup")
        else None
    )
    if made is None or made.returncode:
        lacking("a device that fails needs root and loop devices")
    device = made.stdout.strip()
    os.truncate(backing, 2_000_000 // 4096 * 4096)
    yield Path(device)
    subprocess.run(["losetup", "--detach", device], check=True)


def test_a_disk_that_cannot_be_read(bad_disk: Path, folder: Path, capfdbinary: Capture) -> None:
    with bad_disk.open("rb") as stream:
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    assert run([str(bad_disk), "-o", str(folder / "out.tar")]) == 3
    line = error_line(capfdbinary.readouterr().err)
    assert line.startswith(f"{bad_disk}: ")
    assert "cannot be read: Input/output error" in line
    assert os.listdir(folder) == []


# ---------------------------------------------------------------- outputs that go away


@pytest.mark.parametrize(("phase", "output"), cases("hash", "unpack", outputs=["file", "layout"]))
def test_the_folder_of_the_output_is_removed(
    phase: str, output: str, place: Place, capfdbinary: Capture
) -> None:
    words = place.words(phase, output)
    with acting(phase, lambda: shutil.rmtree(place.out)):
        assert run(words) == 6
    line = error_line(capfdbinary.readouterr().err)
    assert "No such file" in line
    assert os.listdir(place.tmp) == []
    assert not place.out.exists()


@pytest.mark.parametrize(("phase", "output"), cases(outputs=["file", "layout"]))
def test_the_folder_for_temporary_files_is_removed(
    phase: str, output: str, place: Place, capfdbinary: Capture
) -> None:
    """What has no name needs no folder; what is made later fails."""
    words = place.words(phase, output)
    with acting(phase, lambda: shutil.rmtree(place.tmp)):
        code = run(words)
    said = capfdbinary.readouterr()
    if code == 0:
        assert said.err == b""
        return
    assert code in (1, 6)
    assert "cannot write temporary data: No such file" in error_line(said.err)
    place.nothing_left()


@pytest.mark.parametrize(("phase", "output"), cases(outputs=["pipe"]))
def test_the_reader_of_a_pipe_goes(
    phase: str,
    output: str,
    place: Place,
    capfdbinary: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = place.words(phase, output)
    reader, writer = os.pipe()
    with open(writer, "wb", buffering=0) as stream:
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(stream)))
        with acting(phase, lambda: os.close(reader)):
            assert run(words) == 6
    assert "Broken pipe" in error_line(capfdbinary.readouterr().err)
    place.nothing_left()
