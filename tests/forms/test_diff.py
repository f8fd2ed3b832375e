"""`squash diff`: every form of two images, what is said of them, and the exit code."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest

import squasher
from squasher.cli import diff_result, diff_text
from squasher.verify.comparison import config_differences
from tests import nasty
from tests.builders import Char, Dir, Fifo, File, Hardlink, Member, Symlink, archive, layer
from tests.forms.command import Done, done, failed, squash
from tests.forms.daemon import running
from tests.forms.shapes import SHAPES

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs" / "schema" / "diff-1.json").read_text(encoding="utf-8")
)

FILE = File(b"x", b"12345")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(before: bytes, after: bytes) -> None:
    Path("a.tar").write_bytes(before)
    Path("b.tar").write_bytes(after)


def diff(*options: str) -> Done:
    """Compare a.tar and b.tar."""
    return squash("diff", *options, "a.tar", "b.tar")


def differ(*options: str) -> list[str]:
    """Return the lines between head and sum."""
    result = diff(*options)
    assert (result.code, result.err) == (1, "")
    return result.out.decode().splitlines()[2:-1]


def document(*options: str) -> dict[str, Any]:
    result = diff("--json", *options)
    assert result.err == ""
    found: dict[str, Any] = json.loads(result.out)
    jsonschema.validate(found, SCHEMA)
    assert result.code == (0 if found["same"] else 1)
    return found


def both(*members: Member) -> bytes:
    return archive([layer(*members)])


# ---------------------------------------------------------------- forms

SINGLE = sorted(name for name, make in SHAPES.items() if len(make().images) == 1)


@pytest.mark.parametrize("name", SINGLE)
def test_every_form_equals_its_squashed_self(name: str, folder: Path) -> None:
    put(SHAPES[name]().archive, b"")
    done(squash("-q", "a.tar", "-o", "b.tar"))
    result = diff()
    assert (result.code, result.err) == (0, "")
    assert result.out.decode().splitlines()[-1] == "the same files and config"


def test_layouts_streams_and_references(folder: Path) -> None:
    put(archive([layer(File(b"a"))], form="oci", tags=["app:1"]), both(File(b"b")))
    done(squash("-q", "a.tar", "-o", "oci:layout:x"))
    lines = done(squash("diff", "a.tar", "oci:layout:x")).out.decode().splitlines()
    assert lines[0].startswith("before  a.tar: app:1, 1 layer, ")
    assert lines[1].startswith("after   layout: app:1, 1 layer, ")
    given = Path("b.tar").read_bytes()
    for words in (("-", "layout"), ("layout", "-")):
        result = squash("diff", *words, stdin=given)
        assert (result.code, result.err) == (1, "")
        assert "stdin: example:latest" in result.out.decode()
    assert done(squash("diff", "-", "b.tar", stdin=given))
    assert "stdin can give one of the images only" in failed(
        squash("diff", "-", "-", stdin=given), 2
    )


def test_an_image_of_the_daemon(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("docker", reason="needs the docker SDK")
    image = both(File(b"a"))
    put(image, both(File(b"b")))
    with running() as state:
        monkeypatch.setenv("DOCKER_HOST", state.host)
        monkeypatch.setenv("DOCKER_CONFIG", str(folder))
        state.put("example:latest", "sha256:" + "1" * 64, [], image)
        assert done(squash("diff", "docker-daemon:example:latest", "a.tar"))
        assert squash("diff", "b.tar", "docker-daemon:example").code == 1


def test_one_of_several_images(folder: Path) -> None:
    several = next(
        made
        for made in (make() for make in SHAPES.values())
        if len(made.images) > 1 and len({name for image in made.images for name in image.tags}) > 1
    )
    put(several.archive, several.archive)
    ended = diff()
    line = failed(ended, 4)
    assert re.match(
        r"a\.tar: holds \d images; choose one of the images below with --image or", line
    )
    assert all(f"  {image.tags[0]} (linux/" in ended.err for image in several.images)
    name = next(name for image in several.images for name in image.tags)
    assert done(diff("--image", name))
    assert "no image nobody:1" in failed(diff("--image", "nobody:1"), 4)
    assert "no image plan9/z80" in failed(diff("--platform", "plan9/z80"), 4)


def test_what_is_missing_or_damaged_is_named(folder: Path) -> None:
    put(both(File(b"a")), b"nonsense")
    assert failed(diff(), 3).startswith("b.tar: ")
    assert failed(squash("diff", "a.tar", "none.tar"), 3).startswith("none.tar: no such file")
    assert failed(squash("diff", "a.tar"), 2).endswith("; see squash diff --help")
    put(both(FILE), both(FILE).replace(b"12345", b"54321"))
    assert failed(diff(), 3).startswith("b.tar: layer 1 of 1: blob: expected sha256:")
    assert failed(squash("diff", "b.tar", "a.tar"), 3).startswith("b.tar: layer 1 of 1: ")
    put(both(FILE), archive([layer(FILE), layer(Hardlink(b"a", b"none"))]))
    assert failed(diff(), 3).startswith("b.tar: layer 2 of 2: 'a': ")
    put(both(FILE), archive([layer(FILE)], config={"x": json.loads("[" * 401 + "]" * 401)}))
    assert "nested more than 400 levels deep" in failed(diff(), 3)


# ---------------------------------------------------------------- what is said


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        (FILE, replace(FILE, mode=0o4600), "~ /x  mode 0644 -> 4600"),
        (FILE, replace(FILE, uid=5, gid=6), "~ /x  owner 0:0 -> 5:6"),
        (
            replace(FILE, mtime=0),
            replace(FILE, mtime=1_500_000_000),
            "~ /x  mtime 1970-01-01 00:00:00 -> 1970-01-01 00:00:01.5",
        ),
        (
            FILE,
            replace(FILE, mtime=-(10**9) * 10**12),
            "~ /x  mtime 2017-07-14 02:40:00 -> -1000000000000 s",
        ),
        (
            replace(FILE, xattrs={b"user.a": b"1", b"user.b": b"2", b"user.c": b"3"}),
            replace(FILE, xattrs={b"user.b": b"3", b"user.c": b"3", b"user.\xff": b"4"}),
            "~ /x  xattrs -user.a ~user.b +user.\\xff",
        ),
        (FILE, replace(FILE, data=b"1" * 1234), "~ /x  size 5 B -> 1,234 B"),
        (FILE, replace(FILE, data=b"1234!", uid=1), "~ /x  owner 0:0 -> 1:0; content"),
        (FILE, Dir(b"x"), "~ /x  type file -> directory"),
        (Symlink(b"x", b"t"), Symlink(b"x", b"\x1b[31m"), "~ /x  target t -> \\x1b[31m"),
        (Char(b"x"), Char(b"x", 5, 6), "~ /x  device 1:3 -> 5:6"),
        (FILE, File(b"x\\\n\xff\xe2\x80\xae", b"1"), "+ /x\\\\\\n\\xff\\u202e  file, 1 B"),
        (FILE, Symlink(b"y", b"x"), "+ /y  symlink -> x"),
        (FILE, Char(b"y"), "+ /y  character device 1:3"),
        (FILE, Fifo(b"y"), "+ /y  fifo"),
        (FILE, Dir(b"y"), "+ /y  directory"),
    ],
)
def test_a_line(before: Member, after: Member, line: str, folder: Path) -> None:
    put(both(before), both(after))
    assert line in differ()
    document()
    put(both(after), both(before))
    if line.startswith("+"):
        assert line.replace("+", "-", 1) in differ()


def test_the_sum(folder: Path) -> None:
    put(both(File(b"a"), File(b"b")), both(File(b"b", b"1"), File(b"c"), File(b"d")))
    assert diff().out.decode().splitlines()[-1] == (
        "4 paths differ: 2 added, 1 removed, 1 changed; 0 config keys"
    )
    put(both(File(b"a")), archive([layer(File(b"a", b"1"))], config={"author": "me"}))
    assert diff().out.decode().splitlines()[-1] == "1 path differs: 1 changed; 1 config key"


def test_hard_links(folder: Path) -> None:
    apart = both(File(b"a", b"1"), File(b"b", b"1"))
    put(both(File(b"a", b"1"), Hardlink(b"b", b"a")), apart)
    assert differ() == ["~ /a  links 2 names -> one name", "~ /b  links 2 names -> one name"]
    assert differ("--ignore", "mtime")
    assert done(diff("--ignore", "mtime,links"))
    paths = document()["paths"]
    assert paths[1]["before"]["links"] == {"count": 2, "first": "a"}
    assert "links" not in paths[1]["after"]


def test_the_config(folder: Path) -> None:
    config = {"Env": ["PATH=/bin", "A=1"], "Labels": {"a.b": "1", "c": "x\x1b[31m"}, "User": None}
    other = {"Env": ["A=1", "PATH=/usr/bin", "B"], "Labels": {"c": "y"}, "User": "", "Cmd": []}
    put(
        archive([layer(FILE)], config={"config": config, "created": "2001-01-01T00:00:00Z"}),
        archive([layer(FILE)], config={"config": other, "variant": "v2"}),
    )
    assert differ() == [
        '~ config.Env  {"PATH": "/bin", "A": "1"} -> ["A=1", "PATH=/usr/bin", "B"]',
        '- config.Labels.a.b  "1"',
        '~ config.Labels.c  "x\\u001b[31m" -> "y"',
        '+ variant  "v2"',
    ]
    assert [line.split()[1] for line in differ("--ignore", "config.Labels,config.Env")] == [
        "variant"
    ]
    assert done(diff("--ignore", "mtime", "--ignore", "config"))
    found = document()
    assert found["config"][1] == {"key": ["config", "Labels", "a.b"], "before": "1", "after": None}
    found = document("--ignore", "config")
    assert (found["same"], found["ignored"], found["config"]) == (True, ["config"], [])


def test_how_an_image_was_made_counts_only_when_asked(folder: Path) -> None:
    rows = [{"created_by": f"step {n}"} for n in range(11)]
    put(
        archive([layer()] * 11, history=rows),
        archive(
            [layer()] * 9,
            history=[*rows[:8], {"created_by": "other"}],
            config={"created": "2001-01-01T00:00:00Z", "container": "c"},
        ),
    )
    assert done(diff())
    keys = [line.split()[1] for line in differ("--history")]
    expected = ["container", "created", "history.9.created_by", "history.10", "history.11"]
    assert [key for key in keys if not key.startswith("history.1")] == [
        *expected[:3],
        "rootfs.diff_ids",
    ]
    assert "history.10.created_by" in keys


def test_nothing_but_errors_when_quiet(folder: Path) -> None:
    put(both(File(b"a")), both(File(b"b")))
    assert diff("-q") == Done(1, b"", "")
    assert diff("-q", "--json").out
    assert "cannot be used together" in failed(diff("-q", "-v"), 2)


def test_only_what_says_little_can_be_ignored(folder: Path) -> None:
    put(both(FILE), both(replace(FILE, mtime=0, data=b"1234!")))
    assert differ("--ignore", "mtime") == ["~ /x  content"]
    for word in ("content", "configs", "type"):
        line = failed(diff("--ignore", word), 2)
        assert line.startswith(
            f"--ignore: '{word}' is not a field that can be ignored; one of mode, "
        )


def test_keys_beside_config_can_be_ignored(folder: Path) -> None:
    put(both(FILE), both(replace(FILE, data=b"1234!")))
    keys = {line.split()[1] for line in differ("--history") if not line.startswith("~ /")}
    assert {"rootfs.diff_ids"} <= keys
    assert not differ("--history", "--ignore", "rootfs,history,created", "--ignore", "config")[1:]
    assert differ("--history", "--ignore", "rootfs.diff_ids") == differ()
    assert differ("--ignore", "comment,moby.buildkit.buildinfo.v1,Author") == differ()


def test_an_empty_name_is_an_unset_variable(folder: Path) -> None:
    put(both(FILE), both(FILE))
    for option in ("--image", "--platform", "--tmp-dir"):
        assert failed(diff(option, ""), 2) == f"{option}: the name is empty"


def test_verbose_says_what_is_done(folder: Path) -> None:
    put(both(FILE), both(FILE))
    assert done(diff("-v")).err


def test_the_document(folder: Path) -> None:
    odd = b"x\xff"
    put(
        both(replace(FILE, xattrs={b"user.k": b"\0"}), Symlink(odd, odd), Char(b"d")),
        both(replace(FILE, data=b"1", mtime=1), Dir(odd), Char(b"d", 2, 2), Fifo(b"new")),
    )
    found = document()
    assert found["counts"] == {"added": 1, "removed": 0, "changed": 3, "time_alone": 0}
    device, new, file, link = found["paths"]
    assert (device["before"]["device"], device["after"]["device"]) == ([1, 3], [2, 2])
    assert (new["path"], new["change"], new["what"], new["before"]) == ("new", "added", [], None)
    assert file["what"] == ["mtime", "xattrs", "size"]
    assert (file["before"]["mtime"], file["after"]["mtime"]) == (FILE.mtime, 1)
    assert file["before"]["xattrs"] == {"user.k": base64.b64encode(b"\0").decode()}
    assert (file["after"]["size"], file["after"]["mode"]) == (1, "0644")
    assert base64.b64decode(link["path_base64"]) == odd
    assert base64.b64decode(link["before"]["target_base64"]) == odd
    assert link["what"] == ["type"]
    assert found["before"]["image_id"] != found["after"]["image_id"]


def test_what_differs_in_time_alone_is_told_apart(folder: Path) -> None:
    later = [replace(FILE, path=name, mtime=7) for name in (b"a", b"b")]
    put(
        both(*(replace(each, mtime=6) for each in later), replace(FILE, mode=0o600)),
        both(*later, replace(FILE, mtime=8), File(b"new")),
    )
    line = diff().out.decode().splitlines()[-1]
    assert line == "4 paths differ: 1 added, 3 changed (2 in time alone); 0 config keys"
    found = document()
    assert found["counts"] == {"added": 1, "removed": 0, "changed": 3, "time_alone": 2}
    assert [each["path"] for each in found["paths"] if each["time_alone"]] == ["a", "b"]
    assert "in time alone" not in diff("--ignore", "mtime").out.decode()


def test_nothing_in_an_image_harms_who_looks_at_it(folder: Path) -> None:
    put(nasty.image(), both(FILE))
    for options in ((), ("--history",), ("-v",)):
        result = diff(*options)
        assert result.code == 1
        assert nasty.harmless(result.out.decode() + result.err)
        assert all(marker in result.out.decode() for marker in nasty.MARKERS)
    assert nasty.harmless(json.dumps(document("--history")))


# ---------------------------------------------------------------- on a terminal


def text(width: int | None, most: int | None, *members: Member, **config: str) -> list[str]:
    """Return what a terminal shows for an empty image against one of these members."""
    with (
        squasher.open_archive(io.BytesIO(both())) as one,
        squasher.open_archive(
            io.BytesIO(archive([layer(*members)], config={"config": config}))
        ) as two,
    ):
        images = one.images[0], two.images[0]
        result = diff_result.Result(
            diff_result.Side("one", images[0]),
            diff_result.Side("two" * 40, images[1]),
            squasher.compare(*images),
            config_differences(images[0].config, images[1].config),
            (),
        )
    return click.unstyle(diff_text.to_text(result, width, most=most)).splitlines()


def test_what_has_no_room_goes_below() -> None:
    long = "v" * 100
    for width in (60, 80, 120):
        lines = text(width, None, File(b"a" * 50, b"1"), Cmd="w" * 90, Env=long)
        assert all(len(line) <= width for line in lines)
    assert text(60, None, File(b"a" * 50))[2:4] == ["+ /" + "a" * 50, "      file, 0 B"]
    lines = text(60, None, Cmd="w" * 50)
    assert lines[2:] == [
        "~ config.Cmd",
        '      was ["sh"]',
        '      is  "' + "w" * 48 + "…",
        '- config.Env.PATH  "/bin"',
        "0 paths differ; 2 config keys",
    ]


def test_a_terminal_shows_some() -> None:
    members = [File(b"%d" % n) for n in range(5)]
    lines = text(80, 1, *members)
    assert lines[3:5] == ["... and 4 more paths; --all shows them", '- config.Cmd  ["sh"]']
    assert lines[5] == "... and 1 more keys; --all shows them"
    assert len(text(80, 5, *members)) == 10
