"""Options of the whole suite."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the number of random images that tests/conformance squashes."""
    parser.addoption(
        "--random-images",
        type=int,
        default=100,
        metavar="N",
        help="squash N random images at every base (default: 100)",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give every test that asks for an `image_seed` as many as the option says."""
    if "image_seed" in metafunc.fixturenames:
        metafunc.parametrize("image_seed", range(metafunc.config.getoption("--random-images")))
