"""squasher.layers.merge: layers in, the entries of the new layer out, rule by rule.

Each row is one image: the layers that are kept, those that are squashed, and the layer that takes
their place. `tests.notation` says how to read them: `d/` a directory, `f=one` a file, `-f` a
whiteout, `!d` an opaque one, `s->t` a symlink, `h==f` a hard link; ` | ` stands between layers.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from squasher.errors import ArchiveError
from squasher.layers.apply import apply
from squasher.layers.merge import Draft
from squasher.layers.plan import MergePlan, Span
from squasher.layers.tree import Tree
from squasher.tar.entry import Pair
from squasher.tar.walk import LayerWalk
from tests.builders import Dir, File, Hardlink, Sparse, layer
from tests.notation import layers, text


@dataclass(frozen=True)
class Row:
    """What a rule says, by one image."""

    rule: str
    says: str
    kept: str
    squashed: str
    new: str


def merge(kept: list[bytes], squashed: list[bytes]) -> tuple[Draft, MergePlan, bytes]:
    """Return draft, plan and bytes of the layer that takes the place of `squashed`."""
    tars = [*kept, *squashed]
    tree = base = Tree()
    for number, tar in enumerate(tars):
        if number == len(kept):
            tree = base.fork(number)
        walk = LayerWalk(number)
        walk.feed(tar)
        apply(tree, walk.finish())
    draft = Draft.of(base, tree, len(kept))
    plan = draft.plan({pair for pair in draft.doubtful if same(pair, tars)}, [*map(len, tars)])
    pieces = [x if isinstance(x, bytes) else tars[x.source][x.start : x.stop] for x in plan.pieces]
    data = b"".join(pieces)
    assert len(data) == plan.size
    return draft, plan, data


def same(pair: Pair, tars: list[bytes]) -> bool:
    one, two = (tars[x.source][x.data : x.data + x.stored] for x in pair)
    return one == two


def named(row: Row) -> str:
    return f"{row.rule}: {row.says}"


def check(row: Row) -> None:
    _, _, new = merge(layers(row.kept), layers(row.squashed))
    assert text(new) == row.new


# ---------------------------------------------------------------- what changes: M1, M2, M4

CHANGES = (
    Row("M1a", "a directory of a squashed layer", "d/ d/f=1", "d/:700", "d/:700"),
    Row("M1a", "the last one that speaks of it counts", "f", "d/:700 | d/:711", "d/:711"),
    Row("M1a", "none that only the base has", "d/ d/f=1", "d/g=2", "d/g=2"),
    Row("M1a", "the root, where a squashed layer has it", "./ f", "./:700", "./:700"),
    Row("M1b", "a directory that only a name implies", "f", "d/g=2", "d/ d/g=2"),
    Row("M1b", "all of them above a name", "f", "a/b/c=1", "a/ a/b/ a/b/c=1"),
    Row("M1b", "also when the name is gone again", "f", "d/g=2 | -d/g", "d/"),
    Row(
        "M1b",
        "none in place of a symlink of the base: engines follow it, or not",
        "usr/ usr/lib/ lib->usr/lib",
        "lib/x=1",
        "lib/x=1",
    ),
    Row(
        "M1b",
        "but where the symlink was whited out before",
        "usr/ usr/lib/ lib->usr/lib",
        "-lib | lib/x=1",
        "lib/ lib/x=1",
    ),
    Row(
        "M1b",
        "or is no symlink of the base",
        "f",
        "usr/ lib->usr | lib/x=1",
        "lib/ lib/x=1 usr/",
    ),
    Row(
        "M1c",
        "a directory of the base above a name that is written again",
        "d/:700 d/f=1",
        "h==d/f",
        "d/:700 d/f=1 h==d/f",
    ),
    Row(
        "M1d",
        "a directory whose whiteout in the base hides nothing",
        "g/ -g/x",
        "g/y=1",
        "g/ g/y=1",
    ),
    Row("M2", "a name that is gone", "d/ d/a=1 d/b=2", "-d/a", "-d/a"),
    Row("M2", "names that are gone, sorted", "d/ d/a d/b d/c", "-d/c -d/a", "-d/a -d/c"),
    Row("M2", "a directory with all that is in it", "d/ d/e/ d/e/f=1", "-d", "-d"),
    Row("M2", "none for what the base never had", "f", "t=1 | -t", ""),
    Row("M2", "none for what is replaced", "d/ d/a=1", "-d | d=file", "d=file"),
    Row(
        "M2",
        "what a directory that came back lacks",
        "d/ d/a=1 d/b=2",
        "-d | d/ d/a=3",
        "d/ -d/b d/a=3",
    ),
    Row("M2", "what a file replaced is gone without", "f=1", "f/ f/x=2", "f/ f/x=2"),
    Row("M4", "what is new", "f", "s->t c%1.3 g=1", "c%1.3 g=1 s->t"),
    Row("M4", "the last one counts", "f=1", "f=2 | f=3", "f=3"),
    Row("M4", "other attributes alone", "f=1", "f=1:600", "f=1:600"),
    Row("M4", "nothing that only the base has", "a=1 b=2", "b=3", "b=3"),
    Row("M4", "a file with two names: content, then a link", "x", "f=1 | h==f", "f=1 h==f"),
    Row("M4", "content with the name that sorts first", "x", "z=1 a==z", "a=1 z==a"),
    Row("M4", "content with the name that is left", "x", "f=1 h==f | -f", "h=1"),
    Row("M4", "all names of a file of the base that gets one more", "f=1", "h==f", "f=1 h==f"),
)

# ---------------------------------------------------------------- what the base provides: D0 to D3

PROVIDED = (
    Row("D0", "not below a directory that the base alone has", "d/ d/f=1", "d/f=1", "d/f=1"),
    Row("D0", "but below one that is written", "d/f=1", "d/ | d/f=1", "d/"),
    Row("D1", "a file that comes again", "f=1", "f=1", ""),
    Row("D1", "a file that changes and changes back", "f=1", "f=2 | f=1", ""),
    Row("D1", "a file that goes and comes back", "f=1", "-f | f=1", ""),
    Row("D1", "not with other content", "f=1", "f=2", "f=2"),
    Row("D1", "not with another mode", "f=1", "f=1:600", "f=1:600"),
    Row("D1", "not with another time", "f=1", "f=1@5", "f=1@5"),
    Row("D1", "not with another xattr", "f=1", "f=1+k", "f=1+k"),
    Row("D1", "symlinks, devices, empty files", "s->t c%1.3 f", "s->t c%1.3 f", ""),
    Row("D1", "not with another target", "s->t c%1.3", "s->u c%1.4", "c%1.4 s->u"),
    Row("D1", "all names of a file", "f=1 g==f", "f=1 g==f", ""),
    Row("D1", "not with a name more", "f=1 g==f", "f=1 g==f h==f", "f=1 g==f h==f"),
    Row("D1", "not where names are files of their own now", "f=1 g==f", "f=1 g=1", "f=1 g=1"),
    Row("D2", "a directory that comes again", "d/ d/f=1", "d/", ""),
    Row("D2", "with all that is in it", "d/ d/f=1", "d/ d/f=1", ""),
    Row("D2", "not with other attributes", "d/ d/f=1", "d/:700", "d/:700"),
    Row("D2", "not above what is written", "d/ d/f=1", "d/ d/g=2", "d/ d/g=2"),
    Row("D2", "not above a whiteout", "d/ d/f=1", "d/ -d/f", "d/ -d/f"),
    Row("D2", "not where the base went through it last", "d/ d/f=1 | d/g=2", "d/", "d/"),
    Row("D3", "not where engines read the base differently", "f=1 | f=2 -f", "f=2", "f=2"),
    Row("D3", "not below such a place", "s->t t/ | s/ s/f=1 s/g=1 -s", "s/ s/f=1", "s/ s/f=1"),
    Row("D3", "not where a whiteout of the base hides nothing", "g/ -g/x", "g/", "g/"),
)

# ---------------------------------------------------------------- how it is written: M3, M5 to M7

WRITTEN = (
    Row("M3", "whiteouts for an opaque one", "d/ d/a=1 d/b=2", "d/ !d d/b=3", "d/ -d/a d/b=3"),
    Row("M3", "whiteouts for one in the root", "a=1 f=1", "! f=2", "-a f=2"),
    Row("M3", "nothing for one in a new directory", "f", "d/ !d d/x=1", "d/ d/x=1"),
    Row("M5", "the mode that the last name gave", "x", "f=1 | h==f:600", "f=1:600 h==f:600"),
    Row("M5", "the time that the last name gave", "x", "f=1@5 | h==f@9", "f=1@9 h==f@9"),
    Row("M5", "also for a file of the base", "f=1", "h==f:600", "f=1:600 h==f:600"),
    Row(
        "M6",
        "bytewise, directory by directory",
        "x",
        "b/ b/y b/x a- a/ a/z",
        "a/ a/z a- b/ b/x b/y",
    ),
    Row(
        "M6",
        "a directory, its whiteouts, its names",
        "d/ d/c=1",
        "d/:700 d/a=2 -d/c",
        "d/:700 -d/c d/a=2",
    ),
    Row(
        "M6",
        "before a default ACL what it must not reach",
        "x",
        "d/a=1 d/+acl d/b=2",
        "d/a=1 d/+acl d/b=2",
    ),
    Row("M6", "behind it what it must reach", "x", "d/b=2 d/+acl d/a=1", "d/b=2 d/+acl d/a=1"),
    Row(
        "M6",
        "first the name that inherits, links elsewhere behind all others",
        "x",
        "d/+acl d/b=2 a==d/b f",
        "d/+acl d/b=2 f a==d/b",
    ),
    Row(
        "M6",
        "in order, where no name is left that inherits",
        "x",
        "d/+acl d/b=2 a==d/b f | -d/b",
        "a=2 d/+acl f",
    ),
)


@pytest.mark.parametrize("row", CHANGES, ids=named)
def test_changes(row: Row) -> None:
    check(row)


@pytest.mark.parametrize("row", PROVIDED, ids=named)
def test_what_the_base_provides_is_left_out(row: Row) -> None:
    check(row)


@pytest.mark.parametrize("row", WRITTEN, ids=named)
def test_how_it_is_written(row: Row) -> None:
    check(row)


# ---------------------------------------------------------------- where the bytes come from


def pieces(kept: str, squashed: str) -> str:
    """Return the plan: `1:0-3` are blocks 0 to 2 of layer 1, `new:1` is one that is made."""
    _, plan, _ = merge(layers(kept), layers(squashed))
    return " ".join(
        f"{x.source}:{x.start // 512}-{x.stop // 512}"
        if isinstance(x, Span)
        else f"new:{len(x) // 512}"
        for x in plan.pieces
    )


@pytest.mark.parametrize(
    ("kept", "squashed", "plan"),
    [
        # Neighbours in one layer are one span; the end of the layer is made.
        ("x", "a=1 b=2 c=3", "1:0-6 new:2"),
        ("x", "a=1 b=2 c=3 | b=4", "1:0-2 2:0-2 1:4-6 new:2"),
        ("x", "d/ d/a=1", "1:0-3 new:2"),
        # Whiteouts are made, and so are directories that nobody has an entry for.
        ("a b", "-a -b c", "new:1 new:1 1:2-3 new:2"),
        ("x", "d/a=1", "new:1 1:0-2 new:2"),
        # A file with several names gets new headers; its content is where it was.
        ("x", "f=1 | h==f", "new:1 1:1-2 new:1 new:2"),
        # The header of a directory of the base is made: its layer is not read again for it.
        ("d/ d/f=1", "h==d/f", "new:1 new:1 0:2-3 new:1 new:2"),
        ("x", "", "new:2"),
    ],
)
def test_bytes_come_from_where_they_were(kept: str, squashed: str, plan: str) -> None:
    assert pieces(kept, squashed) == plan


def test_headers_pass_through_as_they_were() -> None:
    """M7: also what ustar and PAX would spell otherwise."""
    said = layer(Dir(b"d", uid=3_000_000), File(b"d/" + b"n" * 120, b"x"), dialect="gnu")
    assert merge([], [layer(), said])[2] == said


def test_headers_that_change_are_written_anew() -> None:
    """M7: the owner that the link gave, in PAX where ustar cannot say it; sparse files stay so."""
    file = Sparse(b"s", 3000, [(100, b"s" * 10), (2000, b"t" * 20)])
    link = Hardlink(b"t", b"s", uid=2**31)
    _, _, new = merge([], [layer(file), layer(link)])
    walk = LayerWalk(0)
    walk.feed(new)
    changes = walk.finish()
    sparse, other = changes.entries
    assert list(changes.paths) == [b"s", b"t"]
    assert sparse.sparse is not None
    assert (sparse.size, list(sparse.sparse)) == (3000, [(100, 10), (2000, 20)])
    assert sparse.owner == other.owner == (0o644, 2**31, 0)


def test_what_is_missing_at_the_end_of_a_layer_is_filled_up() -> None:
    """A layer may end with the last byte of its last file."""
    short = layer(File(b"f", b"x"), trailer=b"")[: 512 + 1]
    assert merge([], [layer(), short])[2] == layer(File(b"f", b"x"))


def test_more_headers_than_the_image_pays_for_are_refused() -> None:
    """Each name of a file repeats its xattrs, which stand once in the image."""
    file = File(b"f", xattrs={b"user.k": bytes(1 << 19)})
    names = layer(*(Hardlink(b"%d" % number, b"f") for number in range(300)))
    with pytest.raises(ArchiveError, match="a trap for readers"):
        merge([], [layer(file), names])


# ---------------------------------------------------------------- what is counted


@pytest.mark.parametrize(
    ("kept", "squashed", "entries", "whiteouts", "provided", "survivors"),
    [
        ("a=1 b=2", "-a c=3 d/ d/e", 3, 1, 0, 3),
        ("a=1 d/", "a=1 d/ c=3", 1, 0, 2, 3),
        ("a=1", "h==a", 2, 0, 0, 1),  # `a` is the base's own
        ("a=1", "h==a c", 3, 0, 0, 2),
        ("x", "d/f=1", 2, 0, 0, 1),  # nobody had an entry for `d`
        ("x", "t=1 | -t", 0, 0, 0, 0),
    ],
)
def test_counts(
    kept: str, squashed: str, entries: int, whiteouts: int, provided: int, survivors: int
) -> None:
    draft, plan, _ = merge(layers(kept), layers(squashed))
    assert (plan.entries, plan.whiteouts, plan.provided) == (entries, whiteouts, provided)
    assert draft.survivors == survivors
