"""What may not be: images that engines disagree about, updates that leave too much dead weight."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from squasher.errors import PolicyError
from squasher.layers.result import Squashed
from squasher.layers.words import KIND as DESCRIBES
from squasher.tar.paths import show


def check_dead(name: str, done: Iterable[Squashed], most: float) -> None:
    """Raise PolicyError if a share above `most` of a previous image is replaced or deleted."""
    for squashed in done:
        if squashed.update is not None and squashed.update.dead > most:
            raise PolicyError(
                f"{squashed.update.dead:.0%} of the previous image is replaced or deleted; the"
                f" limit is {most:.0%}",
                where=_where(name, squashed, "--max-dead"),
                hint="make a full image again, without --onto",
            )


def check_strict(name: str, done: Iterable[Squashed], kinds: Collection[str]) -> None:
    """Raise PolicyError for a warning of one of `kinds`; () stands for all."""
    for squashed in done:
        for warning in squashed.warnings:
            if not kinds or warning.kind in kinds:
                what = f"engines disagree about layer {warning.layer + 1}"
                if warning.kind == DESCRIBES:
                    what = "it describes layers that are squashed"
                raise PolicyError(
                    f"{what}: {warning.kind}: {show(warning.path)}",
                    where=_where(name, squashed, "--strict"),
                )


def _where(name: str, squashed: Squashed, option: str) -> str:
    return ": ".join(filter(None, (name, squashed.image.label, option)))
