"""Layers that are sound tars of things that no engine can unpack, or should not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.builders import (
    Char,
    Dir,
    Fifo,
    File,
    Hardlink,
    Member,
    Opaque,
    Symlink,
    Whiteout,
    archive,
    layer,
    pax,
)
from tests.hostile.case import Case, in_layer, refused, sound

F = File(b"f", b"f")
LONG = b"n" * 256


def _over(name: str, says: str, lower: Member, *upper: Member) -> Case:
    """Return the case of a layer that does not fit on the one below."""
    layers = (layer(lower), layer(*upper))
    return refused(name, lambda: archive(layers, form="podman"), f"layer 2 of 2: {says}")


def _names() -> Iterator[Case]:
    """Yield names that lead out of the root, or nowhere."""
    for name, path, says in (
        ("a name that leaves the root", b"../x", "'../x' at byte 0: the name leads out"),
        ("a name that leaves it later", b"a/../../x", "'a/../../x' at byte 0: the name leads out"),
        ("an absolute name that leaves it", b"/../x", "'/../x' at byte 0: the name leads out"),
        ("a name of two dots", b"..", "'..' at byte 0: the name leads out of the root"),
        ("a name of a slash", b"/", "'/' at byte 0: only a directory can be the root"),
        ("a component of 256 bytes", b"d/" + LONG, "'d/nnn"),
        ("a name of 4096 bytes", b"/".join([b"d" * 63] * 65), "'ddd"),
        ("a name of 1 MiB", b"d/" * 500_000 + b"x", "'d/d/d"),
        ("a whiteout of nothing", b".wh.", "'.wh.' at byte 0: a whiteout without a name"),
        ("a whiteout of a dot", b"d/.wh..", "'d/.wh..' at byte 0: a whiteout without a name"),
        ("a whiteout of two dots", b".wh...", "'.wh...' at byte 0: a whiteout without a name"),
        ("an entry below a whiteout", b".wh.d/x", "'.wh.d/x' at byte 0: an entry below a whiteout"),
        ("an entry below an opaque whiteout", b"d/.wh..wh..opq/x", "'d/.wh..wh..opq/x' at byte 0"),
        (
            "a whiteout that leaves the root",
            b"../.wh.x",
            "'../.wh.x' at byte 0: the name leads out",
        ),
        ("a whiteout of 260 bytes", b".wh." + LONG, "'.wh.nnn"),
    ):
        yield in_layer(f"names: {name}", says, File(path))
    yield sound("names: a name of one dot", layer(File(b".")))
    yield sound("names: no name at all", layer(File(b"")))
    yield in_layer("names: a folder that leaves the root", "'../' at byte 0: the name", Dir(b".."))
    yield in_layer(
        "names: a device that leaves the root", "'../x' at byte 0: the name", Char(b"../x")
    )
    yield in_layer(
        "names: a PAX path that leaves the root",
        "'a/../../x' at byte 0: the name leads out of the root",
        pax([(b"path", b"a/../../x")]),
        F,
    )
    yield sound(
        "names: absolute, doubled, dotted",
        layer(File(b"/a"), File(b"b//c"), File(b"./d/./e"), File(b"g/../h")),
    )
    yield sound("names: controls and no UTF-8", layer(File(b"\x1b[31m\n\xff"), Dir(b"\r\x07")))
    yield sound(
        "names: look like whiteouts", layer(File(b"foo.wh.bar"), File(b".wh"), File(b".whx"))
    )
    yield sound("names: longest component", layer(File(b"n" * 255), Whiteout(b"m" * 255)))


def _links() -> Iterator[Case]:
    """Yield links that lead out, in circles, or nowhere."""
    name: str
    says: str
    parts: tuple[Member, ...]
    for name, says, parts in (
        ("to nothing", "'h': hard link to 'x', which does not exist", (Hardlink(b"h", b"x"),)),
        ("to what comes later", "'h': hard link to 'f', which does not", (Hardlink(b"h", b"f"), F)),
        ("to itself", "'h': hard link to 'h', which does not exist", (Hardlink(b"h", b"h"),)),
        ("to itself once it is there", "'f': a hard link to itself", (F, Hardlink(b"f", b"f"))),
        ("to no name", "'h': hard link to '', which is not a file", (Hardlink(b"h", b""),)),
        ("to the root", "'h': hard link to '/', which is not a file", (Hardlink(b"h", b"/"),)),
        (
            "to a folder",
            "'h': hard link to 'd', which is not a file",
            (Dir(b"d"), Hardlink(b"h", b"d")),
        ),
        (
            "that leaves the root",
            "'h': hard link to '../f': the name",
            (F, Hardlink(b"h", b"../f")),
        ),
        (
            "to a file's child",
            "'h': hard link to 'f/x', which does not exist",
            (F, Hardlink(b"h", b"f/x")),
        ),
        (
            "through a circle",
            "'h': hard link to 'a/f': 'a': too many symbolic links",
            (Symlink(b"a", b"b"), Symlink(b"b", b"a"), Hardlink(b"h", b"a/f")),
        ),
        (
            "with a target of 1 MiB",
            "'h' at byte 0: the link target is longer than 4095 bytes",
            (Hardlink(b"h", b"a" * 1_000_000),),
        ),
        (
            "in a circle",
            "'a': hard link to 'b', which does not exist",
            (Hardlink(b"a", b"b"), Hardlink(b"b", b"a")),
        ),
    ):
        yield in_layer(f"hard link: {name}", says, *parts)
    loop = (Symlink(b"a", b"b"), Symlink(b"b", b"a"))
    for name, says, parts in (
        (
            "to itself, and a file in it",
            "'s': too many symbolic",
            (Symlink(b"s", b"s"), File(b"s/f")),
        ),
        ("to its child", "'s': too many symbolic", (Symlink(b"s", b"s/s"), File(b"s/f"))),
        ("in a circle of two", "'a': too many symbolic", (*loop, File(b"a/f"))),
        (
            "in a circle of 300",
            "'l0': too many symbolic links",
            (*(Symlink(b"l%d" % n, b"l%d" % ((n + 1) % 300)) for n in range(300)), File(b"l0/f")),
        ),
        (
            "that doubles with every step",
            "'l0': too many symbolic links",
            (
                *(Symlink(b"l%d" % n, b"l%d/../l%d" % (n + 1, n + 1)) for n in range(40)),
                File(b"l0/f"),
            ),
        ),
        ("without a target", "'s' at byte 0: a symlink without a target", (Symlink(b"s", b""),)),
        (
            "longer than any system takes",
            "'s' at byte 0: the link target is longer than 4095 bytes",
            (Symlink(b"s", b"./" * 2048 + b"d"),),
        ),
        (
            "to a file, and a file in it",
            "'f': a file of the same",
            (F, Symlink(b"s", b"f"), File(b"s/x")),
        ),
    ):
        yield in_layer(f"symlink: {name}", says, *parts)
    for name, target in (
        ("absolute", b"/etc/passwd"),
        ("that leaves the root", b"../../../etc/passwd"),
        ("to itself, nothing in it", b"s"),
        ("with controls", b"\x1b]0;\x07\n"),
    ):
        yield sound(f"symlink: {name}", layer(Symlink(b"s", target)))
    yield sound(
        "symlink: that leaves the root, and a file in it",
        layer(Dir(b"etc"), Symlink(b"s", b"../../etc"), File(b"s/f", b"inside")),
    )
    yield sound("device: every kind", layer(Char(b"c", 0, 0), Char(b"k", 1, 3), Fifo(b"p")))
    yield in_layer(
        "device: a file in it",
        "'c': a file of the same layer is in the way",
        Char(b"c"),
        File(b"c/f"),
    )
    yield in_layer("folder: in a file", "'f': a file of the same layer is in", F, File(b"f/x"))
    deep = b"/".join([b"d" * 100] * 30)
    yield in_layer(
        "symlink: into itself, deeper than any path",
        "'",
        Dir(deep),
        Symlink(deep + b"/s", b"/" + deep),
        Symlink(b"t", deep + b"/s/" + deep[:1000]),
        File(deep[:2020] + b"/e/" + b"e" * 200 + b"/f"),
        Symlink(b"u", deep[:2020] + b"/e"),
        Symlink(deep[:2020] + b"/e/v", deep[:-101]),
        File(b"u/v/" + deep + b"/" + b"/".join([b"x" * 250] * 4) + b"/f"),
    )


def _whiteouts() -> Iterator[Case]:
    """Yield whiteouts on which engines part so far that nobody can be right."""
    below = "'{}': a whiteout below '{}', which is not a directory"
    yield _over("whiteout: below a file", below.format("f", "f"), F, Whiteout(b"f/x"))
    yield _over(
        "whiteout: below a symlink", below.format("s", "s"), Symlink(b"s", b"d"), Whiteout(b"s/x")
    )
    yield _over(
        "whiteout: opaque below a symlink",
        below.format("s", "s"),
        Symlink(b"s", b"d"),
        Opaque(b"s"),
    )
    yield _over(
        "whiteout: of the target of a hard link",
        "'h': hard link to 'f', which does not exist",
        F,
        Whiteout(b"f"),
        Hardlink(b"h", b"f"),
    )
    yield sound("whiteout: of what is not there", layer(F), layer(Whiteout(b"x"), Whiteout(b"y/z")))
    yield sound("whiteout: with content", layer(F), layer(replace(Whiteout(b"f"), data=b"x" * 600)))
    yield sound("whiteout: that is a device", layer(F), layer(Char(b".wh.f", 0, 0)))
    yield sound("whiteout: twice", layer(F), layer(Whiteout(b"f"), Whiteout(b"f")))
    yield sound("whiteout: over a whiteout", *(layer(F), layer(Whiteout(b"f"))) * 3)
    yield sound("whiteout: opaque root", layer(F), layer(Opaque(), File(b"g")))
    yield sound("whiteout: aufs leftovers", layer(File(b".wh..wh.aufs"), File(b".wh..wh.orph")))


def cases() -> Iterator[Case]:
    """Yield every case of this theme."""
    yield from _names()
    yield from _links()
    yield from _whiteouts()
    yield sound("entry: the same name in two forms", layer(F, File(b"./f", b"2"), File(b"f", b"3")))
    yield sound(
        "entry: folder, file, folder", layer(Dir(b"d"), File(b"d"), Dir(b"d"), File(b"d/x"))
    )
    yield sound("entry: overlay's own attributes", layer(
        Dir(b"d", xattrs={b"trusted.overlay.opaque": b"y"}), File(b"d/f")))  # fmt: skip
    yield in_layer(
        "attributes: more than links may bring together",
        "'h1000': more than 1000 extended attributes",
        F,
        *(Hardlink(b"h%d" % n, b"f", xattrs={b"user.%d" % n: b""}) for n in range(1001)),
    )
    yield in_layer(
        "attributes: more than any file has",
        "'f' at byte 26624: more than 1000 extended attributes",
        File(b"f", xattrs={b"user.%d" % n: b"" for n in range(1001)}),
    )
