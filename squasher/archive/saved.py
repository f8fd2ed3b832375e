"""What is left out of a result, into files of a folder of its own: attestations, signatures.

The folder appears under its name complete or not at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from squasher.archive.output_file import WINDOW, output_errors, put_all, sync_folder
from squasher.digest import Digest, check
from squasher.errors import ArchiveError, OutputError, placed
from squasher.image.manifests import blob_name
from squasher.image.model import Archive, Attachment

#: Characters of a file's name that tell what is in it.
_KIND_MAX = 60
NONE = "no attestation or signature of the image is in the archive: the folder is empty"
MISSING = "attestations and signatures that are not all in the archive ({}): what is there is saved"


@dataclass(frozen=True, slots=True)
class SavedFile:
    """A file that was saved: its name in the folder, bytes, and the rest as in Attachment."""

    file: str
    digest: Digest
    size: int
    media_type: str
    kind: str
    about: Digest | None


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Saved:
    """A folder that is complete, but has not its name yet.

    files    None if no folder was asked for
    notices  what was not there, in words
    """

    files: tuple[SavedFile, ...] | None = None
    notices: tuple[str, ...] = ()
    commit: Callable[[], None] = _nothing


def file_of(attachment: Attachment) -> SavedFile:
    """Return what the file of an attachment is called: its kind and its digest, nothing unsafe."""
    kind = re.sub("^https?://", "", attachment.kind)
    safe = re.sub("[^A-Za-z0-9._]+", "-", kind)[:_KIND_MAX].strip("-.") or "blob"
    suffix = ".json" if attachment.media_type.endswith("json") else ""
    return SavedFile(
        f"{safe}.{attachment.digest.hex}{suffix}",
        attachment.digest,
        attachment.content.size,
        attachment.media_type,
        attachment.kind,
        attachment.about,
    )


def require_new(folder: str) -> None:
    """Raise OutputError unless `folder` is empty, or can be made."""
    with output_errors(folder):
        if not os.path.lexists(folder):
            if not os.path.isdir(os.path.dirname(os.path.realpath(folder))):
                raise OutputError("no such folder", where=folder)
        elif not os.path.isdir(folder):
            raise OutputError("is not a folder", where=folder)
        elif os.listdir(folder):
            raise OutputError("is not empty: files of another image may lie there", where=folder)


@contextlib.contextmanager
def saved(folder: str | os.PathLike[str] | None, archive: Archive) -> Iterator[Saved]:
    """Write what `archive` has beside its images into `folder`, which takes its name on commit.

    None saves nothing. What is not committed is removed at the end. O(bytes). Raises OutputError,
    and ArchiveError, UnsupportedImageError for what is damaged.
    """
    if folder is None:
        yield Saved()
        return
    name = os.fspath(folder)
    target = os.path.realpath(name)
    temporary = os.path.join(os.path.dirname(target), f".squash-{os.urandom(8).hex()}.tmp")
    digests = dict.fromkeys(digest for image in archive.images for digest in image.manifest_digests)
    with placed(archive.name):
        found = archive.attachments(tuple(digests))
    notices = (MISSING.format(found.missing),) if found.missing else () if found.found else (NONE,)
    import shutil  # start-up is quicker without it

    with output_errors(name):
        os.mkdir(temporary)
    try:
        for attachment in found.found:
            try:
                _write(os.path.join(temporary, file_of(attachment).file), attachment, name)
            except ArchiveError as error:
                raise error.within(archive.name) from None
        files = tuple(map(file_of, found.found))
        yield Saved(files, notices, partial(_commit, temporary, target, name))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _commit(temporary: str, target: str, name: str) -> None:
    """Give the finished folder its name; an empty one gives way to it. Raises OutputError."""
    require_new(name)
    with output_errors(name):
        sync_folder(temporary)
        if os.path.isdir(target):
            os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
        os.replace(temporary, target)
        sync_folder(os.path.dirname(target))


def _write(path: str, attachment: Attachment, name: str) -> None:
    sha256 = hashlib.sha256()

    def hashed() -> Iterator[bytes]:
        for window in attachment.content.windows(WINDOW):
            sha256.update(window)
            yield window

    with output_errors(name), open(path, "xb", buffering=0) as stream:
        put_all(stream, hashed(), name)
        os.fsync(stream.fileno())
    check(attachment.digest, Digest(sha256.hexdigest()), where=blob_name(attachment.digest))
