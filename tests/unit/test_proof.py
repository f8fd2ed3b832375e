"""squasher.verify.proof: what it takes for right, and what it does not, beside tests/mutations."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

import squasher
from squasher.errors import ArchiveError, PolicyError
from squasher.run import Job
from squasher.verify.proof import prove
from tests.builders import (
    Dir,
    Fifo,
    File,
    Hardlink,
    Member,
    Opaque,
    Sparse,
    Symlink,
    Whiteout,
    archive,
    layer,
)

BASE = layer(Dir(b"d"), File(b"d/f", b"one"), File(b"g", b"two"))
TOP = layer(File(b"z"))


def proved(before: Sequence[bytes], after: Sequence[bytes], kept: int = 1, **options: Any) -> None:
    """Hold an image against another that is said to be the same with all but a layer squashed."""
    with (
        squasher.open_archive(io.BytesIO(archive(before))) as one,
        squasher.open_archive(io.BytesIO(archive(after, **options))) as two,
        Job() as job,
    ):
        prove(one.images[0], two.images[0], kept, job)


def squashed(*members: Member, new: Sequence[Member] | None = None) -> None:
    """Prove an image of which one layer holds `members`, and the new one `new` or the same."""
    merged = layer(*(members if new is None else new), File(b"z"))
    proved([BASE, layer(*members), TOP], [BASE, merged])


@pytest.mark.parametrize(
    "members",
    [
        (File(b"d/f", b"other"),),
        (Dir(b"d"), Dir(b"e"), File(b"e/f"), Symlink(b"d/s", b"../e"), Hardlink(b"h", b"d/s/f")),
        (Sparse(b"s", 20_000, [(0, bytes(10)), (9_000, b"x" * 10)]),),
        (Sparse(b"s", 20_000, [(5, b"x"), (9_000, bytes(3)), (15_000, b"x")]),),
    ],
)
def test_the_same_files_are_the_same(members: tuple[Member, ...]) -> None:
    squashed(*members)


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ((Whiteout(b"g/x"),), "layer 2 of 3: 'g': a whiteout below 'g', which is not a directory"),
        ((File(b"a"), File(b"a/x")), "'a': a file of the same layer is in the way"),
        (
            (Symlink(b"a", b"b"), Symlink(b"b", b"a"), File(b"a/x")),
            "'a': too many symbolic links",
        ),
        ((Hardlink(b"h", b"none"),), "'h': hard link to 'none', which does not exist at this"),
        ((Hardlink(b"h", b"none/f"),), "'h': hard link to 'none/f', which does not exist at"),
    ],
)
def test_layers_that_are_none_are_not_proved(members: tuple[Member, ...], says: str) -> None:
    with pytest.raises(ArchiveError, match=says):
        squashed(*members)


@pytest.mark.parametrize(
    ("new", "says"),
    [
        ((Dir(b"d"), File(b"d/f", b"x"), Opaque(b"d")), "'d': is emptied by an opaque whiteout"),
        ((Dir(b"d"), File(b"d/f", b"x"), File(b"d/f", b"x")), "'d/f': comes twice"),
        ((File(b"d/f", b"y"),), "'d/f' differs: content"),
        ((File(b"d/f", b"xx"),), "'d/f' differs: size"),
        ((File(b"d/f", b"x"), File(b"more")), "'more' differs: added"),
        ((), "'d/f' differs: size"),
        (
            (Dir(b"d"), File(b"d/f", b"x"), Fifo(b"p", size=512)),
            "'p': not all readers read this header",
        ),
        ((File(b"BZh"),), "the new layer begins with a name that engines take"),
    ],
)
def test_another_new_layer_is_not_proved(new: tuple[Member, ...], says: str) -> None:
    with pytest.raises(PolicyError, match=says):
        squashed(File(b"d/f", b"x"), new=new)


def test_a_root_that_is_spelt_otherwise_is_not_proved() -> None:
    """Podman takes the attributes of `/`, and ignores `./`."""
    root, spelt = (replace(Dir(b"x", mode=0o700), path=path) for path in (b"./", b"/"))
    squashed(spelt)
    for before, after in ((root, spelt), (spelt, root)):
        with pytest.raises(PolicyError, match="'' differs: spelling"):
            squashed(before, new=(after,))


HAUNTED = (Dir(b"n"), Whiteout(b"n/x"))
EMPTIED = (Dir(b"d"), Opaque(b"d"), Whiteout(b"d/f"))


def above(base: Sequence[Member], members: Sequence[Member], new: Sequence[Member]) -> None:
    """Prove an image whose second kept layer is `base`, and `new` for what `members` say."""
    lower = [BASE, layer(*base)]
    proved([*lower, layer(*members), TOP], [*lower, layer(*new, File(b"z"))], kept=2)


@pytest.mark.parametrize(
    ("base", "members", "new"),
    [
        (HAUNTED, (Dir(b"n"),), (Dir(b"n"),)),
        (HAUNTED, (File(b"n/y"),), (File(b"n/y"),)),
        (HAUNTED, (File(b"y"),), (File(b"y"),)),
        ((*EMPTIED, File(b"d/f")), (Dir(b"d"),), ()),  # what the layer brings is no ghost
        ((Whiteout(b"g"), Dir(b"g"), Whiteout(b"g/x"), File(b"g")), (Dir(b"d"),), (Dir(b"d"),)),
    ],
)
def test_a_ghost_may_stay_as_it_was(
    base: Sequence[Member], members: Sequence[Member], new: Sequence[Member]
) -> None:
    above(base, members, new)


@pytest.mark.parametrize(
    ("base", "members", "says"),
    [
        (HAUNTED, (Dir(b"n"),), "'n/x' differs: overlay engines show a whiteout"),
        (HAUNTED, (Whiteout(b"n/z"),), "'n/x' differs: overlay engines show a whiteout"),
        (EMPTIED, (Dir(b"d"),), "'d/f' differs: overlay engines show a whiteout"),
    ],
)
def test_a_ghost_may_not_come_to_light(
    base: Sequence[Member], members: Sequence[Member], says: str
) -> None:
    with pytest.raises(PolicyError, match=says):
        above(base, members, ())


def test_another_image_is_not_proved() -> None:
    upper = layer(File(b"a"))
    merged = layer(File(b"a"), File(b"z"))
    before = [BASE, upper, TOP]
    proved(before, [BASE, merged])
    with pytest.raises(PolicyError, match=r"^the config differs$"):
        proved(before, [BASE, merged], config={"author": "somebody"})
    with pytest.raises(PolicyError, match=r"^the result has 3 layers, and 1 were kept$"):
        proved(before, before)
    with pytest.raises(PolicyError, match=r"^kept layer 1 is not the same$"):
        proved(before, [layer(Dir(b"d"), File(b"d/f", b"1"), File(b"g", b"two")), merged])
