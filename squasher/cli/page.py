"""What is in an image, as one HTML page with pictures. Values in, text out.

The page stands alone: no script, no network, styles and SVG inside. Needs the extra `html`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from squasher._version import __version__
from squasher.analysis.inspection import Inspection
from squasher.cli import texts
from squasher.cli.inspect_text import secrets_in_words
from squasher.cli.texts import size, text, visible
from squasher.cli.warnings import in_words
from squasher.errors import UsageError
from squasher.extras import hint

if TYPE_CHECKING:
    from jinja2 import Environment

#: A page is no larger, in bytes: what mail and issue trackers take, and phones show at once.
PAGE_MAX = 1_000_000
#: Rows of layers, bases and history that are shown, and of paths, if that fits on a page.
_ROWS, _PATHS = 300, 50
#: Longest text shown of a path or name, and of a command, in characters.
_PATH_LENGTH, _TEXT_LENGTH = 120, 600
#: Levels of folders inside each other, and square pixels of the smallest tile of its own.
_LEVELS, _TILE_AREA = 4, 2400
#: A folder is filled with tiles if it leaves room below its name: pixels.
_OPEN_WIDTH, _OPEN_HEIGHT, _HEAD, _GAP = 64, 52, 18, 3
#: So few tiles are drawn in a map of so little height.
_FEW, _FLAT = 3, 96
_MINUS = "\N{MINUS SIGN}"
#: Width of a letter on a tile, on average and of most: pixels at a font size of 12.
_LETTER = 6.9


def render(inspections: Sequence[Inspection]) -> str:
    """Return the page about the images, in their order.

    O(folders, paths and layers). The text is under PAGE_MAX however many entries an image has: the
    detail is halved until it is (of a hundred images and more, to a least detail that may be more).
    Raises UsageError if a library of the extra `html` is missing.
    """
    template = _environment().get_template("page.html")
    share = 1
    while True:
        html = template.render(
            inspections=inspections,
            version=__version__,
            rows=max(5, _ROWS // share),
            paths=max(5, _PATHS // share),
            maps=[_maps(each, _TILE_AREA * share) for each in inspections],
        )
        if len(html.encode()) <= PAGE_MAX or share >= _ROWS:
            return html
        share *= 2


def check() -> None:
    """Raise UsageError if a library of the extra `html` is missing: before there is much to do."""
    _environment()


def _environment() -> Environment:
    try:
        import squarify  # noqa: F401  (asked for here, used below)
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError:
        raise UsageError("needs the extra `html`", where="--html", hint=hint("html")) from None
    environment = Environment(
        loader=PackageLoader("squasher.cli"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "size": _size,
        "count": "{:,}".format,
        "percent": percent,
        "name": path_name,
        "cut": partial(_middle, length=_PATH_LENGTH),
        "line": line,
        "step": step,
    }
    environment.globals["in_words"] = in_words
    environment.globals["secrets_in_words"] = secrets_in_words
    return environment


def _finalize(value: Any) -> Any:
    """Show what is no markup; nothing from an image gets past this and the escaping after it."""
    return visible(value) if type(value) is str else value


def _middle(value: str, length: int) -> str:
    """Return a visible text of at most `length` characters: both ends, where they tell most."""
    if len(value) > 2 * length:
        value = value[:length] + value[-length:]
    value = visible(value)
    if len(value) <= length:
        return value
    tail = (length - 1) * 2 // 3
    return f"{value[: length - 1 - tail]}…{value[-tail:]}"


def step(created_by: str) -> str:
    """Return what a history row says about its layer, as far as a table can take it."""
    return _shortened(texts.step(created_by[: 2 * _TEXT_LENGTH]))


def line(value: str) -> str:
    """Return text on one line, as far as a table can take it; blanks and line breaks are one."""
    return _shortened(text(value[: 2 * _TEXT_LENGTH]))


def _shortened(shown: str) -> str:
    return shown if len(shown) <= _TEXT_LENGTH else shown[: _TEXT_LENGTH - 1] + "…"


def path_name(path: bytes) -> str:
    """Return a layer path as people write it, not longer than a table can take."""
    return _middle("/" + path.decode("utf-8", "backslashreplace"), _PATH_LENGTH)


def percent(part: float, whole: float) -> str:
    """Return `part` of `whole` in percent; "under 0.1 %", "over 99.9 %" if not quite 0 or 100."""
    share = 100 * part / whole if whole else 0.0
    if 0 < abs(share) < 0.1:
        return "under 0.1 %"
    if 99.95 <= share < 100:
        return "over 99.9 %"
    return f"{share:.1f} %".replace("-", _MINUS)


def _size(count: int) -> str:
    return size(count) if count >= 0 else _MINUS + size(-count)


# ---------------------------------------------------------------- treemaps


@dataclass(frozen=True, slots=True)
class Tile:
    """A rectangle of a treemap. x and width in percent of the map, y and height in pixels.

    level  1 for the outermost; open tells that tiles of the next level lie on it
    name   of the path, "" for the rest of its folder
    label, amount   what fits on the tile: the name in its folder, the size; else ""
    """

    x: float
    y: float
    width: float
    height: float
    level: int
    open: bool
    name: str
    label: str
    amount: str
    size: int


@dataclass(frozen=True, slots=True)
class _Shape:
    """A map's size in pixels; the width is nominal, text is cut for it."""

    kind: str
    width: int
    height: int


_SHAPES = (_Shape("wide", 960, 520), _Shape("tall", 320, 460))


def _maps(inspection: Inspection, tile_area: int) -> dict[str, dict[str, Any]]:
    there = {folder.path: folder.size for folder in inspection.folders}
    waste = {folder.path: folder.wasted for folder in inspection.folders}
    files = {share.path: share.size for share in inspection.largest}
    wasted = {share.path: share.wasted for share in inspection.wasted[:1000]}
    drawn = [("there", there, files), ("waste", waste, wasted)]
    if inspection.update is not None:
        costs = {each.path: each.size for each in inspection.update.folders}
        dear = {each.path: each.size for each in inspection.update.paths[:1000]}
        drawn.append(("update", costs, {path: dear[path] for path in dear.keys() - costs.keys()}))
    return {
        kind: {
            "total": folders.get(b"", 0),
            "shapes": [_drawn(shape, folders, paths, tile_area) for shape in _SHAPES],
        }
        for kind, folders, paths in drawn
    }


def _drawn(
    shape: _Shape, folders: Mapping[bytes, int], files: Mapping[bytes, int], area: int
) -> tuple[_Shape, list[Tile]]:
    """Return the shape that suits what there is to draw, and the tiles: few need little room."""
    drawn = tiles(folders, files, shape.width, shape.height, area)
    if len(drawn) > _FEW:
        return shape, drawn
    flat = replace(shape, height=_FLAT)
    return flat, tiles(folders, files, shape.width, _FLAT, area)


def tiles(
    folders: Mapping[bytes, int], files: Mapping[bytes, int], width: int, height: int, area: int
) -> list[Tile]:
    """Return a squarified treemap: a folder before what lies on it, the larger first.

    `folders` are sums of all below, with b"" for the root; `files` are those worth a tile. What is
    smaller than `area` square pixels is drawn together as the rest of its folder.
    Source: Bruls, Huizing, van Wijk, "Squarified Treemaps", 2000.
    """
    below: dict[bytes, list[tuple[bytes, int]]] = {}
    for path, count in (*folders.items(), *files.items()):
        if path and count > 0:
            below.setdefault(path.rpartition(b"/")[0], []).append((path, count))
    for found in below.values():
        found.sort(key=lambda item: (-item[1], item[0]))
    return list(_fill(below, b"", folders.get(b"", 0), (0, 0, width, height), 1, width, area))


_Box = tuple[float, float, float, float]


def _fill(
    below: Mapping[bytes, list[tuple[bytes, int]]],
    folder: bytes,
    total: int,
    box: _Box,
    level: int,
    map_width: int,
    area: int,
) -> Iterator[Tile]:
    """Yield the tiles that fill `box`, which stands for the `total` bytes below `folder`."""
    x, y, width, height = box
    pixel = total / (width * height)
    shown: list[tuple[bytes | None, int]] = [
        item for item in below.get(folder, ()) if item[1] >= area * pixel
    ]
    if not shown:
        return
    rest = total - sum(count for _, count in shown)
    if rest >= pixel:
        shown.append((None, rest))
    for (path, count), (x, y, width, height) in zip(
        shown, _squarified([count for _, count in shown], box), strict=True
    ):
        inside: list[Tile] = []
        label = "the rest"
        if path is not None:
            path, label = _chain(below, path, count, folder)
            if level < _LEVELS and width >= _OPEN_WIDTH and height >= _OPEN_HEIGHT:
                inner = (x + _GAP, y + _HEAD, width - 2 * _GAP, height - _HEAD - _GAP)
                inside = list(_fill(below, path, count, inner, level + 1, map_width, area))
        room = int((width - 10) / _LETTER)
        label = _fitting(label, room) if height >= _HEAD else ""
        if inside:  # the amount stands beside the label, else below it
            room -= len(label) + 1
        elif height < 2 * _HEAD:
            room = 0
        yield Tile(
            x=100 * x / map_width,
            y=y,
            width=100 * width / map_width,
            height=height,
            level=level,
            open=bool(inside),
            name="" if path is None else path_name(path),
            label=label,
            amount=_size(count) if room >= len(_size(count)) else "",
            size=count,
        )
        yield from inside


def _squarified(counts: Sequence[int], box: _Box) -> Iterable[_Box]:
    import squarify

    areas = squarify.normalize_sizes(counts, *box[2:])
    for each in squarify.squarify(areas, *box):
        yield each["x"], each["y"], each["dx"], each["dy"]


def _chain(
    below: Mapping[bytes, list[tuple[bytes, int]]], path: bytes, count: int, folder: bytes
) -> tuple[bytes, str]:
    """Return the end of a chain of folders that hold one thing each, and the chain's label."""
    while (inside := below.get(path)) and len(inside) == 1 and inside[0][1] == count:
        path = inside[0][0]
    label = path[len(folder) + 1 if folder else 0 :]
    return path, visible(label.decode("utf-8", "backslashreplace"))


def _fitting(label: str, room: int) -> str:
    """Return at most `room` characters of the label, "" if that would tell nothing."""
    if len(label) <= room:
        return label
    return label[: room - 1] + "…" if room >= 4 else ""
