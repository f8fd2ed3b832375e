"""One image: from what is read of it to the squashed image."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import takewhile

from squasher.blobs.compression import Compression, default, version
from squasher.blobs.content import Content, Part
from squasher.errors import UsageError, placed
from squasher.image import auto_base
from squasher.image import base as bases
from squasher.image.base import Fetch, Sources, Split, fetch_nothing
from squasher.image.model import Image, Layer
from squasher.image.references import normalise_tag
from squasher.layers.apply import apply
from squasher.layers.content import Scan, extract, readable, same_content
from squasher.layers.history import new_image, updated_image
from squasher.layers.merge import Draft
from squasher.layers.options import Options
from squasher.layers.plan import MergePlan, Span
from squasher.layers.read import layer_places, name_blobs, scan, stacked
from squasher.layers.repack import compress_kept, stored_as
from squasher.layers.result import Clamp, LayerReport, Squashed, Update, layer_reports, origins
from squasher.layers.tree import Tree
from squasher.layers.words import describing, lost_tables
from squasher.run import Job, Progress, silent
from squasher.tar.entry import REG, Entry, ImageWarning, Pair


def squash(
    image: Image,
    base: str | None = None,
    *,
    options: Options | None = None,
    onto: Image | None = None,
    others: Sequence[Image] = (),
    fetch: Fetch = fetch_nothing,
    tmp_dir: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
) -> Squashed:
    """Return `image` with all layers above the base merged into one.

    `base` is short for `Options(base=...)`. It may name one of `others`, images of the same
    archive. For a path or a transport use `squash_archive`, or give a `fetch` that opens it.

    With `onto`, a previous image, all its layers are kept. The new layer turns its root filesystem
    into that of `image`; there is no new layer if both are the same.

    Each layer is read once and checked against its digests. Contents are compared with the base
    where headers agree. The new layer is a list of parts of the old ones, and is read once for its
    digest. Time O(bytes), memory O(entries). Layers that were unpacked or compressed are temporary
    files in `tmp_dir`, which are kept as long as the result.

    Raises UsageError, BaseNotFoundError, ArchiveError (also DigestMismatchError),
    UnsupportedImageError, OutputError.
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
            return begin(image, options, Sources(others, fetch), job, onto=onto)
    except BaseException:
        job.close()
        raise


def begin(
    image: Image,
    options: Options,
    sources: Sources,
    job: Job,
    *,
    onto: Image | None = None,
    zstd: bool = True,
) -> Squashed:
    """Squash as part of `job`: the result holds only once `job.settle()` has returned.

    Without `zstd`, compress="auto" takes gzip instead.
    """
    if onto is not None and (options.base, options.keep_layers) != (None, None):
        raise UsageError("--onto keeps all layers of the previous image: give no other base")
    told: tuple[str, ...] = ()
    if options.keep_layers is not None:
        split = bases.keep(image, options.keep_layers)
    elif options.base == auto_base.AUTO:
        split, why = auto_base.resolve(image, sources.others, sources.ask, sources.lenders)
        told = (f"the base is {why}",)
    elif options.base is not None:
        if bases.may_be_digest(options.base):
            image = name_blobs(image, job)
        split = bases.resolve(image, options.base, sources.others, sources.fetch)
    else:
        split = Split(0)
    made_from = origins(image, split.base, onto)
    tags = image.tags
    if options.tags is not None:
        tags = tuple(dict.fromkeys(map(_with_tag, options.tags)))
    references = image.references if options.tags is None else ()
    image = replace(image, tags=tags, references=references)
    if onto is not None or _something_to_do(len(image.layers) - split.kept, options):
        done = _merge(image, split, onto, options, job, zstd)
    else:
        done = _passed(image, split, options, job)
    if options.compress_kept:
        with job.timed("hash new"):
            done = compress_kept(done, _how(options, image, zstd), job)
    warnings = (*done.warnings, *describing(image, done.image))
    notices = (*told, *done.notices, *lost_tables(image, done.image))
    return replace(done, notices=notices, warnings=warnings, origins=made_from)


def _something_to_do(above: int, options: Options) -> bool:
    """Tell whether to squash the `above` layers above the base: one alone may be too large."""
    return above > 1 or (above == 1 and options.max_layer_size is not None)


def _passed(image: Image, split: Split, options: Options, job: Job) -> Squashed:
    """Return the image as it is, read: there is nothing to squash."""
    scans, tree, _, _ = _read(image, len(image.layers), options, job)
    return _unchanged(image, split, options, scans, tree.warnings)


def _unchanged(
    image: Image,
    split: Split,
    options: Options,
    scans: Sequence[Scan],
    warnings: Iterable[ImageWarning],
) -> Squashed:
    image = replace(image, layers=tuple(done.layer for done in scans))
    before = layer_reports(image, scans)
    notices = (_idle(options), *_odd_layers(image.layers))
    return Squashed(
        image,
        image.config.image_id,
        split.kept,
        False,
        before,
        before,
        notices,
        tuple(warnings),
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
        with placed(places[len(scans)]), job.timed("merge"):
            apply(tree, changes.clamped(options.latest))
        entries += len(changes.entries) if len(scans) >= kept else 0
        scans.append(done)
        del changes  # its names are in the tree now
    if len(scans) == kept:
        tree = above(lower, kept)
    return scans, lower, tree, entries


def _merge(
    image: Image, split: Split, previous: Image | None, options: Options, job: Job, zstd: bool
) -> Squashed:
    """Return `image` with one new layer above its base, or above all layers of `previous`.

    That one turns the tree of `previous` into what the layers of `image` make of an empty one.
    Layers that both have, by diff_id, are read once, and what lies in them is not compared.
    """
    kept = split.kept if previous is None else len(previous.layers)
    stack, places = (image, ()) if previous is None else stacked(image, previous)
    above = Tree.fork if previous is None else _alone
    scans, lower, tree, entries = _read(stack, kept, options, job, places, above)
    warnings = (*(lower.warnings if previous is None else ()), *tree.warnings)
    small = len(scans) - kept == 1 and scans[kept].size <= (options.max_layer_size or 0)
    if small and previous is None:
        return _unchanged(image, split, options, scans, warnings)
    with job.timed("merge"):
        draft = Draft.of(lower, tree, kept)
    same, plans, large = _planned(draft, scans, kept, options, job)
    warnings += tuple(draft.warnings)
    overwritten = tree.overwritten
    deleted = max(0, entries - draft.survivors - overwritten)
    used, held = (0, 0) if previous is None else (draft.still_used(same), _held(lower))
    del draft, lower, tree
    read = tuple(done.layer for done in scans)
    written = previous is None or plans[0].entries or plans[0].whiteouts
    how = _how(options, image, zstd) if written else Compression("")
    layers = _new_layers(stack, kept, plans, scans, how, job) if written else ()
    update = None
    if previous is None:
        image = replace(image, layers=read)
        before = layer_reports(image, scans)
        after = before[:kept]
        result, notices = new_image(image, split, layers, options)
    else:
        previous = replace(previous, layers=read[:kept])
        before = layer_reports(image, scans[kept:])
        after = layer_reports(previous, scans[:kept])
        update = _update(image, previous, layers, used, held)
        result, notices = updated_image(image, previous, update.shared, layers, options)
        warnings = tuple(replace(each, layer=max(0, each.layer - kept)) for each in warnings)
    return Squashed(
        result,
        image.config.image_id,
        kept,
        bool(layers),
        before,
        (*after, *_new_reports(layers, plans)),
        (*notices, *large, *_odd_layers(result.layers)),
        warnings,
        sum(plan.entries for plan in plans),
        plans[0].whiteouts,
        overwritten,
        deleted,
        plans[0].provided,
        version(how.name),
        update,
        _clamp(options, plans),
    )


def _alone(lower: Tree, first: int) -> Tree:
    return Tree(first)


def _clamp(options: Options, plans: Iterable[MergePlan]) -> Clamp | None:
    if options.latest is None:
        return None
    return Clamp(options.latest, sum(plan.clamped for plan in plans))


def _planned(
    draft: Draft, scans: Sequence[Scan], kept: int, options: Options, job: Job
) -> tuple[set[Pair], tuple[MergePlan, ...], tuple[str, ...]]:
    """Return the pairs of files whose content is the same, the plans that follow, and notices.

    One plan for each new layer, lowest first. Raises UsageError for more layers than are mounted.
    """
    with job.timed("compare"):
        uppers = readable(draft.doubtful, scans, job.spool)
        same = same_content(draft.doubtful, uppers, scans)
    with job.timed("merge"):
        sizes = [done.size for done in scans]
        plan = draft.plan(same, sizes)
        limit = options.max_layer_size
        if limit is None or plan.size <= limit or not plan.entries + plan.whiteouts:
            return same, (plan,), ()
        del plan  # as large as those that follow
        return same, *draft.cut(same, sizes, limit, kept)


def _new_reports(layers: Sequence[Layer], plans: Sequence[MergePlan]) -> Iterator[LayerReport]:
    for layer, plan in zip(layers, plans, strict=False):  # an update in which nothing differs
        count = plan.entries + plan.whiteouts
        digest = layer.blob.digest or layer.diff_id
        yield LayerReport(layer.diff_id, digest, layer.blob.size, count, "")


def _update(image: Image, previous: Image, layers: Sequence[Layer], used: int, held: int) -> Update:
    pairs = zip(image.config.diff_ids, previous.config.diff_ids, strict=False)
    known = {layer.diff_id for layer in previous.layers}
    return Update(
        previous,
        sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)),
        sum(layer.blob.size for layer in layers),
        sum(x.blob.size for x in image.layers if x.diff_id not in known),
        used,
        held,
    )


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


def _how(options: Options, image: Image, zstd: bool) -> Compression:
    how = options.compression or _as_before(image, zstd)
    return how if how.name or not options.compress_kept else default("gzip")


def _as_before(image: Image, zstd: bool) -> Compression:
    """Return how the newest layer is compressed, as far as that can be written."""
    name = image.layers[-1].blob.compression if image.layers else ""
    if not name or name == "gzip":
        return default(name)
    return default("zstd" if name == "zstd" and zstd else "gzip")


def _with_tag(name: str) -> str:
    return normalise_tag(name) or name


def _idle(options: Options) -> str:
    """Return the line that says that there was nothing to squash, naming options without effect."""
    defaults = Options()
    idle = [
        f"--{name.replace('_', '-')}"
        for name in ("message", "history", "created", "compress", "clamp_mtime", "max_layer_size")
        if getattr(options, name) != getattr(defaults, name)
    ]
    text = "nothing to squash: at most one layer lies above the base; the image is written as it is"
    return f"{text} ({', '.join(idle)} have no effect)" if idle else text


def _contents(plans: Iterable[MergePlan], scans: Sequence[Scan], job: Job) -> dict[int, Content]:
    """Return the layers that the plans take bytes from."""
    ranges: dict[int, set[tuple[int, int]]] = {}
    for piece in (piece for plan in plans for piece in plan.pieces):
        if type(piece) is Span:
            ranges.setdefault(piece.source, set()).add((piece.start, piece.stop))
    return {source: extract(scans[source], spans, job.spool) for source, spans in ranges.items()}


def _new_layers(
    image: Image,
    kept: int,
    plans: Sequence[MergePlan],
    scans: Sequence[Scan],
    how: Compression,
    job: Job,
) -> tuple[Layer, ...]:
    like = image.layers[min(kept, len(image.layers) - 1)].blob.media_type
    total = sum(plan.size for plan in plans)
    with job.timed("hash new"):
        contents = _contents(plans, scans, job)
        # From the top down, as an archive has them.
        new = [
            stored_as(Content(tuple(_parts(plan, contents))), how, like, total, job)
            for plan in reversed(plans)
        ]
        return tuple(reversed(new))


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
