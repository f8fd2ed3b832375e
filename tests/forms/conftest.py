"""Fixtures of the tests of forms."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.forms.samples import IMAGE


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Return the path of the sample."""
    path = tmp_path / "image.tar"
    path.write_bytes(IMAGE)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return an empty folder for results."""
    path = tmp_path / "out"
    path.mkdir()
    return path
