"""The public calls: reading, squashing, writing, and all of it in one."""

from __future__ import annotations

import datetime
import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from squasher import base as bases
from squasher import reader, spec, writer
from squasher.compare import Difference, differences
from squasher.content import Content, Hole, Part
from squasher.digest import Digest
from squasher.errors import SquasherError, UsageError
from squasher.image import Blob, Image, Layer, rows
from squasher.merge import Draft, MergePlan, Span, Zeros
from squasher.reader import Archive, Source, Spool
from squasher.scan import Scan, extract, same_content, scan
from squasher.spec import HistoryEntry, ImageConfig
from squasher.tarstream import Dispute
from squasher.tree import Tree
from squasher.writer import Destination

#: Called with the phase ("spool", "read", "hash", "write"), the bytes done just now, and the
#: bytes that the phase will take in all (0 where nobody knows). May be called from any thread.
Progress = Callable[[str, int, int], None]


def _silent(phase: str, done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True, slots=True)
class Options:
    """What squashing is asked to do, besides the image.

    base, keep_layers   at most one of them: what `-f` and `--keep-layers` take; neither: all
    tags                None keeps those of the image, () drops them
    message             comment of the new history row; None stands for the default
    history             "keep" or "drop", as the option
    created             "source", "now", or a time as RFC 3339 or epoch seconds
    """

    base: str | None = None
    keep_layers: int | None = None
    tags: tuple[str, ...] | None = None
    message: str | None = None
    history: Literal["keep", "drop"] = "keep"
    created: str = "source"

    def __post_init__(self) -> None:
        if self.base is not None and self.keep_layers is not None:
            raise UsageError("-f and --keep-layers exclude each other")
        for tag in self.tags or ():
            if spec.normalise_tag(tag) is None:
                raise UsageError(f"{tag!r} is no image name", where="--tag")


@dataclass(frozen=True, slots=True)
class LayerReport:
    """A layer before or after: bytes as stored, entries (whiteouts included), who made it."""

    diff_id: Digest
    digest: Digest
    size: int
    entries: int
    created_by: str


@dataclass(frozen=True, slots=True)
class Squashed:
    """A squashed image and what became of it.

    image        the result; the source itself, tags apart, if there was nothing to squash
    source_id    image ID of the source
    kept         number of layers kept byte for byte
    merged       False if there was nothing to squash
    before, after   its layers, lowest first
    entries, whiteouts   what the new layer holds
    overwritten, deleted, provided   entries of the squashed layers that went: replaced by a
                 later one, removed, already in the base
    notices      lines that a person should read
    warnings     what engines disagree about
    """

    image: Image
    source_id: Digest
    kept: int
    merged: bool
    before: tuple[LayerReport, ...]
    after: tuple[LayerReport, ...]
    entries: int
    whiteouts: int
    overwritten: int
    deleted: int
    provided: int
    notices: tuple[str, ...]
    warnings: tuple[Dispute, ...]

    @property
    def size_before(self) -> int:
        """Bytes of all layers of the source, as stored."""
        return sum(layer.size for layer in self.before)

    @property
    def size_after(self) -> int:
        """Bytes of all layers of the result, as stored."""
        return sum(layer.size for layer in self.after)


@dataclass(frozen=True, slots=True)
class SquashReport:
    """What one call did.

    manifests   manifest digest of each image, in the order of `images`
    size        bytes of the archive
    seconds     wall time
    """

    images: tuple[Squashed, ...]
    manifests: tuple[Digest, ...]
    size: int
    seconds: float

    @property
    def warnings(self) -> tuple[Dispute, ...]:
        """The warnings of all images."""
        return tuple(warning for image in self.images for warning in image.warnings)


@contextmanager
def open_archive(
    source: Source,
    *,
    tmp_dir: str | os.PathLike[str] | None = None,
    progress: Progress = _silent,
) -> Iterator[Archive]:
    """Open an archive: a path, or a binary file object; its images can be read inside the block.

    What cannot seek is copied to a temporary file first. O(members of the archive). Raises
    ArchiveError, UnsupportedImageError, OutputError (no room for the copy).
    """
    spool = Spool(tmp_dir)
    try:
        file, size, name = reader.open_source(source, spool, lambda n: progress("spool", n, 0))
        yield reader.read_archive(file, size, name)
    finally:
        spool.close()


def squash(
    image: Image,
    base: str | None = None,
    *,
    options: Options | None = None,
    spool: Spool | None = None,
    progress: Progress = _silent,
) -> Squashed:
    """Return `image` with everything above the base merged into one layer.

    `base` is short for `Options(base=...)`. Every layer is read once and checked against its
    digests; the new layer is a plan over the old ones and is read once for its digest. Content is
    compared with the base where headers agree. Time O(bytes), memory O(entries). `spool` takes
    compressed layers; by default temporary files that live as long as the result.

    Raises UsageError, BaseNotFoundError, ArchiveError (also DigestMismatchError), OutputError.
    """
    options = options or Options(base=base)
    rows(image.config)  # raises if there are more rows than layers
    if options.keep_layers is not None:
        kept = bases.keep(image, options.keep_layers)
    elif options.base is not None:
        kept = bases.resolve(image, options.base)
    else:
        kept = 0
    return _squash(image, kept, options, spool or Spool(), progress)


def _squash(
    image: Image, kept: int, options: Options, spool: Spool, progress: Progress
) -> Squashed:
    tags = image.tags if options.tags is None else tuple(map(_with_tag, options.tags))
    image = replace(image, tags=tags)
    total = sum(layer.blob.size for layer in image.layers)
    merging = len(image.layers) - kept > 1
    lower = Tree()
    tree = lower
    scans: list[Scan] = []
    entries_before = 0
    for done in scan(image, kept, spool, lambda n: progress("read", n, total)):
        if merging:
            if len(scans) == kept:
                tree = lower.fork(kept)
            try:
                tree.apply(done.changes)
            except SquasherError as error:
                raise error.within(f"layer {len(scans) + 1} of {len(image.layers)}") from None
        entries_before += len(done.changes.entries) if len(scans) >= kept else 0
        scans.append(done)
    before = _layer_reports(image, scans)
    image = replace(image, layers=tuple(done.layer for done in scans))
    if not merging:
        return Squashed(
            image, image.config.image_id, kept, False, before, before, 0, 0, 0, 0, 0,
            _idle(options), (),
        )  # fmt: skip
    draft = Draft(lower, tree, kept)
    plan = draft.plan(
        same_content(draft.doubtful, scans, scans), [done.changes.size for done in scans]
    )
    warnings = (*lower.warnings, *tree.warnings)
    overwritten = tree.overwritten
    deleted = max(0, entries_before - draft.survivors - overwritten)
    del draft, lower, tree
    layer = _new_layer(image, kept, plan, _contents(plan, scans, spool), progress)
    result, notices = _new_image(image, kept, layer, options)
    entries = plan.entries + plan.whiteouts
    report = LayerReport(layer.diff_id, layer.diff_id, plan.size, entries, "")
    return Squashed(
        result,
        image.config.image_id,
        kept,
        True,
        before,
        (*before[:kept], report),
        plan.entries,
        plan.whiteouts,
        overwritten,
        deleted,
        plan.provided,
        notices,
        warnings,
    )


def _with_tag(name: str) -> str:
    return spec.normalise_tag(name) or name


def _idle(options: Options) -> tuple[str, ...]:
    """Return the line that says that there was nothing to squash, naming options without effect."""
    idle = [
        flag
        for flag, used in (
            ("--message", options.message is not None),
            ("--history", options.history != "keep"),
            ("--created", options.created != "source"),
        )
        if used
    ]
    text = "nothing to squash: at most one layer lies above the base; the image is passed through"
    return (f"{text} ({', '.join(idle)} had nothing to do)" if idle else text,)


def _layer_reports(image: Image, scans: Sequence[Scan]) -> tuple[LayerReport, ...]:
    made_by = {
        row.layer: image.config.history[row.history].created_by
        for row in rows(image.config)
        if row.layer is not None and row.history is not None and image.config.history
    }
    return tuple(
        LayerReport(
            done.layer.diff_id,
            done.layer.blob.digest or done.layer.diff_id,
            done.layer.blob.size,
            done.changes.count,
            made_by.get(i, ""),
        )
        for i, done in enumerate(scans)
    )


# ---------------------------------------------------------------- the new layer


def _contents(plan: MergePlan, scans: Sequence[Scan], spool: Spool) -> dict[int, Content]:
    """Return the layers that the plan takes bytes from."""
    ranges: dict[int, list[tuple[int, int]]] = {}
    for piece in plan.pieces:
        if type(piece) is Span:
            ranges.setdefault(piece.source, []).append((piece.start, piece.stop))
    return {source: extract(scans[source], spans, spool) for source, spans in ranges.items()}


def _new_layer(
    image: Image, kept: int, plan: MergePlan, contents: dict[int, Content], progress: Progress
) -> Layer:
    content = Content(tuple(_parts(plan, contents)))
    assert content.size == plan.size  # noqa: S101
    tar_hash = hashlib.sha256()
    for window in content.windows():
        tar_hash.update(window)
        progress("hash", len(window), plan.size)
    digest = Digest(tar_hash.hexdigest())
    docker = image.layers[kept].blob.media_type.startswith("application/vnd.docker.")
    return Layer(digest, Blob(content, spec.DOCKER_LAYER if docker else spec.OCI_LAYER, digest))


def _parts(plan: MergePlan, contents: dict[int, Content]) -> Iterator[Part]:
    literals: list[bytes] = []
    for piece in plan.pieces:
        if type(piece) is bytes:
            literals.append(piece)
            continue
        if literals:
            yield b"".join(literals)
            literals = []
        if type(piece) is Span:
            yield from contents[piece.source].slice(piece.start, piece.stop)
        else:
            assert type(piece) is Zeros  # noqa: S101
            yield Hole(piece.count)
    yield b"".join(literals)


# ---------------------------------------------------------------- the new config


def _new_image(
    image: Image, kept: int, layer: Layer, options: Options
) -> tuple[Image, tuple[str, ...]]:
    """Return `image` with `layer` in place of those above the lowest `kept`, and notices."""
    config = image.config
    notices = []
    created = _created(options.created)
    history = None
    if config.history is not None:
        message = options.message
        if message is None:
            message = _default_message(image, kept)
        row = spec.history_entry(created or config.created, message)
        history = _history(config, kept, row, options.history)
        if history is None:
            history = config.history
            notices.append("the history tells of fewer layers than are kept: it gets no new row")
    if f'"{spec.BUILDKIT_CACHE}"'.encode() in config.raw:
        notices.append(f"{spec.BUILDKIT_CACHE} is removed from the config: its layers are no more")
    diff_ids = [*config.diff_ids[:kept], layer.diff_id]
    new = spec.edit_config(config, diff_ids, history, created)
    layers = (*image.layers[:kept], layer)
    return replace(image, config=new, layers=layers), tuple(notices)


def _default_message(image: Image, kept: int) -> str:
    source = image.config.image_id
    if kept:
        return f"merge {source} to {image.chain_ids[kept - 1]}"
    return f"create new from {source}"


def _history(
    config: ImageConfig, kept: int, new: HistoryEntry, how: Literal["keep", "drop"]
) -> tuple[HistoryEntry, ...] | None:
    """Return the rows after squashing; None if the kept layers have too few to tell them apart."""
    table = config.history or ()
    layers = {row.history: row.layer for row in rows(config) if row.history is not None}
    if sum(layer is not None for layer in layers.values()) < kept:
        return None
    squashed = [i for i, layer in layers.items() if layer is not None and layer >= kept]
    if how == "drop":
        return (*table[: squashed[0] if squashed else len(table)], new)
    emptied = (spec.emptied(row) if i in squashed else row for i, row in enumerate(table))
    return (*emptied, new)


def _created(option: str) -> str | None:
    """Return the time that the option asks for; None for that of the source.

    Raises UsageError for a text that is no time.
    """
    if option == "source":
        return None
    where = "--created"
    if option == "now":
        option = os.environ.get("SOURCE_DATE_EPOCH", "")
        where = "SOURCE_DATE_EPOCH"
        if not option:
            return _rfc3339(datetime.datetime.now(datetime.timezone.utc))
    try:
        if option.isascii() and option.isdigit():
            return _rfc3339(datetime.datetime.fromtimestamp(int(option), datetime.timezone.utc))
        if where == "--created":
            moment = datetime.datetime.fromisoformat(option.upper().replace("Z", "+00:00"))
            if moment.tzinfo is not None:
                return option
    except (ValueError, OverflowError, OSError):
        pass
    raise UsageError(f"{option!r} is no time", where=where, hint="give RFC 3339 or epoch seconds")


def _rfc3339(moment: datetime.datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


# ---------------------------------------------------------------- all in one


def write(
    images: Iterable[Image], destination: Destination, *, progress: Progress = _silent
) -> writer.Written:
    """Write images to one archive: a path, or a binary file object.

    A file appears complete or not at all. Raises OutputError, ArchiveError.
    """
    written = writer.lay_out(tuple(images))
    writer.write(written, destination, lambda n: progress("write", n, written.size))
    return written


def compare(
    before: Image,
    after: Image,
    *,
    tmp_dir: str | os.PathLike[str] | None = None,
    progress: Progress = _silent,
) -> tuple[Difference, ...]:
    """Return where the root filesystems of two images differ, by path; () if they are the same.

    Both are read whole and checked; compressed layers are unpacked to temporary files. Time
    O(bytes), memory O(entries). Raises ArchiveError, OutputError.
    """
    total = sum(layer.blob.size for image in (before, after) for layer in image.layers)
    spool = Spool(tmp_dir)
    try:
        sides = [
            tuple(scan(image, 0, spool, lambda n: progress("read", n, total)))
            for image in (before, after)
        ]
        return differences(*sides)
    finally:
        spool.close()


def squash_archive(
    source: Source,
    destination: Destination | None,
    *,
    base: str | None = None,
    keep_layers: int | None = None,
    tags: Sequence[str] | None = None,
    message: str | None = None,
    history: Literal["keep", "drop"] = "keep",
    created: str = "source",
    tmp_dir: str | os.PathLike[str] | None = None,
    progress: Progress = _silent,
) -> SquashReport:
    """Squash all images of an archive into a new one; `destination` None writes nothing.

    The arguments are the options of the command (see Options). Source and destination may be the
    same file. Raises every SquasherError that `open_archive`, `squash` and `write` raise.
    """
    begin = time.monotonic()
    options = Options(
        base, keep_layers, None if tags is None else tuple(tags), message, history, created
    )
    _created(created)
    with open_archive(source, tmp_dir=tmp_dir, progress=progress) as archive:
        if options.tags is not None and len(archive.images) > 1:
            raise UsageError(
                f"the archive holds {len(archive.images)} images, tags fit one", where="--tag"
            )
        spool = Spool(tmp_dir)
        try:
            done = tuple(
                _within(archive.name, image, options, spool, progress) for image in archive.images
            )
            written = writer.lay_out([result.image for result in done])
            if destination is not None:
                write([result.image for result in done], destination, progress=progress)
        finally:
            spool.close()
    return SquashReport(done, written.manifests, written.size, time.monotonic() - begin)


def _within(
    name: str, image: Image, options: Options, spool: Spool, progress: Progress
) -> Squashed:
    try:
        return squash(image, options=options, spool=spool, progress=progress)
    except UsageError:
        raise
    except SquasherError as error:
        raise error.within(name) from None


def count_kinds(warnings: Iterable[Dispute]) -> Counter[str]:
    """Return how often each kind of warning occurs."""
    return Counter(warning.kind for warning in warnings)
