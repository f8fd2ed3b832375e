"""The machine and the interpreter that the figures depend on."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
import sysconfig
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from scripts.benchmarks.measuring import BENCH, WINDOW


def machine(python: str | Path) -> None:
    """Print what the figures depend on besides squash, as the interpreter `python` finds it."""
    subprocess.run([python, BENCH, "--machine"], check=True)


def machine_itself() -> None:
    """Print the processor, the load, this interpreter with its libraries, and their speed."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        models = [line.partition(": ")[2].strip() for line in file if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"{os.cpu_count()} x {model}; load of the last 1, 5, 15 minutes {load}")
    options = sysconfig.get_config_var("CONFIG_ARGS") or ""  # Debian's has PGO and does not say so
    optimized = ", --enable-optimizations" if "--enable-optimizations" in options else ""
    free = ", free-threaded" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    print(f"Python {sys.version}{optimized}{free}, {sys.executable}")
    print(", ".join(libraries()))
    print(f"SHA-256 {spread(sha256_speed, 'GB/s')}, one thread")
    print(f"a loop in Python {spread(loop_speed, 'ns')} a step", flush=True)


def libraries() -> Iterator[str]:
    """Yield the libraries that hash, decompress and compress, if they are installed."""
    import ssl
    from importlib.metadata import PackageNotFoundError, version

    yield ssl.OPENSSL_VERSION
    yield f"zlib {zlib.ZLIB_RUNTIME_VERSION}"
    for name in ("zlib-ng", "deflate", "backports.zstd"):
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"no {name}"


def spread(once: Callable[[], float], unit: str) -> str:
    """Measure five times; return the median, the lowest and the highest."""
    found = sorted(once() for _ in range(5))
    return f"{found[2]:.2f} {unit} ({found[0]:.2f} to {found[-1]:.2f})"


def sha256_speed() -> float:
    """Return how many 10^9 bytes one thread hashes in a second of CPU time."""
    window, begin = bytes(WINDOW), time.process_time()
    digest = hashlib.sha256()
    for _ in range(64):
        digest.update(window)
    return 64 * WINDOW / (time.process_time() - begin) / 1e9


def loop_speed() -> float:
    """Return the CPU time, in nanoseconds, of a loop step that slices, looks up and appends."""
    data, known, found = bytes(range(256)) * 8, {b"@ABCDEFG": 1}, []
    begin = time.process_time()
    for step in range(1_000_000):
        at = step & 1023
        name = data[at : at + 8]
        if name in known:
            found.append(name)
    return (time.process_time() - begin) * 1e3
