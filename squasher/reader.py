"""From an archive to images: what `docker save` wrote, before docker 25 and since.

A seekable archive is read where it lies; a pipe is copied once to a temporary file without a
name. Nothing here reads layers: their bytes are checked when they are walked (`squash`) or
written through.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from squasher import spec
from squasher.compression import sniff
from squasher.content import Content, Extent, File, open_file
from squasher.digest import Digest, check
from squasher.errors import ArchiveError, OutputError, SquasherError, UnsupportedImageError
from squasher.image import Blob, Image, Layer
from squasher.paths import clean, show
from squasher.spec import Descriptor, Manifest
from squasher.tarstream import DIR, LINK, REG, SYM, Member, members

#: Links from member to member that are followed; docker writes one.
_LINKS_MAX = 8

Source = str | os.PathLike[str] | BinaryIO


@dataclass(frozen=True, slots=True)
class Archive:
    """What an archive holds: its images, in the order of its manifest.json; `name` for messages."""

    name: str
    images: tuple[Image, ...]


class Spool:
    """Temporary files without a name, in `folder`; they vanish when they are closed.

    `folder` None stands for $TMPDIR, else /var/tmp: /tmp is often memory.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.folder = os.fspath(folder) if folder is not None else _default_folder()
        self._files: list[BinaryIO] = []

    def file(self) -> BinaryIO:
        """Return a new empty file. Raises OutputError."""
        try:
            new = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115
        except OSError as error:
            raise self.failed(error) from None
        self._files.append(new)
        return new

    def copy(self, chunks: Iterable[bytes]) -> BinaryIO:
        """Return a new file that holds `chunks`. Raises OutputError."""
        new = self.file()
        written = 0
        for chunk in chunks:
            try:
                new.write(chunk)
            except OSError as error:
                raise self.failed(error, written) from None
            written += len(chunk)
        try:
            new.flush()
        except OSError as error:
            raise self.failed(error, written) from None
        return new

    def failed(self, error: OSError, written: int = 0) -> OutputError:
        """Return what to say when a temporary file cannot be written."""
        got = f" after {written} bytes" if written else ""
        return OutputError(
            f"cannot hold temporary data{got}: {error.strerror}",
            where=self.folder,
            hint="choose another folder with --tmp-dir, or give a file instead of a pipe",
        )

    def close(self) -> None:
        """Remove everything."""
        while self._files:
            self._files.pop().close()


def _default_folder() -> str:
    if os.environ.get("TMPDIR"):
        return os.environ["TMPDIR"]
    return "/var/tmp" if os.path.isdir("/var/tmp") else tempfile.gettempdir()  # noqa: S108


def open_source(
    source: Source, spool: Spool, progress: Callable[[int], None]
) -> tuple[File, int, str]:
    """Return `source` with random access, its size, and its name for messages.

    What cannot seek is copied to `spool`, with `progress(bytes)` for each piece. Raises
    ArchiveError.
    """
    if isinstance(source, str | os.PathLike):
        name = os.fspath(source)
        try:
            stream: BinaryIO = open(source, "rb")  # noqa: SIM115
        except OSError as error:
            raise ArchiveError(f"cannot be read: {error.strerror}", where=name) from None
        spool._files.append(stream)
    else:
        stream = source
        name = _stream_name(source)
    try:
        size = _size(stream)
    except OSError as error:
        raise ArchiveError(f"cannot be read: {error.strerror}", where=name) from None
    if size is None:
        stream = spool.copy(_chunks(stream, name, progress))
        size = stream.seek(0, os.SEEK_END)
    if size == 0:
        raise ArchiveError("is empty", where=name, hint=_EMPTY_HINT)
    return open_file(stream), size, name


_EMPTY_HINT = "did the command before the pipe fail?"


def _stream_name(stream: BinaryIO) -> str:
    name = getattr(stream, "name", None)
    return name if isinstance(name, str) and not name.startswith("<") else "stdin"


def _size(stream: BinaryIO) -> int | None:
    """Return the size of a stream that can seek, None for another."""
    try:
        mode = os.fstat(stream.fileno()).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
            return None
    except (OSError, AttributeError):
        pass
    if not stream.seekable():
        return None
    return stream.seek(0, os.SEEK_END)


def _chunks(stream: BinaryIO, name: str, progress: Callable[[int], None]) -> Iterable[bytes]:
    while True:
        try:
            chunk = stream.read(1 << 20)
        except OSError as error:
            raise ArchiveError(f"cannot be read: {error.strerror}", where=name) from None
        if not chunk:
            return
        progress(len(chunk))
        yield chunk


# ---------------------------------------------------------------- the outer archive


class _Members:
    """The members of an outer archive by name."""

    def __init__(self, file: File, size: int) -> None:
        self._file = file
        self._members: dict[str, Member] = {}
        for member in members(file.read_at, size):
            if member.kind == DIR:
                continue
            try:
                name = os.fsdecode(clean(member.name))
            except ArchiveError as error:
                raise error.within(show(member.name)) from None
            if name in self._members:  # docker takes the last one, podman the first
                raise ArchiveError("the member occurs twice", where=show(member.name))
            self._members[name] = member

    def __contains__(self, name: str) -> bool:
        return self._key(name) in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    @staticmethod
    def _key(name: str) -> str:
        return posixpath.normpath(name).lstrip("/")

    def content(self, name: str) -> Content:
        """Return what the member `name` holds; links lead on, inside the archive."""
        key = self._key(name)
        for _ in range(_LINKS_MAX):
            member = self._members.get(key)
            if member is None:
                raise ArchiveError("is not in the archive", where=show(os.fsencode(name)))
            if member.kind == REG:
                return Content((Extent(self._file, member.offset, member.size),))
            target = os.fsdecode(member.target)
            if member.kind == SYM:
                key = self._key(posixpath.join(posixpath.dirname(key), target))
            elif member.kind == LINK:
                key = self._key(target)
            else:
                break
        raise ArchiveError("is no regular file", where=show(os.fsencode(name)))

    def document(self, name: str) -> bytes:
        """Return the whole of a member that is a JSON document."""
        content = self.content(name)
        if content.size > spec.DOCUMENT_MAX:
            raise ArchiveError(f"a document of {content.size} bytes", where=show(os.fsencode(name)))
        return content.read_at(0, content.size)


def read_archive(file: File, size: int, name: str) -> Archive:
    """Return the images of the docker-archive `file`. O(its members); layers are not read.

    Raises ArchiveError if it is none, UnsupportedImageError if it is one of another kind.
    """
    try:
        head = file.read_at(0, 512)
        compression = sniff(head)
        if compression:
            raise UnsupportedImageError(
                f"is compressed with {compression}", hint=f"decompress it first: {compression} -d"
            )
        if len(head) < 512 or (head[257:262] != b"ustar" and not head[148:156].strip(b" \0")):
            raise ArchiveError("is no tar archive", hint="give what `docker save` writes")
        found = _Members(file, size)
        if "manifest.json" not in found:
            raise _no_manifest(found)
        known = tuple(_manifests(found))
        items = spec.parse_manifest_json(found.document("manifest.json"))
        if not items:
            raise ArchiveError("manifest.json names no image")
        return Archive(name, tuple(_image(found, item, i, known) for i, item in enumerate(items)))
    except SquasherError as error:
        raise error.within(name) from None


def _no_manifest(found: _Members) -> SquasherError:
    """Return what to say of an archive without manifest.json."""
    if "oci-layout" in found or "index.json" in found:
        return UnsupportedImageError(
            "is an OCI archive", hint="`skopeo copy oci-archive:IN docker-archive:OUT` converts it"
        )
    if "repositories" in found:
        return ArchiveError(
            "is an archive of docker before 1.10, without manifest.json",
            hint="save the image again with a newer docker",
        )
    if any(name.split("/")[0] in ("bin", "etc", "usr") for name in found):
        return ArchiveError(
            "is a root filesystem, not an image", hint="use `docker save`, not `docker export`"
        )
    return ArchiveError("has no manifest.json", hint="give what `docker save` writes")


def _manifests(found: _Members) -> Iterator[tuple[Descriptor, Manifest]]:
    """Yield the manifests that index.json leads to, as far as the archive holds them."""
    if "index.json" not in found:
        return
    todo = list(spec.parse_index(found.document("index.json"), "index.json"))
    seen = set()
    while todo:
        pointer = todo.pop(0)
        name = _blob_name(pointer.digest)
        if name not in found or pointer.digest in seen:
            continue
        seen.add(pointer.digest)
        data = found.document(name)
        check(pointer.digest, Digest.of(data), where=name)
        document = spec.as_object(spec.load(data, name), name)
        if spec.field(document, "manifests") is not None:
            todo += spec.parse_index(data, name)
        elif spec.field(document, "config") is not None:
            yield pointer, spec.parse_manifest(data, name)


def _blob_name(digest: Digest) -> str:
    return f"blobs/sha256/{digest.hex}"


_BLOB = re.compile(r"blobs/sha256/([0-9a-f]{64})")
_FOLDER = re.compile(r"([0-9a-f]{64})/layer\.tar")


def _image(
    found: _Members,
    item: spec.ManifestItem,
    position: int,
    known: Sequence[tuple[Descriptor, Manifest]],
) -> Image:
    """Return the image that an element of manifest.json describes."""
    where = f"manifest.json[{position}]"
    try:
        data = found.document(item.config)
    except ArchiveError as error:
        raise error.within(f"{where}.Config") from None
    named = _BLOB.fullmatch(item.config)
    if named:
        check(Digest(named[1]), Digest.of(data), where=item.config)
    config = spec.parse_config(data, item.config)
    if config.os == "windows":
        raise UnsupportedImageError("a Windows image", where=where)
    if len(item.layers) != len(config.diff_ids):
        raise ArchiveError(
            f"{len(item.layers)} layers, but the config has {len(config.diff_ids)}",
            where=f"{where}.Layers",
        )
    pointer, manifest = _manifest_of(config, known)
    layers = []
    for i, (name, diff_id) in enumerate(zip(item.layers, config.diff_ids, strict=True)):
        try:
            content = found.content(name)
        except ArchiveError as error:
            raise error.within(f"{where}.Layers[{i}]") from None
        layers.append(_layer(name, diff_id, content, manifest.layers[i] if manifest else None))
    return Image(
        config,
        tuple(layers),
        item.tags,
        manifest.document if manifest else {},
        pointer.document if pointer else {},
    )


def _manifest_of(
    config: spec.ImageConfig, known: Sequence[tuple[Descriptor, Manifest]]
) -> tuple[Descriptor | None, Manifest | None]:
    """Return the manifest of the image with this config, and what points at it."""
    for pointer, manifest in known:
        if manifest.config.digest == config.image_id and len(manifest.layers) == len(
            config.diff_ids
        ):
            return pointer, manifest
    return None, None


def _layer(name: str, diff_id: Digest, content: Content, pointer: Descriptor | None) -> Layer:
    compression = sniff(content.read_at(0, 16))
    named = _BLOB.fullmatch(name)
    digest = Digest(named[1]) if named else None
    document: dict[str, Any] = {}
    media_type = spec.OCI_LAYER + (f"+{compression}" if compression else "")
    if pointer is not None and pointer.digest == digest and pointer.size == content.size:
        document, media_type = pointer.document, pointer.media_type or media_type
    if digest is None and not compression:
        digest = diff_id
    folder = _FOLDER.fullmatch(name)
    blob = Blob(content, media_type, digest, compression)
    return Layer(diff_id, blob, document, folder[1] if folder else "")
