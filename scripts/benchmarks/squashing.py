"""Workloads `file` and `pipe`: the seed image, above its base; and `--profile`."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from scripts.benchmarks.contestants import ours, peer_commands, rows_above_base
from scripts.benchmarks.floor import floor
from scripts.benchmarks.measuring import (
    SEED,
    Command,
    Row,
    Run,
    contestant,
    output_of,
    repeat,
    run,
    scratch,
    wall,
)
from scripts.benchmarks.report import print_rows


def file_to_file(options: argparse.Namespace) -> None:
    """Squash all layers above the lowest with `-f N`, which all contestants have."""
    image: Path = options.image
    base = str(rows_above_base(image))
    with tempfile.TemporaryDirectory(prefix="bench-", dir=SEED) as folder:
        result = Path(folder) / "squash.tar"
        command = [*ours(), "-f", base, image, "-o", result]
        rows = [Row("squash", repeat(options.runs, lambda: run(command), result), result)]
        rows.append(Row("the floor", repeat(options.runs, lambda: floor(image, result))))
        if not options.skip_peers:
            rows += peer_rows(image, base, Path(folder), options.peer_runs)
        print_rows(f"file to file: {image.name}, -f {base}", rows, image)


def peer_rows(image: Path, base: str, folder: Path, count: int) -> Iterator[Row]:
    """Measure the peers; docker-squash reads its image only from the daemon."""

    def docker_squash() -> Row:
        name = output_of(["docker", "load", "--quiet", "--input", image]).split()[-1]
        output = folder / "docker-squash.tar"
        command: Command = [peer_commands() / "docker-squash", "-f", base, "--load-image", "false"]
        command = [*command, "--output-path", output, name]
        runs = repeat(count, lambda: run(command), output)
        return Row("docker-squash", runs, output, "CPU without the daemon's")

    def oci_squash() -> Row:
        output = folder / "oci-squash.tar"
        command: Command = [peer_commands() / "oci-squash", "-f", base, "-o", output, image]
        return Row("oci-squash", repeat(count, lambda: run(command), output), output)

    yield contestant("docker-squash", docker_squash)
    yield contestant("oci-squash", oci_squash)
    step = image.with_name("squash-step.json")
    squashed = image.with_name("seed-docker-squashed.tar")
    if image.name == "seed.tar" and step.exists():
        spent = json.loads(step.read_text())
        runs = [Run(spent["wall"], spent["daemon_cpu"], 0)]
        yield Row("docker build --squash", runs, squashed, "recorded when the seed was made")


def pipe_to_pipe(options: argparse.Namespace) -> None:
    """Squash from pipe to pipe; also from file to file, plus one plain copy of the input."""
    image: Path = options.image
    command = [*ours(), "-f", str(rows_above_base(image))]
    with scratch(".tar") as result, scratch(".copy") as copy:
        copied = repeat(options.runs, lambda: run(["cp", image, copy]), copy)
        copy.unlink()
        files = repeat(options.runs, lambda: run([*command, image, "-o", result]), result)
        pipes = repeat(options.runs, lambda: run(command, source=image, sink=result), result)
        rows = [
            Row("pipe to pipe", pipes, result, "CPU without that of the two cat"),
            Row("file to file", files),
            Row("plain copy of the input", copied),
        ]
        print_rows(f"pipe to pipe: {image.name}", rows, image)
    ratio = wall(pipes) / (wall(files) + wall(copied))
    print(f"pipe to pipe / (file to file + copy) = {ratio:.2f}\n")


def profile(options: argparse.Namespace) -> None:
    """Print how the time of one run is spread over the phases."""
    image: Path = options.image
    with scratch(".tar") as result, scratch(".json") as report:
        base = str(rows_above_base(image))
        run([*ours(), "-f", base, image, "-o", result, "--report", report])
        document = json.loads(report.read_text())
    print(
        f"\nseconds by phase, threads that work side by side add up; {document['seconds']} in all"
    )
    phases = document["profile"]
    pairs = phases.items() if isinstance(phases, dict) else [tuple(each) for each in phases]
    for phase, seconds in pairs:
        print(f"{phase:>10} {seconds:6.2f} {'█' * round(seconds * 40)}")
