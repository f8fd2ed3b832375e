"""The table of a workload, and what became of the files."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.benchmarks.archives import member
from scripts.benchmarks.measuring import BENCH, Row, cpu, wall

if TYPE_CHECKING:
    from tests import model


#: What reading the result of a peer may raise, besides errors of the model.
_UNREADABLE = (tarfile.TarError, KeyError, OSError, SystemExit, ValueError)


def print_rows(title: str, rows: Sequence[Row], image: Path | None = None) -> None:
    """Print the table; with an image, also what each result lost of it."""
    outputs = [row.output for row in rows if row.output and row.runs]
    fates: dict[Path, str] = {}
    if image and outputs:
        lines = subprocess.run(
            [sys.executable, BENCH, "--compare", image, *outputs],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout.splitlines()
        fates = dict(zip(outputs, lines, strict=True))
    limit = next((wall(row.runs) for row in rows if row.name == "the floor"), 0)
    print(f"\n{title}")
    print(
        f"{'':24}{'wall s':>8}{'(lowest, highest)':>20}{'CPU s':>8}{'/ floor':>9}{'memory MB':>11}"
        f"{'output bytes':>15}  lost / added / changed"
    )
    for row in rows:
        if not row.runs:
            print(f"{row.name:24}{row.note}")
            continue
        spread = f"({min(r.wall for r in row.runs):.2f}, {max(r.wall for r in row.runs):.2f})"
        ratio = f"{wall(row.runs) / limit:.2f}" if limit else ""
        memory = max(one.memory for one in row.runs)
        size = f"{row.output.stat().st_size:,}" if row.output else ""
        print(
            f"{row.name:24}{wall(row.runs):8.2f}{spread:>20}{cpu(row.runs):8.2f}{ratio:>9}"
            f"{f'{memory / 1e6:.0f}' if memory else '':>11}{size:>15}  "
            f"{fates.get(row.output, '') if row.output else ''}"
            f"{f'  [{row.note}]' if row.note else ''}".rstrip()
        )
    print(flush=True)


def compare_itself(before: str, *results: str) -> None:
    """Print a line for each result: what it lost, added and changed, or that it cannot be read."""
    from tests import model

    expected = listing(before)
    for result in results:
        try:
            found = listing(result)
        except (model.ModelError, *_UNREADABLE) as error:
            print(f"unreadable: {' '.join(str(error).split())}", flush=True)
            continue
        shared = expected.keys() & found.keys()
        changed = sum(expected[path] != found[path] for path in shared)
        print(f"{len(expected) - len(shared)} / {len(found) - len(shared)} / {changed}", flush=True)


def listing(path: str) -> dict[bytes, model.Record]:
    """Return every path of a docker-archive, as the model of the test suite has it."""
    from tests import model

    with tarfile.open(path) as archive:
        (item,) = json.load(member(archive, "manifest.json"))
        return model.listing(model.apply([member(archive, name).read() for name in item["Layers"]]))
