"""What is refused on request: --strict, --max-size."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.builders import Sparse, archive, layer
from tests.forms.command import done, failed, squash
from tests.forms.samples import (
    GZIPPED,
    IMAGE,
    WARNS,
    ZSTD,
)
from tests.forms.shapes import (
    LAYERS,
)


def test_holes_count_for_the_size_that_an_image_unpacks_to() -> None:
    image = archive([layer(Sparse(b"s", 10 << 30, [(0, b"x")], "1.0"))] * 2)
    done(squash("--max-size", str((20 << 30) + 9999), stdin=image))
    for keep in ("0", "2"):
        line = failed(squash("--keep-layers", keep, "--max-size", "9999999", stdin=image), 3)
        assert "unpacks to more than 9999999 bytes" in line


def test_strict_refuses_images_on_which_engines_disagree(image: Path, out: Path) -> None:
    for option in ("--strict", "--strict=duplicate-path", "--strict=odd-mtime,duplicate-path"):
        line = failed(squash(option, "-o", out / "x.tar", stdin=WARNS), 1)
        assert "engines disagree about layer 1: duplicate-path: 'a`|*_<b>'" in line
    done(squash("--strict=odd-mtime", stdin=WARNS))
    line = failed(squash("--strict", image), 1)
    assert "engines disagree about layer 4: implicit-base-directory" in line
    assert line == failed(squash("--strict", "--keep-layers", "4", image), 1)
    done(squash("--strict=duplicate-path", image))
    assert os.listdir(out) == []


@pytest.mark.parametrize("source", [IMAGE, GZIPPED, ZSTD])
@pytest.mark.parametrize("keep", ["0", "4", "5"])
def test_max_size(source: bytes, keep: str) -> None:
    total = sum(map(len, LAYERS))
    options = ("--keep-layers", keep, "--max-size")
    done(squash(*options, str(total), stdin=source))
    line = failed(squash(*options, str(total - 1), stdin=source), 3)
    assert f"the image unpacks to more than {total - 1} bytes" in line
