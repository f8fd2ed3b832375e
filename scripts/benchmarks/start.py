"""Workload `start`: what starting costs."""

from __future__ import annotations

import argparse

from scripts.benchmarks.contestants import ours
from scripts.benchmarks.measuring import ROOT, Row, cpu, repeat, run, scratch, wall
from scripts.benchmarks.report import print_rows


def start(options: argparse.Namespace) -> None:
    """Measure starting the command, and squashing the small image in testdata."""
    command = ours()
    python = command[0]
    with scratch(".tar") as result:
        demo = ROOT / "testdata/demo.tar"
        small = [*command, "--keep-layers", "1", demo, "-o", result]
        runs = 4 * options.runs
        rows = [
            Row("import click", repeat(runs, lambda: run([python, "-c", "import click"]))),
            Row("squash --version", repeat(runs, lambda: run([*command, "--version"]))),
            Row("squash demo.tar", repeat(runs, lambda: run(small))),
        ]
        print_rows("start-up", rows)
    click, version, demo_image = (wall(row.runs) for row in rows)
    cpu_click, cpu_version, cpu_demo = (cpu(row.runs) for row in rows)
    print(
        f"squash --version / import click = {version / click:.2f}, of CPU"
        f" {cpu_version / cpu_click:.2f}"
    )
    for what, demo_takes, start_takes in (
        ("demo.tar", demo_image, version),
        ("demo.tar, CPU", cpu_demo, cpu_version),
    ):
        limit = 1.5 * start_takes + 0.04
        print(f"{what}: {demo_takes * 1e3:.0f} ms; 1.5 x start-up + 40 ms = {limit * 1e3:.0f} ms")
    print(flush=True)
