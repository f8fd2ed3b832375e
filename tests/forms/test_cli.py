"""The command around it all: signals, streams, and where an error is said to be."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import squasher
from squasher.cli import main, signals
from tests.builders import Dir, File, Hardlink, archive, layer
from tests.forms.command import failed, squash
from tests.forms.shapes import LAYERS


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_it_and_handlers_are_as_they_were(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    number = signal.Signals[name]
    before = signal.getsignal(number)

    def waits(arguments: Sequence[str], docker: bool) -> int:
        os.kill(os.getpid(), number)
        time.sleep(5)
        return 0

    monkeypatch.setattr(main, "_run", waits)
    assert main.run([]) == 128 + number
    assert signal.getsignal(number) is before
    assert capsys.readouterr().err == f"squash: interrupted by {name}\n"


def test_a_signal_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It can come as soon as one of them is taken."""

    def interrupted() -> Callable[[], None]:
        raise signals.Interrupted(signal.SIGTERM)

    monkeypatch.setattr(signals, "take_signals", interrupted)
    assert main.run([]) == 143


def test_another_thread_than_the_first_takes_no_signals() -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(squash("--version").code))
    thread.start()
    thread.join()
    assert codes == [0]


def test_main_exits(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main.main(["--version"])
    assert caught.value.code == 0
    monkeypatch.setattr(sys, "argv", ["squash", "--version"])
    with pytest.raises(SystemExit):
        main.main()
    assert capsys.readouterr().out == f"squash {squasher.__version__}\n" * 2


HELP = (["--help"], ["--version"], ["inspect", "--help"], ["diff", "-h"])


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("words", HELP)
def test_help_that_cannot_be_written(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main.run(words) == 6
    assert capsys.readouterr().err.startswith("squash: stdout: cannot be written: No space")


@pytest.mark.parametrize("words", HELP)
def test_help_that_nobody_reads(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as unread:
        monkeypatch.setattr(sys, "stdout", unread)
        assert main.run(words) == 0
    assert not capsys.readouterr().err


def test_an_error_of_a_layer_names_archive_layer_and_path() -> None:
    bad = layer(Dir(b"etc"), Hardlink(b"etc/link", b"etc/nothing"))
    line = failed(squash(stdin=archive([*LAYERS[:2], bad, layer(File(b"x"))])), 3)
    assert line.startswith("stdin: layer 3 of 4: ")
    assert "etc/link" in line


def test_an_error_of_the_base_names_the_base(tmp_path: Path) -> None:
    """And not the archive, which is not to blame."""
    base = tmp_path / "base.tar"
    base.write_bytes(b"nonsense")
    line = failed(squash("-f", str(base), stdin=archive(LAYERS)), 3)
    assert line.startswith(f"-f: {base}: ")


@pytest.mark.parametrize("value", ["", ",", "duplicate-path", "duplicate-path,odd-mtime"])
def test_strict_with_and_without_kinds(value: str) -> None:
    image = archive([layer(File(b"a"), File(b"a")), layer(File(b"b"))])
    words = ["--strict", f"--strict={value}"] if not value else [f"--strict={value}"]
    for word in words:
        assert "duplicate-path" in failed(squash(word, "-", stdin=image), 1)


@pytest.mark.parametrize(
    "words", [["--load-image=false"], ["--load-image=true"], ["--load-image", "No", "x.tar"]]
)
def test_what_docker_squash_answers_load_image_with(words: list[str]) -> None:
    line = failed(squash(*words), 2)
    assert line == "--load-image: takes no value; leave it out to load nothing"


def test_an_image_may_be_called_like_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no").write_bytes(b"no archive")
    monkeypatch.chdir(tmp_path)
    assert failed(squash("--load-image", "no"), 3).startswith("no: ")
    assert failed(squash("--load-image", "--", "yes"), 3).startswith("yes: ")
