"""A fixture for tests of an image: its root filesystem, without an engine.

Copy this file into the folder of your tests, and run `pytest --image app.tar`. The option takes
what IMAGE of squash can be, also `docker-daemon:app:latest`.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import squasher


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the image from the command line."""
    parser.addoption("--image", help="the image to test, as the command squash takes it")


@pytest.fixture(scope="session")
def image_report(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[squasher.SquashReport, Path]:
    """Squash all layers of the image into one, once for all tests; give report and archive."""
    image = request.config.getoption("--image")
    if image is None:
        pytest.skip("no --image")
    location = squasher.parse_location(image)
    squashed = tmp_path_factory.mktemp("image") / "squashed.tar"
    report = squasher.squash_archive(
        location.path if location.kind == "path" else location, squashed, compress="none"
    )
    return report, squashed


@pytest.fixture
def root(image_report: tuple[squasher.SquashReport, Path]) -> Iterator[tarfile.TarFile]:
    """Give the root filesystem of the image as a tar: one layer, each path once, no whiteouts."""
    report, squashed = image_report
    digest = report.images[0].after[0].digest.hex
    with (
        tarfile.open(squashed) as outer,
        tarfile.open(fileobj=outer.extractfile(f"blobs/sha256/{digest}")) as layer,
    ):
        yield layer
