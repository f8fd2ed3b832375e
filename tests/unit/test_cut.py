"""squasher.layers.cut: where a plan is cut, as tables and by properties."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from squasher.errors import PolicyError, UsageError
from squasher.layers.apply import apply
from squasher.layers.cut import LAYERS_MAX, Folders, Part, cut, smallest_limit
from squasher.layers.merge import Draft
from squasher.layers.tree import Tree
from squasher.tar.walk import LayerWalk
from squasher.verify.proof import NewLayers
from tests.builders import Dir, File, Hardlink, Member, Whiteout, layer
from tests.notation import layers, text

FLAT = Folders([-1], [512])


def parts_of(sizes: Sequence[int]) -> list[Part]:
    return [Part(b"f%06d" % i, size, [0]) for i, size in enumerate(sizes)]


def sizes_of(parts: Sequence[Part], runs: Sequence[range]) -> list[int]:
    return [1024 + 512 + sum(parts[i].size for i in run) for run in runs]


def draft_of(kept: list[bytes], squashed: list[bytes]) -> tuple[Draft, list[bytes]]:
    tars = [*kept, *squashed]
    tree = base = Tree()
    for number, tar in enumerate(tars):
        if number == len(kept):
            tree = base.fork(number)
        walk = LayerWalk(number)
        walk.feed(tar)
        apply(tree, walk.finish())
    return Draft.of(base, tree, len(kept)), tars


def pieces(
    kept: list[bytes], squashed: list[bytes], limit: int
) -> tuple[list[bytes], tuple[str, ...]]:
    """Return the layers that a draft is cut into, and what is said of them."""
    draft, tars = draft_of(kept, squashed)
    plans, notices = draft.cut((), [*map(len, tars)], limit, len(kept))
    found = []
    for plan in plans:
        data = b"".join(
            x if isinstance(x, bytes) else tars[x.source][x.start : x.stop] for x in plan.pieces
        )
        assert len(data) == plan.size
        found.append(data)
    return found, notices


# ---------------------------------------------------------------- where the cuts fall


@pytest.mark.parametrize("seed", range(20))
def test_no_layer_is_too_large_and_none_is_lost(seed: int) -> None:
    rnd = random.Random(seed)
    parts = parts_of([512 * rnd.randrange(1, 40) for _ in range(500)])
    limit = rnd.randrange(30_000, 1_000_000)
    runs = cut(parts, FLAT, limit, 10_000)
    assert [i for run in runs for i in run] == list(range(len(parts)))
    assert max(sizes_of(parts, runs)) <= limit


def test_layers_are_balanced() -> None:
    parts = parts_of([1024] * 10_000)
    for limit, count in ((9_000_000, 2), (3_600_000, 3), (1_100_000, 10)):
        sizes = sizes_of(parts, cut(parts, FLAT, limit, 1000))
        assert len(sizes) == count
        assert max(sizes) - min(sizes) < limit // 3


def test_all_in_one_if_it_fits() -> None:
    assert cut(parts_of([512] * 4), FLAT, 4 * 512 + 512 + 1024, 9) == [range(4)]
    assert len(cut(parts_of([512] * 4), FLAT, 4 * 512 + 512 + 1023, 9)) == 2


def test_a_part_that_is_too_large_is_alone() -> None:
    parts = parts_of([512] * 8 + [10**6] + [512] * 8)
    runs = cut(parts, FLAT, 100_000, 9)
    assert range(8, 9) in runs
    assert runs == [range(8), range(8, 9), range(9, 17)]


def test_a_file_that_grew_changes_its_layer_alone() -> None:
    rnd = random.Random(1)
    sizes = [512 * rnd.randrange(1, 60) for _ in range(3000)]
    parts = parts_of(sizes)
    before = cut(parts, FLAT, 5_000_000, 1000)
    assert len(before) > 8
    same = 0
    for number in rnd.sample(range(len(sizes)), 40):
        more = parts_of([*sizes[:number], sizes[number] + 50_000, *sizes[number + 1 :]])
        same += cut(more, FLAT, 5_000_000, 1000) == before
    assert same > 30  # else the name with the least hash came into reach, or left it


def test_directories_count_in_each_layer_that_writes_into_them() -> None:
    deep = Folders([-1, 0, 1], [512, 512, 512])
    parts = [Part(b"d/e/%d" % i, 1024, [2]) for i in range(4)]
    assert len(cut(parts, deep, 1024 + 3 * 512 + 4 * 1024, 9)) == 1
    assert len(cut(parts, deep, 1024 + 3 * 512 + 3 * 1024, 9)) == 2
    assert len(cut(parts, deep, 1024 + 3 * 512 + 2 * 1024 - 1, 9)) == 4


def test_it_gives_up_beyond_the_most() -> None:
    assert len(cut(parts_of([512] * 100), FLAT, 1, 10)) == 11


def test_the_smallest_limit_is_one() -> None:
    parts = parts_of([1024] * 1000)
    fits = smallest_limit(parts, FLAT, 1, 10)
    assert len(cut(parts, FLAT, fits, 1000)) <= 10 < len(cut(parts, FLAT, fits - 512, 1000))


@pytest.mark.parametrize("seed", range(40))
def test_the_smallest_limit_fits_and_one_block_less_does_not(seed: int) -> None:
    """Wherever the search begins: below what equal layers take, above it, beside a huge part."""
    rnd = random.Random(seed)
    sizes = [512 * rnd.randrange(1, 100) for _ in range(rnd.randrange(20, 300))]
    if seed % 4 == 0:
        sizes[rnd.randrange(len(sizes))] = 512 * rnd.choice([1000, 100_000])
    parts, most = parts_of(sizes), rnd.randrange(1, 19)
    first = rnd.choice([1, 2048, sum(sizes) // most, sum(sizes) * 17 // 16 // most])
    if len(cut(parts, FLAT, first, most)) <= most:
        first = 1
    fits = smallest_limit(parts, FLAT, first, most)
    assert len(cut(parts, FLAT, fits, most)) <= most < len(cut(parts, FLAT, fits - 512, most))


# ---------------------------------------------------------------- what the layers say


@pytest.mark.parametrize(
    ("kept", "squashed", "new"),
    [
        ("x", "a=1 b=2", "a=1 | b=2"),
        ("x", "d/ d/a=1 d/b=2", "d/ d/a=1 | d/ d/b=2"),
        ("x", "./ d/a=1", "./ d/ d/a=1"),
        ("x", "d/ e/ d/a=1", "d/ d/a=1 | e/"),
        # All whiteouts first, below directories as they are in the end.
        ("d/ d/a=1 e/ e/a=1", "d/:700 d/b=2 -d/a -e/a", "d/:700 -d/a -e/a | d/:700 d/b=2"),
        # A directory that nobody spells out stays so.
        ("d/ d/a=1", "d/b=1 d/c=1", "d/b=1 | d/c=1"),
        # All names of a file, where the first one is.
        ("x", "d/ d/a=1 e/ e/c=1 e/b==d/a", "d/ d/a=1 e/ e/b==d/a | e/ e/c=1"),
        ("x", "d/ d/a=1 d/z=1 e/ e/b==d/a", "d/ d/a=1 e/ e/b==d/a | d/ d/z=1"),
        # What must not inherit an ACL comes before it, in any layer.
        ("x", "d/a=1 d/+acl d/b=2", "d/a=1 | d/+acl d/b=2"),
        ("x", "d/a=1 d/+acl", "d/a=1 | d/+acl"),
        ("d/ d/z=1", "d/a=1 -d/z | d/+acl d/b=2", "-d/z | d/a=1 | d/+acl d/b=2"),
        # With a hard link in it, all stays together that lies between the names of the file.
        (
            "x",
            "d/+acl d/a=1 d/b=2 d/c==d/a d/d=1",
            "d/+acl d/a=1 d/b=2 d/c==d/a | d/+acl d/d=1",
        ),
        # What takes the place of a symlink of the base comes last.
        ("u/ l->u", "l/z=1 v=1", "v=1 | l/z=1"),
    ],
)
def test_one_entry_a_layer(kept: str, squashed: str, new: str) -> None:
    found, _ = pieces(layers(kept), layers(squashed), 1)
    assert " | ".join(map(text, found)) == new


def test_what_is_too_large_is_named() -> None:
    big = layer(File(b"a"), File(b"big", b"x" * 9000), File(b"c", b"c" * 600))
    found, notices = pieces([], [big, layer(File(b"d"))], 4000)
    assert [text(each)[:3] for each in found] == ["a", "big", "c=c"]
    line = "--max-layer-size 4000: 'big' cannot be split and has a layer of its own of 10752 bytes"
    assert notices == (line,)
    _, notices = pieces([], [big, layer(File(b"d"))], 2000)
    assert notices == (line.replace("4000", "2000") + " (and 1 more like it)",)
    gone = layer(*(Whiteout(b"f%d" % i) for i in range(9)), File(b"g"))
    kept = layer(*(File(b"f%d" % i) for i in range(9)))
    found, notices = pieces([kept], [gone, layer(File(b"h"))], 3000)
    assert [len(each) for each in found] == [9 * 512 + 1024, 2 * 512 + 1024]
    assert "the list of deleted paths cannot be split" in notices[0]


def test_a_name_that_looks_like_gzip_begins_no_layer() -> None:
    names = layer(File(b"a", b"x" * 600), File(b"BZh91", b"x" * 600), File(b"c", b"x" * 600))
    found, notices = pieces([], [names, layer(File(b"d"))], 3 * 1024 + 512)
    assert all(not each.startswith(b"BZh") for each in found)
    assert max(map(len, found)) <= 3 * 1024 + 512
    assert notices == ()


def test_more_layers_than_are_mounted() -> None:
    many = layer(*(File(b"f%03d" % i, b"x") for i in range(200)))
    kept = [layer(File(b"k%d" % i)) for i in range(3)]
    with pytest.raises(UsageError, match="layers of 1 bytes would be more than 125 in all") as one:
        pieces(kept, [many], 1)
    assert one.value.exit_code == 2
    size = int(str(one.value.hint).rpartition(" ")[2])
    assert len(pieces(kept, [many], size)[0]) <= LAYERS_MAX - 3 < 200
    with pytest.raises(UsageError):
        pieces(kept, [many], size - 512)
    below = [layer(File(b"k%d" % i)) for i in range(LAYERS_MAX)]
    with pytest.raises(UsageError) as none:
        pieces(below, [many], 10_000)
    assert none.value.hint == "125 layers are kept"


# ---------------------------------------------------------------- what `--verify` asks of them


@pytest.mark.parametrize(
    ("members", "size", "lowest", "says"),
    [
        ((File(b"a"), File(b"b")), 100, True, ""),
        ((File(b"a"), File(b"b")), 101, True, "layer 1: is larger than --max-layer-size"),
        ((Dir(b"d"), File(b"d/a")), 101, False, ""),
        ((Dir(b"d"), Dir(b"e")), 101, False, ""),
        ((Whiteout(b"a"), Whiteout(b"b")), 101, True, ""),
        ((Whiteout(b"a"), File(b"b")), 101, True, "layer 1: is larger than --max-layer-size"),
        ((Whiteout(b"a"),), 5, False, "layer 1: a whiteout that is not in the first new layer"),
        ((File(b"a"), File(b"b"), Hardlink(b"c", b"a")), 101, True, ""),
    ],
)
def test_a_new_layer_is_checked(
    members: Sequence[Member], size: int, lowest: bool, says: str
) -> None:
    walk = LayerWalk(0)
    walk.feed(layer(*members))
    changes = walk.finish()
    NewLayers(1).check(changes, size, lowest=True)
    if not says:
        NewLayers(2, 100).check(changes, size, lowest=lowest)
        return
    with pytest.raises(PolicyError, match=says):
        NewLayers(2, 100).check(changes, size, lowest=lowest)
