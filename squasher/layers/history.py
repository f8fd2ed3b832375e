"""The config and the history of a squashed image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from squasher.image import configs
from squasher.image.base import Split
from squasher.image.configs import HistoryEntry, ImageConfig
from squasher.image.model import Image, Layer, rows_with_layer
from squasher.layers.options import Options


def new_image(
    image: Image, split: Split, new: Sequence[Layer], options: Options
) -> tuple[Image, tuple[str, ...]]:
    """Return `image` with `new` layers in place of those above the lowest `kept`, and notices."""
    config, kept = image.config, split.kept
    notices = []
    history = None
    if config.history is not None:
        source = config.image_id
        default = f"create new from {source}"
        if kept:
            default = f"merge {source} to {image.chain_ids[kept - 1]}"
        history = _history(config, split, _rows(config, options, default, new), options.history)
        if history is None:
            history = config.history
            notices.append("history has fewer layer rows than kept layers: it gets no new row")
        elif rows_with_layer(config) > len(config.diff_ids):
            notices.append(
                f"history has rows for {rows_with_layer(config)} layers, but the image has"
                f" {len(config.diff_ids)} layers: the newest rows become rows without a layer"
            )
    if f'"{configs.BUILDKIT_CACHE}"'.encode() in config.raw:
        notices.append(
            f"{configs.BUILDKIT_CACHE} is removed from the config: its layers no longer exist"
        )
    layers = (*image.layers[:kept], *new)
    return _edited(image, layers, history, options), tuple(notices)


def updated_image(
    image: Image, previous: Image, shared: int, new: Sequence[Layer], options: Options
) -> tuple[Image, tuple[str, ...]]:
    """Return `image` on the layers of `previous`, with `new` ones above, and notices."""
    config, kept = image.config, len(previous.layers)
    notices = []
    if not shared:
        notices.append("the image shares no layer with the previous one, not even the base")
    if not new:
        notices.append("nothing differs from the previous image: no new layer is written")
    history = None
    if config.history is not None:
        lower = _rows_below(previous.config, kept)
        upper = [] if options.history == "drop" else _rows_above(config, shared)
        history = (*(lower or ()), *map(configs.emptied, upper))
        if lower is None:
            notices.append("the history of the previous image has too few rows: it gets no new row")
        else:
            default = f"merge {config.image_id} to {previous.chain_ids[-1]}" if kept else ""
            history += _rows(config, options, default, new)
    return _edited(image, (*previous.layers, *new), history, options), tuple(notices)


def _edited(
    image: Image,
    layers: tuple[Layer, ...],
    history: Sequence[HistoryEntry] | None,
    options: Options,
) -> Image:
    diff_ids = [layer.diff_id for layer in layers]
    config = configs.edit_config(image.config, diff_ids, history, options.time)
    return replace(image, config=config, layers=layers, manifest_digests=(), attested=tuple)


def _rows(
    config: ImageConfig, options: Options, default: str, new: Sequence[Layer]
) -> tuple[HistoryEntry, ...]:
    """Return a row for each new layer, whose comment is `default` if nothing else is asked for."""
    message = default if options.message is None else options.message
    return (configs.history_entry(options.time or config.created, message),) * len(new)


def _rows_below(config: ImageConfig, kept: int) -> tuple[HistoryEntry, ...] | None:
    """Return the rows up to that of the newest of `kept` layers; None if there are too few."""
    rows = config.history or ()
    with_layer = [i for i, row in enumerate(rows) if not row.empty_layer]
    if len(with_layer) < kept:
        return None
    return rows[: with_layer[kept - 1] + 1] if kept else ()


def _rows_above(config: ImageConfig, shared: int) -> tuple[HistoryEntry, ...]:
    """Return the rows above that of the newest of the `shared` lowest layers."""
    below = _rows_below(config, shared)
    return (config.history or ())[len(below or ()) :]


def _history(
    config: ImageConfig,
    split: Split,
    new: tuple[HistoryEntry, ...],
    how: Literal["keep", "drop"],
) -> tuple[HistoryEntry, ...] | None:
    """Return the rows after squashing; None if the kept layers have too few to tell them apart."""
    table = config.history or ()
    with_layer = [i for i, row in enumerate(table) if not row.empty_layer]
    if len(with_layer) < split.kept:
        return None
    squashed = with_layer[split.kept :]
    if how == "drop":
        end = squashed[0] if squashed else len(table)
        if split.rows is not None:  # but never the row of a kept layer
            end = min(end, max([split.rows, *(i + 1 for i in with_layer[: split.kept][-1:])]))
        return (*table[:end], *new)
    replaced = frozenset(squashed)
    emptied = (configs.emptied(row) if i in replaced else row for i, row in enumerate(table))
    return (*emptied, *new)
