"""The second demo image is what its script makes, and prints what the tutorial is about."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import squasher
from tests.docs.blocks import ROOT
from tests.docs.conftest import DEMO, NEXT


def test_the_script_makes_the_same_image(tmp_path: Path) -> None:
    """But for how it is compressed, which is zlib's to decide."""
    made = tmp_path / "made.tar.gz"
    subprocess.run([sys.executable, ROOT / "scripts/make-demo-update", made], check=True)
    assert gzip.decompress(made.read_bytes()) == gzip.decompress(NEXT.read_bytes())


def test_it_is_the_next_build_of_the_first() -> None:
    with squasher.open_archive(DEMO) as one, squasher.open_archive(NEXT) as two:
        before, after = one.images[0], two.images[0]
        assert after.layers[0].blob.digest == before.layers[0].blob.digest
        found = squasher.compare(before, after)
    assert {d.path for d in found if not d.time_alone} == {b"usr/bin/greet", b"usr/bin/news"}
    assert sum(d.time_alone for d in found) > 20
