"""The time of the result: --created."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from tests.forms import result
from tests.forms.command import done, failed, squash
from tests.forms.samples import (
    TWO,
)
from tests.forms.shapes import (
    CREATED,
    LAYERS,
    config_of,
    plain,
)


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("source", CREATED),
        ("2020-02-29T12:00:00Z", "2020-02-29T12:00:00Z"),
        ("2020-02-29T12:00:00.123456789+01:30", "2020-02-29T12:00:00.123456789+01:30"),
        ("0", "1970-01-01T00:00:00Z"),
        ("1700000000", "2023-11-14T22:13:20Z"),
        ("now", "2001-09-09T01:46:40Z"),
    ],
)
def test_created(option: str, expected: str, monkeypatch: pytest.MonkeyPatch, image: Path) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    config = result.read(done(squash("--created", option, image)).out).one.config
    assert config["created"] == config["history"][-1]["created"] == expected
    assert config["history"][0]["created"] == CREATED


def test_now_is_one_time_for_all_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    found = result.read(done(squash("--created", "now", stdin=TWO)).out).images
    assert len(found) == 2
    assert len({image.config["created"] for image in found}) == 1


def test_created_now_is_the_clock(monkeypatch: pytest.MonkeyPatch, image: Path) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    before = datetime.datetime.now(datetime.timezone.utc)
    config = result.read(done(squash("--created", "now", image)).out).one.config
    made = datetime.datetime.fromisoformat(config["created"].replace("Z", "+00:00"))
    assert before <= made <= datetime.datetime.now(datetime.timezone.utc)


def test_created_that_is_absent_stays_absent() -> None:
    config = config_of()
    del config["created"]
    image = plain(config, LAYERS)
    found = result.read(done(squash(stdin=image)).out).one.config
    assert "created" not in found
    assert "created" not in found["history"][-1]
    found = result.read(done(squash("--created", "0", stdin=image)).out).one.config
    assert found["created"] == found["history"][-1]["created"] == "1970-01-01T00:00:00Z"


@pytest.mark.parametrize("value", ["soon", "-1", "1.5", "9" * 30, "2024-01-01T00:00:00Z"])
def test_a_malformed_source_date_epoch(
    value: str, monkeypatch: pytest.MonkeyPatch, image: Path
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", value)
    line = failed(squash("--created", "now", image), 2)
    assert line.startswith("SOURCE_DATE_EPOCH: ")
    done(squash(image))
