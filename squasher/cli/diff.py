"""The command `squash diff`: where two images differ, on stdout, and in the exit code."""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from squasher._version import __version__
from squasher.cli import checks, completion, console, options, texts
from squasher.errors import BaseNotFoundError, SquasherError, UsageError
from squasher.tar.paths import escape

if TYPE_CHECKING:
    from squasher.api import Source
    from squasher.image.model import Archive, Image
    from squasher.verify.comparison import ConfigDifference, Difference, Facts

#: What `--ignore` takes besides keys of the config.
_FIELDS = ("mode", "owner", "mtime", "xattrs", "links")
#: Where those begin. Source: image-spec, config.md, "Properties"; what docker writes besides.
_KEYS = ("architecture", "author", "config", "created", "history", "os", "rootfs", "variant")
_DOCKER_KEYS = (
    "comment",
    "container",
    "container_config",
    "docker_version",
    "id",
    "moby",
    "parent",
)
#: Lines that a terminal shows of what differs, unless asked for all.
_LINES_MAX = 100


@click.command("diff", context_settings=checks.CONTEXT)
@click.argument("before", type=completion.Place())
@click.argument("after", type=completion.Place())
@click.option(
    "--ignore",
    "ignored",
    multiple=True,
    metavar="FIELD,...",
    help="Leave out what differs only in these: mode, owner, mtime, xattrs, links; all of the"
    " config, or a key of it such as config.Labels, variant or history.",
)
@click.option(
    "--history",
    is_flag=True,
    help="Compare also what tells how the images were made: created, history, layers.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a document instead of lines.")
@click.option("--all", "every", is_flag=True, help="Show every line, also on a terminal.")
@options.shared
def command(
    *,
    shared: options.Shared,
    before: str,
    after: str,
    ignored: tuple[str, ...],
    history: bool,
    as_json: bool,
    every: bool,
) -> int:
    """Show where two images differ: every path and in what, and every key of the config.

    BEFORE and AFTER are what IMAGE is for squash: paths, transports, and - for stdin for one of
    them. How the files are spread over layers makes no difference, and how the images were made
    only with --history.

    \b
    squash diff image.tar squashed.tar
    squash diff --ignore mtime docker-daemon:app:1 docker-daemon:app:2

    Exit codes: 0 the same, 1 different, 2 usage, 3 no sound image, 4 image not found, 5 not
    supported, 6 output not written, 7 engine.
    """  # noqa: D301  (click looks for the character)
    if before == after == "-":
        raise UsageError("stdin is one image", where="AFTER", hint="name a file for the other one")
    skipped = _fields(ignored)
    sources = checks.source(before), checks.source(after)
    result = _compared(sources, skipped, history, shared)
    if as_json:
        console.give(json.dumps(to_json(result), indent=2))
    elif not shared.quiet:
        shown = sys.stdout is not None and sys.stdout.isatty()
        width = console.width(sys.stdout) if shown else None
        console.give(to_text(result, width, most=_LINES_MAX if shown and not every else None))
    return 1 if result.files or result.config else 0


def _compared(
    sources: tuple[Source, Source], skipped: tuple[str, ...], history: bool, shared: options.Shared
) -> Result:
    """Compare the images of two archives."""
    from squasher import api
    from squasher.verify.comparison import compare, config_differences

    with (
        shared.watching("read", "compare") as progress,
        contextlib.ExitStack() as stack,
    ):
        sides = []
        for source in sources:
            opened = api.open_archive(source, tmp_dir=shared.tmp_dir, progress=progress)
            archive = stack.enter_context(opened)
            sides.append(Side(archive.name, _only(archive, shared)))
        one, two = (side.image for side in sides)
        try:
            files = compare(one, two, tmp_dir=shared.tmp_dir, progress=progress)
        except SquasherError as error:
            side, colon, place = error.where.partition(": ")
            names = {"before": sides[0].name, "after": sides[1].name}
            error.where = names.get(side, side) + colon + place
            raise
        config = config_differences(one.config, two.config, history=history)
    return Result(
        sides[0], sides[1], tuple(_wanted(files, skipped)), _kept(config, skipped), skipped
    )


def _fields(ignored: Sequence[str]) -> tuple[str, ...]:
    """Return what `--ignore` names. Raises UsageError."""
    found = tuple(field for words in ignored for field in words.split(",") if field)
    for field in found:
        if field not in _FIELDS and field.partition(".")[0].lower() not in _KEYS + _DOCKER_KEYS:
            raise UsageError(
                f"{field!r} is not a field that can be ignored",
                where="--ignore",
                hint=f"one of {', '.join(_FIELDS)}, config, or a key of it such as config.Labels"
                " or history",
            )
    return found


def _only(archive: Archive, shared: options.Shared) -> Image:
    """Return the image of the archive. Raises BaseNotFoundError if there are several."""
    from squasher.archive import selection

    picked = selection.select(archive, shared.image, shared.platform)
    if len(picked.images) > 1:
        raise BaseNotFoundError(
            f"holds {len(picked.images)} images",
            where=archive.name,
            hint="choose one of those below with --image or --platform",
            there=selection.listing(picked.images),
        )
    return picked.images[0]


def _wanted(files: Sequence[Difference], skipped: tuple[str, ...]) -> Iterator[Difference]:
    """Yield the differences without the fields that are skipped."""
    for each in files:
        what = tuple(field for field in each.what if field not in skipped)
        if what:
            yield each if what == each.what else replace(each, what=what)


def _kept(
    config: Sequence[ConfigDifference], skipped: tuple[str, ...]
) -> tuple[ConfigDifference, ...]:
    """Return the differences without the keys that are skipped."""
    if "config" in skipped:
        return ()
    return tuple(
        each
        for each in config
        if not any(f"{_key(each)}.".startswith(f"{field}.") for field in skipped)
    )


def _key(difference: ConfigDifference) -> str:
    return ".".join(difference.key)


# ---------------------------------------------------------------- for people


@dataclass(frozen=True, slots=True)
class Side:
    """One of two images, and what it was called."""

    name: str
    image: Image


@dataclass(frozen=True, slots=True)
class Result:
    """Where two images differ, apart from what was ignored."""

    before: Side
    after: Side
    files: tuple[Difference, ...]
    config: tuple[ConfigDifference, ...]
    ignored: tuple[str, ...]


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
        f"{side.name}: {tags}, {_count(len(image.layers), 'layer')}, {size},"
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
    name = click.style(f"{mark} {texts.text(_key(each))}", fg=colour)
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
    "mtime": lambda facts: time_text(facts.mtime),
    "target": lambda facts: path_text(facts.target, root=""),
    "device": _device,
    "size": lambda facts: f"{facts.size:,} B",
    "links": lambda facts: f"{len(facts.links)} names" if facts.links else "one name",
}


def time_text(mtime: int | None) -> str:
    """Return nanoseconds since 1970 as people read them, in UTC; seconds where no calendar goes."""
    seconds, nanoseconds = divmod(mtime or 0, 10**9)
    try:
        moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s"
    fraction = f".{nanoseconds:09}".rstrip("0") if nanoseconds else ""
    return f"{moment:%Y-%m-%d %H:%M:%S}{fraction}"


def path_text(path: bytes, root: str = "/") -> str:
    """Return a path as text that no terminal obeys, and that stands for one path only."""
    return root + "".join(
        char if char.isprintable() and char != "\\" else escape(char)
        for char in path.decode("utf-8", "surrogateescape")
    )


def _end(result: Result) -> Iterator[str]:
    """Yield the sum of it all."""
    ignored = f" ({', '.join(map(texts.text, result.ignored))} ignored)" if result.ignored else ""
    if not result.files and not result.config:
        yield click.style("the same", fg="green", bold=True) + f" files and config{ignored}"
        return
    counts = _counts(result.files)
    kinds = ", ".join(f"{number:,} {kind}" for kind, number in counts.items() if number)
    line = f"{_count(len(result.files), 'path')} differ{'' if len(result.files) != 1 else 's'}"
    if kinds:
        line += f": {kinds}"
    keys = _count(len(result.config), "config key")
    yield f"{line}; {keys}{ignored}"


def _counts(files: Sequence[Difference]) -> dict[str, int]:
    counted = Counter(_change(each) for each in files)
    return {kind: counted[kind] for kind in ("added", "removed", "changed")}


def _change(each: Difference) -> str:
    return each.what[0] if each.what[0] in _MARKS else "changed"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


# ---------------------------------------------------------------- for machines


def to_json(result: Result) -> dict[str, Any]:
    """Return the result as the document that docs/schema/diff-1.json describes.

    `schema` counts up when a key changes its meaning or goes; new keys may come at any time.
    """
    return {
        "schema": 1,
        "version": __version__,
        "same": not result.files and not result.config,
        "ignored": list(result.ignored),
        "before": _side_json(result.before),
        "after": _side_json(result.after),
        "counts": _counts(result.files),
        "paths": [_path_json(each) for each in result.files],
        "config": [
            {"key": list(each.key), "before": each.before, "after": each.after}
            for each in result.config
        ],
    }


def _side_json(side: Side) -> dict[str, Any]:
    image = side.image
    return {
        "name": side.name,
        "tags": list(image.tags),
        "platform": str(image.platform),
        "image_id": str(image.config.image_id),
        "layers": len(image.layers),
        "size": image.stored_size,
    }


def _path_json(each: Difference) -> dict[str, Any]:
    return {
        **_bytes_json("path", each.path),
        "change": _change(each),
        "what": [] if _change(each) != "changed" else list(each.what),
        "before": _facts_json(each.before),
        "after": _facts_json(each.after),
    }


def _bytes_json(name: str, value: bytes) -> dict[str, str]:
    """Return bytes as text; what is not UTF-8 also exactly, in base64."""
    document = {name: value.decode("utf-8", "backslashreplace")}
    if document[name].encode("utf-8") != value:
        document[f"{name}_base64"] = base64.b64encode(value).decode("ascii")
    return document


def _facts_json(facts: Facts | None) -> dict[str, Any] | None:
    if facts is None:
        return None
    mode, uid, gid = facts.owner
    document: dict[str, Any] = {
        "type": facts.kind,
        "mode": f"{mode:04o}",
        "uid": uid,
        "gid": gid,
        "mtime": facts.mtime,
        "xattrs": {
            path_text(name, root=""): base64.b64encode(value).decode("ascii")
            for name, value in facts.xattrs
        },
    }
    if facts.kind == "file":
        document["size"] = facts.size
    if facts.kind == "symlink":
        document |= _bytes_json("target", facts.target)
    if facts.device is not None:
        document["device"] = list(facts.device)
    if facts.links:  # and no list of all: each of them would repeat it
        document["links"] = {"count": len(facts.links), **_bytes_json("first", facts.links[0])}
    return document
