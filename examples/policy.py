#!/usr/bin/env python3
"""Check an image against a policy, without running it.

    policy.py --base base.tar --max-waste 1000000 app.tar

1. Above its base the image adds no file with setuid or setgid, and no device.
2. Its layers waste at most --max-waste bytes on content that later layers overwrite or delete.
3. Squashing it loses nothing; this also checks every digest in it.
4. Engines agree on what is in it.

Prints a line for each violation, and exits with 1 if there is one; with 2 or more if the image
cannot be checked.
"""

from __future__ import annotations

import argparse
import stat
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import squasher


def main() -> int:
    """Check one image; return an exit code."""
    parser = argparse.ArgumentParser(description="Check an image against a policy.")
    parser.add_argument("image", type=Path)
    parser.add_argument("--base", required=True, help="what -f of squash takes")
    parser.add_argument("--max-waste", type=int, default=0, metavar="BYTES")
    options = parser.parse_args()
    try:
        found = list(violations(options.image, options.base, options.max_waste))
    except squasher.SquasherError as error:
        print(f"policy: {error}", file=sys.stderr)
        return error.exit_code
    for line in found:
        print(line)
    return 1 if found else 0


def violations(path: Path, base: str, max_waste: int) -> Iterator[str]:
    """Yield a line for each rule that the image at `path`, built on `base`, breaks."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        result = Path(folder, "squashed.tar")
        report = squasher.squash_archive(path, result, base=base, compress="none")
        (image,) = report.images
        # What the image adds to its base is one layer now, or none.
        for layer in image.after[image.kept :]:
            yield from privileged(result, layer.digest.hex)
        with squasher.open_archive(path) as before, squasher.open_archive(result) as after:
            waste = squasher.inspect(before.images[0]).wasted_bytes
            if waste > max_waste:
                yield f"layers waste {waste} bytes, allowed are {max_waste}"
            for difference in squasher.compare(before.images[0], after.images[0]):
                name = difference.path.decode(errors="backslashreplace")
                yield f"/{name}: differs when squashed: {', '.join(difference.what)}"
        for warning in report.warnings:
            name = warning.path.decode(errors="backslashreplace")
            yield f"/{name}: engines disagree: {warning.kind}"


def privileged(archive: Path, digest: str) -> Iterator[str]:
    """Yield a line for each entry of a layer that is setuid, setgid or a device."""
    with (
        tarfile.open(archive) as outer,
        tarfile.open(fileobj=outer.extractfile(f"blobs/sha256/{digest}")) as layer,
    ):
        for entry in layer:
            mode = stat.filemode(entry.mode)
            if entry.isreg() and entry.mode & (stat.S_ISUID | stat.S_ISGID):
                yield f"/{entry.name}: setuid or setgid: {mode}"
            if entry.ischr() or entry.isblk():
                yield f"/{entry.name}: a device"


if __name__ == "__main__":
    sys.exit(main())
