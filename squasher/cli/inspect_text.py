"""What `squash inspect` prints for people: tables of layers, paths and bases."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import click

from squasher.cli.console import labelled
from squasher.cli.texts import columns, counted, cut, more, size, step, text
from squasher.cli.warnings import in_words
from squasher.image.auto_base import PLACES
from squasher.tar.paths import show

if TYPE_CHECKING:
    from squasher.analysis.inspection import BaseChoice, FolderShare, Inspection, PathShare
    from squasher.analysis.updates import FolderCost, PathCost, UpdateCost

_T = TypeVar("_T")
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
        *_wasted(inspection, width, every),
        _bases(inspection, width, every),
        *_update(inspection.update, width, every),
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
    layers = counted(len(inspection.layers), "layer")
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
        kept = "not proven" if found.split is None else counted(found.split.kept, "layer")
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
    yield from more(len(inspection.secrets) - len(shown))


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
    yield from more(len(inspection.rows) - len(table))


def _bytes(count: int) -> str:
    return size(count) if count else "-"


def _wasted(inspection: Inspection, width: int, every: bool) -> Iterator[Iterable[str]]:
    def row(share: PathShare | FolderShare, times: str) -> str:
        wasted, now = size(share.wasted), _bytes(share.size)
        return f"{wasted:>8} {times:>5} {now:>8}  {_path(share.path, width - 25)}"

    head = f"{'wasted':>8} {'times':>5} {'now':>8}  path"
    yield _table(head, inspection.wasted, lambda x: row(x, str(x.times)), every)
    head = f"{'wasted':>8} {'':>5} {'now':>8}  folder, with all below it"
    yield _table(head, wasteful(inspection.folders), lambda x: row(x, ""), every)


def _table(head: str, rows: Sequence[_T], line: Callable[[_T], str], every: bool) -> Iterator[str]:
    if rows:
        shown = rows if every else rows[:PATHS_MAX]
        yield from (_title(head), *map(line, shown), *more(len(rows) - len(shown)))


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
    yield from more(len(bases) - len(shown))
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
    kept = f"{best.kept_layers} of {counted(len(inspection.layers), 'layer')}"
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


def _update(update: UpdateCost | None, width: int, every: bool) -> Iterator[Iterable[str]]:
    def row(each: PathCost | FolderCost, what: str) -> str:
        return cut(f"{size(each.size):>9}  {what:<10}  {show(b'/' + each.path)}", width)

    if update is not None:
        yield _reasons(update, width)
        head = f"{'costs':>9}  {'why':<10}  path"
        yield _table(head, update.paths, lambda x: row(x, x.why), every)
        head = f"{'costs':>9}  {'time alone':>10}  folder, with all below it"
        costly = update.costly if update.paths else ()
        yield _table(head, costly, lambda x: row(x, f"{_bytes(x.time_alone):>10}"), every)


def _reasons(update: UpdateCost, width: int) -> Iterator[str]:
    line = f"update onto {text(update.previous_name)}"
    if not update.paths:
        yield cut(f"{line}: nothing differs", width)
        return
    yield _title(cut(f"{line}: a layer of {size(update.size)}", width))
    for why, (count, total) in update.reasons.items():
        if count:
            yield f"{size(total):>9}  {why:<10}  {counted(count, 'path')}"
