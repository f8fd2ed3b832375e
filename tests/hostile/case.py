"""What a hostile archive is, and the words that they are made with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.builders import File, archive, image_config, layer, outer_tar, sha256

#: A harmless layer, so that there is something to merge.
GOOD = layer(File(b"good", b"good"))


@dataclass(frozen=True)
class Case:
    """One archive, named by its defect.

    code   the exit code of the command
    says   how its message begins, behind the name of the input; "" for an archive that is sound
           all the same: then the squashed image shows what `layers` show
    """

    name: str
    make: Callable[[], bytes]
    code: int
    says: str
    layers: tuple[bytes, ...] = ()
    options: tuple[str, ...] = ()


def refused(name: str, make: Callable[[], bytes] | bytes, says: str, code: int = 3) -> Case:
    """Return the case of an archive that nobody should take."""
    return Case(name, make if callable(make) else lambda: make, code, says)


def in_layer(name: str, says: str, *parts: Any, **options: Any) -> Case:
    """Return the case of an image whose lower one of two layers has these parts."""
    return refused(name, lambda: image(layer(*parts, **options)), f"layer 1 of 2: {says}")


def sound(name: str, *layers: bytes) -> Case:
    """Return the case of an image that only looks as if it were broken."""
    whole = (*layers, GOOD)
    return Case(name, lambda: archive(whole, form="podman"), 0, "", whole)


def image(*layers: bytes, **options: Any) -> bytes:
    """Return an image of these layers and a good one above them."""
    return archive([*layers, GOOD], form="podman", **options)


def dump(value: Any) -> bytes:
    """Return a JSON document."""
    return json.dumps(value).encode()


def docker(
    manifest: bytes | Any,
    config: bytes | Mapping[str, Any] | None = None,
    members: Mapping[str, bytes | None] | None = None,
) -> bytes:
    """Return a docker-archive of one good layer, whose documents can be anything."""
    if config is None:
        config = image_config([GOOD])
    return outer_tar(
        {
            "manifest.json": manifest if isinstance(manifest, bytes) else dump(manifest),
            "config.json": config if isinstance(config, bytes) else dump(config),
            "layer.tar": GOOD,
            **(members or {}),
        }
    )


def item(**changes: Any) -> list[dict[str, Any]]:
    """Return the `manifest.json` of that archive, with some keys changed."""
    return [{"Config": "config.json", "RepoTags": ["a:1"], "Layers": ["layer.tar"], **changes}]


def descriptor(data: bytes, kind: str = "layer.v1.tar", **changes: Any) -> dict[str, Any]:
    """Return what points at a blob, with some keys changed."""
    return {
        "mediaType": f"application/vnd.oci.image.{kind}",
        "digest": f"sha256:{sha256(data)}",
        "size": len(data),
        **changes,
    }


def oci(
    *blobs: bytes,
    index: bytes | None = None,
    config: bytes | None = None,
    layers: Sequence[Any] | None = None,
    manifest: Mapping[str, Any] | None = None,
    members: Mapping[str, bytes | None] | None = None,
) -> bytes:
    """Return an oci-archive of one good layer; every document can be replaced."""
    config = config if config is not None else dump(image_config([GOOD]))
    document = {
        "schemaVersion": 2,
        "config": descriptor(config, "config.v1+json"),
        "layers": [descriptor(GOOD)] if layers is None else layers,
        **(manifest or {}),
    }
    text = dump(document)
    if index is None:
        index = dump({"schemaVersion": 2, "manifests": [descriptor(text, "manifest.v1+json")]})
    files: dict[str, bytes | None] = {
        f"blobs/sha256/{sha256(blob)}": blob for blob in (GOOD, config, text, *blobs)
    }
    files |= {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": index}
    return outer_tar(files | dict(members or {}))
