"""What the user's `-f` means: at which layer an image is split."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from squasher.digest import Digest
from squasher.errors import BaseNotFoundError, UsageError
from squasher.image.model import Archive, Image, rows, rows_fit, rows_with_layer
from squasher.image.references import normalise_tag, same_name

_ROWS = re.compile(r"[0-9]{1,5}")
_HEX = re.compile(r"(?:sha256:)?([0-9a-fA-F]{1,64})")
#: A number that is not written with its digits alone, in any script.
_NUMBER = re.compile(r"(?![0-9]+\Z)\s*[+-]*\d+\s*")
#: What can only be meant as a path.
_PATH = re.compile(r"\.{0,2}/|.*\.(?:tar|tgz|tar\.\w+)$")
#: A shorter prefix is more likely a name.
_PREFIX_MIN = 6
_ALL = "leave -f out to merge all layers into one"


@dataclass(frozen=True, slots=True)
class Split:
    """Where an image is split into base and squashed layers.

    kept   number of layers of the base, the lowest
    rows   number of history rows that belong to the base, if its own history says so, else None
    base   the image that is the base, if one was named, else None
    """

    kept: int
    rows: int | None = None
    base: Base | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Base:
    """An image as a base.

    diff_ids   of its layers, lowest first
    history    the JSON of its history rows, lowest first; () if it is not known
    name       for messages
    names, platform   as those of an Image, if known
    image_id, manifest   as an Origin has them, if known
    What may be unknown, the history apart, does not count in comparisons.
    """

    diff_ids: tuple[Digest, ...]
    history: tuple[str, ...] = ()
    name: str = ""
    names: tuple[str, ...] = field(default=(), compare=False)
    platform: str = field(default="", compare=False)
    image_id: Digest | None = field(default=None, compare=False)
    manifest: Digest | None = field(default=None, compare=False)


#: Returns the images of the archive or transport that a text names; None if it does not name one.
Fetch = Callable[[str], Sequence[Base] | None]


#: Returns what an engine that may be asked knows of the image of that name; None if it has none.
Ask = Callable[[str], Base | None]


def fetch_nothing(text: str) -> None:
    """Return None: no archive is opened."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the base of an image is looked for.

    others    images of the same archive
    fetch     opens the archive or transport that a text names
    ask       for images of an engine
    lenders   archives that lend the image layers
    """

    others: Sequence[Image] = ()
    fetch: Fetch = fetch_nothing
    ask: Ask = fetch_nothing
    lenders: Sequence[Archive] = ()


def of_image(image: Image) -> Base:
    """Return `image` as a base."""
    return Base(
        tuple(layer.diff_id for layer in image.layers),
        tuple(row.text for row in image.config.history or ()),
        image.name,
        image.names,
        str(image.platform),
        image.config.image_id,
        next(iter(image.manifest_digests), None),
    )


def may_be_digest(base: str) -> bool:
    """Tell whether the text may be a digest or a prefix of one."""
    match = _HEX.fullmatch(base)
    return match is not None and len(match[1]) >= _PREFIX_MIN


def resolve(
    image: Image, base: str, others: Sequence[Image] = (), fetch: Fetch = fetch_nothing
) -> Split:
    """Return where the text `base` splits `image`.

    1. one to five decimal digits: all but those of the newest that many history rows
    2. a digest or a unique prefix of one: of a layer's diff_id, its blob, its chain ID, its
       folder in an archive of docker before 25; that layer is the last one kept; or the image ID
       of another image of the same archive: the digest of its config, manifest or index
    3. the name of another image of the same archive: `others`
    4. what `fetch` makes of it: an archive, a layout or a daemon's image that is the base

    Raises UsageError for an empty text or 0, BaseNotFoundError if nothing or too much fits.
    """
    if not base.strip():
        raise UsageError("the base is empty", where="-f", hint=_ALL)
    if _ROWS.fullmatch(base):
        return Split(_keep_below_rows(image, base))
    match = _HEX.fullmatch(base) if may_be_digest(base) else None
    if match:
        prefix = match[1].lower()
        kept = _keep_up_to(image, prefix, base)
        if kept is not None:
            return Split(kept)
        named = [x for x in others if any(digest.hex.startswith(prefix) for digest in x.ids)]
        if len(ids := dict.fromkeys(str(x.config.image_id) for x in named)) > 1:
            what, hint = f"{len(ids)} images of the archive fit", "choose one of the images below"
            raise _error(image, base, what, hint, tuple(ids))
        if named:
            return _on_top_of(image, [of_image(x) for x in named], base)
    named = [
        x for x in others if base in x.references or any(same_name(tag, base) for tag in x.tags)
    ]
    bases = [of_image(x) for x in named] or fetch(base)
    if bases is None:
        raise _not_found(image, base, others)
    return _on_top_of(image, bases, base)


def _on_top_of(image: Image, bases: Sequence[Base], base: str) -> Split:
    """Return where the one of `bases` that `image` is built on ends.

    Raises BaseNotFoundError, naming the first layer that differs, or those that fit.
    """
    own = of_image(image)
    hits = [each for each in bases if own.diff_ids[: len(each.diff_ids)] == each.diff_ids]
    if len({len(each.diff_ids) for each in hits}) > 1:
        what = f"{image.name} is built on several of its images"
        hint = "name one as docker-archive:PATH:REF or oci:DIR:REF, or count with --keep-layers"
        there = tuple(f"{each.name} (--keep-layers {len(each.diff_ids)})" for each in hits)
        raise _error(image, base, what, hint, there)
    for each in hits:
        rows_known = each.history and own.history[: len(each.history)] == each.history
        return Split(len(each.diff_ids), len(each.history) if rows_known else None, each)
    other = bases[0].diff_ids
    pairs = zip(own.diff_ids, other, strict=False)
    differs = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
    if differs is None:
        what = f"it has {len(other)} layers, {image.name} has {len(own.diff_ids)}"
    else:
        what = f"its layer {differs + 1} is {other[differs]}, the image has {own.diff_ids[differs]}"
    raise _error(image, base, f"is not the base of {image.name}: {what}")


def keep(image: Image, count: int) -> Split:
    """Return the split that keeps `count` layers. Raises UsageError, BaseNotFoundError."""
    if count < 0:
        raise UsageError(f"{count} is not a valid number of layers", where="--keep-layers")
    if count > len(image.layers):
        raise BaseNotFoundError(
            f"cannot keep {count} layers, {image.name} has {len(image.layers)}",
            where="--keep-layers",
            image=image,
        )
    return Split(count)


def _keep_below_rows(image: Image, base: str) -> int:
    count = int(base)
    if count == 0:
        what, hint = "0 history rows were asked for", f"give 1 or more, or {_ALL}"
        raise UsageError(what, where=f"-f {base}", hint=hint)
    table = rows(image.config)
    if not rows_fit(image.config):
        raise BaseNotFoundError(
            f"{image.name} has {len(image.layers)} layers, but its history has rows for"
            f" {rows_with_layer(image.config)}: it is not known which row belongs to which layer",
            where=f"-f {base}",
            hint="count layers with --keep-layers K, or give one of the chain IDs below",
            image=image,
        )
    if count > len(table):
        what = f"{image.name} has {len(table)} history rows, not {count}"
        raise _error(image, base, what)
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
    what, hint = f"{len(hits)} layers of {image.name} fit", "give one of the chain IDs below"
    there = tuple(f"{chain[k - 1]} (layer {k}, {kind})" for k, kind in sorted(hits.items()))
    raise _error(image, base, what, hint, there)


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


def _error(
    image: Image, base: str, what: str, hint: str = "", there: tuple[str, ...] = ()
) -> BaseNotFoundError:
    return BaseNotFoundError(what, where=f"-f {base}", hint=hint, image=image, there=there)


def _not_found(image: Image, base: str, others: Sequence[Image]) -> BaseNotFoundError:
    import difflib

    names = [name for other in others for name in other.names if other is not image]
    digests = [digest.hex[:24] for digest in image.chain_ids]
    near = difflib.get_close_matches(base.removeprefix("sha256:"), names + digests, 3)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    below = "give one of the chain IDs below"
    if _PATH.match(base):
        return _error(image, base, "no such file")
    if _NUMBER.fullmatch(base):
        what = "is not a number of history rows"
        return _error(image, base, what, "write it with the digits 0 to 9, without space or sign")
    if normalise_tag(base) is None or _HEX.fullmatch(base):
        return _error(image, base, f"{image.name} has no layer of that name", hint + below)
    if any(same_name(tag, base) for tag in image.tags):
        return _error(image, base, "is the image itself", below)
    app = image.tags[0] if image.tags else "app"
    what = (
        "there is no layer and no file of that name, and a saved image does not know its base's"
        " name"
    )
    hint += (
        f"{below}, -f docker-daemon:{base}, or"
        f" `docker save {app} {base} | squash --image {app} -f {base}`"
    )
    return _error(image, base, what, hint)
