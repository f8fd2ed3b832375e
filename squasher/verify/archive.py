"""Is a whole result right? I3: what `--verify` asks before the result takes its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from squasher.archive import members, oci_index, reader
from squasher.archive.lay_out import Form
from squasher.archive.members import Store, TarStore
from squasher.archive.target import Target
from squasher.blobs.content import Content
from squasher.errors import OutputError, PolicyError, SquasherError
from squasher.image import references
from squasher.image.manifests import ManifestItem, blob_name, parse_manifest_json
from squasher.image.model import Archive, Branch, Image, Node
from squasher.layers.result import Squashed
from squasher.run import Job


def verify_result(
    result: Callable[[], Store],
    source: Archive,
    done: Sequence[Squashed],
    target: Target,
    job: Job,
    absent: Mapping[str, Content],
    limit: int | None = None,
) -> None:
    """Read the result back and prove that it is right. Raises PolicyError.

    `absent` are the blobs that it leaves out, by the names of members. No new layer is larger than
    `limit` bytes as a tar, if it can be smaller.
    """
    from squasher.verify.proof import NewLayers, prove

    try:
        with job.apart():
            found = result()
            if isinstance(found, TarStore) and any(name in found for name in absent):
                raise PolicyError("the archive has a layer that a partial archive leaves out")
            read = reader.read(found, "the result", absent.get)
            for notice in read.notices:  # of what is missing, or what contradicts itself
                raise PolicyError(notice)
            items = _manifest_items(found, read.images, target.form)
            total = sum(image.stored_size for image in source.images + read.images)
            job = job.telling("read", "compare", total)
            images = {image.config.image_id: image for image in read.images}
            for before, squashed in zip(source.images, done, strict=True):
                after = images.get(squashed.image.config.image_id)
                if after is None or not after.manifest:
                    raise PolicyError("an image is missing, or the index does not list it")
                if target.form == "docker" and after.tags != squashed.image.tags:
                    raise PolicyError("the tags differ")
                previous = squashed.update.previous if squashed.update else None
                latest = squashed.clamp.latest if squashed.clamp else None
                packed = frozenset(squashed.compressed)
                count = len(squashed.after) - squashed.kept if squashed.merged else 0
                new = NewLayers(count, limit)
                prove(before, after, squashed.kept, job, previous, latest, packed, new)
            _check_names(items, read, done, target)
    except OutputError:  # no room for what is unpacked: nothing is said about the result
        raise
    except SquasherError as error:
        raise PolicyError(str(error), where="not verified") from None


def _check_names(
    items: Sequence[ManifestItem], result: Archive, done: Sequence[Squashed], target: Target
) -> None:
    tags = {tag for squashed in done for tag in squashed.image.tags}
    listed = _full(tag for item in items for tag in item.tags)
    if target.form == "docker" and not _full(tags) <= listed:
        raise PolicyError("manifest.json does not have all tags")
    if not target.ref and _full(tags) != _full(_named(result.tree)):
        raise PolicyError("the index has other names for the images")


def _manifest_items(found: Store, images: Sequence[Image], form: Form) -> Sequence[ManifestItem]:
    """Return the items of manifest.json, none for the OCI form.

    Raises PolicyError unless loaders can tell the form, and docker's lists all images.
    """
    if "oci-layout" not in found:
        raise PolicyError("oci-layout is missing")
    if ("manifest.json" in found) != (form == "docker"):
        raise PolicyError("manifest.json is missing, or is in an archive that must not have it")
    if form != "docker":
        return ()
    items = parse_manifest_json(members.document(found, "manifest.json"))
    listed = {item.config for item in items}
    if not listed.issuperset(blob_name(image.config.image_id) for image in images):
        raise PolicyError("manifest.json does not list every image")
    return items


def _full(tags: Iterable[str]) -> set[str]:
    return {references.full_name(references.normalise_tag(tag) or tag) for tag in tags}


def _named(nodes: Iterable[Node]) -> Iterator[str]:
    for node in nodes:
        yield from oci_index.tags_of(node.descriptor)
        if isinstance(node, Branch):
            yield from _named(node.children)
