"""From images to an archive that every loader takes.

The archive is docker's own since version 25: `manifest.json` for docker and skopeo, and a
consistent OCI layout (`oci-layout`, `index.json`, `blobs/`) over the same blobs for containerd
and podman, which prefer it. Every member is a regular file and stands there once: loaders refuse
hard links, some symlinks, and disagree about duplicates. Members are sorted, without times and
owners: equal images give equal archives.

A file appears under its name complete or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from squasher import spec
from squasher.content import Content
from squasher.digest import Digest
from squasher.errors import ArchiveError, OutputError
from squasher.image import Image, Layer
from squasher.tarstream import BLOCK, REG, header

Destination = str | os.PathLike[str] | BinaryIO
Progress = Callable[[int], None]

_WINDOW = 1 << 20
_FLUSH = 8 << 20


@dataclass(frozen=True, slots=True)
class Written:
    """What an archive consists of: its members in order, and the manifest digest of each image."""

    members: tuple[tuple[str, Content], ...]
    manifests: tuple[Digest, ...]

    @property
    def size(self) -> int:
        """Bytes of the whole archive."""
        return sum(BLOCK + content.size + -content.size % BLOCK for _, content in self.members) + (
            2 * BLOCK
        )


def lay_out(images: Sequence[Image]) -> Written:
    """Return the archive of `images`; shared blobs come once. O(layers)."""
    blobs: dict[Digest, Content] = {}
    items: list[dict[str, Any]] = []
    pointers: list[dict[str, Any]] = []
    manifests: list[Digest] = []
    for image in images:
        config = image.config.raw
        blobs[image.config.image_id] = Content((config,))
        for layer in image.layers:
            blobs[_digest(layer)] = layer.blob.content
        manifest = spec.dump(_manifest(image)).encode("ascii")
        digest = Digest.of(manifest)
        blobs[digest] = Content((manifest,))
        manifests.append(digest)
        pointers += _pointers(image, digest, len(manifest))
        items.append(
            {
                "Config": _blob_name(image.config.image_id),
                "RepoTags": list(image.tags),
                "Layers": [_blob_name(_digest(layer)) for layer in image.layers],
            }
        )
    index = {"schemaVersion": 2, "mediaType": spec.OCI_INDEX, "manifests": pointers}
    documents: dict[str, Any] = {
        "index.json": index,
        "manifest.json": items,
        "oci-layout": {"imageLayoutVersion": "1.0.0"},
    }
    members = {_blob_name(digest): content for digest, content in blobs.items()}
    for name, document in documents.items():
        members[name] = Content((spec.dump(document).encode("ascii"),))
    return Written(tuple(sorted(members.items())), tuple(manifests))


def _digest(layer: Layer) -> Digest:
    assert layer.blob.digest is not None  # noqa: S101  (layers are read before they are written)
    return layer.blob.digest


def _blob_name(digest: Digest) -> str:
    return f"blobs/sha256/{digest.hex}"


def _manifest(image: Image) -> dict[str, Any]:
    """Return the OCI manifest of `image`: the one it came with, but for what has changed.

    `subject` names a manifest that this one no longer belongs to.
    """
    config_type = spec.OCI_CONFIG
    if image.manifest:
        config_type = spec.field(image.manifest, "config").get("mediaType", config_type)
    document = {"schemaVersion": 2, "mediaType": spec.OCI_MANIFEST} | {
        key: value for key, value in image.manifest.items() if key != "subject"
    }
    document["config"] = spec.descriptor(config_type, image.config.image_id, len(image.config.raw))
    document["layers"] = [
        layer.descriptor or spec.descriptor(layer.blob.media_type, _digest(layer), layer.blob.size)
        for layer in image.layers
    ]
    return document


def _pointers(image: Image, digest: Digest, size: int) -> Iterator[dict[str, Any]]:
    """Yield the descriptors of a manifest for the index, one for each tag.

    podman and containerd name the image by the annotations, and want the full name in both.
    """
    media_type = image.manifest.get("mediaType") or spec.OCI_MANIFEST
    pointer = image.descriptor | spec.descriptor(media_type, digest, size)
    others = {
        key: value
        for key, value in (image.descriptor.get("annotations") or {}).items()
        if key not in (spec.IMAGE_NAME, spec.REF_NAME)
    }
    for tag in image.tags or (None,):
        names = (
            {}
            if tag is None
            else dict.fromkeys((spec.IMAGE_NAME, spec.REF_NAME), spec.full_name(tag))
        )
        annotations = others | names
        rest = {key: value for key, value in pointer.items() if key != "annotations"}
        yield rest | {"annotations": annotations} if annotations else rest


# ---------------------------------------------------------------- writing


def write(written: Written, destination: Destination, progress: Progress) -> None:
    """Write the archive to a path or a binary file object.

    A path that exists and is no regular file (a FIFO, /dev/stdout) is written like a stream; any
    other appears when it is complete, with the mode that the old file had; a symlink is followed.
    Raises OutputError, and ArchiveError if the input has changed meanwhile; then no file is left
    behind and an existing one is untouched.
    """
    if not isinstance(destination, str | os.PathLike):
        _write_to(destination, written, progress, "output")
        return
    name = os.fspath(destination)
    with _errors(name):
        target = os.path.realpath(name)
        try:
            mode = os.stat(target).st_mode
        except FileNotFoundError:
            mode = None
        if mode is not None and stat.S_ISDIR(mode):
            raise OutputError("is a folder", where=name)
        if mode is not None and not stat.S_ISREG(mode):
            with open(target, "wb", buffering=0) as stream:
                _write_to(stream, written, progress, name)
            return
    with _replacing(target, mode, written.size, name) as stream:
        _write_to(stream, written, progress, name)


@contextlib.contextmanager
def _errors(name: str) -> Iterator[None]:
    """Turn what the system refuses into an OutputError."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"cannot be written: {error.strerror or error}", where=name) from None


@contextlib.contextmanager
def _replacing(target: str, mode: int | None, size: int, name: str) -> Iterator[BinaryIO]:
    """Give a new file of `size` bytes that takes the name `target` when the block ends well."""
    folder, base = os.path.split(target)
    temporary = os.path.join(folder, f".{base[:200]}.{secrets.token_hex(8)}.tmp")
    with _errors(name):
        # The mode follows the umask; a file of that name, or a symlink, is never taken over.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with _errors(name), os.fdopen(descriptor, "wb", buffering=0) as stream:
            _reserve(descriptor, size)
            yield stream
            if mode is not None:
                os.fchmod(descriptor, stat.S_IMODE(mode))
            os.fsync(descriptor)
        with _errors(name):
            os.replace(temporary, target)
            _sync_folder(folder)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _sync_folder(folder: str) -> None:
    """Make a rename last, where the system lets a folder be opened."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:  # some network filesystems cannot
        pass
    finally:
        os.close(descriptor)


def _reserve(descriptor: int, size: int) -> None:
    """Ask for the room that the archive takes: a full disk is an error before anything is written.

    Also what makes writing fast: one allocation (measured: a third less time).
    """
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                what = f"{size} bytes do not fit: {error.strerror}"
                raise OSError(error.errno, what) from None


def _write_to(stream: BinaryIO, written: Written, progress: Progress, name: str) -> None:
    flush = _early_flush(stream)
    for member, content in written.members:
        _put(stream, header(member.encode("ascii"), REG, (0o644, 0, 0), size=content.size), name)
        try:
            for window in content.windows(_WINDOW):
                _put(stream, window, name)
                flush(len(window))
                progress(len(window))
        except ArchiveError as error:
            raise error.within(member) from None
        _put(stream, bytes(-content.size % BLOCK), name)
    _put(stream, bytes(2 * BLOCK), name)
    with _errors(name):
        stream.flush()


def _early_flush(stream: BinaryIO) -> Progress:
    """Return a callback that has the system write out what a regular file has got so far.

    Without it, all of that is left to fsync(2) at the end (measured: twice the time in all). The
    advice starts writing dirty pages and leaves them in memory.
    """
    try:
        descriptor = stream.fileno()
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
    except (OSError, AttributeError):
        regular = False
    if not regular or not hasattr(os, "posix_fadvise"):
        return lambda count: None
    pending = start = 0

    def flush(count: int) -> None:
        nonlocal pending, start
        pending += count
        if pending >= _FLUSH:
            os.posix_fadvise(descriptor, start, pending, os.POSIX_FADV_DONTNEED)
            start, pending = start + pending, 0

    return flush


def _put(stream: BinaryIO, data: bytes, name: str) -> None:
    """Write all of `data`; a raw stream may take less at once."""
    with _errors(name):
        count = stream.write(data)
        if count is not None and count < len(data):
            rest = memoryview(data)[count:]
            while rest:
                rest = rest[stream.write(rest) :]
