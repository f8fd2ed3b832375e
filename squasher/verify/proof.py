"""Proof that a result shows the root filesystem of its source: what `verify` believes.

A check is worth what it does not share with the work. This one reads source and result again and
takes from the package only the readers: documents, headers, checked bytes. The layers are applied
by `verify.apply`, and content is compared by `verify.pages`, so that a fault in what squashing
itself applies, merges, writes or compares does not hide itself. Tests plant such faults.

Source: OCI image-spec, layer.md, "Applying Changesets"; what engines make of what it leaves open.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NoReturn

from squasher.errors import PolicyError, placed
from squasher.image import configs, documents
from squasher.image.model import Image, rows_fit
from squasher.layers.content import Scan
from squasher.layers.read import layer_places, scan
from squasher.run import Job
from squasher.tar.entry import ABSOLUTE, BLOCK, DIR, LINK, MAGIC, REG, Changeset, Entry
from squasher.tar.paths import join, show
from squasher.verify.apply import apply
from squasher.verify.fields import directory_fields, fields
from squasher.verify.pages import cursor, unlike
from squasher.verify.tree import Folder, Tree, side_by_side

#: Keys of the config that squashing may change.
_CHANGED = frozenset(("rootfs", "history", "created", configs.BUILDKIT_CACHE))


@dataclass(frozen=True, slots=True)
class NewLayers:
    """How many layers were made, 0 for none, and how many bytes each may have as a tar (I4)."""

    count: int
    limit: int | None = None

    def check(self, changes: Changeset, size: int, *, lowest: bool) -> None:
        """Require of a layer of `size` bytes what makes several as good as one.

        All whiteouts are in the `lowest`: another one would hide what that brings. A layer that is
        too large could not be smaller: it holds whiteouts, or one file, or what lies between the
        names of one. Raises PolicyError.
        """
        where = f"layer {changes.layer + 1}"
        if not lowest and changes.whiteouts:
            raise PolicyError("a whiteout that is not in the first new layer", where=where)
        if self.limit is None or size <= self.limit:
            return
        kinds = [entry.kind for entry in changes.entries if entry.kind != DIR]
        if LINK not in kinds and len(kinds) + bool(changes.whiteouts) > 1:
            raise PolicyError("is larger than --max-layer-size", where=where)


def prove(
    before: Image,
    after: Image,
    kept: int,
    job: Job,
    previous: Image | None = None,
    latest: int | None = None,
    packed: frozenset[int] = frozenset(),
    new: NewLayers | None = None,
) -> None:
    """Return if `after` is `before` with all but its `kept` lowest layers squashed.

    With a `previous` image its layers are the kept ones. Above them stand as many layers as `new`
    says; without it one, if there is anything to squash. All times later than `latest`, in
    nanoseconds, count as that; new layers have none of them. Kept layers at `packed` were plain
    and are compressed now.

    That is: all digests are right, kept layers are the same, the config differs in nothing else
    than it may, every path has the same attributes, content and other names, and the new layer
    holds nothing that engines refuse or read differently. Both images are read whole; compressed
    layers are unpacked to temporary files. Time O(bytes), memory O(entries). Raises PolicyError;
    for what cannot be read ArchiveError, OutputError.
    """
    with job.verified(), job.timed("compare"):
        if _what_stays(before) != _what_stays(after):
            raise PolicyError("the config differs")
        if rows_fit(before.config) and not rows_fit(after.config):
            raise PolicyError("the rows of the history no longer fit the layers")
        if new is None:
            new = NewLayers(int(len(after.layers if previous else before.layers[1:]) > kept))
        if len(after.layers) != (
            kept + new.count if new.count else len((previous or before).layers)
        ):
            raise PolicyError(f"the result has {len(after.layers)} layers, and {kept} were kept")
        ours, left = _read(before, None, job, latest)
        theirs, right = _read(after, kept if new.count else None, job, latest, new)
        lower = ours if previous is None else [done for done, _ in scan(previous, kept, job)]
        for i, (one, two) in enumerate(zip(lower[:kept], theirs, strict=False)):
            same = _identity(one) == _identity(two)
            if i in packed:
                both = (one.layer.blob.compression, two.layer.blob.compression)
                same = one.layer.diff_id == two.layer.diff_id and not both[0] and bool(both[1])
            if not same:
                raise PolicyError(f"kept layer {i + 1} is not the same")
        for made in theirs[kept:] if new.count else ():
            _require_tar(made)
        pairs = _compare(left, right)
        files = ((x, b) for x, (b, _) in pairs.items() if x.kind == REG and x.size)
        for x, _ in unlike(files, ours, theirs, lambda count: None):
            _differ(pairs[x][1], "content")


def _what_stays(image: Image) -> dict[str, Any]:
    """Return the config without what squashing may change (I1). Raises ArchiveError."""
    found = documents.load_config(image.config.raw, "config")
    return {key: value for key, value in found.items() if documents.fold(key) not in _CHANGED}


def _clamp(changes: Changeset, latest: int, *, made: bool) -> Changeset:
    """M9: return a layer with times of entries later than `latest`, in nanoseconds, made `latest`.

    A layer that was `made` here must have none that is later. O(entries). Raises PolicyError.
    """
    entries = []
    for path, entry in zip(changes.paths, changes.entries, strict=True):
        if entry.mtime > latest:
            if made:
                where = f"layer {changes.layer + 1}"
                raise PolicyError(f"{show(path)} is later than --clamp-mtime allows", where=where)
            entry = entry.copy()
            entry.mtime = latest
        entries.append(entry)
    return replace(changes, entries=entries)


def _require_tar(new: Scan) -> None:
    """Require that nothing takes the new layer for something else than a tar."""
    if MAGIC.match(cursor(new).get(0, BLOCK)):
        raise PolicyError("the new layer begins with a name that engines take for another format")


def _identity(scan: Scan) -> tuple[object, ...]:
    return scan.layer.diff_id, scan.layer.blob.digest, scan.layer.blob.size


def _read(
    image: Image,
    first: int | None,
    job: Job,
    latest: int | None,
    new: NewLayers | None = None,
) -> tuple[list[Scan], Tree]:
    """Return the layers of `image` as read, `new` ones from `first` on, and the tree they make."""
    scans: list[Scan] = []
    tree, places = Tree(), layer_places(image)
    for done, changes in scan(image, 0, job, places=places):
        made = first is not None and changes.layer >= first
        if latest is not None:
            changes = _clamp(changes, latest, made=made)
        if made and new is not None:
            new.check(changes, done.size, lowest=changes.layer == first)
        with placed(places[changes.layer]):
            apply(tree, changes, strict=made)
        scans.append(done)
    return scans, tree


def _compare(left: Tree, right: Tree) -> dict[Entry, tuple[Entry, bytes]]:
    """Require that both trees say the same; return the files whose content is to be compared.

    Names of one file here must be names of one file there: each Entry has one counterpart.
    """
    there: dict[Entry, tuple[Entry, bytes]] = {}
    back: dict[Entry, Entry] = {}
    for path, x, b in side_by_side(left, right):
        if type(x) is Folder and type(b) is Folder:
            _compare_folders(path, x, b)
        elif type(x) is Entry and type(b) is Entry:
            if what := [*fields(x, b)]:
                _differ(path, *what)
            if there.setdefault(x, (b, path))[0] is not b or back.setdefault(b, x) is not x:
                _differ(path, "links")
        else:
            _differ(path, "added" if x is None else "missing" if b is None else "type")
    return there


def _differ(path: bytes, *what: str) -> NoReturn:
    raise PolicyError(f"{show(path)} differs: {', '.join(what)}")


def _compare_folders(path: bytes, one: Folder, two: Folder) -> None:
    """Compare attributes, also as overlay engines and podman show them."""
    x, b = one.entry, two.entry
    what = [*directory_fields(x, b)]
    if x and b is None:
        what.append("mtime")
    if x and b and (x.flags ^ b.flags) & ABSOLUTE:  # podman heeds the one and ignores the other
        what.append("spelling")
    if x and two.reset and not one.reset:
        what.append("attributes on overlay engines")
    if what:
        _differ(path, *what)
    if ghosts := two.ghosts - one.ghosts:
        _differ(join(path, min(ghosts)), "overlay engines show a whiteout")
