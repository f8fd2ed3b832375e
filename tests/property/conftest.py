"""How much hypothesis tries: little and always the same, or `--hypothesis-profile thorough`."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "squasher", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.register_profile(
    "thorough",
    settings.get_profile("squasher"),
    max_examples=20_000,
    derandomize=False,
    print_blob=True,
)


def pytest_configure(config: pytest.Config) -> None:
    """Take our own profile where none is asked for."""
    if not config.getoption("--hypothesis-profile"):
        settings.load_profile("squasher")
