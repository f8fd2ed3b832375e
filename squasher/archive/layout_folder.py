"""Images into the folder of an OCI layout, beside those that are there."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from squasher.archive.lay_out import Written
from squasher.archive.oci_index import reference_of, tags_of
from squasher.archive.output_file import WINDOW, Progress, output_errors, staged_beside
from squasher.archive.stream import counted
from squasher.blobs.content import open_regular
from squasher.digest import Digest
from squasher.errors import DocumentError, OutputError
from squasher.image.documents import DOCUMENT_MAX, dump, field, fold, load
from squasher.image.manifests import REF_NAME, parse_document, parse_index, parse_manifest_json
from squasher.image.references import full_name, normalise_tag

try:
    import fcntl
except ImportError:  # pragma: no cover  (Windows)
    fcntl = None  # type: ignore[assignment]


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
        merged = dump(_merged_index(index, written.index)).encode("ascii")
        with contextlib.ExitStack() as both:  # both are complete before one takes its name
            found = ((listed, items), (index, merged))
            beside = [
                staged_beside(path, None, path, (x,), 0) for path, x in found if x is not None
            ]
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
    with output_errors(folder):
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
        _put_inside(path, counted(content, str(digest), progress), content.size)


def _put_inside(path: str, data: Iterable[bytes], size: int = 0) -> None:
    """Write a file of a layout; a symlink that stands there is replaced, not followed."""
    with staged_beside(path, None, path, data, size) as staged:
        staged.commit()


@contextlib.contextmanager
def _alone(folder: str, made: list[str]) -> Iterator[None]:
    """Hold `folder` against other runs of ours; if it is not there it is made, and added to `made`.

    The lock is on the folder itself: nothing is left behind, not by SIGKILL either. Where there
    are no such locks (network filesystems) nobody waits. Raises OutputError.
    """
    with contextlib.ExitStack() as held:
        with output_errors(folder):
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
            while data := stream.read(WINDOW):
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


def _document_there(path: str) -> bytes | None:
    """Return the document at `path`, cut off beyond what is read; None if there is none."""
    try:
        with open_regular(path) as stream:
            return stream.read(DOCUMENT_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError(f"cannot be read: {error.strerror}", where=path) from None


def _merged_index(path: str, new: dict[str, Any]) -> dict[str, Any]:
    """Return the index at `path` with the descriptors of `new`, which take over their names."""
    data = _document_there(path)
    if data is None:
        return new
    try:
        old = parse_document(data, path)
        descriptors = parse_index(old, path)
    except DocumentError as error:
        raise OutputError(f"is not an index: {error.what}", where=error.where) from None
    taken = {name for descriptor in new["manifests"] for name in _called(descriptor)}
    digests = {descriptor["digest"] for descriptor in new["manifests"] if not _called(descriptor)}
    kept = [
        descriptor.document
        for descriptor in descriptors
        if not _called(descriptor.document) & taken
        and (_called(descriptor.document) or str(descriptor.digest) not in digests)
    ]
    return old | {"manifests": kept + new["manifests"]}


def _called(descriptor: dict[str, Any]) -> set[str]:
    """Return what a descriptor of a layout is found by: its reference, its full image name."""
    reference = reference_of(descriptor)
    names = (reference,) if reference else tags_of(descriptor)
    raw = (descriptor.get("annotations") or {}).get(REF_NAME)
    return {full_name(normalise_tag(x) or x) for x in names} | ({raw} if raw else set())


def _merged_items(path: str, written: Written) -> bytes | None:
    """Return a manifest.json that lies in the layout, as `docker save` leaves it, with the images.

    None if there is none. The new images take over their names, as in the index.
    """
    data = _document_there(path)
    if data is None:
        return None
    try:
        parse_manifest_json(data)
        old = load(data, path)
    except DocumentError as error:
        raise OutputError(f"is not a valid manifest.json: {error.what}", where=path) from None
    taken = {full_name(x) for p in written.index["manifests"] for x in tags_of(p)}
    same = {item["Config"] for item in written.items}
    kept = []
    for item in old:
        names = field(item, "RepoTags") or []
        left = [x for x in names if full_name(normalise_tag(x) or x) not in taken]
        if left or field(item, "Config") not in same:
            kept.append({k: left if fold(k) == "repotags" else x for k, x in item.items()})
    return dump([*kept, *written.items]).encode("ascii")
