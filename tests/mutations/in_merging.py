"""Faults in what merging is given, in the answers it gets, and in the plan that it makes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from squasher.layers.plan import MergePlan, Piece, Span
from squasher.layers.tree import Tree
from tests.mutations.fault import Fault
from tests.mutations.in_layers import NEEDLESS, corpus

Given = tuple[Tree, Tree, int]
Pieces = Sequence[Piece]


# ---------------------------------------------------------------- what merging starts from


def merging(name: str, change: Callable[[Tree, Tree, int], Given]) -> Fault:
    return Fault(name, "merge", lambda given: change(*given), always=False)


# ---------------------------------------------------------------- which content is the same

Answer = Callable[[set[Any], Collection[Any]], set[Any]]


def other(answer: Answer) -> Callable[[set[Any], Collection[Any]], set[Any] | None]:
    """Return the fault that gives `answer` where it is another one."""

    def plant(same: set[Any], asked: Collection[Any]) -> set[Any] | None:
        changed = answer(set(same), asked)
        return changed if changed != set(same) else None

    return plant


# ---------------------------------------------------------------- the plan


def planning(name: str, change: Callable[[Pieces], Pieces | None], *, always: bool = True) -> Fault:
    def plant(plan: MergePlan) -> MergePlan | None:
        pieces = change(plan.pieces)
        if pieces is None:
            return None
        return replace(plan, pieces=tuple(pieces), size=sum(map(size, pieces)))

    return Fault(name, "plan", plant, always=always)


def size(piece: Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else piece.stop - piece.start


def span(piece: Piece) -> bool:
    return isinstance(piece, Span)


def literal(piece: Piece) -> bool:
    return isinstance(piece, bytes) and any(piece)


def edit(
    which: Callable[[Piece], bool], change: Callable[[Any], Pieces]
) -> Callable[[Pieces], Pieces | None]:
    """Put others in the place of the first such piece."""

    def plant(pieces: Pieces) -> Pieces | None:
        for at, piece in enumerate(pieces):
            if which(piece):
                return [*pieces[:at], *change(piece), *pieces[at + 1 :]]
        return None

    return plant


def of_another_layer(pieces: Pieces) -> Pieces | None:
    """Take the first span from a layer that another span is of."""
    spans = [piece for piece in pieces if isinstance(piece, Span)]
    for at, piece in enumerate(pieces):
        for one in spans:
            if isinstance(piece, Span) and one.source != piece.source and one.stop >= piece.stop:
                return [*pieces[:at], replace(piece, source=one.source), *pieces[at + 1 :]]
    return None


def content_before_header(pieces: Pieces) -> Pieces | None:
    for at, (one, two) in enumerate(itertools.pairwise(pieces)):
        if (
            isinstance(one, bytes)
            and isinstance(two, Span)
            and int(one[-388:-377].strip(b"\0") or b"0", 8)
        ):
            return [*pieces[:at], two, one, *pieces[at + 2 :]]
    return None


IN_MERGING = (
    merging("the base is the whole tree", lambda base, final, first: (final, final, first)),
    merging("nothing comes above the base", lambda base, final, first: (base, base, first)),
    merging("the trees are exchanged", lambda base, final, first: (final, base, first)),
    merging("the base is empty", lambda base, final, first: (Tree(), final, first)),
    merging("a layer more is below", lambda base, final, first: (base, final, first + 1)),
    merging("all layers are below", lambda base, final, first: (base, final, 99)),
    Fault(
        "no layer is below",
        "merge",
        lambda given: (given[0], given[1], 0),
        corpus("h05"),
        NEEDLESS,
    ),
    Fault("all content is the same", "same", other(lambda same, asked: set(asked))),
    Fault(
        "same and other content exchanged",
        "same",
        other(lambda same, asked: {*asked} - same),
        always=False,
    ),
    Fault(
        "no content is the same",
        "same",
        other(lambda same, asked: set()),
        corpus("d1-file"),
        NEEDLESS,
    ),
    planning("a span is lost", edit(span, lambda piece: ())),
    planning("a span comes twice", edit(span, lambda piece: (piece, piece))),
    planning(
        "a span begins a block late", edit(span, lambda x: (replace(x, start=x.start + 512),))
    ),
    planning("a span ends a block early", edit(span, lambda x: (replace(x, stop=x.stop - 512),))),
    planning("a span is of another layer", of_another_layer, always=False),
    planning("a literal is lost", edit(literal, lambda piece: ())),
    planning("a literal comes twice", edit(literal, lambda piece: (piece, piece))),
    planning("a literal is zeros", edit(literal, lambda piece: (bytes(len(piece)),))),
    planning("content comes before its header", content_before_header),
)
