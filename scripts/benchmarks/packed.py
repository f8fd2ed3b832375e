"""Workload `packed`: compressed layers, beside pigz and zstd."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tarfile
from pathlib import Path

from scripts.benchmarks.archives import member
from scripts.benchmarks.contestants import ours_with
from scripts.benchmarks.measuring import Command, Row, cpu, repeat, run, scratch, wall
from scripts.benchmarks.report import print_rows


def packed(options: argparse.Namespace) -> None:
    """Squash from and to compressed layers; also run the programs on the same bytes."""
    for name, pack, unpack in (
        ("gzip", "pigz -6", "pigz -dc"),
        ("zstd", "zstd -q -3 -T0", "zstd -qdc -T0"),
    ):
        with scratch(".tar") as source, scratch(".tar") as result, scratch("") as parts:
            packed_with(name, pack, unpack, options, source, result, parts)


def packed_with(
    name: str,
    pack: str,
    unpack: str,
    options: argparse.Namespace,
    source: Path,
    result: Path,
    parts: Path,
) -> None:
    """Do so with one program; `source`, `result` and `parts` are names that it can use."""
    image: Path = options.image
    skopeo = ["skopeo", "copy", "-q", "--dest-compress-format", name]
    source_name = f"oci-archive:{source}:bench"
    subprocess.run([*skopeo, f"docker-archive:{image}", source_name], check=True)
    parts.mkdir()
    subprocess.run(["tar", "-C", parts, "-xf", source], check=True)
    layers = [x for x in (parts / "blobs/sha256").iterdir() if _begins(x) != b"{"]

    ours = {"squash": ours_with("zstd")}
    if name == "gzip":
        ours["squash, extra fast"] = ours_with("fast,zstd")
    squash: Command = ["-m", "squasher", "--quiet", "--keep-layers", "1", "-o", result]
    plain: Command = [*squash, "--compress", "none"]
    out: Command = [*squash, "--compress", name, "--format", "oci"]
    run([ours["squash"], *plain, source])
    tar = parts / "layer.tar"
    with tarfile.open(result) as archive, tar.open("wb") as copy:
        largest = max(archive.getmembers(), key=lambda member: member.size)
        shutil.copyfileobj(member(archive, largest.name), copy)
    inflate = f'for f; do {unpack} "$f" > {parts}/plain; done'
    deflate = f"{pack} -c {tar} > {parts}/packed"
    for title, mine, theirs in (
        ("layers in", [*plain, source], inflate),
        ("layer out", [*out, image], deflate),
        ("layers in and layer out", [*out, source], f"{inflate}; {deflate}"),
    ):
        shell = ["sh", "-c", theirs, "sh", *layers]
        program = pack.partition(" ")[0]
        theirs_row = Row(program, repeat(options.runs, lambda shell=shell: run(shell)))  # type: ignore[misc]
        sizes = {}
        rows = []
        for who, python in ours.items():
            words: Command = [python, *mine]
            rows.append(Row(who, repeat(options.runs, lambda words=words: run(words), result)))  # type: ignore[misc]
            sizes[who] = result.stat().st_size
        print_rows(f"{name} {title}", [*rows, theirs_row])
        for row in rows:
            times = wall(row.runs) / wall(theirs_row.runs), cpu(row.runs) / cpu(theirs_row.runs)
            print(
                f"{row.name} / {program} = {times[0]:.2f}, of CPU {times[1]:.2f};"
                f" {sizes[row.name]:,} bytes"
            )
        print(flush=True)


def _begins(path: Path) -> bytes:
    """Return the first byte: what holds a whole layer here, the next row has as its memory."""
    with path.open("rb") as file:
        return file.read(1)
