"""squasher.layers.apply beside the corpus: what a path leads to, what engines refuse."""

from __future__ import annotations

import re

import pytest

from squasher.errors import ArchiveError
from squasher.layers.apply import apply
from squasher.layers.tree import Directory, Tree
from squasher.tar.entry import Changeset, Entry
from squasher.tar.paths import HOPS_MAX, STEPS_FACTOR, STEPS_FREE
from squasher.tar.walk import LayerWalk
from squasher.verify import apply as verify
from squasher.verify import tree as compared
from tests.builders import Dir, File, Hardlink, Member, Opaque, Symlink, Whiteout, layer


def changes(number: int, *members: Member) -> Changeset:
    walk = LayerWalk(number)
    walk.feed(layer(*members))
    return walk.finish()


def tree(*layers: tuple[Member, ...]) -> Tree:
    """Apply layers. What is refused the other applier must refuse, too, in the same words."""
    made, other = Tree(), compared.Tree()
    for number, members in enumerate(layers):
        try:
            apply(made, changes(number, *members))
        except ArchiveError as error:
            with pytest.raises(ArchiveError, match=re.escape(str(error))):
                verify.apply(other, changes(number, *members), strict=False)
            raise
        verify.apply(other, changes(number, *members), strict=False)
    paths = sorted(path for path, _, _ in compared.side_by_side(other, other))
    assert paths == sorted(listed(made))
    return made


def listed(made: Tree) -> list[bytes]:
    return [path for path, _ in made.walk()]


def test_walking_is_sorted_and_parents_come_first() -> None:
    made = tree((File(b"b"), Dir(b"a"), File(b"a/z"), File(b"a-"), File(b"a/b/c")))
    assert listed(made) == [b"", b"a", b"a/b", b"a/b/c", b"a/z", b"a-", b"b"]


def test_finding_follows_nothing() -> None:
    made = tree((Dir(b"d"), File(b"d/f"), Symlink(b"s", b"d")))
    assert made.find(b"") is made.root
    assert isinstance(made.find(b"d"), Directory)
    assert isinstance(made.find(b"d/f"), Entry)
    assert made.find(b"s/f") is made.find(b"none") is made.find(b"none/x") is None


def test_a_fork_leaves_the_base_as_it_was() -> None:
    base = tree((Dir(b"d"), File(b"d/f"), Dir(b"e"), File(b"e/g"), Hardlink(b"h", b"d/f")))
    before = listed(base)
    fork = base.fork(1)
    apply(
        fork,
        changes(1, Whiteout(b"d/f"), Opaque(b"e"), File(b"d/new"), Hardlink(b"i", b"h", mode=0)),
    )
    assert listed(base) == before
    assert listed(fork) == [b"", b"d", b"d/new", b"e", b"h", b"i"]
    file = base.find(b"d/f")
    assert isinstance(file, Entry)
    assert fork.find(b"h") is file
    assert base.state(file).owner[0] == 0o644
    assert fork.state(file).owner[0] == 0


def test_what_was_overwritten_is_counted() -> None:
    made = tree((Dir(b"./"), File(b"a"))).fork(1)
    apply(made, changes(1, Dir(b"./"), File(b"a"), File(b"b"), Dir(b"d")))
    assert made.overwritten == 0
    apply(made, changes(2, File(b"a"), File(b"b"), Dir(b"d")))
    assert made.overwritten == 3
    apply(made, changes(3, Dir(b"./")))
    assert made.overwritten == 4


@pytest.mark.parametrize(
    "target", [b"d/e", b"/d/e", b"./d//e/", b"x/../d/./e", b"../../d/e", b"d/../../../d/e"]
)
def test_a_hard_link_is_resolved_inside_the_root(target: bytes) -> None:
    made = tree(
        (
            Dir(b"x"),
            File(b"d/e/f"),
            Symlink(b"s", target),
            Hardlink(b"h", b"s/f"),
            File(b"s/new"),
        )
    )
    assert made.find(b"h") is made.find(b"d/e/f")
    assert made.find(b"d/e/new") is not None


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ((Hardlink(b"h", b"none"),), "does not exist at this point"),
        ((File(b"f"), Hardlink(b"h", b"f/x")), "does not exist at this point"),
        ((Dir(b"d"), Hardlink(b"h", b"d")), "is not a file at this point"),
        ((Hardlink(b"h", b"/"),), "is not a file at this point"),
        ((Hardlink(b"h", b"../x"),), "leads out of the root"),
        ((File(b"h"), Hardlink(b"h", b"h")), "a hard link to itself"),
        ((Symlink(b"s", b"."), Hardlink(b"s/s", b"s")), "a hard link to itself"),
        ((File(b"d/f"), Hardlink(b"d", b"d/f")), "does not exist at this point"),
        ((File(b"d/f"), Symlink(b"s", b"d"), Hardlink(b"s", b"s/f")), "does not exist at this"),
        ((Symlink(b"l", b"l"), Hardlink(b"h", b"l/x")), "too many symbolic links"),
        ((Symlink(b"l", b"l"), File(b"l/x")), "too many symbolic links"),
        ((File(b"f"), File(b"f/x")), "a file of the same layer is in the way"),
    ],
)
def test_what_is_refused(members: tuple[Member, ...], says: str) -> None:
    with pytest.raises(ArchiveError, match=says):
        tree(members)


@pytest.mark.parametrize("member", [Whiteout(b"f/x"), Opaque(b"f"), Whiteout(b"s/x"), Opaque(b"s")])
def test_a_whiteout_below_what_is_no_directory(member: Member) -> None:
    lower = (File(b"f"), Dir(b"d"), File(b"d/x"), Symlink(b"s", b"d"))
    with pytest.raises(ArchiveError, match="which is not a directory"):
        tree(lower, (member,))


def test_symlinks_count_for_the_whole_path() -> None:
    links = [Symlink(b"d/" * i + b"s", b"d") for i in range(HOPS_MAX + 2)]
    made = (Dir(b"/".join([b"d"] * (HOPS_MAX + 2))), *links)
    tree((*made, File(b"s/" * HOPS_MAX + b"f")))
    tree((*made, File(b"s/" * HOPS_MAX + b"d/f")))
    for name in (b"s/" * (HOPS_MAX + 1) + b"f", b"s/" * HOPS_MAX + b"d/s/f"):
        with pytest.raises(ArchiveError, match="too many symbolic links"):
            tree((*made, File(b"s/" * HOPS_MAX + b"f"), File(name)))


def test_a_symlink_leads_no_deeper_than_any_path() -> None:
    deep, name = b"/".join([b"d" * 200] * 20), b"n" * 73  # 4,019 bytes, a slash, 73, a slash
    lower = (Dir(deep), Symlink(b"s", deep), Symlink(b"t", b"s/" + name + b"nnn/.."))
    assert tree((*lower, File(b"s/" + name + b"/f"))).find(deep + b"/" + name) is not None
    assert tree((*lower, File(b"s/" + name + b"nn"))).find(deep + b"/" + name + b"nn") is not None
    for path in (b"s/" + name + b"nnn", b"s/" + name + b"nnn/f", b"s/" + name + b"/ff", b"t/f"):
        with pytest.raises(ArchiveError, match="the path is longer than 4095 bytes"):
            tree((*lower, File(path)))


def test_where_a_lower_symlink_leads_is_found_or_nothing_is_trusted() -> None:
    def targets(*lower: Member) -> frozenset[bytes]:
        return tree(lower, (File(b"d/s/f"),)).replaced_targets

    assert targets(Symlink(b"d/s", b"../e/./f")) == {b"e/f"}
    assert targets(Symlink(b"d/s", b"x/../y"), Symlink(b"d/y", b"/z")) == {b"z"}
    assert targets(Symlink(b"d/s", b"s")) == {b""}
    long = b"/".join([b"x" * 200] * 15)
    assert targets(Symlink(b"d/s", b"l/" + long), Symlink(b"d/l", long)) == {b""}
    links = [Symlink(b"s%d" % i, b"./" * 2000 + b"s%d" % (i + 1)) for i in range(20)]
    assert targets(Symlink(b"d/s", b"/s0"), *links) == {b""}


def test_a_folder_takes_the_place_of_the_symlink_that_led_to_it() -> None:
    """From then on the name of the symlink is another folder."""
    made = tree((Symlink(b"s", b"."), Dir(b"s/s"), File(b"s/s/f")))
    assert listed(made) == [b"", b"s", b"s/s", b"s/s/f"]
    made = tree((Dir(b"d"), Symlink(b"d/s", b"/d"), Dir(b"d/s/s"), File(b"d/s/s/f")))
    assert listed(made) == [b"", b"d", b"d/s", b"d/s/s", b"d/s/s/f"]


#: Names in the target of a long symlink.
LONG = 2000


def through(names: int) -> list[Member]:
    """Return 24 entries: 12 symlinks to `d` with so many names in all, each with a file behind."""
    counts = [names // 12] * 11
    counts.append(names - sum(counts))
    links = [Symlink(b"t%d" % i, b"./" * (count - 1) + b"d") for i, count in enumerate(counts)]
    return [part for link in links for part in (link, File(link.path + b"/" + link.path))]


@pytest.mark.parametrize(
    ("members", "known"),
    [
        ([Hardlink(b"h%d" % i, b"s/../f") for i in range(20)], 0),
        ([File(b"l%d/f" % i) for i in range(20)], 0),
        ([x for i in range(20) for x in (File(b"m%d/f" % i), Hardlink(b"h%d" % i, b"s/f"))], LONG),
    ],
    ids=["hard links that go up", "lower symlinks that give way", "a way that is known"],
)
def test_what_is_refused_depends_on_what_must_be_followed(
    members: list[Member], known: int
) -> None:
    """Warnings look up symlinks, too; and no symlink is paid for twice."""
    links = [Symlink(b"l%d" % i, b"./" * LONG + b"x") for i in range(20)]
    lower = (File(b"f"), File(b"d/f"), *links, Symlink(b"s", b"./" * (LONG - 1) + b"d"))
    bound = STEPS_FREE + STEPS_FACTOR * (24 + len(members)) - known
    tree(lower, (*members, *through(bound)))
    with pytest.raises(ArchiveError, match="'t11': too many symbolic links"):
        tree(lower, (*members, *through(bound + 1)))


def test_a_hard_link_finds_what_came_after_one_before() -> None:
    lower = (Dir(b"d"), File(b"d/f"), Symlink(b"s", b"d"))
    made = tree(lower, (Hardlink(b"h", b"s/f"), File(b"d/g"), Hardlink(b"i", b"s/g")))
    assert made.find(b"i") is made.find(b"d/g")


def test_as_many_symlinks_as_engines_follow() -> None:
    chain = [Symlink(b"l%d" % n, b"l%d" % (n + 1)) for n in range(HOPS_MAX - 1)]
    end = Symlink(b"l%d" % (HOPS_MAX - 1), b"d")
    made = tree((Dir(b"d"), *chain, end, File(b"l0/x")))
    assert made.find(b"d/x") is not None
