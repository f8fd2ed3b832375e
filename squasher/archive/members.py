"""The members of an outer tar, or of a layout's folder, by name."""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import BinaryIO

from squasher.blobs.content import Content, Extent, File, open_file, open_regular
from squasher.errors import ArchiveError, UnsupportedImageError
from squasher.image.documents import DOCUMENT_MAX
from squasher.run import Job
from squasher.tar.entry import DIR, LINK, REG, SYM
from squasher.tar.members import Member, members
from squasher.tar.paths import clean, show

#: Links from member to member that are followed; docker writes one.
_LINKS_MAX = 8
#: Files of a folder that stay open between two reads. Few images have more blobs.
_OPEN_MAX = 32


def document(store: Store, name: str) -> bytes:
    """Return the whole of a member that is a JSON document.

    Raises ArchiveError, UnsupportedImageError for one that is too long.
    """
    content = store.content(name)
    if content.size > DOCUMENT_MAX:
        raise UnsupportedImageError(
            f"the document has {content.size} bytes, more than {DOCUMENT_MAX >> 20} MiB",
            where=name,
            hint="engines other than docker read at most half of that: shorten labels and history",
        )
    return content.read_at(0, content.size)


def _text(name: bytes) -> str:
    """Return the name of a member as documents spell it; it is no name of this system."""
    return name.decode("utf-8", "surrogateescape")


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _key(name: str) -> str:
    return posixpath.normpath(name).lstrip("/")


class TarStore:
    """The members of an outer archive."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._members: dict[str, Member] = {}
        for member in members(content.read_at, content.size):
            if member.kind == DIR:
                continue
            try:
                name = _text(clean(member.name))
            except ArchiveError as error:
                raise error.within(show(member.name)) from None
            if name in self._members:  # docker takes the last one, podman the first
                raise ArchiveError("the member occurs twice", where=show(member.name))
            self._members[name] = member

    def __contains__(self, name: str) -> bool:
        return _key(name) in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def content(self, name: str) -> Content:
        """Return what the member holds; links lead on, inside the archive."""
        key = _key(name)
        for _ in range(_LINKS_MAX):
            member = self._members.get(key)
            if member is None:
                raise ArchiveError("is not in the archive", where=show(_bytes(name)))
            if member.kind == REG:
                stop = member.offset + member.size
                return Content(tuple(self._content.slice(member.offset, stop)))
            target = _text(member.target)
            if member.kind == SYM:
                key = _key(posixpath.join(posixpath.dirname(key), target))
            elif member.kind == LINK:
                key = _key(target)
            else:
                break
        raise ArchiveError("is not a regular file", where=show(_bytes(name)))


class FolderStore:
    """The folder of an OCI layout. What names its members must not lead out of it.

    Files are opened when they are read: there may be far more than a process may have open.
    `documents` are taken instead of those that lie beside the blobs, if they are given.
    """

    def __init__(self, folder: str, job: Job, documents: Mapping[str, bytes] | None = None) -> None:
        self._folder = folder
        self._documents = documents
        self._files = OpenFiles()
        self._known = {name: Content((data,)) for name, data in (documents or {}).items()}
        job.spool.keep(self._files)

    def __contains__(self, name: str) -> bool:
        if self._documents is not None and not name.startswith("blobs/"):
            return name in self._documents
        return _is_inside(name) and os.path.isfile(os.path.join(self._folder, name))

    def below(self) -> Iterator[str]:
        """Yield the names of what is one folder down, as far as it can be read."""
        with contextlib.suppress(OSError):
            for folder in sorted(os.listdir(self._folder)):
                if os.path.isdir(os.path.join(self._folder, folder)):
                    inside = sorted(os.listdir(os.path.join(self._folder, folder)))
                    yield from (f"{folder}/{name}" for name in inside)

    def content(self, name: str) -> Content:
        """Return what the member holds; it is the same object, however often it is asked for."""
        if name in self._known:
            return self._known[name]
        if not _is_inside(name):
            raise ArchiveError("leads out of the folder", where=show(_bytes(name)))
        try:
            file = FolderFile(os.path.join(self._folder, name), self._files)
        except OSError as error:
            raise ArchiveError(f"cannot be read: {error.strerror}", where=name) from None
        self._known[name] = Content((Extent(file, 0, file.size),))
        return self._known[name]


#: Named members; names are as documents spell them.
Store = TarStore | FolderStore

_State = tuple[int, ...]


def _state(found: os.stat_result) -> _State:
    """Return what tells that a file is another one now, or was written to."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


class OpenFiles:
    """Files that are read again and again, of which only the last _OPEN_MAX stay open.

    Who reads one takes it out, so that nobody closes it meanwhile: threads add one each.
    """

    def __init__(self) -> None:
        self._idle: dict[str, BinaryIO] = {}  # the one that waits longest first
        self._lock = threading.Lock()
        self._most = _OPEN_MAX

    @contextmanager
    def opened(self, path: str, state: _State) -> Iterator[File]:
        """Give the file at `path`. Raises OSError, and ArchiveError if it has changed."""
        with self._lock:
            stream = self._idle.pop(path, None)
        stream = stream or _unchanged(path, state)
        try:
            yield open_file(stream)
        finally:
            with self._lock:
                self._idle[path], double = stream, self._idle.get(path)
                if double is not None:
                    double.close()
                elif len(self._idle) > self._most:
                    self._idle.pop(next(iter(self._idle))).close()

    def close(self) -> None:
        """Close them all; whoever still reads one opens it for that read alone."""
        self._most = 0
        while self._idle:
            self._idle.popitem()[1].close()


def _unchanged(path: str, state: _State) -> BinaryIO:
    stream = open_regular(path)
    if _state(os.fstat(stream.fileno())) != state:
        stream.close()
        raise ArchiveError("the input changed while it was read")
    return stream


class FolderFile:
    """A file of a folder, as it was when it was first looked at. Raises OSError."""

    descriptor: int | None = None

    def __init__(self, path: str, files: OpenFiles) -> None:
        self._path = path
        self._files = files
        with open_regular(path) as stream:
            found = os.fstat(stream.fileno())
        self._state = _state(found)
        self.size = found.st_size

    def read_at(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on, fewer only where the file ends."""
        with self._files.opened(self._path, self._state) as file:
            return file.read_at(offset, size)

    def known_digest(self, offset: int, size: int) -> str | None:
        """Return None."""
        return None

    def changed(self) -> bool:
        """Tell whether there is another file now, or it has been written to."""
        try:
            return _state(os.stat(self._path)) != self._state
        except OSError:
            return True


def _is_inside(name: str) -> bool:
    """Tell whether a member of a folder that has this name lies in it."""
    return not os.path.isabs(name) and ".." not in re.split(r"[/\\]", name) and "\0" not in name


def names(store: Store) -> Iterable[str]:
    """Return the names of all members of a tar; those of a folder are not asked for."""
    return iter(store) if isinstance(store, TarStore) else ()
