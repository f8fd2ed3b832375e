"""The phases of a run, so that a fault can be planted in each: no test waits and hopes."""

from __future__ import annotations

from collections.abc import Callable
from pkgutil import resolve_name
from typing import Any
from unittest import mock

#: By phase, a function that runs in it; those of "hash" and "unpack" run in other threads.
PHASES = {
    "spool": "squasher.archive.source._copied",
    "documents": "squasher.archive.reader.read",
    "hash": "squasher.layers.read._check_plain",
    "walk": "squasher.layers.read._walk",
    "unpack": "squasher.layers.read._unpack",
    "merge": "squasher.layers.squash.apply",
    "plan": "squasher.layers.merge.Draft.plan",
    "compare": "squasher.layers.squash.same_content",
    "compress": "squasher.layers.repack.compress",
    "hash new": "squasher.layers.squash.stored_as",
    "lay out": "squasher.archive.lay_out.lay_out",
    "begin to write": "os.posix_fallocate",
    "write": "squasher.archive.output_file._put",
    "finish": "os.fsync",
    "verify": "squasher.verify.proof.prove",
    "name": "os.replace",
    "load": "squasher.archive.daemon._client",
}


def acting(phase: str, act: Callable[[], object]) -> Any:
    """Return a patch that has `act` called when the phase is entered first."""
    place, name = PHASES[phase].rsplit(".", 1)
    owner = resolve_name(place)
    real, pending = getattr(owner, name), [act]

    def entered(*arguments: Any, **options: Any) -> Any:
        if pending:
            pending.pop()()
        return real(*arguments, **options)

    return mock.patch.object(owner, name, entered)
