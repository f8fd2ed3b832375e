"""Workload `engine`: from daemon to daemon."""

from __future__ import annotations

import argparse
import os
import subprocess
from pathlib import Path

from scripts.benchmarks.contestants import ours, rows_above_base
from scripts.benchmarks.measuring import Row, Run, run, wall
from scripts.benchmarks.report import print_rows


def engine(options: argparse.Namespace) -> None:
    """Save from one daemon and load into another, with squash in between and without."""
    image: Path = options.image
    engines = Path(os.environ.get("SQUASHER_ENGINES_DIR", ""))
    first, second = (engines / which / "docker.sock" for which in ("bookworm", "trixie"))
    if not first.exists() or not second.exists():
        raise SystemExit("bench: engine: bring up two daemons with scripts/engines up, and env")
    docker = ["docker", "-H", f"unix://{first}"]
    loaded = subprocess.run(
        [*docker, "load", "--quiet", "--input", image], check=True, capture_output=True, text=True
    )
    name = loaded.stdout.strip().rpartition(" ")[2]
    squash = " ".join(map(str, [*ours(), "-f", str(rows_above_base(image))]))
    other = f"docker -H unix://{second}"
    middles = {"save | load": "", "save | squash | load": f"{squash} |"}

    def once(middle: str) -> Run:
        forget = ["sh", "-c", f"{other} rmi -f {name}"]  # what is there is not loaded again
        subprocess.run(forget, capture_output=True)
        return run(["sh", "-c", f"{' '.join(docker)} save {name} | {middle} {other} load --quiet"])

    # In turn, because a daemon still works after it has answered. The first round is a warm-up.
    rounds = [[once(middle) for middle in middles.values()] for _ in range(1 + options.runs)]
    columns = zip(*rounds[1:], strict=True)
    rows = [Row(title, runs) for title, runs in zip(middles, columns, strict=True)]
    print_rows(f"from daemon to daemon: {image.name}", rows)
    print(f"with squash / without = {wall(rows[1].runs) / wall(rows[0].runs):.2f}\n")
