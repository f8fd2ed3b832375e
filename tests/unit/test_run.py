"""squasher.run and tasks: what is done beside, and what becomes of failures."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from squasher.blobs.content import Content, Extent, open_file
from squasher.errors import ArchiveError, UsageError
from squasher.run import Job
from squasher.tasks import Cancelled, Task


def failing(text: str) -> Callable[[], NoReturn]:
    def fail() -> NoReturn:
        raise ArchiveError(text)

    return fail


def test_work_is_done_once_whoever_asks() -> None:
    done: list[int] = []
    with Job() as job:
        tasks = [job.start(lambda i=i: done.append(i) or i) for i in range(50)]  # type: ignore[func-returns-value,misc]
        assert [job.result(task) for task in tasks[::-1]] == list(range(50))[::-1]
        assert [task.result() for task in tasks] == list(range(50))
        job.settle()
    assert sorted(done) == list(range(50))


def test_who_waits_does_other_work() -> None:
    """A task that is being done waits for one that nobody has begun: the waiting thread does it."""
    begun, other = threading.Event(), threading.Event()

    def first() -> bool:
        begun.set()
        return other.wait(60)

    with Job() as job:
        task = job.start(first)
        begun.wait(60)
        blocked = [job.start(lambda: other.wait(60)) for _ in range(8)]
        last = job.start(other.set)
        del blocked
        Task(last.run).run()
        assert job.result(task)


def test_the_first_failure_is_told() -> None:
    with Job() as job:
        job.start(failing("one"))
        job.start(failing("two"))
        with pytest.raises(ArchiveError, match="one"):
            job.settle()
        with pytest.raises(Cancelled):
            job.progress("read", 1)
        job.settle()


def test_the_failure_of_the_lowest_rank_is_told_whichever_came_first() -> None:
    failed = threading.Event()

    def low(job: Job) -> None:
        failed.wait(60)
        job.progress("read", 1)
        job.start(failing("low"))

    def high() -> None:
        failed.set()
        raise ArchiveError("high")

    with Job() as job:
        first, second = job.ranks(2)
        (third,) = job.ranks(1)
        assert first < second < third
        high_task = job.ranked(second).start(high)
        job.ranked(third).start(failing("highest"))
        beside = job.ranked(first)
        beside.start(lambda: low(beside))
        with pytest.raises(ArchiveError, match="high"):
            high_task.result()
        with pytest.raises(ArchiveError, match="low"):
            job.settle()


def test_work_with_a_rank_ends_when_the_job_is_closed() -> None:
    job = Job().ranked(1)
    job.check()
    job.close()
    with pytest.raises(Cancelled):
        job.check()


def test_work_may_start_more_work_and_its_failure_is_told() -> None:
    """Also when everything else has been looked at."""
    begun = threading.Event()

    def early() -> None:
        begun.set()
        while job._work.tasks:
            time.sleep(0.001)
        job.start(failing("late"))

    with Job() as job:
        job.start(early)
        begun.wait(60)
        with pytest.raises(ArchiveError, match="late"):
            job.settle()


def test_a_change_explains_every_other_failure_and_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(b"data")
    os.utime(path, (1, 1))
    with Job() as job, path.open("rb") as stream:
        job.watch([Content((Extent(open_file(stream), 0, 4),))])
        job.settle()
        job.start(failing("damaged"))
        os.utime(path)
        with pytest.raises(ArchiveError) as caught:
            job.settle("image.tar")
        assert str(caught.value) == "image.tar: the input changed while it was read"
        job.settle()


def test_damage_explains_what_else_failed() -> None:
    with Job() as job, pytest.raises(ArchiveError) as caught, job.explained("image.tar"):  # noqa: PT012
        job.start(failing("damaged"))
        raise ArchiveError("odd", where="layer 2")
    assert str(caught.value) == "image.tar: damaged"
    with Job() as job, pytest.raises(ArchiveError) as caught, job.verified("image.tar"):  # noqa: PT012
        job.start(lambda: None)
        raise ArchiveError("odd", where="layer 2")
    assert str(caught.value) == "image.tar: layer 2: odd"


def test_who_was_stopped_tells_why() -> None:
    with Job() as job, pytest.raises(ArchiveError) as caught, job.explained():  # noqa: PT012
        task = job.start(failing("damaged"))
        with pytest.raises(ArchiveError):
            job.result(task)
        job.check()
    assert str(caught.value) == "damaged"


def test_a_usage_error_before_any_layer_is_read_waits_for_nothing() -> None:
    with Job() as job, pytest.raises(UsageError, match=r"^no$"), job.explained("image.tar"):  # noqa: PT012
        job.start(failing("damaged"))
        raise UsageError("no")


def test_damage_explains_a_usage_error_that_layers_led_to() -> None:
    with Job() as job, pytest.raises(ArchiveError, match="damaged"), job.explained("image.tar"):  # noqa: PT012
        (rank,) = job.ranks(1)
        job.ranked(rank).start(failing("damaged"))
        raise UsageError("more than 125 layers")


def test_a_signal_is_not_swallowed_by_work_for_others() -> None:
    class Signal(BaseException):
        pass

    def interrupted() -> None:
        raise Signal

    with pytest.raises(Signal):
        Task(interrupted).run()


def test_closing_ends_threads_and_files(tmp_path: Path) -> None:
    job = Job(tmp_path)
    content = job.spool.store([b"x"])

    def endless() -> None:
        while True:
            job.check()

    task = job.start(endless)
    job.close()
    assert [x.name for x in threading.enumerate() if x.name.startswith("squasher")] == []
    with pytest.raises((OSError, ArchiveError)):
        content.read_at(0, 1)
    with pytest.raises(Cancelled):
        task.result()


def test_times_add_up() -> None:
    job = Job()
    for phase in ("walk", "merge", "walk"):
        with job.timed(phase):
            pass
    assert [phase for phase, _ in job.profile] == ["walk", "merge"]
    assert all(seconds >= 0 for _, seconds in job.profile)
