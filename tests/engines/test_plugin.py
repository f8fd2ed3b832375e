"""`docker squash`, called by the real docker clients of both generations, with real dockerds."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.engines.archives import docker_archive
from tests.engines.engines import Docker, places
from tests.engines.test_engines import LAYERS, TAG
from tests.engines.tree import differences

BASE = "example.com/team/base:1.0"
#: Debian's own clients: another may come first on PATH.
CLIENTS = {
    "20.10": Path("/usr/bin/docker"),
    "26": places()[0].state.parent / "trixie.root/usr/bin/docker",
    "28": places()[0].state.parent / "forky.root/usr/bin/docker",
}


class Client:
    """A docker client with the plugin in its folder, put there as the documentation says."""

    def __init__(self, path: Path, config: Path) -> None:
        self.path = path
        self.config = config
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("DOCKER_")},
            "DOCKER_CONFIG": str(config),
            "PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}",
        }
        self.shell(
            'mkdir -p "$DOCKER_CONFIG/cli-plugins" && '
            'ln -s "$(command -v squash)" "$DOCKER_CONFIG/cli-plugins/docker-squash"'
        )

    def shell(self, line: str) -> None:
        """Run a line of the documentation."""
        subprocess.run(["sh", "-euc", line], env=self.environment, check=True)

    def __call__(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run the client."""
        return subprocess.run(
            [str(self.path), *words],
            env=self.environment | more,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


def shown_id(docker: Docker, name: str) -> str:
    """Return the ID that the daemon shows: in containerd's store that of the manifest."""
    words = docker.command("image", "inspect", "--format={{.Id}}", name)
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Client:
    """Give a client with the plugin."""
    path = CLIENTS[request.param]
    if not path.exists():
        if os.environ.get("SQUASHER_ENGINES") == "required":
            pytest.fail(f"no {path}")
        pytest.skip(f"no {path}; scripts/engines up installs it")
    return Client(path, tmp_path / "config")


@pytest.fixture
def loaded(docker: Docker, tmp_path: Path) -> Docker:
    """Give a dockerd that has an image and its base."""
    docker.load(docker_archive(tmp_path / "images.tar", {TAG: LAYERS, BASE: LAYERS[:1]}))
    return docker


def succeed(done: subprocess.CompletedProcess[str]) -> str:
    """Require that the command succeeded; return what it said."""
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_names_of_the_daemon_in_and_out(client: Client, loaded: Docker) -> None:
    since = time.time_ns()
    tree, kept = loaded.tree(TAG), loaded.layer_digests(BASE)
    done = client("--host", loaded.host, "squash", TAG, "-f", BASE)
    assert f"Loaded image: {TAG}" in succeed(done)
    assert done.stdout == ""
    layers = loaded.layer_digests(TAG)
    assert (layers[:1], len(layers)) == (kept, 2)
    assert differences(tree, loaded.tree(TAG), stamped_since=since) == []


def test_ids_in(client: Client, loaded: Docker) -> None:
    identity = shown_id(loaded, TAG).removeprefix("sha256:")[:12]
    done = client("--host", loaded.host, "squash", identity, "-f", BASE, "-t", "app:small")
    succeed(done)
    assert len(loaded.layer_digests("app:small")) == 2


@pytest.mark.parametrize("length", [12, 64, 71])
def test_a_base_by_its_id(client: Client, loaded: Docker, length: int) -> None:
    """As `docker images` shows it, as `docker inspect` does, and without `sha256:`."""
    whole = shown_id(loaded, BASE)
    identity = whole if length == 71 else whole.removeprefix("sha256:")[:length]
    succeed(client("--host", loaded.host, "squash", TAG, "-f", identity, "-t", "app:small"))
    layers = loaded.layer_digests("app:small")
    assert (layers[:1], len(layers)) == (loaded.layer_digests(BASE), 2)


def test_a_base_of_the_archive_comes_before_the_daemons(
    client: Client, loaded: Docker, tmp_path: Path
) -> None:
    saved = client("--host", loaded.host, "save", "-o", str(tmp_path / "both.tar"), TAG, BASE)
    assert saved.returncode == 0, saved.stderr
    kept = loaded.layer_digests(BASE)
    tag = client("--host", loaded.host, "tag", TAG, BASE)  # not what the archive calls so
    assert tag.returncode == 0, tag.stderr
    words = (str(tmp_path / "both.tar"), "--image", TAG, "-f", BASE, "-t", "app:small")
    succeed(client("--host", loaded.host, "squash", *words))
    layers = loaded.layer_digests("app:small")
    assert (layers[:1], len(layers)) == (kept, 2)


def test_a_context(client: Client, loaded: Docker) -> None:
    """`--context` wins over DOCKER_HOST, as for docker's own commands."""
    succeed(client("context", "create", "far", "--docker", f"host={loaded.host}"))
    nowhere = {"DOCKER_HOST": "unix:///nowhere.sock"}
    succeed(client("--context", "far", "squash", TAG, "-t", "app:one", **nowhere))
    assert len(loaded.layer_digests("app:one")) == 1
    done = client("--context", "default", "squash", TAG, **nowhere)
    assert (done.returncode, "is DOCKER_HOST right?" in done.stderr) == (7, True)
    succeed(client("squash", TAG, "-t", "app:two", DOCKER_CONTEXT="far"))
    assert len(loaded.layer_digests("app:two")) == 1


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nothing:1"], 4, "docker-daemon:nothing:1: the daemon has no such image"),
        (["--nonsense"], 2, "see docker squash --help"),
        ([TAG, "-f", "nothing:1"], 4, "docker-daemon:nothing:1: the daemon has no such image"),
    ],
)
def test_exit_codes_come_through(
    client: Client, loaded: Docker, words: list[str], code: int, message: str
) -> None:
    done = client("--host", loaded.host, "squash", *words)
    assert (done.returncode, message in done.stderr) == (code, True), done.stderr


def test_the_client_shows_it(client: Client) -> None:
    assert "Squash the layers of an image above its base" in client("help").stdout
    for words in (["help", "squash"], ["squash", "--help"], ["squash", "-h"]):
        assert client(*words).stdout.startswith("Usage: docker squash "), words


def test_docker_squash_of_pypi_stays_what_it_is(client: Client) -> None:
    """Its command has the plugin's name, but lies on PATH, where the client does not look."""
    theirs = shutil.which("docker-squash", path=client.environment["PATH"])
    assert theirs, "the extra dev has it"
    said = subprocess.run(
        # Not by its own first line: old installers write there a path that may hold a space.
        [sys.executable, theirs, "--version"],
        env=client.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "image-squasher" not in said.stdout
    (client.config / "cli-plugins/docker-squash").unlink()
    refusal = client("squash").stderr
    since_28, before = "unknown command: docker squash", "'squash' is not a docker command"
    assert since_28 in refusal or before in refusal


@contextmanager
def waiting(client: Client, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Give a `docker squash` that waits for its stdin, and the folder with what it has spooled."""
    folder = tmp_path / "spool"
    folder.mkdir()
    with subprocess.Popen(
        [str(client.path), "squash", "-", "-o", "x.tar", "--tmp-dir", str(folder)],
        cwd=tmp_path,
        env=client.environment,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdin is not None
        try:
            process.stdin.write(bytes(1 << 20))
            process.stdin.flush()
            for _ in range(400):
                if plugin(process) is not None:
                    break
                time.sleep(0.05)
            yield process, folder
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def plugin(process: subprocess.Popen[bytes]) -> int | None:
    """Return the process that the client has started and that has taken its signals.

    That is not the one that the client asks for metadata before.
    """
    for child in Path(f"/proc/{process.pid}/task").glob("*/children"):
        for number in child.read_text().split():
            if b"metadata" in Path(f"/proc/{number}/cmdline").read_bytes():
                continue
            for line in Path(f"/proc/{number}/status").read_text().splitlines():
                if line.startswith("SigCgt:") and int(line[7:], 16) & 1 << signal.SIGTERM - 1:
                    return int(number)
    return None


def test_ctrl_c_ends_it(client: Client, tmp_path: Path) -> None:
    with waiting(client, tmp_path) as (process, folder):
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 130
    assert not any(folder.iterdir())


def test_ending_the_client_ends_it(tmp_path: Path, client: Client) -> None:
    if client.path == CLIENTS["20.10"]:
        pytest.skip("clients before 25 have no way to tell their plugins")
    with waiting(client, tmp_path) as (process, folder):
        child = plugin(process)
        assert child is not None
        process.terminate()
        assert process.wait(60) == 143
        assert not Path(f"/proc/{child}").exists()
    assert not any(folder.iterdir())


def test_metadata_is_what_the_client_reads(client: Client) -> None:
    said = subprocess.run(
        [str(client.config / "cli-plugins/docker-squash"), "docker-cli-plugin-metadata"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(said.stdout)["Vendor"] == "squasher"
