"""The public calls: reading, squashing, writing, and all of it in one."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Literal

from squasher.archive import daemon, documents, lay_out, opening, output_file, selection
from squasher.archive.documents import Lend
from squasher.archive.lay_out import Form, Written
from squasher.archive.location import Location, parse_location
from squasher.archive.members import Store
from squasher.archive.saved import SavedFile, require_new, saved
from squasher.archive.target import Destination, Target
from squasher.digest import Digest
from squasher.errors import (
    ArchiveError,
    BaseNotFoundError,
    SquasherError,
    UsageError,
    placed,
)
from squasher.image import auto_base
from squasher.image import base as bases
from squasher.image.manifests import blob_name
from squasher.image.model import Archive, Image
from squasher.layers.options import Options
from squasher.layers.policies import check_dead, check_strict
from squasher.layers.read import name_blobs
from squasher.layers.repack import plain_notice
from squasher.layers.result import Squashed
from squasher.layers.squash import begin
from squasher.run import Job, Progress, silent
from squasher.tar.entry import ImageWarning
from squasher.verify.archive import verify_result

#: A path, a binary file object, or what `parse_location` returns.
Source = opening.Source


@dataclass(frozen=True, slots=True)
class Partial:
    """What a partial archive leaves out: digests of layers' blobs, and the sum of their bytes."""

    layers: tuple[Digest, ...]
    size: int


@dataclass(frozen=True, slots=True)
class SquashReport:
    """What one call did.

    images      in the order of the archive
    manifests   the manifest digest of each of them
    notices     about the archive as a whole, in words
    form        "docker" or "oci"
    size        bytes of the result as a plain tar, also if it is compressed or is a folder
    seconds     wall time
    loaded      the lines that the daemon printed, if it loaded the result
    profile     (phase, seconds); times of parallel threads are added
    partial     the blobs that were left out; None without `partial`
    attestations   the files that were saved; None without `export_attestations`
    """

    images: tuple[Squashed, ...]
    manifests: tuple[Digest, ...]
    notices: tuple[str, ...]
    form: Form
    size: int
    seconds: float
    loaded: tuple[str, ...] = ()
    profile: tuple[tuple[str, float], ...] = ()
    partial: Partial | None = None
    attestations: tuple[SavedFile, ...] | None = None

    @property
    def warnings(self) -> tuple[ImageWarning, ...]:
        """The warnings of all images."""
        return tuple(warning for image in self.images for warning in image.warnings)


@contextmanager
def open_archive(
    source: Source,
    *,
    blobs_from: Sequence[str] = (),
    tmp_dir: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
) -> Iterator[Archive]:
    """Open an archive or a layout for a `with` block; its images can be read inside the block.

    `blobs_from` are archives, as paths or transports, that have the layers which this one leaves
    out. O(members of the archive); one that cannot seek, or is compressed as a whole, is copied to
    a temporary file in `tmp_dir` first, which is O(bytes).

    Raises ArchiveError, UnsupportedImageError, UsageError, BaseNotFoundError (there is no image
    of that reference), EngineError, OutputError (no room for the copy).
    """
    with Job(tmp_dir, progress) as job:
        lenders = opening.lenders_at(blobs_from, job)
        archive = opening.referred(opening.opened(source, job, lenders.lend), source)
        yield replace(archive, lenders=lenders.archives)


def write(
    images: Iterable[Image],
    destination: Destination,
    *,
    form: Form | None = None,
    progress: Progress = silent,
) -> Written:
    """Write images to one archive or layout, and return what was written.

    `form` None stands for the form that the destination implies, else for "docker". Blobs that no
    document names are hashed first. A file appears complete or not at all. O(bytes).

    Raises OutputError, ArchiveError, UsageError, UnsupportedImageError (a name in .tar.zst without
    the extra `zstd`), EngineError (the docker daemon).
    """
    target = Target.of(destination, form)
    with Job(progress=progress) as job:
        found = tuple(name_blobs(image, job) for image in images)
        documents.check_names(found)
        if target.tags or target.ref:
            _check_one(found, "-o")
        if target.tags:
            found = tuple(replace(image, tags=target.tags, references=()) for image in found)
        written = lay_out.lay_out(Archive("", found), target.form, retag=True, ref=target.ref)
        _put(written, target, job)
    return written


def _put(
    written: Written,
    target: Target,
    job: Job,
    name: str = "",
    check: Callable[[Callable[[], Store]], None] | None = None,
) -> tuple[str, ...]:
    """Write the result where it goes, once the archive `name` is known to be sound.

    Returns what the daemon said. What can be written meanwhile, is: it must be sound, and the
    daemon have taken it, when it takes its place.
    """
    with job.timed("write"), target.staged(written, job) as staged:
        job.settle(name)
        if check is not None:
            with target.kept():
                check(staged.store)
        loaded = target.load_into_daemon(written, job)
        staged.commit()
    return loaded


def _check_one(
    images: Sequence[Image], where: str, why: str = "but a name is for one image"
) -> None:
    """Raise UsageError if what fits one image, `why` says what, is asked for more."""
    if len(images) > 1:
        raise UsageError(
            f"the archive has {len(images)} images, {why}",
            where=where,
            hint="choose one with --image or --platform",
        )


def squash_archive(
    source: Source,
    destination: Destination | None,
    *,
    base: str | None = None,
    daemon_base: bool = False,
    keep_layers: int | None = None,
    onto: str | None = None,
    max_dead: float | None = None,
    partial: bool = False,
    blobs_from: Sequence[str] = (),
    tags: Sequence[str] | None = None,
    message: str | None = None,
    history: Literal["keep", "drop"] = "keep",
    created: str = "source",
    compress: str = "auto",
    compress_kept: bool = False,
    form: Form | None = None,
    image: str = "",
    platform: str = "",
    max_size: int | None = None,
    clamp_mtime: str | None = None,
    max_layer_size: int | None = None,
    strict: Collection[str] | None = None,
    verify: bool = False,
    load: bool = False,
    dry_run: bool = False,
    iidfile: str | os.PathLike[str] | None = None,
    digestfile: str | os.PathLike[str] | None = None,
    export_attestations: str | os.PathLike[str] | None = None,
    tmp_dir: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
) -> SquashReport:
    """Squash the images of an archive into a new one.

    The arguments are the options of the command; Options explains those that are not listed here.
    Source and destination may be the same file. Time O(bytes), memory O(entries).

    destination   None writes no archive
    daemon_base   also look for the base in the docker daemon, if nothing else has it: a name, the
                  beginning of an image ID, or "auto"
    onto          the previous image: a path, a transport, or another image of the archive
    max_dead      the largest share, 0 to 1, of the bytes of its files that may be replaced or
                  deleted
    partial       leave out the blobs of kept layers; with `load` the daemon must have these layers
    blobs_from    archives, as paths or transports, that have the layers which the source, `onto`
                  and the base leave out
    form          None stands for the form that the destination implies, else for "docker"
    image, platform   the images to take, "" for all
    strict        the kinds of warning that are errors, () for all of them; None for none
    verify        compare the result with the source before it takes its place
    load          load the result into the docker daemon, before a file takes its name
    dry_run       plan for the destination, but write nothing: no archive, no other file, no folder
    iidfile, digestfile   files for the image ID and the manifest digest of the only image; written
                  after the archive
    export_attestations   a folder, empty or not there yet, for the attestations and signatures
                  that are left out of the result

    Raises what `open_archive`, `squash` and `write` raise, and PolicyError for `strict`, `verify`
    and `max_dead`.
    """
    started = time.monotonic()
    target = Target.of(destination, form)
    if load:
        target = target.and_load()
    if target.destination is not None:
        output_file.require_open(target.destination)
    if export_attestations is not None:
        require_new(os.fspath(export_attestations))
    if dry_run:
        target = replace(target, destination=None, folder="", load=False)
    if target.tags and tags is not None:
        raise UsageError("the output has a name for the image, too", where="--tag")
    if target.tags:
        tags = target.tags
    if partial and (base, keep_layers, onto) == (None, None, None):
        raise UsageError("needs -f, --keep-layers or --onto: no layer is kept", where="--partial")
    options = Options(
        base,
        keep_layers,
        None if tags is None else tuple(tags),
        message,
        history,
        created,
        compress,
        compress_kept,
        max_size,
        clamp_mtime,
        max_layer_size,
    )
    with Job(tmp_dir, progress) as job:
        lenders = opening.lenders_at(blobs_from, job)
        lend = lenders.lend
        whole = opening.opened(source, job, lend)
        archive = selection.select(opening.referred(whole, source), image, platform)
        with placed(archive.name):
            documents.check_names(archive.images)
        previous = [] if onto is None else _previous(onto, whole, archive.images, job, lend)
        total = sum(each.stored_size for each in (*archive.images, *previous))
        job = job.telling("read", "read", total)
        if len(archive.images) == 1:
            target, job = target.prepared(job)
        if options.tags is not None or target.ref:
            where = "-o" if target.ref or target.tags else "--tag" if tags else "--no-tag"
            _check_one(archive.images, where)
        idfiles = (("--iidfile", iidfile), ("--digestfile", digestfile))
        for option, file in idfiles:
            if file is not None:
                _check_one(archive.images, option, "but the file takes one ID")
        fetch = functools.cache(  # a pipe comes once
            functools.partial(_fetch, job=job, lend=lend, daemon_base=daemon_base)
        )
        of_daemon = isinstance(source, Location) and source.kind == "docker-daemon"
        ask = functools.cache(daemon.find_base) if daemon_base or of_daemon else lambda name: None
        lent = lenders.archives() if base == auto_base.AUTO else ()
        done = [
            _one(
                archive.name,
                each,
                lower,
                _others(each, whole, archive),
                options,
                target.form,
                job,
                fetch,
                ask,
                lent,
            )
            for each, lower in zip_longest(archive.images, previous)
        ]
        if max_dead is not None:
            check_dead(archive.name, done, max_dead)
        if strict is not None:
            check_strict(archive.name, done, strict)
        done = _with_plain_notices(done, target)
        result = replace(archive, images=tuple(squashed.image for squashed in done))
        written = lay_out.lay_out(
            result, target.form, retag=options.tags is not None, ref=target.ref
        )
        if partial:
            written = written.without(_kept_alone(done))
            if target.load:
                for squashed in done:
                    daemon.require_layers(squashed.image.config.diff_ids[: squashed.kept])
        check = functools.partial(
            verify_result,
            source=archive,
            done=done,
            target=target,
            job=job,
            absent={blob_name(digest): x for digest, x in written.absent.items()},
            limit=options.max_layer_size,
        )
        with saved(None if dry_run else export_attestations, archive) as beside:
            with job.explained(archive.name):
                loaded = _put(written, target, job, archive.name, check if verify else None)
            beside.commit()
        ids = (done[0].image.config.image_id, written.manifests[0])
        for (_, file), digest in zip(idfiles, ids, strict=True):
            if file is not None and not dry_run:  # no line end, as docker build writes them
                output_file.put(os.fspath(file), (str(digest).encode(),))
        return SquashReport(
            tuple(done),
            written.manifests,
            archive.notices + target.notices + target.podman_notice(written) + beside.notices,
            target.form,
            written.size,
            time.monotonic() - started,
            loaded,
            job.profile,
            Partial(tuple(written.absent), sum(x.size for x in written.absent.values()))
            if partial
            else None,
            beside.files,
        )


def _kept_alone(done: Iterable[Squashed]) -> set[Digest]:
    """Return the digests of layers that are kept, and are nowhere new.

    An empty layer may be both; loaders read the new one.
    """
    kept: set[Digest | None] = set()
    new: set[Digest | None] = set()
    for squashed in done:
        digests = [layer.blob.digest for layer in squashed.image.layers]
        kept.update(digests[: squashed.kept])
        new.update(digests[squashed.kept :])
    return {digest for digest in kept - new if digest is not None}


def _others(image: Image, whole: Archive, chosen: Archive) -> Sequence[Image]:
    """Return the images that the base of `image` may name.

    That is itself only beside others: the base among several images is passed through.
    """
    if len(chosen.images) > 1:
        return whole.images
    return tuple(other for other in whole.images if other.config is not image.config)


def _one(
    name: str,
    image: Image,
    previous: Image | None,
    others: Sequence[Image],
    options: Options,
    form: Form,
    job: Job,
    fetch: bases.Fetch,
    ask: auto_base.Ask,
    lenders: Sequence[Archive],
) -> Squashed:
    def fetched(text: str) -> Sequence[bases.Base] | None:
        try:
            return fetch(text)
        except SquasherError as error:
            if isinstance(error, BaseNotFoundError):
                error.image = image
            error.within("-f").elsewhere = True
            raise

    with placed(name), job.explained():
        return begin(
            image,
            options,
            job,
            onto=previous,
            others=others,
            fetch=fetched,
            ask=ask,
            lenders=lenders,
            zstd=form == "oci",
        )


def _with_plain_notices(done: list[Squashed], target: Target) -> list[Squashed]:
    """Return the same with what compressing would save, where plain layers are stored as such."""
    if target.form != "oci" and not target.load:
        return done
    texts = [plain_notice(x.image, x.kept if x.merged else None) for x in done]
    if not any(texts) or (target.form != "oci" and not daemon.keeps_blobs()):
        return done
    return [
        replace(squashed, notices=(*squashed.notices, *filter(None, (text,))))
        for squashed, text in zip(done, texts, strict=True)
    ]


@contextmanager
def open_previous(
    text: str,
    archive: Archive,
    images: Sequence[Image],
    *,
    blobs_from: Sequence[str] = (),
    tmp_dir: str | os.PathLike[str] | None = None,
) -> Iterator[list[Image]]:
    """Open what `--onto` names; give the previous image of each of `images`, as squashing has it.

    Raises what `open_archive` raises.
    """
    with Job(tmp_dir) as job:
        yield _previous(text, archive, images, job, opening.lenders_at(blobs_from, job).lend)


def _previous(
    text: str, whole: Archive, images: Sequence[Image], job: Job, lend: Lend
) -> list[Image]:
    """Return the previous image of each of `images`: the only one there, or that of its platform.

    `text` is a path or a transport, else another image of the archive. Raises BaseNotFoundError.
    """
    where = f"--onto {text}"
    if not text.strip():
        raise UsageError("the name is empty", where="--onto")
    location = parse_location(text)
    if location.kind == "stream":
        raise UsageError("give a path or a transport", where=where)
    if location.kind == "path" and not os.path.exists(text):
        try:
            found = selection.select(whole, text).images
        except BaseNotFoundError:
            what = "there is no such file, and no image of the archive has that name"
            raise BaseNotFoundError(what, where=where, image=images[0]) from None
    else:
        with placed("--onto"):
            found = opening.referred(opening.opened(location, job, lend), location).images
    previous = []
    for image in images:
        fitting = [each for each in found if each.platform == image.platform]
        if len(found) == 1:
            fitting = list(found)
        if len(fitting) != 1:
            raise BaseNotFoundError(
                f"{len(fitting)} of its {len(found)} images are for {image.platform}",
                where=where,
                hint="name one as docker-archive:PATH:REF or oci:DIR:REF",
                image=image,
            )
        previous += fitting
    return previous


def _fetch(text: str, job: Job, lend: Lend, daemon_base: bool) -> Sequence[bases.Base] | None:
    """Return the images of the archive or transport `text` as bases; None if it is neither.

    With `daemon_base`, what may name an image of the daemon and is no path does.
    """
    location = parse_location(text)
    if location.kind == "docker-daemon":
        return (daemon.base(location.path),)
    if location.kind == "stream":
        return None
    if location.kind == "path" and not os.path.exists(text):
        return (daemon.base(text),) if daemon_base and daemon.may_have(text) else None
    whole = opening.opened(location, job, lend, hashed=False)
    images = opening.referred(whole, location).images
    try:
        for layer in (layer for image in images for layer in image.layers):
            layer.blob.content.check()  # nothing else is read of it
    except ArchiveError as error:
        raise error.within(text) from None
    return [bases.of_image(image) for image in images]
