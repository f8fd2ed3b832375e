#!/usr/bin/env python3
r"""Mirror images from one registry to another, squashed in transit.

    mirror.py --base docker://registry.example.com/debian:12 \
        docker://registry.example.com/app:1.0 docker://mirror.example.com/app:1.0

skopeo fetches the image as the registry has it. squash makes one layer of all layers above the
base; those of the base stay the same blobs. So skopeo uploads only one layer and two small
documents, if the mirror has the base. Source, destination and base are names that skopeo takes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import squasher


def main() -> int:
    """Mirror one image; return an exit code."""
    parser = argparse.ArgumentParser(description="Mirror an image, squashed in transit.")
    parser.add_argument("source")
    parser.add_argument("destination")
    parser.add_argument("--base", help="image that the source is built on; its layers are kept")
    options = parser.parse_args()
    try:
        report = mirror(options.source, options.destination, options.base)
    except subprocess.CalledProcessError as error:
        print(f"mirror: {' '.join(error.cmd)}: exit {error.returncode}", file=sys.stderr)
        return 1
    except squasher.SquasherError as error:
        print(f"mirror: {error}", file=sys.stderr)
        return error.exit_code
    (image,) = report.images
    print(
        f"{options.destination}: {len(image.before)} -> {len(image.after)} layers,"
        f" {image.size_before} -> {image.size_after} bytes"
    )
    return 0


def mirror(source: str, destination: str, base: str | None = None) -> squasher.SquashReport:
    """Copy an image, with its layers above `base` squashed; without `base` all its layers."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        fetched, squashed = Path(folder, "fetched.tar"), Path(folder, "squashed.tar")
        skopeo("copy", "--quiet", source, f"oci-archive:{fetched}")
        report = squasher.squash_archive(
            fetched,
            squashed,
            base=None if base is None else top_layer(base),
            form="oci",
            compress="gzip",
            verify=True,
        )
        skopeo("copy", "--quiet", f"oci-archive:{squashed}", destination)
    return report


def top_layer(image: str) -> str:
    """Return the diff_id of the highest layer of an image; fetches only its config."""
    config = json.loads(skopeo("inspect", "--config", image))
    return str(config["rootfs"]["diff_ids"][-1])


def skopeo(*words: str) -> str:
    """Run skopeo; return what it printed."""
    return subprocess.run(["skopeo", *words], check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
