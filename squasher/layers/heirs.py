"""M6: a file that has inherited an ACL from its directory does so again in the new layer.

The kernel hands a default ACL on to what is made in the directory, so the first name of a file
decides: what is a hard link in the new layer inherits nothing, nor does its file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from squasher.layers.changes import ChangedDirectory, Changes, Item, Reason, Run, is_late
from squasher.tar.entry import Entry


def heirs_first(changes: Changes, given: Mapping[Entry, bytes]) -> Sequence[Item]:
    """Return the items of `changes` with other names of a file behind the one where it inherits.

    `given` are the ACLs that files have inherited. A file that no longer has such a name, or whose
    directory no longer has the ACL, stays where it is. O(names).
    """
    heirs = {
        entry
        for item in changes.items
        if type(item) is Run
        for _, entry in item.entries
        if _inherits(item.folder, given.get(entry))
    }
    if not heirs:
        return changes.items
    ordered: list[Item] = []
    behind: list[Item] = []
    made: set[Entry] = set()
    for item in changes.items:
        if type(item) is not Run:
            ordered.append(item)
            continue
        here, later = [], []
        for name, entry in item.entries:
            if entry in heirs and entry not in made and not _inherits(item.folder, given[entry]):
                later.append(name)
                continue
            made.add(entry)
            here.append(name)
        ordered += _run(item.folder, here)
        behind += _run(item.folder, later)
    late = next((i for i, item in enumerate(ordered) if is_late(item)), len(ordered))
    return [*ordered[:late], *behind, *ordered[late:]]


def _run(folder: ChangedDirectory, names: list[bytes]) -> Iterator[Run]:
    if names:
        yield Run(folder, names)


def _inherits(folder: ChangedDirectory, acl: bytes | None) -> bool:
    """Tell whether what is unpacked into a directory of the new layer inherits this ACL."""
    written = folder.reason is not Reason.NONE and folder.reason is not Reason.LAZY
    return acl is not None and folder.node.acl == acl and written and not folder.late
