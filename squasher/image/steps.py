"""The steps of a build, as BuildKit's provenance has them: which image the last one stands on.

Strangers wrote them: what has another shape than BuildKit gives it is as if it were not there.

Source: BuildKit, solver/llbsolver/provenance/buildconfig.go, solver/pb/ops.proto and json.go.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

#: What the source of an image begins with; others are local folders, git, http.
_IMAGES = ("docker-image://", "oci-layout://")
_INDEX = re.compile("[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Source:
    """Where the steps begin: an image, "" for FROM scratch, and digests of its blobs if told."""

    identifier: str = ""
    layers: tuple[tuple[str, ...], ...] = ()


def inside(value: Any, *path: str) -> Any:
    """Return the member that `path` leads to; None if there is none."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def base_of_steps(steps: Any, layers: Any) -> Source | None:
    """Return what the root filesystem of the last step begins with; None if that is not told.

    Each step is followed to the one whose root it changes. O(steps).
    """
    table = {
        step["id"]: step
        for step in (steps if isinstance(steps, list) else ())
        if isinstance(inside(step, "id"), str)
    }
    last = next((x for x in reversed(table.values()) if inside(x, "op", "Op") == {}), None)
    reference = _input(last, 0)
    for _ in table:
        if reference is None or reference == "":
            break
        name, _, index = reference.rpartition(":")
        step = table.get(name)
        identifier = inside(step, "op", "Op", "source", "identifier")
        if isinstance(identifier, str):
            known = identifier.startswith(_IMAGES)
            return Source(identifier, _chains(inside(layers, reference))) if known else None
        reference = _below(step, int(index)) if _INDEX.fullmatch(index) else None
    return Source() if reference == "" else None


def _below(step: Any, output: int) -> str | None:
    """Return the output that `output` of a step changes; "" for none, None if not told."""
    kinds = inside(step, "op", "Op")
    if mounts := _list(kinds, "exec", "mounts"):
        return _input(step, _of_output(mounts, output))
    if actions := _list(kinds, "file", "actions"):
        at = _of_output(actions, output)
        count = len(_list(step, "inputs"))
        for _ in actions:  # an action may change what another one makes
            if at is None or at < count:
                break
            at = _number(actions[at - count], "input") if at - count < len(actions) else None
        return _input(step, at)
    if merged := _list(kinds, "merge", "inputs"):
        return _input(step, _number(merged[0], "input"))
    return None


def _list(value: Any, *path: str) -> list[Any]:
    found = inside(value, *path)
    return found if isinstance(found, list) else []


def _of_output(parts: list[Any], output: int) -> int | None:
    """Return which input the part of a step that makes `output` changes; -1 for none."""
    for part in parts:
        if _number(part, "output") == output:
            return _number(part, "input")
    return None


def _number(value: Any, key: str) -> int | None:
    """Return a number; BuildKit leaves out zeros."""
    found = value.get(key, 0) if isinstance(value, dict) else None
    return found if isinstance(found, int) else None


def _input(step: Any, at: int | None) -> str | None:
    """Return an input of a step by its position; "" for -1, which is FROM scratch."""
    inputs = _list(step, "inputs")
    if at == -1:
        return ""
    if at is None or not 0 <= at < len(inputs) or not isinstance(inputs[at], str):
        return None
    found: str = inputs[at]
    return found


def _chains(value: Any) -> tuple[tuple[str, ...], ...]:
    """Return the blobs of each list of descriptors."""
    return tuple(
        tuple(str(inside(descriptor, "digest")) for descriptor in chain)
        for chain in (value if isinstance(value, list) else ())
        if isinstance(chain, list)
    )
