"""Workload `update`: two builds of one image, made from a fixed seed."""

from __future__ import annotations

import argparse
import hashlib
import io
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.benchmarks.archives import add_image, content, member, package_files
from scripts.benchmarks.contestants import ours_with
from scripts.benchmarks.measuring import (
    BENCH,
    SEED,
    WINDOW,
    Command,
    Row,
    contestant,
    cpu,
    repeat,
    run,
    wall,
)
from scripts.benchmarks.report import listing, print_rows

if TYPE_CHECKING:
    from tests import model

_OLD, _NEW = 1_700_000_000, 1_700_600_000  # when the two were built


def make_releases(folder: Path) -> None:
    """Write app-1.0.tar and app-1.1.tar, and base.tar: a base of 60 MB, packages, an application.

    1.1 has the same base. Of 60 packages, 2 are newer, one is new and one is gone; the binary and
    a few files of the application are others. Files from packages have the time of the package;
    files that build steps write (a third of all above the base) have the time of the build.
    """
    base = _tar([(name, data, _OLD) for name, data in package_files("usr", 60, 1)])
    with tarfile.open(folder / "base.tar", "w") as archive:
        add_image(archive, [base])
    for release, built in (("1.0", _OLD), ("1.1", _NEW)):
        newer = release == "1.1"
        files = [(f"var/cache/archive{i}", content(f"cache{i}", 1 << 20), built) for i in range(20)]
        for number in range(60):
            if number == (7 if newer else 60):
                continue  # removed
            renewed = newer and number in (20, 41)
            for name, data in package_files(f"opt/packages/{number}", 2, number):
                files.append((name, _edited(data) if renewed else data, _NEW if renewed else _OLD))
        if newer:
            files += [(name, data, _NEW) for name, data in package_files("opt/packages/new", 2, 99)]
        app = [("srv/app/binary", content("binary", 12 << 20), built)]
        app += [(name, data, built) for name, data in package_files("srv/app/modules", 48, 100)]
        if newer:
            changed = {index for index in range(len(app)) if index % 50 == 0}
            app = [
                (name, _edited(data) if index in changed else data, time)
                for index, (name, data, time) in enumerate(app)
            ]
        gone = [(f"var/cache/.wh.archive{i}", b"", built) for i in range(20)]
        with tarfile.open(folder / f"app-{release}.tar", "w") as archive:
            add_image(archive, [base, _tar(files), _tar(app + gone)])


def _edited(data: bytes) -> bytes:
    """Return a new version of a file: some bytes are inserted in every 64 KiB."""
    stream = random.Random(len(data))  # noqa: S311
    step = 1 << 16
    return b"".join(
        stream.randbytes(stream.randrange(16, 2048)) + data[at : at + step]
        for at in range(0, len(data), step)
    )


def _tar(files: Sequence[tuple[str, bytes, int]]) -> bytes:
    """Return a layer with these files: name, content, time."""
    out = io.BytesIO()
    for name, data, time_of_it in files:
        info = tarfile.TarInfo(name)
        info.size, info.mtime = len(data), time_of_it
        out.write(info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512))
    out.write(bytes(1024))
    return out.getvalue()


def update(options: argparse.Namespace) -> None:
    """Measure what a host with release 1.0 fetches to get 1.1, and what making that costs."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=SEED) as name:
        folder = Path(name)
        subprocess.run([sys.executable, BENCH, "--make-releases", folder], check=True)
        releases = (folder / f"{each}.tar" for each in ("base", "app-1.0", "app-1.1"))
        one_update(options, "an update from 1.0 to 1.1", *releases)
    seed = SEED / "seed-base.tar", SEED / "seed.tar", SEED / "seed-next.tar"
    if all(each.exists() for each in seed):
        # bsdiff needs memory of 17 times their size.
        alone = argparse.Namespace(**{**vars(options), "skip_peers": True})
        one_update(alone, "an update from one build of the seed image to the next", *seed)


def one_update(options: argparse.Namespace, what: str, base: Path, old: Path, new: Path) -> None:
    """Measure the update from `old` to `new`, both on `base`."""
    tools = set() if options.skip_peers else {"xdelta3", "bsdiff", "zstd"}
    if missing := {tool for tool in tools if not shutil.which(tool)}:
        raise SystemExit(f"bench: update: install {', '.join(sorted(missing))}")
    with tempfile.TemporaryDirectory(prefix="bench-", dir=SEED) as name:
        folder = Path(name)
        before = folder / "release-1.0.tar"
        squash: Command = [ours_with("zstd"), "-m", "squasher", "--quiet"]
        run([*squash, "-f", base, old, "-o", before])
        onto: Command = [*squash, "--onto", before, new]
        clamp = f"--clamp-mtime={_OLD}"
        commands: list[tuple[str, Command]] = [
            ("a plain copy", ["cp", new]),
            ("-f base", [*squash, "-f", base, new, "-o"]),
            ("--onto", [*onto, "-o"]),
            ("--onto --partial", [*onto, "--partial", "-o"]),
            ("the same, clamped", [*onto, "--partial", clamp, "-o"]),
            ("the same, zstd", [*onto, "--partial", clamp, "--compress", "zstd", "-o"]),
        ]
        deltas: list[tuple[str, Command]] = [
            ("zstd --patch-from", ["zstd", "-qf", "--long=31", "--patch-from", old, new, "-o"]),
            ("xdelta3", ["xdelta3", "-e", "-f", "-B", "1073741824", "-s", old, new]),
            ("bsdiff", ["bsdiff", old, new]),
        ]

        def measured(title: str, command: Command, count: int) -> Row:
            output = folder / title
            return Row(title, repeat(count, lambda: run([*command, output]), output), output)

        rows = [measured(title, command, options.runs) for title, command in commands]
        for title, command in deltas if tools else []:
            rows.append(contestant(title, partial(measured, title, command, options.peer_runs)))
        print_rows(what, rows)
        lower, layers = _layer_sizes(old), _layer_sizes(new)
        fetched = sum(size for digest, size in layers.items() if digest not in lower)
        print(f"layers of the build that 1.0 does not have: {fetched:,} bytes")
        for title, row, latest in (("--onto", rows[3], 0), ("clamped", rows[4], _OLD)):
            differs = subprocess.run(
                [sys.executable, BENCH, "--differs", before, new, str(latest)],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            ).stdout
            size = max(_layer_sizes(row.output or new).values())
            print(f"{title}: a layer of {size:,} bytes, {size / int(differs):.3f} x what differs")
        times = (f(rows[2].runs) / f(rows[1].runs) for f in (wall, cpu))
        print("--onto / -f base = {:.2f}, of CPU {:.2f}\n".format(*times))


def _layer_sizes(path: Path) -> dict[str, int]:
    """Return the sizes of the layers in a docker-archive, by their SHA-256."""
    with tarfile.open(path) as archive:
        return {
            _digest(member(archive, each.name)): each.size
            for each in archive.getmembers()
            if each.isfile() and each.size > 1 << 20
        }


def _digest(file: io.BufferedReader) -> str:
    """Return the SHA-256 as hex; whole layers would count as the memory of the next rows."""
    found = hashlib.sha256()
    while window := file.read(WINDOW):
        found.update(window)
    return found.hexdigest()


def differs_itself(before: str, after: str, latest: str) -> None:
    """Print the size of a tar of what differs; later times count as `latest`, if that is not 0."""
    old, new = (listing(path) for path in (before, after))

    def shown(record: model.Record) -> model.Record:
        limit = int(latest) * 10**9
        return replace(record, mtime_ns=min(record.mtime_ns, limit) if limit else record.mtime_ns)

    total = 1024
    for path, record in new.items():
        explicit = record.type != "dir" or record.mtime_ns
        if explicit and (path not in old or shown(old[path]) != shown(record)):
            total += 512 + -(-record.size // 512) * 512
    for path in old.keys() - new.keys():
        total += 512 * (path.rpartition(b"/")[0] in new)
    print(total)
