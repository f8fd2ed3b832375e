"""Straight from a daemon, and back: `docker-daemon:`, `--load`, `--cleanup` on real dockerds."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import pytest

from tests.engines.archives import docker_archive
from tests.engines.engines import Docker, DockerOnContainerd, EngineError
from tests.engines.test_engines import LAYERS, TAG
from tests.engines.tree import differences

BASE = "example.com/team/base:1.0"


class Daemon(Protocol):
    """What answers as dockerd does."""

    @property
    def host(self) -> str:
        """What DOCKER_HOST must be to find it."""


def squash(
    docker: Daemon, *words: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command with the daemon that `env` names, by default with DOCKER_HOST."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("DOCKER_")}
    return subprocess.run(
        [sys.executable, "-m", "squasher", *words],
        env={**clean, **({"DOCKER_HOST": docker.host} if env is None else env)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def done(result: subprocess.CompletedProcess[str]) -> str:
    """Require that the command succeeded; return what it said."""
    assert result.returncode == 0, result.stderr
    return result.stderr


def failed(result: subprocess.CompletedProcess[str], code: int) -> str:
    """Require that the command failed so, with one line (and a table for a base)."""
    assert result.returncode == code, result.stderr
    assert result.stdout == ""
    assert code == 4 or result.stderr.count("\n") == 1
    return result.stderr


@pytest.fixture
def loaded(docker: Docker, tmp_path: Path) -> Docker:
    """Give a dockerd that has an image and its base."""
    images = {TAG: LAYERS, BASE: LAYERS[:1]}
    docker.load(docker_archive(tmp_path / "images.tar", images))
    return docker


def exists(docker: Docker, ref: str) -> bool:
    """Tell whether the daemon has an image."""
    try:
        docker.identity(ref)
    except EngineError:
        return False
    return True


def test_out_of_the_daemon_and_into_it(loaded: Docker) -> None:
    since = time.time_ns()
    tree, before, layers = loaded.tree(TAG), loaded.identity(TAG), loaded.layer_digests(TAG)
    words = ("--keep-layers", "1", f"docker-daemon:{TAG}", "-o", "docker-daemon:app:small")
    said = done(squash(loaded, *words))
    assert "loaded   Loaded image: app:small" in said
    assert loaded.image_id("app:small") in said
    assert loaded.layer_digests("app:small")[:1] == layers[:1]
    assert len(loaded.layer_digests("app:small")) == 2
    assert differences(tree, loaded.tree("app:small"), stamped_since=since) == []
    assert loaded.identity(TAG) == before


def test_by_id(loaded: Docker, tmp_path: Path) -> None:
    out = tmp_path / "x.tar"
    done(squash(loaded, f"docker-daemon:{loaded.identity(TAG)}", "-o", str(out)))
    loaded.prune()
    (ref,) = loaded.load(out)
    assert ref.startswith("sha256:"), "an image that is saved by its ID has no name"
    assert len(loaded.layer_digests(ref)) == 1


def test_what_the_id_of_a_base_is_the_digest_of(loaded: Docker, tmp_path: Path) -> None:
    stated = tmp_path / "provenance.json"
    words = ("-f", f"docker-daemon:{BASE}", f"docker-daemon:{TAG}", "-o", str(tmp_path / "x.tar"))
    done(squash(loaded, *words, "--provenance", str(stated)))
    definition = json.loads(stated.read_bytes())["predicate"]["buildDefinition"]
    (base,) = (x for x in definition["resolvedDependencies"] if x["name"] == "base")
    kind = "manifest" if isinstance(loaded, DockerOnContainerd) else "config"
    identity = loaded.identity(BASE)
    assert base["annotations"] == {"digestOf": kind, "imageId": identity}
    assert "sha256:" + base["digest"]["sha256"] == identity


def test_load_takes_over_the_name(loaded: Docker) -> None:
    since = time.time_ns()
    tree, before = loaded.tree(TAG), loaded.identity(TAG)
    said = done(squash(loaded, f"docker-daemon:{TAG}", "--load", "--verify"))
    assert f"loaded   Loaded image: {TAG}" in said
    assert loaded.identity(TAG) != before
    assert exists(loaded, before), "nobody asked for it to go"
    assert differences(tree, loaded.tree(TAG), stamped_since=since) == []


def test_cleanup_removes_the_source(loaded: Docker) -> None:
    before = loaded.identity(TAG)
    done(squash(loaded, f"docker-daemon:{TAG}", "--load", "--cleanup"))
    assert exists(loaded, TAG)
    assert not exists(loaded, before)
    assert exists(loaded, BASE)


def test_cleanup_leaves_an_image_in_use(loaded: Docker) -> None:
    before = loaded.identity(TAG)
    create = loaded.command("create", "--network=none", TAG, "/bin/tool")
    container = subprocess.run(create, capture_output=True, text=True, check=True).stdout.strip()
    try:
        said = done(squash(loaded, f"docker-daemon:{TAG}", "--load", "--cleanup"))
        assert (
            "squash: warning: the source image is not removed: it is still used by the container "
            in said
        )
        assert exists(loaded, before)
    finally:
        subprocess.run(loaded.command("rm", container), check=True, capture_output=True)


@pytest.mark.parametrize("names", [["one:1"], ["one:1", "two:1"]])
@pytest.mark.parametrize("words", [(), ("--tag", "app:small")])
def test_cleanup_leaves_an_image_with_other_names(
    loaded: Docker, names: list[str], words: tuple[str, ...]
) -> None:
    before = loaded.identity(TAG)
    for name in names:
        subprocess.run(loaded.command("tag", TAG, name), check=True)
    said = done(squash(loaded, *words, f"docker-daemon:{TAG}", "--load", "--cleanup"))
    assert (
        f"warning: the source image is not removed: it is still named {', '.join(names)}\n" in said
    )
    for name in names:
        assert loaded.identity(name) == before


def test_cleanup_takes_the_name_that_was_given(loaded: Docker) -> None:
    before = loaded.identity(TAG)
    words = (f"docker-daemon:{TAG}", "--tag", "app:small", "--load", "--cleanup")
    assert "warning" not in done(squash(loaded, *words))
    assert not exists(loaded, before)
    assert not exists(loaded, TAG)
    assert exists(loaded, "app:small")


def test_cleanup_by_id_leaves_an_image_its_only_name(loaded: Docker) -> None:
    before = loaded.identity(TAG)
    said = done(squash(loaded, f"docker-daemon:{before}", "--load", "--cleanup"))
    assert f"warning: the source image is not removed: it is still named {TAG}\n" in said
    assert loaded.identity(TAG) == before


def test_cleanup_with_nothing_to_squash(loaded: Docker) -> None:
    before = loaded.identity(BASE)
    done(squash(loaded, f"docker-daemon:{BASE}", "--load", "--cleanup"))
    assert loaded.identity(BASE) == before


def test_an_image_of_the_daemon_as_the_base(loaded: Docker, tmp_path: Path) -> None:
    words = (f"docker-daemon:{TAG}", "-o", f"docker-archive:{tmp_path}/x.tar:app:1")
    done(squash(loaded, "-f", f"docker-daemon:{BASE}", *words))
    assert loaded.load(tmp_path / "x.tar") == ["app:1"]
    assert len(loaded.layer_digests("app:1")) == 2
    assert loaded.layer_digests("app:1")[:1] == loaded.layer_digests(BASE)
    line = failed(squash(loaded, "-f", f"docker-daemon:{TAG}", f"docker-daemon:{BASE}"), 4)
    assert f"is not the base of {BASE}: it has 3 layers, {BASE} has 1" in line


def test_images_that_are_not_there(loaded: Docker) -> None:
    for name in ("no-such-image", "no-such-image:1"):
        line = failed(squash(loaded, f"docker-daemon:{name}"), 4)
        assert name in line
        assert "the daemon has no such image" in line
        words = ("-f", f"docker-daemon:{name}", f"docker-daemon:{TAG}")
        assert "no such image" in failed(squash(loaded, *words), 4)
    assert "docker-daemon:" in failed(squash(loaded, "docker-daemon:Not A Name"), 7)


def test_an_id_that_is_not_there(loaded: Docker) -> None:
    name = "sha256:" + "0" * 64
    assert name in failed(squash(loaded, f"docker-daemon:{name}"), 4)
    words = ("-f", f"docker-daemon:{name}", f"docker-daemon:{TAG}")
    assert "no such image" in failed(squash(loaded, *words), 4)


def test_what_the_daemon_does_not_load(loaded: Docker, tmp_path: Path) -> None:
    """Only docker 20.10 does not know zstd, and says so while it loads."""
    words = (f"docker-daemon:{TAG}", "--compress", "zstd", "-o", "docker-daemon:app:zstd")
    result = squash(loaded, *words)
    if not loaded.version.startswith("20.10"):
        done(result)
        return
    assert failed(result, 7).startswith("squash: docker-daemon: ")
    assert not exists(loaded, "app:zstd")


@pytest.mark.parametrize("way", ["DOCKER_HOST", "DOCKER_CONTEXT", "current"])
def test_the_endpoint(loaded: Docker, way: str, tmp_path: Path) -> None:
    """The contexts are made by docker itself."""
    config = {"DOCKER_CONFIG": str(tmp_path / "config")}
    command = ["/usr/bin/docker", "--config", config["DOCKER_CONFIG"], "context"]
    settings = ["--docker", f"host={loaded.host}"]
    subprocess.run([*command, "create", "here", *settings], check=True, capture_output=True)
    env = {
        "DOCKER_HOST": {**config, "DOCKER_HOST": loaded.host, "DOCKER_CONTEXT": "none"},
        "DOCKER_CONTEXT": {**config, "DOCKER_CONTEXT": "here"},
        "current": config,
    }[way]
    if way == "current":
        subprocess.run([*command, "use", "here"], check=True, capture_output=True)
    done(squash(loaded, f"docker-daemon:{TAG}", "-o", str(tmp_path / "x.tar"), env=env))


def test_contexts_are_where_docker_puts_them(docker: Docker, tmp_path: Path) -> None:
    """What tests/forms writes as a context is what docker writes."""
    words = ["--config", str(tmp_path), "context", "create", "here", "--docker"]
    command = ["/usr/bin/docker", *words, f"host={docker.host}"]
    subprocess.run(command, check=True, capture_output=True)
    identity = hashlib.sha256(b"here").hexdigest()
    meta = json.loads((tmp_path / "contexts" / "meta" / identity / "meta.json").read_text())
    assert meta["Endpoints"]["docker"] == {"Host": docker.host, "SkipTLSVerify": False}


def test_a_daemon_that_is_not_there(loaded: Docker, tmp_path: Path) -> None:
    env = {"DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
    line = failed(squash(loaded, f"docker-daemon:{TAG}", env=env), 7)
    assert "cannot talk to the daemon" in line
    assert "is the daemon running, and is DOCKER_HOST right?" in line
    env = {"DOCKER_CONTEXT": "none", "DOCKER_CONFIG": str(tmp_path)}
    line = failed(squash(loaded, f"docker-daemon:{TAG}", env=env), 7)
    assert "there is no docker context 'none'" in line
