"""Layers that can be pulled in parts: a table of contents in the blob, which annotations point at.

It describes the compressed bytes, so that it is right for a kept layer, and lost where layers are
squashed.

Source: containers/storage, docs/containers-storage-zstd-chunked.md; stargz-snapshotter,
docs/estargz.md, "TOC" and "Footer".
"""

from __future__ import annotations

from squasher.image.model import Image

#: How the annotations of each form begin, and how people call it.
_FORMS = {
    "io.github.containers.zstd-chunked.": "zstd:chunked",
    "containerd.io/snapshot/stargz/": "eStargz",
}


def lost_tables(image: Image, result: Image) -> tuple[str, ...]:
    """Return a notice if layers of `image` that `result` has no more had a table of contents."""
    there = set(result.config.diff_ids)
    keys = [
        key
        for layer in image.layers
        if layer.diff_id not in there
        for key in layer.descriptor.get("annotations") or {}
    ]
    lost = [name for start, name in _FORMS.items() if any(key.startswith(start) for key in keys)]
    if not lost:
        return ()
    return (
        f"left out the table of contents of squashed layers ({', '.join(lost)}): the new layer is"
        " pulled as a whole",
    )
