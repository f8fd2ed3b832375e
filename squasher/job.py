"""What one run shares: temporary files, progress, threads for what can be done beside, and times.

Squashing is one thread's work: headers are walked and merged in Python, and Python runs one thread
at a time. What hashes, inflates or copies releases the interpreter and is done beside it, as Tasks;
whoever needs a result that nobody has begun to work out does it in his own thread.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

from squasher.content import Content
from squasher.errors import SquasherError, UsageError
from squasher.spool import Spool

#: Called with the phase ("spool", "read", "hash", "write", "compare"), the bytes done just now,
#: and the bytes that the phase will take in all (0 where nobody knows). May be called from any
#: thread.
Progress = Callable[[str, int, int], None]

#: Beside the thread that walks and merges.
_THREADS = max(1, min(8, os.cpu_count() or 1) - 1)

_T = TypeVar("_T")


def silent(phase: str, done: int, total: int) -> None:
    """Report nothing."""


class Cancelled(Exception):  # noqa: N818
    """Another part of the job failed: this one no longer matters."""


class Task(Generic[_T]):
    """Work that one thread does, whichever comes first."""

    def __init__(self, work: Callable[[], _T]) -> None:
        self._work = work
        self._claim = threading.Lock()
        self._future: Future[_T] = Future()

    @property
    def done(self) -> bool:
        """Tell whether the result, or the failure, is there."""
        return self._future.done()

    def run(self) -> None:
        """Do the work, unless some thread has begun it."""
        if not self._claim.acquire(blocking=False):
            return
        try:
            self._future.set_result(self._work())
        except Exception as error:
            self._future.set_exception(error)
        except BaseException as error:  # a signal, in the main thread
            self._future.set_exception(error)
            raise

    def result(self) -> _T:
        """Return the result; do the work or wait for it. Raises what the work raises."""
        self.run()
        return self._future.result()


class Job:
    """One run of reading, squashing, writing or comparing. A context manager.

    folder     of temporary files, see Spool
    progress   told of everything that goes by
    name       of the archive, put before failures of what is done beside
    sources    what is read, and must not change meanwhile
    told       what a phase is told as, and its total, where the job knows better than its parts
    """

    name = ""

    def __init__(
        self, folder: str | os.PathLike[str] | None = None, progress: Progress = silent
    ) -> None:
        self.spool = Spool(folder)
        self.sources: list[Content] = []
        self.told: dict[str, tuple[str, int]] = {}
        self._progress = progress
        self._tasks: list[Task[object]] = []
        self._pool: ThreadPoolExecutor | None = None
        self._failed = False
        self._seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def progress(self, phase: str, done: int, total: int = 0) -> None:
        """Tell of `done` bytes. Raises Cancelled if another part of the job has failed."""
        self.check()
        phase, total = self.told.get(phase, (phase, total))
        self._progress(phase, done, total)

    def check(self) -> None:
        """Raise Cancelled if another part of the job has failed."""
        if self._failed:
            raise Cancelled

    # ---------------------------------------------------------------- beside

    def start(self, work: Callable[[], _T]) -> Task[_T]:
        """Have `work` done beside, sooner or later; `settle` waits for it."""

        def watched() -> _T:
            try:
                return work()
            except SquasherError:
                self._failed = True
                raise

        task = Task(watched)
        self._tasks.append(task)  # type: ignore[arg-type]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="squasher")
        self._pool.submit(task.run)
        return task

    def result(self, task: Task[_T]) -> _T:
        """Return the result of `task`, doing others rather than nothing. Raises what it raises."""
        task.run()
        for other in tuple(self._tasks):
            if task.done:
                break
            other.run()
        return task.result()

    def settle(self) -> None:
        """Wait for everything that was started.

        Raises ArchiveError if a source has changed meanwhile, which explains everything else, or
        the first failure, in order of starting.
        """
        failures: list[SquasherError] = []
        while self._tasks:  # one may have started another
            for task in self._tasks:
                task.run()
            done, self._tasks = self._tasks, []
            for task in done:
                try:
                    task.result()
                except SquasherError as error:
                    failures.append(error)
                except Cancelled:
                    pass
        try:
            for content in self.sources:
                content.check()
        except SquasherError as error:
            self.sources.clear()  # told once, as every failure is
            failures.insert(0, error)
        if failures:
            raise failures[0].within(self.name) if self.name else failures[0]
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    @contextmanager
    def explained(self, place: str = "") -> Iterator[None]:
        """Put `place` before what fails inside, unless it is explained by what failed beside.

        What a damaged layer says may be anything: that it is damaged explains it better.
        """
        try:
            yield
        except UsageError:
            raise
        except (SquasherError, Cancelled) as error:
            try:
                self.settle()
            except SquasherError as first:
                raise first.within(place) if place and not self.name else first from None
            if place and isinstance(error, SquasherError):
                error.within(place)
            raise

    def close(self) -> None:
        """End the threads and remove the temporary files."""
        self._failed = True
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self.spool.close()

    # ---------------------------------------------------------------- how long

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Add the time that the block takes to `phase`; threads add up."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - begin
            with self._lock:
                self._seconds[phase] = self._seconds.get(phase, 0.0) + spent

    @property
    def profile(self) -> tuple[tuple[str, float], ...]:
        """The phases so far, in order of their first end, with the seconds spent in each."""
        return tuple(self._seconds.items())
