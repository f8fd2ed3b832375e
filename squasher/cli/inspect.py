"""The command `squash inspect`: what is in an image, on stdout, as text or JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from squasher._version import __version__
from squasher.cli import checks, completion, console, options
from squasher.cli.console import labelled
from squasher.cli.texts import columns, cut, size, step, text
from squasher.errors import PolicyError, UsageError, placed

if TYPE_CHECKING:
    from squasher.analysis.inspection import (
        BaseChoice,
        FolderShare,
        Inspection,
        LayerShare,
        PathShare,
    )
    from squasher.archive.location import Location
    from squasher.image.model import Archive, Image

#: Rows of a table that are shown unless asked for all: of layers and bases, of paths.
_ROWS_MAX, _PATHS_MAX = 40, 20
#: A folder is not listed if one folder in it has so much of its waste, in percent.
_DEEPER = 90


@click.command("inspect", context_settings=checks.CONTEXT)
@click.argument("image", required=False, type=completion.Place())
@click.option("--json", "as_json", is_flag=True, help="Print a document instead of tables.")
@click.option(
    "--html", type=completion.Place(), metavar="FILE", help="Write one page with pictures, too."
)
@click.option("--all", "every", is_flag=True, help="Show every row, in the document too.")
@click.option(
    "--min-efficiency",
    metavar="SHARE",
    help="Exit 1 if the efficiency, as dive defines it, is lower: 0.95 or 95%.",
)
@click.option(
    "--max-wasted",
    metavar="SIZE",
    help="Exit 1 if more is wasted, as dive defines it: bytes (20MB, 16MiB), or a percentage of the"
    " files in all layers but the lowest (10%).",
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
    max_size: int | None,
) -> int:
    """Show what is in an image, and what squashing above each of its layers would save.

    IMAGE is what it is for squash: a path, a transport, or - (or nothing) for stdin. All images of
    an archive are shown, unless one is picked.

    \b
    squash inspect image.tar
    docker save app | squash inspect --min-efficiency 95% --max-wasted 20MB

    Exit codes: 0 done, 1 a threshold is missed, 2 usage, 3 no sound image, 4 image not found, 5 not
    supported, 6 output not written, 7 engine.
    """  # noqa: D301  (click looks for the character)
    if max_size is not None and max_size < 0:
        raise UsageError(f"{max_size} is not a valid size", where="--max-size")
    limits = [
        *([parse_efficiency(min_efficiency)] if min_efficiency is not None else ()),
        *([parse_wasted(max_wasted)] if max_wasted is not None else ()),
    ]
    source = checks.source(image)
    if html is not None:
        checks.check_place(
            "--html", html, inputs=(source,), stdout_takes="the document" if as_json else ""
        )
        from squasher.cli import page

        page.check()  # before gigabytes are read
    found = _inspected(source, image or "-", max_size, shared)
    if html is not None:
        checks.write_file(html, page.render(found))
    rules = [[check(limit, each) for limit in limits] for each in found]
    if as_json:
        console.give(json.dumps(to_json(found, rules, every=every), indent=2))
    elif not shared.quiet and html != "-":
        width = console.width(sys.stdout)
        texts = (to_text(each, width, every=every, verbose=shared.verbose) for each in found)
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
    source: str | BinaryIO | Location, name: str, max_size: int | None, shared: options.Shared
) -> list[Inspection]:
    """Inspect the images that are picked of the archive `source`, one after the other.

    `name` is what the archive was called.
    """
    from squasher import api
    from squasher.analysis.inspection import inspect
    from squasher.archive import selection

    found = []
    with (
        shared.watching("read") as progress,
        api.open_archive(source, tmp_dir=shared.tmp_dir, progress=progress) as archive,
    ):
        picked = selection.select(archive, shared.image, shared.platform).images
        total = sum(image.stored_size for image in picked)
        for image in picked:
            with placed(archive.name):
                found.append(
                    inspect(
                        image,
                        source=name,
                        choose=_choice(archive, image),
                        max_size=max_size,
                        tmp_dir=shared.tmp_dir,
                        progress=lambda phase, done, _: progress(phase, done, total),
                    )
                )
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
    return (*named, *placed) if len(found) == 1 else ("--image", str((image.leads or image.ids)[0]))


# ---------------------------------------------------------------- thresholds


@dataclass(frozen=True, slots=True)
class Limit:
    """A threshold: the option, its value as typed, and as a number: a share of 1, or bytes."""

    option: str
    typed: str
    value: float


@dataclass(frozen=True, slots=True)
class Rule:
    """A threshold that was checked: whether it held, the figure that counts, what is wrong."""

    limit: Limit
    actual: float
    held: bool
    message: str


def parse_efficiency(typed: str) -> Limit:
    """Return the least efficiency that is allowed. Raises UsageError."""
    return Limit("--min-efficiency", typed, options.share("--min-efficiency", typed))


def parse_wasted(typed: str) -> Limit:
    """Return the most that may be wasted, bytes or a share. Raises UsageError."""
    value = options.percent(typed)
    if value is None:
        value = options.size("--max-wasted", typed, "give bytes, 20MB, 16MiB or 10%")
    return Limit("--max-wasted", typed, value)


def check(limit: Limit, inspection: Inspection) -> Rule:
    """Hold an image against a threshold; what is equal to it holds, as with dive."""
    dive = inspection.dive
    if limit.option == "--min-efficiency":
        message = f"efficiency {dive.efficiency:.6f}, below {limit.option} {limit.typed}"
        return Rule(limit, dive.efficiency, dive.efficiency >= limit.value, message)
    if limit.typed.endswith("%"):
        message = (
            f"{100 * dive.wasted_share:.4f} % wasted ({dive.wasted_bytes:,} of the"
            f" {dive.user_bytes:,} bytes in the upper layers), above {limit.option} {limit.typed}"
        )
        return Rule(limit, dive.wasted_share, dive.wasted_share <= limit.value, message)
    message = f"{dive.wasted_bytes:,} bytes wasted, above {limit.option} {limit.typed}"
    return Rule(limit, dive.wasted_bytes, dive.wasted_bytes <= limit.value, message)


# ---------------------------------------------------------------- for people


def to_text(
    inspection: Inspection, width: int, *, every: bool = False, verbose: bool = False
) -> str:
    """Return what is in an image as tables in `width` columns."""
    from squasher.cli.report import disputes

    parts = [
        _head(inspection, width),
        _layers(inspection, width, every),
        _wasted_paths(inspection, width, every),
        _wasted_folders(inspection, width, every),
        _bases(inspection, width, every),
        _warnings(disputes(inspection.warnings, verbose=verbose)),
    ]
    return "\n\n".join(filter(None, ("\n".join(part) for part in parts)))


def _head(inspection: Inspection, width: int) -> Iterator[str]:
    dive = inspection.dive
    words = dict.fromkeys((*inspection.tags, *inspection.references))
    names, place = ", ".join(map(text, words)) or "no tag", text(inspection.platform)
    line = f"{cut(names, max(20, width - 2 - columns(place)))}  {place}"
    yield click.style(line, bold=True)
    yield labelled("image", str(inspection.image_id))
    stored = inspection.stored_size
    less = f" ({size(stored)} as stored)" if stored != inspection.size else ""
    layers = _layers_in_words(len(inspection.layers))
    yield labelled("size", f"{size(inspection.size)} in {layers}{less}")
    lost = inspection.wasted_bytes
    yield labelled(
        "files",
        f"{size(inspection.added)}, of which {size(lost)}"
        f" ({_percent(lost, inspection.added)}) are replaced or deleted later",
    )
    yield labelled(
        "dive",
        f"efficiency {_floor_percent(dive.efficiency)}, {size(dive.wasted_bytes)} wasted"
        f" ({_percent(dive.wasted_bytes, dive.user_bytes)} of the upper layers' files)",
    )


def _warnings(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield labelled("" if line.startswith(" ") else "warning", line.strip(), "yellow")


def _layers_in_words(count: int) -> str:
    return f"{count} layer{'' if count == 1 else 's'}"


def _percent(part: float, whole: float) -> str:
    share = 100 * part / whole if whole else 0.0
    return f"{share:.1f} %" if not 0 < share < 0.05 else "<0.1 %"


def _floor_percent(share: float) -> str:
    """Return a share of 1 in percent, never rounded up to all of it."""
    return f"{int(share * 10000) / 100:.2f} %"


def _signed_size(count: int) -> str:
    return size(count) if count >= 0 else f"-{size(-count)}"


def _title(line: str) -> str:
    return click.style(line, bold=True)


def _layers(inspection: Inspection, width: int, every: bool) -> Iterator[str]:
    """Yield the history, lowest first, with what became of what each layer brought."""
    packed = any(layer.compression for layer in inspection.layers)  # else both sizes are one
    stored = f" {'stored':>8}" if packed else ""
    yield _title(
        f"{'layer':<12} {'size':>8}{stored} {'entries':>8} {'files':>8} {'replaced':>8}"
        f" {'deleted':>8}  created by"
    )
    table = inspection.rows if every else inspection.rows[:_ROWS_MAX]
    for row in table:
        made = step(row.created_by) or "-"
        if row.layer is None:
            yield cut(f"{'':{67 if packed else 58}}  {made}", width)
            continue
        layer = inspection.layers[row.layer]
        stored = f" {size(layer.stored_size):>8}" if packed else ""
        yield cut(
            f"{layer.digest.hex[:12]} {size(layer.size):>8}{stored}"
            f" {layer.entries + layer.whiteouts:>8,} {_bytes(layer.added):>8}"
            f" {_bytes(layer.overwritten):>8} {_bytes(layer.deleted):>8}  {made}",
            width,
        )
    yield from _more(len(inspection.rows) - len(table))


def _bytes(count: int) -> str:
    return size(count) if count else "-"


def _more(count: int) -> Iterator[str]:
    if count:
        yield f"... and {count:,} more (--all)"


def _wasted_paths(inspection: Inspection, width: int, every: bool) -> Iterator[str]:
    """Return the lines of the paths that waste most."""
    table = [(share, str(share.times)) for share in inspection.wasted]
    return _wasted("times", "path", table, width, every)


def _wasted_folders(inspection: Inspection, width: int, every: bool) -> Iterator[str]:
    """Return the lines of the folders that waste most."""
    table = [(share, "") for share in wasteful(inspection.folders)]
    return _wasted("", "folder, with all below it", table, width, every)


def _wasted(
    times: str,
    title: str,
    table: Sequence[tuple[PathShare | FolderShare, str]],
    width: int,
    every: bool,
) -> Iterator[str]:
    """Yield what is wasted where; each row comes with what stands in the column `times`."""
    if not table:
        return
    yield _title(f"{'wasted':>8} {times:>5} {'now':>8}  {title}")
    shown = table if every else table[:_PATHS_MAX]
    for share, often in shown:
        now = _bytes(share.size)
        yield f"{size(share.wasted):>8} {often:>5} {now:>8}  {_path(share.path, width - 25)}"
    yield from _more(len(table) - len(shown))


def wasteful(folders: Sequence[FolderShare]) -> tuple[FolderShare, ...]:
    """Return the folders that waste bytes, most first, then by path.

    A folder is left out if one folder in it has nearly all of its waste: that one tells more.
    """
    most: dict[bytes, int] = {}
    for share in folders:
        if share.path:
            parent = share.path.rpartition(b"/")[0]
            most[parent] = max(most.get(parent, 0), share.wasted)
    found = (
        share
        for share in folders
        if share.wasted and 100 * most.get(share.path, 0) < _DEEPER * share.wasted
    )
    return tuple(sorted(found, key=lambda share: (-share.wasted, share.path)))


def _path(path: bytes, width: int) -> str:
    """Return a path in at most `width` columns; of a long one both ends, where they tell most."""
    from squasher.tar.paths import show

    line = show(b"/" + path)
    if columns(line) <= width:
        return line
    tail = line[-(width * 2 // 3) :]
    while columns(tail) > width * 2 // 3:
        tail = tail[1:]
    return cut(line, width - columns(tail)) + tail


def _bases(inspection: Inspection, width: int, every: bool) -> Iterator[str]:
    """Yield what squashing above each layer leaves, and the best trade."""
    bases = inspection.bases
    if not bases:
        return
    yield _title(
        f"  {'keep':>4} {'last layer kept':<15} {'squashed':>9} {'image':>9} {'saved':>9} {'':>7}"
        f"  created by"
    )
    shown = [each for each in bases if every or each.kept_layers < _ROWS_MAX or each.best]
    for choice in shown:
        line = cut(_base(inspection, choice), width)
        yield click.style(line, fg="green", bold=True) if choice.best else line
    yield from _more(len(bases) - len(shown))
    best = inspection.best
    if best is None:
        yield "Squashing saves nothing, whatever is kept."
        return
    kept = f"{best.kept_layers} of {_layers_in_words(len(inspection.layers))}"
    yield ""
    yield f"* best trade: saves {size(best.saved)} and keeps {kept} (uncompressed)"
    yield f"  {text(best.command)}"


def _base(inspection: Inspection, choice: BaseChoice) -> str:
    chain_id = choice.chain_id.hex[:12] if choice.chain_id else "-"
    made = "-"
    if choice.kept_layers:
        made = step(inspection.layers[choice.kept_layers - 1].created_by) or "-"
    return (
        f"{'*' if choice.best else ' '} {choice.kept_layers:>4} {chain_id:<15}"
        f" {size(choice.squashed_layer_size):>9} {size(choice.image_size):>9}"
        f" {_signed_size(choice.saved):>9} {_percent(choice.saved, inspection.size):>7}  {made}"
    )


# ---------------------------------------------------------------- for machines


def to_json(
    inspections: Sequence[Inspection], rules: Sequence[Sequence[Rule]], *, every: bool = False
) -> dict[str, Any]:
    """Return the document that docs/schema/inspect-1.json describes; sizes in bytes.

    `rules` are those of each image. `schema` counts up when a key changes its meaning or goes; new
    keys may come at any time. Of paths and folders there are as many as the tables show.
    """
    return {
        "schema": 1,
        "version": __version__,
        "images": [
            _image_json(each, checked, every=every)
            for each, checked in zip(inspections, rules, strict=True)
        ],
    }


def _image_json(inspection: Inspection, rules: Iterable[Rule], *, every: bool) -> dict[str, Any]:
    most = None if every else _PATHS_MAX
    folders = wasteful(inspection.folders)
    dive, best = inspection.dive, inspection.best
    return {
        "name": inspection.name,
        "tags": list(inspection.tags),
        "references": list(inspection.references),
        "platform": inspection.platform,
        "image_id": str(inspection.image_id),
        "size": inspection.size,
        "stored_size": inspection.stored_size,
        "file_bytes": inspection.added,
        "lost_bytes": inspection.wasted_bytes,
        "efficiency": dive.efficiency,
        "wasted_bytes": dive.wasted_bytes,
        "user_bytes": dive.user_bytes,
        "wasted_share": dive.wasted_share,
        "rules": [
            {
                "option": rule.limit.option,
                "allowed": rule.limit.value,
                "actual": rule.actual,
                "held": rule.held,
            }
            for rule in rules
        ],
        "history": [
            {
                "created_by": row.created_by,
                "created": row.created,
                "comment": row.comment,
                "empty_layer": row.empty,
                "layer": row.layer,
            }
            for row in inspection.rows
        ],
        "layers": [_layer_json(layer) for layer in inspection.layers],
        "best_kept_layers": None if best is None else best.kept_layers,
        "bases": [
            {
                "kept_layers": choice.kept_layers,
                "chain_id": None if choice.chain_id is None else str(choice.chain_id),
                "squashed_layer_size": choice.squashed_layer_size,
                "image_size": choice.image_size,
                "saved": choice.saved,
                "best": choice.best,
                "command": choice.command,
            }
            for choice in inspection.bases
        ],
        "lost_paths_total": len(inspection.wasted),
        "lost_paths": [
            {**_share_json(share), "times": share.times} for share in inspection.wasted[:most]
        ],
        "lost_folders_total": len(folders),
        "lost_folders": [_share_json(share) for share in folders[:most]],
        "warnings": [
            {"kind": warning.kind, "layer": warning.layer, "path": _text(warning.path)}
            for warning in inspection.warnings
        ],
    }


def _layer_json(layer: LayerShare) -> dict[str, Any]:
    return {
        "diff_id": str(layer.diff_id),
        "digest": str(layer.digest),
        "chain_id": str(layer.chain_id),
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


def _share_json(share: PathShare | FolderShare) -> dict[str, Any]:
    return {"path": _text(share.path), "lost_bytes": share.wasted, "bytes": share.size}


def _text(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")
