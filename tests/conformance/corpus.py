"""The corpus: what engines were measured to do with hand-made images, one case each.

    CASES: tuple[Case, ...]     by_name("w04") -> Case

A `Case` (see `case.py`) has `name`, `description` (a line), `layers` (uncompressed tars, lowest
first), `verdict` ("agree", "warn" or "refuse") and `kinds`, the warnings that must be reported when
all layers are squashed, each at least once and no other. The kinds are the slugs of the library:

| kind                       | engines disagree because a layer
|-|-
| default-acl                | gives a directory a default ACL, which what comes after it inherits
| duplicate-path             | has a path twice
| file-becomes-directory     | has an entry below a file of a lower layer, which it does not replace
| ghost-whiteout             | has a whiteout in a directory that merges with no lower one
| global-header              | has a global header whose name has folders, or is that of an entry
| implicit-base-directory    | has something below a lower directory that has no entry in it
| link-header-differs        | has a hard link whose header says other things than its target's
| link-through-lower-symlink | has a hard link whose target lies behind a lower symlink
| link-to-lower              | has a hard link whose target is only in a lower layer
| link-up-from-symlink       | has a hard link whose target has '..' after a symlink
| nameless-entry             | has an entry without a name, or `.`, that is no directory
| odd-mtime                  | has a time outside 1970 to 2262
| overlay-xattr              | has an xattr that overlay filesystems obey
| root-opaque                | hides everything below with an opaque whiteout at the root
| root-spelling              | has an entry `./` for the root above one `/`: podman ignores it
| setgid-directory           | implies a directory below one that it makes setgid
| symlink-xattr              | has an xattr on a symlink
| through-dangling-symlink   | has an entry below its own symlink to what only is below, or nowhere
| through-lower-symlink      | has an entry below a symlink of a lower layer
| whiteout-and-entry         | whites a name out and has something at or below it
| whiteout-device            | has a character device 0:0, which overlay takes for a whiteout

Layers were loaded into docker 20.10 (vfs, overlay2), podman 4.3, containerd 1.6, umoci 0.4 and
newer builds of each. The letters: w whiteouts, o opaque whiteouts, t types and symlinks, h hard
links, p parents, u duplicates, n names, x xattrs and times, k numbers and types, s sparse files,
e ends of archives, d what the base provides, q what others than engines read in the new layer; the
rest come from other squashers.
"""

from __future__ import annotations

from tests.conformance import (
    attributes,
    changes,
    headers,
    links,
    names,
    peers,
    provided,
    whiteouts,
)
from tests.conformance.case import KINDS, Case

__all__ = ["CASES", "KINDS", "Case", "by_name"]

CASES: tuple[Case, ...] = (
    *whiteouts.CASES,
    *changes.CASES,
    *links.CASES,
    *names.CASES,
    *attributes.CASES,
    *provided.CASES,
    *peers.CASES,
    *headers.CASES,
)


def by_name(name: str) -> Case:
    """Return the case of this name."""
    return next(case for case in CASES if case.name == name)
