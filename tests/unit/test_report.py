"""squasher.report: text in, text out."""

from __future__ import annotations

import io
import json

import pytest

import squasher
from squasher import report
from squasher.errors import UsageError
from squasher.tarstream import Dispute
from tests.builders import Dir, File, Whiteout, archive, layer

LAYERS = [
    layer(Dir(b"d"), File(b"d/f", b"x" * 3000)),
    layer(Dir(b"d"), File(b"d/f", b"y"), File(b"g", b"z" * 2000)),
    layer(Whiteout(b"g"), File(b"d/f", b"w")),
]


def squashed(layers: list[bytes], keep: int = 1, **options: object) -> squasher.SquashReport:
    source = archive(layers, **options)  # type: ignore[arg-type]
    return squasher.squash_archive(io.BytesIO(source), None, keep_layers=keep)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1234, "1.2 kB"),
        (999_949, "999.9 kB"),
        (999_951, "1.0 MB"),
        (5_500_000_000, "5.5 GB"),
        (5_500_000_000_000, "5500.0 GB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert report.size(count) == text


def test_text_from_an_image_cannot_control_a_terminal() -> None:
    assert report.text("a\n  b\tc") == "a b c"
    assert report.text("\x1b[31m\u202e\ud800") == "\\x1b[31m\\u202e\\ud800"
    assert report.text("é") == "é"


def test_cutting() -> None:
    assert report.cut("12345", 5) == "12345"
    assert report.cut("123456", 5) == "1234…"
    assert report.cut("12", 0) == "…"


def test_the_summary() -> None:
    done = squashed(LAYERS)
    lines = report.summary(done, 80).splitlines()
    (image,) = done.images
    assert lines[0].split() == ["before", "size", "entries", "created", "by"]
    assert lines[1].split()[0] == image.before[0].digest.hex[:12]
    assert "kept: step 0" in lines[5]
    assert "squashed" in lines[6]
    assert f"image      {image.image.config.image_id}" in lines
    assert f"manifest   {done.manifests[0]}" in lines
    assert "tags       example:latest" in lines
    assert "went       1 overwritten, 1 deleted, 0 already in the base" in lines
    assert all(len(line) <= 80 for line in lines[:7])


def test_the_summary_of_an_image_that_passes_through() -> None:
    text = report.summary(squashed(LAYERS, keep=2, tags=None), 80)
    assert "nothing to squash" in text
    assert "before" not in text
    assert "tags       none" in text


def test_many_layers_are_not_all_shown() -> None:
    text = report.summary(squashed([layer()] * 45, keep=0), 80)
    assert "  ... and 5 more" in text


def test_disputes() -> None:
    found = [Dispute("root-opaque", 1, b""), *[Dispute("ghost-whiteout", 0, b"a")] * 3]
    short = list(report.disputes(found))
    assert len(short) == 2
    assert short[0].endswith("layer 1, 'a' and 2 more")
    assert short[1].endswith("layer 2, ''")
    assert len(list(report.disputes(found, verbose=True))) == 5


def test_every_kind_of_warning_has_its_words() -> None:
    from tests.conformance.case import KINDS

    assert report.kinds(",".join(sorted(KINDS))) == tuple(sorted(KINDS))
    assert [next(report.disputes([Dispute(kind, 0, b"a")])) for kind in KINDS]
    assert report.kinds("") == ()
    with pytest.raises(UsageError, match="'nonsense' is no kind of warning"):
        report.kinds("root-opaque,nonsense")


def test_the_table_of_what_a_base_could_have_been() -> None:
    rows: list[dict[str, object]] = [
        {"created_by": "base"},
        {"created_by": "ENV", "empty_layer": True},
    ]
    source = archive(LAYERS, history=rows)
    with squasher.open_archive(io.BytesIO(source)) as opened:
        (image,) = opened.images
        lines = report.choices(image, 70).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["3", "2", "1", "0"]
    assert image.chain_ids[0].hex[:24] in lines[1]
    assert lines[2].split() == ["2", "ENV"]
    assert lines[3].endswith("(no history)")
    assert image.chain_ids[2].hex[:24] in lines[4]


def test_json_and_markdown() -> None:
    done = squashed([*LAYERS[:1], layer(File(b"d/h")), layer(File(b"i"))], tags=("a_b:1",))
    document = json.loads(report.render(done, markdown=False))
    assert str(done.manifests[0]) in json.dumps(document)
    assert document == report.to_json(done)
    text = report.render(done, markdown=True)
    assert text.startswith("### a\\_b:1\n")
    assert "| squashed |" in text
    assert "implicit" in text
    passed = report.render(squashed(LAYERS, keep=3, tags=None), markdown=True)
    assert passed.startswith("### sha256:")
    assert "nothing to squash" in passed
