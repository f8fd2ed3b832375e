"""One image: from what is read of it to the squashed image."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import takewhile

from squasher.blobs.compression import Compression, compress, default, version
from squasher.blobs.content import Content, Part
from squasher.digest import Digest
from squasher.errors import SquasherError, UsageError
from squasher.image import auto_base, manifests
from squasher.image import base as bases
from squasher.image.auto_base import Ask
from squasher.image.base import Fetch, Split
from squasher.image.model import Archive, Blob, Image, Layer
from squasher.image.references import normalise_tag
from squasher.layers.apply import apply
from squasher.layers.content import Scan, extract, readable, same_content
from squasher.layers.history import new_image, updated_image
from squasher.layers.lazy import lost_tables
from squasher.layers.merge import Draft
from squasher.layers.options import Options
from squasher.layers.plan import MergePlan, Span
from squasher.layers.read import layer_places, name_blobs, scan, stacked
from squasher.layers.repack import compress_kept
from squasher.layers.result import Clamp, LayerReport, Squashed, Update, layer_reports, origins
from squasher.layers.tree import Tree
from squasher.layers.words import describing
from squasher.run import Job, Progress, silent
from squasher.tar.entry import REG, Entry, ImageWarning, Pair


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
    ask: Ask = lambda name: None,
    lenders: Sequence[Archive] = (),
    zstd: bool = True,
) -> Squashed:
    """Squash as part of `job`: the result holds only once `job.settle()` has returned.

    Without `zstd`, compress="auto" takes gzip instead. `ask` and `lenders` are for the base "auto".
    """
    if onto is not None and (options.base, options.keep_layers) != (None, None):
        raise UsageError("--onto keeps all layers of the previous image: give no other base")
    told: tuple[str, ...] = ()
    if options.keep_layers is not None:
        split = bases.keep(image, options.keep_layers)
    elif options.base == auto_base.AUTO:
        split, why = auto_base.resolve(image, others, ask, lenders)
        told = (f"the base is {why}",)
    elif options.base is not None:
        if bases.may_be_digest(options.base):
            image = name_blobs(image, job)
        split = bases.resolve(image, options.base, others, fetch)
    else:
        split = Split(0)
    made_from = origins(image, split.base, onto)
    tags = image.tags
    if options.tags is not None:
        tags = tuple(dict.fromkeys(map(_with_tag, options.tags)))
    references = image.references if options.tags is None else ()
    image = replace(image, tags=tags, references=references)
    if onto is not None:
        done = _update(image, onto, options, job, zstd)
    elif _something_to_do(len(image.layers) - split.kept, options):
        done = _merge(image, split, options, job, zstd)
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
    """Return the image as it is, and as it was read."""
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
        0,
        0,
        0,
        0,
        0,
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
        try:
            with job.timed("merge"):
                apply(tree, changes.clamped(options.latest))
        except SquasherError as error:
            raise error.within(places[len(scans)]) from None
        entries += len(changes.entries) if len(scans) >= kept else 0
        scans.append(done)
        del changes  # its names are in the tree now
    if len(scans) == kept:
        tree = above(lower, kept)
    return scans, lower, tree, entries


def _merge(image: Image, split: Split, options: Options, job: Job, zstd: bool) -> Squashed:
    kept = split.kept
    scans, lower, tree, entries = _read(image, kept, options, job)
    if len(scans) - kept == 1 and scans[kept].size <= (options.max_layer_size or 0):
        return _unchanged(image, split, options, scans, (*lower.warnings, *tree.warnings))
    image = replace(image, layers=tuple(done.layer for done in scans))
    before = layer_reports(image, scans)
    with job.timed("merge"):
        draft = Draft.of(lower, tree, kept)
    _, plans, large = _planned(draft, scans, kept, options, job)
    warnings = (*lower.warnings, *tree.warnings)
    overwritten = tree.overwritten
    deleted = max(0, entries - draft.survivors - overwritten)
    del draft, lower, tree
    how = _how(options, image, zstd)
    layers = _new_layers(image, kept, plans, scans, how, job)
    result, notices = new_image(image, split, layers, options)
    return Squashed(
        result,
        image.config.image_id,
        kept,
        True,
        before,
        (*before[:kept], *_new_reports(layers, plans)),
        sum(plan.entries for plan in plans),
        plans[0].whiteouts,
        overwritten,
        deleted,
        plans[0].provided,
        (*notices, *large, *_odd_layers(result.layers)),
        warnings,
        version(how.name),
        clamp=_clamp(options, plans),
    )


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
        return same, *draft.cut(same, sizes, limit, kept)


def _new_reports(layers: Sequence[Layer], plans: Sequence[MergePlan]) -> Iterator[LayerReport]:
    for layer, plan in zip(layers, plans, strict=True):
        count = plan.entries + plan.whiteouts
        digest = layer.blob.digest or layer.diff_id
        yield LayerReport(layer.diff_id, digest, layer.blob.size, count, "")


def _update(image: Image, previous: Image, options: Options, job: Job, zstd: bool) -> Squashed:
    """Return all layers of `previous` and one that turns its tree into that of `image`.

    The base is the tree of `previous`; the layers of `image` are applied to an empty one. Layers
    that both have, by diff_id, are read once, and what lies in them is not compared.
    """
    kept = len(previous.layers)
    stack, places = stacked(image, previous)
    known = {layer.diff_id for layer in previous.layers}
    scans, lower, tree, entries = _read(
        stack, kept, options, job, places, lambda _, first: Tree(first)
    )
    with job.timed("merge"):
        draft = Draft.of(lower, tree, kept)
    same, plans, large = _planned(draft, scans, kept, options, job)
    used, held = draft.still_used(same), _held(lower)
    warnings = (*tree.warnings, *draft.warnings)
    overwritten = tree.overwritten
    deleted = max(0, entries - draft.survivors - overwritten)
    del draft, lower, tree
    previous = replace(previous, layers=tuple(done.layer for done in scans[:kept]))
    before = layer_reports(image, scans[kept:])
    after = list(layer_reports(previous, scans[:kept]))
    layers: tuple[Layer, ...] = ()
    how = Compression("")
    if plans[0].entries or plans[0].whiteouts:
        how = _how(options, image, zstd)
        layers = _new_layers(stack, kept, plans, scans, how, job)
        after += _new_reports(layers, plans)
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], _pairs(image, previous)))
    update = Update(
        previous,
        shared,
        sum(layer.blob.size for layer in layers),
        sum(x.blob.size for x in image.layers if x.diff_id not in known),
        used,
        held,
    )
    result, notices = updated_image(image, previous, shared, layers, options)
    return Squashed(
        result,
        image.config.image_id,
        kept,
        bool(layers),
        before,
        tuple(after),
        sum(plan.entries for plan in plans),
        plans[0].whiteouts,
        overwritten,
        deleted,
        plans[0].provided,
        (*notices, *large, *_odd_layers(result.layers)),
        tuple(replace(warning, layer=max(0, warning.layer - kept)) for warning in warnings),
        version(how.name),
        update,
        _clamp(options, plans),
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


def _how(options: Options, image: Image, zstd: bool) -> Compression:
    """Return how new blobs are stored."""
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
    """Return the layers that `plans` describe, stored as `how` says."""
    like = image.layers[min(kept, len(image.layers) - 1)]
    docker = like.blob.media_type.startswith("application/vnd.docker.")
    dot = {"": "", "gzip": ".gzip", "zstd": ".zstd"}[how.name]
    media_type = manifests.DOCKER_LAYER + dot if docker else manifests.OCI_LAYER + how.suffix
    total = sum(plan.size for plan in plans)
    with job.timed("hash new"):
        contents = _contents(plans, scans, job)
        return tuple(_new_layer(plan, contents, how, media_type, total, job) for plan in plans)


def _new_layer(
    plan: MergePlan,
    contents: dict[int, Content],
    how: Compression,
    media_type: str,
    total: int,
    job: Job,
) -> Layer:
    content = Content(tuple(_parts(plan, contents)))
    assert content.size == plan.size  # noqa: S101
    tar_hash, blob_hash = hashlib.sha256(), hashlib.sha256()

    def windows() -> Iterator[bytes]:
        for window in content.windows():
            tar_hash.update(window)
            job.progress("hash", len(window), total)
            yield window

    def compressed() -> Iterator[bytes]:
        for chunk in job.timed_each(how.name, compress(how, windows())):
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
