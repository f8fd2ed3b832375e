"""On a terminal: help, refusals and a bar of progress; and none of them anywhere else."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import tarfile
import termios
from collections.abc import Iterator
from pathlib import Path

import click

from tests.builders import File, archive, layer
from tests.faults.command import COMMAND, environment, error_line, squash
from tests.faults.conftest import IMAGE


@contextlib.contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    try:
        yield ours, theirs
    finally:
        os.close(ours)


def shown(ours: int) -> bytes:
    """Return what the terminal shows until the command has left it."""
    text = b""
    with contextlib.suppress(OSError):  # EIO: its last user has gone
        while piece := os.read(ours, 65536):
            text += piece
    return text


def on_terminal(
    *arguments: str, streams: tuple[str, ...], stdin: bytes = b"", **more: str
) -> tuple[int, bytes, dict[str, bytes]]:
    """Run the command with these streams on a terminal and the others piped."""
    with terminal() as (ours, theirs):
        places = {
            name: theirs if name in streams else subprocess.PIPE
            for name in ("stdin", "stdout", "stderr")
        }
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            env=environment(**{"TERM": "xterm", "NO_COLOR": "", **more}),
            **places,
        )  # type: ignore[call-overload]
        os.close(theirs)
        out, err = process.communicate(stdin if "stdin" not in streams else None, timeout=60)
        return process.returncode, shown(ours), {"stdout": out or b"", "stderr": err or b""}


def test_no_arguments_give_help_and_exit_2() -> None:
    code, _, piped = on_terminal(streams=("stdin",))
    assert code == 2
    assert b"Usage: squash" in piped["stderr"]
    assert piped["stdout"] == b""
    code, text, _ = on_terminal(streams=("stdin", "stdout", "stderr"))
    assert code == 2
    assert b"Usage: squash" in text


def test_no_archive_goes_to_a_terminal() -> None:
    code, text, piped = on_terminal(streams=("stdout",), stdin=IMAGE)
    assert (code, text) == (2, b"")
    assert "-o" in error_line(piped["stderr"])
    code, text, _ = on_terminal("-o", "-", streams=("stdout",), stdin=IMAGE)
    assert (code, text) == (2, b"")


def test_a_terminal_is_no_archive(tmp_path: Path) -> None:
    out = str(tmp_path / "out.tar")
    code, _, piped = on_terminal("-o", out, streams=("stdin",))
    assert code == 2
    assert "stdin is a terminal" in error_line(piped["stderr"])
    assert not os.listdir(tmp_path)


def test_a_dry_run_may_have_stdout_on_a_terminal() -> None:
    code, text, _ = on_terminal("--dry-run", streams=("stdout",), stdin=IMAGE)
    assert (code, text) == (0, b"")


def test_progress_is_a_bar_on_the_terminal_of_stderr() -> None:
    code, text, piped = on_terminal(streams=("stderr",), stdin=IMAGE)
    assert code == 0
    assert b"B/s" in text
    assert piped["stdout"] == squash(stdin=IMAGE).stdout


def test_no_bar_when_nobody_wants_one() -> None:
    for option in ("--no-progress", "-q"):
        code, text, _ = on_terminal(option, streams=("stderr",), stdin=IMAGE)
        assert code == 0
        assert b"B/s" not in text
        assert b"\r " not in text
    assert text == b""


def test_colours_only_on_a_terminal_that_wants_them() -> None:
    _, text, _ = on_terminal(streams=("stderr",), stdin=IMAGE)
    assert b"\x1b[1mbefore" in text
    _, text, _ = on_terminal(streams=("stderr",), stdin=IMAGE, NO_COLOR="1")
    assert b"before" in text
    assert b"\x1b[1m" not in text
    assert b"\x1b" not in squash(stdin=IMAGE).stderr


def test_what_differs_is_shown_as_wide_as_the_terminal(tmp_path: Path) -> None:
    """And as far as a hundred lines go; a pipe gets everything."""
    names = [b"n" * 90 + b"%d" % n for n in range(101)]
    for name, members in (("a", ()), ("b", names)):
        (tmp_path / name).write_bytes(archive([layer(*map(File, members))]))
    words = ("diff", str(tmp_path / "a"), str(tmp_path / "b"))
    code, text, _ = on_terminal(*words, streams=("stdout",))
    assert code == 1
    assert b"\x1b[32m+ /nn" in text
    assert b"\r\n      file, 0 B\r\n" in text
    assert b"... and 1 more paths; --all shows them" in text
    _, text, _ = on_terminal(*words, "--all", streams=("stdout",))
    assert text.count(b"+ /") == 101
    piped = squash(*words).stdout
    assert piped.count(b"  file, 0 B\n") == 101
    assert b"\x1b" not in piped


def test_an_error_comes_after_the_bar_on_a_line_of_its_own() -> None:
    code, text, _ = on_terminal("-f", "nothing", streams=("stderr",), stdin=IMAGE)
    assert code == 4
    last, said, _ = click.unstyle(text.decode()).rpartition("squash: ")
    assert said
    assert last.endswith(("\r", "\n"))


def test_stdout_has_the_archive_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "out.tar"
    path.write_bytes(squash("-v", stdin=IMAGE).stdout)
    assert path.stat().st_size % 512 == 0
    with tarfile.open(path) as archive:
        assert "manifest.json" in archive.getnames()
