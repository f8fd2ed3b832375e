"""The phases of a run, so that a fault can be planted in each: no test waits and hopes."""

from __future__ import annotations

from collections.abc import Callable
from pkgutil import resolve_name
from typing import Any
from unittest import mock

#: By phase, a function that runs in it; those of "hash" and "unpack" run in other threads.
PHASES = {
    "spool": "squasher.store._copied",
    "documents": "squasher.reader.read",
    "hash": "squasher.scan._check_plain",
    "walk": "squasher.scan._walk",
    "unpack": "squasher.scan._unpack",
    "merge": "squasher.tree.Tree.apply",
    "plan": "squasher.merge.Draft.plan",
    "compare": "squasher._squash.same_content",
    "compress": "squasher._squash.compress",
    "hash new": "squasher._squash._new_layer",
    "lay out": "squasher.writer.lay_out",
    "begin to write": "squasher.writer._reserve",
    "write": "squasher.writer._put",
    "finish": "os.fsync",
    "verify": "squasher.proof.prove",
    "name": "os.replace",
    "load": "squasher.daemon._client",
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
