"""podman's socket speaks as a docker daemon: `docker-daemon:`, `--load`, `--cleanup` through it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.engines.archives import docker_archive
from tests.engines.engines import EngineError, Podman, places
from tests.engines.test_daemon import BASE, done, failed, squash
from tests.engines.test_engines import LAYERS, TAG
from tests.engines.tree import differences


@dataclass(frozen=True)
class Service(Podman):
    """A podman with the socket that `podman system service` has opened."""

    host: str = ""


@pytest.fixture(params=[Podman(place) for place in places()], ids=lambda podman: podman.name)
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    """Give a podman that serves an image and its base; the service ends with the test."""
    podman: Podman = request.param
    if reason := podman.place.missing():
        if os.environ.get("SQUASHER_ENGINES") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    podman.prune()
    podman.load(docker_archive(tmp_path / "images.tar", {TAG: LAYERS, BASE: LAYERS[:1]}))
    with podman.place.folder() as folder:
        socket = Path(folder, "podman.sock")
        words = podman.command("system", "service", "--time=0", f"unix://{socket}")
        quiet = subprocess.DEVNULL
        with subprocess.Popen(words, stdin=quiet, stdout=quiet, stderr=quiet) as running:
            try:
                for _ in range(240):
                    if socket.exists():
                        break
                    time.sleep(0.25)
                yield Service(podman.place, host=f"unix://{socket}")
            finally:
                running.terminate()


def exists(podman: Podman, ref: str) -> bool:
    """Tell whether podman has an image."""
    try:
        podman.image_id(ref)
    except EngineError:
        return False
    return True


def test_out_of_podman_and_into_it(service: Service) -> None:
    since = time.time_ns()
    tree, before, layers = service.tree(TAG), service.image_id(TAG), service.layer_digests(TAG)
    words = ("--keep-layers", "1", f"docker-daemon:{TAG}", "--load", "--verify")
    said = done(squash(service, *words))
    assert f"loaded   Loaded image: {TAG}" in said
    assert service.image_id(TAG) in said
    assert service.layer_digests(TAG)[:1] == layers[:1]
    assert len(service.layer_digests(TAG)) == 2
    assert differences(tree, service.tree(TAG), stamped_since=since) == []
    assert exists(service, before), "nobody asked for it to go"


def test_cleanup_removes_the_source(service: Service) -> None:
    before = service.image_id(TAG)
    said = done(squash(service, f"docker-daemon:{TAG}", "--load", "--cleanup"))
    assert "warning: the source image is not removed" not in said
    assert exists(service, TAG)
    assert not exists(service, before)
    assert exists(service, BASE)


def test_an_image_of_podman_as_the_base(service: Service, tmp_path: Path) -> None:
    out = tmp_path / "out.tar"
    words = ("-f", f"docker-daemon:{BASE}", f"docker-daemon:{TAG}", "-o", str(out))
    done(squash(service, *words))
    base = service.layer_digests(BASE)
    assert service.load(out) == [TAG]
    assert service.layer_digests(TAG)[:-1] == base


def test_an_image_that_is_not_there(service: Service) -> None:
    line = failed(squash(service, "docker-daemon:no-such-image", "--load"), 4)
    assert "docker-daemon:no-such-image: the daemon has no such image" in line
