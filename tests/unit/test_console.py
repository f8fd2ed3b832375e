"""squasher.cli: what is shown on a terminal, where, and how far the work is."""

from __future__ import annotations

import io
import os
import pty
import sys
from pathlib import Path

import pytest

from squasher.cli import checks, console, progress_bar, texts
from squasher.errors import OutputError, UsageError
from tests.unit.test_cli import Terminal

# ---------------------------------------------------------------- text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1234, "1.2 kB"),
        (999_949, "999.9 kB"),
        (999_951, "1.0 MB"),
        (5_500_000_000, "5.5 GB"),
        (5_500_000_000_000, "5500.0 GB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert texts.size(count) == text


def test_text_from_an_image_cannot_control_a_terminal() -> None:
    assert texts.text("a\n  b\tc") == "a b c"
    assert texts.text("\x1b[31m\u202e\ud800") == "\\x1b[31m\\u202e\\ud800"
    assert texts.text("é") == "é"


def test_cutting() -> None:
    assert texts.cut("12345", 5) == "12345"
    assert texts.cut("123456", 5) == "1234…"
    assert texts.cut("日本語", 6) == "日本語"
    assert texts.cut("日本語x", 6) == "日本…"
    assert texts.cut("e\u0301" * 5, 5) == "e\u0301" * 5


@pytest.mark.parametrize(
    ("created_by", "words"),
    [
        ("", ""),
        ("/bin/sh -c apt-get  update", "RUN apt-get update"),
        ('/bin/sh -c #(nop)  CMD ["bash"]', 'CMD ["bash"]'),
        ("/bin/sh -c #(nop) ADD file:1 in / ", "ADD file:1 in /"),
        ("|2 A=1 B=two words /bin/sh -c make", "RUN make"),
        ("RUN |1 A=1 /bin/sh -c make # buildkit", "RUN make"),
        ("RUN /bin/sh -c make # buildkit", "RUN make"),
        ("COPY . . # buildkit", "COPY . ."),
        ("/bin/bash -c make", "/bin/bash -c make"),
        ("bazel build \x1b[31m", "bazel build \\x1b[31m"),
    ],
)
def test_a_step_without_its_noise(created_by: str, words: str) -> None:
    assert texts.step(created_by) == words


@pytest.mark.parametrize(
    ("line", "folded"),
    [
        ("squash: short", "squash: short"),
        (
            "squash: " + "word " * 12,
            "squash: " + ("word " * 6)[:-1] + "\n        " + ("word " * 6)[:-1],
        ),
        (
            "\x1b[1msquash:\x1b[0m " + "w" * 30 + " x",
            "\x1b[1msquash:\x1b[0m " + "w" * 30 + "\n        x",
        ),
        (
            "squash: first `a command of several words` and",
            "squash: first\n        `a command of several words`\n        and",
        ),
        ("squash: " + "w" * 50, "squash: " + "w" * 50),
        ("squash: or `" + "w" * 34 + "`", "squash: or\n  `" + "w" * 34 + "`"),
        ("-" * 50, "-" * 50),
        ("a " + "w" * 40 + " \x1b[1mx\x1b[0m", "a " + "w" * 40 + " \x1b[1mx\x1b[0m"),
        (
            "a 日本語日本語日本語日本語日本語日本語 x y",
            "a 日本語日本語日本語日本語日本語日本語\n  x y",
        ),
    ],
)
def test_folding(line: str, folded: str) -> None:
    assert texts.fold(line, 38) == folded


def test_the_width_is_that_of_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as stream, os.fdopen(ours, "rb"):
        set_columns(stream.fileno(), 120)
        assert console.width(stream) == 120
        set_columns(stream.fileno(), 20)
        assert console.width(stream) == 60
        set_columns(stream.fileno(), 0)
        assert console.width(stream) == 80
        monkeypatch.setattr(sys, "stderr", stream)
        assert console.width() == 80
        monkeypatch.setenv("COLUMNS", "100")
        assert console.width(stream) == 100
        monkeypatch.setenv("COLUMNS", "wide")
        assert console.width(stream) == 80
    monkeypatch.setattr(sys, "stderr", None)
    assert console.width() == 80
    assert console.width(io.StringIO()) == 80


def set_columns(descriptor: int, columns: int) -> None:
    import fcntl
    import struct
    import termios

    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))


# ---------------------------------------------------------------- streams


def said(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    """Return what a terminal shows of an error, byte for byte."""
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    err = Terminal()
    monkeypatch.setattr(sys, "stderr", err)
    console.say("no\x1b[31m")
    return err.shown


def test_the_hint_has_a_line_of_its_own_where_the_terminal_is_too_narrow(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = UsageError("is wrong", where="--option", hint="give " + "word " * 15 + "`a command`")
    console.fail(error)
    assert capsys.readouterr().err == f"squash: {error}\n"
    monkeypatch.setenv("NO_COLOR", "1")
    hint = "hint:   give" + " word" * 13 + "\n        word word `a command`"
    for columns, failed, shown in (
        ("80", error, f"squash: --option: is wrong\n{hint}\n"),
        ("200", error, f"squash: {error}\n"),
        ("80", UsageError("w" * 90), f"squash: {'w' * 90}\n"),
    ):
        monkeypatch.setenv("COLUMNS", columns)
        err = Terminal()
        monkeypatch.setattr(sys, "stderr", err)
        console.fail(failed)
        assert err.shown == shown


def test_colours_only_on_a_terminal_that_wants_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = "squash: no\\x1b[31m\n"
    console.say("no\x1b[31m")
    assert capsys.readouterr().err == plain
    assert said(monkeypatch) == "\x1b[1msquash:\x1b[0m no\\x1b[31m\n"
    assert said(monkeypatch, NO_COLOR="") != plain
    assert said(monkeypatch, NO_COLOR="1") == plain
    assert said(monkeypatch, TERM="dumb") == plain


def test_a_terminal_of_the_system_has_colours_and_a_pipe_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_COLOR", "")
    monkeypatch.setenv("TERM", "xterm")
    for (reader, writer), start in ((pty.openpty(), b"\x1b[1msquash"), (os.pipe(), b"squash")):
        with os.fdopen(writer, "w") as stream:
            monkeypatch.setattr(sys, "stderr", stream)
            console.say("words")
            assert os.read(reader, 100).startswith(start)
        os.close(reader)


def test_what_a_stream_cannot_encode_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    monkeypatch.setattr(sys, "stdout", out)
    console.give("日…")
    buffer = out.buffer
    assert isinstance(buffer, io.BytesIO)
    assert buffer.getvalue() == b"\\u65e5\\u2026\n"


def test_a_result_that_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as unread:
        monkeypatch.setattr(sys, "stdout", unread)
        console.give("lines")
        console.give("more")
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(OutputError, match="stdout: is closed"):
        console.give("lines")
    with pytest.raises(OutputError, match="stdout: is closed"):
        checks.check_place("--report", "-", inputs=())
    monkeypatch.setattr(sys, "stderr", None)
    console.say("nobody hears this, and that is no failure")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_result_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(OutputError, match="stdout: cannot be written: No space"):
            console.give("lines")


def test_a_report_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checks.write_file(str(tmp_path / "report"), "é\n")
    assert (tmp_path / "report").read_bytes() == "é\n".encode()
    with pytest.raises(OutputError, match="is a folder"):
        checks.write_file(str(tmp_path), "")
    checks.write_file("-", "text\n")
    assert capsys.readouterr().out == "text\n"


# ---------------------------------------------------------------- progress

_Step = tuple[str, int, int]


def course(
    *steps: _Step, phases: tuple[str, ...] = ("read", "hash", "write")
) -> list[float | None]:
    """Return how far a job is after each step."""
    way = progress_bar.Course(phases)
    found = []
    for step in steps:
        way.go(*step)
        found.append(way.position)
    return found


def test_a_job_is_done_when_its_last_phase_is() -> None:
    found = course(
        ("read", 5, 10), ("read", 5, 10), ("hash", 3, 3), ("write", 1, 4), ("write", 3, 4)
    )
    assert found == sorted(found, key=lambda position: position or 0)
    assert 0 < (found[0] or 0) < (found[1] or 0) < 1
    assert found[-1] == pytest.approx(1)


def test_it_never_goes_back_whatever_a_phase_turns_out_to_be() -> None:
    found = course(
        ("read", 10, 10),
        ("hash", 10, 10_000),  # compressed layers unpack to more
        ("hash", 9_990, 10_000),
        ("read", 1, 10),  # another image, of which nobody knew
        ("hash", 1, 10),
        ("read", 9, 10),
        ("hash", 9, 10),
        ("write", 5, 5),
        ("write", 5, 5),
    )
    assert found == sorted(found, key=lambda position: position or 0)
    assert found[-1] == pytest.approx(1)


def test_no_phase_is_further_than_reading() -> None:
    """With two images, the first one's new layer is not the whole phase."""
    found = course(("read", 5, 10), ("hash", 4, 4), phases=("read", "hash"))
    assert found[-1] == pytest.approx(0.5)


def test_nobody_knows_how_much_a_pipe_holds() -> None:
    found = course(("spool", 100, 0), ("spool", 900, 0), ("read", 1, 10), ("read", 9, 10))
    assert found[:2] == [None, None]
    assert 0 < (found[2] or 0) < (found[3] or 0) < 1


def test_what_is_shown_is_the_phase_and_its_bytes() -> None:
    way = progress_bar.Course(("read", "write"))
    assert way.bytes == (0, 0)
    way.go("read", 5, 10)
    assert (way.phase, way.bytes) == ("read", (5, 10))
    way.go("write", 1, 2)
    way.go("read", 5, 10)
    assert (way.phase, way.bytes) == ("write", (1, 2))


def bar(monkeypatch: pytest.MonkeyPatch, *steps: _Step, **options: bool) -> str:
    """Return what a terminal of 80 columns shows."""
    err = Terminal()
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(progress_bar, "_INTERVAL", 0)
    with progress_bar.watching("read", "write", **options) as progress:
        for step in steps:
            progress(*step)
    return err.shown


def test_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    shown = bar(monkeypatch, ("spool", 2000, 0), ("read", 500, 1000), ("write", 1, 1))
    lines = [line for line in shown.split("\r") if line.strip()]
    assert all(len(line) <= 80 for line in lines)
    assert any(line.startswith("copying 2.0 kB, ") for line in lines)
    assert any(line.startswith("reading ") and "| 500 B of 1.0 kB, " in line for line in lines)
    assert any(line.startswith("writing ") for line in lines)
    assert all("B/s" in line for line in lines)


def test_no_bar_for_who_wants_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    step = ("read", 1, 2)
    assert bar(monkeypatch, step, quiet=True) == bar(monkeypatch, step, bar=False) == ""
    assert bar(monkeypatch) == ""
    monkeypatch.setenv("TERM", "dumb")
    assert bar(monkeypatch, step) == ""


def test_steps_stand_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    shown = bar(monkeypatch, ("read", 1, 2), ("read", 1, 2), ("write", 1, 1), verbose=True)
    assert shown.count("squash: reading and checking the layers\n") == 1
    assert "\rsquash: writing the archive\n" in shown
    plain = bar(monkeypatch, ("read", 1, 2), verbose=True, bar=False)
    assert plain == "squash: reading and checking the layers\n"


def test_reading_is_said_before_what_is_made_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    steps = (("spool", 1, 0), ("hash", 1, 2), ("read", 1, 2), ("hash", 1, 2), ("write", 1, 1))
    assert bar(monkeypatch, *steps, verbose=True).splitlines() == [
        "squash: copying the input to a temporary file",
        "squash: reading and checking the layers",
        "squash: hashing the new layer",
        "squash: writing the archive",
    ]
