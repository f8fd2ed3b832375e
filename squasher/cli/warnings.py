"""The kinds of warning in words: where engines disagree, and what is true no more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from squasher.errors import UsageError
from squasher.layers.words import KIND as DESCRIBES
from squasher.tar.entry import ImageWarning
from squasher.tar.paths import show

#: Each kind: where engines disagree; what the squashed image has.
TEXTS = {
    "default-acl": "a directory has a default ACL, and most engines give it to the files that they"
    " unpack there later; where layers differ about the directory, squashing can change which ones",
    "describes-layers": "a key of the config or the manifest describes layers that are squashed; it"
    " is kept",
    "duplicate-path": "a path comes twice in one layer, which docker and podman refuse; the last"
    " one counts",
    "file-becomes-directory": "an entry lies below a file of a lower layer, and the file becomes a"
    " directory",
    "ghost-whiteout": "a whiteout names a path that no lower layer has, and overlay engines show"
    " that name; it is dropped from squashed layers and kept in kept ones",
    "global-header": "a global header has a name, which some engines take for an entry; it is"
    " dropped",
    "implicit-root": "the previous image has an entry for the root and this one has none; the"
    " root gets mode 0755 and owner 0:0, as engines make it",
    "implicit-base-directory": "a layer changes a directory without an entry for it, and overlay"
    " engines reset owner and mode; they are kept",
    "link-header-differs": "the header of a hard link differs from that of its file; the last one"
    " counts",
    "link-through-lower-symlink": "a hard link's target lies behind a symlink of a lower layer,"
    " which overlay engines refuse; the symlink is followed",
    "link-to-lower": "a hard link leads to a lower layer, which overlay engines refuse; the file"
    " is repeated",
    "link-up-from-symlink": "a hard link's target has '..' after a symlink, which containerd"
    " follows and others do not; it is not followed",
    "nameless-entry": "an entry is named like the root and is not a directory, which overlay"
    " engines ignore and others refuse; it is dropped",
    "odd-mtime": "a time lies outside 1970 to 2262, which engines show as 1970; it is kept",
    "overlay-xattr": "an overlay xattr, which overlay engines obey; it is kept",
    "root-opaque": "an opaque whiteout at the root, which overlay engines ignore; it hides all"
    " lower layers",
    "root-spelling": "the root is `/` in one layer and `./` in a later one, which podman ignores;"
    " the last one counts",
    "setgid-directory": "a directory below a setgid directory has no entry, and each engine gives"
    " it another mode and group; no entry is written",
    "symlink-xattr": "a symlink has xattrs, which some engines refuse; they are kept",
    "through-dangling-symlink": "an entry lies below a symlink that leads to nothing in its own"
    " layer, which docker and podman refuse; the directory is made",
    "through-lower-symlink": "an entry lies below a symlink of a lower layer, and overlay"
    " engines replace the symlink by a directory",
    "whiteout-and-entry": "a layer has a whiteout and an entry for one name, which engines read"
    " differently; the entry stays",
    "whiteout-device": "a device 0:0, which overlay engines take for a whiteout; it is kept",
}


def in_words(
    warnings: Iterable[ImageWarning], *, verbose: bool = False, merged: bool = True
) -> Iterator[str]:
    """Yield the warnings in words: a line for each kind; `verbose` adds one for each place.

    What became of it is said only where something was `merged`: else all is as it was.
    """
    by_kind: dict[str, list[ImageWarning]] = {}
    for warning in warnings:
        by_kind.setdefault(warning.kind, []).append(warning)
    for kind, places in sorted(by_kind.items()):
        more = f" and {len(places) - 1:,} more" if len(places) > 1 else ""
        words = TEXTS[kind] if merged else TEXTS[kind].partition(";")[0]
        yield f"{kind}: {words}: {_place(places[0])}{more}"
        if verbose and more:
            yield from (f"  {_place(place)}" for place in places)


def _place(warning: ImageWarning) -> str:
    if warning.kind == DESCRIBES:
        return show(warning.path)
    return f"layer {warning.layer + 1}, {show(warning.path)}"


def kinds(value: str) -> tuple[str, ...]:
    """Return the kinds of warning in the comma-separated `value`; () for all. Raises UsageError."""
    found = tuple(kind for kind in value.split(",") if kind)
    for kind in found:
        if kind not in TEXTS:
            raise UsageError(
                f"{kind!r} is not a kind of warning",
                where="--strict",
                hint=f"give some of {', '.join(TEXTS)}",
            )
    return found
