"""How far a run is, as a bar on the terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from squasher.cli.console import say
from squasher.cli.texts import size

if TYPE_CHECKING:
    from tqdm import tqdm

    from squasher.run import Progress


@dataclass(frozen=True, slots=True)
class _Phase:
    """What is done in a phase, in a line and in a word, and how long it takes.

    That is compared with reading the input once, of an image of 1.5 GB that loses half of it.
    """

    line: str
    doing: str
    share: float


_PHASES = {
    "spool": _Phase("copying the input to a temporary file", "copying", 0.7),
    "read": _Phase("reading and checking the layers", "reading", 1.0),
    "hash": _Phase("hashing the new layer", "hashing", 0.4),
    "write": _Phase("writing the archive", "writing", 0.4),
    "compare": _Phase("comparing the files of both images", "comparing", 1.5),
}
#: Seconds between two looks of the line of progress.
_INTERVAL = 0.1
#: That line, as long as nobody knows how much there is, and then.
_FORMAT_SPOOL = "{doing} {bytes}, {speed} [{elapsed}]"
_FORMAT = "{doing} {percentage:3.0f}%|{bar}| {bytes}, {speed} [{elapsed}<{remaining}]"


@contextlib.contextmanager
def watching(
    *phases: str, quiet: bool = False, verbose: bool = False, bar: bool = True
) -> Iterator[Progress]:
    """Give a callback that shows how far a job of these phases is, in the order of its phases.

    A bar, if stderr is a terminal, `bar` and not `quiet`; a line for each phase if `verbose`. The
    bar is gone at the end of the block.
    """
    seen = sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    shown = _Bar(phases) if seen and bar and not quiet else None
    said: set[str] = set()
    lock = threading.Lock()

    def progress(phase: str, done: int, total: int) -> None:
        with lock:
            # A small layer is read beside, and may be counted after what is made of it.
            for each in ("read", phase) if phase not in ("read", "spool") else (phase,):
                if verbose and each not in said:
                    said.add(each)
                    if shown:
                        shown.clear()
                    say(_PHASES[each].line)
            if shown:
                shown.update(phase, done, total)

    try:
        yield progress
    finally:
        if shown:
            shown.close()


class Course:
    """How far a job of some phases is, from 0 to 1; never goes back.

    Each phase has its share by what it takes as a rule: only when one begins is it known how much
    it has to do. No phase is further than reading, and a phase that has done all and goes on does
    so for another image.
    """

    def __init__(self, phases: Sequence[str]) -> None:
        self._shares = {phase: _PHASES[phase].share for phase in phases}
        self._reached = dict.fromkeys(phases, 0.0)
        self._counts: dict[str, tuple[int, int]] = {}
        self.phase = ""

    def go(self, phase: str, done: int, total: int) -> None:
        """Count `done` more bytes of `phase`, which takes `total` in all, 0 where nobody knows."""
        count, whole = self._counts.get(phase, (0, 0))
        if count >= whole:
            whole += total
        count += done
        self._counts[phase] = count, whole
        if phase not in self._shares:
            self._shares[phase], self._reached[phase] = _PHASES[phase].share, 0.0
        limit = 1.0 if phase in ("read", "spool") else self._reached.get("read", 1.0)
        reached = min(limit, count / whole) if whole else 0.0
        self._reached[phase] = max(self._reached[phase], reached)
        if whole and "spool" in self._reached:
            self._reached["spool"] = 1.0
        self.phase = [each for each in _PHASES if each in self._counts][-1]

    @property
    def position(self) -> float | None:
        """How far it is; None as long as nobody knows how much there is."""
        if not any(whole for _, whole in self._counts.values()):
            return None
        parts = (share * self._reached[phase] for phase, share in self._shares.items())
        return sum(parts) / sum(self._shares.values())

    @property
    def bytes(self) -> tuple[int, int]:
        """Bytes that the phase has done, and those that it has to do."""
        return self._counts.get(self.phase, (0, 0))


class _Bar:
    """A tqdm bar over a whole job: phase, its bytes and their rate; share and time left of all."""

    def __init__(self, phases: Sequence[str]) -> None:
        self._course = Course(phases)
        self._bar: tqdm[Any] | None = None
        self._phase, self._began, self._before = "", 0.0, 0

    def update(self, phase: str, done: int, total: int) -> None:
        """Count `done` more bytes of `phase`."""
        if self._bar is None:
            self._bar = self._new()
        self._course.go(phase, done, total)
        if self._course.phase != self._phase:
            self._phase, self._began = self._course.phase, time.monotonic()
            self._before = self._course.bytes[0]
        position = self._course.position
        if position is not None and self._bar.total is None:
            self._bar.total = 1
            self._bar.bar_format = _FORMAT
        self._bar.update((position or 0.0) - self._bar.n)

    def _new(self) -> tqdm[Any]:
        from tqdm import tqdm

        words = self._words

        class Bar(tqdm):  # type: ignore[type-arg]
            """A bar with words that are only worked out when it is shown."""

            @property
            def format_dict(self) -> dict[str, Any]:
                return {**super().format_dict, **words()}

        return Bar(
            leave=False,
            file=sys.stderr,
            dynamic_ncols=True,
            miniters=0,
            mininterval=_INTERVAL,
            smoothing=0,
            bar_format=_FORMAT_SPOOL,
        )

    def _words(self) -> dict[str, str]:
        count, whole = self._course.bytes
        spent = time.monotonic() - self._began
        rate = (count - self._before) / spent if spent and self._phase else 0.0
        return {
            "doing": _PHASES[self._phase or "read"].doing,
            "bytes": f"{size(count)} of {size(whole)}" if whole else size(count),
            "speed": f"{size(int(rate))}/s",
        }

    def clear(self) -> None:
        """Make room for a line; the bar comes again below it."""
        if self._bar is not None:
            self._bar.clear()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
