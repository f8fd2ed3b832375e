"""What a person reads: tables, sizes, warnings in words. Text in, text out; no terminal here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import click

from squasher.blobs import gzipped
from squasher.cli import encoder
from squasher.cli.console import labelled
from squasher.cli.texts import cut, size, step, text, time_text
from squasher.cli.warnings import in_words
from squasher.digest import Digest
from squasher.image.model import Image, rows, rows_fit
from squasher.layers.result import LayerReport, Squashed, Update
from squasher.request import SquashReport

#: Rows of a table that are shown when nobody asked for all.
_ROWS_MAX = 40
#: Who squashes every release anew is told, once, that there is a cheaper way.
_PREVIOUS = "to see its cost as an update: squash inspect --onto PREVIOUS IMAGE"


def summary(
    report: SquashReport, width: int, *, verbose: bool = False, written: bool = True
) -> str:
    """Return the report that follows squashing, for a terminal `width` columns wide, styled.

    Digests fit into 80 columns. `verbose` adds each warning and the times; not `written` is a dry
    run.
    """
    lines = [labelled("notice", text(notice)) for notice in report.notices]
    for squashed, manifest in zip(report.images, report.manifests, strict=True):
        if len(report.images) > 1:
            name = cut(text(squashed.image.title), width)
            lines.append(click.style(name, bold=True, underline=True))
        lines += _one(squashed, str(manifest), width, verbose)
    if report.partial is not None:
        count = len(report.partial.layers)
        left = f"{count} layer{'s' * (count != 1)}, {size(report.partial.size)}, left out"
        lines.append(labelled("partial", f"{left}: only hosts with them can load it"))
    if any(each.merged for each in report.images) and not any(
        each.update for each in report.images
    ):
        lines.append(labelled("update", _PREVIOUS))
    if report.attestations is not None:
        count, held = len(report.attestations), sum(x.size for x in report.attestations)
        lines.append(labelled("saved", f"{count} file{'s' * (count != 1)}, {size(held)}"))
    lines += [labelled("loaded", text(line)) for line in report.loaded]
    unwritten = "" if written else ", not written"
    lines.append(labelled("archive", f"{size(report.size)} in {report.seconds:.1f} s{unwritten}"))
    if advice := gzipped.advice(dict(report.profile).get("gzip", 0.0)):
        lines.append(labelled("notice", advice))
    if verbose:
        lines += _times(report.profile)
    return "\n".join(lines)


def _times(profile: Iterable[tuple[str, float]]) -> Iterator[str]:
    label = "time"
    for phase, seconds in profile:
        yield labelled(label, f"{phase:<10}{seconds:9.3f} s")
        label = ""


def _one(squashed: Squashed, manifest: str, width: int, verbose: bool) -> Iterator[str]:
    before, after = squashed.before, squashed.after
    if squashed.merged:
        yield from _layers("before", before, width)
        yield from _layers("after", after, width, squashed.kept)
        sizes = f"{size(squashed.size_before)} -> {size(squashed.size_after)}"
        yield labelled("size", f"{sizes} ({_saved(squashed)})")
        yield labelled(
            "dropped",
            f"{squashed.overwritten:,} overwritten, {squashed.deleted:,} deleted,"
            f" {squashed.provided:,} already in the base",
        )
    if squashed.clamp is not None:
        latest = time_text(squashed.clamp.latest)
        yield labelled("clamped", f"{squashed.clamp.entries:,} times to {latest} UTC")
    if squashed.update is not None:
        yield from _update(squashed.update)
    for notice in squashed.notices:
        yield labelled("notice", text(notice))
    for line in in_words(squashed.warnings, verbose=verbose, merged=squashed.merged):
        yield labelled("" if line.startswith(" ") else "warning", line.strip(), "yellow")
    yield labelled("tags", ", ".join(map(text, squashed.image.tags)) or "none")
    yield labelled("image", str(squashed.image.config.image_id))
    yield labelled("manifest", manifest)


def _update(update: Update) -> Iterator[str]:
    fetch = f"a host with the previous image fetches {size(update.fetch)}"
    yield labelled("update", f"{fetch}, without --onto {size(update.without)}")
    dead = f"{100 * update.dead:.0f} % of the files in the previous image, {size(update.held)}"
    yield labelled("dead", f"{dead}, are replaced or deleted")


def _saved(squashed: Squashed) -> str:
    saved = squashed.size_before - squashed.size_after
    if not squashed.size_before:
        return "all of it new" if saved else "nothing to save"
    share = f"{100 * abs(saved) / squashed.size_before:.0f} %"
    return click.style(f"{share} saved", fg="green") if saved >= 0 else f"{share} more"


def _layers(
    title: str, layers: Sequence[LayerReport], width: int, kept: int | None = None
) -> Iterator[str]:
    """Yield a table of layers, lowest first; `kept` is given for those of the result."""
    yield click.style(f"{title:<15}       size    entries  created by", bold=True)
    old = layers[:kept]
    for layer in old[:_ROWS_MAX]:
        made = step(layer.created_by) or "-"
        yield cut(_row(layer, made if kept is None else f"kept: {made}"), width)
    if len(old) > _ROWS_MAX:
        yield f"  ... and {len(old) - _ROWS_MAX} more"
    for layer in layers[len(old) :]:
        yield click.style(_row(layer, "squashed"), fg="green")


def _row(layer: LayerReport, what: str) -> str:
    return f"  {layer.digest.hex[:12]}  {size(layer.size):>9}  {layer.entries:>9,}  {what}"


def choices(image: Image, width: int) -> str:
    """Return the table of history rows and layers: what `-f` could have been."""
    table, fit = rows(image.config), rows_fit(image.config)
    chain = image.chain_ids
    history = image.config.history or ()
    head = f"{'-f N':>6}  {'-f ID':24}  {'size':>9}  last row kept"
    lines = [click.style(head, bold=True)]
    for number, row in zip(range(len(table), 0, -1), table, strict=True):
        entry = history[row.history] if row.history is not None else None
        made = step(entry.created_by) or "-" if entry else "(no history)"
        shown, identity, stored = str(number - 1) if fit and number > 1 else "-", "", ""
        if row.layer is not None:
            identity = chain[row.layer].hex[:24]
            stored = size(image.layers[row.layer].blob.size)
        lines.append(cut(f"{shown:>6}  {identity:24}  {stored:>9}  {made}", width))
    return "\n".join(lines)


# ---------------------------------------------------------------- for machines


def to_json(report: SquashReport) -> dict[str, Any]:
    """Return the report as a document; sizes in bytes, layers lowest first."""
    images = zip(report.images, report.manifests, strict=True)
    return encoder.document(
        format=report.form,
        archive_size=report.size,
        seconds=round(report.seconds, 3),
        profile={phase: round(seconds, 6) for phase, seconds in report.profile},
        notices=report.notices,
        loaded=report.loaded,
        partial=report.partial,
        attestations=report.attestations,
        images=[_image(squashed, manifest) for squashed, manifest in images],
    )


def _image(squashed: Squashed, manifest: Digest) -> dict[str, object]:
    return {
        "tags": squashed.image.tags,
        "platform": squashed.image.platform,
        "squashed": squashed.merged,
        "kept_layers": squashed.kept,
        "source_image_id": squashed.source_id,
        "image_id": squashed.image.config.image_id,
        "manifest_digest": manifest,
        "size_before": squashed.size_before,
        "size_after": squashed.size_after,
        "overwritten": squashed.overwritten,
        "deleted": squashed.deleted,
        "provided_by_base": squashed.provided,
        "entries": squashed.entries,
        "whiteouts": squashed.whiteouts,
        "compressor": squashed.compressor,
        "update": _update_document(squashed.update) if squashed.update else None,
        "clamped": squashed.clamp,
        "compressed_layers": squashed.compressed,
        "layers_before": squashed.before,
        "layers_after": squashed.after,
        "notices": squashed.notices,
        "warnings": squashed.warnings,
    }


def _update_document(update: Update) -> dict[str, object]:
    return {
        "previous_image_id": update.previous.config.image_id,
        "shared_layers": update.shared,
        "fetch": update.fetch,
        "fetch_without": update.without,
        "dead_bytes": update.held - update.used,
        "dead_share": round(update.dead, 4),
    }


def render(report: SquashReport, *, markdown: bool) -> str:
    """Return the report as the text of a file, JSON or Markdown."""
    if markdown:
        return _markdown(report)
    return encoder.text(to_json(report)) + "\n"


def _markdown(report: SquashReport) -> str:
    lines: list[str] = []
    for squashed, manifest in zip(report.images, report.manifests, strict=True):
        name = ", ".join(squashed.image.tags) or str(squashed.image.config.image_id)
        lines += [f"### {_code(name)}", ""]
        if squashed.merged:
            lines += [
                f"{size(squashed.size_before)} → **{size(squashed.size_after)}**,"
                f" {len(squashed.before)} → {len(squashed.after)} layers;"
                f" {squashed.overwritten:,} entries overwritten, {squashed.deleted:,} deleted,"
                f" {squashed.provided:,} already in the base",
                "",
            ]
        lines += ["| layer | size | entries | created by |", "|---|--:|--:|---|"]
        for i, layer in enumerate(squashed.after):
            made = (
                _cell(step(layer.created_by))
                if i < squashed.kept or not squashed.merged
                else "squashed"
            )
            lines.append(
                f"| `{layer.digest.hex[:12]}` | {size(layer.size)} | {layer.entries:,} | {made} |"
            )
        lines += ["", f"image `{squashed.image.config.image_id}`, manifest `{manifest}`", ""]
        lines += [f"- {_code(notice)}" for notice in squashed.notices]
        lines += [
            f"- {_code(line)}" for line in in_words(squashed.warnings, merged=squashed.merged)
        ]
    lines += [f"- {_code(notice)}" for notice in report.notices]
    return "\n".join(lines).rstrip() + "\n"


def _code(value: str) -> str:
    """Return text from an image as a code span, where nothing makes a link, a tag or a mention.

    Source: GitHub Flavored Markdown, "Code spans".
    """
    shown = text(value)
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    pad = " " if len(fence) > 1 else ""
    return f"{fence}{pad}{shown}{pad}{fence}" if shown else ""


def _cell(value: str) -> str:
    """Return the same for a cell of a table, which a bar would end."""
    return re.sub(r"\\(?=\\*\|)", r"\\x5c", _code(value)).replace("|", "\\|")
