"""What a call of squash_archive asks for, and its steps: open, squash, lay out, write."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from squasher.archive import daemon, documents, lay_out, opening, output_file, selection
from squasher.archive.documents import Lend
from squasher.archive.lay_out import Form, Written
from squasher.archive.lenders import Lenders
from squasher.archive.location import Location, parse_location
from squasher.archive.members import Store
from squasher.archive.saved import SavedFile, saved
from squasher.archive.target import Target
from squasher.digest import Digest
from squasher.errors import ArchiveError, BaseNotFoundError, SquasherError, UsageError, placed
from squasher.image import auto_base
from squasher.image import base as bases
from squasher.image.manifests import blob_name
from squasher.image.model import Archive, Image
from squasher.layers.options import Options
from squasher.layers.policies import check_dead, check_strict
from squasher.layers.repack import plain_notice
from squasher.layers.result import Squashed
from squasher.layers.squash import begin
from squasher.run import Job
from squasher.tar.entry import ImageWarning
from squasher.verify.archive import verify_result


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


@dataclass(frozen=True, slots=True)
class Request:
    """One call: from which archive to which, and what is asked of it beside Options.

    id_files   options, each with the file that it names, for image ID and manifest digest
    dry_run    write nothing: the target is one that takes nothing, too
    The others are the arguments of squash_archive.
    """

    source: opening.Source
    target: Target
    options: Options
    onto: str | None
    daemon_base: bool
    blobs_from: tuple[str, ...]
    image: str
    platform: str
    max_dead: float | None
    strict: Collection[str] | None
    partial: bool
    verify: bool
    dry_run: bool
    id_files: tuple[tuple[str, str | os.PathLike[str] | None], ...]
    attestations: str | os.PathLike[str] | None


@dataclass(frozen=True, slots=True)
class _Opened:
    """The archive that is squashed.

    whole      all of it
    archive    the images of it that are taken
    previous   the previous image of each of these, if the request has `onto`
    """

    whole: Archive
    archive: Archive
    previous: tuple[Image, ...]
    lenders: Lenders


def fulfil(request: Request, job: Job) -> SquashReport:
    """Squash the images of an archive into a new one. Raises as squash_archive does."""
    started = time.monotonic()
    opened = _open(request, job)
    archive, target = opened.archive, request.target
    total = sum(each.stored_size for each in (*archive.images, *opened.previous))
    job = job.telling("read", "read", total)
    if len(archive.images) == 1:
        target, job = target.prepared(job)
    done = _squash(request, opened, job)
    written = _lay_out(request, archive, done)
    check = functools.partial(
        verify_result,
        source=archive,
        done=done,
        target=target,
        job=job,
        absent={blob_name(digest): x for digest, x in written.absent.items()},
        limit=request.options.max_layer_size,
    )
    with saved(None if request.dry_run else request.attestations, archive) as beside:
        with job.explained(archive.name):
            loaded = put(written, target, job, archive.name, check if request.verify else None)
        beside.commit()
    ids = (done[0].image.config.image_id, written.manifests[0])
    for (_, file), digest in zip(request.id_files, ids, strict=True):
        if file is not None and not request.dry_run:  # no line end, as docker build writes them
            output_file.put(os.fspath(file), (str(digest).encode(),))
    left_out = Partial(tuple(written.absent), sum(x.size for x in written.absent.values()))
    return SquashReport(
        tuple(done),
        written.manifests,
        archive.notices + target.notices + target.podman_notice(written) + beside.notices,
        target.form,
        written.size,
        time.monotonic() - started,
        loaded,
        job.profile,
        left_out if request.partial else None,
        beside.files,
    )


def _open(request: Request, job: Job) -> _Opened:
    """Open the archive and what `onto` names; check what is asked of one image alone."""
    lenders = opening.lenders_at(request.blobs_from, job)
    whole = opening.opened(request.source, job, lenders.lend)
    referred = opening.referred(whole, request.source)
    archive = selection.labelled(selection.select(referred, request.image, request.platform))
    images, target, tags = archive.images, request.target, request.options.tags
    with placed(archive.name):
        documents.check_names(images)
    onto = request.onto
    previous = () if onto is None else previous_images(onto, whole, images, job, lenders.lend)
    if tags is not None or target.ref:
        where = "-o" if target.ref or target.tags else "--tag" if tags else "--no-tag"
        check_one(images, where)
    for option, file in request.id_files:
        if file is not None:
            check_one(images, option, "but the file takes one ID")
    return _Opened(whole, archive, tuple(previous), lenders)


def _squash(request: Request, opened: _Opened, job: Job) -> list[Squashed]:
    """Squash each image, and see what policies and the destination say to the results."""
    archive, options, target = opened.archive, request.options, request.target
    lend, daemon_base = opened.lenders.lend, request.daemon_base
    fetch = functools.cache(  # a pipe comes once
        functools.partial(_fetch, job=job, lend=lend, daemon_base=daemon_base)
    )
    source = request.source
    of_daemon = isinstance(source, Location) and source.kind == "docker-daemon"
    ask = functools.cache(daemon.find_base) if daemon_base or of_daemon else bases.fetch_nothing
    lent = opened.lenders.archives() if options.base == auto_base.AUTO else ()
    zstd, done = target.form == "oci", []
    for image, previous in zip_longest(archive.images, opened.previous):
        others = _others(image, opened.whole, archive)
        sources = bases.Sources(others, functools.partial(_fetch_for, image, fetch), ask, lent)
        with placed(archive.name), job.explained():
            done.append(begin(image, options, sources, job, onto=previous, zstd=zstd))
    if request.max_dead is not None:
        check_dead(archive.name, done, request.max_dead)
    if request.strict is not None:
        check_strict(archive.name, done, request.strict)
    return _with_plain_notices(done, target)


def _lay_out(request: Request, archive: Archive, done: list[Squashed]) -> Written:
    """Return what is to be written; see that the daemon has what is left out."""
    result = replace(archive, images=tuple(squashed.image for squashed in done))
    target, retag = request.target, request.options.tags is not None
    written = lay_out.lay_out(result, target.form, retag=retag, ref=target.ref)
    if not request.partial:
        return written
    if target.load:
        for squashed in done:
            daemon.require_layers(squashed.image.config.diff_ids[: squashed.kept])
    return written.without(_kept_alone(done))


def put(
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


def check_one(
    images: Sequence[Image], where: str, why: str = "but a name is for one image"
) -> None:
    """Raise UsageError if what fits one image, `why` says what, is asked for more."""
    if len(images) > 1:
        raise UsageError(
            f"the archive has {len(images)} images, {why}",
            where=where,
            hint="choose one with --image or --platform",
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


def _fetch_for(image: Image, fetch: bases.Fetch, text: str) -> Sequence[bases.Base] | None:
    """Return what `fetch` does; its errors are about what `text` names, not about `image`."""
    try:
        return fetch(text)
    except SquasherError as error:
        if isinstance(error, BaseNotFoundError):
            error.image = image
        error.within("-f").elsewhere = True
        raise


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


def previous_images(
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
