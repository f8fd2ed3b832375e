"""A thousand images in one process leave nothing behind: objects, descriptors, threads counted."""

from __future__ import annotations

import gc
import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import squasher
from tests.builders import Dir, File, Symlink, Whiteout, archive, layer

ROOT = Path(__file__).parents[2]
#: Runs that fill what is filled once: modules, memos, caches of the standard library.
_FIRST = 100


def image(number: int) -> bytes:
    """Return an image with a name, a content and a size that no other one has."""
    own = b"%d" % number
    lower = layer(Dir(b"d"), File(b"d/f", own), Symlink(b"d/s", b"f"))
    upper = layer(Whiteout(b"d/s"), File(b"d/g" + own, own * 100))
    return archive([lower, upper], tags=[f"image:{number}"], gzip_layers=range(number % 2))


def squash(number: int) -> None:
    squasher.squash_archive(io.BytesIO(image(number)), io.BytesIO(), keep_layers=number % 2)


def prove(number: int) -> None:
    source = io.BytesIO(image(number))
    squasher.squash_archive(source, io.BytesIO(), keep_layers=number % 2, verify=True)


def look(number: int) -> None:
    with squasher.open_archive(io.BytesIO(image(number))) as found:
        squasher.inspect(found.images[0])


def fail(number: int) -> None:
    damaged = bytearray(image(number))
    damaged[damaged.index(b"d/g%d" % number)] ^= 1
    with pytest.raises(squasher.SquasherError):
        squasher.squash_archive(io.BytesIO(damaged), io.BytesIO(), keep_layers=0)


def held() -> tuple[int, int, int, int]:
    """Return how many objects, blocks of memory, descriptors and threads there are."""
    gc.collect()
    objects = len(gc.get_objects())
    return objects, sys.getallocatedblocks(), len(os.listdir("/dev/fd")), threading.active_count()


def leave(act: Callable[[int], None], count: int) -> None:
    """Fail if `count` runs leave anything behind."""
    for number in range(_FIRST):
        act(number)
    objects, blocks, descriptors, threads = held()
    for number in range(_FIRST, _FIRST + count):
        act(number)
    more_objects, more_blocks, *rest = held()
    assert rest == [descriptors, threads]
    # Some come and go. What is left behind by each image would be one for each, at least.
    assert more_objects - objects <= 0.1 * count, (objects, more_objects)
    assert more_blocks - blocks <= 0.7 * count, (blocks, more_blocks)


@pytest.mark.parametrize(("act", "count"), [(squash, 1000), (prove, 150), (look, 150), (fail, 600)])
def test_many_images_leave_nothing_behind(act: Callable[[int], None], count: int) -> None:
    """In a process of its own: what measures coverage keeps something of every thread."""
    lines = f"from tests.growth import test_many as t\nt.leave(t.{act.__name__}, {count})"
    done = subprocess.run(
        [sys.executable, "-c", lines], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
