"""Work that several threads may do."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from squasher.errors import SquasherError

#: Beside the thread that walks and merges.
_THREADS = max(1, min(8, os.cpu_count() or 1) - 1)

T = TypeVar("T")


class Cancelled(Exception):  # noqa: N818
    """Another part of the job failed: this one no longer matters."""


class Task(Generic[T]):
    """Work that one thread does, whichever comes first."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._claim = threading.Lock()
        self._future: Future[T] = Future()

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

    def result(self) -> T:
        """Return the result; do the work or wait for it. Raises what the work raises."""
        self.run()
        return self._future.result()


class Work:
    """What is done in other threads, and whether any of it has failed."""

    def __init__(self) -> None:
        self.failed = False
        self.tasks: list[Task[object]] = []
        self._pool: ThreadPoolExecutor | None = None

    def start(self, work: Callable[[], T]) -> Task[T]:
        """Have `work` done in another thread, sooner or later."""

        def watched() -> T:
            try:
                return work()
            except SquasherError:
                self.failed = True
                raise

        task = Task(watched)
        self.tasks.append(task)  # type: ignore[arg-type]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="squasher")
        self._pool.submit(task.run)
        return task

    def result(self, task: Task[T]) -> T:
        """Return the result of `task`; meanwhile do other tasks. Raises what it raises."""
        task.run()
        for other in tuple(self.tasks):
            if task.done:
                break
            other.run()
        return task.result()

    def finish(self) -> list[SquasherError]:
        """Wait for everything; return the failures, in order of starting, and forget them."""
        failures: list[SquasherError] = []
        while self.tasks:  # one may have started another
            for task in self.tasks:
                task.run()
            done, self.tasks = self.tasks, []
            for task in done:
                try:
                    task.result()
                except SquasherError as error:
                    failures.append(error)
                except Cancelled:
                    pass
        if self._pool is not None and not failures:
            self._pool.shutdown()
            self._pool = None
        return failures

    def close(self) -> None:
        """End the threads; what has not begun is not done."""
        self.failed = True
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
