"""Fixtures over the real engines.

Without engines their tests skip, saying why; with SQUASHER_ENGINES=required they fail instead.
"""

import os
from typing import TypeVar

import pytest

from tests.engines.engines import Docker, Engine, Loader, claim, engines, loaders, places

AnyLoader = TypeVar("AnyLoader", bound=Loader)


@pytest.fixture(scope="session", autouse=True)
def _alone() -> None:
    """Wait until no other run uses these engines: every test empties them."""
    folder = places()[0].state.parent
    if folder.is_dir() and os.access(folder, os.W_OK):
        claim(folder)


@pytest.fixture(params=engines(), ids=lambda engine: engine.name)
def engine(request: pytest.FixtureRequest) -> Engine:
    """Give an engine that runs containers, emptied."""
    found: Engine = request.param
    return _ready(found)


@pytest.fixture(params=loaders(), ids=lambda loader: loader.name)
def loader(request: pytest.FixtureRequest) -> Loader:
    """Give an engine, or umoci, emptied."""
    found: Loader = request.param
    return _ready(found)


@pytest.fixture(params=[e for e in engines() if isinstance(e, Docker)], ids=lambda e: e.name)
def docker(request: pytest.FixtureRequest) -> Docker:
    """Give a dockerd, emptied."""
    found: Docker = request.param
    return _ready(found)


def _ready(engine: AnyLoader) -> AnyLoader:
    if reason := engine.place.missing():
        if os.environ.get("SQUASHER_ENGINES") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    engine.prune()
    return engine
