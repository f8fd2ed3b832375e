"""scripts/bench: what is printed of a contestant that fails, or whose result cannot be read."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scripts.benchmarks.measuring import CommandError, Row, Run, contestant, output_of, run
from scripts.benchmarks.report import compare_itself, print_rows
from tests.builders import File, archive, layer

FAILURES = [
    ("echo no such image >&2; echo see --help >&2; exit 3", "no such image"),
    ("echo >&2; echo '  later ' >&2; exit 3", "later"),
    ("exit 3", "exit 3"),
    (r"printf 'Traceback (most):\n  File\n    x\nOSError: 1\n- 2\n' >&2; exit 1", "OSError: 1"),
    ("echo Traceback >&2; exit 1", "exit 1"),
    (r"printf '\377\n' >&2; exit 1", "\ufffd"),
]  # fmt: skip


@pytest.mark.parametrize(("script", "says"), FAILURES)
def test_a_contestant_that_fails_is_a_row(
    script: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    row = contestant("peer", lambda: Row("peer", [run(["sh", "-c", script])]))
    again = contestant("peer", lambda: Row(output_of(["sh", "-c", script]), []))
    assert row == again == Row("peer", (), note=f"failed: {says}")
    print_rows("title", [row, Row("squash", [Run(1.5, 1, 0)]), Row("the floor", [Run(1, 1, 0)])])
    table = capsys.readouterr().out.splitlines()[3:6]
    assert [line.split()[:2] for line in table] == [
        ["peer", "failed:"], ["squash", "1.50"], ["the", "floor"],
    ]  # fmt: skip
    assert table[0].endswith(f" failed: {says}")


def test_a_contestant_that_does_not_fail_is_measured() -> None:
    (one,) = contestant("peer", lambda: Row("peer", [run([sys.executable, "-c", ""])])).runs
    assert one.wall > 0
    assert output_of(["echo", "said"]) == "said\n"


def test_our_own_command_ends_the_benchmark_with_what_it_said() -> None:
    with pytest.raises(SystemExit, match=r"bench: .*: exit 3\nno such image\nsee --help"):
        run(["sh", "-c", FAILURES[0][0]])
    assert issubclass(CommandError, SystemExit)


def test_a_result_that_cannot_be_read_is_a_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layers = [layer(File(b"a")), layer(File(b"b"))]
    made = {
        "sound": archive(layers, form="v25"),
        "other": archive(layers[:1], form="v25"),
        "lacks": archive(layers, form="v25").replace(b"blobs/", b"blabs/"),
        "none": b"no tar",
        "empty": b"",
        "links": archive([b"\1" * 512 + bytes(1024)], form="v25"),
    }
    for name, data in made.items():
        (tmp_path / name).write_bytes(data)
    names = [*made, "missing"]
    compare_itself(*(str(tmp_path / name) for name in ("sound", *names)))
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["0 / 0 / 0", "1 / 0 / 0"]
    assert len(lines) == len(names)
    assert all(line.startswith("unreadable: ") for line in lines[2:]), lines
