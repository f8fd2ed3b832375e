"""The floor: what no squasher can do without."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from pathlib import Path

from scripts.benchmarks.measuring import BENCH, WINDOW, Run, run, scratch


def floor(image: Path, result: Path) -> Run:
    """Measure the floor in a Python process of its own."""
    with scratch(".tar") as target:
        return run([sys.executable, BENCH, "--floor", image, result, target])


def floor_itself(image: str, result: str, target: str) -> None:
    """Hash `image` in one thread, copy `result` to `target` in another."""

    def digest() -> None:
        hasher, window = hashlib.sha256(), memoryview(bytearray(WINDOW))
        with open(image, "rb", buffering=0) as file:
            while count := file.readinto(window):
                hasher.update(window[:count])

    def write() -> None:
        window = memoryview(bytearray(WINDOW))
        with open(result, "rb", buffering=0) as file, open(target, "wb", buffering=0) as copy:
            while count := file.readinto(window):
                copy.write(window[:count])
            os.fsync(copy.fileno())

    threads = [threading.Thread(target=digest), threading.Thread(target=write)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
