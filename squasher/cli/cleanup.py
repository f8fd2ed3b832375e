"""`--cleanup`: remove the source image from the daemon once the new one is there."""

from __future__ import annotations

from collections.abc import Sequence

from squasher.archive import daemon
from squasher.cli import console
from squasher.errors import SquasherError


def clean_up(name: str, before: str, after: Sequence[str]) -> None:
    """Remove the source image, unless it is the new one or still in use: that is a warning.

    `name` and `before` are its name, as it was given, and its ID.
    `after` are the IDs that the new one may have: docker's classic store takes the digest of the
    config, its containerd store that of the manifest.
    """
    try:
        known = [identity for identity in after if daemon.has(identity)]
        if not known:
            console.say(
                "warning: the source image is not removed: the daemon does not show the new one"
            )
        elif before not in known and (used := daemon.remove_unused(before, name)):
            console.say(f"warning: the source image is not removed: {'; '.join(used)}")
    except SquasherError as error:
        console.say(f"warning: the source image is not removed: {error}")
