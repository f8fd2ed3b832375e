"""Work that several threads may do."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable
from operator import itemgetter
from typing import Generic, TypeVar

from squasher.errors import SquasherError

#: Beside the thread that walks and merges.
_THREADS = max(1, min(8, os.cpu_count() or 1) - 1)

#: Windows that may wait for their hash.
_WAITING = 4

T = TypeVar("T")


class Cancelled(Exception):  # noqa: N818
    """Another part of the job failed: this one no longer matters."""


class Task(Generic[T]):
    """Work that one thread does, whichever comes first."""

    def __init__(self, work: Callable[[], T], rank: int = 0) -> None:
        self.rank = rank
        self._work = work
        self._claim = threading.Lock()
        self._over = threading.Event()
        self._result: T
        self._failure: BaseException | None = None

    @property
    def done(self) -> bool:
        """Tell whether the result, or the failure, is there."""
        return self._over.is_set()

    def run(self) -> None:
        """Do the work, unless some thread has begun it."""
        if not self._claim.acquire(blocking=False):
            return
        try:
            self._result = self._work()
        except Exception as error:
            self._failure = error
        except BaseException as error:  # a signal, in the main thread
            self._failure = error
            raise
        finally:
            self._over.set()

    def result(self) -> T:
        """Return the result; do the work or wait for it. Raises what the work raises."""
        self.run()
        self._over.wait()
        if self._failure is not None:
            raise self._failure
        return self._result


class Work:
    """What is done in other threads, and whether any of it has failed.

    A thread ends where nothing waits: who forgets to close this does not wait at his end. (What
    concurrent.futures has for that takes 3 ms to import.)
    """

    def __init__(self) -> None:
        self.failed = False
        self.closed = False
        self.tasks: list[Task[object]] = []
        self._ranks = 0
        self._waiting: deque[Task[object]] = deque()
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()

    @property
    def ranked(self) -> bool:
        """Tell whether any ranks were given."""
        return self._ranks > 0

    def ranks(self, count: int) -> range:
        """Return ranks for `count` tasks, above all that were given before."""
        first, self._ranks = self._ranks, self._ranks + count
        return range(first, self._ranks)

    def start(self, work: Callable[[], T], rank: int = 0) -> Task[T]:
        """Have `work` done in another thread, sooner or later."""

        def watched() -> T:
            try:
                return work()
            except SquasherError:
                self.failed = True
                raise

        task = Task(watched, rank)
        self.tasks.append(task)  # type: ignore[arg-type]
        with self._lock:
            self._waiting.append(task)  # type: ignore[arg-type]
            if len(self._threads) < _THREADS:
                thread = threading.Thread(target=self._serve, name="squasher")
                thread.start()
                self._threads.add(thread)
        return task

    def _serve(self) -> None:
        """Do what waits, in a thread that ends when nothing does."""
        while True:
            with self._lock:
                if not self._waiting:
                    self._threads.discard(threading.current_thread())
                    return
                task = self._waiting.popleft()
            task.run()

    def _join(self) -> None:
        """Wait until all threads have ended."""
        while threads := tuple(self._threads):
            for thread in threads:
                thread.join()

    def result(self, task: Task[T]) -> T:
        """Return the result of `task`; meanwhile do other tasks. Raises what it raises."""
        task.run()
        for other in tuple(self.tasks):
            if task.done:
                break
            other.run()
        return task.result()

    def finish(self) -> list[SquasherError]:
        """Wait for everything; return the failures, lowest rank first, and forget them."""
        failures: list[tuple[int, SquasherError]] = []
        while self.tasks:  # one may have started another
            for task in self.tasks:
                task.run()
            done, self.tasks = self.tasks, []
            for task in done:
                try:
                    task.result()
                except SquasherError as error:
                    failures.append((task.rank, error))
                except Cancelled:
                    pass
        if not failures:
            self._join()
        return [error for _, error in sorted(failures, key=itemgetter(0))]

    def close(self) -> None:
        """End the threads; what has not begun is not done."""
        self.closed = True
        with self._lock:
            self._waiting.clear()
        self._join()


class HashBeside:
    """SHA-256 in a thread of its own, beside what else is done with the same windows."""

    def __init__(self) -> None:
        from queue import SimpleQueue  # only here: start-up is quicker without

        self._hash = hashlib.sha256()
        self._windows: SimpleQueue[bytes | None] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()
        for _ in range(_WAITING):
            self._room.put(None)
        # A signal can come before anybody could tell it to end: the process must not wait then.
        self._thread = threading.Thread(target=self._serve, name="squasher-hash", daemon=True)

    def __enter__(self) -> HashBeside:
        return self

    def __exit__(self, *exception: object) -> None:
        self._windows.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    def update(self, window: bytes) -> None:
        """Hash `window` next, sooner or later; wait where many are waiting."""
        if self._thread.ident is None:
            self._thread.start()
        self._room.get()
        self._windows.put(window)

    def hexdigest(self) -> str:
        """Return the digest of all, once the block has ended."""
        return self._hash.hexdigest()

    def _serve(self) -> None:
        while (window := self._windows.get()) is not None:
            self._hash.update(window)
            self._room.put(None)
