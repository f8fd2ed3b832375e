"""Faults in the new layer: members that are lost, too many, elsewhere, or say something else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from tests.builders import END, Dir, File, Hardlink, Member, Opaque, Symlink, Whiteout, layer
from tests.model import ACL_DEFAULT, Node
from tests.mutations.fault import VERIFY, Fault

Members = Sequence[Member]
Below = dict[bytes, Node]
Plant = Callable[[Members, Below], Members | None]
Bytes = Callable[[Members, Below], bytes | None]
Test = Callable[[Member], bool]
SECOND = 10**9


def corpus(case: str) -> str:
    """Return the test of the corpus that a case is."""
    return f"tests/conformance/test_conformance.py::test_every_base_shows_the_same_tree[{case}]"


# ---------------------------------------------------------------- which member


def whiteout(member: Member) -> bool:
    return b"/.wh." in b"/" + member.path


def of(types: str, *, attributes: Test = lambda member: True) -> Test:
    """Return the test for members of these types; whiteouts are none of them."""
    return lambda x: x.type.decode() in types and not whiteout(x) and attributes(x)


file, link, symlink, device, directory = of("0"), of("1"), of("2"), of("34"), of("5")
fifo = of("6")
full = of("0", attributes=lambda member: bool(member.data))
extended = of("0", attributes=lambda member: bool(member.xattrs))
entry = of("0123456")


def inner(member: Member) -> bool:
    """Tell whether the member is in a directory that is not the root."""
    return b"/" in member.path.strip(b"/")


def path_of(member: Member) -> bytes:
    return member.path.removeprefix(b"./").strip(b"/")


# ---------------------------------------------------------------- what becomes of it


def edit(which: Test, change: Callable[[Member], Member | None]) -> Plant:
    """Change the first such member; None takes it away."""

    def plant(members: Members, below: Below) -> Members | None:
        for at, member in enumerate(members):
            if which(member):
                changed = change(member)
                return [*members[:at], *([changed] if changed else []), *members[at + 1 :]]
        return None

    return plant


def put(which: Test, **fields: Any) -> Plant:
    """Set fields of the first such member that has them otherwise."""
    return edit(
        lambda x: which(x) and any(getattr(x, key) != fields[key] for key in fields),
        lambda x: replace(x, **fields),
    )


def lost(which: Test) -> Plant:
    return edit(which, lambda member: None)


def last_lost(which: Test) -> Plant:
    def plant(members: Members, below: Below) -> Members | None:
        found = lost(which)(members[::-1], below)
        return found[::-1] if found else None

    return plant


def all_lost(which: Test) -> Plant:
    def plant(members: Members, below: Below) -> Members | None:
        left = [member for member in members if not which(member)]
        return left if len(left) < len(members) else None

    return plant


def later(which: Test) -> Plant:
    """Move the first such member to the end."""

    def plant(members: Members, below: Below) -> Members | None:
        for at, member in enumerate(members[:-1]):
            if which(member):
                return [*members[:at], *members[at + 1 :], member]
        return None

    return plant


def exchanged(which: Test, *names: str, differ: str = "") -> Plant:
    """Exchange fields of the first two such members that differ in all of them, and in `differ`."""
    differing = (*names, differ) if differ else names

    def plant(members: Members, below: Below) -> Members | None:
        for i, one in enumerate(members):
            for j, two in enumerate(members[:i]):
                if (
                    which(one)
                    and which(two)
                    and all(getattr(one, n) != getattr(two, n) for n in differing)
                ):
                    changed = list(members)
                    changed[i] = replace(one, **{n: getattr(two, n) for n in names})
                    changed[j] = replace(two, **{n: getattr(one, n) for n in names})
                    return changed
        return None

    return plant


def added(make: Callable[[Members, Below], Iterator[Member]], *, first: bool = False) -> Plant:
    """Add the first member that `make` offers."""

    def plant(members: Members, below: Below) -> Members | None:
        for member in make(members, below):
            return [member, *members] if first else [*members, member]
        return None

    return plant


def rebuilt(change: Callable[[bytes], bytes]) -> Bytes:
    """Change the bytes of a layer that has members."""
    return lambda members, below: change(layer(*members)) if members else None


def root_lost(members: Members, below: Below) -> Members | None:
    """Lose the entry of the root, where it says something else than in the base."""
    for at, x in enumerate(members):
        if directory(x) and path_of(x) in (b"", b".") and x.mode != below[b""].mode:
            return [*members[:at], *members[at + 1 :]]
    return None


def cut_in_content(members: Members, below: Below) -> bytes | None:
    """End the layer before the last byte of its last file."""
    if not members or not full(members[-1]):
        return None
    return layer(*members, trailer=b"")[: -(-len(members[-1].data) % 512) - 1 or None]


# ---------------------------------------------------------------- what may be too much


def untouched(members: Members, below: Below) -> Iterator[tuple[bytes, Node]]:
    """Yield what the base has and the new layer says nothing about, at it, above it or below it."""
    said = [path_of(member).replace(b".wh.", b"") for member in members]
    for path, record in sorted(below.items()):
        if path and not any(
            (p + b"/").startswith(path + b"/") or (path + b"/").startswith(p + b"/") for p in said
        ):
            yield path, record


def whiteout_of_what_stays(members: Members, below: Below) -> Iterator[Member]:
    yield from (Whiteout(path) for path, _ in untouched(members, below))


def whiteout_of_what_is_new(members: Members, below: Below) -> Iterator[Member]:
    yield from (Whiteout(path_of(x)) for x in members if file(x) and path_of(x) not in below)


def whiteout_beside_the_entry(members: Members, below: Below) -> Iterator[Member]:
    yield from (Whiteout(path_of(x)) for x in members if file(x) and path_of(x) in below)


def opaque_beside_entries(members: Members, below: Below) -> Iterator[Member]:
    yield from (Opaque(path_of(x)) for x in members if directory(x) and path_of(x) in below)


def base_said_again(members: Members, below: Below) -> Iterator[Member]:
    for path, x in untouched(members, below):
        if x.kind == "file" and b"/" not in path:
            yield File(path, x.data, mode=x.mode, uid=x.uid, gid=x.gid, mtime=x.mtime)


def base_directory_said_again(members: Members, below: Below) -> Iterator[Member]:
    for path, x in untouched(members, below):
        if x.kind == "dir" and b"/" not in path and not x.xattrs:
            yield Dir(path, mode=x.mode, uid=x.uid, gid=x.gid, mtime=x.mtime)


def again(which: Test) -> Callable[[Members, Below], Iterator[Member]]:
    return lambda members, below: (member for member in members if which(member))


def offered(*members: Member) -> Callable[[Members, Below], Iterator[Member]]:
    return lambda _members, below: iter(members)


def opaque_instead(members: Members, below: Below) -> Members | None:
    """Say with an opaque whiteout what whiteouts of one directory say."""
    for one in filter(whiteout, members):
        folder = one.path.rpartition(b"/")[0]
        rest = [x for x in members if not (whiteout(x) and x.path.rpartition(b"/")[0] == folder)]
        return [*rest, Opaque(folder)]
    return None


def links_as_files(members: Members, below: Below) -> Members | None:
    """Give the first link the content of its target instead."""
    files = {path_of(x): x for x in members if file(x)}
    for at, x in enumerate(members):
        if link(x) and x.target in files:
            return [*members[:at], replace(files[x.target], path=x.path), *members[at + 1 :]]
    return None


def twins_as_links(members: Members, below: Below) -> Members | None:
    """Make two files that are alike names of one file."""
    files: list[Member] = []
    for at, x in enumerate(members):
        for y in files:
            if file(x) and replace(y, path=x.path) == x:
                said = Hardlink(
                    x.path, path_of(y), mode=x.mode, uid=x.uid, gid=x.gid, mtime=x.mtime
                )
                return [*members[:at], replace(said, xattrs=x.xattrs), *members[at + 1 :]]
        files += [x] if file(x) else []
    return None


def links_elsewhere(members: Members, below: Below) -> Members | None:
    """Let the first link lead to another file of the layer."""
    for at, x in enumerate(members):
        for y in members[:at]:
            if link(x) and file(y) and path_of(y) != x.target:
                return [*members[:at], replace(x, target=path_of(y)), *members[at + 1 :]]
    return None


def links_to_the_base(members: Members, below: Below) -> Members | None:
    for at, x in enumerate(members):
        for path, record in untouched(members, below):
            if link(x) and record.kind == "file":
                return [*members[:at], replace(x, target=path), *members[at + 1 :]]
    return None


def parent_hidden(members: Members, below: Below) -> Members | None:
    """Hide the directory instead of the name in it."""
    for at, x in enumerate(members):
        if whiteout(x) and inner(x):
            return [*members[:at], Whiteout(x.path.rpartition(b"/")[0]), *members[at + 1 :]]
    return None


def reversed_whiteouts(members: Members, below: Below) -> Members | None:
    hidden = [x for x in members if whiteout(x)]
    if len(hidden) < 2:
        return None
    back = iter(hidden[::-1])
    return [next(back) if whiteout(x) else x for x in members]


def turned_round(members: Members, below: Below) -> Members | None:
    return members[::-1] if len(members) > 1 and not any(map(link, members)) else None


def without(name: bytes) -> Callable[[Member], Member]:
    return lambda x: replace(x, xattrs={key: x.xattrs[key] for key in x.xattrs if key != name})


def first_xattr(value: bytes | None) -> Callable[[Member], Member]:
    """Give the first xattr another value; None takes it away."""

    def change(x: Member) -> Member:
        name = min(x.xattrs)
        return replace(x, xattrs={**x.xattrs, name: value}) if value else without(name)(x)

    return change


# ---------------------------------------------------------------- the table


def fault(name: str, plant: Plant | Bytes, caught: str = VERIFY, why: str = "") -> Fault:
    return Fault(name, "layer", plant, caught, why)


def each(*kinds: tuple[str, Test], **fields: Any) -> tuple[Fault, ...]:
    """Return the fault that a field says something else, for members of each kind."""
    names = " and ".join(fields)
    return tuple(fault(f"another {names} of {kind}", put(which, **fields)) for kind, which in kinds)


FILE, DIRECTORY, SYMLINK = ("a file", file), ("a directory", directory), ("a symlink", symlink)
DEVICE, FIFO, LINK = ("a device", device), ("a FIFO", fifo), ("a hard link", link)
NEEDLESS = "it only says again what the base has"
ORDER = "engines show the same whatever the order is, only bytes differ"

IN_LAYERS = (
    # -------- lost
    fault("a whiteout is lost", lost(whiteout)),
    fault("the last whiteout is lost", last_lost(whiteout)),
    fault("all whiteouts are lost", all_lost(whiteout)),
    fault("a whiteout inside a directory is lost", lost(lambda x: whiteout(x) and inner(x))),
    fault("a file is lost", lost(file)),
    fault("the last file is lost", last_lost(file)),
    fault("all files are lost", all_lost(file)),
    fault("a directory is lost", lost(directory)),
    fault("all directories are lost", all_lost(directory)),
    fault("the root is lost", root_lost),
    fault("a symlink is lost", lost(symlink)),
    fault("a device is lost", lost(lambda x: device(x) and x.device != (0, 0))),
    fault("a FIFO is lost", lost(fifo)),
    fault("a hard link is lost", lost(link)),
    fault("the last member is lost", last_lost(lambda x: True)),
    fault("everything is lost", all_lost(lambda x: True)),
    # -------- too much
    fault("a whiteout of what the base keeps", added(whiteout_of_what_stays)),
    fault("a whiteout of what is new", added(whiteout_of_what_is_new)),
    fault("a whiteout beside the entry of that name", added(whiteout_beside_the_entry)),
    fault("a whiteout of nothing", added(offered(Whiteout(b"nothing")))),
    fault(
        "a whiteout of nothing in a directory that is not there", added(offered(Whiteout(b"no/x")))
    ),
    fault("a whiteout comes twice", added(again(whiteout))),
    fault("an opaque whiteout instead of whiteouts", opaque_instead),
    fault("an opaque whiteout beside what it hides", added(opaque_beside_entries)),
    fault("an opaque whiteout at the root", added(offered(Opaque()))),
    fault("a file too many", added(offered(File(b"too-many")))),
    fault("a directory too many", added(offered(Dir(b"too-many")))),
    fault("a directory too many, which only a file implies", added(offered(File(b"too/many")))),
    fault("a member comes twice", added(again(file))),
    fault("a file of the base is said again", added(base_said_again), corpus("d1-file"), NEEDLESS),
    fault(
        "a directory of the base is said again",
        added(base_directory_said_again),
        corpus("h02-deleted"),
        NEEDLESS,
    ),
    # -------- elsewhere
    fault(
        "a whiteout without its prefix",
        edit(whiteout, lambda x: replace(x, path=x.path.replace(b".wh.", b""))),
    ),
    fault(
        "a whiteout in the root",
        edit(
            lambda x: whiteout(x) and inner(x),
            lambda x: replace(x, path=x.path.rpartition(b"/")[2]),
        ),
    ),
    fault("a whiteout of the directory instead of the name in it", parent_hidden),
    fault(
        "a whiteout in capitals",
        edit(lambda x: whiteout(x) and x.path.islower(), lambda x: replace(x, path=x.path.upper())),
    ),
    fault("a whiteout of a longer name", edit(whiteout, lambda x: replace(x, path=x.path + b"~"))),
    fault("a file under another name", edit(file, lambda x: replace(x, path=x.path + b"~"))),
    fault(
        "a file a directory too high",
        edit(lambda x: file(x) and inner(x), lambda x: replace(x, path=x.path.rpartition(b"/")[2])),
    ),
    fault(
        "a directory under another name",
        edit(
            lambda x: directory(x) and path_of(x) not in (b"", b"."),
            lambda x: replace(x, path=path_of(x) + b"~/"),
        ),
    ),
    fault("the names of two files exchanged", exchanged(full, "path", differ="data")),
    # -------- content
    fault("contents of two files exchanged", exchanged(full, "data")),
    fault("a file without its content", edit(full, lambda x: replace(x, data=b""))),
    fault(
        "a file with zeros for its content",
        edit(
            of("0", attributes=lambda x: any(x.data)), lambda x: replace(x, data=bytes(len(x.data)))
        ),
    ),
    fault("a file without its last byte", edit(full, lambda x: replace(x, data=x.data[:-1]))),
    fault("a file with a byte more", edit(file, lambda x: replace(x, data=x.data + b"\n"))),
    fault(
        "a file with one bit changed",
        edit(full, lambda x: replace(x, data=bytes((x.data[0] ^ 1,)) + x.data[1:])),
    ),
    fault(
        "the last byte of a file changed",
        edit(full, lambda x: replace(x, data=x.data[:-1] + bytes((x.data[-1] ^ 128,)))),
    ),
    # -------- attributes
    *each(FILE, DIRECTORY, DEVICE, FIFO, mode=0o123),
    *each(FILE, DIRECTORY, SYMLINK, DEVICE, FIFO, uid=4321),
    *each(FILE, DIRECTORY, SYMLINK, DEVICE, FIFO, gid=4321),
    *each(FILE, DIRECTORY, SYMLINK, DEVICE, FIFO, mtime=1),
    fault(
        "special bits of a file are lost",
        edit(
            of("0", attributes=lambda x: x.mode > 0o777), lambda x: replace(x, mode=x.mode & 0o777)
        ),
    ),
    fault(
        "special bits of a directory are lost",
        edit(
            of("5", attributes=lambda x: x.mode > 0o777), lambda x: replace(x, mode=x.mode & 0o777)
        ),
    ),
    fault(
        "a time loses what is less than a second",
        edit(
            of("0", attributes=lambda x: int(x.mtime) % SECOND != 0),
            lambda x: replace(x, mtime=int(x.mtime) // SECOND * SECOND),
        ),
    ),
    fault("an xattr of a file is lost", edit(extended, first_xattr(None))),
    fault("an xattr of a file has another value", edit(extended, first_xattr(b"another"))),
    fault("an xattr of a file too many", put(file, xattrs={b"user.too-many": b"1"})),
    fault(
        "an xattr of a directory is lost",
        edit(of("5", attributes=lambda x: bool(x.xattrs)), first_xattr(None)),
    ),
    fault("a default ACL is lost", edit(lambda x: ACL_DEFAULT in x.xattrs, without(ACL_DEFAULT))),
    fault("attributes of two directories exchanged", exchanged(directory, "mode", "uid")),
    fault("times of two files exchanged", exchanged(file, "mtime")),
    # -------- types, targets
    fault("a symlink leads elsewhere", edit(symlink, lambda x: replace(x, target=x.target + b"~"))),
    fault("targets of two symlinks exchanged", exchanged(symlink, "target")),
    fault(
        "an absolute symlink is relative",
        edit(
            of("2", attributes=lambda x: x.target.startswith(b"/")),
            lambda x: replace(x, target=x.target.lstrip(b"/") or b"."),
        ),
    ),
    fault(
        "a symlink is a file",
        edit(symlink, lambda x: replace(x, type=b"0", data=x.target, target=b"")),
    ),
    fault(
        "a file is a symlink",
        edit(file, lambda x: Symlink(x.path, b"target", uid=x.uid, gid=x.gid, mtime=x.mtime)),
    ),
    fault("a FIFO is a file", put(fifo, type=b"0")),
    fault("a file is a FIFO", edit(file, lambda x: replace(x, type=b"6", data=b""))),
    fault("a device has another number", put(device, device=(77, 77))),
    fault(
        "a device is of the other kind",
        edit(device, lambda x: replace(x, type=b"4" if x.type == b"3" else b"3")),
    ),
    fault(
        "a directory is a file",
        edit(
            lambda x: directory(x) and path_of(x) not in (b"", b"."),
            lambda x: replace(x, type=b"0", path=path_of(x)),
        ),
    ),
    # -------- hard links
    fault("a hard link leads elsewhere", links_elsewhere),
    fault("a hard link leads to a file of the base", links_to_the_base),
    fault("a hard link leads to nothing", put(link, target=b"nothing")),
    fault("a hard link is a file of its own", links_as_files),
    fault("two files that are alike are one", twins_as_links),
    *each(LINK, mode=0o123),
    *each(LINK, uid=4321),
    *each(LINK, mtime=1),
    fault(
        "a hard link without the xattrs of its file",
        edit(of("1", attributes=lambda x: bool(x.xattrs)), first_xattr(None)),
    ),
    fault(
        "a hard link comes before its file",
        lambda members, below: (
            [x for x in members if link(x)] + [x for x in members if not link(x)]
            if any(map(link, members))
            else None
        ),
    ),
    # -------- order
    fault("two files exchanged", exchanged(file, "path", "data", "mode"), corpus("w01"), ORDER),
    fault("names in disorder", turned_round, corpus("w01"), ORDER),
    fault("whiteouts in disorder", reversed_whiteouts, corpus("w32"), ORDER),
    fault("a directory after what is in it", later(directory), corpus("w01"), ORDER),
    # -------- bytes
    fault("the layer ends in a header", rebuilt(lambda data: data[:300])),
    fault("the layer ends in a file", cut_in_content),
    fault("a block of the layer is lost", rebuilt(lambda data: data[512:])),
    fault(
        "a header of the layer is damaged", rebuilt(lambda data: bytes((data[0] ^ 1,)) + data[1:])
    ),
    fault(
        "the layer has no end",
        rebuilt(lambda data: data[: -len(END)]),
        corpus("w01"),
        "engines take the end of the bytes for the end of the layer; containerd 1.6 refuses none",
    ),
    fault(
        "something lies behind the end of the layer",
        rebuilt(lambda data: data + layer(File(b"behind"))),
        corpus("w01"),
        "engines do not read it",
    ),
)
