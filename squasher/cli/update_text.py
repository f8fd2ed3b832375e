"""What `squash inspect --onto` prints for people: what an update costs, by reason, path, folder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from squasher.cli.texts import cut, size, text
from squasher.tar.paths import show

if TYPE_CHECKING:
    from squasher.analysis.updates import UpdateCost

#: Rows of a table that are shown unless asked for all.
ROWS_MAX = 20


def parts(update: UpdateCost | None, width: int, every: bool) -> Iterator[Iterator[str]]:
    """Yield the tables of an update in `width` columns; nothing without one."""
    if update is not None:
        yield _reasons(update, width)
        if update.paths:
            yield _paths(update, width, every)
            yield _folders(update, width, every)


def _reasons(update: UpdateCost, width: int) -> Iterator[str]:
    line = f"update onto {text(update.previous_name)}"
    if not update.paths:
        yield cut(f"{line}: nothing differs", width)
        return
    yield click.style(cut(f"{line}: a layer of {size(update.size)}", width), bold=True)
    for why, (count, total) in update.reasons.items():
        if count:
            yield f"{size(total):>9}  {why:<10}  {count:,} path{'' if count == 1 else 's'}"


def _paths(update: UpdateCost, width: int, every: bool) -> Iterator[str]:
    yield click.style(f"{'costs':>9}  {'why':<10}  path", bold=True)
    shown = update.paths if every else update.paths[:ROWS_MAX]
    for each in shown:
        yield cut(f"{size(each.size):>9}  {each.why:<10}  {show(b'/' + each.path)}", width)
    yield from _more(len(update.paths) - len(shown))


def _folders(update: UpdateCost, width: int, every: bool) -> Iterator[str]:
    yield click.style(f"{'costs':>9}  {'time alone':>10}  folder, with all below it", bold=True)
    folders = update.costly
    shown = folders if every else folders[:ROWS_MAX]
    for each in shown:
        alone = size(each.time_alone) if each.time_alone else "-"
        yield cut(f"{size(each.size):>9}  {alone:>10}  {show(b'/' + each.path)}", width)
    yield from _more(len(folders) - len(shown))


def _more(count: int) -> Iterator[str]:
    if count:
        yield f"... and {count:,} more (--all)"
