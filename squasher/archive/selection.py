"""Which images of an archive are meant: by name, reference, image ID or platform."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from squasher.errors import BaseNotFoundError
from squasher.image import manifests
from squasher.image.manifests import platform_of
from squasher.image.model import Archive, Branch, Image, Leaf, Node, Unread
from squasher.image.platforms import same
from squasher.image.references import same_name

_SEVERAL = "{} fits {} images: all of them are squashed"


def select(archive: Archive, image: str = "", platform: str = "") -> Archive:
    """Return `archive` with only the images of that name and that platform, "" for any.

    `image` is a name as docker takes it, a reference of the layout, or an image ID (the digest of
    a config, a manifest, an index) or a prefix of six or more digits of one. Raises
    BaseNotFoundError if nothing fits, and what was wrong with an image that is picked.
    """
    if not image and not platform:
        for unread in archive.unread:
            raise unread.error.within(archive.name)
        return archive
    named = _named(archive, image) if image else range(len(archive.images))
    descriptors: dict[int, list[dict[str, Any]]] = {}
    for leaf in _leaves(archive.tree):
        descriptors.setdefault(leaf.image, []).append(leaf.descriptor)
    picked = {}
    for i in sorted(named):
        found = archive.images[i]
        others = (replace(found, descriptor=x) for x in descriptors.get(i, ())[1:])
        fits = (x for x in (found, *others) if not platform or same(platform, x.platform))
        if chosen := next(fits, None):
            picked[i] = chosen
    for unread in archive.unread:
        if _may_mean(unread, image, platform, certain=not picked):
            raise unread.error.within(archive.name)
    wanted = " for ".join(part for part in (image, platform) if part)
    if not picked:
        raise BaseNotFoundError(
            f"no image {wanted}",
            where=archive.name,
            hint="choose one of the images below",
            there=listing(archive.images),
        )
    notices = (_SEVERAL.format(wanted, len(picked)),) if len(picked) > 1 else ()
    return _with_only(archive, picked, platform, notices)


def _may_mean(unread: Unread, image: str, platform: str, *, certain: bool) -> bool:
    """Tell whether an image that cannot be read is picked.

    Where no index tells its platform, `certain` says whether it is.
    """
    if image:
        match = _ID.fullmatch(image)
        called = any(name == image or same_name(name, image) for name in unread.names)
        if not called and not (match and any(x.hex.startswith(match[1]) for x in unread.ids)):
            return False
    if not platform:
        return True
    place = platform_of(unread.descriptor)
    return certain if place is None else same(platform, place)


def referred(archive: Archive, reference: str, *, listed: bool = False) -> Archive:
    """Return `archive` with only what the reference of a transport names: as `select`, or `@N`.

    `@N` counts from 0: the items of manifest.json if `listed`, else the descriptors of index.json.
    Source: containers-transports(5). Raises BaseNotFoundError.
    """
    match = _POSITION.fullmatch(reference)
    if match is None:
        return select(archive, reference)
    at = int(match[1])
    found: set[int | None] = set()
    if listed or not archive.tree:
        found.update(archive.listed[at : at + 1])
    else:
        for descriptor in archive.document["manifests"][at : at + 1]:
            nodes = (
                node for node in archive.tree if node.descriptor["digest"] == descriptor["digest"]
            )
            found.update(leaf.image for leaf in _leaves(nodes))
    picked = {i: image for i, image in enumerate(archive.images) if i in found}
    if not picked:
        raise BaseNotFoundError(f"no image at position {at}, counted from 0", where=archive.name)
    return _with_only(archive, picked)


def _with_only(
    archive: Archive,
    picked: dict[int, Image],
    platform: str = "",
    notices: tuple[str, ...] = (),
) -> Archive:
    """Return `archive` with the images of these positions, and in its tree those for `platform`."""
    positions = {old: new for new, old in enumerate(picked)}

    def chosen(leaf: Leaf) -> Leaf | None:
        if leaf.image not in positions:
            return None
        as_seen = replace(archive.images[leaf.image], descriptor=leaf.descriptor)
        if platform and not same(platform, as_seen.platform):
            return None
        return replace(leaf, image=positions[leaf.image])

    return replace(
        archive,
        images=tuple(picked.values()),
        tree=tuple(_pruned(archive.tree, chosen)),
        notices=(*archive.notices, *notices),
        listed=tuple(None if i is None else positions.get(i) for i in archive.listed),
        unread=(),
    )


def _pruned(nodes: Sequence[Node], chosen: Callable[[Leaf], Leaf | None]) -> Iterator[Node]:
    """Yield the tree without the leaves that are not `chosen`, and without empty branches."""
    for node in nodes:
        if isinstance(node, Leaf):
            if leaf := chosen(node):
                yield leaf
            continue
        children = tuple(_pruned(node.children, chosen))
        if children:
            yield replace(node, children=children)


_ID = re.compile(r"(?:sha256:)?([0-9a-f]{6,64})")
_POSITION = re.compile(r"@([0-9]{1,9})")


def labelled(archive: Archive) -> Archive:
    """Return `archive`; if it has several images, errors tell which of them they are about."""
    if len(archive.images) < 2:
        return archive
    return replace(archive, images=tuple(replace(x, label=x.title) for x in archive.images))


def listing(images: Iterable[Image]) -> tuple[str, ...]:
    """Return a line for each name of each image, with the platform: names first, then digests."""
    named: list[str] = []
    unnamed: list[str] = []
    for image in images:
        named += [f"{name} ({image.platform})" for name in image.names]
        if not image.names:
            unnamed.append(f"{image.config.image_id} ({image.platform})")
    return (*named, *unnamed)


def _named(archive: Archive, name: str) -> set[int]:
    """Return the positions of the images that `name` names."""
    found = {
        i
        for i, image in enumerate(archive.images)
        if any(same_name(tag, name) for tag in image.tags)
    } | set(_referenced(archive.tree, name))
    match = _ID.fullmatch(name)
    if match and not found:
        fits: dict[str, set[int]] = {}
        for i, image in enumerate(archive.images):
            for digest in image.ids:
                if digest.hex.startswith(match[1]):
                    fits.setdefault(str(digest), set()).add(i)
        if len({frozenset(images) for images in fits.values()}) > 1:
            raise BaseNotFoundError(
                f"{len(fits)} images fit {name}",
                where=archive.name,
                hint="choose one of the digests below",
                there=tuple(sorted(fits)),
            )
        found = next(iter(fits.values()), set())
    return found


def _referenced(nodes: Sequence[Node], name: str) -> Iterator[int]:
    """Yield the images below the descriptors whose reference in the layout is `name`."""
    for node in nodes:
        annotations = node.descriptor.get("annotations") or {}
        if annotations.get(manifests.REF_NAME) == name:
            yield from (leaf.image for leaf in _leaves((node,)))
        elif isinstance(node, Branch):
            yield from _referenced(node.children, name)


def _leaves(nodes: Iterable[Node]) -> Iterator[Leaf]:
    for node in nodes:
        if isinstance(node, Leaf):
            yield node
        else:
            yield from _leaves(node.children)
