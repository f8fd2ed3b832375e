"""Workloads `entries`, `growth`, `shapes` and `large`.

Images of only headers and 64 bytes a file, so that an entry's own cost shows.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import subprocess
import sys
import tarfile
from pathlib import Path

from scripts.benchmarks.archives import add, add_documents, add_image, header
from scripts.benchmarks.contestants import ours
from scripts.benchmarks.measuring import BENCH, Command, Row, Run, cpu, repeat, run, scratch, wall
from scripts.benchmarks.report import print_rows


def many_files(path: Path, entries: int, layers: int, depth: int = 2) -> None:
    """Write a docker-archive of `entries` in `layers`, each file `depth` directories deep.

    From the second layer on, a tenth of the entries overwrite files of the layer below, and a
    hundredth delete one.
    """
    share, diff_ids, names = entries // layers, [], []
    deep = "d/" * max(depth - 2, 0)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for number in range(layers):
            layer = io.BytesIO()
            blob = layer.write
            for index in range(share):
                home = number - 1 if number and index % 10 == 1 else number
                folder = f"{deep}l{home}/{index // 100}/"
                deleted = number and index % 100 == 2
                if deleted:
                    folder = f"{deep}l{number - 1}/{index // 100}/.wh."
                blob(header(f"{folder}file{index}", 0 if deleted else 64))
                if not deleted:
                    blob(b"%064d" % index + bytes(448))
            blob(bytes(1024))
            data = layer.getvalue()
            diff_ids.append("sha256:" + hashlib.sha256(data).hexdigest())
            names.append(f"{number}/layer.tar")
            add(archive, names[-1], data)
        add_documents(archive, names, diff_ids)


def squash_many(runs: int, entries: int, layers: int, depth: int = 2) -> list[Run]:
    """Make such an image and squash all its layers."""
    with scratch(".tar") as image, scratch(".tar") as result:
        subprocess.run(
            [sys.executable, BENCH, "--make", *map(str, (image, entries, layers, depth))],
            check=True,
        )
        command = [*ours(), "--keep-layers", "0", image, "-o", result]
        return repeat(runs, lambda: run(command), result)


def many_entries(options: argparse.Namespace) -> None:
    """Measure what an entry costs in time and memory."""
    entries: int = options.entries
    start = max(one.memory for one in squash_many(1, options.layers, options.layers))
    runs = squash_many(options.runs, entries, options.layers)
    print_rows(f"{entries:,} files in {options.layers} layers", [Row("squash", runs)])
    peak = max(one.memory for one in runs)
    print(
        f"{wall(runs) / entries * 1e6:.2f} µs wall and {cpu(runs) / entries * 1e6:.2f} µs CPU an"
        f" entry; {(peak - start) / entries:.0f} bytes an entry above {start / 1e6:.0f} MB\n"
    )


def growth(options: argparse.Namespace) -> None:
    """Measure the CPU time of twice as many entries, layers and directories."""
    series: list[tuple[str, list[tuple[int, int, int]]]] = [
        ("entries", [(n, 10, 2) for n in (100_000, 200_000, 400_000)]),
        ("layers", [(50_000, n, 2) for n in (125, 250, 500)]),
        ("path depth", [(20_000, 10, n) for n in (125, 250, 500, 1000)]),
    ]
    for column, (name, cases) in enumerate(series):
        spent = [cpu(squash_many(options.runs, *case)) for case in cases]
        for case, seconds, before in zip(cases, spent, [0.0, *spent], strict=False):
            ratio = f", {seconds / before:.2f} x" if before else ""
            print(f"{case[column]:>9,} {name}: {seconds:.2f} s{ratio}", flush=True)


def shapes(options: argparse.Namespace) -> None:
    """Measure entries that are whiteouts, lie in one directory, or are hidden by one whiteout."""
    entries: int = options.entries
    for name in ("plain", "whiteouts", "folder", "opaque"):
        with scratch(".tar") as image, scratch(".tar") as result:
            make: Command = [sys.executable, BENCH, "--make-shape", image, name, str(entries)]
            subprocess.run(make, check=True)
            command = [*ours(), "--keep-layers", "1", image, "-o", result]
            runs = repeat(options.runs, lambda command=command: run(command), result)  # type: ignore[misc]
        peak = max(one.memory for one in runs)
        print(
            f"{entries:,} entries, {name}: {cpu(runs) / entries * 1e6:.2f} µs CPU an entry,"
            f" {peak / 1e6:.0f} MB",
            flush=True,
        )


def make_shape(path: Path, shape: str, entries: int) -> None:
    """Write an archive of three layers: a base, `entries` of that shape, and one more file."""

    def files(prefix: str) -> bytes:
        return b"".join(header(f"{prefix}{index}", 0) for index in range(entries // 2))

    top = header("top", 0)
    if shape == "plain":
        layers = [files("a/"), files("b/"), top]
    elif shape == "whiteouts":
        layers = [files("a/"), files("a/.wh."), top]
    elif shape == "folder":
        layers = [header("a/x", 0), files("a/") + files("a/more"), top]
    else:
        layers = [files("a/") + files("b/"), header("a/.wh..wh..opq", 0), top]
    with tarfile.open(path, "w") as archive:
        add_image(archive, [layer + bytes(1024) for layer in layers])


def large(options: argparse.Namespace) -> None:
    """Measure a member of 9 GiB: time, memory, bytes in and out."""
    with scratch(".tar") as image, scratch(".tar") as result:
        make_large(image, 9 << 30)
        command = [*ours(), "--keep-layers", "0", image, "-o", result]
        runs = [run(command)]
        print_rows("a file of 9 GiB in the upper of two layers", [Row("squash", runs)])
        print(f"in {image.stat().st_size:,} bytes, out {result.stat().st_size:,} bytes\n")


def make_large(path: Path, size: int) -> None:
    """Write an archive whose second layer has a file of `size` zeros; holes on the disk."""
    info = tarfile.TarInfo("zeros")
    info.size = size
    head = info.tobuf(tarfile.GNU_FORMAT)
    small = header("small", 0) + bytes(1024)
    digest, zeros = hashlib.sha256(head), bytes(1 << 24)
    for _ in range(size >> 24):
        digest.update(zeros)
    digest.update(bytes(1024))
    with tarfile.open(path, "w") as archive:
        add(archive, "0/layer.tar", small)
        member = tarfile.TarInfo("1/layer.tar")
        member.size = len(head) + size + 1024
        archive.addfile(member, _Holes(head, member.size))
        diff_ids = [hashlib.sha256(small).hexdigest(), digest.hexdigest()]
        add_documents(archive, ["0/layer.tar", "1/layer.tar"], [f"sha256:{x}" for x in diff_ids])


class _Holes(io.RawIOBase):
    """`head`, and zeros up to `size`."""

    def __init__(self, head: bytes, size: int) -> None:
        super().__init__()
        self._head, self._left = head, size

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        data = (self._head + bytes(max(0, size - len(self._head))))[: min(size, self._left)]
        self._head = self._head[len(data) :]
        self._left -= len(data)
        return data
