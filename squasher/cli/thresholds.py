"""What `squash inspect` can require of an image: thresholds, parsed and checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from squasher.cli import options

if TYPE_CHECKING:
    from squasher.analysis.inspection import Inspection


@dataclass(frozen=True, slots=True)
class Limit:
    """A threshold: the option, its value as typed, and as a number: a share of 1, or bytes."""

    option: str
    typed: str
    value: float


@dataclass(frozen=True, slots=True)
class Rule:
    """A threshold that was checked: whether it held, the figure that counts, what is wrong."""

    limit: Limit
    actual: float
    held: bool
    message: str


def parse_efficiency(typed: str) -> Limit:
    """Return the least efficiency that is allowed. Raises UsageError."""
    return Limit("--min-efficiency", typed, options.share("--min-efficiency", typed))


def parse_wasted(typed: str) -> Limit:
    """Return the most that may be wasted, bytes or a share. Raises UsageError."""
    value = options.percent(typed)
    if value is None:
        value = options.size("--max-wasted", typed, "give bytes, 20MB, 16MiB or 10%")
    return Limit("--max-wasted", typed, value)


def check(limit: Limit, inspection: Inspection) -> Rule:
    """Hold an image against a threshold; what is equal to it holds, as with dive."""
    dive = inspection.dive
    if limit.option == "--min-efficiency":
        message = f"efficiency {dive.efficiency:.6f}, below {limit.option} {limit.typed}"
        return Rule(limit, dive.efficiency, dive.efficiency >= limit.value, message)
    if limit.typed.endswith("%"):
        message = (
            f"{100 * dive.wasted_share:.4f} % wasted ({dive.wasted_bytes:,} of the"
            f" {dive.user_bytes:,} bytes in the upper layers), above {limit.option} {limit.typed}"
        )
        return Rule(limit, dive.wasted_share, dive.wasted_share <= limit.value, message)
    message = f"{dive.wasted_bytes:,} bytes wasted, above {limit.option} {limit.typed}"
    return Rule(limit, dive.wasted_bytes, dive.wasted_bytes <= limit.value, message)
