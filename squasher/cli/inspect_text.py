"""What `squash inspect` prints for people: tables of layers, paths and bases."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import click

from squasher.cli import update_text
from squasher.cli.console import labelled
from squasher.cli.texts import columns, cut, size, step, text
from squasher.cli.warnings import in_words
from squasher.image.auto_base import PLACES
from squasher.tar.paths import show

if TYPE_CHECKING:
    from squasher.analysis.inspection import BaseChoice, FolderShare, Inspection, PathShare

#: Rows of a table that are shown unless asked for all: of layers and bases, of paths.
_ROWS_MAX, PATHS_MAX = 40, 20
#: A folder is not listed if one folder in it has so much of its waste, in percent.
_DEEPER = 90


def to_text(
    inspection: Inspection, width: int, *, every: bool = False, verbose: bool = False
) -> str:
    """Return what is in an image as tables in `width` columns."""
    parts = [
        _head(inspection, width),
        _layers(inspection, width, every),
        _wasted_paths(inspection, width, every),
        _wasted_folders(inspection, width, every),
        _bases(inspection, width, every),
        *update_text.parts(inspection.update, width, every),
        _warnings(in_words(inspection.warnings, verbose=verbose)),
        (labelled("secret?", line, "yellow") for line in secrets_in_words(inspection, every)),
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
    yield from _named(inspection)


def _named(inspection: Inspection) -> Iterator[str]:
    """Yield what the image says of its base, and what proves it; what decides comes first."""
    base = inspection.base
    for found in sorted(inspection.named, key=lambda found: found is not base):
        kept = "not proven" if found.split is None else _layers_in_words(found.split.kept)
        also = "" if found is base else "also named: " if base else "named: "
        yield labelled("base", text(f"{also}{kept}, {found.claim.words}"))
        yield labelled("", text(f"{PLACES[found.claim.place]}: {found.why}"))


def _warnings(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield labelled("" if line.startswith(" ") else "warning", line.strip(), "yellow")


def secrets_in_words(inspection: Inspection, every: bool = False) -> Iterator[str]:
    """Yield what looks like a secret, where it is, and what removes it."""
    shown = inspection.secrets if every else inspection.secrets[:_ROWS_MAX]
    for secret in shown:
        if secret.row is None:
            where, remedy = "the environment", "it stays: build again without it"
        else:
            where = f"row {secret.row + 1} of the history"
            remedy = "squashing does not remove it: build again without it"
            if secret.most is not None:
                remedy = f"--history drop removes it, with --keep-layers {secret.most} or less"
        yield f"{text(secret.shown)} in {where}: {remedy}"
    yield from _more(len(inspection.secrets) - len(shown))


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
    shown = table if every else table[:PATHS_MAX]
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
    best, without = inspection.best, inspection.best_without_base
    given_up = ""
    if inspection.base and without:
        given_up = (
            f"To squash the base too, which other images share, would save {size(without.saved)}"
            f" (--keep-layers {without.kept_layers})."
        )
    if best is None:
        above = "above the base" if inspection.base else "whatever is kept"
        yield f"Squashing saves nothing, {above}."
        yield from filter(None, (given_up,))
        return
    kept = f"{best.kept_layers} of {_layers_in_words(len(inspection.layers))}"
    yield ""
    yield f"* best trade: saves {size(best.saved)} and keeps {kept} (uncompressed)"
    yield f"  {text(best.command)}"
    yield from filter(None, (given_up,))


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
