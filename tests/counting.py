"""Work counted and not timed: calls that are made, bytes that are read."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class CountedStream(io.BytesIO):
    """Counts the bytes that are read from it."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:  # noqa: D102
        data = super().read(size)
        self.count += len(data)
        return data


class Calls:
    """How many calls were made."""

    count = 0


@contextmanager
def counted_calls() -> Iterator[Calls]:
    """Count the calls inside the block, in all threads."""
    calls = Calls()

    def count(frame: FrameType, event: str, argument: Any) -> None:
        calls.count += event in ("call", "c_call")

    threading.setprofile(count)
    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
