"""One measured run of a command, and where the files of a measurement are."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).resolve().parents[2]
#: The command, whose child processes do what must not count as its own.
BENCH = ROOT / "scripts/bench"
SEED = Path(os.environ.get("SQUASHER_SEED_DIR", "/var/tmp/squasher-seed"))  # noqa: S108
WINDOW = 4 << 20
Command: TypeAlias = Sequence[str | Path]


@dataclass(frozen=True)
class Run:
    """One measured run: wall and CPU time in seconds, memory in bytes."""

    wall: float
    cpu: float
    memory: int


@dataclass(frozen=True)
class Row:
    """One line of the table: what ran, how often, and what it left.

    Without runs the note says why there are none.
    """

    name: str
    runs: Sequence[Run]
    output: Path | None = None
    note: str = ""


class CommandError(SystemExit):
    """A command failed. Unless somebody catches it, the benchmark ends with what it said.

    line    the line of it that says why
    """

    def __init__(self, command: Command, code: int, said: bytes) -> None:
        text = said.decode(errors="replace")
        super().__init__(f"bench: {command}: exit {code}\n{text[-4000:]}")
        lines = [line for line in text.splitlines() if line.strip()]
        if lines and lines[0].startswith("Traceback"):  # the error comes after the indented lines
            lines = lines[max(i for i, line in enumerate(lines) if line[0] == " " or not i) + 1 :]
        self.line = lines[0].strip() if lines else f"exit {code}"


def contestant(name: str, measure: Callable[[], Row]) -> Row:
    """Return what `measure` returns; if a command fails, a row that says why."""
    try:
        return measure()
    except CommandError as error:
        return Row(name, (), note=f"failed: {error.line}")


def output_of(command: Command) -> str:
    """Return what a command prints. Raises CommandError."""
    done = subprocess.run(list(map(str, command)), capture_output=True)
    if done.returncode:
        raise CommandError(command, done.returncode, done.stderr)
    return done.stdout.decode()


def run(command: Command, source: Path | None = None, sink: Path | None = None) -> Run:
    """Run a command to its end, from `cat source` and into `cat > sink` if these are given.

    Raises CommandError.
    The resident set of a child starts as large as its parent's, so this process must stay small.
    """
    begin = time.perf_counter()
    feed = source and subprocess.Popen(["cat", source], stdout=subprocess.PIPE)
    drain = None
    if sink:
        with sink.open("wb") as file:
            drain = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=file)
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            list(map(str, command)),
            stdin=feed.stdout if feed else subprocess.DEVNULL,
            stdout=drain.stdin if drain else subprocess.DEVNULL,
            stderr=errors,
        )
        if feed and feed.stdout:
            feed.stdout.close()
        if drain and drain.stdin:
            drain.stdin.close()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        others = [process.wait() for process in (feed, drain) if process]
        wall = time.perf_counter() - begin
        if child.returncode or any(others):
            errors.seek(0)
            raise CommandError(command, child.returncode, errors.read())
    return Run(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def repeat(count: int, once: Callable[[], Run], output: Path | None = None) -> list[Run]:
    """Run `count` times, after one run that is not measured (none before a single run).

    Each run writes a new `output`, as the floor does: freeing the blocks of an old file takes time.
    """
    runs = []
    for _ in range(count + (count > 1)):
        if output:
            output.unlink(missing_ok=True)
        runs.append(once())
    return runs[-count:]


@contextmanager
def scratch(suffix: str) -> Iterator[Path]:
    """Give the name of a file next to the seed image; it is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=SEED))
    try:
        yield folder / f"output{suffix}"
    finally:
        shutil.rmtree(folder)


def wall(runs: Sequence[Run]) -> float:
    """Return the median of the wall times."""
    return statistics.median(one.wall for one in runs)


def cpu(runs: Sequence[Run]) -> float:
    """Return the median of the CPU times."""
    return statistics.median(one.cpu for one in runs)
