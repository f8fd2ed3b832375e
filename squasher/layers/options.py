"""What squashing is asked to do, besides the image."""

from __future__ import annotations

import datetime
import os
import re
from dataclasses import dataclass, field
from typing import Literal

from squasher.blobs.compression import Compression, parse_compression
from squasher.errors import UsageError
from squasher.image.references import normalise_tag


@dataclass(frozen=True, slots=True)
class Options:
    """What squashing is asked to do, besides the image.

    base, keep_layers   at most one of them: what `-f` and `--keep-layers` take; neither: all
    tags                None keeps those of the image, () drops them
    message             comment of the new history row; None stands for the default
    history             "keep" or "drop", as the option
    created             "source", "now", or a time as RFC 3339 or epoch seconds
    compress            of the new layer: "auto", "none", "gzip[:LEVEL]", "zstd[:LEVEL]"
    max_size            refuse images that unpack to more bytes

    The texts are read once, when the options are made: "now" is one time for all images.

    compression         of the new layer; None stands for "auto"
    time                of the result; None stands for that of the source
    """

    base: str | None = None
    keep_layers: int | None = None
    tags: tuple[str, ...] | None = None
    message: str | None = None
    history: Literal["keep", "drop"] = "keep"
    created: str = "source"
    compress: str = "auto"
    max_size: int | None = None
    compression: Compression | None = field(init=False, repr=False)
    time: str | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.base is not None and self.keep_layers is not None:
            raise UsageError("-f and --keep-layers exclude each other")
        for tag in self.tags or ():
            if normalise_tag(tag) is None:
                raise UsageError(f"{tag!r} is not a valid image name", where="--tag")
        if self.max_size is not None and self.max_size < 0:
            raise UsageError(f"{self.max_size} is not a valid size", where="--max-size")
        if self.history not in ("keep", "drop"):
            raise UsageError(f"{self.history!r} is neither keep nor drop", where="--history")
        try:
            (self.message or "").encode("utf-8")
        except UnicodeEncodeError:
            raise UsageError("is not UTF-8", where="--message") from None
        object.__setattr__(self, "compression", parse_compression(self.compress))
        object.__setattr__(self, "time", parse_created(self.created))


#: RFC 3339 as Go's time package reads it; the ranges are checked by datetime.
_RFC3339 = re.compile(
    r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.\d{1,9})?(?:Z|[+-](\d{2}):(\d{2}))", re.ASCII
)


def parse_created(option: str) -> str | None:
    """Return the time that the option asks for; None for that of the source.

    Raises UsageError for a text that is not a valid time.
    """
    if option == "source":
        return None
    where = "--created"
    if option == "now":
        option = os.environ.get("SOURCE_DATE_EPOCH", "")
        where = "SOURCE_DATE_EPOCH"
        if not option:
            return _rfc3339(datetime.datetime.now(datetime.timezone.utc))
    match = _RFC3339.fullmatch(option) if where == "--created" else None
    try:
        if option.isascii() and option.isdigit():
            return _rfc3339(datetime.datetime.fromtimestamp(int(option), datetime.timezone.utc))
        if match and int(match[2] or 0) < 24 and int(match[3] or 0) < 60:
            datetime.datetime.strptime(match[1], "%Y-%m-%dT%H:%M:%S")
            return option
    except (ValueError, OverflowError, OSError):
        pass
    raise UsageError(
        f"{option!r} is not a valid time", where=where, hint="give RFC 3339 or epoch seconds"
    )


def _rfc3339(moment: datetime.datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
