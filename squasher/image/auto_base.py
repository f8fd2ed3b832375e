"""What `-f auto` means: the base that an image itself names, proven by layers that are there.

An image can say what it was built on: in BuildKit's provenance, which lies beside it in an index,
in annotations of its manifest and labels of its config, in the label of buildpacks. Each is a claim
by strangers. It decides only where layers that are there bear it out: its own lowest layers, or
those of an image that has the digest or the name which the claim gives: of the same archive, of one
that lends it layers, of a daemon. Nothing is guessed.

Source: BuildKit, docs/attestations/slsa-definitions.md, solver/pb/ops.proto; OCI image-spec,
annotations.md, "org.opencontainers.image.base.*"; buildpacks platform spec,
"io.buildpacks.lifecycle.metadata"; purl-spec, type docker.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from squasher.digest import Digest
from squasher.errors import BaseNotFoundError, SquasherError
from squasher.image import documents
from squasher.image.base import Ask, Base, Split, of_image
from squasher.image.model import Archive, Image, Statement
from squasher.image.references import full_name, normalise_tag, same_name
from squasher.image.steps import Source, base_of_steps, inside

AUTO = "auto"
BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"
BUILDPACKS = "io.buildpacks.lifecycle.metadata"
#: Images of a provenance that are looked at, and named in a message; builds use few.
_IMAGES_MAX, _NAMED_MAX = 100, 3
#: Images that read the Dockerfile: every build that names one uses it.
_FRONTENDS = ("docker/dockerfile", "docker/dockerfile-upstream")
#: Where claims are found, in the order in which they count, and how people call it.
PLACES = {
    "provenance": "BuildKit's provenance",
    "annotation": "the annotations org.opencontainers.image.base.*",
    "label": "the labels org.opencontainers.image.base.*",
    "buildpacks": f"the label {BUILDPACKS}",
}


@dataclass(frozen=True, slots=True)
class Claim:
    """What an image says of its base.

    place    where it says so: "provenance", "annotation", "label" or "buildpacks"
    name     a docker name, "" if none is given
    digest   of the base's manifest, index or config; None if none is given
    layers   the digests of its layers' blobs, lowest first; one such list for each way in which
             these layers are stored
    top      diff_id of its highest layer, "" if none is given
    """

    place: str
    name: str = ""
    digest: Digest | None = None
    layers: tuple[tuple[str, ...], ...] = ()
    top: str = ""

    @property
    def words(self) -> str:
        """Name and digest, in words."""
        told = (self.name, str(self.digest or ""))
        return "@".join(filter(None, told)) or "a base without a name"

    @property
    def pinned(self) -> str:
        """NAME@DIGEST, without the tag; "" if name or digest is not given."""
        bare = (normalise_tag(self.name) or "").rpartition(":")[0]
        return f"{full_name(bare)}@{self.digest}" if bare and self.digest else ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What an image says of its base, and whether that is proven.

    split   where the base ends: `split.kept` lowest layers; None if nothing proves it
    why     what proves it, or what is missing, in words
    """

    claim: Claim
    split: Split | None
    why: str

    @property
    def words(self) -> str:
        """The whole finding in one line."""
        return f"{self.claim.words} ({PLACES[self.claim.place]}): {self.why}"


def claims(image: Image, statements: Sequence[Statement]) -> tuple[Claim, ...]:
    """Return what the image and its `statements` say of its base, what counts most first."""
    told = (claim for each in statements for claim in _of_provenance(each))
    found = list(islice(told, _IMAGES_MAX))
    annotations = {
        **_texts(image.descriptor.get("annotations")),
        **_texts(image.manifest.get("annotations")),
    }
    labels = _labels(image)
    found += _of_words("annotation", annotations)
    found += _of_words("label", labels)
    found += _of_buildpacks(labels.get(BUILDPACKS, ""))
    return tuple(dict.fromkeys(found))


def findings(
    image: Image,
    statements: Sequence[Statement],
    others: Sequence[Image] = (),
    ask: Ask = lambda name: None,
    lenders: Sequence[Archive] = (),
) -> tuple[Finding, ...]:
    """Return every claim of the image with its proof. Raises what `ask` does.

    `others` are images of the same archive, `lenders` archives that lend it layers.
    """
    told = claims(image, statements)
    return tuple(prove(image, claim, others, ask, lenders) for claim in told)


def known(found: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the proven findings of the first place that has any, one for each number of layers.

    One is the base; several contradict each other, and none is.
    """
    for place in PLACES:
        hits = {x.split.kept: x for x in reversed(found) if x.claim.place == place and x.split}
        if hits:
            return tuple(hits[kept] for kept in sorted(hits))
    return ()


def resolve(
    image: Image,
    others: Sequence[Image] = (),
    ask: Ask = lambda name: None,
    lenders: Sequence[Archive] = (),
) -> tuple[Split, str]:
    """Return where the base that the image names, and that is proven, splits it; and why.

    The arguments are those of `findings`.

    Raises BaseNotFoundError, saying what was looked at; ArchiveError for a damaged attestation;
    what `ask` does.
    """
    found = findings(image, image.attested(), others, ask, lenders)
    hits = known(found)
    if len(hits) == 1 and hits[0].split is not None:
        return hits[0].split, hits[0].words
    if hits:
        raise BaseNotFoundError(
            f"{PLACES[hits[0].claim.place]} names several images that {image.name} is built on",
            where=f"-f {AUTO}",
            hint="choose one of those below",
            image=image,
            there=tuple(f"{x.claim.words} (--keep-layers {x.split.kept})" for x in hits if x.split),
        )
    told = dict.fromkeys(x.claim.words for x in found if x.claim.name or x.claim.digest)
    what = "names no base"
    if told:
        more = [f"{len(told) - _NAMED_MAX} more"] if len(told) > _NAMED_MAX else []
        names = " and ".join([*islice(told, _NAMED_MAX), *more])
        what = f"names {names}, but nothing proves that it is the base"
    raise BaseNotFoundError(
        f"{image.name} {what}",
        where=f"-f {AUTO}",
        hint=advice(image, found),
        image=image,
        there=(*looked_at(found), *_empty(lenders)),
    )


def looked_at(found: Sequence[Finding]) -> Iterator[str]:
    """Yield a line for each place that was looked at."""
    for place, words in PLACES.items():
        own = [x for x in found if x.claim.place == place]
        if not own:
            yield f"{words}: none"
        for each in own:
            yield f"{words}: {each.claim.words}: {each.why}"


def _empty(lenders: Sequence[Archive]) -> Iterator[str]:
    """Yield a line for each archive that lends layers and holds no image that can be read."""
    for lender in lenders:
        if lender.unread and not lender.images:
            yield f"--blobs-from: {lender.unread[0].error}"


def advice(image: Image, found: Sequence[Finding]) -> str:
    """Return what to type where nothing is proven."""
    claim = next((x.claim for x in found if x.claim.name), None)
    if claim is None:
        return (
            "give the base with -f BASE or --keep-layers K, build with `--provenance=mode=max`"
            " and --output type=oci, or leave -f out to merge all layers"
        )
    remote = claim.pinned or full_name(normalise_tag(claim.name) or "")
    return (
        f"give it with -f docker-daemon:{claim.name}, or run `skopeo copy docker://{remote}"
        " oci-archive:base.tar` and give -f base.tar"
    )


# ---------------------------------------------------------------- proofs


def prove(
    image: Image,
    claim: Claim,
    others: Sequence[Image],
    ask: Ask,
    lenders: Sequence[Archive] = (),
) -> Finding:
    """Return the claim with its proof: layers of the image, of `others`, of `lenders`, of `ask`."""
    blobs = tuple(str(layer.blob.digest) for layer in image.layers)
    why = ["its layers are not the lowest of the image"] if claim.layers else []
    for layers in claim.layers:
        if layers and blobs[: len(layers)] == layers:
            proof = f"its {_count(len(layers))} are the lowest of the image"
            return Finding(claim, Split(len(layers)), proof)
    if claim.top:
        diff_ids = enumerate(image.config.diff_ids, 1)
        places = [i for i, diff_id in diff_ids if str(diff_id) == claim.top]
        if len(places) == 1:
            return Finding(claim, Split(places[0]), f"its highest layer is layer {places[0]}")
        why.append(f"the image has its highest layer {len(places)} times")
    there = [("the archive", other) for other in others]
    there += [(lender.name, other) for lender in lenders for other in lender.images]
    there = [x for x in there if x[1].config.diff_ids != image.config.diff_ids]
    for where, other in _candidates(claim, there, ask):
        if not other.diff_ids or image.config.diff_ids[: len(other.diff_ids)] != other.diff_ids:
            why.append(f"{where} has other layers")
            continue
        own = tuple(row.text for row in image.config.history or ())
        fits = other.history and own[: len(other.history)] == other.history
        rows = len(other.history) if fits else None
        proof = f"the {_count(len(other.diff_ids))} of {where} are the lowest of the image"
        return Finding(claim, Split(len(other.diff_ids), rows, other), proof)
    return Finding(claim, None, "; ".join(why) or "there is no such image to compare with")


def _candidates(
    claim: Claim, others: Sequence[tuple[str, Image]], ask: Ask
) -> Iterator[tuple[str, Base]]:
    """Yield the images that are there and may be the claimed one; a digest before a name.

    `others` come with the name of what they are in.
    """
    if claim.digest:
        for place, other in others:
            if claim.digest in other.ids:
                yield f"{other.name} of {place}", of_image(other)
    if claim.name:
        for place, other in others:
            if any(same_name(name, claim.name) for name in other.names):
                yield f"{other.name} of {place}", of_image(other)
    asked = (claim.pinned, str(claim.digest or ""), claim.name)
    for name in dict.fromkeys(filter(None, asked)):
        if (base := ask(name)) is not None:
            yield f"docker-daemon:{name}", base


def _count(layers: int) -> str:
    return f"{layers} layer{'' if layers == 1 else 's'}"


# ---------------------------------------------------------------- claims


def _of_provenance(statement: Mapping[str, Any]) -> Iterator[Claim]:
    """Yield what an in-toto statement says: the base of the last step; else every image used.

    Without the steps (mode=min) nobody can tell the base from images that files were copied from.
    """
    predicate = statement.get("predicate")
    steps = inside(predicate, "buildConfig", "llbDefinition")
    metadata = inside(predicate, "metadata", "https://mobyproject.org/buildkit@v1#metadata")
    used = inside(predicate, "materials")
    if (definition := inside(predicate, "buildDefinition")) is not None:
        steps = inside(definition, "internalParameters", "buildConfig", "llbDefinition")
        metadata = inside(predicate, "runDetails", "metadata", "buildkit_metadata")
        used = inside(definition, "resolvedDependencies")
    end = base_of_steps(steps, inside(metadata, "layers"))
    if end is not None:
        if end.identifier:
            yield _of_source(end)
        return
    for material in used if isinstance(used, list) else ():
        yield from _of_material(material)


def _of_source(source: Source) -> Claim:
    name, pin = _name_and_digest(source.identifier.partition("://")[2])
    return Claim("provenance", name, pin, source.layers)


def _of_material(material: Any) -> Iterator[Claim]:
    """Yield what a material says if it is an image: `pkg:docker/NAME@TAG?digest=...`."""
    uri = inside(material, "uri")
    digest = _digest(f"sha256:{inside(material, 'digest', 'sha256')}")
    if not isinstance(uri, str) or not uri.startswith(("pkg:docker/", "pkg:oci/")) or not digest:
        return
    name, _, version = uri.partition("?")[0].partition("/")[2].partition("@")
    from urllib.parse import unquote  # start-up is quicker without it

    name, version = unquote(name), unquote(version)
    if name in _FRONTENDS:
        return
    tagged = f"{name}:{version}" if version and not version.startswith("sha256:") else name
    yield Claim("provenance", _name_and_digest(tagged)[0], digest)


def _of_words(place: str, words: Mapping[str, str]) -> Iterator[Claim]:
    name, pin = _name_and_digest(words.get(BASE_NAME, ""))
    digest = _digest(words.get(BASE_DIGEST, "")) or pin
    if name or digest:
        yield Claim(place, name, digest)


def _of_buildpacks(text: str) -> Iterator[Claim]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return
    run = inside(document, "runImage")
    named = inside(run, "image") or inside(document, "stack", "runImage", "image")
    name, _ = _name_and_digest(named if isinstance(named, str) else "")
    reference, top = inside(run, "reference"), inside(run, "topLayer")
    _, pin = _name_and_digest(reference if isinstance(reference, str) else "")
    top = str(_digest(top) or "") if isinstance(top, str) else ""
    if top or pin:
        yield Claim("buildpacks", name, pin, top=top)


def _name_and_digest(text: str) -> tuple[str, Digest | None]:
    """Return the name and the digest of a reference, "" and None for what is not a valid one."""
    name, _, pin = text.partition("@")
    return (name if normalise_tag(name) else ""), _digest(pin)


def _digest(text: str) -> Digest | None:
    try:
        return Digest.parse(text)
    except SquasherError:
        return None


def _labels(image: Image) -> dict[str, str]:
    """Return the labels of the config, which has been read before."""
    document: Any = documents.load_config(image.config.raw, "config")
    for key in ("config", "labels"):
        document = documents.field(document, key) if isinstance(document, dict) else None
    return _texts(document)


def _texts(value: Any) -> dict[str, str]:
    """Return the members of an object that are texts."""
    members = value.items() if isinstance(value, dict) else ()
    return {key: text for key, text in members if isinstance(text, str)}
