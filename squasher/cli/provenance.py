"""How a result came about, for machines that decide whether to trust it: `--provenance`.

A statement of in-toto, with the predicate of SLSA. It has no times, no host and no number of a run:
the same image and options give the same text. Nothing of it is signed here.

Source: in-toto attestation framework, spec/v1 (statement, resource_descriptor); SLSA, provenance
v1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import click

from squasher._version import __version__
from squasher.image.references import normalise_tag, short_name
from squasher.layers.result import Origin, Squashed
from squasher.request import SquashReport

_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://slsa.dev/provenance/v1"
#: Who made it, and how to read the parameters: docs/reference/provenance.md. The tool is named and
#: not the machine that it ran on: that is for the signature to say.
BUILDER = "pkg:pypi/image-squasher"
BUILD_TYPE = f"{BUILDER}#squash/v1"
#: Options that say what is shown, what is written beside the result, and where copies go.
_BESIDE = frozenset(
    (
        *("quiet", "verbose", "no_progress", "tmp_dir", "reports", "iidfile", "digestfile"),
        *("provenance", "export_attestations"),
    )
)
_EPOCH = "SOURCE_DATE_EPOCH"


def asked(context: click.Context, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return what the command was asked for: IMAGE, the options that are not as they are left out.

    `SOURCE_DATE_EPOCH` is there if an option reads it.
    """
    options: dict[str, Any] = {}
    for each in context.command.params:
        value = context.params.get(each.name or "")
        if not isinstance(each, click.Option) or each.name in _BESIDE:
            continue
        if value not in (None, (), False) and value != each.get_default(context):
            options[next(name for name in each.opts if name[:2] == "--")] = (
                list(value) if isinstance(value, tuple) else value
            )
    found: dict[str, Any] = {"image": context.params.get("image") or "-", "options": options}
    reads = options.get("--created") == "now" or options.get("--clamp-mtime") == _EPOCH
    if reads and environment.get(_EPOCH):
        found["environment"] = {_EPOCH: environment[_EPOCH]}
    return found


def statement(report: SquashReport, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the statement about all images of the result. O(images).

    `parameters` is what was asked for, from `asked`.
    """
    compressors = sorted({each.compressor for each in report.images if each.compressor})
    return {
        "_type": _STATEMENT,
        "subject": list(_subjects(report)),
        "predicateType": _PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": dict(parameters),
                "internalParameters": {"format": report.form, "compressors": compressors},
                "resolvedDependencies": _dependencies(report.images),
            },
            "runDetails": {"builder": {"id": BUILDER, "version": {"image-squasher": __version__}}},
        },
    }


def _subjects(report: SquashReport) -> Iterator[dict[str, Any]]:
    for squashed, manifest in zip(report.images, report.manifests, strict=True):
        image = squashed.image
        yield {
            "name": next(iter(image.names), "image"),
            "digest": {"sha256": manifest.hex},
            "annotations": {
                "imageId": str(image.config.image_id),
                "platform": str(image.platform),
                "squashed": squashed.merged,
            },
        }


def _dependencies(images: Iterable[Squashed]) -> list[dict[str, Any]]:
    """Return what the images were made from, each once."""
    found = dict.fromkeys(origin for squashed in images for origin in squashed.origins)
    return [_dependency(origin) for origin in found]


def _dependency(origin: Origin) -> dict[str, Any]:
    uri = _uri(origin)
    return {
        "name": origin.role,
        **({"uri": uri} if uri else {}),
        "digest": {"sha256": (origin.manifest or origin.image_id).hex},
        "annotations": {
            "digestOf": "manifest" if origin.manifest else "config",
            "imageId": str(origin.image_id),
        },
    }


def _uri(origin: Origin) -> str:
    """Return the package URL of an image by its name, as BuildKit writes it; "" without a name."""
    name = normalise_tag(next(iter(origin.names), ""))
    if name is None:
        return ""
    from urllib.parse import quote  # start-up is quicker without it

    repository, _, tag = short_name(name).rpartition(":")
    platform = f"?platform={quote(origin.platform, safe='')}" if origin.platform else ""
    return f"pkg:docker/{quote(repository)}@{quote(tag)}{platform}"
