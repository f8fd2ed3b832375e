"""Signals in the middle of everything: their own exit code, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from squasher.cli.main import run
from tests.builders import File, archive, layer
from tests.faults.command import error_line, pending, start, waits
from tests.faults.conftest import IMAGE, LOWER

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
LARGE = archive([LOWER, layer(File(b"big", b"b" * 4_000_000))])
#: Many members that are smaller than any buffer.
MANY = archive([*(layer(File(b"f%d" % n, b"x" * 30_000)) for n in range(120)), LOWER])

signals = pytest.mark.parametrize(("number", "code"), SIGNALS)


@contextlib.contextmanager
def command(*arguments: str | Path, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    process = start(*arguments, **options)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@signals
def test_while_a_pipe_is_read(number: int, code: int, folder: Path) -> None:
    out = folder / "out.tar"
    out.write_bytes(b"old")
    with command("-o", out, "--tmp-dir", folder, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(IMAGE[:4000])
        process.stdin.flush()
        waits(lambda: pending(process.stdin.fileno()) == 0)  # type: ignore[union-attr]
        process.send_signal(number)
        _, stderr = process.communicate(timeout=20)
    assert process.returncode == code
    assert signal.Signals(number).name in error_line(stderr)
    assert out.read_bytes() == b"old"
    assert os.listdir(folder) == ["out.tar"]


def _full(descriptor: int) -> None:
    """Return when a pipe takes no more, however its pages are filled."""
    waits(lambda: pending(descriptor) > 30_000)
    before = -1
    while before != pending(descriptor):
        before = pending(descriptor)
        time.sleep(0.2)


@signals
def test_before_a_fifo_has_a_writer(number: int, code: int, folder: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with command(fifo, "-o", folder / "out.tar") as process:
        waits(lambda: _waits_in(process.pid, "fifo", "wait_for_partner"))
        process.send_signal(number)
        _, stderr = process.communicate(timeout=20)
    assert process.returncode == code
    assert error_line(stderr)
    assert os.listdir(folder) == []


def _waits_in(pid: int, *places: str) -> bool:
    text = Path(f"/proc/{pid}/wchan").read_text()
    return any(place in text for place in places)


@signals
@pytest.mark.parametrize("image", [LARGE, MANY], ids=["large", "many"])
def test_while_a_pipe_is_full(number: int, code: int, image: bytes, tmp_path: Path) -> None:
    """The reader lives but does not read: the command must not wait for it."""
    path = tmp_path / "image.tar"
    path.write_bytes(image)
    with command(path, "--keep-layers", str(image.count(b"VERSION") - 2)) as process:
        assert process.stdout is not None
        _full(process.stdout.fileno())
        process.send_signal(number)
        assert process.wait(timeout=20) == code
        assert process.stderr is not None
        assert error_line(process.stderr.read())


@signals
def test_while_a_fifo_is_written(number: int, code: int, folder: Path, tmp_path: Path) -> None:
    path, fifo = tmp_path / "image.tar", folder / "fifo"
    path.write_bytes(LARGE)
    os.mkfifo(fifo)
    with command(path, "-o", fifo) as process, fifo.open("rb", buffering=0) as reader:
        _full(reader.fileno())
        process.send_signal(number)
        _, stderr = process.communicate(timeout=20)
    assert process.returncode == code
    assert error_line(stderr)
    assert os.listdir(folder) == ["fifo"]


@signals
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_while_a_file_is_finished(
    number: int,
    code: int,
    call: str,
    image: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = folder / "out.tar"
    out.write_bytes(b"old")

    def interrupted(*arguments: object) -> None:
        assert len(os.listdir(folder)) == 2  # the temporary file is there
        os.kill(os.getpid(), number)

    monkeypatch.setattr(os, call, interrupted)
    before = signal.getsignal(number)
    assert run([str(image), "-o", str(out)]) == code
    assert signal.getsignal(number) == before
    assert signal.Signals(number).name in error_line(capsys.readouterr().err.encode())
    assert out.read_bytes() == b"old"
    assert os.listdir(folder) == ["out.tar"]


def test_a_second_signal_does_not_stop_the_cleaning_up(
    image: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = os.unlink

    def interrupted(*arguments: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    def slow(path: str) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        unlink(path)

    monkeypatch.setattr(os, "fsync", interrupted)
    monkeypatch.setattr(os, "unlink", slow)
    assert run([str(image), "-q", "-o", str(folder / "out.tar")]) == 130
    assert os.listdir(folder) == []


def test_a_hangup_that_nohup_has_ignored(folder: Path) -> None:
    def nohup() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    out = folder / "out.tar"
    with command("-q", "-o", out, stdin=subprocess.PIPE, preexec_fn=nohup) as process:
        assert process.stdin is not None
        process.stdin.write(IMAGE[:4000])
        process.stdin.flush()
        waits(lambda: pending(process.stdin.fileno()) == 0)  # type: ignore[union-attr]
        process.send_signal(signal.SIGHUP)
        process.communicate(IMAGE[4000:], timeout=20)
    assert process.returncode == 0
    assert os.listdir(folder) == ["out.tar"]
