"""Signals that end the command, so that nothing is left behind."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType


class Interrupted(BaseException):
    """A signal asked the command to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def take_signals() -> Callable[[], None]:
    """Turn signals that end a process into Interrupted, so that nothing is left behind.

    Returns what gives them back.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in taken:  # a second signal must not break the cleaning up
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number)

    names = ("SIGINT", "SIGTERM", "SIGHUP")
    taken = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {
        each: signal.signal(each, interrupt)
        for each in taken
        if signal.getsignal(each) is not signal.SIG_IGN  # nohup
    }
    taken = list(before)

    def restore() -> None:
        for each, handler in before.items():
            signal.signal(each, handler)

    return restore
