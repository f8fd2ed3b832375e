"""Plain layers: those that are kept, compressed on request; what compressing them would save."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import replace

from squasher.blobs.compression import Compression, compress, version
from squasher.blobs.content import Content
from squasher.digest import Digest, check
from squasher.image.manifests import DOCKER_LAYER, OCI_LAYER
from squasher.image.manifests import descriptor as descriptor_of
from squasher.image.model import Blob, Image, Layer
from squasher.layers.result import Squashed
from squasher.run import Job
from squasher.tasks import HashBeside

#: Less plain bytes than that are not worth a word.
_WORTH = 1 << 20
#: Samples of a layer, and bytes of each, of which gzip is tried.
_SAMPLES, _SAMPLE = 16, 64 << 10
_LEVEL = 6


def compress_kept(done: Squashed, how: Compression, job: Job) -> Squashed:
    """Return `done` with its plain layers stored as `how` says; diff_ids and config stay.

    Each is read once more, and checked against its diff_id. Raises DigestMismatchError for one that
    has changed meanwhile, OutputError (no room).
    """
    layers, after = list(done.image.layers), list(done.after)
    packed: dict[Digest, Layer] = {}
    found = [i for i, layer in enumerate(layers) if not layer.blob.compression]
    for i in reversed(found):  # as an archive has them
        layer = layers[i]
        if layer.diff_id not in packed:
            packed[layer.diff_id] = _compressed(layer, how, job)
        blob = packed[layer.diff_id].blob
        layers[i] = replace(layer, blob=blob, descriptor=_described(layer, blob))
        after[i] = replace(after[i], digest=blob.digest or layer.diff_id, size=blob.size)
    if not found:
        return done
    image = replace(done.image, layers=tuple(layers), manifest_digests=(), attested=tuple)
    count = f"{len(found)} kept layer{'' if len(found) == 1 else 's'}"
    notice = (
        f"{count} compressed with {how.name}: hosts that have the uncompressed blobs fetch them"
        " again; diff_ids and the image ID are the same"
    )
    return replace(
        done,
        image=image,
        after=tuple(after),
        notices=(*done.notices, notice),
        compressor=done.compressor or version(how.name),
        compressed=tuple(found),
    )


def _compressed(layer: Layer, how: Compression, job: Job) -> Layer:
    content = layer.blob.content
    new = stored_as(content, how, layer.blob.media_type, content.size, job)
    check(layer.diff_id, new.diff_id, where=f"layer {layer.diff_id}")
    return new


def stored_as(content: Content, how: Compression, like: str, total: int, job: Job) -> Layer:
    """Return the layer whose tar is `content`, stored as `how` says; `like` is a media type.

    The new one is of the same family, docker's or OCI's. O(bytes); `total` is for the progress.
    Raises OutputError (no room).
    """
    blob_hash = hashlib.sha256()
    with HashBeside() as tar_hash:

        def windows() -> Iterator[bytes]:
            for window in content.windows():
                tar_hash.update(window)
                job.progress("hash", len(window), total)
                yield window

        def compressed() -> Iterator[bytes]:
            for chunk in job.timed_each(how.name, compress(how, windows())):
                blob_hash.update(chunk)
                yield chunk

        stored = job.stored(compressed()) if how.name else job.stored(windows(), content)
    digest = Digest(tar_hash.hexdigest())
    blob_digest = Digest(blob_hash.hexdigest()) if how.name else digest
    media_type = OCI_LAYER + how.suffix
    if like.startswith("application/vnd.docker."):
        media_type = DOCKER_LAYER + how.suffix.replace("+", ".")
    return Layer(digest, Blob(stored, media_type, blob_digest, how.name))


def _described(layer: Layer, blob: Blob) -> dict[str, object]:
    """Return the descriptor of a blob that stores the same layer: its annotations stay."""
    if not layer.descriptor or blob.digest is None:
        return {}
    kept = {key: x for key, x in layer.descriptor.items() if key not in ("data", "urls")}
    return kept | descriptor_of(blob.media_type, blob.digest, blob.size)


# ---------------------------------------------------------------- what it would save


def plain_notice(image: Image, new: int | None) -> str:
    """Return what gzip would save of plain layers that are stored as they are; "" for nothing.

    `new` is the position of the new layer. Some of each layer is tried: at most a MiB is read.
    """
    plain = {i: x.blob.content for i, x in enumerate(image.layers) if not x.blob.compression}
    size = sum(content.size for content in plain.values())
    saved = sum(round(content.size * (1 - _share(content))) for content in plain.values())
    if saved < _WORTH:
        return ""
    options = [
        *(["--compress gzip"] if new in plain else ()),
        *(["--compress-kept"] if any(i != new for i in plain) else ()),
    ]
    layers = f"{len(plain)} layer{' is' if len(plain) == 1 else 's are'}"
    return (
        f"{layers} stored uncompressed, {size / 1e6:.0f} MB; gzip would save about"
        f" {saved / 1e6:.0f} MB: {' '.join(options)}"
    )


def _share(content: Content) -> float:
    """Return what gzip leaves of some of `content`, as a share of 1."""
    step = max(_SAMPLE, content.size // _SAMPLES)
    sample = b"".join(content.read_at(at, _SAMPLE) for at in range(0, content.size, step))
    return min(1.0, len(gzip.compress(sample, _LEVEL, mtime=0)) / max(1, len(sample)))
