"""What the user's `-f` means: at which layer an image is split.

All functions return the number of layers to keep, counted from the lowest.
"""

from __future__ import annotations

import re

from squasher.digest import Digest
from squasher.errors import BaseNotFoundError, UsageError
from squasher.image import Image, rows
from squasher.spec import normalise_tag

_ROWS = re.compile(r"[0-9]{1,5}")
_HEX = re.compile(r"(?:sha256:)?([0-9a-fA-F]{1,64})")
#: A shorter prefix is more likely a name.
_PREFIX_MIN = 6


def resolve(image: Image, base: str) -> int:
    """Return how many layers of `image` the text `base` keeps.

    1. one to five decimal digits: all but those of the newest that many history rows
    2. a digest or a unique prefix of one: of a layer's diff_id, its blob, its chain ID, its
       folder in an archive of docker before 25; that layer is the last one kept

    Raises UsageError for an empty text or 0, BaseNotFoundError if nothing or too much fits.
    """
    if not base.strip():
        raise UsageError(
            "the base is empty", where="-f", hint="leave -f out to merge all layers into one"
        )
    if _ROWS.fullmatch(base):
        return _keep_below_rows(image, int(base))
    match = _HEX.fullmatch(base)
    if match and (len(match[1]) >= _PREFIX_MIN or base.startswith("sha256:")):
        kept = _keep_up_to(image, match[1].lower(), base)
        if kept is not None:
            return kept
    raise _not_found(image, base)


def keep(image: Image, count: int) -> int:
    """Check that `image` has `count` layers to keep. Raises UsageError, BaseNotFoundError."""
    if count < 0:
        raise UsageError(f"{count} is no number of layers", where="--keep-layers")
    if count > len(image.layers):
        raise BaseNotFoundError(
            f"cannot keep {count} layers, {image.name} has {len(image.layers)}",
            where="--keep-layers",
            image=image,
        )
    return count


def _keep_below_rows(image: Image, count: int) -> int:
    if count == 0:
        raise UsageError("0 rows leave nothing to squash", where="-f 0")
    table = rows(image.config)
    if count > len(table):
        raise BaseNotFoundError(
            f"{image.name} has {len(table)} history rows, not {count}",
            where=f"-f {count}",
            image=image,
        )
    return sum(row.layer is not None for row in table[: len(table) - count])


def _keep_up_to(image: Image, prefix: str, base: str) -> int | None:
    """Return where the layer that a digest begins with `prefix` names ends, None if none does."""
    hits: dict[int, str] = {}
    for kind, names in _names(image):
        for i, name in enumerate(names):
            if name.startswith(prefix):
                hits.setdefault(i + 1, kind)
    if not hits:
        return None
    if len(hits) == 1:
        return next(iter(hits))
    chain = image.chain_ids
    choices = ", ".join(f"{chain[k - 1]} (layer {k}, {kind})" for k, kind in sorted(hits.items()))
    raise BaseNotFoundError(
        f"{len(hits)} layers of {image.name} fit",
        where=f"-f {base}",
        hint=f"name one by its chain ID: {choices}",
        image=image,
    )


def _names(image: Image) -> tuple[tuple[str, list[str]], ...]:
    """Return what a layer can be called by, a list for each kind, lowest layer first."""
    return (
        ("diff_id", [layer.diff_id.hex for layer in image.layers]),
        ("blob", [_hex(layer.blob.digest) for layer in image.layers]),
        ("chain ID", [digest.hex for digest in image.chain_ids]),
        ("folder", [layer.folder for layer in image.layers]),
    )


def _hex(digest: Digest | None) -> str:
    return digest.hex if digest is not None else ""


def _not_found(image: Image, base: str) -> BaseNotFoundError:
    if normalise_tag(base) is None or _HEX.fullmatch(base):
        return BaseNotFoundError(
            f"no layer of {image.name} is called so", where=f"-f {base}", image=image
        )
    return BaseNotFoundError(
        "no layer is called so, and a saved image does not know its base's name",
        where=f"-f {base}",
        hint="give the last layer to keep by its chain ID from the table, the number of newest"
        " history rows to squash, or --keep-layers",
        image=image,
    )
