"""What a person reads: tables, sizes, warnings in words. Text in, text out; no terminal here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import click

from squasher._version import __version__
from squasher.api import SquashReport
from squasher.cli.console import labelled
from squasher.cli.texts import cut, size, step, text
from squasher.errors import UsageError
from squasher.image.model import Image, rows, rows_fit
from squasher.layers.result import LayerReport, Squashed, Update
from squasher.tar.entry import ImageWarning
from squasher.tar.paths import show

#: Why engines part, and what the squashed image holds. `{n}` stands for "n times".
_DISPUTES = {
    "default-acl": "a directory has a default ACL, which engines pass on to what they unpack later",
    "duplicate-path": "a path comes twice in one layer, which docker and podman refuse; the last"
    " one counts",
    "file-becomes-directory": "an entry lies below a file of a lower layer, which becomes a"
    " directory",
    "ghost-whiteout": "a whiteout hides nothing, and overlay engines list its name; a squashed"
    " layer's is gone, a kept layer's stays",
    "global-header": "the name of a global header, which some engines obey as an entry's; it is"
    " gone",
    "implicit-root": "the previous image has an entry for the root and this one has none; the root"
    " gets what engines make then, mode 0755 and owner 0:0",
    "implicit-base-directory": "a layer changes a directory without an entry for it, and overlay"
    " engines reset owner and mode; they are kept",
    "link-header-differs": "a hard link's header differs from its file's; the last one counts",
    "link-through-lower-symlink": "a hard link's target lies behind a symlink of a lower layer,"
    " which overlay engines refuse; the symlink is followed",
    "link-to-lower": "a hard link leads to a lower layer, which overlay engines refuse; the file"
    " is repeated",
    "link-up-from-symlink": "a hard link's target has '..' after a symlink, which containerd"
    " follows and others do not; it is not followed",
    "nameless-entry": "an entry is named like the root and is no directory, which overlay engines"
    " pass over and others refuse; it is gone",
    "odd-mtime": "a time lies outside 1970 to 2262, which engines show as 1970; it is passed on",
    "overlay-xattr": "an overlay xattr, which overlay engines obey; it is passed on",
    "root-opaque": "an opaque whiteout at the root, which overlay engines ignore; it hides all"
    " below",
    "root-spelling": "the root is `/` in one layer and `./` in a later one, which podman ignores;"
    " the last one counts",
    "setgid-directory": "a directory below a setgid directory has no entry, and engines give it"
    " other modes and groups; it gets none",
    "symlink-xattr": "a symlink has xattrs, which some engines refuse; they are passed on",
    "through-dangling-symlink": "an entry lies below a symlink that leads to nothing in its own"
    " layer, which docker and podman refuse; the directory is made",
    "through-lower-symlink": "an entry lies below a symlink of a lower layer, which overlay"
    " engines replace by a directory",
    "whiteout-and-entry": "a layer both hides a name and brings it, which engines read"
    " differently; what it brings stays",
    "whiteout-device": "a device 0:0, which overlay engines take for a whiteout; it is passed on",
}

#: Rows of a table that are shown when nobody asked for all.
_ROWS_MAX = 40


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
            name = text(f"{squashed.image.name} ({squashed.image.platform})")
            lines.append(click.style(cut(name, width), bold=True, underline=True))
        lines += _one(squashed, str(manifest), width, verbose)
    lines += [labelled("loaded", text(line)) for line in report.loaded]
    unwritten = "" if written else ", not written"
    lines.append(labelled("archive", f"{size(report.size)} in {report.seconds:.1f} s{unwritten}"))
    if verbose:
        lines += _times(report.profile)
    return "\n".join(lines)


def _times(profile: Iterable[tuple[str, float]]) -> Iterator[str]:
    """Yield the seconds that each phase took; threads that work side by side add up."""
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
    if squashed.update is not None:
        yield from _update(squashed.update)
    for notice in squashed.notices:
        yield labelled("notice", text(notice))
    for line in disputes(squashed.warnings, verbose=verbose, merged=squashed.merged):
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
    share = f"{100 * abs(saved) / (squashed.size_before or 1):.0f} %"
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


def disputes(
    warnings: Iterable[ImageWarning], *, verbose: bool = False, merged: bool = True
) -> Iterator[str]:
    """Yield the warnings in words: a line for each kind; `verbose` adds one for each place.

    What became of it is said only where something was `merged`: else all is as it was.
    """
    by_kind: dict[str, list[ImageWarning]] = {}
    for warning in warnings:
        by_kind.setdefault(warning.kind, []).append(warning)
    for kind, places in sorted(by_kind.items()):
        more = f" and {len(places) - 1:,} more" if len(places) > 1 else ""
        words = _DISPUTES[kind] if merged else _DISPUTES[kind].partition(";")[0]
        yield f"{kind}: {words}: {_place(places[0])}{more}"
        if verbose and more:
            yield from (f"  {_place(place)}" for place in places)


def _place(warning: ImageWarning) -> str:
    return f"layer {warning.layer + 1}, {show(warning.path)}"


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


def kinds(value: str) -> tuple[str, ...]:
    """Return the kinds of warning in the comma-separated `value`; () for all. Raises UsageError."""
    found = tuple(kind for kind in value.split(",") if kind)
    for kind in found:
        if kind not in _DISPUTES:
            raise UsageError(
                f"{kind!r} is not a kind of warning",
                where="--strict",
                hint=f"give some of {', '.join(_DISPUTES)}",
            )
    return found


# ---------------------------------------------------------------- for machines


def to_json(report: SquashReport) -> dict[str, Any]:
    """Return the report as a document; sizes in bytes, layers lowest first.

    `schema` counts up when a key changes its meaning or goes; new keys may come at any time.
    """
    return {
        "schema": 1,
        "version": __version__,
        "format": report.form,
        "archive_size": report.size,
        "seconds": round(report.seconds, 3),
        "profile": {phase: round(seconds, 6) for phase, seconds in report.profile},
        "notices": list(report.notices),
        "loaded": list(report.loaded),
        "images": [
            _image_json(squashed, str(manifest))
            for squashed, manifest in zip(report.images, report.manifests, strict=True)
        ],
    }


def _image_json(squashed: Squashed, manifest: str) -> dict[str, Any]:
    return {
        "tags": list(squashed.image.tags),
        "platform": str(squashed.image.platform),
        "squashed": squashed.merged,
        "kept_layers": squashed.kept,
        "source_image_id": str(squashed.source_id),
        "image_id": str(squashed.image.config.image_id),
        "manifest_digest": manifest,
        "size_before": squashed.size_before,
        "size_after": squashed.size_after,
        "overwritten": squashed.overwritten,
        "deleted": squashed.deleted,
        "provided_by_base": squashed.provided,
        "entries": squashed.entries,
        "whiteouts": squashed.whiteouts,
        "compressor": squashed.compressor,
        "update": _update_json(squashed.update) if squashed.update else None,
        "layers_before": [_layer_json(layer) for layer in squashed.before],
        "layers_after": [_layer_json(layer) for layer in squashed.after],
        "notices": list(squashed.notices),
        "warnings": [
            {
                "kind": warning.kind,
                "layer": warning.layer,
                "path": warning.path.decode("utf-8", "backslashreplace"),
            }
            for warning in squashed.warnings
        ],
    }


def _update_json(update: Update) -> dict[str, Any]:
    return {
        "previous_image_id": str(update.previous.config.image_id),
        "shared_layers": update.shared,
        "fetch": update.fetch,
        "fetch_without": update.without,
        "dead_bytes": update.held - update.used,
        "dead_share": round(update.dead, 4),
    }


def _layer_json(layer: LayerReport) -> dict[str, Any]:
    return {
        "diff_id": str(layer.diff_id),
        "digest": str(layer.digest),
        "size": layer.size,
        "entries": layer.entries,
        "created_by": layer.created_by,
    }


def render(report: SquashReport, *, markdown: bool) -> str:
    """Return the report as the text of a file, JSON or Markdown."""
    if markdown:
        return _markdown(report)
    return json.dumps(to_json(report), indent=2) + "\n"


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
            f"- {_code(line)}" for line in disputes(squashed.warnings, merged=squashed.merged)
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
