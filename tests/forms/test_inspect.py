"""`squash inspect`: tables, the document, thresholds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import squasher
from squasher.cli.texts import columns
from tests.builders import Dir, File, Hardlink, Opaque, Whiteout, archive, layer
from tests.forms.command import Done, done, failed, squash
from tests.forms.shapes import LAYERS, config_of, plain

ROOT = Path(__file__).parent.parent.parent
DEMO = ROOT / "testdata" / "demo.tar"
SCHEMA = json.loads((ROOT / "docs/schema/inspect-1.json").read_text("utf-8"))

WASTE = archive(
    [
        layer(Dir(b"d"), File(b"d/kept", b"k" * 100), File(b"d/big", b"b" * 5000)),
        layer(Dir(b"d"), File(b"d/big", b"B" * 4000), File(b"d/gone", b"g" * 3000)),
        layer(Dir(b"d"), Whiteout(b"d/gone"), File(b"d/new", b"n" * 10)),
        layer(File(b"last", b"l")),
    ]
)
CLEAN = archive([layer(File(b"a", b"1")), layer(File(b"b", b"2"))])


def inspect(*words: str | Path, stdin: bytes = b"") -> Done:
    return squash("inspect", *words, stdin=stdin)


def text(result: Done) -> str:
    return done(result).out.decode()


def document(*words: str | Path, stdin: bytes = b"") -> dict[str, Any]:
    found = json.loads(done(inspect("--json", *words, stdin=stdin)).out)
    jsonschema.validate(found, SCHEMA, jsonschema.Draft202012Validator)
    assert isinstance(found, dict)
    return found


def test_every_base_leaves_what_is_said() -> None:
    """The size of the squashed layer is what squash then writes (contract, section 3)."""
    (image,) = document(stdin=WASTE)["images"]
    assert [base["kept_layers"] for base in image["bases"]] == [0, 1, 2, 3]
    for base in image["bases"]:
        words = ("--keep-layers", str(base["kept_layers"]), "--report", "-", "--dry-run")
        report = json.loads(done(squash(*words, stdin=WASTE)).out)["images"][0]
        assert base["squashed_layer_size"] == report["layers_after"][-1]["size"]
        assert base["image_size"] == report["size_after"]
    assert sum(base["best"] for base in image["bases"]) == 1


@pytest.mark.parametrize("width", ["80", "120"])
def test_tables_fit(width: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.chdir(DEMO.parent)  # a line to copy is as long as the path in it
    for words, given in (((DEMO.name,), b""), (("-",), WASTE), (("--all", "-v", "-"), WASTE)):
        shown = text(inspect(*words, stdin=given)).splitlines()
        assert max(map(len, shown)) <= int(width)
        assert [line for line in shown if line.startswith("*")]


def test_what_is_wasted_is_listed() -> None:
    shown = text(inspect(stdin=WASTE))
    assert "'/d/big'" in shown
    assert "'/d/gone'" in shown
    assert "squash --keep-layers " in shown


def test_where_nothing_is_wasted() -> None:
    shown = text(inspect(stdin=CLEAN))
    assert "efficiency 100.00 %, 0 B wasted" in shown
    assert "folder, with all below it" not in shown


def test_long_tables_are_cut_and_can_be_had_whole() -> None:
    many = archive(
        [
            layer(*(File(b"%03d/%s" % (i, b"n" * 200), b"x" * 9) for i in range(60))),
            *(layer(Opaque(b"%03d" % i), File(b"%03d/new" % i)) for i in range(60)),
        ]
    )
    short, whole = text(inspect(stdin=many)), text(inspect("--all", stdin=many))
    assert "more (--all)" in short
    assert "more (--all)" not in whole
    assert len(whole.splitlines()) > len(short.splitlines())
    assert "…" in short  # a long path shows both its ends
    few, all_ = document(stdin=many), document("--all", stdin=many)
    assert len(json.dumps(all_)) > len(json.dumps(few))


def test_several_images_are_shown_and_one_can_be_picked(tmp_path: Path) -> None:
    both = tmp_path / "both.tar"
    images = []
    for name, data in (("one:1", WASTE), ("two:2", CLEAN)):
        path = tmp_path / f"{name[:3]}.tar"
        path.write_bytes(data)
        images.append(path)
    with squasher.open_archive(images[0]) as one, squasher.open_archive(images[1]) as two:
        pair = []
        for name, found in (("one:1", one), ("two:2", two)):
            options = squasher.Options(tags=(name,), keep_layers=1)
            pair.append(squasher.squash(found.images[0], options=options).image)
        squasher.write(pair, both)
    shown = text(inspect(both))
    assert "one:1" in shown
    assert "two:2" in shown
    assert "--image one:1" in shown
    assert "one:1" not in text(inspect("--image", "two:2", both))
    assert len(document(both)["images"]) == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--min-efficiency", "0.99"), "efficiency 0."),
        (("--min-efficiency", "100%"), "efficiency 0."),
        (("--max-wasted", "0"), "bytes wasted, above --max-wasted 0"),
        (("--max-wasted", "1kB"), "bytes wasted, above --max-wasted 1kB"),
        (("--max-wasted", "1%"), "% wasted ("),
    ],
)
def test_a_threshold_that_is_missed(words: tuple[str, ...], says: str) -> None:
    for quiet in ((), ("-q",)):
        result = inspect(*words, *quiet, stdin=WASTE)
        assert result.code == 1
        assert says in result.err
        assert bool(result.out) == (not quiet)
    checked = json.loads(inspect("--json", *words, stdin=WASTE).out)
    jsonschema.validate(checked, SCHEMA)
    assert checked["images"][0]["rules"]


def test_thresholds_that_hold() -> None:
    words = ("--min-efficiency", "0.1", "--max-wasted", "1MiB")
    assert document(*words, stdin=WASTE)["images"][0]["rules"]
    assert inspect("-q", *words, stdin=WASTE).out == b""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--min-efficiency", "2"), "'2' is not a valid share"),
        (("--min-efficiency", "good"), "'good' is not a valid share"),
        (("--max-wasted", "much"), "'much' is not a valid size"),
        (("--max-wasted", "1.5"), "'1.5' is not a valid size"),
        (("--max-size", "-1"), "-1 is not a valid size"),
        (("-q", "-v"), "cannot be used together"),
        (("--json", "--html", "-"), "stdout already takes the document"),
        (("--image", ""), "--image: the name is empty"),
        (("--platform", ""), "--platform: the name is empty"),
        (("--tmp-dir", ""), "--tmp-dir: the name is empty"),
    ],
)
def test_usage(words: tuple[str, ...], says: str) -> None:
    assert says in failed(inspect(*words, stdin=WASTE), 2)


def test_refusals() -> None:
    assert "unpacks to more than 9 bytes" in failed(inspect("--max-size", "9", stdin=WASTE), 3)
    failed(inspect(stdin=b"x" * 2000), 3)
    failed(inspect("--image", "none", stdin=WASTE), 4)
    damaged = WASTE.replace(b"k" * 100, b"K" * 100)
    assert "layer 1 of 4: blob: expected" in failed(inspect(stdin=damaged), 3)


def test_a_layer_that_cannot_be_applied_is_named() -> None:
    broken = archive([layer(Dir(b"d")), layer(Hardlink(b"h", b"none"))])
    assert "stdin: layer 2 of 2: " in failed(inspect(stdin=broken), 3)


def test_a_command_for_an_archive_that_looks_like_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-x.tar").write_bytes(WASTE)
    assert " ./-x.tar -o " in done(squash("inspect", "--", "-x.tar")).out.decode()


def test_where_squashing_saves_nothing() -> None:
    one = archive([layer(File(b"a", b"1"))], history=[])
    assert "Squashing saves nothing, whatever is kept." in text(inspect(stdin=one))
    none = archive([])
    assert "keep last layer kept" not in text(inspect(stdin=none))


def test_a_long_path_of_wide_letters_is_cut_at_its_columns() -> None:
    wide = "\N{CJK UNIFIED IDEOGRAPH-5C71}" * 60
    given = archive([layer(File(wide.encode(), b"x")), layer(File(wide.encode(), b"yy"))])
    for line in text(inspect(stdin=given)).splitlines():
        assert columns(line) <= 80


def test_secrets_are_named_and_masked(tmp_path: Path) -> None:
    rows = [
        {"created_by": "ADD base"},
        {"created_by": "ARG API_TOKEN=hush", "empty_layer": True},
        {"created_by": "RUN |1 API_TOKEN=hush /bin/sh -c make # buildkit", "comment": "TOKEN=hush"},
        {"created_by": "RUN git clone https://me:hush@x.example/y"},
    ]
    document = config_of(LAYERS[:3], history=rows)
    document["config"]["Env"] = ["PATH=/bin", "DB_PASSWORD=hush"]
    image = plain(document, LAYERS[:3])
    found = done(inspect("--json", "--html", tmp_path / "page", stdin=image)).out.decode()
    jsonschema.validate(json.loads(found), SCHEMA, jsonschema.Draft202012Validator)
    shown = text(inspect("--all", stdin=image))
    page = (tmp_path / "page").read_text("utf-8")
    assert "hush" not in found + shown + page
    (one,) = json.loads(found)["images"]
    assert [(x["history_row"], x["shown"], x["most_kept_layers"]) for x in one["secrets"]] == [
        (None, "DB_PASSWORD=***", None),
        (1, "API_TOKEN=***", 0),
        (2, "API_TOKEN=***", 1),
        (2, "TOKEN=***", 1),
        (3, "https://me:***@", 1),
    ]
    for line in (
        "DB_PASSWORD=*** in the environment: it stays: build again without it",
        "API_TOKEN=*** in row 3 of the history: --history drop removes it, with --keep-layers 1 or",
    ):
        assert line in shown
        assert line in page
    dropped = done(squash("--keep-layers", "1", "--history", "drop", stdin=image)).out
    assert b"make" not in dropped
    assert b"git clone" not in dropped
    assert b"ARG API_TOKEN=hush" in dropped  # its row is below that of the lowest squashed layer
    assert b"API_TOKEN" not in done(squash("--history", "drop", stdin=image)).out


def test_many_secrets_are_cut() -> None:
    document = config_of(LAYERS[:2])
    document["config"]["Env"] = [f"TOKEN_{n}=x" for n in range(50)]
    image = plain(document, LAYERS[:2])
    assert "... and 10 more (--all)" in text(inspect(stdin=image))
    assert text(inspect("--all", stdin=image)).count("TOKEN_") == 50
