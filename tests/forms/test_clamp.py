"""`--clamp-mtime`: which times change, which entries it spares, what says so; the rule M9."""

from __future__ import annotations

import json
import py_compile
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import squasher
from squasher.layers.apply import apply
from squasher.layers.options import parse_clamp_mtime
from squasher.tar.entry import Changeset, Entry
from squasher.tar.walk import LayerWalk
from tests.builders import (
    SECOND,
    Char,
    Dir,
    Fifo,
    File,
    Hardlink,
    Opaque,
    Sparse,
    Symlink,
    Whiteout,
    archive,
    layer,
)
from tests.forms import result
from tests.forms.command import done, failed, squash

T = 1_600_000_000
EARLY, LATE, LATER = (T - 1) * SECOND, T * SECOND + 1, 1_700_000_000 * SECOND + 7
LIMIT = f"--clamp-mtime={T}"
SCHEMAS = Path(squasher.__file__).parent.parent / "docs/schema"
SCHEMA = json.loads((SCHEMAS / "report-1.json").read_text())
#: One of each kind, all too late, in every way to say a time.
ALL = layer(
    Dir(b"./", mtime=LATE, mode=0o700),
    Dir(b"d", mtime=LATE, mode=0o2755),
    File(b"d/" + b"n" * 150, b"long", mtime=LATER, xattrs={b"user.a": b"1"}),
    File(b"d/early", b"x", mtime=EARLY),
    File(b"d/exact", b"x", mtime=T * SECOND),
    File(b"d/gnu", b"g", mtime=LATE + SECOND, dialect="gnu", uid=3_000_000),
    File(b"d/h1", b"hard", mtime=LATER),
    Hardlink(b"d/h2", b"d/h1", mtime=LATER),
    Sparse(b"d/sparse", 1 << 20, [(4096, b"s" * 512)], mtime=LATE),
    Symlink(b"d/s", b"early", mtime=LATER),
    Char(b"d/zero", 1, 5, mtime=LATER),
    Fifo(b"d/pipe", mtime=LATER),
    File(b"implied/by/f", b"i", mtime=LATER),
)
BASE = layer(Dir(b"etc", mtime=LATER), File(b"etc/base", b"kept", mtime=LATER))


def entries(tar: bytes) -> dict[bytes, Entry]:
    walk = LayerWalk(0)
    walk.feed(tar)
    changes = walk.finish()
    return dict(zip(changes.paths, changes.entries, strict=True))


def clamped(*words: str | Path, layers: list[bytes]) -> dict[bytes, Entry]:
    """Return what the new layer has, once `--verify` has taken it."""
    ended = done(squash(LIMIT, "--verify", *words, stdin=archive(layers)))
    return entries(result.read(ended.out).one.layers[-1])


def test_every_kind_of_entry() -> None:
    before = entries(ALL)
    after = clamped("--keep-layers", "1", layers=[BASE, ALL, layer(File(b"last", mtime=LATER))])
    implied = {b"implied", b"implied/by"}
    assert after.keys() == before.keys() | implied | {b"last"}
    for path, x in after.items():
        assert x.mtime == {b"d/early": EARLY}.get(path, T * SECOND), path
        assert not x.flags & 1, path  # plain headers, no PAX record of the time that was
        if path in before:
            said = before[path]
            assert (x.kind, x.owner, x.xattrs, x.size) == (
                said.kind,
                said.owner,
                said.xattrs,
                said.size,
            )
    # What only its time needed an extended header for has none any more.
    assert {after[path].headers_size for path in (b"d/h1", b"d/s", b"last")} == {512}


def test_the_kept_layer_stays_and_what_is_early_passes_through() -> None:
    early = layer(File(b"early", b"x", mtime=EARLY), File(b"late", mtime=LATER))
    image = archive([BASE, early, layer(File(b"z", mtime=EARLY))])
    kept, new = result.read(done(squash(LIMIT, "--keep-layers", "1", stdin=image)).out).one.layers
    assert kept == BASE
    assert new.startswith(early[:1024])


def test_a_base_directory_that_is_written_again() -> None:
    """M1 c: its attributes are the base's, its time is one of the new layer."""
    lower = layer(Dir(b"d", mtime=LATER), File(b"d/f", b"1", mtime=LATER))
    links = layer(Hardlink(b"h", b"d/f", mtime=LATER))
    more = layer(File(b"g", mtime=EARLY))
    after = clamped("--keep-layers", "1", layers=[lower, links, more])
    assert {path: x.mtime for path, x in after.items()} == {
        b"d": T * SECOND,
        b"d/f": T * SECOND,
        b"g": EARLY,
        b"h": T * SECOND,
    }


def test_the_time_of_a_folder_that_only_a_whiteout_makes() -> None:
    empty = layer(Whiteout(b"a/x", mtime=LATER), Opaque(b"b", mtime=LATER))
    after = clamped(layers=[empty, layer(File(b"f"))])
    assert after[b"a"].mtime == after[b"b"].mtime == T * SECOND


def test_what_differs_from_the_base_by_late_times_alone_costs_nothing() -> None:
    again = layer(Dir(b"etc", mtime=LATE), File(b"etc/base", b"kept", mtime=LATE))
    assert clamped("--keep-layers", "1", layers=[BASE, again, again]) == {}
    # An early time is not a late one.
    early = layer(Dir(b"etc", mtime=LATE), File(b"etc/base", b"kept", mtime=EARLY))
    after = clamped("--keep-layers", "1", layers=[BASE, early, again, early])
    assert after[b"etc/base"].mtime == EARLY


@pytest.mark.parametrize("packed", [(), (0, 1)])
def test_an_update_costs_what_changed(packed: tuple[int, ...], tmp_path: Path) -> None:
    """Two builds of the same files, on a base that is later than TIME itself."""

    def built(mtime: int, *more: Any) -> bytes:
        parts = [Dir(b"app"), File(b"app/a", b"a" * 5000), *more]
        return layer(*(replace(part, mtime=mtime) for part in parts))

    previous, out = tmp_path / "1.0.tar", tmp_path / "1.1.tar"
    previous.write_bytes(archive([BASE, built(LATE)], gzip_layers=packed))
    image = archive([BASE, built(LATER, File(b"app/b", b"b"))], gzip_layers=packed)
    words = ("--onto", previous, LIMIT, "--verify", "--report", tmp_path / "r.json")
    done(squash(*words, "-o", out, stdin=image))
    *_, new = result.read(out.read_bytes()).one.layers
    assert {path: x.mtime for path, x in entries(new).items()} == {
        b"app": T * SECOND,
        b"app/b": T * SECOND,
    }
    document = json.loads((tmp_path / "r.json").read_text())
    jsonschema.validate(document, SCHEMA)
    assert document["images"][0]["clamped"] == {"latest": T * SECOND, "entries": 2}
    # The same files: no layer at all, where without the option each of them is in it.
    same = archive([BASE, built(LATER)], gzip_layers=packed)
    ended = done(squash("--onto", previous, LIMIT, "--verify", stdin=same))
    assert "nothing differs from the previous image" in ended.err
    assert "clamped  0 times to 2020-09-13 12:26:40 UTC" in ended.err
    ended = done(squash("--onto", previous, stdin=same))
    assert "nothing differs" not in ended.err
    # diff says the same of what was written.
    source = tmp_path / "app.tar"
    source.write_bytes(image)
    assert squash("diff", source, out).code == 1
    done(squash("diff", LIMIT, source, out))


def test_diff_says_how_times_were_compared(tmp_path: Path) -> None:
    one, two = tmp_path / "one.tar", tmp_path / "two.tar"
    one.write_bytes(archive([layer(File(b"a", mtime=EARLY), File(b"b", mtime=LATE))]))
    two.write_bytes(archive([layer(File(b"a", mtime=LATER), File(b"b", mtime=LATER))]))
    schema = json.loads((SCHEMAS / "diff-1.json").read_text())
    for words, clamped, paths in (
        ((), None, ["a", "b"]),
        ((LIMIT,), {"latest": T * SECOND}, ["a"]),
    ):
        ended = squash("diff", *words, one, two, "--json")
        document = json.loads(ended.out)
        jsonschema.validate(document, schema)
        assert document["clamped"] == clamped
        assert [each["path"] for each in document["paths"]] == paths
    assert document["paths"][0]["after"]["mtime"] == T * SECOND
    says = " (times later than 2020-09-13 12:26:40 UTC count as that)"
    assert says in squash("diff", LIMIT, one, two).out.decode()
    assert says in done(squash("diff", LIMIT, two, two)).out.decode()
    assert says not in squash("diff", one, two).out.decode()


def test_hard_links_whose_headers_differ_are_counted_by_what_they_end_with(
    tmp_path: Path,
) -> None:
    lower = layer(
        File(b"a", b"1", mtime=LATER),
        Hardlink(b"a2", b"a", mtime=EARLY),
        File(b"b", b"1", mtime=EARLY),
        Hardlink(b"b2", b"b", mtime=LATER),
    )
    report = tmp_path / "r.json"
    after = clamped("--report", report, layers=[lower, layer(File(b"c", mtime=EARLY))])
    assert [after[path].mtime for path in (b"a", b"a2")] == [EARLY] * 2
    assert [after[path].mtime for path in (b"b", b"b2")] == [T * SECOND] * 2
    assert json.loads(report.read_text())["images"][0]["clamped"]["entries"] == 2


def test_nothing_to_squash_names_the_option(tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    ended = done(squash(LIMIT, "--verify", "--report", report, stdin=archive([ALL])))
    assert result.read(ended.out).one.layers == (ALL,)
    assert "(--clamp-mtime have no effect)" in ended.err
    assert json.loads(report.read_text())["images"][0]["clamped"] is None


@pytest.mark.parametrize(
    ("typed", "nanoseconds"),
    [
        (None, None),
        ("0", 0),
        ("1600000000", T * SECOND),
        ("2020-09-13T12:26:40Z", T * SECOND),
        ("2020-09-13T14:26:40+02:00", T * SECOND),
        ("2020-09-13T11:56:40.000000001-00:30", T * SECOND + 1),
        ("2020-09-13T12:26:40.5Z", T * SECOND + SECOND // 2),
    ],
)
def test_times(typed: str | None, nanoseconds: int | None) -> None:
    assert parse_clamp_mtime(typed) == nanoseconds


def test_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    image = archive([BASE, ALL])
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(T))
    expected = done(squash(LIMIT, stdin=image)).out
    assert done(squash("--clamp-mtime", "-", stdin=image)).out == expected
    assert done(squash("--clamp-mtime=SOURCE_DATE_EPOCH", stdin=image)).out == expected
    for value, says in (
        (None, "--clamp-mtime: SOURCE_DATE_EPOCH is not set; set it, or give a time"),
        ("", "--clamp-mtime: SOURCE_DATE_EPOCH is not set"),
        ("2020-09-13T12:26:40Z", "SOURCE_DATE_EPOCH: '2020-09-13T12:26:40Z' is not a valid time"),
    ):
        if value is None:
            monkeypatch.delenv("SOURCE_DATE_EPOCH")
        else:
            monkeypatch.setenv("SOURCE_DATE_EPOCH", value)
        assert says in failed(squash("--clamp-mtime", stdin=image), 2)
        assert says in failed(squash("diff", "--clamp-mtime", __file__, "-", stdin=image), 2)


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("", "'' is not a valid time"),
        ("yesterday", "'yesterday' is not a valid time"),
        ("2020-13-01T00:00:00Z", "is not a valid time"),
        ("2020-01-01T00:00:00+24:00", "is not a valid time"),
        ("1969-12-31T23:59:59Z", "is outside 1970 to 2262"),
        ("9223372037", "is outside 1970 to 2262"),
        ("9" * 30, "is not a valid time"),
    ],
)
def test_what_is_no_time(typed: str, says: str) -> None:
    line = failed(squash(f"--clamp-mtime={typed}", stdin=archive([BASE, ALL])), 2)
    assert line.startswith("--clamp-mtime: ")
    assert says in line


def test_verify_wants_no_later_time_and_no_other_one(monkeypatch: pytest.MonkeyPatch) -> None:
    image = archive([BASE, ALL, layer(File(b"x", mtime=EARLY))])
    with monkeypatch.context() as patch:
        patch.setattr(Changeset, "clamped", lambda changes, latest: changes)
        line = failed(squash(LIMIT, "--verify", "--keep-layers", "1", stdin=image), 1)
        assert "not verified: layer 2: " in line
        assert "is later than --clamp-mtime allows" in line

    def wrong(tree: Any, changes: Changeset) -> None:
        for entry in changes.entries:
            entry.mtime = min(entry.mtime, EARLY - SECOND)
            entry.flags |= 1
        apply(tree, changes)

    monkeypatch.setattr("squasher.layers.squash.apply", wrong)
    assert "mtime" in failed(squash(LIMIT, "--verify", "--keep-layers", "1", stdin=image), 1)


def test_the_library(tmp_path: Path) -> None:
    path, out = tmp_path / "in.tar", tmp_path / "out.tar"
    path.write_bytes(archive([BASE, ALL]))
    report = squasher.squash_archive(path, out, clamp_mtime=str(T))
    clamp = report.images[0].clamp
    assert clamp is not None
    assert clamp.latest == T * SECOND
    with squasher.open_archive(path) as before, squasher.open_archive(out) as after:
        one, two = before.images[0], after.images[0]
        assert squasher.compare(one, two)
        assert not squasher.compare(one, two, clamp_mtime=str(T))
        options = squasher.Options(clamp_mtime="2020-09-13T12:26:40Z")
        made = squasher.squash(one, options=options)
        assert made.image.config.diff_ids == two.config.diff_ids
        with pytest.raises(squasher.UsageError, match="is not a valid time"):
            squasher.compare(one, two, clamp_mtime="now")


def test_what_the_docs_say_of_pyc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A .pyc holds the time of its source, unless SOURCE_DATE_EPOCH was set when it was made."""
    source = tmp_path / "m.py"

    def made(mtime: int) -> bytes:
        source.write_text("x = 1\n")
        subprocess.run(["touch", "-d", f"@{mtime}", source], check=True)
        return Path(py_compile.compile(str(source), doraise=True) or "").read_bytes()

    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path / "cache"))
    assert made(T) != made(T + 1)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(T))
    assert made(T) == made(T + 1)
