"""Options that several commands have, each declared once, and the values that they stand for."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from squasher.cli import checks, completion, progress_bar
from squasher.errors import UsageError

if TYPE_CHECKING:
    from squasher.run import Progress

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What every command is asked for: which image, where copies go, how much is printed.

    image, platform   "" where the option is left out
    blobs_from        places of layers that images leave out
    """

    image: str
    platform: str
    blobs_from: tuple[str, ...]
    tmp_dir: str | None
    quiet: bool
    verbose: bool
    bar: bool

    def watching(self, *phases: str) -> AbstractContextManager[Progress]:
        """Show how far a run of these phases is, as the options ask for it."""
        return progress_bar.watching(*phases, quiet=self.quiet, verbose=self.verbose, bar=self.bar)


_SHARED = (
    click.option(
        "--image", "name", metavar="NAME", help="Take only the image with this name or ID."
    ),
    click.option(
        "--platform", metavar="OS/ARCH[/VARIANT]", help="Take only the images for this platform."
    ),
    click.option(
        "--blobs-from",
        multiple=True,
        type=completion.Place(),
        metavar="ARCHIVE",
        help="Where to find layers that an image leaves out (partial archive, sparse OCI layout);"
        " repeatable.",
    ),
    click.option(
        "--tmp-dir",
        type=completion.Place(),
        metavar="DIR",
        help="Folder for temporary copies of piped or compressed input. Default: $TMPDIR, or"
        " /var/tmp.",
    ),
    click.option("-q", "--quiet", is_flag=True, help="Print only errors."),
    click.option("-v", "--verbose", is_flag=True, help="Print each step and every warning."),
    click.option("--no-progress", is_flag=True, help="Show no progress bar."),
)


def shared(command: Callable[..., T]) -> Callable[..., T]:
    """Declare the options of all commands; `command` gets them as one value, `shared`."""

    @functools.wraps(command)
    def parsed(*, name: str | None, platform: str | None, no_progress: bool, **own: Any) -> T:
        rest = {each: own.pop(each) for each in ("blobs_from", "tmp_dir", "quiet", "verbose")}
        value = Shared(image=name or "", platform=platform or "", bar=not no_progress, **rest)
        checks.exclude(("--quiet", value.quiet), ("--verbose", value.verbose))
        checks.require(("--image", name), ("--platform", platform), ("--tmp-dir", value.tmp_dir))
        checks.require(*(("--blobs-from", place) for place in value.blobs_from))
        return command(shared=value, **own)

    for option in reversed(_SHARED):
        option(parsed)
    return parsed


#: Of the commands that unpack one image.
max_size = click.option(
    "--max-size",
    type=int,
    metavar="BYTES",
    help="Refuse images that are larger than BYTES when unpacked.",
)

#: Of the commands that compare or write times of files. `typed.with_values` gives it its value.
clamp_mtime = click.option(
    "--clamp-mtime",
    metavar="[=TIME]",
    help="Treat file times later than TIME as TIME, in the new layer and in comparisons. RFC 3339"
    " or epoch seconds; default: SOURCE_DATE_EPOCH.",
)


# ---------------------------------------------------------------- values as people write them

#: Patterns are compiled when they are used: start-up is quicker.
_PERCENT = r"(\d+(?:\.\d+)?) ?%"
#: Sizes as people and dive write them.
_SIZE = r"(\d+(?:\.\d+)?) ?(?:([kmgt])(i?))?b?"


def percent(typed: str) -> float | None:
    """Return what `30%` stands for, 0.3; None for a text of another form."""
    found = re.fullmatch(_PERCENT, typed, re.ASCII)
    return float(found[1]) / 100 if found else None


def share(option: str, typed: str) -> float:
    """Return the share that an option is given, as 0.3 or 30%: 0 to 1. Raises UsageError."""
    value = percent(typed)
    if value is None and re.fullmatch(r"\d*\.?\d+", typed, re.ASCII):
        value = float(typed)
    if value is None or value > 1:
        raise UsageError(
            f"{typed!r} is not a valid share", where=option, hint="give 0 to 1, or 0% to 100%"
        )
    return value


def size(option: str, typed: str, hint: str = "give bytes, 20MB or 16MiB") -> int:
    """Return the bytes that an option is given, as 20000000, 20MB or 16MiB. Raises UsageError.

    kB, MB, GB and TB are powers of 1000, KiB and so on of 1024. Source: dustin/go-humanize,
    bytes.go, which dive reads its threshold with.
    """
    from decimal import Decimal  # start-up is quicker without it

    found = re.fullmatch(_SIZE, typed, re.ASCII | re.IGNORECASE)
    if not found or ("." in found[1] and not found[2]):
        raise UsageError(f"{typed!r} is not a valid size", where=option, hint=hint)
    unit = (1024 if found[3] else 1000) ** " kmgt".index((found[2] or " ").lower())
    return int(Decimal(found[1]) * unit)


def _layer_size(_context: click.Context, _option: click.Parameter, typed: str | None) -> int | None:
    """Return the bytes that `--max-layer-size` is given, None if it is not. Raises UsageError."""
    if typed is None:
        return None
    option, hint = "--max-layer-size", "give bytes, 200MB or 1GiB"
    value = size(option, typed, hint)
    if not value:
        raise UsageError(f"{typed!r} is not a valid size", where=option, hint=hint)
    return value


#: Of squashing alone; here, with the values that it reads.
max_layer_size = click.option(
    "--max-layer-size",
    metavar="SIZE",
    callback=_layer_size,
    help="Make several new layers, none larger than SIZE before compression, so that engines fetch"
    " them in parallel: bytes, 200MB or 1GiB.",
)
