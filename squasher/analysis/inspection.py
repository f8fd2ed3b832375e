"""What is in an image: where the content of its layers goes, what squashing would leave of it.

Every layer is read once. Each makes one more fork of the tree, so that the tree at every base is
at hand: neighbours tell what a layer replaced and deleted, and each beside the last one gives the
plan, and so the exact size, of the layer that squashing above it would write.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from heapq import nsmallest
from itertools import accumulate

from squasher.analysis.books import Books, Page, final_sizes, folder_sums
from squasher.analysis.dive import Dive, Ledger
from squasher.analysis.updates import UpdateCost
from squasher.digest import Digest
from squasher.errors import SquasherError, placed
from squasher.image import auto_base
from squasher.image.auto_base import Claim, Finding
from squasher.image.configs import HistoryEntry
from squasher.image.model import Archive, Image, Statement, rows
from squasher.image.secrets import Secret, masked, secrets
from squasher.layers.content import Scan, same_content
from squasher.layers.merge import Draft
from squasher.layers.read import layer_places, scan
from squasher.layers.tree import Tree
from squasher.run import Job, Progress, silent
from squasher.tar.entry import ImageWarning, Pair

#: How many of the largest files are named.
LARGEST = 500
#: The best trade saves at least so much of the most that can be saved, in percent.
BEST_SHARE = 90


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """A row of `docker history`.

    created_by, comment   as in the config, with what looks like a secret masked
    created   RFC 3339, "" if the config has none
    empty     whether the row made no layer
    layer     position of its layer in `Inspection.layers`; None if the row is empty, or if it
              cannot be known because the history has rows for more or fewer layers than there are
    """

    created_by: str
    created: str
    comment: str
    empty: bool
    layer: int | None


@dataclass(frozen=True, slots=True)
class LayerShare:
    """A layer, and what happens to its content in the layers above.

    digest       of the blob as stored; `chain_id` is that of this layer and all below it
    size         bytes of the uncompressed tar, headers included
    stored_size  bytes of the blob
    compression  "", "gzip", "zstd", "xz" or "bzip2"
    created_by   of its history row, "" without one
    entries      number of entries without whiteouts; each name of a hard link is one
    whiteouts    number of whiteouts, opaque ones included
    added        bytes of file content; of a sparse file those that are stored
    overwritten  of these, the bytes that a later entry replaces, in this layer or above
    deleted      of these, the bytes that a later layer deletes
    overwritten_entries, deleted_entries   the same as numbers of entries, directories and links
                 included
    """

    diff_id: Digest
    digest: Digest
    chain_id: Digest
    size: int
    stored_size: int
    compression: str
    created_by: str
    entries: int
    whiteouts: int
    added: int
    overwritten: int
    deleted: int
    overwritten_entries: int
    deleted_entries: int

    @property
    def wasted(self) -> int:
        """Bytes of content that the final root filesystem does not show."""
        return self.overwritten + self.deleted

    @property
    def kept(self) -> int:
        """Bytes of content that the final root filesystem shows."""
        return self.added - self.wasted

    @property
    def kept_entries(self) -> int:
        """Entries that the final root filesystem shows."""
        return self.entries - self.overwritten_entries - self.deleted_entries


@dataclass(frozen=True, slots=True)
class BaseChoice:
    """What squashing with `--keep-layers kept_layers` would give. All sizes are uncompressed bytes.

    chain_id     of the highest layer that is kept; None if none is kept
    squashed_layer_size   of the new layer, exact, tar headers included; if only one layer lies
                 above the base, that layer is written as it is, and this is its size
    image_size   of all layers after squashing
    saved        size of all layers now less `image_size`; may be negative
    best         whether this is the best trade: the largest `kept_layers` that still saves 90 % of
                 the most that any choice saves; layers of a known base are always kept
    command      the command line that does it
    """

    kept_layers: int
    chain_id: Digest | None
    squashed_layer_size: int
    image_size: int
    saved: int
    best: bool
    command: str


@dataclass(frozen=True, slots=True)
class PathShare:
    """A path that is not a directory. A hard-linked file counts at one of its names.

    size     bytes of content in the final root filesystem, 0 if the path is not there
    wasted   bytes of content in all versions of it that are overwritten or deleted later
    times    number of these versions
    """

    path: bytes
    size: int
    wasted: int
    times: int


@dataclass(frozen=True, slots=True)
class FolderShare:
    """The sums of PathShare for all paths below a directory, in bytes."""

    path: bytes
    size: int
    wasted: int


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is in one image.

    name      the first tag or reference, else the image ID
    references   its names in the layout, as they are written there
    platform  "os/arch[/variant]"
    rows      of the history, lowest first; layers without a row come last
    layers    lowest first
    bases     one for each number of kept layers, from 0 to all but one
    wasted    paths that waste bytes; most wasted first, then by path
    folders   every directory that has bytes, shown or wasted; sorted by path, the root is b""
    largest   the largest files of the final root filesystem, at most 500, largest first
    dive      the figures of dive
    warnings  what engines disagree about, lowest layer first
    named     what the image says of its base, each with its proof or what is missing
    secrets   what looks like a secret in history and environment; values are masked everywhere
    update    what an update from a previous image costs; `squash inspect --onto` fills it in,
              None in what `inspect` returns
    """

    name: str
    tags: tuple[str, ...]
    references: tuple[str, ...]
    platform: str
    image_id: Digest
    rows: tuple[HistoryRow, ...]
    layers: tuple[LayerShare, ...]
    bases: tuple[BaseChoice, ...]
    wasted: tuple[PathShare, ...]
    folders: tuple[FolderShare, ...]
    largest: tuple[PathShare, ...]
    dive: Dive
    warnings: tuple[ImageWarning, ...]
    named: tuple[Finding, ...] = ()
    secrets: tuple[Secret, ...] = ()
    update: UpdateCost | None = None

    @property
    def size(self) -> int:
        """Bytes of all layers, uncompressed."""
        return sum(layer.size for layer in self.layers)

    @property
    def stored_size(self) -> int:
        """Bytes of all layers as stored."""
        return sum(layer.stored_size for layer in self.layers)

    @property
    def added(self) -> int:
        """Bytes of file content in all layers."""
        return sum(layer.added for layer in self.layers)

    @property
    def wasted_bytes(self) -> int:
        """Bytes of content that are overwritten or deleted later; dive counts in another way."""
        return sum(layer.wasted for layer in self.layers)

    @property
    def best(self) -> BaseChoice | None:
        """The best trade; None if no choice saves anything, or none that keeps the known base."""
        return next((choice for choice in self.bases if choice.best), None)

    @property
    def base(self) -> Finding | None:
        """The base that the image names and that is proven; None without one, or for several."""
        return known_base(self.named)

    @property
    def best_without_base(self) -> BaseChoice | None:
        """The best trade that does not keep the known base; None if it does not save more."""
        at = best_choice([choice.saved for choice in self.bases])
        best = self.best
        if at is None or (best is not None and self.bases[at].saved <= best.saved):
            return None
        return self.bases[at]


def inspect(
    image: Image,
    *,
    source: str = "IMAGE",
    choose: Sequence[str] = (),
    others: Sequence[Image] = (),
    lenders: Sequence[Archive] = (),
    max_size: int | None = None,
    tmp_dir: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
) -> Inspection:
    """Return what is in `image`, and what squashing above each of its layers would leave.

    Each layer is read once and checked against its digests. Compressed layers are unpacked to
    temporary files in `tmp_dir`, which are removed at the end. Contents are compared where headers
    agree, each pair once. Time O(bytes), and for each base O(entries that the layers above it
    change); memory O(entries). `source` and `choose` are the archive and the options that pick the
    image, for `BaseChoice.command`; `others` and `lenders` are images, and archives with images,
    that may be the base which the image names.

    Raises ArchiveError (also DigestMismatchError, and for more than `max_size` bytes of all layers
    unpacked), UnsupportedImageError, OutputError.
    """
    with Job(tmp_dir, progress) as job:
        books, dive, places = Books(), Ledger(), layer_places(image)
        scans: list[Scan] = []
        with job.verified():  # no conclusion from damaged layers
            for done, changes in scan(image, 0, job, max_size, places):
                with placed(places[len(scans)]):
                    books.add(changes)  # first: it refuses what says far more than it spells out
                dive.add(changes)
                scans.append(done)
                del changes  # its names are in the tree now
        image = replace(image, layers=tuple(done.layer for done in scans))
        with job.verified():
            sizes = squashed_sizes(books.trees, scans)
        shown, lost = final_sizes(books.trees[-1]), books.lost
        paths = [
            PathShare(path, shown.get(path, 0), *lost.get(path, (0, 0)))
            for path in {**shown, **lost}
        ]
        history = _history(image)
        named = named_bases(image, others, lenders)
        return Inspection(
            image.name,
            image.tags,
            image.references,
            str(image.platform),
            image.config.image_id,
            history,
            _shares(image, history, scans, books.pages),
            _bases(image, scans, sizes, source, choose, known_base(named)),
            tuple(sorted((share for share in paths if share.wasted), key=_most_wasted)),
            _folders(paths),
            tuple(nsmallest(LARGEST, (share for share in paths if share.size), key=_largest)),
            dive.figures(),
            tuple(books.warnings),
            named,
            secrets(image.config),
        )


def named_bases(
    image: Image, others: Sequence[Image], lenders: Sequence[Archive]
) -> tuple[Finding, ...]:
    """Return what the image says of its base; a damaged attestation is told, and no more."""
    damaged: tuple[Finding, ...] = ()
    statements: tuple[Statement, ...] = ()
    try:
        statements = image.attested()
    except SquasherError as error:
        damaged = (Finding(Claim("provenance"), None, f"cannot be read: {error}"),)
    return (*damaged, *auto_base.findings(image, statements, others, lenders=lenders))


def known_base(named: Sequence[Finding]) -> Finding | None:
    """Return the base of what is named, if there is one and no other contradicts it."""
    found = auto_base.known(named)
    return found[0] if len(found) == 1 else None


def _most_wasted(share: PathShare) -> tuple[int, bytes]:
    return -share.wasted, share.path


def _largest(share: PathShare) -> tuple[int, bytes]:
    return -share.size, share.path


def _folders(paths: Sequence[PathShare]) -> tuple[FolderShare, ...]:
    sums = folder_sums((share.path, share.size, share.wasted) for share in paths)
    return tuple(FolderShare(*each) for each in sums)


# ---------------------------------------------------------------- every base


def squashed_sizes(trees: Sequence[Tree], scans: Sequence[Scan]) -> tuple[int, ...]:
    """Return the size of the layer that squashing above each of the trees but the last writes.

    `trees` are forks of each other, one for each number of layers from none on. Nothing is merged
    above the last but one: its only layer is passed through.
    """
    final = trees[-1]
    told = [tree.warnings for tree in trees]
    sizes = [done.size for done in scans]
    known: dict[tuple[int, int, int, int], bool] = {}
    found = []
    for kept, base in enumerate(trees[:-2]):
        # Each fork has its own layer's warnings; a base and what is above it have all of theirs.
        base.warnings = [warning for each in told[: kept + 1] for warning in each]
        final.warnings = [warning for each in told[kept + 1 :] for warning in each]
        draft = Draft.of(base, final, kept)
        new = {_places(pair): pair for pair in draft.doubtful if _places(pair) not in known}
        same = same_content(new.values(), scans, scans)
        known.update((places, pair in same) for places, pair in new.items())
        agreed = {pair for pair in draft.doubtful if known[_places(pair)]}
        found.append(draft.plan(agreed, sizes).size)
    return (*found, *sizes[-1:])


def _places(pair: Pair) -> tuple[int, int, int, int]:
    """Return where the two contents lie: the same for all names and attributes of the files."""
    upper, lower = pair
    return upper.source, upper.data, lower.source, lower.data


def _bases(
    image: Image,
    scans: Sequence[Scan],
    squashed: Sequence[int],
    source: str,
    choose: Sequence[str],
    known: Finding | None,
) -> tuple[BaseChoice, ...]:
    ends = [0, *accumulate(done.size for done in scans)]
    images = [ends[kept] + size for kept, size in enumerate(squashed)]
    saved = [ends[-1] - size for size in images]
    best = best_choice(saved, known.split.kept if known and known.split else 0)
    chain_ids = (None, *image.chain_ids)
    return tuple(
        BaseChoice(
            kept,
            chain_ids[kept],
            squashed[kept],
            images[kept],
            saved[kept],
            kept == best,
            command_line(kept, source, choose),
        )
        for kept in range(len(squashed))
    )


def command_line(kept: int, source: str, choose: Sequence[str] = ()) -> str:
    """Return the command that squashes above `kept` layers of `source`, quoted for a shell."""
    place = f"./{source}" if source.startswith("-") and source != "-" else source
    words = ["squash", "--keep-layers", str(kept), *choose, place]
    output = ["--load"] if source.startswith("docker-daemon:") else ["-o", "squashed.tar"]
    return shlex.join([*words, *output])


def best_choice(saved: Sequence[int], least: int = 0) -> int | None:
    """Return the best trade of what each number of kept layers saves: most saved for most kept.

    That is the largest number of layers kept which still saves BEST_SHARE percent of the most that
    any saves; None if nothing is saved. `least` layers, the known base, are kept in any case.
    """
    most = max(saved[least:], default=0)
    if most <= 0:
        return None
    return max(
        kept for kept, each in enumerate(saved) if kept >= least and 100 * each >= BEST_SHARE * most
    )


# ---------------------------------------------------------------- the values


#: Stands for the row of a layer that no row tells of.
_NO_ENTRY = HistoryEntry("", False, "", "", "")


def _history(image: Image) -> tuple[HistoryRow, ...]:
    history = image.config.history or ()
    found = []
    for row in rows(image.config):
        x = _NO_ENTRY if row.history is None else history[row.history]
        words = masked(x.created_by), x.created, masked(x.comment)
        found.append(HistoryRow(*words, x.empty_layer, row.layer))
    return tuple(found)


def _shares(
    image: Image, history: Sequence[HistoryRow], scans: Sequence[Scan], pages: Sequence[Page]
) -> tuple[LayerShare, ...]:
    made_by = {row.layer: row.created_by for row in history}
    return tuple(
        LayerShare(
            done.layer.diff_id,
            done.layer.blob.digest or done.layer.diff_id,
            chain_id,
            done.size,
            done.layer.blob.size,
            done.layer.blob.compression,
            made_by[i],
            *astuple(page),
        )
        for i, (done, chain_id, page) in enumerate(zip(scans, image.chain_ids, pages, strict=True))
    )
