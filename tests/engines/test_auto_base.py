"""`-f auto` on what real builders write: provenance of buildx, annotations of buildah."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import squasher
from tests.engines.engines import DockerOnContainerd, Place, places
from tests.engines.makers import BUSYBOX, LIMITS, run

APP, BASE = "example.com/auto/app:1", "example.com/auto/base:12"
BASE_FILE = """
FROM scratch
COPY busybox /bin/
SHELL ["/bin/busybox", "sh", "-c"]
ENV PATH=/bin
RUN busybox --install -s /bin && mkdir -p /srv /etc
"""
#: The base twice, another image, an image that the base is built on: only the last FROM counts.
FILES = {
    "plain": f"FROM {BASE}\nRUN echo one >/srv/one\nRUN rm /srv/one && echo two >/srv/two\n",
    "stages": f"FROM {BASE} AS tool\nRUN echo tool >/tool\nFROM {BASE}\n"
    "COPY --from=tool /tool /srv/\n"
    "RUN --mount=from=tool,target=/mnt cat /mnt/tool >/srv/again\nWORKDIR /srv/here\n",
    "link": f"FROM {BASE} AS tool\nRUN echo tool >/tool\nFROM {BASE}\n"
    "COPY --link --from=tool /tool /srv/\nRUN rm /bin/vi\nCOPY --link busybox /srv/\n",
    "nothing": f"FROM {BASE} AS tool\nFROM scratch\nCOPY --from=tool /bin /bin\n"
    "COPY --from=tool /srv /srv\n",
}


@pytest.fixture(scope="module")
def docker() -> DockerOnContainerd:
    """Give the newest docker on containerd's store, with the base in it."""
    place = _ready(places()[-1])
    found = DockerOnContainerd(place)
    found.prune()
    with place.folder() as folder:
        shutil.copy2(BUSYBOX, f"{folder}/busybox")
        _build(found, folder, BASE_FILE, BASE, "--load", "--provenance=false")
    return found


def _ready(place: Place) -> Place:
    if reason := place.missing():
        if os.environ.get("SQUASHER_ENGINES") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    return place


def _build(docker: DockerOnContainerd, folder: str, text: str, tag: str, *options: str) -> None:
    Path(folder, "Dockerfile").write_text(text)
    words = ("buildx", "build", "--quiet", "--network=none", f"--tag={tag}", *options, folder)
    run(docker.command(*words))


def _built(docker: DockerOnContainerd, out: Path, text: str, *options: str) -> Path:
    """Build into an OCI archive."""
    with docker.place.folder() as folder:
        shutil.copy2(BUSYBOX, f"{folder}/busybox")
        output = f"--output=type=oci,dest={folder}/image"
        _build(docker, folder, text, APP, output, *options)
        shutil.copyfile(f"{folder}/image", out)
    return out


def _layers(docker: DockerOnContainerd) -> list[str]:
    return docker.layer_digests(BASE)


def _kept(path: Path, out: Path, image: str = "") -> list[str]:
    """Squash, and return the diff_ids of the layers that were kept."""
    report = squasher.squash_archive(path, out, base="auto", image=image, verify=True)
    (one,) = report.images
    assert any(line.startswith("the base is ") for line in one.notices)
    return [str(layer.diff_id) for layer in one.after[: one.kept]]


@pytest.mark.parametrize("version", ["", ",version=v1"])
@pytest.mark.parametrize("name", ["plain", "stages", "link"])
def test_buildx_writes_down_its_base(
    docker: DockerOnContainerd, tmp_path: Path, name: str, version: str
) -> None:
    """The last FROM is found through stages, mounts and linked copies."""
    path = _built(docker, tmp_path / "app", FILES[name], f"--provenance=mode=max{version}")
    assert _kept(path, tmp_path / "out") == _layers(docker)
    assert docker.load(tmp_path / "out") == [APP]


def test_buildx_from_scratch_has_no_base(docker: DockerOnContainerd, tmp_path: Path) -> None:
    path = _built(docker, tmp_path / "app", FILES["nothing"], "--provenance=mode=max")
    with pytest.raises(squasher.BaseNotFoundError, match="names no base"):
        squasher.squash_archive(path, None, base="auto")


def test_buildx_with_less_provenance_wants_the_base(
    docker: DockerOnContainerd, tmp_path: Path
) -> None:
    """mode=min has digests alone: the base beside the image, as `docker save` has it, proves it."""
    path = _built(docker, tmp_path / "app", FILES["plain"], "--provenance=mode=min")
    with pytest.raises(squasher.BaseNotFoundError, match=f"names {BASE}@sha256:"):
        squasher.squash_archive(path, None, base="auto")
    with docker.place.folder() as folder:
        _build(docker, folder, FILES["plain"], APP, "--load", "--provenance=mode=min")
    both = tmp_path / "both"
    run(docker.command("save", APP, BASE), stdout=both)
    assert _kept(both, tmp_path / "out", APP) == _layers(docker)


def test_the_daemon_has_the_base(
    docker: DockerOnContainerd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gave the image, so it is asked for the base as well."""
    with docker.place.folder() as folder:
        _build(docker, folder, FILES["plain"], APP, "--load", "--provenance=mode=min")
    socket = docker.place.path(docker.place.state / "docker-containerd.sock")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{socket}")
    location = squasher.parse_location(f"docker-daemon:{APP}")
    report = squasher.squash_archive(location, tmp_path / "out", base="auto")
    (one,) = report.images
    assert any("of docker-daemon:" in line and "are the lowest" in line for line in one.notices)
    assert [str(layer.diff_id) for layer in one.after[: one.kept]] == _layers(docker)


@pytest.mark.parametrize("place", places(), ids=lambda place: place.name)
def test_buildah_writes_its_base_into_annotations(place: Place, tmp_path: Path) -> None:
    _ready(place)
    root = [f"--root={place.state}/podman", "--runroot=/run/squasher-podman"]

    def call(*words: str) -> str:
        return place.call("buildah", *root, "--storage-driver=overlay", *words).strip()

    with place.folder() as folder:
        shutil.copy2(BUSYBOX, f"{folder}/busybox")
        first = call("from", *LIMITS, "scratch")
        call("copy", "--quiet", first, f"{folder}/busybox", "/bin/")
        call("commit", "--quiet", first, BASE)
        call("rm", first)
        steps = "".join(f"COPY busybox /bin/busybox-{number}\n" for number in range(2))
        Path(folder, "Dockerfile").write_text(f"FROM {BASE}\n{steps}")
        build = ("build", "--quiet", "--layers", "--pull=never", "--isolation=chroot", *LIMITS)
        call(*build, f"--tag={APP}", folder)
        for name in (BASE, APP):
            call("push", "--quiet", name, f"oci:{folder}/layout:{name}")
        call("rmi", "--all", "--force")
        shutil.copytree(f"{folder}/layout", tmp_path / "layout")
    report = squasher.squash_archive(
        tmp_path / "layout", tmp_path / "out", base="auto", image=APP, verify=True
    )
    (one,) = report.images
    assert any(BASE in line and "annotations" in line for line in one.notices)
    assert (one.kept, one.merged) == (1, True)
