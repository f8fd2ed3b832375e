"""One image: from what is read of it to the squashed image."""

from __future__ import annotations

import datetime
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Literal

from squasher import base as bases
from squasher import spec
from squasher.base import Fetch, Split
from squasher.compression import Compression, compress, default, parse_compression, version
from squasher.content import Content, Part
from squasher.digest import Digest
from squasher.errors import SquasherError, UsageError
from squasher.image import Blob, Image, Layer, rows, rows_with_layer
from squasher.job import Job, Progress, silent
from squasher.merge import Draft, MergePlan, Span
from squasher.scan import Scan, extract, layer_places, name_blobs, readable, same_content, scan
from squasher.spec import HistoryEntry, ImageConfig
from squasher.tarstream import REG, Dispute, Entry
from squasher.tree import Tree


@dataclass(frozen=True, slots=True)
class Options:
    """What squashing is asked to do, besides the image.

    base, keep_layers   at most one of them: what `-f` and `--keep-layers` take; neither: all
    tags                None keeps those of the image, () drops them
    message             comment of the new history row; None stands for the default
    history             "keep" or "drop", as the option
    created             "source", "now", or a time as RFC 3339 or epoch seconds
    compress            of the new layer: "auto", "none", "gzip[:LEVEL]", "zstd[:LEVEL]"
    max_size            refuse images that unpack to more bytes

    The texts are read once, when the options are made: "now" is one time for all images.

    compression         of the new layer; None stands for "auto"
    time                of the result; None stands for that of the source
    """

    base: str | None = None
    keep_layers: int | None = None
    tags: tuple[str, ...] | None = None
    message: str | None = None
    history: Literal["keep", "drop"] = "keep"
    created: str = "source"
    compress: str = "auto"
    max_size: int | None = None
    compression: Compression | None = field(init=False, repr=False)
    time: str | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.base is not None and self.keep_layers is not None:
            raise UsageError("-f and --keep-layers exclude each other")
        for tag in self.tags or ():
            if spec.normalise_tag(tag) is None:
                raise UsageError(f"{tag!r} is no image name", where="--tag")
        if self.max_size is not None and self.max_size < 0:
            raise UsageError(f"{self.max_size} is no size", where="--max-size")
        if self.history not in ("keep", "drop"):
            raise UsageError(f"{self.history!r} is neither keep nor drop", where="--history")
        try:
            (self.message or "").encode("utf-8")
        except UnicodeEncodeError:
            raise UsageError("is no UTF-8", where="--message") from None
        object.__setattr__(self, "compression", parse_compression(self.compress))
        object.__setattr__(self, "time", parse_created(self.created))


@dataclass(frozen=True, slots=True)
class LayerReport:
    """A layer before or after: bytes as stored, entries (whiteouts included), who made it."""

    diff_id: Digest
    digest: Digest
    size: int
    entries: int
    created_by: str


@dataclass(frozen=True, slots=True)
class Update:
    """What an update costs a host that has the previous image.

    previous   that image, as it was read
    shared     number of lowest layers that both images share
    fetch      bytes of the new layer as stored; 0 if nothing differs
    without    bytes of the image's own layers, as stored, that the previous image lacks
    used, held bytes of files in the previous image: those that are still seen, and all
    """

    previous: Image
    shared: int
    fetch: int
    without: int
    used: int
    held: int

    @property
    def dead(self) -> float:
        """The share of the previous image's files that is replaced or deleted, 0 to 1."""
        return 1 - self.used / self.held if self.held else 0.0


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
    compressor   the library that compressed the new layer, "" if it is not compressed
    update       what it costs a host that has the previous image, if it is onto one
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
    compressor: str = ""
    update: Update | None = None

    @property
    def size_before(self) -> int:
        """Bytes of all layers of the source, as stored."""
        return sum(layer.size for layer in self.before)

    @property
    def size_after(self) -> int:
        """Bytes of all layers of the result, as stored."""
        return sum(layer.size for layer in self.after)


def squash(
    image: Image,
    base: str | None = None,
    *,
    options: Options | None = None,
    onto: Image | None = None,
    others: Sequence[Image] = (),
    fetch: Fetch = lambda text: None,
    tmp_dir: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
) -> Squashed:
    """Return `image` with everything above the base merged into one layer.

    With `onto`, a previous image, return all layers of that and one layer that turns its root
    filesystem into that of `image`; no layer if both are the same.

    `base` is short for `Options(base=...)`; `others` are images that it may name. A path or a
    transport it may only be for `squash_archive`, which brings what opens them (`fetch`). Every
    layer is read once and checked against its digests; the new layer is a plan over the old ones
    and is read once for its digest. Content is compared with the base where headers agree. Time
    O(bytes), memory O(entries). Compressed layers are unpacked to temporary files in `tmp_dir`,
    which live as long as the result.

    Raises UsageError, BaseNotFoundError, ArchiveError (also DigestMismatchError), OutputError.
    """
    if options is None:
        options = Options(base=base)
    elif base is not None:
        if options.base is not None:
            raise UsageError("the base is given twice")
        options = replace(options, base=base)
    job = Job(tmp_dir, progress)
    try:
        with job.verified():
            return begin(image, options, job, onto=onto, others=others, fetch=fetch)
    except BaseException:
        job.close()
        raise


def begin(
    image: Image,
    options: Options,
    job: Job,
    *,
    onto: Image | None = None,
    others: Sequence[Image] = (),
    fetch: Fetch = lambda text: None,
    zstd: bool = True,
) -> Squashed:
    """Squash as part of `job`: the result holds only once `job.settle()` has returned.

    Without `zstd`, compress="auto" takes gzip instead.
    """
    if onto is not None and (options.base, options.keep_layers) != (None, None):
        raise UsageError("--onto keeps all layers of the previous image: give no other base")
    if options.keep_layers is not None:
        split = bases.keep(image, options.keep_layers)
    elif options.base is not None:
        if bases.may_be_digest(options.base):
            image = name_blobs(image, job)
        split = bases.resolve(image, options.base, others, fetch)
    else:
        split = Split(0)
    tags = image.tags
    if options.tags is not None:
        tags = tuple(dict.fromkeys(map(_with_tag, options.tags)))
    references = image.references if options.tags is None else ()
    image = replace(image, tags=tags, references=references)
    if onto is not None:
        return _update(image, onto, options, job, zstd)
    if len(image.layers) - split.kept > 1:
        return _merge(image, split, options, job, zstd)
    scans, tree, _, _ = _read(image, len(image.layers), options, job)
    image = replace(image, layers=tuple(done.layer for done in scans))
    before = _layer_reports(image, scans)
    notices = (_idle(options), *_odd_layers(image.layers))
    return Squashed(
        image,
        image.config.image_id,
        split.kept,
        False,
        before,
        before,
        0,
        0,
        0,
        0,
        0,
        notices,
        tuple(tree.warnings),
    )


def _read(
    image: Image,
    kept: int,
    options: Options,
    job: Job,
    places: Sequence[str] = (),
    above: Callable[[Tree, int], Tree] = Tree.fork,
) -> tuple[list[Scan], Tree, Tree, int]:
    """Return the layers, the trees of the `kept` lowest and of all, and the entries of the rest.

    `above` gives the tree that the rest is applied to.
    """
    lower = Tree()
    tree = lower
    scans: list[Scan] = []
    entries = 0
    places = places or layer_places(image)
    for done, changes in scan(image, kept, job, options.max_size, places):
        if len(scans) == kept:
            tree = above(lower, kept)
        try:
            with job.timed("merge"):
                tree.apply(changes)
        except SquasherError as error:
            raise error.within(places[len(scans)]) from None
        entries += len(changes.entries) if len(scans) >= kept else 0
        scans.append(done)
        del changes  # its names are in the tree now
    return scans, lower, tree, entries


def _merge(image: Image, split: Split, options: Options, job: Job, zstd: bool) -> Squashed:
    kept = split.kept
    scans, lower, tree, entries = _read(image, kept, options, job)
    image = replace(image, layers=tuple(done.layer for done in scans))
    before = _layer_reports(image, scans)
    with job.timed("merge"):
        draft = Draft(lower, tree, kept)
    with job.timed("compare"):
        uppers = readable(draft.doubtful, scans, job.spool)
        same = same_content(draft.doubtful, uppers, scans)
    with job.timed("merge"):
        plan = draft.plan(same, [done.size for done in scans])
    warnings = (*lower.warnings, *tree.warnings)
    overwritten = tree.overwritten
    deleted = max(0, entries - draft.survivors - overwritten)
    del draft, lower, tree
    how = options.compression or _as_before(image, zstd)
    with job.timed("hash new"):
        layer = _new_layer(image, kept, plan, _contents(plan, scans, job), how, job)
    result, notices = _new_image(image, split, layer, options)
    report = LayerReport(
        layer.diff_id,
        layer.blob.digest or layer.diff_id,
        layer.blob.size,
        plan.entries + plan.whiteouts,
        "",
    )
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
        (*notices, *_odd_layers(result.layers)),
        warnings,
        version(how.name),
    )


def _update(image: Image, previous: Image, options: Options, job: Job, zstd: bool) -> Squashed:
    """Return all layers of `previous` and one that turns its tree into that of `image`.

    The base is the tree of `previous`; the layers of `image` are applied to an empty one. Layers
    that both have, by diff_id, are read once, and what lies in them is not compared.
    """
    kept = len(previous.layers)
    known = {layer.diff_id: layer for layer in previous.layers}
    own = tuple(known.get(layer.diff_id, layer) for layer in image.layers)
    stack = replace(image, layers=(*previous.layers, *own))
    places = (*layer_places(previous, "the previous image: "), *layer_places(image))
    scans, lower, tree, entries = _read(
        stack, kept, options, job, places, lambda _, first: Tree(first)
    )
    with job.timed("merge"):
        draft = Draft(lower, tree, kept)
    with job.timed("compare"):
        uppers = readable(draft.doubtful, scans, job.spool)
        same = same_content(draft.doubtful, uppers, scans)
    with job.timed("merge"):
        plan = draft.plan(same, [done.size for done in scans])
    previous = replace(previous, layers=tuple(done.layer for done in scans[:kept]))
    before = _layer_reports(image, scans[kept:])
    after = list(_layer_reports(previous, scans[:kept]))
    layer = None
    how = Compression("")
    if plan.entries or plan.whiteouts:
        how = options.compression or _as_before(image, zstd)
        with job.timed("hash new"):
            layer = _new_layer(stack, kept, plan, _contents(plan, scans, job), how, job)
        digest = layer.blob.digest or layer.diff_id
        count = plan.entries + plan.whiteouts
        after.append(LayerReport(layer.diff_id, digest, layer.blob.size, count, ""))
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], _pairs(image, previous)))
    update = Update(
        previous,
        shared,
        layer.blob.size if layer else 0,
        sum(x.blob.size for x in image.layers if x.diff_id not in known),
        draft.still_used(same),
        _held(lower),
    )
    result, notices = _updated_image(image, previous, shared, layer, options)
    warnings = (*tree.warnings, *draft.warnings)
    overwritten = tree.overwritten
    return Squashed(
        result,
        image.config.image_id,
        kept,
        layer is not None,
        before,
        tuple(after),
        plan.entries,
        plan.whiteouts,
        overwritten,
        max(0, entries - draft.survivors - overwritten),
        plan.provided,
        (*notices, *_odd_layers(result.layers)),
        tuple(replace(warning, layer=max(0, warning.layer - kept)) for warning in warnings),
        version(how.name),
        update,
    )


def _pairs(image: Image, previous: Image) -> Iterator[tuple[Digest, Digest]]:
    return zip(image.config.diff_ids, previous.config.diff_ids, strict=False)


def _held(tree: Tree) -> int:
    """Return the bytes of all files in the tree, each counted once. O(names)."""
    files = {node for _, node in tree.walk() if type(node) is Entry}
    return sum(file.size for file in files if file.kind == REG)


def _odd_layers(layers: Sequence[Layer]) -> Iterator[str]:
    """Yield notices about layers that an engine is known not to take."""
    for name in ("xz", "bzip2"):
        if any(layer.blob.compression == name for layer in layers):
            yield f"a kept layer is compressed with {name}: containerd does not take it"
    if any(layer.blob.compression == "zstd" for layer in layers):
        yield "a layer is compressed with zstd: docker before 23 does not load it"


def _as_before(image: Image, zstd: bool) -> Compression:
    """Return how the newest layer is compressed, as far as that can be written."""
    name = image.layers[-1].blob.compression
    if not name or name == "gzip":
        return default(name)
    return default("zstd" if name == "zstd" and zstd else "gzip")


def _with_tag(name: str) -> str:
    return spec.normalise_tag(name) or name


def _idle(options: Options) -> str:
    """Return the line that says that there was nothing to squash, naming options without effect."""
    defaults = Options()
    idle = [
        f"--{name}"
        for name in ("message", "history", "created", "compress")
        if getattr(options, name) != getattr(defaults, name)
    ]
    text = "nothing to squash: at most one layer lies above the base; the image is passed through"
    return f"{text} ({', '.join(idle)} had nothing to do)" if idle else text


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
            done.count,
            made_by.get(i, ""),
        )
        for i, done in enumerate(scans)
    )


# ---------------------------------------------------------------- the new layer


def _contents(plan: MergePlan, scans: Sequence[Scan], job: Job) -> dict[int, Content]:
    """Return the layers that the plan takes bytes from."""
    ranges: dict[int, list[tuple[int, int]]] = {}
    for piece in plan.pieces:
        if type(piece) is Span:
            ranges.setdefault(piece.source, []).append((piece.start, piece.stop))
    return {source: extract(scans[source], spans, job.spool) for source, spans in ranges.items()}


def _new_layer(
    image: Image,
    kept: int,
    plan: MergePlan,
    contents: dict[int, Content],
    how: Compression,
    job: Job,
) -> Layer:
    """Return the layer that `plan` describes, stored as `how` says."""
    content = Content(tuple(_parts(plan, contents)))
    assert content.size == plan.size  # noqa: S101
    docker = image.layers[kept].blob.media_type.startswith("application/vnd.docker.")
    dot = {"": "", "gzip": ".gzip", "zstd": ".zstd"}[how.name]
    media_type = spec.DOCKER_LAYER + dot if docker else spec.OCI_LAYER + how.suffix
    tar_hash, blob_hash = hashlib.sha256(), hashlib.sha256()

    def windows() -> Iterator[bytes]:
        for window in content.windows():
            tar_hash.update(window)
            job.progress("hash", len(window), plan.size)
            yield window

    def compressed() -> Iterator[bytes]:
        for chunk in compress(how, windows()):
            blob_hash.update(chunk)
            yield chunk

    if how.name:
        stored = job.spool.store(compressed())
    else:
        stored, blob_hash = content, tar_hash
        for _ in windows():
            pass
    digests = Digest(tar_hash.hexdigest()), Digest(blob_hash.hexdigest())
    return Layer(digests[0], Blob(stored, media_type, digests[1], how.name))


def _parts(plan: MergePlan, contents: dict[int, Content]) -> Iterator[Part]:
    """Yield the bytes of the new layer as parts of the old ones; literals are joined."""
    literals: list[bytes] = []
    for piece in plan.pieces:
        if type(piece) is bytes:
            literals.append(piece)
            continue
        assert type(piece) is Span  # noqa: S101
        if literals:
            yield b"".join(literals)
            literals = []
        yield from contents[piece.source].slice(piece.start, piece.stop)
    yield b"".join(literals)


# ---------------------------------------------------------------- the new config


def _new_image(
    image: Image, split: Split, layer: Layer, options: Options
) -> tuple[Image, tuple[str, ...]]:
    """Return `image` with `layer` in place of those above the lowest `kept`, and notices."""
    config, kept = image.config, split.kept
    notices = []
    created = options.time
    history = None
    if config.history is not None:
        message = options.message
        if message is None:
            message = _default_message(image, kept)
        row = spec.history_entry(created or config.created, message)
        history = _history(config, split, row, options.history)
        if history is None:
            history = config.history
            notices.append("the history tells of fewer layers than are kept: it gets no new row")
        elif rows_with_layer(config) > len(config.diff_ids):
            notices.append(
                f"the history tells of {rows_with_layer(config)} layers, there are"
                f" {len(config.diff_ids)}: the newest rows lose theirs"
            )
    if f'"{spec.BUILDKIT_CACHE}"'.encode() in config.raw:
        notices.append(f"{spec.BUILDKIT_CACHE} is removed from the config: its layers are no more")
    diff_ids = [*config.diff_ids[:kept], layer.diff_id]
    new = spec.edit_config(config, diff_ids, history, created)
    layers = (*image.layers[:kept], layer)
    return replace(image, config=new, layers=layers, leads=()), tuple(notices)


def _updated_image(
    image: Image, previous: Image, shared: int, layer: Layer | None, options: Options
) -> tuple[Image, tuple[str, ...]]:
    """Return `image` on the layers of `previous`, with `layer` above, and notices."""
    config, kept = image.config, len(previous.layers)
    notices = []
    if not shared:
        notices.append("shares no layer with the previous image, also not its base")
    if layer is None:
        notices.append("nothing differs from the previous image: no new layer is written")
    created = options.time
    history = None
    if config.history is not None:
        lower = _rows_below(previous.config, kept)
        upper = [] if options.history == "drop" else _rows_above(config, shared)
        history = (*(lower or ()), *map(spec.emptied, upper))
        message = options.message
        if message is None:
            message = f"merge {config.image_id} to {previous.chain_ids[-1]}" if kept else ""
        if lower is None:
            notices.append("the history of the previous image has too few rows: it gets no new row")
        elif layer is not None:
            history += (spec.history_entry(created or config.created, message),)
    layers = (*previous.layers, *([layer] if layer else []))
    new = spec.edit_config(config, [x.diff_id for x in layers], history, created)
    return replace(image, config=new, layers=layers, leads=()), tuple(notices)


def _rows_below(config: ImageConfig, kept: int) -> tuple[HistoryEntry, ...] | None:
    """Return the rows up to that of the newest of `kept` layers; None if there are too few."""
    rows = config.history or ()
    with_layer = [i for i, row in enumerate(rows) if not row.empty_layer]
    if len(with_layer) < kept:
        return None
    return rows[: with_layer[kept - 1] + 1] if kept else ()


def _rows_above(config: ImageConfig, shared: int) -> tuple[HistoryEntry, ...]:
    """Return the rows above that of the newest of the `shared` lowest layers."""
    below = _rows_below(config, shared)
    return (config.history or ())[len(below or ()) :]


def _default_message(image: Image, kept: int) -> str:
    source = image.config.image_id
    if kept:
        return f"merge {source} to {image.chain_ids[kept - 1]}"
    return f"create new from {source}"


def _history(
    config: ImageConfig, split: Split, new: HistoryEntry, how: Literal["keep", "drop"]
) -> tuple[HistoryEntry, ...] | None:
    """Return the rows after squashing; None if the kept layers have too few to tell them apart."""
    table = config.history or ()
    with_layer = [i for i, row in enumerate(table) if not row.empty_layer]
    if len(with_layer) < split.kept:
        return None
    squashed = with_layer[split.kept :]
    if how == "drop":
        end = squashed[0] if squashed else len(table)
        if split.rows is not None:  # but never the row of a kept layer
            end = min(end, max([split.rows, *(i + 1 for i in with_layer[: split.kept][-1:])]))
        return (*table[:end], new)
    gone = frozenset(squashed)
    emptied = (spec.emptied(row) if i in gone else row for i, row in enumerate(table))
    return (*emptied, new)


#: RFC 3339 as Go's time package reads it; the ranges are checked by datetime.
_RFC3339 = re.compile(
    r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.\d{1,9})?(?:Z|[+-](\d{2}):(\d{2}))", re.ASCII
)


def parse_created(option: str) -> str | None:
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
    match = _RFC3339.fullmatch(option) if where == "--created" else None
    try:
        if option.isascii() and option.isdigit():
            return _rfc3339(datetime.datetime.fromtimestamp(int(option), datetime.timezone.utc))
        if match and int(match[2] or 0) < 24 and int(match[3] or 0) < 60:
            datetime.datetime.strptime(match[1], "%Y-%m-%dT%H:%M:%S")
            return option
    except (ValueError, OverflowError, OSError):
        pass
    raise UsageError(f"{option!r} is no time", where=where, hint="give RFC 3339 or epoch seconds")


def _rfc3339(moment: datetime.datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
