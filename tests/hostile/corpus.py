"""All hostile archives, made when they are asked for; none of them is kept in the repository."""

from __future__ import annotations

from tests.hostile import archives, documents, limits, streams, tars, trees

CASES = (
    *tars.cases(),
    *trees.cases(),
    *archives.cases(),
    *documents.cases(),
    *limits.cases(),
    *streams.cases(),
)
