"""From what names an archive, a path, a stream or a transport, to its images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import BinaryIO

from squasher.archive import daemon, reader, selection
from squasher.archive.documents import Lend, lend_nothing
from squasher.archive.lenders import Lenders
from squasher.archive.location import Location, parse_location
from squasher.archive.members import Store
from squasher.archive.source import open_store
from squasher.errors import ArchiveError, UsageError, placed
from squasher.image.model import Archive
from squasher.run import Job

#: A path, a binary file object, or what `parse_location` returns.
Source = str | os.PathLike[str] | BinaryIO | Location


def opened(source: Source, job: Job, lend: Lend = lend_nothing, *, hashed: bool = True) -> Archive:
    """Return all that `source` holds; layers that it leaves out may be lent.

    Not `hashed` tells that nobody will ask for the digests of its members. Raises what `store_of`
    and `reader.read` raise.
    """
    return reader.read(*store_of(source, job, hashed=hashed), lend)


def store_of(source: Source, job: Job, *, hashed: bool = True) -> tuple[Store, str]:
    """Return the members of `source`, and its name for messages.

    Raises ArchiveError, OutputError, EngineError, BaseNotFoundError, UsageError.
    """
    if isinstance(source, Location) and source.kind == "path":
        source = source.path
    if not isinstance(source, Location):
        return open_store(source, job, hashed=hashed)
    if source.kind == "docker-daemon":
        with daemon.export(source.path) as stream:
            found, _ = open_store(stream, job)
        return found, f"docker-daemon:{source.path}"
    if source.kind == "stream":
        raise UsageError("give a file object", where=source.path)
    if (source.kind == "oci") != os.path.isdir(source.path) and os.path.exists(source.path):
        what = "is a file" if source.kind == "oci" else "is a folder"
        hint = "oci-archive: takes files, oci: takes folders"
        raise ArchiveError(what, where=source.path, hint=hint)
    return open_store(source.path, job, hashed=hashed)


def lenders_at(places: Sequence[str], job: Job) -> Lenders:
    """Return the archives that `places` name, paths and transports, as what lends blobs.

    Raises what `store_of` raises.
    """
    stores = []
    for place in places:
        location = parse_location(place)
        if location.kind == "stream":
            raise UsageError("give a path or a transport", where=f"--blobs-from {place}")
        with placed("--blobs-from"):
            stores.append(store_of(location, job))
    return Lenders(stores)


def referred(archive: Archive, source: Source) -> Archive:
    """Return what of `archive` the reference of its transport names; all of it without one.

    Raises BaseNotFoundError.
    """
    if not isinstance(source, Location) or not source.ref:
        return archive
    return selection.referred(archive, source.ref, listed=source.kind == "docker-archive")
