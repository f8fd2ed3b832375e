"""What is refused on request: --strict, --max-size."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.builders import Sparse, archive, layer, sha256
from tests.forms.command import done, failed, squash
from tests.forms.samples import (
    GZIPPED,
    IMAGE,
    WARNS,
    ZSTD,
)
from tests.forms.shapes import LAYERS, config_of, plain


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


def describing(number: int) -> bytes:
    """Return an image with labels that describe a layer and the base."""
    document = config_of(LAYERS[:4])  # without what engines disagree about
    document["config"]["Labels"] = {
        "ostree.final-diffid": f"sha256:{sha256(LAYERS[number])}",
        "org.opencontainers.image.base.name": "debian:12",
    }
    return plain(document, LAYERS[:4])


def test_keys_that_describe_squashed_layers() -> None:
    """They stay, and a warning names each; the base's only where that is squashed."""
    ended = done(squash("--keep-layers", "1", stdin=describing(2)))
    assert "describes-layers: a key of the config or the manifest describes layers" in ended.err
    assert "squashed; it is kept: 'config.Labels.ostree.final-diffid'\n" in ended.err
    assert "base.name" not in ended.err
    assert b"ostree.final-diffid" in ended.out
    base = done(squash("-v", stdin=describing(2)))
    assert "'config.Labels.org.opencontainers.image.base.name'" in base.err
    for kept, number in ((1, 0), (2, 1), (3, 3)):
        said = done(squash("--keep-layers", str(kept), stdin=describing(number))).err
        assert "describes-layers" not in said


def test_strict_refuses_keys_that_describe_squashed_layers() -> None:
    for option in ("--strict=describes-layers", "--strict=odd-mtime,describes-layers"):
        line = failed(squash(option, "--keep-layers", "1", stdin=describing(2)), 1)
        assert "it describes layers that are squashed: describes-layers: 'config.Labels.o" in line
    done(squash("--strict=odd-mtime", "--keep-layers", "1", stdin=describing(2)))


def test_an_update_warns_of_what_describes_layers(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(plain(config_of(LAYERS[:1]), LAYERS[:1]))
    words = ("--onto", tmp_path / "old", "--report", tmp_path / "report", "-o", tmp_path / "new")
    done(squash(*words, stdin=describing(2)))
    (image,) = json.loads((tmp_path / "report").read_bytes())["images"]
    found = {each["path"]: each["layer"] for each in image["warnings"] if each["path"] != "var"}
    assert found == {"config.Labels.ostree.final-diffid": 1}


@pytest.mark.parametrize("source", [IMAGE, GZIPPED, ZSTD])
@pytest.mark.parametrize("keep", ["0", "4", "5"])
def test_max_size(source: bytes, keep: str) -> None:
    total = sum(map(len, LAYERS))
    options = ("--keep-layers", keep, "--max-size")
    done(squash(*options, str(total), stdin=source))
    line = failed(squash(*options, str(total - 1), stdin=source), 3)
    assert f"the image unpacks to more than {total - 1} bytes" in line
