"""The specification as a naive tree: the oracle of the tests, slow and plain on purpose.

    read(layer)                 -> list[Entry]: the tar reader (rules R1 to R4)
    apply(layers)               -> Tree: root node and warnings (rules A1 to A6)
    listing(tree)               -> {path: Record}: every field of every path
    expected_merge(layers, k)   -> [(path, "entry" | "whiteout"), ...]: what the layer that replaces
                                   layers k.. must hold, in order (rules M1 to M6 and D0 to D3)

Paths given out are bytes, clean, without a leading slash; the root is b"". A layer that no engine
takes in one way raises `ModelError`. Nothing here is shared with the package, and the standard
library's `tarfile` is not used: it loses data silently where engines fail.

Sources: image-spec, layer.md ("Changeset over existing files", "Whiteouts", "Opaque Whiteout");
Go's archive/tar, which all engines read layers with; what the engines of the conformance corpus
were measured to do.

Decisions, where those leave something open:

* A `g` header ends a pending `x`, `L` or `K`, as in Go's reader.
* In a header with GNU magic the prefix area is a prefix when its times do not parse and it is
  ASCII: what Go before 1.8 wrote, and what Go still reads so.
* `a/..` and an empty name are the root, as directories only.
* Rule A1 looks at the lower tree as it was before the layer. A parent of a whiteout that did not
  exist below becomes an implied directory even when a directory entry of this layer excuses a file
  or symlink further up.
* More than 255 symlinks on the way to one entry are a loop.
* Rule A5: the ancestors of the new name are made first, then the target is looked up.
* The symlink exception of rule M1 is for an implicit directory that took the place of the base's
  own symlink while that was there (and implicit ones below it): where a squashed layer removed the
  symlink first, every engine made a real directory, so the entry is needed.
* A directory of the base with a ghost in it (see `ghosts`) is said again wherever a squashed layer
  mentions it, and never left out: what covers the ghost stays.
* Rule M1c: a base name is re-emitted when base and result have the same inode at that path.
* A whiteout makes a ghost (a warning) also where its directory has no counterpart below: overlay
  engines show it.
* A whiteout before a file of its own name is no warning (every engine agrees); everything else
  said about a name that the same layer whites out is.
* An opaque whiteout at the root is a warning where there is something that it hides.
* A directory that is implied below an opaque whiteout is a warning (some engines delete it again or
  give it what it hides) if the whiteout comes later or hid something of that name.
* Warnings, and so rule D3, are at real paths, which a symlink of the same layer may have changed.
* Owners are 32 bits; all ones are none: a hard link leaves what there is, anything new is root's,
  or of the group of the setgid directory of its own layer that it is in.
* An implied directory below a setgid directory of its own layer is one, without an entry, after the
  merge as well: no two engines give it the same mode and group.
* What a file inherits by a default ACL is no part of the listing, but what engines show: where one
  of its names is in a directory that has the ACL after the merge, it inherits it again.
* Device numbers are what mknod(2) takes of them, 12 and 20 bits.
* The root as `/` is not the root as `./`: podman takes the attributes of the one alone.
* GNU's old sparse form (`S`) is refused like every type that engines do not unpack.
* A symlink dangles in its own layer when a part of its target is no directory that this layer has
  brought or gone through before: a whiteout in it does not count.
* A link header differs when any of mode, owner, mtime and xattrs does; on a symlink, mode apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

Path = tuple[bytes, ...]
Said = Literal["entry", "whiteout"]
Item = tuple[bytes, Said]
PathItem = tuple[Path, Said]

BLOCK = 512
ACL_DEFAULT = b"system.posix_acl_default"
MAX_SYMLINKS = 255
NOBODY = 2**32 - 1


class ModelError(Exception):
    """This layer is refused."""


# ---------------------------------------------------------------------------------------------
# The reader: R1 to R4


@dataclass(frozen=True)
class Entry:
    """One entry of a layer; `kind` is the type, or `whiteout` or `opaque` by the name."""

    kind: str
    path: Path  # clean; of a whiteout: what it hides; of an opaque whiteout: its directory
    raw_path: bytes
    typeflag: bytes
    mode: int
    uid: int
    gid: int
    mtime: int  # nanoseconds
    target: bytes
    device: tuple[int, int]
    xattrs: dict[bytes, bytes]
    data: bytes


KINDS = {
    b"0": "file",
    b"1": "hardlink",
    b"2": "symlink",
    b"3": "char",
    b"4": "block",
    b"5": "dir",
    b"6": "fifo",
}


def read(layer: bytes) -> list[Entry]:
    """Return the entries of an uncompressed layer in archive order, without dropped ones (R2)."""
    return [entry for entry in _members(layer) if entry.kind not in DROPPED]


def warn_about_dropped(tree: Tree, tar: bytes, layer: int) -> None:
    """Warn of what says nothing, and yet some engines take note of its name."""
    entries = list(_members(tar))
    kinds = {e.path: e.kind for e in entries if e.kind not in (*DROPPED, "whiteout", "opaque")}
    for entry in entries:
        if entry.kind == "nameless":
            tree.warn("nameless-entry", layer, ())
        elif entry.kind == "global":
            folder = entry.path[:-1]
            hides = entry.path[-1:] and entry.path[-1].startswith(b".wh.")
            if entry.path in kinds or hides or (folder and kinds.get(folder) != "dir"):
                tree.warn("global-header", layer, entry.path)


def _members(tar: bytes) -> Iterator[Entry]:
    at = 0
    pax: dict[bytes, bytes] = {}
    long_name = long_link = b""
    while at < len(tar):
        block = tar[at : at + BLOCK]
        at += BLOCK
        if len(block) < BLOCK:
            raise ModelError("truncated header")
        if block == bytes(BLOCK):
            if tar[at : at + BLOCK] not in (b"", bytes(BLOCK)):
                raise ModelError("one zero block in mid-archive")
            return
        check_sum(block)
        flag = block[156:157]
        if flag in (b"x", b"g", b"L", b"K"):
            data, at = content(tar, at, number(block[124:136]))
            if flag == b"x":
                pax = pax_records(data)  # the second of two replaces the first
            elif flag == b"L":
                long_name = until_nul(data)
            elif flag == b"K":
                long_link = until_nul(data)
            else:
                pax_records(data)
                pax, long_name, long_link = {}, b"", b""
                yield global_header(header_name(block))
            continue
        entry, at = member(tar, at, block, pax, long_name, long_link)
        pax, long_name, long_link = {}, b"", b""
        yield entry


DROPPED = ("dropped", "global", "nameless")


def global_header(name: bytes) -> Entry:
    """Return a global header as an entry that says nothing but its name."""
    try:
        path = clean(name)
    except ModelError:
        path = tuple(name.split(b"/"))
    return Entry("global", path, name, b"g", 0, 0, 0, 0, b"", (0, 0), {}, b"")


def member(
    tar: bytes, at: int, block: bytes, pax: dict[bytes, bytes], long_name: bytes, long_link: bytes
) -> tuple[Entry, int]:
    """Return the entry whose header is `block`, and where the next header begins."""
    pax = {k: v for k, v in pax.items() if v or k.startswith(b"SCHILY.xattr.")}
    flag = block[156:157]
    if flag in (b"0", b"\0") and number(block[124:136]) < 0:
        raise ModelError("negative size")  # a PAX record does not mend it
    name = long_name or pax.get(b"path") or header_name(block)
    target = long_link or pax.get(b"linkpath") or until_nul(block[157:257])
    if flag == b"\0":
        flag = b"5" if name.endswith(b"/") else b"0"
    if flag not in KINDS:
        raise ModelError(f"unhandled type {flag!r}")
    kind = KINDS[flag]
    # Every number of the header must parse, also one that a record replaces.
    fields = {
        key: number(block[start:end])
        for key, start, end in (
            (b"mode", 100, 108),
            (b"uid", 108, 116),
            (b"gid", 116, 124),
            (b"size", 124, 136),
            (b"mtime", 136, 148),
        )
    }
    device = (0, 0)
    if block[257:263] == b"ustar\0" or block[257:265] == b"ustar  \0":
        device = number(block[329:337]), number(block[337:345])
    for key in (b"uid", b"gid", b"size"):
        if key in pax:
            fields[key] = decimal(pax[key])
    data = b""
    if kind == "file":
        data, at = content(tar, at, fields[b"size"])
        name, data = expand_sparse(name, data, pax)
    entry_kind, path = whiteout(kind, clean(name))
    if not path and entry_kind == kind != "dir":
        if name.startswith(b"/"):
            raise ModelError(f"{name!r} is the root, and no directory")
        entry_kind = "nameless"
    if kind == "symlink" and entry_kind == kind and not target:
        raise ModelError("symlink without a target")
    entry = Entry(
        kind=entry_kind,
        path=path,
        raw_path=name,
        typeflag=block[156:157],
        mode=fields[b"mode"] & 0o7777,
        uid=fields[b"uid"] % 2**32,
        gid=fields[b"gid"] % 2**32,
        mtime=nanoseconds(pax[b"mtime"]) if b"mtime" in pax else fields[b"mtime"] * 10**9,
        target=target,
        device=(device[0] % 2**12, device[1] % 2**20) if kind in ("char", "block") else (0, 0),
        xattrs={
            key[len(b"SCHILY.xattr.") :]: value
            for key, value in pax.items()
            if key.startswith(b"SCHILY.xattr.")
        },
        data=data,
    )
    return entry, at


def check_sum(block: bytes) -> None:
    """Require the checksum of a header: the sum of its bytes, signed ones allowed."""
    cleared = block[:148] + b" " * 8 + block[156:]
    signed = sum(byte - 256 if byte > 127 else byte for byte in cleared)
    if number(block[148:156]) not in (sum(cleared), signed):
        raise ModelError("bad header checksum")


def content(tar: bytes, at: int, size: int) -> tuple[bytes, int]:
    """Return `size` bytes at `at`, and where the next block begins; padding may be missing."""
    if not 0 <= size <= len(tar) - at:
        raise ModelError("truncated content")
    return tar[at : at + size], at + size + -size % BLOCK


def until_nul(text: bytes) -> bytes:
    """Return a text field: what stands before its first NUL."""
    return text.partition(b"\0")[0]


def number(text: bytes) -> int:
    """Return a numeric field: octal between spaces and NULs, or 64 bits in base-256."""
    if text[0] & 0x80:
        value = int.from_bytes(text, "big") & ~(0x80 << 8 * (len(text) - 1))
        sign = 0x40 << 8 * (len(text) - 1)
        value -= 2 * sign if value & sign else 0
        if not -(2**63) <= value < 2**63:
            raise ModelError(f"bad number {text!r}")
        return value
    digits = until_nul(text.strip(b" \0"))
    if not all(digit in b"01234567" for digit in digits):
        raise ModelError(f"bad number {text!r}")
    return int(digits or b"0", 8)


def decimal(text: bytes) -> int:
    """Return a decimal number of a PAX record."""
    digits = text.removeprefix(b"-") if text[:1] == b"-" else text.removeprefix(b"+")
    digits = digits.lstrip(b"0") or digits[-1:]
    if not (digits.isdigit() and digits.isascii() and len(digits) <= 19):
        raise ModelError(f"bad number {text!r}")
    value = -int(digits) if text[:1] == b"-" else int(digits)
    if not -(2**63) <= value < 2**63:
        raise ModelError(f"bad number {text!r}")
    return value


def nanoseconds(text: bytes) -> int:
    """Return a time of a PAX record in nanoseconds; more than nine digits are cut."""
    seconds, _, fraction = text.partition(b".")
    if fraction and not (fraction.isdigit() and fraction.isascii()):
        raise ModelError(f"bad time {text!r}")
    nanos = int(fraction[:9].ljust(9, b"0"))
    if not -(2**63) <= decimal(seconds) < 2**63:
        raise ModelError(f"bad time {text!r}")
    return decimal(seconds) * 10**9 + (-nanos if seconds.startswith(b"-") else nanos)


def header_name(block: bytes) -> bytes:
    """Return prefix and name of a header, as its magic says."""
    name = until_nul(block[:100])
    prefix = b""
    if block[257:263] == b"ustar\0":
        prefix = until_nul(block[345 : 476 if block[508:] == b"tar\0" else 500])
    elif block[257:265] == b"ustar  \0":
        try:
            for start in (345, 357):  # atime and ctime, mostly unused
                if block[start]:
                    number(block[start : start + 12])
        except ModelError:
            before_go_1_8 = until_nul(block[345:500])
            prefix = before_go_1_8 if before_go_1_8.isascii() else b""
    return prefix + b"/" + name if prefix else name


def pax_records(data: bytes) -> dict[bytes, bytes]:
    """Return the records of a PAX header; the last of a key counts, those of a 0.0 map add up."""
    records: dict[bytes, bytes] = {}
    sparse_map: list[bytes] = []
    while data:
        length_text, space, _ = data.partition(b" ")
        length = decimal(length_text) if space else 0
        if length <= len(length_text):
            raise ModelError("bad PAX record")
        record, data = data[:length], data[length:]
        if len(record) != length or not record.endswith(b"\n"):
            raise ModelError("bad PAX record")
        key, equals, value = record[len(length_text) + 1 : -1].partition(b"=")
        if not (key and equals):
            raise ModelError("bad PAX record")
        if b"\0" in (value if key in (b"path", b"linkpath", b"uname", b"gname") else key):
            raise ModelError("NUL in a PAX record")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            wanted = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")[len(sparse_map) % 2]
            if key != wanted or b"," in value:
                raise ModelError("bad sparse map")
            sparse_map.append(value)
        else:
            records[key] = value
    if sparse_map:
        records[b"GNU.sparse.map"] = b",".join(sparse_map)
    return records


def expand_sparse(name: bytes, data: bytes, pax: dict[bytes, bytes]) -> tuple[bytes, bytes]:
    """Return the real name and the full content of a file that may be sparse (PAX 0.0 to 1.0)."""
    version = pax.get(b"GNU.sparse.major", b""), pax.get(b"GNU.sparse.minor", b"")
    if version == (b"1", b"0"):
        count, table = data.split(b"\n", 1)[0], data
        lines = table.split(b"\n", 2 * decimal(count) + 1)
        if len(lines) < 2 * decimal(count) + 2:
            raise ModelError("truncated sparse map")
        numbers = [decimal(line) for line in lines[1 : 2 * decimal(count) + 1]]
        used = len(data) - len(lines[-1])
        packed = data[used + -used % BLOCK :]
    elif version in ((b"0", b"0"), (b"0", b"1")) or (
        version == (b"", b"") and b"GNU.sparse.map" in pax
    ):
        numbers = [decimal(n) for n in pax.get(b"GNU.sparse.map", b"").split(b",") if n]
        packed = data
        if 2 * decimal(pax.get(b"GNU.sparse.numblocks", b"x")) != len(numbers):
            raise ModelError("bad sparse map")
    else:
        return name, data
    name = pax.get(b"GNU.sparse.name", name)
    size = decimal(
        pax.get(b"GNU.sparse.size") or pax.get(b"GNU.sparse.realsize") or b"%d" % len(data)
    )
    full = bytearray(size)
    end = taken = 0
    for offset, length in zip(numbers[::2], numbers[1::2], strict=True):
        if offset < end or length < 0 or offset + length > size:
            raise ModelError("bad sparse map")
        end = offset + length
        full[offset:end] = packed[taken : taken + length]
        taken += length
    if taken != len(packed):
        raise ModelError("sparse map and content do not agree")
    return name, bytes(full)


def clean(name: bytes) -> Path:
    """Return the components of a path, cleaned by its text alone (R3)."""
    if b"\0" in name:
        raise ModelError(f"bad name {name!r}")
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if not parts:
                raise ModelError(f"{name!r} leads out of the root")
            parts.pop()
        elif part not in (b"", b"."):
            if len(part) > (259 if part.startswith(b".wh.") else 255):
                raise ModelError(f"component of {name!r} is too long")
            parts.append(part)
    return tuple(parts)


def whiteout(kind: str, path: Path) -> tuple[str, Path]:
    """Return what an entry is by its name, and the path that it is about (R4)."""
    if any(part.startswith(b".wh.") for part in path[:-1]):
        raise ModelError(f"{path!r} lies below a whiteout")
    name = path[-1] if path else b""
    if name == b".wh..wh..opq":
        return "opaque", path[:-1]
    if name.startswith(b".wh..wh."):
        return "dropped", path
    if name.startswith(b".wh."):
        hidden = name[len(b".wh.") :]
        if hidden in (b"", b".", b".."):
            raise ModelError(f"{name!r} hides nothing that has a name")
        return "whiteout", (*path[:-1], hidden)
    return kind, path


# ---------------------------------------------------------------------------------------------
# Applying layers: A1 to A6


@dataclass(eq=False)
class Node:
    """One inode; names that share it are hard links."""

    serial: int
    kind: str
    layer: int  # that last said something about it
    explicit: bool  # has an entry of its own, rather than being implied by what lies below
    mode: int
    uid: int
    gid: int
    mtime: int
    xattrs: dict[bytes, bytes]
    data: bytes = b""
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    children: dict[bytes, Node] = field(default_factory=dict)
    linked: bool = False  # has been the target of a hard link
    disputed: bool = False  # engines differ on what a hard link has made of its attributes
    absolute: bool = False  # the root whose last entry has a name that begins with a slash
    grouped: bool = False  # implied below a setgid directory of its own layer
    replaced: Node | None = None  # the symlink of a lower layer that an implied directory replaced


@dataclass(frozen=True)
class Disagreement:
    """Engines disagree about what `layer` does at `path`; the kinds are listed in the corpus."""

    kind: str
    layer: int
    path: bytes


class Tree:
    """A root filesystem under construction, and what was noticed on the way."""

    def __init__(self) -> None:
        self.serial = 0
        self.warnings: set[Disagreement] = set()
        self.said: list[set[Path]] = []  # for each layer: directories that it names or goes through
        self.entered: list[set[Path]] = []  # for each layer: directories that entries lie in
        self.own: list[set[Path]] = []  # for each layer: directories that have an entry in it
        self.replaced_targets: set[Path] = (
            set()
        )  # where lower symlinks led whose place a directory took
        self.root = self.new("dir", 0, -1, explicit=False)

    def new(self, kind: str, mtime: int, layer: int, *, explicit: bool) -> Node:
        """Return a new inode, with the attributes of an implied directory.

        Applying is deterministic, so the inode made as number n is the same one whenever the
        same lowest layers are applied.
        """
        self.serial += 1
        return Node(self.serial, kind, layer, explicit, 0o755, 0, 0, mtime, {})

    def warn(self, kind: str, layer: int, path: Path) -> None:
        """Note a point on which engines disagree."""
        self.warnings.add(Disagreement(kind, layer, b"/".join(path)))


def apply(layers: Sequence[bytes]) -> Tree:
    """Return the tree of these layers, lowest first."""
    tree = Tree()
    for number_, layer in enumerate(layers):
        apply_layer(tree, read(layer), number_)
        warn_about_dropped(tree, layer, number_)
    return tree


def apply_layer(tree: Tree, entries: Sequence[Entry], layer: int) -> None:
    """Apply one layer: first its whiteouts on the lower tree, then its entries in order."""
    tree.said.append(set())
    tree.own.append(set())
    tree.entered.append(set())
    warn_about_names(tree, entries, layer)
    implied, hidden = apply_whiteouts(tree, entries, layer)
    last_opaque = {e.path: i for i, e in enumerate(entries) if e.kind == "opaque"}
    for index, entry in enumerate(entries):
        if entry.kind in ("whiteout", "opaque"):
            parent = entry.path[:-1] if entry.kind == "whiteout" else entry.path
            for above in prefixes(parent):
                node = find(tree.root, above)
                if node is not None and node.kind == "symlink" and node.layer == layer:
                    raise ModelError(f"a whiteout below {above!r}, a symlink of the same layer")
            if index in implied:
                made = directory(tree, parent, entry, layer)[2]
            else:
                tree.said[layer].update(prefixes(parent))
                made = []
        else:
            made = apply_entry(tree, entry, layer)
        for path in made:
            late = any(last_opaque.get(above, -1) > index for above in [(), *prefixes(path[:-1])])
            if path in hidden or late:
                # Some engines keep the hidden directory's attributes or delete the new one.
                tree.warn("whiteout-and-entry", layer, path)
    for path in tree.said[layer]:
        node = find(tree.root, path)
        if node is not None and node.grouped and node.layer == layer:
            tree.warn("setgid-directory", layer, path)
        if path and node is not None and node.kind == "dir" and node.layer < layer:
            tree.warn("implicit-base-directory", layer, path)


def apply_whiteouts(tree: Tree, entries: Sequence[Entry], layer: int) -> tuple[set[int], set[Path]]:
    """Apply rule A1: whiteouts see the lower tree only, wherever they stand in the archive.

    Return the whiteouts whose directory must be made (by their index), and what opaque
    whiteouts hid.
    """
    own_entry = {entry.path for entry in entries if entry.kind == "dir"}
    opaque = {entry.path for entry in entries if entry.kind == "opaque"}
    implied: set[int] = set()
    hidden: set[Path] = set()
    for index, entry in enumerate(entries):
        if entry.kind not in ("whiteout", "opaque"):
            continue
        parent = entry.path[:-1] if entry.kind == "whiteout" else entry.path
        for ancestor in prefixes(parent):
            lower = find(tree.root, ancestor)
            if lower is not None and lower.kind != "dir" and ancestor not in own_entry:
                raise ModelError(f"a whiteout below {ancestor!r}, which is not a directory")
        below = find(tree.root, parent)
        if below is None:
            implied.add(index)
        if entry.kind == "opaque":
            if not parent and tree.root.children:
                tree.warn("root-opaque", layer, ())
        elif parent and (
            below is None
            or below.kind != "dir"
            or any(above in opaque for above in prefixes(parent))
        ):
            # Overlay filesystems list a whiteout in a directory that merges with nothing.
            tree.warn("ghost-whiteout", layer, entry.path)
    for entry in entries:
        if entry.kind == "whiteout":
            lower_parent = find(tree.root, entry.path[:-1])
            if lower_parent is not None:
                lower_parent.children.pop(entry.path[-1], None)
    for entry in entries:
        if entry.kind == "opaque":
            lower_dir = find(tree.root, entry.path)
            if lower_dir is not None:
                hidden.update(path for path, _ in walk(lower_dir, entry.path) if path != entry.path)
                lower_dir.children.clear()
    return implied, hidden


def apply_entry(tree: Tree, entry: Entry, layer: int) -> list[Path]:
    """Apply rules A2 to A5 for one entry; return the directories that it implied."""
    if not entry.path:
        warn_about_header(tree, entry, layer, ())
        absolute = entry.raw_path.startswith(b"/")
        if tree.root.absolute and not absolute:
            tree.warn("root-spelling", layer, ())
        tree.root.absolute = absolute
        set_attributes(tree.root, entry, layer, 0)
        tree.said[layer].add(())
        tree.own[layer].add(())
        return []
    parent_path, parent, made = directory(tree, entry.path[:-1], entry, layer)
    name = entry.path[-1]
    path = (*parent_path, name)
    warn_about_header(tree, entry, layer, path)
    group = parent.gid if parent.layer == layer and parent.mode & 0o2000 else 0
    old = parent.children.pop(name, None)  # as engines do, before they look where anything leads
    if old is not None and old.kind == "symlink" and leads_to(tree, entry.path[:-1]) != parent_path:
        tree.warn("duplicate-path", layer, path)  # the way of the entry's own name
    if entry.kind == "hardlink":
        parent.children[name] = link(tree, entry, path, layer)
    elif entry.kind == "dir":
        node = old if old is not None and old.kind == "dir" else None
        if node is None:
            node = tree.new("dir", 0, layer, explicit=True)
        parent.children[name] = node
        set_attributes(node, entry, layer, group)
        tree.said[layer].update(prefixes(path))
        tree.own[layer].add(path)
    else:
        node = tree.new(entry.kind, 0, layer, explicit=True)
        set_attributes(node, entry, layer, group)
        node.data, node.target, node.device = entry.data, entry.target, entry.device
        if entry.kind != "symlink":
            node.target = b""
        parent.children[name] = node
    return made


def directory(tree: Tree, path: Path, entry: Entry, layer: int) -> tuple[Path, Node, list[Path]]:
    """Return the real path and node of a parent directory, made as rule A2 says where missing."""
    todo = list(path)
    trail: list[tuple[bytes, Node]] = []
    made: list[Path] = []
    followed = led = 0  # names left that are of symlinks' targets
    while todo:
        name = todo.pop(0)
        behind, led = led > 0, max(0, led - 1)
        if name in (b"", b"."):
            continue
        if name == b"..":
            trail = trail[:-1]
            continue
        here = trail[-1][1] if trail else tree.root
        real = (*(n for n, _ in trail), name)
        node = here.children.get(name)
        if node is not None and node.kind == "symlink" and node.layer == layer:
            followed += 1
            if followed > MAX_SYMLINKS:
                raise ModelError(f"symlink loop at {real!r}")
            if node.target.startswith(b"/"):
                trail = []
            todo = node.target.split(b"/") + todo
            led += len(node.target.split(b"/"))
            continue
        if behind and not (
            node is not None
            and (real in tree.entered[layer] or (node.kind == "dir" and node.layer == layer))
        ):
            # Some engines unpack the layer alone: the symlink leads to nothing there.
            tree.warn("through-dangling-symlink", layer, real)
        if node is None or node.kind != "dir":
            if node is not None and node.kind == "symlink":
                tree.warn("through-lower-symlink", layer, real)
                tree.replaced_targets.add(leads_to(tree, real) or ())  # a loop makes all doubtful
            elif node is not None and node.layer == layer:
                raise ModelError(f"{real!r} is no directory")
            elif node is not None:
                tree.warn("file-becomes-directory", layer, real)
            replaced = node if node is not None and node.kind == "symlink" else None
            node = tree.new("dir", entry.mtime, layer, explicit=False)
            node.replaced = replaced
            node.grouped = here.layer == layer and (here.grouped or bool(here.mode & 0o2000))
            here.children[name] = node
            made.append(real)
        trail.append((name, node))
        tree.said[layer].add(real)
        tree.entered[layer].add(real)
    tree.said[layer].add(())
    return tuple(name for name, _ in trail), trail[-1][1] if trail else tree.root, made


def leads_to(tree: Tree, path: Path) -> Path | None:
    """Return where a path leads, there or not, symlinks followed; None for a loop."""
    todo, followed = list(path), 0
    found: list[bytes] = []
    while todo:
        name = todo.pop(0)
        if name == b"..":
            found = found[:-1]
        elif name not in (b"", b"."):
            node = find(tree.root, (*found, name))
            if node is not None and node.kind == "symlink":
                followed += 1
                if followed > MAX_SYMLINKS:
                    return None
                if node.target.startswith(b"/"):
                    found = []
                todo = node.target.split(b"/") + todo
            else:
                found.append(name)
    return tuple(found)


def link(tree: Tree, entry: Entry, path: Path, layer: int) -> Node:
    """Return the node that a hard link binds to, stamped as rule A5 says."""
    target = clean(entry.target)
    if not target:
        raise ModelError(f"{path!r} links to the root")
    parent_path, parent, lower = resolve(tree, target[:-1], layer)
    node = parent.children.get(target[-1])
    if node is None or node.kind == "dir" or (*parent_path, target[-1]) == path:
        raise ModelError(f"{path!r} links to {target!r}")
    if lower:
        tree.warn("link-through-lower-symlink", layer, path)
    spelled = [part for part in entry.target.split(b"/") if part not in (b"", b".")]
    if b".." in spelled:
        above = leads_to(tree, tuple(spelled[:-1]))
        if above is None or find(tree.root, (*above, spelled[-1])) is not node:
            tree.warn("link-up-from-symlink", layer, path)
    if node.layer < layer:
        tree.warn("link-to-lower", layer, path)
        node.disputed = True
    entry = replace(
        entry,
        uid=node.uid if entry.uid == NOBODY else entry.uid,
        gid=node.gid if entry.gid == NOBODY else entry.gid,
    )
    old = (node.uid, node.gid, node.mtime, node.xattrs, node.mode)
    new = (entry.uid, entry.gid, entry.mtime, entry.xattrs, entry.mode)
    if old[:4] != new[:4] or (old != new and node.kind != "symlink"):
        tree.warn("link-header-differs", layer, path)
        node.disputed = True
    if node.kind == "symlink" and entry.xattrs:
        tree.warn("symlink-xattr", layer, path)
    node.mode, node.uid, node.gid = entry.mode, entry.uid, entry.gid
    if node.kind != "symlink":
        node.mtime = entry.mtime
    node.xattrs = node.xattrs | entry.xattrs
    node.layer, node.linked = layer, True
    return node


def resolve(tree: Tree, path: Path, layer: int) -> tuple[Path, Node, bool]:
    """Return an existing directory, following every symlink inside the root.

    And whether one of them is of a lower layer than `layer`.
    """
    todo = list(path)
    trail: list[tuple[bytes, Node]] = []
    followed = 0
    lower = False
    while todo:
        name = todo.pop(0)
        if name in (b"", b"."):
            continue
        if name == b"..":
            trail = trail[:-1]
            continue
        node = (trail[-1][1] if trail else tree.root).children.get(name)
        if node is not None and node.kind == "symlink":
            followed += 1
            lower |= node.layer < layer
            if node.target.startswith(b"/"):
                trail = []
            todo = node.target.split(b"/") + todo
        elif node is not None and node.kind == "dir":
            trail.append((name, node))
        if node is None or node.kind not in ("dir", "symlink") or followed > MAX_SYMLINKS:
            raise ModelError(f"{path!r} leads to no directory")
    place, folder = tuple(name for name, _ in trail), trail[-1][1] if trail else tree.root
    return place, folder, lower


def set_attributes(node: Node, entry: Entry, layer: int, group: int) -> None:
    """Replace all attributes by those of an entry, `group` for none: the last header wins."""
    node.mode, node.mtime = entry.mode, entry.mtime
    node.uid = 0 if entry.uid == NOBODY else entry.uid
    node.gid = group if entry.gid == NOBODY else entry.gid
    node.grouped = False
    node.xattrs = dict(entry.xattrs)
    node.layer, node.explicit = layer, True


def warn_about_names(tree: Tree, entries: Sequence[Entry], layer: int) -> None:
    """Warn of names that come twice in a layer, or that it both whites out and brings."""
    seen: set[tuple[str, Path]] = set()
    for entry in entries:
        key = entry.kind if entry.kind in ("whiteout", "opaque") else "entry", entry.path
        if key in seen:
            tree.warn("duplicate-path", layer, entry.path)
        seen.add(key)
    for index, gone in enumerate(entries):
        if gone.kind != "whiteout":
            continue
        for other_index, other in enumerate(entries):
            at = other.path == gone.path and other.kind != "whiteout"
            below = len(other.path) > len(gone.path) and gone.path == other.path[: len(gone.path)]
            if below or (at and (other.kind in ("dir", "opaque") or other_index < index)):
                tree.warn("whiteout-and-entry", layer, gone.path)


def warn_about_header(tree: Tree, entry: Entry, layer: int, path: Path) -> None:
    """Warn of attributes that engines do not treat alike."""
    kinds = {
        "default-acl": entry.kind == "dir" and ACL_DEFAULT in entry.xattrs,
        "overlay-xattr": any(
            key.startswith((b"trusted.overlay.", b"user.overlay.")) for key in entry.xattrs
        ),
        "whiteout-device": entry.kind == "char" and entry.device == (0, 0),
        "symlink-xattr": entry.kind == "symlink" and bool(entry.xattrs),
        "odd-mtime": not 0 <= entry.mtime < 2**63,
    }
    for kind, applies in kinds.items():
        if applies:
            tree.warn(kind, layer, path)


def prefixes(path: Path) -> list[Path]:
    """Return a path's ancestors and the path itself, without the root."""
    return [path[:n] for n in range(1, len(path) + 1)]


def find(root: Node, path: Path) -> Node | None:
    """Return the node at a path taken literally: no symlink is followed."""
    node: Node | None = root
    for name in path:
        node = node.children.get(name) if node is not None else None
    return node


def ghosts(tree: Tree) -> set[Path]:
    """Return the names that overlay engines list and do not find.

    A whiteout that hides nothing is one as long as no other layer has its directory: then the
    kernel merges nothing there, and filters nothing.
    """
    return {
        tuple(warning.path.split(b"/"))
        for warning in tree.warnings
        if warning.kind == "ghost-whiteout" and stands_alone(tree, warning)
    }


def stands_alone(tree: Tree, warning: Disagreement) -> bool:
    """Tell whether a ghost's directory is still there, and in no later layer."""
    path = tuple(warning.path.split(b"/"))[:-1]
    node = find(tree.root, path)
    later = tree.said[warning.layer + 1 :]
    return node is not None and node.kind == "dir" and not any(path in said for said in later)


def walk(node: Node, path: Path = ()) -> Iterator[tuple[Path, Node]]:
    """Yield a node and everything below it, parents first, names sorted bytewise."""
    yield path, node
    for name in sorted(node.children):
        yield from walk(node.children[name], (*path, name))


def handed_on(entries: Sequence[Entry]) -> tuple[dict[Path, bytes], dict[Path, bytes]] | None:
    """Return the default ACLs that directories and files have from the one that they are made in.

    That is what the kernel does while an engine unpacks a layer alone. Directories hand on what
    they were handed, unless they have one themselves; links share what their file has. None for a
    layer with paths through symlinks, or links to what it does not have.
    """
    folders: dict[Path, bytes] = {(): b""}
    files: dict[Path, bytes] = {}
    for entry in entries:
        path, parent = entry.path, entry.path if entry.kind == "opaque" else entry.path[:-1]
        for above in prefixes(parent):
            if above in files:
                return None
            folders.setdefault(above, folders[above[:-1]])
        if entry.kind == "dir":
            files.pop(path, None)
            own = entry.xattrs.get(ACL_DEFAULT, b"")
            folders[path] = own or folders.get(path, folders[path[:-1]])
        elif entry.kind not in ("whiteout", "opaque"):
            for gone in [p for p in folders if p[: len(path)] == path]:
                del folders[gone]
            for gone in [p for p in files if p[: len(path)] == path]:
                del files[gone]
            files[path] = b"" if entry.kind == "symlink" else folders[parent]
            if entry.kind == "hardlink":
                target = clean(entry.target)
                if target not in files or target == path:
                    return None
                files[path] = files[target]
    return folders, files


# ---------------------------------------------------------------------------------------------
# The listing


@dataclass(frozen=True)
class Record:
    """Everything a root filesystem says about one path."""

    type: str
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    size: int
    sha256: str
    target: bytes
    device: tuple[int, int]
    xattrs: tuple[tuple[bytes, bytes], ...]
    names: tuple[bytes, ...]  # all paths that share the inode
    absolute: bool  # the root is spelt `/`


def listing(tree: Tree) -> dict[bytes, Record]:
    """Return every path with every field. The mode of a symlink is 0777, as the kernel has it."""
    names = groups(tree)
    return {
        b"/".join(path): Record(
            type=node.kind,
            mode=0o777 if node.kind == "symlink" else node.mode,
            uid=node.uid,
            gid=node.gid,
            mtime_ns=node.mtime,
            size=len(node.data),
            sha256=hashlib.sha256(node.data).hexdigest() if node.kind == "file" else "",
            target=node.target,
            device=node.device,
            xattrs=tuple(sorted(node.xattrs.items())),
            names=tuple(b"/".join(p) for p in names[node.serial]),
            absolute=node.absolute,
        )
        for path, node in walk(tree.root)
    }


def groups(tree: Tree) -> dict[int, list[Path]]:
    """Return the paths of every inode."""
    names: dict[int, list[Path]] = {}
    for path, node in walk(tree.root):
        names.setdefault(node.serial, []).append(path)
    return names


# ---------------------------------------------------------------------------------------------
# The merged layer: M1 to M6, D0 to D3


def expected_merge(layers: Sequence[bytes], k: int) -> list[Item]:
    """Return what the layer that replaces layers `k`.. must hold, in order.

    The order is that of rule M6 without its exception for default ACLs: parents first, sorted, but
    last what lies below a directory that took the place of a base symlink.
    """
    merge = Merge(apply(layers[:k]), apply(layers), k)
    full = merge.items()
    merge.leave_out(full)
    items = sorted(merge.items(), key=merge.is_late)
    return [(b"/".join(path), kind) for path, kind in items]


class Merge:
    """The base, the result, and the paths that the base provides already (D1)."""

    def __init__(self, base: Tree, final: Tree, k: int) -> None:
        self.base, self.final, self.k = base, final, k
        self.full: set[Path] | None = None  # entries of the merge in which nothing is left out
        self.provided: set[Path] = set()
        #: Directories of the base with a whiteout that hides nothing: a layer above covers it.
        self.ghost_directories = {
            tuple(warning.path.split(b"/"))[:-1]
            for warning in base.warnings
            if warning.kind == "ghost-whiteout"
        }

    def items(self) -> list[PathItem]:
        """Return the entries and whiteouts of the merged layer in order."""
        return self.directory((), self.final.root, through_symlink=False, setgid=False)

    def directory(
        self, path: Path, node: Node, *, through_symlink: bool, setgid: bool
    ) -> list[PathItem]:
        """Return the items of a directory: its entry, its whiteouts, what lies below (M1, M2)."""
        lower = find(self.base.root, path)
        implied = node.layer >= self.k and not node.explicit
        through_symlink |= self.replaced_symlink(path)
        grouped = implied and node.grouped and setgid and lower is None
        setgid = grouped or (node.explicit and node.layer >= self.k and bool(node.mode & 0o2000))
        whiteouts: list[PathItem] = []
        if lower is not None and lower.kind == "dir":
            gone = sorted(set(lower.children) - set(node.children))
            whiteouts = [((*path, name), "whiteout") for name in gone]
        below: list[PathItem] = []
        for name in sorted(node.children):
            child_path, child = (*path, name), node.children[name]
            if child.kind == "dir":
                below += self.directory(
                    child_path, child, through_symlink=through_symlink, setgid=setgid
                )
            elif child.layer >= self.k and child_path not in self.provided:
                below.append((child_path, "entry"))
        if node.explicit and node.layer >= self.k:
            wanted = not (
                self.full is not None
                and not whiteouts
                and not below
                and self.directory_provided(path, node, lower)
            )
        elif implied:
            wanted = not ((through_symlink or grouped) and below)
        else:
            wanted = path != () and (
                any(self.is_base_name(name) for name, said in below if said == "entry")
                or (
                    path in self.ghost_directories
                    and any(path in s for s in self.final.said[self.k :])
                )
            )
        entry: list[PathItem] = [(path, "entry")] if wanted else []
        return entry + whiteouts + below

    def is_late(self, item: PathItem) -> bool:
        """Tell whether some engine follows the base's symlink on the way to an item."""
        return any(self.replaced_symlink(above) for above in prefixes(item[0]))

    def replaced_symlink(self, path: Path) -> bool:
        """Tell whether a directory without an entry took the place of the base's own symlink."""
        lower, node = find(self.base.root, path), find(self.final.root, path)
        return (
            lower is not None
            and node is not None
            and node.layer >= self.k
            and not node.explicit
            and node.replaced is not None
            and node.replaced.serial == lower.serial
        )

    def is_base_name(self, path: Path) -> bool:
        """Tell whether the base has the same inode at this path (M1c)."""
        old, new = find(self.base.root, path), find(self.final.root, path)
        return (
            old is not None and new is not None and old.kind != "dir" and old.serial == new.serial
        )

    def leave_out(self, items: list[PathItem]) -> None:
        """Find what the base provides already, given the merge in which nothing is left out."""
        self.full = {path for path, kind in items if kind == "entry"}
        old_groups, new_groups = groups(self.base), groups(self.final)
        for path in self.full:
            old, new = find(self.base.root, path), find(self.final.root, path)
            if old is None or new is None or "dir" in (old.kind, new.kind):
                continue
            names = new_groups[new.serial]
            if (
                same(old, new)
                and not old.disputed
                and names == old_groups[old.serial]
                and all(self.trusted(name) for name in names)
            ):
                self.provided.add(path)

    def directory_provided(self, path: Path, node: Node, lower: Node | None) -> bool:
        """Tell whether the base has this directory as it is, on every engine (D2)."""
        if lower is None or not same(lower, node) or not self.trusted(path):
            return False
        if path in self.ghost_directories:
            return False
        last = next((n for n in reversed(range(self.k)) if path in self.base.said[n]), None)
        return last is not None and path in self.base.own[last]

    def trusted(self, path: Path) -> bool:
        """Tell whether every engine reads base and result alike on the way to a path (D0, D3)."""
        assert self.full is not None
        if any(above not in self.full for above in prefixes(path[:-1])):
            return False
        if any(path[: len(led)] == led for led in self.final.replaced_targets):
            return False
        for warning in self.final.warnings:
            at = tuple(warning.path.split(b"/")) if warning.path else ()
            if path[: len(at)] == at and (
                warning.layer < self.k or (warning.kind == "default-acl" and at != path)
            ):
                return False
        return True


def same(old: Node, new: Node) -> bool:
    """Tell whether two nodes are equal in every field; symlinks have no mode."""

    def fields(node: Node) -> tuple[object, ...]:
        mode = None if node.kind == "symlink" else node.mode
        where = (node.kind, mode, node.uid, node.gid, node.mtime, node.xattrs, node.absolute)
        return (*where, node.data, node.target, node.device)

    return fields(old) == fields(new)
