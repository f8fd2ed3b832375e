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
from squasher.tar.fields import YEAR_2262


@dataclass(frozen=True, slots=True)
class Options:
    """What squashing is asked to do, besides the image.

    base, keep_layers   the base, as `-f` or `--keep-layers` takes it; only one of them. Without
                        both, all layers are merged
    tags                None keeps the names of the image, () gives it none
    message             comment of the new history row; None stands for a text with the digests of
                        image and base
    history             "keep" turns the rows of squashed layers into empty ones, "drop" removes
                        them
    created             time of the result: "source" (that of the image), "now" (SOURCE_DATE_EPOCH
                        if it is set, else the clock), or a time in RFC 3339 or epoch seconds
    compress            of the new layer: "none", "gzip[:LEVEL]", "zstd[:LEVEL]", or "auto" (as
                        the highest layer of the image; gzip if squash cannot write that)
    compress_kept       also compress kept layers that are not; if "auto" means "none", with gzip
    max_size            refuse images that unpack to more bytes than this
    clamp_mtime         the latest time of entries in the new layer: RFC 3339, epoch seconds, or
                        "SOURCE_DATE_EPOCH" for that variable; None leaves times as they are
    max_layer_size      write several new layers, none larger than this many bytes as a tar

    Texts become values once, when the options are made: "now" is one time for all images. Raises
    UsageError for values that are not valid or cannot be used together.

    compression         of the new layer; None stands for "auto"
    time                of the result, RFC 3339; None stands for that of the source
    latest              `clamp_mtime` in nanoseconds since 1970
    """

    base: str | None = None
    keep_layers: int | None = None
    tags: tuple[str, ...] | None = None
    message: str | None = None
    history: Literal["keep", "drop"] = "keep"
    created: str = "source"
    compress: str = "auto"
    compress_kept: bool = False
    max_size: int | None = None
    clamp_mtime: str | None = None
    max_layer_size: int | None = None
    compression: Compression | None = field(init=False, repr=False)
    time: str | None = field(init=False, repr=False)
    latest: int | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.base is not None and self.keep_layers is not None:
            raise UsageError("-f and --keep-layers cannot be used together")
        for tag in self.tags or ():
            if normalise_tag(tag) is None:
                raise UsageError(f"{tag!r} is not a valid image name", where="--tag")
        if self.compress_kept and self.compress == "none":
            raise UsageError("--compress none and --compress-kept cannot be used together")
        if self.max_size is not None and self.max_size < 0:
            raise UsageError(f"{self.max_size} is not a valid size", where="--max-size")
        if self.max_layer_size is not None and self.max_layer_size < 1:
            raise UsageError(f"{self.max_layer_size} is not a valid size", where="--max-layer-size")
        if self.history not in ("keep", "drop"):
            raise UsageError(f"{self.history!r} is neither keep nor drop", where="--history")
        try:
            (self.message or "").encode("utf-8")
        except UnicodeEncodeError:
            raise UsageError("is not UTF-8", where="--message") from None
        object.__setattr__(self, "compression", parse_compression(self.compress))
        object.__setattr__(self, "time", parse_created(self.created))
        object.__setattr__(self, "latest", parse_clamp_mtime(self.clamp_mtime))


#: RFC 3339 as Go's time package reads it; the ranges are checked by datetime.
_RFC3339 = re.compile(
    r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?(?:Z|([+-]\d{2}):(\d{2}))", re.ASCII
)
#: What the builders of reproducible things go by. Source: reproducible-builds.org,
#: "SOURCE_DATE_EPOCH specification": seconds since 1970, digits alone.
EPOCH_VARIABLE = "SOURCE_DATE_EPOCH"


def parse_created(option: str) -> str | None:
    """Return the time that the option asks for; None for that of the source.

    Raises UsageError for a text that is not a valid time.
    """
    if option == "source":
        return None
    where = "--created"
    if option == "now":
        option = os.environ.get(EPOCH_VARIABLE, "")
        where = EPOCH_VARIABLE
        if not option:
            return _rfc3339(datetime.datetime.now(datetime.timezone.utc))
    moment, _ = _moment(option, where)
    return _rfc3339(moment) if option.isdigit() else option


def parse_clamp_mtime(option: str | None) -> int | None:
    """Return the latest time that `--clamp-mtime` leaves, in nanoseconds; None without the option.

    Raises UsageError for a text that is not a valid time, and where SOURCE_DATE_EPOCH is meant
    and not set.
    """
    if option is None:
        return None
    where = "--clamp-mtime"
    if option == EPOCH_VARIABLE:
        option = os.environ.get(EPOCH_VARIABLE, "")
        if not option:
            hint = "set it, or give a time: --clamp-mtime=TIME"
            raise UsageError(f"{EPOCH_VARIABLE} is not set", where=where, hint=hint)
        where = EPOCH_VARIABLE
    moment, fraction = _moment(option, where)
    latest = (moment - _EPOCH) // datetime.timedelta(seconds=1) * 10**9 + fraction
    if not 0 <= latest < YEAR_2262:
        raise UsageError(f"{option!r} is outside 1970 to 2262", where=where)
    return latest


_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def _moment(option: str, where: str) -> tuple[datetime.datetime, int]:
    """Return the moment that epoch seconds or a time in RFC 3339 stand for, and nanoseconds more.

    Raises UsageError for anything else; a variable (`where`) holds epoch seconds alone.
    """
    match = None if where == EPOCH_VARIABLE else _RFC3339.fullmatch(option)
    try:
        if option.isascii() and option.isdigit():
            return datetime.datetime.fromtimestamp(int(option), datetime.timezone.utc), 0
        if match and int((match[3] or "0")[1:] or 0) < 24 and int(match[4] or 0) < 60:
            text = f"{match[1]}{match[3] or '+00'}:{match[4] or '00'}"
            return datetime.datetime.fromisoformat(text), int((match[2] or "").ljust(9, "0"))
    except (ValueError, OverflowError, OSError):
        pass
    raise UsageError(
        f"{option!r} is not a valid time", where=where, hint="give RFC 3339 or epoch seconds"
    )


def _rfc3339(moment: datetime.datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
