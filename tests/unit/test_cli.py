"""squasher.cli inside this process: what only a terminal, a thread or a main program meets."""

from __future__ import annotations

import io
import os
import re
import runpy
import signal
import subprocess
import sys
import threading
from pathlib import Path

import click
import pytest

from squasher import __version__
from squasher.cli import main
from tests.builders import File, archive, layer

IMAGE = archive([layer(File(b"a")), layer(File(b"b"))])


class Terminal(io.TextIOWrapper):
    """A stream that says that it is one."""

    def __init__(self, data: bytes = b"") -> None:
        super().__init__(io.BytesIO(data), write_through=True)

    def isatty(self) -> bool:
        """Say yes."""
        return True

    @property
    def shown(self) -> str:
        """What was written to it."""
        stream = self.buffer
        assert isinstance(stream, io.BytesIO)
        return stream.getvalue().decode()


@pytest.fixture
def image(tmp_path: Path) -> str:
    path = tmp_path / "image.tar"
    path.write_bytes(IMAGE)
    return str(path)


def test_the_main_program(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"squash {__version__}\n"


def test_the_module_is_a_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["squash", "--version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("squasher", run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"squash {__version__}\n"


def test_help_shows_its_examples_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--help"]) == 0
    text = capsys.readouterr().out
    assert "\\b" not in text
    assert "\n  docker save app | squash -f <base> | docker load\n" in text


def test_no_arguments_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal())
    assert main.run([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("Usage: squash")


def test_stdin_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal())
    assert main.run(["-"]) == 2
    assert "stdin is a terminal" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", None)
    assert main.run(["-"]) == 2
    assert "stdin is closed" in capsys.readouterr().err


def test_stdout_on_a_terminal(
    image: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    assert main.run([image]) == 2
    monkeypatch.setattr(sys, "stdout", None)
    assert main.run([image]) == 2
    said = capsys.readouterr().err
    assert "stdout is a terminal" in said
    assert "stdout is closed" in said
    assert out.shown == ""


def test_a_bar_on_a_terminal(image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    err = Terminal()
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setenv("TQDM_NCOLS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert main.run([image, "--dry-run"]) == 0
    assert "B/s" in err.shown
    assert main.run([image + ".none", "--dry-run"]) == 3
    assert re.search(r"[\r\n]squash: ", click.unstyle(err.shown))


def test_verbose_tells_each_phase_once(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["-v", image, "--dry-run"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines.count("squash: reading and checking the layers") == 1
    assert lines.count("squash: hashing the new layer") == 1


def test_too_little_memory_is_one_line(
    image: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def apply(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("squasher.layers.squash.apply", apply)
    assert main.run([image, "--dry-run"]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "squash: not enough memory for the entries of this image"


def test_another_thread_leaves_signals_alone(image: str) -> None:
    before = signal.getsignal(signal.SIGTERM)
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main.run(["-q", image, "--dry-run"])))
    thread.start()
    thread.join()
    assert codes == [0]
    assert signal.getsignal(signal.SIGTERM) == before


def test_every_run_leaves_the_process_as_it_was(image: str) -> None:
    import gc

    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    for enabled in (True, False):
        (gc.enable if enabled else gc.disable)()
        assert main.run(["-q", image, "--dry-run"]) == 0
        assert gc.isenabled() == enabled
    gc.enable()
    assert handlers == [
        signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    ]


def test_a_stderr_that_nobody_reads_is_no_failure(
    image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does what is left in its buffer make the interpreter end with 120."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as unread:
        monkeypatch.setattr(sys, "stderr", unread)
        assert main.run(["-v", image, "-o", str(tmp_path / "out.tar")]) == 0
        assert main.run([str(tmp_path / "none.tar"), "-o", "-"]) == 3


def test_the_subcommands_are_there_for_what_walks_over_commands() -> None:
    """Completion and the man pages take them from here."""
    found = main.command.commands
    assert {name: type(each).__name__ for name, each in found.items()} == {
        "inspect": "Command",
        "diff": "Command",
    }


#: What takes long to import and what squashing plain layers does not need.
_HEAVY = ["bz2", "concurrent", "difflib", "lzma", "logging", "shutil", "tempfile", "urllib.parse"]
_RUN = """
import sys
import click
before = set(sys.modules)
from squasher.cli import main
assert main.run(sys.argv[2:]) == 0
print(*set(sys.argv[1].split()) & set(sys.modules) - before)
"""


def test_a_run_imports_nothing_heavy_that_it_does_not_need(image: str, tmp_path: Path) -> None:
    words = ["--quiet", "--keep-layers=1", image, f"--output={tmp_path / 'out.tar'}"]
    for arguments in (["--version"], words):
        command = [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}\n{_RUN}"]
        shown = subprocess.run(
            [*command, " ".join(_HEAVY), *arguments], check=True, capture_output=True, text=True
        )
        assert shown.stdout.splitlines()[-1] == "", arguments
