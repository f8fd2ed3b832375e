"""`docker-daemon:`, `--load` and `--cleanup` against a daemon of a few lines."""

from __future__ import annotations

import builtins
import gc
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import squasher
from squasher.archive.location import parse_location
from tests.builders import sha256
from tests.forms import result
from tests.forms.command import done, failed, squash
from tests.forms.daemon import Daemon, running
from tests.forms.shapes import LAYERS, SAMPLE, SHAPES

ARCHIVE = SHAPES["docker-20.10"]().archive
DIFF_IDS = [f"sha256:{sha256(data)}" for data in LAYERS]
ID = f"sha256:{sha256(SAMPLE)}"
NAME = "example.com/team/app:1.0"


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """Give a daemon that DOCKER_HOST leads to, with the sample in it."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
    monkeypatch.delenv("DOCKER_TLS_VERIFY", raising=False)
    with running() as state:
        monkeypatch.setenv("DOCKER_HOST", state.host)
        state.put(NAME, ID, DIFF_IDS, ARCHIVE)
        state.put("debian:12", "sha256:" + "d" * 64, DIFF_IDS[:2], b"")
        state.put("empty:latest", "sha256:" + "e" * 64, [], b"")
        yield state


@pytest.fixture
def _leaky() -> Iterator[None]:
    """Have what the SDK leaves to the garbage collector collected here and now."""
    yield
    gc.collect()


# The SDK does not close the socket of a connection that failed.
LEAKY = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def new_id(daemon: Daemon) -> str:
    """Return the ID of the image that was loaded last."""
    return result.read(daemon.loaded[-1]).one.image_id


# ---------------------------------------------------------------- in and out


def test_from_the_daemon(daemon: Daemon) -> None:
    outcome = done(squash("--keep-layers", "2", f"docker-daemon:{NAME}"))
    found = result.read(outcome.out)
    assert found.tags == [[NAME]]
    assert found.one.layers[:2] == LAYERS[:2]
    assert result.tree(found.one.layers) == result.tree(LAYERS)
    assert daemon.asked == [f"GET /images/{NAME}/json", f"GET /images/{NAME}/get"]


@pytest.mark.parametrize("name", [ID, "example.com/team/app:1.0"])
def test_from_the_daemon_by_id_and_by_name(daemon: Daemon, name: str) -> None:
    assert done(squash(f"docker-daemon:{name}")).out
    assert daemon.asked == [f"GET /images/{name}/json", f"GET /images/{name}/get"]


def test_a_name_without_a_tag_is_latest(daemon: Daemon) -> None:
    """A bare repository would mean all of its tags."""
    line = failed(squash("docker-daemon:app"), 4)
    assert line == "docker-daemon:app: the daemon has no such image; run `docker pull app` first"
    assert daemon.asked == ["GET /images/app:latest/json"]


def test_to_the_daemon(daemon: Daemon) -> None:
    outcome = done(squash("-o", "docker-daemon:new:1", stdin=ARCHIVE))
    assert outcome.out == b""
    assert result.read(daemon.loaded[0]).tags == [["new:1"]]
    assert "loaded   Loaded image: app:latest" in outcome.err


def test_load_writes_nothing_else(daemon: Daemon) -> None:
    outcome = done(squash("--load", "-v", stdin=ARCHIVE))
    assert outcome.out == b""
    assert result.read(daemon.loaded[0]).tags == [[NAME]]


def test_load_and_write(daemon: Daemon, tmp_path: Path) -> None:
    done(squash("--load", "-o", tmp_path / "x.tar", stdin=ARCHIVE))
    assert daemon.loaded == [(tmp_path / "x.tar").read_bytes()]
    outcome = done(squash("--load", "-o", "-", stdin=ARCHIVE))
    assert daemon.loaded[1] == outcome.out == daemon.loaded[0]


def test_the_alias_and_the_report(daemon: Daemon, tmp_path: Path) -> None:
    daemon.says = [{"status": "x"}, {"stream": "Loaded image: a:1\nLoaded image: b:1\n"}]
    done(squash("--load-image", "--report", tmp_path / "r.json", stdin=ARCHIVE))
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["loaded"] == ["Loaded image: a:1", "Loaded image: b:1"]


def test_verify_before_loading(daemon: Daemon) -> None:
    done(squash("--verify", "--load", stdin=ARCHIVE))
    done(squash("--verify", "-o", "docker-daemon:x", stdin=ARCHIVE))
    assert len(daemon.loaded) == 2


def test_the_library(daemon: Daemon) -> None:
    source = parse_location(f"docker-daemon:{NAME}")
    with squasher.open_archive(source) as archive:
        assert archive.name == f"docker-daemon:{NAME}"
    report = squasher.squash_archive(source, None, load=True)
    assert report.loaded == ("Loaded image: app:latest",)


# ---------------------------------------------------------------- the base


@pytest.mark.parametrize("name", ["debian:12", "sha256:" + "d" * 64])
def test_an_image_of_the_daemon_as_the_base(daemon: Daemon, name: str) -> None:
    found = result.read(done(squash("-f", f"docker-daemon:{name}", stdin=ARCHIVE)).out)
    assert len(found.one.layers) == 3
    assert daemon.asked == [f"GET /images/{name}/json", "GET /info"]


def test_a_base_without_layers_keeps_none(daemon: Daemon) -> None:
    found = result.read(done(squash("-f", "docker-daemon:empty", stdin=ARCHIVE)).out)
    assert len(found.one.layers) == 1


def test_an_image_of_the_daemon_that_is_no_base(daemon: Daemon) -> None:
    daemon.put("other:1", "sha256:" + "f" * 64, DIFF_IDS[1:3], b"")
    outcome = squash("-f", "docker-daemon:other:1", stdin=ARCHIVE)
    assert "is not the base of example.com/team/app:1.0: its layer 1 is" in failed(outcome, 4)


def test_a_base_that_the_daemon_does_not_have(daemon: Daemon) -> None:
    line = failed(squash("-f", "docker-daemon:none", stdin=ARCHIVE), 4)
    assert "docker-daemon:none: the daemon has no such image" in line


# ---------------------------------------------------------------- cleaning up

CLEAN = ("--cleanup", "--load", f"docker-daemon:{NAME}")


def test_cleanup_removes_the_source_by_its_id(daemon: Daemon) -> None:
    outcome = done(squash(*CLEAN))
    assert daemon.asked[-1] == f"DELETE /images/{ID}"
    assert ID not in daemon.images
    assert daemon.images[NAME][0] == new_id(daemon)
    assert "warning: the source image is not removed" not in outcome.err
    assert f"GET /images/{new_id(daemon)}/json" in daemon.asked, "the new image was not confirmed"


def removals(daemon: Daemon) -> list[str]:
    """Return the requests to remove something."""
    return [each for each in daemon.asked if each.startswith("DELETE")]


def test_cleanup_keeps_what_nothing_was_done_to(daemon: Daemon) -> None:
    done(squash("--keep-layers", "5", *CLEAN))
    assert not removals(daemon)


@pytest.mark.parametrize(
    ("names", "words", "stays"),
    [
        (["app:latest"], (), "it is still named app:latest"),
        (["a:1", "b:1"], (), "it is still named a:1, b:1"),
        (["a:1"], ("--tag", "app:small"), "it is still named a:1"),
        (["example.com/team/app:2"], ("--no-tag",), "it is still named example.com/team/app:2"),
    ],
)
def test_cleanup_takes_no_name_from_an_image(
    daemon: Daemon, names: list[str], words: tuple[str, ...], stays: str
) -> None:
    """A daemon removes by its ID what has one name, and that name with it."""
    for name in names:
        daemon.put(name, ID, DIFF_IDS, ARCHIVE)
    before = set(daemon.images)
    outcome = done(squash(*words, *CLEAN))
    assert f"squash: warning: the source image is not removed: {stays}\n" in outcome.err
    assert before <= set(daemon.images)
    assert not removals(daemon)


@pytest.mark.parametrize("words", [("--tag", "app:small"), ("--no-tag",)])
def test_cleanup_takes_the_name_that_was_given(daemon: Daemon, words: tuple[str, ...]) -> None:
    outcome = done(squash(*words, *CLEAN))
    assert "warning: the source image is not removed" not in outcome.err
    assert not {NAME, ID} & set(daemon.images)


def test_cleanup_counts_no_name_that_is_the_id(daemon: Daemon) -> None:
    """Containerd's store gives one to every image."""
    daemon.digests[ID] = [f"example.com/team/app@{ID}"]
    assert "warning: the source image is not removed" not in done(squash(*CLEAN)).err
    assert removals(daemon)


def test_cleanup_by_id_does_not_take_the_only_name(daemon: Daemon) -> None:
    outcome = done(squash("--no-tag", "--cleanup", "--load", f"docker-daemon:{ID}"))
    assert f"the source image is not removed: it is still named {NAME}\n" in outcome.err
    assert daemon.images[NAME][0] == ID


def test_cleanup_takes_no_name_with_a_digest_and_nothing_from_a_container(daemon: Daemon) -> None:
    other = f"example.com/team/app@sha256:{'1' * 64}"
    daemon.digests[ID] = [other, f"example.com/team/app@{ID}"]
    said = f"it is still named {other}"
    assert f"the source image is not removed: {said}\n" in done(squash(*CLEAN)).err
    daemon.put(NAME, ID, DIFF_IDS, ARCHIVE)
    daemon.containers[ID] = ["sad_turing"]
    both = f"{said}; it is still used by the container sad_turing"
    assert f"the source image is not removed: {both}\n" in done(squash(*CLEAN)).err
    assert not removals(daemon)


def test_cleanup_that_the_daemon_refuses_is_a_warning(daemon: Daemon) -> None:
    daemon.answers[f"DELETE /images/{ID}"] = (409, "image has dependent child images")
    outcome = done(squash(*CLEAN))
    assert "squash: warning: the source image is not removed: " in outcome.err
    assert "image has dependent child images" in outcome.err


def test_cleanup_needs_the_new_image(daemon: Daemon) -> None:
    """Nothing is removed as long as the daemon does not show what it has loaded."""
    daemon.id_is = "nothing"
    outcome = done(squash(*CLEAN))
    assert not removals(daemon)
    assert (
        "warning: the source image is not removed: the daemon does not show the new one"
        in outcome.err
    )


def test_cleanup_in_a_store_that_calls_images_by_their_manifest(daemon: Daemon) -> None:
    """Docker 29's containerd store knows no image by the digest of its config."""
    daemon.id_is = "manifest"
    done(squash(*CLEAN))
    assert daemon.asked[-1] == f"DELETE /images/{ID}"


def test_cleanup_of_an_image_that_is_not_there(daemon: Daemon) -> None:
    failed(squash("--cleanup", "--load", "docker-daemon:none"), 4)
    assert daemon.loaded == []


# ---------------------------------------------------------------- what goes wrong


def test_what_loading_says_is_an_error(daemon: Daemon) -> None:
    daemon.says = [{"errorDetail": {"message": "x"}, "error": "invalid\ndiffID for layer 1\n"}]
    line = failed(squash("--load", stdin=ARCHIVE), 7)
    assert line == "docker-daemon: invalid diffID for layer 1"


def test_a_file_takes_its_name_only_when_the_daemon_has_the_image(
    daemon: Daemon, tmp_path: Path
) -> None:
    daemon.says = [{"errorDetail": {"message": "x"}, "error": "no space left on device"}]
    path = tmp_path / "x.tar"
    path.write_bytes(b"old")
    failed(squash("--load", "-o", path, stdin=ARCHIVE), 7)
    assert path.read_bytes() == b"old"
    assert failed(squash("--load", "-o", "-", stdin=ARCHIVE), 7)  # and nothing on stdout


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (f"GET /images/{NAME}/get", (f"docker-daemon:{NAME}",)),
        ("POST /images/load", ("--load", "-")),
        (f"GET /images/{NAME}/json", CLEAN),
        ("GET /images/debian:12/json", ("-f", "docker-daemon:debian:12", "-")),
    ],
)
def test_what_the_daemon_says_is_an_error(
    daemon: Daemon, request_: str, words: tuple[str, ...]
) -> None:
    daemon.answers[request_] = (500, "server\nerror: \x1b[31mno space left on device")
    line = failed(squash(*words, stdin=ARCHIVE), 7)
    assert "docker-daemon: server error: \\x1b[31mno space left on device" in line


@LEAKY
@pytest.mark.usefixtures("_leaky")
def test_a_daemon_that_is_not_there(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{daemon.socket}.none")
    for words in ((f"docker-daemon:{NAME}",), ("--load", "-")):
        line = failed(squash(*words, stdin=ARCHIVE), 7)
        assert "docker-daemon: cannot talk to the daemon: No such file or directory; " in line
        assert "is the daemon running, and is DOCKER_HOST right?" in line


@LEAKY
@pytest.mark.usefixtures("_leaky")
def test_a_daemon_that_does_not_listen(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    line = failed(squash(f"docker-daemon:{NAME}"), 7)
    assert "is the daemon running, and is DOCKER_HOST right?" in line


def test_a_socket_that_may_not_be_opened(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    import docker

    def forbidden(*arguments: object, **options: object) -> None:
        raise docker.errors.DockerException(
            "Error while fetching server API version: ('Connection aborted.', "
            "PermissionError(13, 'Permission denied'))"
        )

    monkeypatch.setattr(docker, "APIClient", forbidden)
    assert "is this user in the group docker?" in failed(squash(f"docker-daemon:{NAME}"), 7)


@LEAKY
@pytest.mark.usefixtures("_leaky")
@pytest.mark.parametrize("host", ["nonsense://x", "ssh://user@host", "npipe:////./pipe/docker"])
def test_a_host_that_cannot_be_used(
    daemon: Daemon, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    assert "docker-daemon: cannot talk to the daemon: " in failed(
        squash(f"docker-daemon:{NAME}"), 7
    )


@pytest.mark.parametrize("host", ["tcp://127.0.0.1:abc", "tcp://host:99999", "tcp://[::1"])
def test_a_host_that_is_no_address(
    daemon: Daemon, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    assert failed(squash(f"docker-daemon:{NAME}"), 7).startswith("docker-daemon: ")


def test_ssh_without_its_library(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    import docker

    def lacking(*arguments: object, **options: object) -> None:
        raise docker.errors.DockerException("Install paramiko package to enable ssh:// support")

    monkeypatch.setattr(docker, "APIClient", lacking)
    monkeypatch.setenv("DOCKER_HOST", "ssh://user@host")
    assert failed(squash(f"docker-daemon:{NAME}"), 7).endswith("; pip install 'docker[ssh]'")


def test_an_archive_of_the_daemon_that_is_damaged(daemon: Daemon) -> None:
    daemon.put("broken:1", "sha256:" + "b" * 64, [], ARCHIVE[: len(ARCHIVE) // 2])
    daemon.put("nothing:1", "sha256:" + "0" * 64, [], b"")
    for name in ("broken:1", "nothing:1"):
        assert "docker-daemon" in failed(squash(f"docker-daemon:{name}"), 3)


@LEAKY
@pytest.mark.usefixtures("_leaky")
def test_a_daemon_that_dies_while_it_sends(daemon: Daemon, tmp_path: Path) -> None:
    class Liar(bytes):
        """More is promised than comes."""

        def __len__(self) -> int:
            return super().__len__() + 10_000

    daemon.put("liar:1", "sha256:" + "1" * 64, [], Liar(ARCHIVE))
    line = failed(squash("docker-daemon:liar:1", "-o", tmp_path / "x.tar"), 7)
    assert "cannot talk to the daemon" in line
    assert not (tmp_path / "x.tar").exists()


@pytest.mark.parametrize("module", ["docker", "requests"])
def test_without_the_sdk(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == module:
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    for words in (("docker-daemon:app",), ("--load", "-"), ("-f", "docker-daemon:x", "-")):
        line = failed(squash(*words, stdin=ARCHIVE), 7)
        assert line.endswith("the docker SDK is missing; pip install 'image-squasher[docker]'")


def test_the_sdk_is_not_asked_for_without_a_daemon() -> None:
    import subprocess

    code = "import sys, squasher.cli; assert not {'docker', 'requests'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# ---------------------------------------------------------------- the endpoint


def context(folder: Path, name: str, host: str, **endpoint: object) -> None:
    """Make a context as `docker context create` does."""
    meta = folder / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    meta.mkdir(parents=True)
    document = {
        "Name": name,
        "Metadata": {},
        "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": False, **endpoint}},
    }
    (meta / "meta.json").write_text(json.dumps(document))


@pytest.fixture
def config(daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder for DOCKER_CONFIG, with a context that leads to the daemon."""
    folder = tmp_path / "config"
    context(folder, "here", daemon.host)
    context(folder, "elsewhere", f"unix://{daemon.socket}.none")
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    monkeypatch.delenv("DOCKER_HOST")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.mark.parametrize("settings", ["{}", '{"currentContext":"elsewhere"}', None])
def test_docker_context(
    config: Path, settings: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if settings is not None:
        (config / "config.json").write_text(settings)
    monkeypatch.setenv("DOCKER_CONTEXT", "here")
    assert done(squash(f"docker-daemon:{NAME}")).out


def test_the_current_context(config: Path) -> None:
    (config / "config.json").write_text('{"currentContext":"here"}')
    assert done(squash(f"docker-daemon:{NAME}")).out


@LEAKY
@pytest.mark.usefixtures("_leaky")
def test_docker_host_goes_before_contexts(
    config: Path, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    (config / "config.json").write_text('{"currentContext":"elsewhere"}')
    monkeypatch.setenv("DOCKER_CONTEXT", "elsewhere")
    assert "cannot talk" in failed(squash(f"docker-daemon:{NAME}"), 7)
    monkeypatch.setenv("DOCKER_HOST", daemon.host)
    assert done(squash(f"docker-daemon:{NAME}")).out


def test_the_default_context(config: Path, daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    (config / "config.json").write_text('{"currentContext":"elsewhere"}')
    monkeypatch.setenv("DOCKER_CONTEXT", "default")
    import docker

    real = docker.APIClient
    hosts = []

    def client(base_url: str | None = None, **options: Any) -> Any:
        hosts.append(base_url)
        return real(base_url=daemon.host, **options)

    monkeypatch.setattr(docker, "APIClient", client)
    assert done(squash(f"docker-daemon:{NAME}")).out
    assert hosts == [None]


def test_a_context_that_is_not_there(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (config / "config.json").write_text("{}")
    monkeypatch.setenv("DOCKER_CONTEXT", "none")
    assert "there is no docker context 'none'" in failed(squash(f"docker-daemon:{NAME}"), 7)
    monkeypatch.delenv("DOCKER_CONTEXT")
    (config / "config.json").write_text('{"currentContext":"gone"}')
    assert "gone" in failed(squash(f"docker-daemon:{NAME}"), 7)


@pytest.mark.parametrize("text", ["{", "{}", '{"Name":"broken","Endpoints":[]}', "[]"])
def test_a_context_that_is_damaged(
    config: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (config / "config.json").write_text("{}")
    context(config, "broken", "unix:///x")
    meta = config / "contexts" / "meta" / hashlib.sha256(b"broken").hexdigest() / "meta.json"
    meta.write_text(text)
    monkeypatch.setenv("DOCKER_CONTEXT", "broken")
    assert "docker-daemon: " in failed(squash(f"docker-daemon:{NAME}"), 7)


def test_no_read_times_out(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    import docker

    real, timeouts = docker.APIClient, []

    def client(*arguments: Any, **options: Any) -> Any:
        made = real(*arguments, **options)
        timeouts.append(made.timeout)
        return made

    monkeypatch.setattr(docker, "APIClient", client)
    done(squash(f"docker-daemon:{NAME}", "--load"))
    assert timeouts == [None, None]


def test_a_stream_is_read_in_pieces_of_any_size() -> None:
    from squasher.archive.source import Chunks

    stream = Chunks([b"abc", b"defgh"])
    assert stream.readable()
    assert (stream.read(2), stream.read(2), stream.read(9)) == (b"ab", b"c", b"defgh")
    assert stream.read(1) == b""


@pytest.mark.parametrize(
    ("files", "pair", "authority"),
    [
        ((), False, False),
        (("ca.pem",), False, True),
        (("cert.pem", "key.pem"), True, False),
        (("ca.pem", "cert.pem", "key.pem"), True, True),
        (("cert.pem",), False, False),
    ],
)
@pytest.mark.parametrize("skip", [False, True])
def test_the_certificates_of_a_context(
    config: Path,
    files: tuple[str, ...],
    pair: bool,
    authority: bool,
    skip: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import docker

    context(config, "tls", "tcp://127.0.0.1:2376", SkipTLSVerify=skip)
    folder = config / "contexts" / "tls" / hashlib.sha256(b"tls").hexdigest() / "docker"
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).touch()
    monkeypatch.setenv("DOCKER_CONTEXT", "tls")
    asked: list[dict[str, Any]] = []

    def client(**options: Any) -> None:
        asked.append(options)
        raise docker.errors.DockerException("that is all")

    monkeypatch.setattr(docker, "APIClient", client)
    assert "that is all" in failed(squash(f"docker-daemon:{NAME}"), 7)
    (options,) = asked
    assert options["base_url"] == "tcp://127.0.0.1:2376"
    tls = options["tls"]
    if not pair and not authority:
        assert tls is False
        return
    assert tls.verify is not skip
    assert tls.ca_cert == (str(folder / "ca.pem") if authority else None)
    assert tls.cert == ((str(folder / "cert.pem"), str(folder / "key.pem")) if pair else None)


@pytest.mark.parametrize("make", ["folder", "text"])
def test_a_configuration_of_docker_that_is_damaged(config: Path, make: str) -> None:
    if make == "folder":
        (config / "config.json").mkdir()
    else:
        (config / "config.json").write_text("{")
    line = failed(squash(f"docker-daemon:{NAME}"), 7)
    assert f"docker-daemon: {config}/config.json: " in line
