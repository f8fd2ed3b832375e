"""Several new layers (`--max-layer-size`) in real engines: the files are those of the one image."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

import squasher
from squasher.errors import UsageError
from tests.builders import Dir, File, Hardlink, Symlink, Whiteout, layer
from tests.engines.archives import docker_archive
from tests.engines.engines import Loader
from tests.engines.test_engines import LAYERS, TAG
from tests.engines.tree import differences
from tests.generator import random_image

#: A default ACL: user::rwx, group::r-x, group 7 rwx, mask::rwx, other::---.
ACL = (
    b"\2\0\0\0"
    b"\1\0\7\0\xff\xff\xff\xff\4\0\5\0\xff\xff\xff\xff\x08\0\7\0\7\0\0\0"
    b"\x10\0\7\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff"
)
BASE = layer(
    Dir(b"d", mode=0o700, uid=5),
    File(b"d/old", b"old"),
    Dir(b"d/sub"),
    File(b"d/sub/f", b"f"),
    File(b"was-file", b"x"),
    Dir(b"was-dir"),
    File(b"was-dir/x", b"x"),
)
CHANGED = layer(
    Dir(b"d", mode=0o1770, uid=7, mtime=1_400_000_000 * 10**9),
    File(b"d/a", b"a" * 3000),
    File(b"d/b", b"b" * 3000),
    Whiteout(b"d/sub"),
    Dir(b"was-file", mode=0o711, mtime=1_300_000_000 * 10**9),
    File(b"was-file/y", b"y" * 2000),
    File(b"was-file/z", b"z" * 2000),
    File(b"was-dir", b"now a file"),
    Dir(b"links", mode=0o750),
    Hardlink(b"links/b", b"d/b"),
    Symlink(b"links/s", b"../d/a"),
    Dir(b"empty", mode=0o555, mtime=1_200_000_000 * 10**9),
)
WITH_ACL = (
    layer(Dir(b"acl"), File(b"acl/before", b"1" * 900), File(b"z")),
    layer(
        Dir(b"acl", mode=0o750, xattrs={b"system.posix_acl_default": ACL}),
        File(b"acl/after", b"2" * 900),
        Dir(b"acl/dir"),
        File(b"acl/dir/x", b"3" * 900),
        File(b"other", b"4" * 900),
    ),
)
#: Images with the number of layers that are kept.
IMAGES: dict[str, tuple[Sequence[bytes], int]] = {
    "changed above a base": ((BASE, CHANGED, layer(Dir(b"e"), File(b"e/f", b"f" * 900))), 1),
    "all of it": ((BASE, CHANGED), 0),
    "a default ACL": (WITH_ACL, 0),
    "the other tests' image": (LAYERS, 1),
    # Others have global headers, which umoci refuses.
    **{f"random {seed}": (random_image(seed, tame=True), 0) for seed in (5, 20)},
}


@pytest.mark.parametrize(("layers", "kept"), IMAGES.values(), ids=IMAGES)
def test_several_layers_have_the_files_of_the_image(
    loader: Loader, layers: Sequence[bytes], kept: int, tmp_path: Path
) -> None:
    whole = docker_archive(tmp_path / "whole.tar", {TAG: layers})
    since = time.time_ns()
    (ref,) = loader.load(whole)
    tree = loader.tree(ref)
    counts = set()
    for size in (1, 2, 3):
        loader.prune()
        out = tmp_path / f"{size}.tar"
        limit = 1 if size == 1 else cut_in(whole, kept, size)
        try:
            report = squasher.squash_archive(
                whole, out, keep_layers=kept, max_layer_size=limit, verify=True
            )
        except UsageError:  # more entries than layers can be mounted
            assert size == 1
            continue
        counts.add(len(report.images[0].after) - kept)
        (ref,) = loader.load(out)
        assert differences(tree, loader.tree(ref), stamped_since=since) == []
    assert max(counts) > 1


def cut_in(archive: Path, kept: int, layers: int) -> int:
    """Return a size that makes about so many layers."""
    report = squasher.squash_archive(archive, None, keep_layers=kept)
    return report.images[0].after[-1].size // layers
