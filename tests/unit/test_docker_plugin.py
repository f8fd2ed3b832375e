"""What the docker client says to a plugin."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from squasher.cli import docker_plugin
from squasher.errors import UsageError

CALLED = {"DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND": "docker"}


@pytest.mark.parametrize(
    ("program", "environment", "expected"),
    [
        ("/home/me/.docker/cli-plugins/docker-squash", CALLED, True),
        ("docker-squash.exe", CALLED, True),
        ("/usr/bin/squash", CALLED, False),  # started by another plugin
        ("docker-squash", {}, False),  # by hand
    ],
)
def test_who_calls(program: str, environment: Mapping[str, str], expected: bool) -> None:
    assert docker_plugin.is_plugin(program, environment) is expected


def test_metadata_has_what_the_client_demands() -> None:
    document = json.loads(docker_plugin.metadata())
    assert document["SchemaVersion"] == "0.1.0"
    assert document["Vendor"]
    assert {type(value) for value in document.values()} == {str}


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("squash app -f base", ["app", "-f", "base"]),
        ("squash squash", ["squash"]),
        ("squash -H app", ["-H", "app"]),  # after its name, options are the plugin's
        ("-D squash app", ["app"]),
        ("--debug -l info squash app", ["app"]),
        ("--log-level=info squash app", ["app"]),
        ("--tls=false squash app", ["app"]),
        ("squash -m --tls=false", ["-m", "--tls=false"]),
        ("help squash", ["--help"]),
        ("help squash inspect", ["inspect", "--help"]),
        ("--help squash inspect", ["inspect", "--help"]),
        ("squash --help", ["--help"]),
        ("squash", []),
        ("", []),
    ],
)
def test_words(typed: str, words: list[str]) -> None:
    assert docker_plugin.parse(typed.split()) == (words, {})


@pytest.mark.parametrize(
    ("typed", "change"),
    [
        ("--host tcp://h:1", {"DOCKER_HOST": "tcp://h:1"}),
        ("--host=tcp://h:1", {"DOCKER_HOST": "tcp://h:1"}),
        ("-H tcp://h:1", {"DOCKER_HOST": "tcp://h:1"}),
        ("-Htcp://h:1", {"DOCKER_HOST": "tcp://h:1"}),
        ("-H=tcp://h:1", {"DOCKER_HOST": "tcp://h:1"}),
        ("-DH tcp://h:1", {"DOCKER_HOST": "tcp://h:1"}),
        ("--context squash", {"DOCKER_CONTEXT": "squash", "DOCKER_HOST": None}),
        ("-c far", {"DOCKER_CONTEXT": "far", "DOCKER_HOST": None}),
        ("-c default", {"DOCKER_CONTEXT": "default"}),
        ("--config /c", {"DOCKER_CONFIG": "/c"}),
        ("--tls", {"DOCKER_CERT_PATH": "/home/.docker"}),
        ("--tls=true", {"DOCKER_CERT_PATH": "/home/.docker"}),
        ("--config /c --tls", {"DOCKER_CONFIG": "/c", "DOCKER_CERT_PATH": "/c"}),
        ("--tlsverify", {"DOCKER_CERT_PATH": "/home/.docker", "DOCKER_TLS_VERIFY": "1"}),
        (
            "--tlsverify --tlscacert /s/ca.pem --tlscert /s/cert.pem --tlskey /s/key.pem",
            {"DOCKER_CERT_PATH": "/s", "DOCKER_TLS_VERIFY": "1"},
        ),
        ("--tlscacert ca.pem", {"DOCKER_CERT_PATH": "."}),
    ],
)
def test_the_clients_own_options(
    typed: str, change: Mapping[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DOCKER_CONFIG", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home")
    assert docker_plugin.parse([*typed.split(), "squash", "app"]) == (["app"], change)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("--tlscacert /s/my.pem", "must be ca.pem, cert.pem and key.pem of one folder"),
        ("--tlscert /a/cert.pem --tlskey /b/key.pem", "of one folder"),
        ("--unheard-of", "unheard-of"),
    ],
)
def test_what_cannot_be_honoured_is_said(typed: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        docker_plugin.parse([*typed.split(), "squash", "app"])


def test_the_environment_is_changed() -> None:
    environment = {"DOCKER_HOST": "tcp://h:1", "HOME": "/home"}
    assert docker_plugin.take(["-c", "far", "squash", "app"], environment) == ["app"]
    assert environment == {"DOCKER_CONTEXT": "far", "HOME": "/home"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"image": "app:1"}, {"image": "docker-daemon:app:1"}),
        ({"image": "here"}, {"image": "here"}),
        ({"image": "./nowhere.tar/"}, {"image": "./nowhere.tar/"}),
        ({"image": None}, {"image": None}),
        ({"image": "-"}, {"image": "-"}),
        ({"image": "oci:here"}, {"image": "oci:here"}),
        ({"image": "0123abcdef01"}, {"image": "docker-daemon:0123abcdef01"}),
        (
            {"before": "a:1", "after": "here"},
            {"before": "docker-daemon:a:1", "after": "here"},
        ),
        (
            {"load": False, "output": None, "dry_run": False},
            {"load": True, "output": None, "dry_run": False, "daemon_base": True},
        ),
        (
            {"load": False, "output": "-", "dry_run": False},
            {"load": False, "output": "-", "dry_run": False, "daemon_base": True},
        ),
        (
            {"load": False, "output": None, "dry_run": True},
            {"load": False, "output": None, "dry_run": True, "daemon_base": True},
        ),
    ],
)
def test_what_is_left_out_is_filled_in(
    given: Mapping[str, object],
    expected: Mapping[str, object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").touch()
    assert docker_plugin.fill_in(given) == expected


def killed(monkeypatch: pytest.MonkeyPatch, folder: Path) -> threading.Event:
    """Return what is set when the process would end by SIGTERM; go to `folder`.

    A socket is named from there: its path may have no more than 107 bytes.
    """
    monkeypatch.chdir(folder)
    event = threading.Event()

    def kill(process: int, number: int) -> None:
        assert (process, number) == (os.getpid(), signal.SIGTERM)
        event.set()

    monkeypatch.setattr(os, "kill", kill)
    monkeypatch.setattr(signal, "getsignal", lambda number: kill)
    return event


@pytest.mark.parametrize("kind", ["abstract", "file"])
def test_it_ends_when_the_client_hangs_up(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "abstract" and not os.path.exists("/proc/self"):
        pytest.skip("only Linux has sockets without a file")
    name = f"@squasher-{os.getpid()}" if kind == "abstract" else "socket"
    ended = killed(monkeypatch, tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name.replace("@", "\0"))
        server.listen()
        docker_plugin.end_with_docker({"DOCKER_CLI_PLUGIN_SOCKET": name})
        client, _ = server.accept()
        with client:
            client.send(b"not yet")
            assert not ended.wait(0.05)
    assert ended.wait(10)


def test_it_ends_when_the_client_has_hung_up_before_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = killed(monkeypatch, tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")  # and nobody listens
        docker_plugin.end_with_docker({"DOCKER_CLI_PLUGIN_SOCKET": "socket"})
    assert ended.wait(10)


def test_it_is_not_ended_while_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Ctrl-C both the client and the plugin get the signal, and the client hangs up."""
    ended = killed(monkeypatch, tmp_path)
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.SIG_DFL)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        server.listen()
        before = threading.active_count()
        docker_plugin.end_with_docker({"DOCKER_CLI_PLUGIN_SOCKET": "socket"})
        server.accept()[0].close()
        while threading.active_count() > before:
            time.sleep(0.01)
    assert not ended.is_set()


def test_ctrl_c_that_comes_after_the_client_has_hung_up_is_what_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = killed(monkeypatch, tmp_path)

    def comes(seconds: float) -> None:
        monkeypatch.setattr(signal, "getsignal", lambda number: signal.SIG_IGN)

    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        server.listen()
        before = set(threading.enumerate())
        docker_plugin.end_with_docker({"DOCKER_CLI_PLUGIN_SOCKET": "socket"})
        (thread,) = set(threading.enumerate()) - before
        monkeypatch.setattr(time, "sleep", comes)
        server.accept()[0].close()
        thread.join()
    assert not ended.is_set()


@pytest.mark.parametrize("environment", [{}, {"DOCKER_CLI_PLUGIN_SOCKET": "/nowhere"}])
def test_older_clients_have_no_socket(
    environment: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = killed(monkeypatch, tmp_path)
    threads = threading.active_count()
    docker_plugin.end_with_docker(environment)
    assert threading.active_count() == threads
    assert not ended.is_set()
