"""squasher.cli.report: text in, text out."""

from __future__ import annotations

import importlib.util
import io
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import click
import jsonschema
import pytest

import squasher
from squasher.cli import report, warnings
from squasher.cli.texts import columns
from squasher.errors import UsageError
from squasher.tar.entry import ImageWarning
from tests.builders import Dir, File, Whiteout, archive, layer

LAYERS = [
    layer(Dir(b"d"), File(b"d/f", b"x" * 3000)),
    layer(Dir(b"d"), File(b"d/f", b"y"), File(b"g", b"z" * 2000)),
    layer(Whiteout(b"g"), File(b"d/f", b"w")),
]


def squashed(layers: list[bytes], keep: int = 1, **options: object) -> squasher.SquashReport:
    source = archive(layers, **options)  # type: ignore[arg-type]
    return squasher.squash_archive(io.BytesIO(source), None, keep_layers=keep)


def shown(report_: squasher.SquashReport, width: int, **options: bool) -> list[str]:
    """Return the lines of the summary as a terminal without colours shows them."""
    return click.unstyle(report.summary(report_, width, **options)).splitlines()


def test_the_summary() -> None:
    done = squashed(LAYERS)
    lines = shown(done, 80)
    (image,) = done.images
    assert lines[0].split() == ["before", "size", "entries", "created", "by"]
    assert lines[1].split()[0] == image.before[0].digest.hex[:12]
    assert "kept: step 0" in lines[5]
    assert "squashed" in lines[6]
    assert f"image    {image.image.config.image_id}" in lines
    assert f"manifest {done.manifests[0]}" in lines
    assert "tags     example:latest" in lines
    assert "dropped  1 overwritten, 1 deleted, 0 already in the base" in lines
    assert "size     12.8 kB -> 7.7 kB (40 % saved)" in lines
    assert re.fullmatch(r"archive  .* kB in \d+\.\d s", lines[-1])


def test_who_squashes_every_release_anew_hears_of_updates(tmp_path: Path) -> None:
    """Once, whatever the number of images; not where there is nothing to save, or it is known."""
    line = "update   to see its cost as an update: squash inspect --onto PREVIOUS IMAGE"
    assert shown(squashed(LAYERS), 80).count(line) == 1
    assert line not in shown(squashed(LAYERS[:1]), 80)
    previous = tmp_path / "previous.tar"
    previous.write_bytes(archive(LAYERS[:2]))
    done = squasher.squash_archive(io.BytesIO(archive(LAYERS)), None, onto=str(previous))
    assert line not in shown(done, 80)
    assert "update   a host with the previous image fetches" in "\n".join(shown(done, 80))


def test_the_summary_fits_its_terminal() -> None:
    long = "x" * 300 + "\u65e5\u672c" * 50
    rows = [{"created_by": f"{n}{long}"} for n in range(3)]
    for width in (60, 80, 120):
        lines = shown(squashed(LAYERS, history=rows), width)
        fixed = [line for line in lines if not line.startswith("warning")]
        assert all(columns(line) <= max(80, width) for line in fixed)
        table = [line for line in lines if "xxx" in line]
        assert len(table) == 4
        assert all(width - 1 <= columns(line) <= width for line in table)


def test_only_what_matters_is_coloured() -> None:
    text = report.summary(squashed(LAYERS), 80)
    (row,) = [line for line in text.splitlines() if line.endswith("squashed\x1b[0m")]
    assert row.startswith("\x1b[32m")
    assert "\x1b[1mbefore" in text
    assert "kept: step 0" in [click.unstyle(line)[38:] for line in text.splitlines()]


def test_a_result_that_grew_says_so() -> None:
    images = squashed(LAYERS).images
    grown = replace(images[0], after=(*images[0].after, *images[0].before))
    done = replace(squashed(LAYERS), images=(grown,))
    assert any(re.search(r"\d+ % more\)$", line) for line in shown(done, 80))


def test_an_image_without_layers_onto_another_one(tmp_path: Path) -> None:
    """Its previous image has layers, and the new one hides what is in them."""
    previous = tmp_path / "previous.tar"
    previous.write_bytes(archive(LAYERS))
    done = squasher.squash_archive(io.BytesIO(archive([])), None, onto=str(previous))
    (line,) = [line for line in shown(done, 80) if line.startswith("size")]
    assert re.fullmatch(r"size     0 B -> .* kB \(all of it new\)", line)


def test_the_summary_of_an_image_that_passes_through() -> None:
    lines = shown(squashed(LAYERS, keep=2, tags=None), 80)
    assert any("nothing to squash" in line for line in lines)
    assert not any(line.startswith("before") for line in lines)
    assert "tags     none" in lines


def test_the_summary_of_a_dry_run_and_of_a_verbose_one() -> None:
    done = replace(squashed(LAYERS), profile=(("hash", 0.5), ("hash new", 12.3456)))
    lines = shown(done, 80, verbose=True, written=False)
    assert lines[-3].endswith(" s, not written")
    assert lines[-2:] == ["time     hash          0.500 s", "         hash new     12.346 s"]
    assert not any(line.startswith("time") for line in shown(done, 80))


def test_what_the_extra_would_have_saved_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    done = squashed(LAYERS)
    both = replace(done, images=done.images * 2, manifests=done.manifests * 2)
    for seconds, count in ((4.9, 0), (9.8, 1)):
        for library, missing in (("deflate", True), ("zlib_ng", False)):
            with monkeypatch.context() as patch:
                patch.setitem(sys.modules, library, None)
                patch.setattr("platform.machine", lambda: "x86_64")
                lines = shown(replace(both, profile=(("gzip", seconds),)), 80)
            said = [line for line in lines if line.startswith("notice   compressing took 9.8 s")]
            if missing or installed("deflate"):
                assert len(said) == count * missing


def installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def test_many_layers_are_not_all_shown() -> None:
    lines = shown(squashed([layer()] * 45, keep=0), 80)
    assert "  ... and 5 more" in lines
    lines = shown(squashed([layer(File(b"%d" % n)) for n in range(50)], keep=42), 80)
    assert "  ... and 10 more" in lines
    assert lines[lines.index("  ... and 2 more") + 1].endswith("  squashed")
    assert not any("more" in line for line in shown(squashed([layer()] * 40, keep=0), 80))


def test_several_images_have_their_names() -> None:
    both = replace(done := squashed(LAYERS), images=done.images * 2, manifests=done.manifests * 2)
    assert shown(both, 80).count("example:latest (linux/amd64)") == 2


def test_warnings_in_words() -> None:
    found = [ImageWarning("root-opaque", 1, b""), *[ImageWarning("ghost-whiteout", 0, b"a")] * 3]
    short = list(warnings.in_words(found))
    assert len(short) == 2
    assert short[0].endswith("layer 1, 'a' and 2 more")
    assert short[1].endswith("layer 2, ''")
    lines = shown(
        replace(done := squashed(LAYERS), images=(replace(done.images[0], warnings=tuple(found)),)),
        80,
        verbose=True,
    )
    assert [line[:25] for line in lines if "layer 1" in line] == [
        "warning  ghost-whiteout: ",
        *["         layer 1, 'a'"] * 3,
    ]
    assert len(list(warnings.in_words(found, verbose=True))) == 5


def test_every_kind_of_warning_has_its_words() -> None:
    from tests.conformance.case import KINDS

    assert warnings.kinds(",".join(sorted(KINDS))) == tuple(sorted(KINDS))
    assert [next(warnings.in_words([ImageWarning(kind, 0, b"a")])) for kind in KINDS]
    assert warnings.kinds("") == ()
    with pytest.raises(UsageError, match="'nonsense' is not a kind of warning"):
        warnings.kinds("root-opaque,nonsense")


def test_the_table_of_what_a_base_could_have_been() -> None:
    rows: list[dict[str, object]] = [
        {"created_by": "base"},
        {"created_by": "ENV", "empty_layer": True},
        {"created_by": "step"},
        {"created_by": "step"},
    ]
    source = archive(LAYERS, history=rows)
    with squasher.open_archive(io.BytesIO(source)) as opened:
        (image,) = opened.images
        lines = report.choices(image, 70).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["3", "2", "1", "-"]
    assert image.chain_ids[0].hex[:24] in lines[1]
    assert lines[2].split() == ["2", "ENV"]
    assert lines[3].endswith("step")
    assert image.chain_ids[2].hex[:24] in lines[4]


def test_the_table_where_nobody_knows_which_row_has_which_layer() -> None:
    source = archive(LAYERS, history=[{"created_by": "base"}])
    with squasher.open_archive(io.BytesIO(source)) as opened:
        (image,) = opened.images
        lines = report.choices(image, 70).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["-"] * 4
    assert [line.split()[1][:24] for line in lines[2:]] == [x.hex[:24] for x in image.chain_ids]
    assert all(line.endswith("(no history)") for line in lines[2:])


SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs" / "schema" / "report-1.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_the_document_keeps_its_schema(keep: int) -> None:
    odd = [layer(Dir(b"d"), File(b"d/f")), layer(File(b"d/\xff"), Whiteout(b"none")), layer()]
    done = squashed(odd, keep=keep, history=[{"created_by": "/bin/sh -c #(nop)  CMD"}] * 3)
    done = replace(done, profile=(("hash", 0.25),))
    document = json.loads(report.render(done, markdown=False))
    jsonschema.validate(document, SCHEMA)
    (image,) = document["images"]
    assert document["profile"] == {"hash": 0.25}
    assert image["layers_before"][0]["created_by"] == "/bin/sh -c #(nop)  CMD"
    assert image["size_before"] == sum(map(len, odd))
    assert image["squashed"] == (keep < 2)


def test_json_and_markdown() -> None:
    done = squashed([*LAYERS[:1], layer(File(b"d/h")), layer(File(b"i"))], tags=("a_b:1",))
    document = json.loads(report.render(done, markdown=False))
    assert str(done.manifests[0]) in json.dumps(document)
    assert document == report.to_json(done)
    text = report.render(done, markdown=True)
    assert text.startswith("### `a_b:1`\n")
    assert "| squashed |" in text
    assert "implicit" in text
    passed = report.render(squashed(LAYERS, keep=3, tags=None), markdown=True)
    assert passed.startswith("### `sha256:")
    assert "nothing to squash" in passed
