"""What `squash diff` prints for people: a line for each path and each key that differs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from squasher.cli import texts
from squasher.cli.diff_result import Result, Side, counts, key_of, path_text

if TYPE_CHECKING:
    from squasher.verify.comparison import ConfigDifference, Difference, Facts


def to_text(result: Result, width: int | None, *, most: int | None = None) -> str:
    """Return the lines for a terminal `width` columns wide, None for lines of any length.

    `most` is how many paths and how many keys are shown; None for all.
    """
    lines = [_head("before", result.before, width), _head("after", result.after, width)]
    for each in result.files[:most]:
        lines += _path_lines(each, width)
    lines += _rest(len(result.files), "path", most)
    for key in result.config[:most]:
        lines += _key_lines(key, width)
    lines += _rest(len(result.config), "key", most)
    return "\n".join([*lines, *_end(result)])


def _rest(number: int, noun: str, most: int | None) -> Iterator[str]:
    if most is not None and number > most:
        yield f"... and {number - most:,} more {noun}s; --all shows them"


def _head(title: str, side: Side, width: int | None) -> str:
    image = side.image
    size = texts.size(image.stored_size)
    tags = ", ".join(image.tags) or "no name"
    line = (
        f"{side.name}: {tags}, {texts.counted(len(image.layers), 'layer')}, {size},"
        f" {image.config.image_id.hex[:12]}"
    )
    return f"{click.style(f'{title:<7}', bold=True)} {_cut(texts.text(line), width, 8)}"


def _path_lines(each: Difference, width: int | None) -> Iterator[str]:
    mark, colour = _MARKS.get(each.what[0], ("~", "yellow"))
    name = click.style(f"{mark} {path_text(each.path)}", fg=colour)
    there = each.after or each.before
    details = list(_details(each)) if there is None or mark == "~" else [_thing(there)]
    return _laid_out(name, details, width)


_MARKS = {"added": ("+", "green"), "removed": ("-", "red")}


def _key_lines(each: ConfigDifference, width: int | None) -> Iterator[str]:
    before, after = (_value(value) for value in (each.before, each.after))
    mark, colour, details = "~", "yellow", [f"{before} -> {after}"]
    if each.before is None or each.after is None:
        mark, colour = _MARKS["added" if each.before is None else "removed"]
        details = [after or before]
    name = click.style(f"{mark} {texts.text(key_of(each))}", fg=colour)
    if mark == "~" and not _fits(name, details, width):
        details = [f"was {before}", f"is  {after}"]
    return _laid_out(name, details, width)


def _value(value: Any) -> str:
    return "" if value is None else texts.text(json.dumps(value, ensure_ascii=False))


def _laid_out(name: str, details: Sequence[str], width: int | None) -> Iterator[str]:
    """Yield the name with its details behind it, or below it if they have no room."""
    if _fits(name, details, width):
        yield f"{name}  {'; '.join(details)}"
        return
    yield name
    for line in details:
        yield f"      {_cut(line, width, 6)}"


def _fits(name: str, details: Sequence[str], width: int | None) -> bool:
    line = f"{click.unstyle(name)}  {'; '.join(details)}"
    return width is None or texts.columns(line) <= width


def _cut(line: str, width: int | None, indent: int) -> str:
    return line if width is None else texts.cut(line, width - indent)


def _thing(facts: Facts) -> str:
    """Return what is at a path that the other image does not have."""
    if facts.kind == "file":
        return f"file, {texts.size(facts.size)}"
    if facts.kind == "symlink":
        return f"symlink -> {path_text(facts.target, root='')}"
    if facts.device is not None:
        return f"{facts.kind} {_device(facts)}"
    return facts.kind


def _details(each: Difference) -> Iterator[str]:
    """Yield in what the two at a path differ, with what was and what is."""
    x, b = each.before, each.after
    assert x is not None  # noqa: S101
    assert b is not None  # noqa: S101
    for field in each.what:
        if field == "content":
            yield "content"
        elif field == "xattrs":
            yield f"xattrs {' '.join(_xattrs(x, b))}"
        else:
            show = _SHOWN[field]
            yield f"{field} {show(x)} -> {show(b)}"


def _xattrs(x: Facts, b: Facts) -> Iterator[str]:
    one, two = dict(x.xattrs), dict(b.xattrs)
    for name in sorted(one.keys() | two.keys()):
        if one.get(name) != two.get(name):
            mark = "~" if name in one and name in two else "-" if name in one else "+"
            yield mark + path_text(name, root="")


def _device(facts: Facts) -> str:
    return ":".join(map(str, facts.device or ()))


#: How the value of a field is shown.
_SHOWN: dict[str, Callable[[Facts], str]] = {
    "type": lambda facts: facts.kind,
    "mode": lambda facts: f"{facts.owner[0]:04o}",
    "owner": lambda facts: f"{facts.owner[1]}:{facts.owner[2]}",
    "mtime": lambda facts: texts.time_text(facts.mtime),
    "target": lambda facts: path_text(facts.target, root=""),
    "device": _device,
    "size": lambda facts: f"{facts.size:,} B",
    "links": lambda facts: f"{len(facts.links)} names" if facts.links else "one name",
}


def _end(result: Result) -> Iterator[str]:
    ignored = f" ({', '.join(map(texts.text, result.ignored))} ignored)" if result.ignored else ""
    if result.latest is not None:
        ignored += f" (times later than {texts.time_text(result.latest)} UTC count as that)"
    if result.same:
        yield click.style("the same", fg="green", bold=True) + f" files and config{ignored}"
        return
    numbers = counts(result.files)
    alone = numbers.pop("time_alone")
    kinds = ", ".join(f"{number:,} {kind}" for kind, number in numbers.items() if number)
    if alone:
        kinds += f" ({alone:,} in time alone)"
    line = (
        f"{texts.counted(len(result.files), 'path')} differ{'' if len(result.files) != 1 else 's'}"
    )
    if kinds:
        line += f": {kinds}"
    keys = texts.counted(len(result.config), "config key")
    yield f"{line}; {keys}{ignored}"
