"""From images to an archive that every loader takes, or to an OCI layout.

The docker form is docker's own since version 25: `manifest.json` for docker and skopeo, and a
consistent OCI layout (`oci-layout`, `index.json`, `blobs/`) over the same blobs for containerd
and podman, which prefer it. The OCI form is the layout alone, with the index tree that the images
came in. Every member is a regular file, or a folder of the blobs, and stands there once: loaders
refuse hard links, some symlinks, and disagree about duplicates. Members are sorted, without times
and owners: equal images give equal archives.

What is written appears under its name complete or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import re
import select
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

from squasher import spec
from squasher.compression import Compression, compress, default
from squasher.content import Content, open_regular, widen_pipe
from squasher.digest import Digest
from squasher.errors import ArchiveError, DocumentError, OutputError, UsageError
from squasher.image import Archive, Image, Layer, Leaf, Node
from squasher.reader import reference_of, tags_of
from squasher.tarstream import BLOCK, DIR, REG, header

try:
    import fcntl
except ImportError:  # pragma: no cover  (Windows)
    fcntl = None  # type: ignore[assignment]

Destination = str | os.PathLike[str] | BinaryIO
Progress = Callable[[int], None]
Form = Literal["docker", "oci"]

_WINDOW = 1 << 20
_FLUSH = 8 << 20
_DESCRIPTOR = re.compile(r"(?:/dev|/proc/self)/fd/([0-9]{1,9})|/dev/(stdin|stdout|stderr)")
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
#: Skopeo makes a folder that is no member itself, and gives it to root: a plain user may not.
_FOLDERS = ("blobs/", "blobs/sha256/")
#: Annotations that name the image.
_NAMES = (spec.IMAGE_NAME, spec.REF_NAME)


@dataclass(frozen=True, slots=True)
class Written:
    """What is to be written.

    blobs      by digest, each once
    documents  the other members by name: index.json, oci-layout, perhaps manifest.json
    index      the index as a document
    manifests  the manifest digest of each image
    items      the element of manifest.json for each image
    """

    blobs: dict[Digest, Content]
    documents: dict[str, bytes]
    index: dict[str, Any]
    manifests: tuple[Digest, ...]
    items: tuple[dict[str, Any], ...] = ()

    @property
    def members(self) -> list[tuple[str, Content]]:
        """The members of the archive in their order; the name of a folder ends in a slash."""
        found = {name: Content(()) for name in _FOLDERS}
        found |= {spec.blob_name(digest): content for digest, content in self.blobs.items()}
        found |= {name: Content((data,)) for name, data in self.documents.items()}
        return sorted(found.items())

    @property
    def size(self) -> int:
        """Bytes of the whole archive."""
        return 2 * BLOCK + sum(
            len(_header(name, content)) + content.size + -content.size % BLOCK
            for name, content in self.members
        )


def lay_out(
    archive: Archive, form: Form = "docker", *, retag: bool = False, ref: str = ""
) -> Written:
    """Return what represents the images of `archive`; blobs that they share come once. O(layers).

    With `retag` the tags of the images count, without it the names in the index tree do, as long
    as it has any. `ref` is the reference of the only image inside a layout. Raises UsageError
    where a docker-archive would have one name twice.
    """
    blobs: dict[Digest, Content] = {}
    manifests: list[tuple[Digest, int]] = []
    for image in archive.images:
        blobs[image.config.image_id] = Content((image.config.raw,))
        for layer in image.layers:
            blobs[_digest(layer)] = layer.blob.content
        manifests.append(_store(blobs, _manifest(image, form)))
    documents = {"oci-layout": _LAYOUT}
    items = tuple(_manifest_item(image) for image in archive.images)
    if form == "docker":
        _check_names(archive.images)
        pointers = [
            pointer
            for image, (digest, size) in zip(archive.images, manifests, strict=True)
            for pointer in _named(
                _pointer(image, image.descriptor, digest, size, form),
                _names(image.tags, image.references),
            )
        ]
        documents["manifest.json"] = spec.dump(items).encode("ascii")
        index: dict[str, Any] = {}
    else:
        pointers = list(_oci_pointers(archive, manifests, blobs, retag, ref))
        index = {key: value for key, value in archive.document.items() if key != "subject"}
    index = {"schemaVersion": 2} | index | {"mediaType": spec.OCI_INDEX, "manifests": pointers}
    documents["index.json"] = spec.dump(index).encode("ascii")
    return Written(blobs, documents, index, tuple(digest for digest, _ in manifests), items)


def _store(blobs: dict[Digest, Content], value: dict[str, Any]) -> tuple[Digest, int]:
    data = spec.dump(value).encode("ascii")
    digest = Digest.of(data)
    blobs[digest] = Content((data,))
    return digest, len(data)


def _digest(layer: Layer) -> Digest:
    assert layer.blob.digest is not None  # noqa: S101  (layers are read before they are written)
    return layer.blob.digest


def _manifest_item(image: Image) -> dict[str, Any]:
    """Return the element of manifest.json; a carried-over Parent makes `docker load` fail."""
    return {
        "Config": spec.blob_name(image.config.image_id),
        "RepoTags": list(image.tags),
        "Layers": [spec.blob_name(_digest(layer)) for layer in image.layers],
    }


def _check_names(images: Sequence[Image]) -> None:
    owners: dict[str, Image] = {}
    for image in images:
        for tag in image.tags:
            if owners.setdefault(tag, image) is not image:
                platforms = [str(x.platform) for x in images if tag in x.tags]
                ids = " or ".join(x.config.image_id.hex[:12] for x in images if tag in x.tags)
                ways = "with --platform" if len({*platforms}) > 1 else f"with --image {ids}"
                raise UsageError(
                    f"{tag} names several images ({', '.join(platforms)}), a docker-archive takes"
                    " one",
                    hint=f"choose one {ways}, or write them all with --format oci",
                )


def _speaks_oci(image: Image, form: Form) -> bool:
    """Tell whether docker's media types have to become OCI's.

    An OCI layout takes no other manifests (podman, umoci), and docker's types know no zstd
    (containerd, podman, skopeo refuse it). A manifest is of one family: c/image takes no mixture.
    """
    return form == "oci" or any(layer.blob.compression == "zstd" for layer in image.layers)


def _typed(pointer: dict[str, Any], oci: bool) -> dict[str, Any]:
    media_type = pointer.get("mediaType")
    if not oci or not isinstance(media_type, str):
        return pointer
    return pointer | {"mediaType": spec.oci_type(media_type)}


def _manifest(image: Image, form: Form) -> dict[str, Any]:
    """Return the OCI manifest of `image`: the one it came with, but for what has changed.

    `subject` names a manifest that this one no longer belongs to.
    """
    oci = _speaks_oci(image, form)
    config_type = spec.OCI_CONFIG
    if image.manifest:
        config_type = image.manifest["config"].get("mediaType", config_type)
    result: dict[str, Any] = {"schemaVersion": 2, "mediaType": _manifest_type(image)} | {
        key: value for key, value in image.manifest.items() if key not in ("mediaType", "subject")
    }
    result["config"] = spec.descriptor(config_type, image.config.image_id, len(image.config.raw))
    result["layers"] = [
        layer.descriptor or spec.descriptor(layer.blob.media_type, _digest(layer), layer.blob.size)
        for layer in image.layers
    ]
    result["config"] = _typed(result["config"], oci)
    result["layers"] = [_typed(layer, oci) for layer in result["layers"]]
    return _typed(result, oci)


def _pointer(
    image: Image, old: dict[str, Any], digest: Digest, size: int, form: Form
) -> dict[str, Any]:
    """Return the descriptor of a manifest: `old` with the new digest."""
    pointer = spec.descriptor(_manifest_type(image), digest, size)
    return _moved(old) | _typed(pointer, _speaks_oci(image, form))


def _manifest_type(image: Image) -> str:
    """Return the media type of its manifest; one that nobody knows becomes OCI's."""
    found = image.manifest.get("mediaType")
    return found if found == spec.DOCKER_MANIFEST else spec.OCI_MANIFEST


def _moved(pointer: dict[str, Any]) -> dict[str, Any]:
    """Return a descriptor without what only fits the bytes that it used to point at."""
    moved = {key: value for key, value in pointer.items() if key not in ("data", "urls")}
    annotations = moved.pop("annotations", None) or {}
    kept = {
        key: text
        for key, text in annotations.items()
        if key not in _NAMES or not spec.ends_in_digest(text)
    }
    return moved | {"annotations": kept} if kept else moved


def _has_name(pointer: dict[str, Any]) -> bool:
    return any(key in (pointer.get("annotations") or {}) for key in _NAMES)


def _named(pointer: dict[str, Any], names: Iterable[dict[str, str]]) -> Iterator[dict[str, Any]]:
    """Yield `pointer` under each of `names` instead of those it has."""
    rest = {key: value for key, value in pointer.items() if key != "annotations"}
    others = {
        key: value for key, value in (pointer.get("annotations") or {}).items() if key not in _NAMES
    }
    for name in list(names) or [{}]:
        annotations = others | name
        yield rest | {"annotations": annotations} if annotations else rest


def _names(tags: Sequence[str], references: Sequence[str] = ()) -> Iterator[dict[str, str]]:
    """Yield the annotations that name an image: tags and the references that it came with.

    podman and containerd name the image by the full name, beside which a reference keeps its
    spelling; where there is none, the full name is that, too.
    """
    spelt = {spec.full_name(spec.normalise_tag(x) or x): x for x in reversed(references)}
    full = [spec.full_name(tag) for tag in tags]
    others = (x for x in references if spec.full_name(spec.normalise_tag(x) or x) not in full)
    for name in full:
        # One descriptor, where one will do: of an index with several podman takes manifest.json.
        yield {spec.IMAGE_NAME: name, spec.REF_NAME: spelt.get(name) or next(others, name)}
    for ref in others:
        yield {spec.REF_NAME: ref}


def _oci_pointers(
    archive: Archive,
    manifests: Sequence[tuple[Digest, int]],
    blobs: dict[Digest, Content],
    retag: bool,
    ref: str,
) -> Iterator[dict[str, Any]]:
    """Yield the descriptors of the index, each leading where the old one led."""
    images = archive.images

    def rebuilt(node: Node) -> dict[str, Any]:
        if isinstance(node, Leaf):
            return _pointer(images[node.image], node.pointer, *manifests[node.image], "oci")
        children = [rebuilt(child) for child in node.children]
        kept = {key: value for key, value in node.document.items() if key != "subject"}
        kept |= {"mediaType": spec.OCI_INDEX} if "mediaType" in kept else {}
        digest, size = _store(blobs, kept | {"manifests": children})
        return _moved(node.pointer) | spec.descriptor(spec.OCI_INDEX, digest, size)

    tree = archive.tree or tuple(Leaf(i, image.descriptor) for i, image in enumerate(images))
    told = {spec.full_name(tag) for node in tree for tag in _told(node, images)}
    pointers = [rebuilt(node) for node in tree]
    # What had a name with a digest, and so has none now, needs no place beside another one.
    lost = [
        _has_name(node.pointer) and not _has_name(pointer)
        for node, pointer in zip(tree, pointers, strict=True)
    ]
    led = {pointer["digest"] for pointer, gone in zip(pointers, lost, strict=True) if not gone}
    seen: set[str] = set()
    for node, pointer, gone in zip(tree, pointers, lost, strict=True):
        if gone and pointer["digest"] in led:
            continue
        led.add(pointer["digest"])
        image = images[_first_image(node)]
        missing = [tag for tag in image.tags if spec.full_name(tag) not in told]
        first = pointer["digest"] not in seen
        seen.add(pointer["digest"])
        if ref:
            name = next(_names(image.tags), {}) | {spec.REF_NAME: ref}
            yield from _named(pointer, (name,)) if first else ()
        elif retag:
            yield from _named(pointer, _names(image.tags, image.references)) if first else ()
        elif _has_name(pointer):
            more = _names(missing if first else ())
            yield from _named(pointer, (*_kept_name(pointer, image), *more))
        else:
            yield from _named(pointer, _names(missing if first else ()))


def _told(node: Node, images: Sequence[Image]) -> Iterator[str]:
    """Yield the tags in a tree that are those of the image which they lead to."""
    own = images[_first_image(node)].tags
    yield from (tag for tag in tags_of(node.pointer) if any(spec.same_name(tag, x) for x in own))
    if not isinstance(node, Leaf):
        for child in node.children:
            yield from _told(child, images)


def _kept_name(pointer: dict[str, Any], image: Image) -> Iterator[dict[str, str]]:
    """Yield the annotations by which a descriptor named the image, as far as it is called so.

    docker and containerd write the full name and, as the reference, what is behind its colon. That
    would be the same for all images of one version: the full name stands there as well.
    """
    annotations = {key: x for key, x in pointer["annotations"].items() if key in _NAMES}
    tags = tags_of(pointer)
    if tags and not any(spec.same_name(tags[0], x) for x in image.tags):
        return
    full = reference_of(pointer) in ("", *map(spec.full_name, tags))
    yield from _names(tags) if tags and full else (annotations,)


def _first_image(node: Node) -> int:
    while not isinstance(node, Leaf):
        node = node.children[0]
    return node.image


# ---------------------------------------------------------------- writing


@contextlib.contextmanager
def staged_archive(
    written: Written, destination: Destination, progress: Progress
) -> Iterator[StagedFile]:
    """Write the archive beside a path that it `replaces`; it takes its name when it is committed.

    A name that ends in .tar.gz, .tgz or .tar.zst compresses it. Raises as `staged_file` does, and
    ArchiveError if the input has changed meanwhile.
    """
    name = os.fspath(destination)  # type: ignore[arg-type]
    how = outer_compression(name)
    data = compress(how, chunks(written, progress))
    with staged_file(name, data, 0 if how.name else written.size) as staged:
        yield staged


def write_stream(written: Written, destination: Destination, progress: Progress) -> None:
    """Write the archive to a binary file object, or to a path that is written like one.

    Raises OutputError, and ArchiveError if the input has changed meanwhile.
    """
    data = chunks(written, progress)
    if isinstance(destination, str | os.PathLike):
        name = os.fspath(destination)
        _put_through(name, compress(outer_compression(name), data))
    else:
        _put_all(destination, data, "output")


def put(name: str, data: Iterable[bytes]) -> None:
    """Write `data` to a path: a file appears under its name complete or not at all.

    Raises OutputError, and what `data` raises.
    """
    if replaces(name):
        with staged_file(name, data) as staged:
            staged.commit()
    else:
        _put_through(name, data)


def _put_through(name: str, data: Iterable[bytes]) -> None:
    """Write `data` to what a path stands for: a descriptor of this process, a FIFO, a device."""
    with _errors(name):
        descriptor = _descriptor(name)
        if descriptor is not None:
            stream: BinaryIO = os.fdopen(os.dup(descriptor), "wb", buffering=0)
        elif os.path.isdir(name):
            raise OutputError("is a folder", where=name)
        else:
            stream = open(name, "wb", buffering=0)  # noqa: SIM115  (closed below)
        with stream:
            _put_all(stream, data, name)


def replaces(destination: Destination) -> bool:
    """Tell whether what is written there takes its name at the end, and can be checked before."""
    if not isinstance(destination, str | os.PathLike):
        return False
    if _descriptor(os.fspath(destination)) is not None:
        return False
    return os.path.isfile(destination) or not os.path.exists(destination)


def require_open(destination: Destination) -> None:
    """Raise OutputError for a descriptor of this process that is closed.

    To be asked before anything is opened: the next file would get its number.
    """
    if isinstance(destination, str | os.PathLike):
        name = os.fspath(destination)
        descriptor = _descriptor(name)
        if descriptor is not None:
            with _errors(name):
                os.fstat(descriptor)


def _descriptor(name: str) -> int | None:
    """Return the descriptor of this process that a path stands for.

    It may lead to a regular file, but others write there too: what is there must not be replaced.
    """
    found = _DESCRIPTOR.fullmatch(name)
    if found is None:
        return None
    return int(found[1]) if found[1] else ("stdin", "stdout", "stderr").index(found[2])


def outer_compression(name: str) -> Compression:
    """Return how an archive of that name is to be compressed as a whole."""
    if name.endswith((".tar.gz", ".tgz")):
        return default("gzip")
    return default("zstd" if name.endswith(".tar.zst") else "")


@contextlib.contextmanager
def _errors(name: str) -> Iterator[None]:
    """Turn what the system refuses into an OutputError."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"cannot be written: {error.strerror or error}", where=name) from None


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A complete file at `path`, which takes the name `target` when it is committed.

    name   of the target, for messages
    """

    path: str
    target: str
    name: str

    def commit(self) -> None:
        """Give the file its name. Raises OutputError."""
        with _errors(self.name):
            try:
                os.replace(self.path, self.target)
            except OSError as error:
                what = f"the finished file cannot take its name: {error.strerror}"
                if error.errno == errno.EBUSY:
                    what += " (a file that is mounted there cannot be replaced)"
                raise OutputError(what, where=self.name) from None
            _sync_folder(os.path.dirname(self.target))


@contextlib.contextmanager
def staged_file(name: str, data: Iterable[bytes], size: int = 0) -> Iterator[StagedFile]:
    """Write `data`, of `size` bytes where that is known, beside the path; give the complete file.

    A symlink is followed; the mode is that of the old file, or follows the umask. What is not
    committed is removed at the end. Raises OutputError, and what `data` raises.
    """
    with _errors(name):
        try:
            mode = os.stat(name).st_mode
        except FileNotFoundError:
            mode = None
        if mode is None and name.endswith(os.sep):
            raise OutputError("no such folder", where=name)
    with _beside(os.path.realpath(name), mode, name, data, size) as staged:
        yield staged


@contextlib.contextmanager
def _beside(
    target: str, mode: int | None, name: str, data: Iterable[bytes], size: int
) -> Iterator[StagedFile]:
    """Write a file that is to take the place of `target`, which is not followed."""
    temporary = os.path.join(os.path.dirname(target), f".squash-{os.urandom(8).hex()}.tmp")
    with _errors(name):
        # The mode follows the umask; a file of that name, or a symlink, is never taken over.
        # What was private stays so while it is written.
        first = 0o666 if mode is None else 0o600
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, first)
    try:
        with _errors(name), os.fdopen(descriptor, "wb", buffering=0) as stream:
            _reserve(descriptor, size)
            _put_all(stream, data, name)
            if mode is not None:
                os.fchmod(descriptor, stat.S_IMODE(mode))
            os.fsync(descriptor)
        yield StagedFile(temporary, target, name)
    finally:
        with contextlib.suppress(FileNotFoundError):  # it has taken its name
            os.unlink(temporary)


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
    if size and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                what = f"{size} bytes do not fit: {error.strerror}"
                raise OSError(error.errno, what) from None


def chunks(written: Written, progress: Progress) -> Iterator[bytes]:
    """Yield the bytes of the archive."""
    for member, content in written.members:
        yield _header(member, content)
        try:
            for window in content.windows(_WINDOW):
                yield window
                progress(len(window))
            content.check()  # the documents come last: without them there is no image
        except ArchiveError as error:
            raise error.within(member) from None
        yield bytes(-content.size % BLOCK)
    yield bytes(2 * BLOCK)


def _header(member: str, content: Content) -> bytes:
    name = member.encode("ascii")
    if member in _FOLDERS:
        return header(name.rstrip(b"/"), DIR, (0o755, 0, 0))
    return header(name, REG, (0o644, 0, 0), size=content.size)


def _put_all(stream: BinaryIO, chunks: Iterable[bytes], name: str) -> None:
    widen_pipe(stream)
    flush = _early_flush(stream)
    for chunk in chunks:
        _put(stream, chunk, name)
        flush(len(chunk))
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
        if not isinstance(stream, io.RawIOBase):
            return
        rest = memoryview(data)
        while len(rest) > (count or 0):
            if count is None:  # it would have to wait, but is told not to
                select.select((), (stream,), ())
            rest = rest[count or 0 :]
            count = stream.write(rest)


# ---------------------------------------------------------------- the folder of a layout


@contextlib.contextmanager
def staged_layout(
    written: Written, folder: str, progress: Progress
) -> Iterator[Callable[[], None]]:
    """Write the blobs into the OCI layout in `folder`, which is made if it is not there.

    Gives what commits: index.json is replaced last, and a name that is there leads to the new image
    afterwards. Blobs that are there stay, if their bytes are what their names say. Other runs that
    add to the folder wait until the block ends.

    Raises OutputError, ArchiveError. What is not committed leaves the layout as it was, but for
    blobs that were damaged.
    """
    made: list[str] = []
    index, merged = os.path.join(folder, "index.json"), None

    def commit() -> None:
        nonlocal merged
        layout = os.path.join(folder, "oci-layout")
        if not os.path.exists(layout):
            made.append(layout)
            _put_inside(layout, (written.documents["oci-layout"],))
        listed = os.path.join(folder, "manifest.json")
        items = _merged_items(listed, written)
        merged = spec.dump(_merged_index(index, written.index)).encode("ascii")
        with contextlib.ExitStack() as both:  # both are complete before one takes its name
            found = ((listed, items), (index, merged))
            beside = [_beside(path, None, path, (x,), 0) for path, x in found if x is not None]
            for staged in [both.enter_context(each) for each in beside]:
                staged.commit()

    with _alone(folder, made):
        try:
            _put_blobs(written, folder, made, progress)
            yield commit
        finally:
            if merged is None or not _holds(index, merged):  # a signal can come when all is done
                for path in reversed(made):
                    with contextlib.suppress(OSError):
                        os.rmdir(path) if os.path.isdir(path) else os.unlink(path)


def _put_blobs(written: Written, folder: str, made: list[str], progress: Progress) -> None:
    """Write the blobs that are not there; add to `made` what has to go if all is for nothing."""
    blobs = os.path.join(folder, "blobs", "sha256")
    with _errors(folder):
        for path in (os.path.dirname(blobs), blobs):
            if not os.path.isdir(path):
                os.mkdir(path)
                made.append(path)
    for digest, content in written.blobs.items():
        path = os.path.join(blobs, digest.hex)
        if os.path.isfile(path):
            if _is_whole(path, digest, content.size, progress):
                continue
        else:
            made.append(path)
        _put_inside(path, _counted(content, digest, progress), content.size)


def _put_inside(path: str, data: Iterable[bytes], size: int = 0) -> None:
    """Write a file of a layout; a symlink that stands there is replaced, not followed."""
    with _beside(path, None, path, data, size) as staged:
        staged.commit()


@contextlib.contextmanager
def _alone(folder: str, made: list[str]) -> Iterator[None]:
    """Hold `folder` against other runs of ours; if it is not there it is made, and added to `made`.

    The lock is on the folder itself: nothing is left behind, not by SIGKILL either. Where there
    are no such locks (network filesystems) nobody waits. Raises OutputError.
    """
    with contextlib.ExitStack() as held:
        with _errors(folder):
            while not held.enter_context(_locked(folder, made)):
                held.close()  # who had it before has removed it
        yield


@contextlib.contextmanager
def _locked(folder: str, made: list[str]) -> Iterator[bool]:
    """Wait for the lock; tell whether it is on the folder that has the name now."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder)
        made.append(folder)
    if fcntl is None:  # pragma: no cover
        yield True
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            same = os.path.samestat(os.fstat(descriptor), os.stat(folder))
        except FileNotFoundError:
            same = False
        yield same
    finally:
        os.close(descriptor)


def _is_whole(path: str, digest: Digest, size: int, progress: Progress) -> bool:
    """Tell whether the file holds the blob. O(bytes)."""
    sha256 = hashlib.sha256()
    try:
        with open_regular(path) as stream:
            if os.fstat(stream.fileno()).st_size != size:
                return False
            while data := stream.read(_WINDOW):
                sha256.update(data)
                progress(len(data))
    except OSError:
        return False
    return sha256.hexdigest() == digest.hex


def _holds(path: str, data: bytes) -> bool:
    try:
        with open_regular(path) as stream:
            return stream.read() == data
    except OSError:
        return False


def _counted(content: Content, digest: Digest, progress: Progress) -> Iterator[bytes]:
    try:
        for window in content.windows(_WINDOW):
            yield window
            progress(len(window))
        content.check()
    except ArchiveError as error:
        raise error.within(str(digest)) from None


def _merged_index(path: str, new: dict[str, Any]) -> dict[str, Any]:
    """Return the index at `path` with the descriptors of `new`, which take over their names."""
    try:
        with open_regular(path) as stream:
            data = stream.read(spec.DOCUMENT_MAX + 1)
    except FileNotFoundError:
        return new
    except OSError as error:
        raise OutputError(f"cannot be read: {error.strerror}", where=path) from None
    try:
        old = spec.parse_document(data, path)
        pointers = spec.parse_index(old, path)
    except DocumentError as error:
        raise OutputError(f"is no index: {error.what}", where=error.where) from None
    taken = {name for pointer in new["manifests"] for name in _called(pointer)}
    digests = {pointer["digest"] for pointer in new["manifests"] if not _called(pointer)}
    kept = [
        pointer.document
        for pointer in pointers
        if not _called(pointer.document) & taken
        and (_called(pointer.document) or str(pointer.digest) not in digests)
    ]
    return old | {"manifests": kept + new["manifests"]}


def _called(pointer: dict[str, Any]) -> set[str]:
    """Return what a descriptor of a layout is found by: its reference, its full image name."""
    reference = reference_of(pointer)
    names = (reference,) if reference else tags_of(pointer)
    raw = (pointer.get("annotations") or {}).get(spec.REF_NAME)
    return {spec.full_name(spec.normalise_tag(x) or x) for x in names} | ({raw} if raw else set())


def _merged_items(path: str, written: Written) -> bytes | None:
    """Return a manifest.json that lies in the layout, as `docker save` leaves it, with the images.

    None if there is none. The new images take over their names, as in the index.
    """
    try:
        with open_regular(path) as stream:
            data = stream.read(spec.DOCUMENT_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError(f"cannot be read: {error.strerror}", where=path) from None
    try:
        spec.parse_manifest_json(data)
        old = spec.load(data, path)
    except DocumentError as error:
        raise OutputError(f"is no manifest.json: {error.what}", where=path) from None
    taken = {spec.full_name(x) for p in written.index["manifests"] for x in tags_of(p)}
    same = {item["Config"] for item in written.items}
    kept = []
    for item in old:
        names = spec.field(item, "RepoTags") or []
        left = [x for x in names if spec.full_name(spec.normalise_tag(x) or x) not in taken]
        if left or spec.field(item, "Config") not in same:
            kept.append({k: left if spec.fold(k) == "repotags" else x for k, x in item.items()})
    return spec.dump([*kept, *written.items]).encode("ascii")
