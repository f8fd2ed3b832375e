"""`docker squash` in this process, against a daemon of a few lines."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

import squasher
from squasher.cli import main
from tests import builders
from tests.builders import sha256
from tests.forms import result
from tests.forms.command import Done, done, failed, squash
from tests.forms.daemon import Daemon, running
from tests.forms.shapes import LAYERS, SAMPLE, SHAPES

ARCHIVE = SHAPES["docker-20.10"]().archive
DIFF_IDS = [f"sha256:{sha256(data)}" for data in LAYERS]
ID = f"sha256:{sha256(SAMPLE)}"
NAME = "example.com/team/app:1.0"
BASE_ID = "sha256:" + "d" * 64


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """Give a daemon that only `--host` leads to, with the sample and its base in it."""
    monkeypatch.chdir(tmp_path)
    with mock.patch.dict(os.environ, {"DOCKER_CONFIG": str(tmp_path)}), running() as state:
        for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
            os.environ.pop(name, None)
        state.put(NAME, ID, DIFF_IDS, ARCHIVE)
        state.put(ID.removeprefix("sha256:")[:12], ID, DIFF_IDS, ARCHIVE)
        state.put("debian:12", BASE_ID, DIFF_IDS[:2], b"")
        for start in (12, 64):
            state.put("d" * start, BASE_ID, DIFF_IDS[:2], b"")
        yield state


def docker_squash(daemon: Daemon, *words: str, stdin: bytes = b"") -> Done:
    """Run the command as the client does for `docker --host ... squash words`."""
    return squash("--host", daemon.host, "squash", *words, stdin=stdin, docker=True)


def layers(daemon: Daemon) -> tuple[bytes, ...]:
    """Return the layers of the image that was loaded last."""
    return result.read(daemon.loaded[-1]).one.layers


def test_names_are_the_daemons_and_the_result_is_loaded(daemon: Daemon) -> None:
    assert done(docker_squash(daemon, NAME, "-f", "debian:12")).out == b""
    assert layers(daemon)[:2] == LAYERS[:2]
    assert len(layers(daemon)) == 3
    assert result.read(daemon.loaded[-1]).tags == [[NAME]]


def test_with_an_output_nothing_is_loaded(daemon: Daemon) -> None:
    assert result.read(done(docker_squash(daemon, NAME, "-o", "-")).out).one
    assert not daemon.loaded


def test_dry_run_loads_nothing(daemon: Daemon) -> None:
    done(docker_squash(daemon, NAME, "--dry-run"))
    assert not daemon.loaded


def test_a_path_that_exists_wins(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "app").write_bytes(ARCHIVE)
    done(docker_squash(daemon, "app", "-f", "1"))
    assert daemon.asked == ["POST /images/load"]


def test_an_archive_from_stdin(daemon: Daemon) -> None:
    done(docker_squash(daemon, "-f", "debian:12", stdin=ARCHIVE))
    assert daemon.asked == ["GET /images/debian:12/json", "GET /info", "POST /images/load"]


def test_the_beginning_of_an_id(daemon: Daemon) -> None:
    short = ID.removeprefix("sha256:")[:12]
    done(docker_squash(daemon, short))
    assert daemon.asked[:3] == [
        f"GET /images/{short}:latest/json",  # a name would win
        f"GET /images/{short}/json",
        f"GET /images/{short}/get",
    ]


@pytest.mark.parametrize("base", ["dddddddddddd", BASE_ID, "d" * 64])
def test_a_base_by_its_id(daemon: Daemon, base: str) -> None:
    done(docker_squash(daemon, NAME, "-f", base))
    assert layers(daemon)[:2] == LAYERS[:2]
    assert len(layers(daemon)) == 3


@pytest.mark.parametrize("base", ["6", DIFF_IDS[1].removeprefix("sha256:")[:12]])
def test_a_row_and_a_layer_come_before_the_daemons_images(daemon: Daemon, base: str) -> None:
    daemon.put(base, BASE_ID, DIFF_IDS[:1], b"")
    done(docker_squash(daemon, NAME, "-f", base))
    assert len(layers(daemon)) == 3
    assert not [request for request in daemon.asked if base in request]


def test_an_image_of_the_archive_comes_before_the_daemons(daemon: Daemon, tmp_path: Path) -> None:
    with squasher.open_archive(io.BytesIO(ARCHIVE)) as app:
        (image,) = app.images
        base = builders.archive(LAYERS[:1], tags=["debian:12"])
        with squasher.open_archive(io.BytesIO(base)) as other:
            squasher.write([image, *other.images], tmp_path / "both.tar")
    done(docker_squash(daemon, "both.tar", "--image", NAME, "-f", "debian:12"))
    assert len(layers(daemon)) == 2
    assert daemon.asked == ["POST /images/load"]


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("nothing:1", "docker-daemon:nothing:1: the daemon has no such image; run `docker pull "),
        ("abcdef012345", "docker-daemon:abcdef012345: the daemon has no such image\n"),
        ("./nowhere.tar", "-f ./nowhere.tar: no such file"),
        ("-", "-f -: example.com/team/app:1.0 has no layer of that name"),
    ],
)
def test_a_base_that_is_nowhere(daemon: Daemon, base: str, message: str) -> None:
    said = docker_squash(daemon, NAME, "-f", base)
    failed(said, 4)
    assert message in said.err
    assert "last row kept" in said.err


def test_without_docker_a_base_is_not_looked_for_there(daemon: Daemon) -> None:
    with mock.patch.dict(os.environ, {"DOCKER_HOST": daemon.host}):
        failed(squash("-f", "dddddddddddd", f"docker-daemon:{NAME}", "-o", "x.tar"), 4)
    assert "GET /images/dddddddddddd/json" not in daemon.asked


def test_an_image_that_is_not_there(daemon: Daemon) -> None:
    line = failed(docker_squash(daemon, "nothing:1"), 4)
    assert line.startswith("docker-daemon:nothing:1: the daemon has no such image")


def test_help_says_what_to_type() -> None:
    assert done(squash("squash", "--help", docker=True)).out.startswith(b"Usage: docker squash ")
    line = failed(squash("squash", "--nonsense", docker=True), 2)
    assert line.endswith("see docker squash --help")
    assert "--tlscacert" in failed(squash("--tlscacert", "x", "squash", docker=True), 2)


def test_metadata_by_any_name() -> None:
    document = json.loads(done(squash("docker-cli-plugin-metadata")).out)
    assert document["SchemaVersion"] == "0.1.0"


def test_the_entry_point_sees_who_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[list[str], bool]] = []

    def run(arguments: list[str], *, docker: bool) -> int:
        called.append((arguments, docker))
        return 7

    monkeypatch.setattr(main, "run", run)
    monkeypatch.setattr(sys, "argv", ["/x/docker-squash", "squash", "app"])
    for caller in ("docker", ""):
        monkeypatch.setenv("DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND", caller)
        with pytest.raises(SystemExit, match="7"):
            main.main()
    assert called == [(["squash", "app"], True), (["squash", "app"], False)]
