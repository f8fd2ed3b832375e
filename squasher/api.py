"""The public calls: reading, squashing, writing, and all of it in one."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

from squasher.archive import documents, lay_out, opening, output_file
from squasher.archive.lay_out import Form, Written
from squasher.archive.saved import require_new
from squasher.archive.target import Destination, Target
from squasher.errors import UsageError
from squasher.image.model import Archive, Image
from squasher.layers.options import Options
from squasher.layers.read import name_blobs
from squasher.request import Request, SquashReport, check_one, fulfil, previous_images, put
from squasher.run import Job, Progress, silent

#: A path, a binary file object, or what `parse_location` returns.
Source = opening.Source


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
            check_one(found, "-o")
        if target.tags:
            found = tuple(replace(image, tags=target.tags, references=()) for image in found)
        written = lay_out.lay_out(Archive("", found), target.form, retag=True, ref=target.ref)
        put(written, target, job)
    return written


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
    request = Request(
        source,
        target,
        options,
        onto=onto,
        daemon_base=daemon_base,
        blobs_from=tuple(blobs_from),
        image=image,
        platform=platform,
        max_dead=max_dead,
        strict=strict,
        partial=partial,
        verify=verify,
        dry_run=dry_run,
        id_files=(("--iidfile", iidfile), ("--digestfile", digestfile)),
        attestations=export_attestations,
    )
    with Job(tmp_dir, progress) as job:
        return fulfil(request, job)


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
        yield previous_images(text, archive, images, job, opening.lenders_at(blobs_from, job).lend)
