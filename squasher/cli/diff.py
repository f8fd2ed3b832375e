"""The command `squash diff`: where two images differ, on stdout, and in the exit code."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from squasher.cli import checks, completion, console, encoder, options
from squasher.cli.diff_result import Result, Side, key_of, to_json
from squasher.errors import BaseNotFoundError, SquasherError, UsageError

if TYPE_CHECKING:
    from squasher.api import Source
    from squasher.image.model import Archive, Image
    from squasher.verify.comparison import ConfigDifference, Difference

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
    help="Ignore differences in these fields: mode, owner, mtime, xattrs, links; config for all of"
    " the config, or one of its keys, such as config.Labels, variant or history.",
)
@click.option(
    "--history",
    is_flag=True,
    help="Also compare how the images were made: created, history, layers.",
)
@options.clamp_mtime
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document instead of lines.")
@click.option("--all", "every", is_flag=True, help="Show all lines; a terminal shows 100.")
@options.shared
def command(
    *,
    shared: options.Shared,
    before: str,
    after: str,
    ignored: tuple[str, ...],
    history: bool,
    clamp_mtime: str | None,
    as_json: bool,
    every: bool,
) -> int:
    """Show where two images differ: each path, each field of it, and each key of the config.

    BEFORE and AFTER are paths or transports, as IMAGE of squash; one of them may be - for stdin.
    Only files and config are compared, not the layers. --history also compares how the images were
    made.

    \b
    squash diff image.tar squashed.tar
    squash diff --ignore mtime docker-daemon:app:1 docker-daemon:app:2

    Exit codes: 0 the same; 1 different; 2 wrong options; 3 input missing, damaged or not an image;
    4 image not found; 5 not supported; 6 output not written; 7 the docker daemon failed.
    """  # noqa: D301  (click looks for the character)
    if before == after == "-":
        raise UsageError(
            "stdin can give one of the images only",
            where="AFTER",
            hint="give a file for the other one",
        )
    skipped = _fields(ignored)
    sources = checks.source(before), checks.source(after)
    result = _compared(sources, skipped, history, clamp_mtime, shared)
    if as_json:
        console.give(encoder.text(to_json(result)))
    elif not shared.quiet:
        from squasher.cli import diff_text

        shown = sys.stdout is not None and sys.stdout.isatty()
        width = console.width(sys.stdout) if shown else None
        most = _LINES_MAX if shown and not every else None
        console.give(diff_text.to_text(result, width, most=most))
    return 0 if result.same else 1


def _compared(
    sources: tuple[Source, Source],
    skipped: tuple[str, ...],
    history: bool,
    clamp_mtime: str | None,
    shared: options.Shared,
) -> Result:
    """Compare the images of two archives."""
    from squasher import api
    from squasher.layers.options import parse_clamp_mtime
    from squasher.verify.comparison import compare, config_differences

    latest = parse_clamp_mtime(
        clamp_mtime
    )  # what is not a valid time is told before anything is read
    with (
        shared.watching("read", "compare") as progress,
        contextlib.ExitStack() as stack,
    ):
        sides = []
        for source in sources:
            opened = api.open_archive(
                source, blobs_from=shared.blobs_from, tmp_dir=shared.tmp_dir, progress=progress
            )
            archive = stack.enter_context(opened)
            sides.append(Side(archive.name, _only(archive, shared)))
        one, two = (side.image for side in sides)
        try:
            files = compare(
                one,
                two,
                clamp_mtime=clamp_mtime,
                tmp_dir=shared.tmp_dir,
                progress=progress,
            )
        except SquasherError as error:
            side, colon, place = error.where.partition(": ")
            names = {"before": sides[0].name, "after": sides[1].name}
            error.where = names.get(side, side) + colon + place
            raise
        config = config_differences(one.config, two.config, history=history)
    kept = _kept(config, skipped)
    return Result(sides[0], sides[1], tuple(_wanted(files, skipped)), kept, skipped, latest)


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
            hint="choose one of the images below with --image or --platform",
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
        if not any(f"{key_of(each)}.".startswith(f"{field}.") for field in skipped)
    )
