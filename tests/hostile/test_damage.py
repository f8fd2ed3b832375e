"""Every byte of a small archive changed in turn, every length of it cut.

What comes of it is an error of ours or the same files, never other files under a fresh digest.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterable
from typing import Any

import pytest

from tests import model
from tests.builders import Dir, File, Hardlink, Symlink, Whiteout, archive, layer, sha256
from tests.conformance.check import attempt
from tests.forms.command import squash

LAYERS = (
    layer(Dir(b"d"), File(b"d/f", b"one"), Symlink(b"l", b"d/f"), trailer=b""),
    layer(Whiteout(b"d/f"), trailer=b""),
    layer(File(b"g", b"three", xattrs={b"user.k": b"v"}), Hardlink(b"h", b"g"), trailer=b""),
)
IMAGES = {
    "docker-archive": archive(LAYERS, form="podman"),
    "oci-archive": archive(LAYERS, form="oci", gzip_layers=(1, 2)),
}


def tree(image: bytes) -> dict[bytes, model.Record]:
    """Return the whole tree of an archive of ours. Keys count in any case, as for every engine."""
    members = {b"/".join(entry.path).decode(): entry.data for entry in model.read(image)}
    (item,) = json.loads(members["manifest.json"])
    blobs = [members[name] for name in item["Layers"]]
    layers = [gzip.decompress(b) if b.startswith(b"\x1f\x8b") else b for b in blobs]
    # Bytes that are no UTF-8 stay as they are in a config's text; json.loads of bytes refuses them.
    text = members[item["Config"]].decode("utf-8", "surrogateescape")
    config = json.loads(text, object_pairs_hook=folded)
    assert config["rootfs"]["diff_ids"] == ["sha256:" + sha256(data) for data in layers]
    return model.listing(model.apply(layers))


def folded(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key.lower(): value for key, value in pairs}


def check_changes(form: str, changes: Iterable[tuple[int, int]]) -> None:
    """Change each byte, given by its place and the bits to change, and look what comes of it."""
    image = IMAGES[form]
    whole = attempt(image, keep=1)
    assert whole
    expected = tree(whole)
    refused = 0
    for at, bits in changes:
        damaged = bytearray(image)
        damaged[at] ^= bits
        result = attempt(bytes(damaged), keep=1)
        refused += result is None
        # The same bytes need not be looked at again.
        assert result in (None, whole) or tree(result) == expected, at
    assert refused > 500


@pytest.mark.parametrize("form", IMAGES)
def test_a_changed_bit_in_every_byte_never_makes_other_files(form: str) -> None:
    chance = random.Random(form)
    check_changes(form, ((at, 1 << chance.randrange(8)) for at in range(len(IMAGES[form]))))


@pytest.mark.parametrize("form", IMAGES)
def test_a_byte_that_is_another_in_all_bits_never_makes_other_files(form: str) -> None:
    check_changes(form, ((at, 0xFF) for at in range(len(IMAGES[form]))))


@pytest.mark.parametrize("form", IMAGES)
def test_an_archive_of_any_length_is_refused_or_whole(form: str) -> None:
    image = IMAGES[form]
    whole = attempt(image, keep=1)
    for length in range(len(image)):
        assert attempt(image[:length], keep=1) in (None, whole), length


@pytest.mark.parametrize("length", range(0, 3000, 250))
def test_a_cut_archive_is_one_line_of_the_command(length: int) -> None:
    done = squash("--keep-layers", "0", stdin=IMAGES["docker-archive"][:length])
    assert done.code == 3
    assert done.out == b""
    assert done.err.count("\n") == 1
