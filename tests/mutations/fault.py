"""What a planted fault is, and the seams of the package where one is put into a value.

A seam is a place where one part of the package hands a finished value to the next: no text of the
source is named here, and of its names only those in `_SEAMS`.

| seam | the value | `plant` gets |
|-|-|-|
| merge | what merging starts from | base tree, final tree, number of the first squashed layer |
| same | which pairs of files have the same content | the answer, the pairs asked for |
| plan | the `MergePlan` | it |
| layer | the new layer | its members (`tests.builders`), nodes below by path (`tests.model`) |
| image | the squashed `Image` | it, and the number of kept layers |
| tags | the `Archive` that is to be laid out | it |
| written | the members of the new archive, `Written` | it |
| chunks | the bytes of the new archive | them |

`plant` returns the value with the fault, or None for a value that the fault does not fit.
"""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from unittest import mock

from squasher import request
from squasher.archive import lay_out, stream
from squasher.archive.lay_out import Written
from squasher.blobs.content import Content
from squasher.digest import Digest
from squasher.image import configs, documents, manifests
from squasher.image.model import Blob, Image, Layer
from squasher.layers import squash
from squasher.layers.merge import Draft
from squasher.layers.result import Squashed
from tests import model
from tests.builders import Member, layer

Seam = Literal["merge", "same", "plan", "layer", "image", "tags", "written", "chunks"]
VERIFY = "--verify"


@dataclass(frozen=True)
class Fault:
    """A fault in a value.

    name     what is wrong with the value
    caught   who notices: `--verify`, or the test of the suite whose name this is, in brackets the
             case of the corpus that it takes
    why      why `--verify` does not
    always   whether it spoils every value that it fits
    """

    name: str
    seam: Seam
    plant: Callable[..., Any]
    caught: str = VERIFY
    why: str = ""
    always: bool = True

    @property
    def label(self) -> str:
        """A name that no other fault has."""
        return f"{self.seam}: {self.name}"


class Planted:
    """A fault while it is planted: `count` says into how many values it went."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self.count = 0

    def into(self, value: Any, *given: Any) -> Any:
        """Return what the fault makes of `value`, or `value` if it does not fit."""
        changed = self._fault.plant(value, *given)
        if changed is None:
            return value
        self.count += 1
        return changed


@contextlib.contextmanager
def planted(fault: Fault) -> Iterator[Planted]:
    """Have the package make every value of the fault's seam with the fault."""
    found = Planted(fault)
    owner, name, make = _SEAMS[fault.seam]
    with mock.patch.object(owner, name, make(found, getattr(owner, name))):
        yield found


# ---------------------------------------------------------------- the seams


def _merge(found: Planted, real: Any) -> Any:
    def draft(base: Any, final: Any, first: int) -> Draft:
        changed: Draft = real(*found.into((base, final, first)))
        return changed

    return draft


def _same(found: Planted, real: Any) -> Any:
    def same(asked: Collection[Any], *given: Any) -> Any:
        return found.into(real(asked, *given), asked)

    return same


def _plan(found: Planted, real: Any) -> Any:
    def plan(self: Draft, *given: Any) -> Any:
        return found.into(real(self, *given))

    return plan


def _layer(found: Planted, real: Any) -> Any:
    def begin(*given: Any, **options: Any) -> Squashed:
        squashed: Squashed = real(*given, **options)
        if not squashed.merged:
            return squashed
        *below, new = squashed.image.layers
        parts = found.into(members(unpacked(new)), nodes_of([*map(unpacked, below)]))
        data = parts if isinstance(parts, bytes) else layer(*parts)
        return replace(squashed, image=with_new_layer(squashed.image, data))

    return begin


def _image(found: Planted, real: Any) -> Any:
    def begin(*given: Any, **options: Any) -> Squashed:
        squashed: Squashed = real(*given, **options)
        if not squashed.merged:
            return squashed
        return replace(squashed, image=found.into(squashed.image, squashed.kept))

    return begin


def _tags(found: Planted, real: Any) -> Any:
    def lay_out(archive: Any, *given: Any, **options: Any) -> Written:
        written: Written = real(found.into(archive), *given, **options)
        return written

    return lay_out


def _written(found: Planted, real: Any) -> Any:
    def lay_out(*given: Any, **options: Any) -> Any:
        return found.into(real(*given, **options))

    return lay_out


def _chunks(found: Planted, real: Any) -> Any:
    def archive(members: Any, progress: Any, _: Any) -> Iterator[bytes]:
        """Yield bytes, also for a pipe, which takes them as well."""
        yield found.into(b"".join(real(members, progress, Content.windows)))

    return archive


#: Where each value is handed on: the module or class, the name in it, what stands in for it.
_SEAMS: dict[Seam, tuple[Any, str, Callable[[Planted, Any], Any]]] = {
    "merge": (Draft, "of", _merge),
    "same": (squash, "same_content", _same),
    "plan": (Draft, "plan", _plan),
    "layer": (request, "begin", _layer),
    "image": (request, "begin", _image),
    "tags": (lay_out, "lay_out", _tags),
    "written": (lay_out, "lay_out", _written),
    "chunks": (stream, "_archive", _chunks),
}


# ---------------------------------------------------------------- values, taken apart and rebuilt

_TYPES = {kind: flag for flag, kind in model.KINDS.items()}


def unpacked(layer: Layer) -> bytes:
    """Return the tar of a layer."""
    data = layer.blob.content.read_at(0, layer.blob.size)
    return gzip.decompress(data) if layer.blob.compression == "gzip" else data


def members(tar: bytes) -> list[Member]:
    """Return the members of a layer; `layer(*members)` says the same as it."""
    return [
        Member(
            path=entry.raw_path,
            type=_TYPES.get(entry.kind, b"0"),
            data=entry.data,
            mode=entry.mode,
            uid=entry.uid,
            gid=entry.gid,
            mtime=entry.mtime,
            target=entry.target,
            device=entry.device,
            xattrs=entry.xattrs,
        )
        for entry in model.read(tar)
    ]


def nodes_of(layers: Sequence[bytes]) -> dict[bytes, model.Node]:
    """Return what these layers make, by its path."""
    return {b"/".join(path): node for path, node in model.walk(model.apply(layers).root)}


def with_new_layer(image: Image, tar: bytes) -> Image:
    """Return the squashed image with this as its new layer, all digests right."""
    digest = Digest.of(tar)
    media_type = manifests.OCI_LAYER
    new = Layer(digest, Blob(Content((tar,)), media_type, digest))
    return with_layers(image, [*image.layers[:-1], new])


def with_layers(image: Image, layers: Sequence[Layer]) -> Image:
    """Return the image with these layers, all diff_ids right."""
    diff_ids = [layer.diff_id for layer in layers]
    config = configs.edit_config(image.config, diff_ids, image.config.history, None)
    return replace(image, config=config, layers=tuple(layers))


def with_config(image: Image, edit: Callable[[dict[str, Any]], object]) -> Image:
    """Return the image with its config's document edited."""
    document = documents.as_object(documents.load(image.config.raw, "config"), "config")
    edit(document)
    return replace(image, config=configs.parse_config(documents.dump(document).encode()))
