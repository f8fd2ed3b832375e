"""What one run shares: temporary files, progress, threads for what can be done beside, and times.

Squashing is one thread's work: headers are walked and merged in Python, and Python runs one thread
at a time. What hashes, inflates or copies releases the interpreter and is done beside it, as Tasks;
whoever needs a result that nobody has begun to work out does it in his own thread.
"""

from __future__ import annotations

import copy
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext

from squasher.blobs.content import Content
from squasher.blobs.spool import Spool
from squasher.errors import SquasherError, UsageError, placed
from squasher.tasks import Cancelled, T, Task, Work

#: Called with the phase ("spool", "read", "hash", "write", "compare"), the bytes since the last
#: call, and the bytes of the whole phase (0 if unknown). Can be called from any thread.
Progress = Callable[[str, int, int], None]

#: Keeps what comes in, and so many bytes where that is known: see Spool.store.
Store = Callable[[Iterable[bytes], int], Content]


def silent(phase: str, done: int, total: int) -> None:
    """Report nothing."""


class Job:
    """One run of reading, squashing, writing or comparing. A context manager.

    All that it holds is shared by the jobs that `telling` makes of it, and nobody changes it from
    outside.

    folder     of temporary files, see Spool
    progress   told of everything that goes by
    """

    def __init__(
        self, folder: str | os.PathLike[str] | None = None, progress: Progress = silent
    ) -> None:
        self.spool = Spool(folder)
        self._progress = progress
        self._told: Mapping[str, tuple[str, int]] = {}
        self._store: Store | None = None
        self._rank: int | None = None
        self._work = Work()
        self._inputs: list[Content] = []
        self._seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def telling(self, phase: str, shown: str, total: int) -> Job:
        """Return the same job, which tells of `phase` as `shown`, with that total."""
        other = copy.copy(self)
        other._told = {**self._told, phase: (shown, total)}
        return other

    def storing(self, store: Store) -> Job:
        """Return the same job, which has `store` keep the new layers."""
        other = copy.copy(self)
        other._store = store
        return other

    def ranked(self, rank: int) -> Job:
        """Return the same job, of which all that is started has this rank.

        Work with a rank goes on when another part of the job fails: `settle` tells the failure of
        the lowest rank, whichever came first.
        """
        other = copy.copy(self)
        other._rank = rank
        return other

    def stored(self, made: Iterable[bytes], plan: Content | None = None) -> Content:
        """Return a new layer: what `made` brings, where it is to be kept.

        Those are the bytes of `plan`, if there is one; it will do where nothing has to be kept.
        Raises OutputError.
        """
        if self._store is not None:
            return self._store(made, plan.size if plan else 0)
        if plan is None:
            return self.spool.store(made)
        for _ in made:
            pass
        return plan

    def progress(self, phase: str, done: int, total: int = 0) -> None:
        """Tell of `done` bytes. Raises what `check` raises."""
        self.check()
        phase, total = self._told.get(phase, (phase, total))
        self._progress(phase, done, total)

    def check(self) -> None:
        """Raise Cancelled if another part of the job has failed, and this one has no rank."""
        if self._work.closed or (self._work.failed and self._rank is None):
            raise Cancelled

    def watch(self, inputs: Iterable[Content]) -> None:
        """Require that these do not change before `settle`."""
        self._inputs.extend(inputs)

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Forget at the end of the block what was watched in it: it may be gone then."""
        before = len(self._inputs)
        try:
            yield
        finally:
            del self._inputs[before:]

    # ---------------------------------------------------------------- in other threads

    def ranks(self, count: int) -> range:
        """Return ranks for `count` tasks, above all that were given before."""
        return self._work.ranks(count)

    def start(self, work: Callable[[], T]) -> Task[T]:
        """Have `work` done in another thread, sooner or later; `settle` waits for it."""
        return self._work.start(work, self._rank or 0)

    def result(self, task: Task[T]) -> T:
        """Return the result of `task`, doing others rather than nothing. Raises what it raises."""
        return self._work.result(task)

    def settle(self, place: str = "") -> None:
        """Wait for everything that was started; put `place` before what failed.

        Raises ArchiveError if an input has changed meanwhile, which explains everything else, or
        the failure of the lowest rank; of one rank, of what was started first.
        """
        failures = self._work.finish()
        try:
            for content in self._inputs:
                content.check()
        except SquasherError as error:
            self._inputs.clear()  # told once, as every failure is
            failures.insert(0, error)
        if failures:
            raise failures[0].within(place) if place else failures[0]

    @contextmanager
    def explained(self, place: str = "") -> Iterator[None]:
        """Raise what has failed in another thread, with its `place`, instead of what fails inside.

        What a damaged layer says may be anything: that it is damaged explains it better. An option
        that is wrong whatever the layers say waits for nothing.
        """
        try:
            yield
        except (SquasherError, Cancelled) as error:
            if self._work.ranked or not isinstance(error, UsageError):
                self.settle(place)
            raise

    @contextmanager
    def verified(self, place: str = "") -> Iterator[None]:
        """Wait at the end of the block for all digests; put `place` before what fails."""
        with placed(place) if place else nullcontext(), self.explained():
            yield
            self.settle()

    def close(self) -> None:
        """End the threads and remove the temporary files."""
        self._work.close()
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

    def timed_each(self, phase: str, windows: Iterable[bytes]) -> Iterator[bytes]:
        """Yield `windows`, and add the time that it takes to get at each of them to `phase`."""
        iterator = iter(windows)
        while True:
            with self.timed(phase):
                window = next(iterator, None)
            if window is None:
                return
            yield window

    @property
    def profile(self) -> tuple[tuple[str, float], ...]:
        """The phases so far, in order of their first end, with the seconds spent in each."""
        return tuple(self._seconds.items())
