"""Where the result goes: what OUT names, and how a result gets there only when it is sound."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import BinaryIO

from squasher.archive import daemon, layout_folder, output_file, stream
from squasher.archive.growing import CAN_GROW, GrowingArchive
from squasher.archive.lay_out import Form, Written
from squasher.archive.location import Location
from squasher.archive.members import FolderStore, Store, TarStore
from squasher.archive.source import open_store
from squasher.errors import OutputError, SquasherError, UsageError
from squasher.image import references
from squasher.run import Job

#: A path, a binary file object, or what `parse_location` returns.
Destination = str | os.PathLike[str] | BinaryIO | Location


@dataclass(frozen=True, slots=True)
class Staged:
    """A result that has not taken its place: `store` opens it for reading, `commit` places it."""

    store: Callable[[], Store]
    commit: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Target:
    """A destination, the form that it takes, and what it says of the image's name.

    growing   the file, if its new layers are written while they are made
    """

    destination: str | os.PathLike[str] | BinaryIO | None
    form: Form
    folder: str = ""
    load: bool = False
    ref: str = ""
    tags: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    growing: GrowingArchive | None = None

    @classmethod
    def of(cls, destination: Destination | None, form: Form | None) -> Target:
        """Return the target that `destination` names. Raises UsageError for contradictions."""
        if form not in (None, "docker", "oci"):
            raise UsageError(f"{form!r} is neither docker nor oci", where="--format")
        if isinstance(destination, Location) and destination.kind == "path":
            destination = destination.path
        if not isinstance(destination, Location):
            return cls(destination, form or "docker", notices=_suffix_notice(destination))
        kind = destination.kind
        implied: Form = "oci" if kind in ("oci", "oci-archive") else "docker"
        if kind == "stream":
            raise UsageError("give a file object", where=destination.path)
        if form not in (None, implied):
            raise UsageError(f"{kind}: cannot be written as --format {form}", where="--format")
        notices = _suffix_notice(destination.path)
        if kind == "docker-daemon":
            if destination.path.startswith("sha256:"):
                where = f"docker-daemon:{destination.path}"
                raise UsageError("an ID cannot be chosen: it follows from the content", where=where)
            return cls(None, implied, load=True, tags=(destination.path,))
        if kind == "docker-archive":
            tags = (destination.ref,) if destination.ref else ()
            return cls(destination.path, implied, tags=tags, notices=notices)
        if re.fullmatch("@[0-9]+", destination.ref):
            raise UsageError("@N is for reading only", where=f"{kind}:{destination.path}")
        if references.ends_in_digest(destination.ref):
            where = f"{kind}:{destination.path}:{destination.ref}"
            raise UsageError("a digest cannot be chosen: it follows from the content", where=where)
        if kind == "oci":
            return cls(None, implied, folder=destination.path, ref=destination.ref)
        return cls(destination.path, implied, ref=destination.ref, notices=notices)

    def and_load(self) -> Target:
        """Return the target that also loads the result."""
        if self.form != "docker":
            raise UsageError("the daemon takes --format docker", where="--load")
        return replace(self, load=True)

    def prepared(self, job: Job) -> tuple[Target, Job]:
        """Return the same for one image, and `job`, which writes the new layers into the file.

        That is for files that are not there or are replaced, and not compressed as a whole.
        """
        where = self.destination
        if self.folder or where is None or not output_file.replaces(where) or not CAN_GROW:
            return self, job
        name = os.fspath(where)  # type: ignore[arg-type]
        if stream.outer_compression(name).name:
            return self, job
        growing = GrowingArchive(name)
        job.spool.keep(growing)
        return replace(self, growing=growing), job.storing(growing.store)

    def podman_notice(self, written: Written) -> tuple[str, ...]:
        """Return what to say of a file that podman does not load.

        Source: containers/image, oci/layout: "more than one image in oci, choose an image".
        """
        if self.form == "docker" or self.destination is None or len(written.index["manifests"]) < 2:
            return ()
        return (
            "podman cannot load an OCI archive of several images: choose one with --image, or leave"
            " out --format oci",
        )

    @contextmanager
    def staged(self, written: Written, job: Job) -> Iterator[Staged]:
        """Write the result as far as nobody sees it; what is not committed leaves nothing behind.

        Raises OutputError, and ArchiveError if the input has changed meanwhile.
        """
        progress = self._progress(written, job)
        destination = self.destination
        if self.folder:
            with layout_folder.staged_layout(written, self.folder, progress) as commit:
                yield Staged(lambda: FolderStore(self.folder, job, written.documents), commit)
        elif self.growing is not None and self.growing.begins(written):
            yield _staged(self.growing.completed(written, progress), job)
        elif destination is not None and output_file.replaces(destination):
            with stream.staged_archive(written, destination, progress, job) as file:
                yield _staged(file, job)
        else:
            yield Staged(
                lambda: TarStore(
                    job.spool.store(stream.chunks(written.members, _untold), written.size)
                ),
                partial(stream.write_stream, written, destination, progress, job)
                if destination is not None
                else lambda: None,
            )

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Explain what fails inside by the folder of the result, if that is gone meanwhile."""
        try:
            yield
        except SquasherError:
            if self.folder and not os.path.isdir(self.folder):
                raise OutputError("No such file or directory", where=self.folder) from None
            raise

    def load_into_daemon(self, written: Written, job: Job) -> tuple[str, ...]:
        """Hand the result to the daemon, if it is to have it; return what that says."""
        if not self.load:
            return ()
        return daemon.load(stream.chunks(written.members, self._progress(written, job)))

    def _progress(self, written: Written, job: Job) -> output_file.Progress:
        """Return what tells of bytes that are written, to all places together."""
        whole = sum(content.size for _, content in written.members)
        blobs = sum(content.size for content in written.blobs.values())
        size = blobs if self.folder else whole if self.destination is not None else 0
        return lambda count: job.progress("write", count, size + whole * self.load)


def _staged(file: output_file.StagedFile, job: Job) -> Staged:
    return Staged(lambda: open_store(file.path, job)[0], file.commit)


def _untold(count: int) -> None:
    """Tell nobody of bytes that are written only to be checked."""


def _suffix_notice(destination: object) -> tuple[str, ...]:
    if isinstance(destination, str | os.PathLike):
        name = stream.outer_compression(os.fspath(destination)).name
        if name == "gzip":
            return (
                "the archive is compressed with gzip: docker loads it, podman before 5 does not",
            )
        if name:
            return ("the archive is compressed with zstd: docker before 29 does not load it",)
    return ()
