"""The oracle itself: expectations written by hand, so that it can be wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests import model
from tests.builders import (
    MTIME,
    Dir,
    File,
    Hardlink,
    Member,
    Opaque,
    Symlink,
    Whiteout,
    archive,
    encode,
    layer,
    pax_record,
)
from tests.conformance.check import check_merged, layers_of
from tests.conformance.corpus import CASES, Case, by_name
from tests.generator import member_of, random_image

SOUND = [case for case in CASES if case.verdict != "refuse"]


def named(case: Case) -> str:
    return case.name


def paths(*layers: bytes) -> list[bytes]:
    return list(model.listing(model.apply(layers)))[1:]


def content(layers: tuple[bytes, ...], path: bytes) -> bytes:
    node = model.find(model.apply(layers).root, tuple(path.split(b"/")))
    assert node is not None
    return node.data


def merged(name: str, keep: int) -> list[tuple[bytes, str]]:
    return [(p, said) for p, said in model.expected_merge(by_name(name).layers, keep)]


def naive_merge(layers: tuple[bytes, ...], keep: int) -> bytes:
    """Write the merged layer from the model alone."""
    root = model.apply(layers).root
    first: dict[int, bytes] = {}
    members: list[Member] = []
    for path, said in model.expected_merge(layers, keep):
        if said == "whiteout":
            members.append(Whiteout(path, mtime=0))
            continue
        node = model.find(root, tuple(path.split(b"/")) if path else ())
        assert node is not None
        member = member_of(path, node)
        if node.serial in first:
            member = replace(member, type=b"1", target=first[node.serial], data=b"")
        first.setdefault(node.serial, path)
        members.append(member)
    return layer(*members)


# ------------------------------------------------------------------ the corpus and its verdicts


def test_the_corpus_is_large_and_its_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 200
    assert {case.verdict for case in CASES} == {"agree", "warn", "refuse"}
    assert all(case.description and "\n" not in case.description for case in CASES)


@pytest.mark.parametrize("case", CASES, ids=named)
def test_the_model_agrees_with_the_verdict(case: Case) -> None:
    if case.verdict == "refuse":
        with pytest.raises(model.ModelError):
            model.apply(case.layers)
    else:
        assert {w.kind for w in model.apply(case.layers).warnings} == case.kinds


@pytest.mark.parametrize("case", SOUND, ids=named)
def test_a_merge_written_from_the_model_shows_the_same_tree(case: Case) -> None:
    for keep in range(len(case.layers)):
        check_merged(case.layers, keep, naive_merge(case.layers, keep), acls=False)


def test_so_does_one_of_a_random_image(image_seed: int) -> None:
    layers = random_image(image_seed)
    for keep in range(len(layers)):
        check_merged(layers, keep, naive_merge(layers, keep), acls=False)


# ------------------------------------------------------------------ trees


def test_a_whiteout_hides_what_lies_below_only() -> None:
    lower = layer(Dir(b"d"), File(b"d/a"), File(b"d/b"))
    assert paths(lower, layer(Whiteout(b"d/a"))) == [b"d", b"d/b"]
    assert paths(lower, layer(Whiteout(b"d"), Dir(b"d"), File(b"d/n"))) == [b"d", b"d/n"]
    assert paths(lower, layer(File(b"d/n"), Whiteout(b"d"))) == [b"d", b"d/n"]
    assert paths(lower, layer(Opaque(b"d"))) == [b"d"]
    assert paths(lower, layer(File(b"d/n"), Opaque(b"d"))) == [b"d", b"d/n"]
    assert paths(lower, layer(Opaque(), File(b"n"))) == [b"n"]


def test_a_whiteout_makes_its_missing_directories() -> None:
    tree = model.listing(model.apply([layer(Whiteout(b"n/m/x", mtime=5 * 10**9))]))
    assert list(tree) == [b"", b"n", b"n/m"]
    assert (tree[b"n"].mode, tree[b"n"].uid, tree[b"n"].mtime_ns) == (0o755, 0, 5 * 10**9)


def test_the_last_directory_entry_counts_completely() -> None:
    tree = model.listing(
        model.apply(
            [
                layer(Dir(b"d", mode=0o1700, uid=5, xattrs={b"user.k": b"v"}), File(b"d/a")),
                layer(File(b"d/b"), Dir(b"d", mode=0o40711, mtime=7)),
            ]
        )
    )
    record = tree[b"d"]
    assert (record.mode, record.uid, record.mtime_ns, record.xattrs) == (0o711, 0, 7, ())
    assert list(tree) == [b"", b"d", b"d/a", b"d/b"]


def test_types_change() -> None:
    lower = layer(Dir(b"d"), File(b"d/a"), Symlink(b"l", b"d"), File(b"f"))
    assert paths(lower, layer(File(b"d"))) == [b"d", b"f", b"l"]
    assert paths(lower, layer(File(b"f/x"))) == [b"d", b"d/a", b"f", b"f/x", b"l"]
    assert paths(lower, layer(File(b"l/x"))) == [b"d", b"d/a", b"f", b"l", b"l/x"]
    here = layer(Symlink(b"s", b"../d/."), File(b"s/x"))
    assert paths(lower, here) == [b"d", b"d/a", b"d/x", b"f", b"l", b"s"]


def test_hard_links_share_an_inode_until_a_name_is_replaced() -> None:
    group = layer(File(b"t", b"1"), Hardlink(b"h", b"/t"), Hardlink(b"i", b"x/../h"))
    tree = model.listing(model.apply([group]))
    assert tree[b"t"].names == tree[b"h"].names == tree[b"i"].names == (b"h", b"i", b"t")
    layers = (group, layer(File(b"t", b"2")))
    tree = model.listing(model.apply(layers))
    assert tree[b"t"].names == (b"t",)
    assert tree[b"h"].names == (b"h", b"i")
    assert content(layers, b"h") == b"1"
    assert content(layers, b"t") == b"2"


def test_the_last_link_header_counts_and_xattrs_add_up() -> None:
    tree = model.listing(
        model.apply(
            [
                layer(
                    File(b"t", b"1", xattrs={b"user.a": b"1", b"user.b": b"1"}),
                    Hardlink(b"h", b"t", mode=0o600, uid=3, mtime=9, xattrs={b"user.b": b"2"}),
                )
            ]
        )
    )
    record = tree[b"t"]
    assert (record.mode, record.uid, record.mtime_ns) == (0o600, 3, 9)
    assert record.xattrs == ((b"user.a", b"1"), (b"user.b", b"2"))


def test_every_field_is_listed() -> None:
    tree = model.listing(model.apply(by_name("h33").layers))
    assert tree[b"c"].device == (1, 3)
    assert tree[b"c"].type == "char"
    assert tree[b"p"].type == "fifo"
    assert tree[b"f"].size == 7
    assert tree[b"d"].xattrs == ((b"user.k", b"v"),)
    assert tree[b"f"].mtime_ns == MTIME


# ------------------------------------------------------------------ merges, by hand

BY_HAND = {
    ("w01", 1): "d -d/a",
    ("w01", 0): "d d/b d/sub d/sub/s f",
    ("w04", 1): "nodir",
    ("w05", 1): "-d/a",
    ("w08", 1): "f",
    ("w09", 1): "d -d/a -d/b -d/sub d/new",
    ("w09-kept-sub", 1): "d -d/a -d/b d/sub -d/sub/s d/sub/new",
    ("w12", 1): "-d",
    ("w17b", 0): "x z",
    ("w18c", 1): "d -d/a -d/b -d/sub d/n",
    ("w19", 1): "",
    ("w22b", 1): "-d",
    ("w31", 1): "d",
    ("w42", 1): "-d -f",
    ("w42", 0): "",
    ("o06", 1): "d -d/b d/a d/sub -d/sub/s d/sub/n",
    ("o07-dot", 1): "-d -f n",
    ("o09", 1): "d -d/a -d/b d/sub -d/sub/s d/sub/n",
    ("o12-then-whiteout", 1): "-d",
    ("o21", 1): "d -d/sub",
    ("t01", 1): "f f/x",
    ("t03", 1): "lib/x",
    ("t03", 0): "lib lib/x usr usr/lib usr/lib/old",
    ("t03-deep", 1): "lib/m/n/x",
    ("t03-deleted", 1): "lib",
    ("t03-deep-deleted", 1): "lib lib/m",
    ("t03-squashed", 1): "lib lib/x usr usr/lib usr/lib/old",
    ("t03-again", 1): "lib lib/x",
    ("t03-gone", 1): "lib lib/x",
    ("t10", 1): "d -d/a -d/b -d/sub d/n",
    ("h02", 1): "f h",
    ("h02-deep", 1): "h p p/f q q/g z",
    ("h02-relink", 1): "z",
    ("h02-deleted", 1): "",
    ("h02c", 1): "f h",
    ("h06", 1): "-h",
    ("h19", 1): "t u v w z",
    ("h19b", 1): "u z",
    ("h19b-same", 1): "u z",
    ("h20", 1): "z",
    ("h21", 1): "t u v z",
    ("h31-base", 1): "h t z",
    ("p01", 1): "n n/m n/m/x",
    ("p02", 1): "d/n",
    ("p06b", 1): "d d/n2",
    ("p10", 1): "/",
    ("p10-same", 1): "",
    ("p18", 1): "d d/n",
    ("r03-base", 1): "n z",
    ("u02", 1): "a",
    ("e13", 1): "d x",
    ("d1-file", 1): "z",
    ("d1-all", 1): "z",
    ("d1-twice", 1): "",
    ("d1-directory-deleted", 1): "d -d/b -d/sub",
    ("d1-opaque", 1): "z",
    ("d1-mtime", 1): "d d/a z",
    ("d1-xattrs", 1): "d d/a z",
    ("d1-symlink-mode", 1): "z",
    ("d1-group", 1): "z",
    ("d1-group-partly", 1): "d d/1 d/2 z",
    ("d1-group-larger", 1): "d d/1 d/2 d/3 d/4 z",
    ("d1-two-groups", 1): "1 2 3 4 z",
    ("d2-below", 1): "d d/sub d/sub/new z",
    ("d2-whiteout", 1): "d d/sub -d/sub/s z",
    ("d2-mentioned", 2): "n z",
    ("d2-implied", 1): "n z",
    ("d0-parents", 1): "d/a z",
    ("d0-layers", 1): "z",
    ("d3-parent", 2): "d d/a d/n z",
    ("d3-other", 1): "z",
    ("d-chmod", 1): "d d/07 z",
    ("d-rebuilt-cache", 1): "d d/sub -d/sub/0 d/sub/5",
}


@pytest.mark.parametrize(("name", "keep"), BY_HAND, ids=str)
def test_the_merged_layer_is_as_written_by_hand(name: str, keep: int) -> None:
    said = " ".join(
        ("-" if kind == "whiteout" else "") + (path.decode() or "/")
        for path, kind in merged(name, keep)
    )
    assert said == BY_HAND[name, keep]


@pytest.mark.parametrize("case", SOUND, ids=named)
def test_no_whiteout_of_a_merge_can_be_left_out(case: Case) -> None:
    for keep in range(1, len(case.layers)):
        items = model.expected_merge(case.layers, keep)
        base = model.listing(model.apply(case.layers[:keep]))
        final = model.listing(model.apply(case.layers))
        for path, said in items:
            assert (path in base and path not in final) == (said == "whiteout")


# ------------------------------------------------------------------ the reader


def test_pax_records_count_their_own_length() -> None:
    assert pax_record(b"a", b"b" * 5) == b"11 a=bbbbb\n"
    assert pax_record(b"a", b"b" * 4) == b"9 a=bbbb\n"
    assert len(pax_record(b"k", b"v" * 200)) == 207


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        (b"1.5", 1_500_000_000),
        (b"-1.25", -1_250_000_000),
        (b"-0.5", -500_000_000),
        (b"7.", 7_000_000_000),
        (b"0.1234567899", 123_456_789),
    ],
)
def test_times(text: bytes, nanoseconds: int) -> None:
    assert model.nanoseconds(text) == nanoseconds


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"0000644\0", 0o644),
        (b"  12 \0\0\0", 0o12),
        (bytes(8), 0),
        (b"\x80" + bytes(5) + b"\x01\x00", 256),
        (b"\xff" * 8, -1),
    ],
)
def test_numbers(text: bytes, value: int) -> None:
    assert model.number(text) == value


@pytest.mark.parametrize("dialect", ["pax", "gnu"])
def test_dialects_say_the_same(dialect: str) -> None:
    member = File(
        b"d/" + b"n" * 150, b"data", uid=3_000_000, gid=2**31, mtime=-5 * 10**9, mode=0o4755
    )
    (entry,) = model.read(layer(member, Symlink(b"s", b"t" * 150), dialect=dialect))[:1]
    assert entry.path == (b"d", b"n" * 150)
    assert (entry.uid, entry.gid, entry.mtime) == (3_000_000, 2**31, -5 * 10**9)
    assert (entry.mode, entry.data) == (0o4755, b"data")
    assert model.read(layer(Symlink(b"s", b"t" * 150), dialect=dialect))[0].target == b"t" * 150


@pytest.mark.parametrize("name", ["s02", "s03", "s04", "s04b", "s05"])
def test_sparse_files_have_their_holes(name: str) -> None:
    layers = by_name(name).layers
    if name == "s04b":
        assert content(layers, b"n") == bytes(5) + b"x" + bytes(894)
        assert content(layers, b"o") == content(layers, b"n")
    else:
        data = content(layers, b"n")
        assert len(data) == 40_000
        assert data[512:812] == b"one" * 100
        assert data[20_000:20_300] == b"two" * 100
        assert data.count(0) == 40_000 - 600


def test_every_flipped_bit_of_a_header_is_noticed() -> None:
    header = encode(File(b"n"))
    for at in {*range(512)} - {155}:  # what follows the NUL of the checksum says nothing
        broken = bytearray(header + bytes(1024))
        broken[at] ^= 1
        with pytest.raises(model.ModelError):
            model.read(bytes(broken))


@pytest.mark.parametrize("form", ["legacy", "v25", "podman"])
def test_archives_hold_their_layers(form: str) -> None:
    layers = [layer(File(b"a")), layer(), layer(File(b"b")), layer()]
    packed = archive(layers, form=form, gzip_layers={0, 2}, shared=False)
    assert layers_of(packed) == layers
