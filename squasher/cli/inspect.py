"""The command `squash inspect`: what is in an image, on stdout, as text or JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from squasher.cli import checks, completion, console, encoder, inspect_text, options, thresholds
from squasher.errors import PolicyError, UsageError, placed

if TYPE_CHECKING:
    from squasher.analysis.inspection import (
        FolderShare,
        Inspection,
        LayerShare,
        PathShare,
    )
    from squasher.analysis.updates import UpdateCost
    from squasher.archive.location import Location
    from squasher.cli.thresholds import Rule
    from squasher.image.auto_base import Finding
    from squasher.image.model import Archive, Image


@click.command("inspect", context_settings=checks.CONTEXT)
@click.argument("image", required=False, type=completion.Place())
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document instead of tables.")
@click.option(
    "--html", type=completion.Place(), metavar="FILE", help="Also write an HTML page with charts."
)
@click.option("--all", "every", is_flag=True, help="Show all rows, also in the JSON document.")
@click.option(
    "--min-efficiency",
    metavar="SHARE",
    help="Exit 1 if the efficiency, as dive defines it, is below SHARE: 0.95 or 95%.",
)
@click.option(
    "--max-wasted",
    metavar="SIZE",
    help="Exit 1 if more than SIZE is wasted, as dive defines it: bytes (20MB, 16MiB), or a"
    " percentage of the files in all layers except the lowest (10%).",
)
@click.option(
    "--onto",
    type=completion.Place(),
    metavar="PREVIOUS",
    help="Show each path that `squash --onto PREVIOUS` would write, and why. PREVIOUS is an"
    " archive, a transport, or another image of the archive.",
)
@options.max_size
@options.shared
def command(
    *,
    shared: options.Shared,
    image: str | None,
    as_json: bool,
    html: str | None,
    every: bool,
    min_efficiency: str | None,
    max_wasted: str | None,
    onto: str | None,
    max_size: int | None,
) -> int:
    """Show what is in an image, and what squashing above each of its layers would save.

    IMAGE is the same as for squash: a path, a transport, or - for stdin, which is the default. All
    images of an archive are shown, unless --image or --platform chooses some.

    \b
    squash inspect image.tar
    docker save app | squash inspect --min-efficiency 95% --max-wasted 20MB

    Exit codes: 0 done; 1 a threshold is missed; 2 wrong options; 3 input missing, damaged or not an
    image; 4 image not found; 5 not supported; 6 output not written; 7 the docker daemon failed.
    """  # noqa: D301  (click looks for the character)
    if max_size is not None and max_size < 0:
        raise UsageError(f"{max_size} is not a valid size", where="--max-size")
    given = (thresholds.parse_efficiency, min_efficiency), (thresholds.parse_wasted, max_wasted)
    limits = [parse(typed) for parse, typed in given if typed is not None]
    source = checks.source(image)
    if html is not None:
        checks.check_place(
            "--html",
            html,
            inputs=(source, onto, *shared.blobs_from),
            stdout_takes="the document" if as_json else "",
        )
        from squasher.cli import page

        page.check()  # before gigabytes are read
    found = _inspected(source, image or "-", onto, max_size, shared)
    if html is not None:
        checks.write_file(html, page.render(found))
    rules = [[thresholds.check(limit, each) for limit in limits] for each in found]
    if as_json:
        console.give(encoder.text(to_json(found, rules, every=every)))
    elif not shared.quiet and html != "-":
        width = console.width(sys.stdout)
        texts = (
            inspect_text.to_text(each, width, every=every, verbose=shared.verbose) for each in found
        )
        console.give("\n\n".join(texts))
    return _missed(found, rules)


def _missed(found: Sequence[Inspection], rules: Sequence[Sequence[Rule]]) -> int:
    """Print which thresholds an image misses; return the exit code."""
    missed = 0
    for each, checked in zip(found, rules, strict=True):
        for rule in checked:
            if not rule.held:
                missed += 1
                console.say(f"{each.name}: {rule.message}")
    return PolicyError.exit_code if missed else 0


def _inspected(
    source: str | BinaryIO | Location,
    name: str,
    onto: str | None,
    max_size: int | None,
    shared: options.Shared,
) -> list[Inspection]:
    """Inspect the images that are picked of the archive `source`, one after the other.

    `name` is what the archive was called; `onto` names a previous image.
    """
    from squasher import api
    from squasher.analysis.inspection import inspect
    from squasher.analysis.updates import update_cost
    from squasher.archive import selection

    found = []
    with (
        shared.watching("read") as progress,
        api.open_archive(
            source, blobs_from=shared.blobs_from, tmp_dir=shared.tmp_dir, progress=progress
        ) as archive,
    ):
        chosen = selection.select(archive, shared.image, shared.platform)
        picked = selection.labelled(chosen).images
        total = sum(image.stored_size for image in picked)
        lenders = archive.lenders()
        lent = [word for place in shared.blobs_from for word in ("--blobs-from", place)]
        for image in picked:
            with placed(archive.name):
                found.append(
                    inspect(
                        image,
                        source=name,
                        choose=(*_choice(archive, image), *lent),
                        others=archive.images,
                        lenders=lenders,
                        max_size=max_size,
                        tmp_dir=shared.tmp_dir,
                        progress=lambda phase, done, _: progress(phase, done, total),
                    )
                )
        if onto is not None:
            opened = api.open_previous(
                onto, archive, picked, blobs_from=shared.blobs_from, tmp_dir=shared.tmp_dir
            )
            with placed(archive.name), opened as lower:
                for i, (image, previous) in enumerate(zip(picked, lower, strict=True)):
                    cost = update_cost(image, previous, max_size=max_size, tmp_dir=shared.tmp_dir)
                    found[i] = replace(found[i], update=cost)
    return found


def _choice(archive: Archive, image: Image) -> tuple[str, ...]:
    """Return the options that pick `image` of the archive; () if it has no other."""
    from squasher.archive import selection

    if len(archive.images) == 1:
        return ()
    named, placed = ("--image", image.name), ("--platform", str(image.platform))
    if len(selection.select(archive, image.name).images) == 1:
        return named
    found = selection.select(archive, image.name, str(image.platform)).images
    # The digest of a manifest tells apart what name and platform do not.
    return (
        (*named, *placed)
        if len(found) == 1
        else ("--image", str((image.manifest_digests or image.ids)[0]))
    )


# ---------------------------------------------------------------- for machines


def to_json(
    inspections: Sequence[Inspection], rules: Sequence[Sequence[Rule]], *, every: bool = False
) -> dict[str, Any]:
    """Return the document that docs/schema/inspect-1.json describes; sizes in bytes.

    `rules` are those of each image. Of paths and folders there are as many as the tables show.
    """
    most = None if every else inspect_text.PATHS_MAX
    images = [_image(*each, most) for each in zip(inspections, rules, strict=True)]
    return encoder.document(images=images)


def _image(inspection: Inspection, rules: Iterable[Rule], most: int | None) -> dict[str, object]:
    folders = inspect_text.wasteful(inspection.folders)
    dive, best, without = inspection.dive, inspection.best, inspection.best_without_base
    return {
        "name": inspection.name,
        "tags": inspection.tags,
        "references": inspection.references,
        "platform": inspection.platform,
        "image_id": inspection.image_id,
        "size": inspection.size,
        "stored_size": inspection.stored_size,
        "file_bytes": inspection.added,
        "lost_bytes": inspection.wasted_bytes,
        "efficiency": dive.efficiency,
        "wasted_bytes": dive.wasted_bytes,
        "user_bytes": dive.user_bytes,
        "wasted_share": dive.wasted_share,
        "rules": [_rule(rule) for rule in rules],
        "history": [encoder.renamed(row, empty="empty_layer") for row in inspection.rows],
        "layers": [_layer(layer) for layer in inspection.layers],
        "best_kept_layers": None if best is None else best.kept_layers,
        "best_kept_layers_without_base": None if without is None else without.kept_layers,
        "base": None if inspection.base is None else _named(inspection.base),
        "named_bases": [_named(found) for found in inspection.named],
        "bases": inspection.bases,
        "lost_paths_total": len(inspection.wasted),
        "lost_paths": [
            {**_share(share), "times": share.times} for share in inspection.wasted[:most]
        ],
        "lost_folders_total": len(folders),
        "lost_folders": [_share(share) for share in folders[:most]],
        "secrets": [
            encoder.renamed(secret, row="history_row", most="most_kept_layers")
            for secret in inspection.secrets
        ],
        "update": None if inspection.update is None else _update(inspection.update, most),
        "warnings": inspection.warnings,
    }


def _update(update: UpdateCost, most: int | None) -> dict[str, object]:
    return {
        "previous_name": update.previous_name,
        "previous_image_id": update.previous_id,
        "layer_size": update.size,
        "reasons": {
            why: {"paths": count, "bytes": size} for why, (count, size) in update.reasons.items()
        },
        "paths_total": len(update.paths),
        "paths": [encoder.renamed(each, size="bytes") for each in update.paths[:most]],
        "folders_total": len(update.costly),
        "folders": [
            encoder.renamed(each, size="bytes", time_alone="time_alone_bytes")
            for each in update.costly[:most]
        ],
    }


def _named(found: Finding) -> dict[str, object]:
    return {
        "place": found.claim.place,
        "name": found.claim.name,
        "digest": found.claim.digest,
        "kept_layers": None if found.split is None else found.split.kept,
        "why": found.why,
    }


def _rule(rule: Rule) -> dict[str, object]:
    return {
        "option": rule.limit.option,
        "allowed": rule.limit.value,
        "actual": rule.actual,
        "held": rule.held,
    }


def _layer(layer: LayerShare) -> dict[str, object]:
    return {
        "diff_id": layer.diff_id,
        "digest": layer.digest,
        "chain_id": layer.chain_id,
        "size": layer.size,
        "stored_size": layer.stored_size,
        "compression": layer.compression,
        "created_by": layer.created_by,
        "entries": layer.entries,
        "whiteouts": layer.whiteouts,
        "file_bytes": layer.added,
        "overwritten_bytes": layer.overwritten,
        "deleted_bytes": layer.deleted,
        "kept_bytes": layer.kept,
        "overwritten_entries": layer.overwritten_entries,
        "deleted_entries": layer.deleted_entries,
        "kept_entries": layer.kept_entries,
    }


def _share(share: PathShare | FolderShare) -> dict[str, object]:
    return {"path": share.path, "lost_bytes": share.wasted, "bytes": share.size}
