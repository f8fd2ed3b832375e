"""Squashed images in real engines: same name, same files, same base, and an ID that adds up."""

import io
import json
import os
import subprocess
import sys
import tarfile
import time
from hashlib import sha256
from pathlib import Path

import pytest

import squasher
from tests.engines.archives import docker_archive, entry, folder, layer
from tests.engines.engines import (
    Docker,
    DockerOnContainerd,
    Engine,
    EngineError,
    Loader,
    engines,
)
from tests.engines.test_engines import LAYERS, TAG
from tests.engines.tree import differences

SQUASH = [sys.executable, "-m", "squasher"]
DOCKERFILE = """
FROM scratch
COPY busybox /bin/
SHELL ["/bin/busybox", "sh", "-c"]
ENV PATH=/bin
RUN busybox --install -s /bin && mkdir -p /srv/www /etc /var/cache/app && chmod 2775 /srv/www
RUN echo one >/srv/www/index && ln /srv/www/index /srv/www/copy && ln -s www /srv/web
RUN echo secret >/etc/key && echo root:x:0:0 >/etc/passwd && touch /var/cache/app/a /var/cache/app/b
LABEL stage=middle
RUN rm /etc/key && rm -rf /var/cache/app && mkdir /var/cache/app && touch /var/cache/app/c
RUN chmod -R g-w /srv && chown 10:20 /srv/www/copy && mknod /srv/null c 1 3
RUN rm -rf /srv/web && mkdir /srv/web && mv /srv/www/index /srv/web/index
RUN rm -rf /srv/web && echo file >/srv/web
CMD ["cat", "/srv/web"]
"""


def _output_id(archive: Path) -> str:
    """Hash the config of a docker-archive's only image."""
    with tarfile.open(archive) as tar:
        (item,) = json.loads(_member(tar, "manifest.json"))
        return f"sha256:{sha256(_member(tar, item['Config'])).hexdigest()}"


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None
    return file.read()


@pytest.mark.parametrize("keep", range(len(LAYERS) + 1))
def test_a_squashed_image_is_the_image(engine: Engine, tmp_path: Path, keep: int) -> None:
    before, after = tmp_path / "before.tar", tmp_path / "after.tar"
    docker_archive(before, {TAG: LAYERS})
    squasher.squash_archive(before, after, keep_layers=keep)
    since = time.time_ns()

    assert engine.load(before) == [TAG]
    tree, image_id = engine.tree(TAG), engine.image_id(TAG)
    layers, history = engine.layer_digests(TAG), engine.history(TAG)
    engine.prune()

    assert engine.load(after) == [TAG]
    assert differences(tree, engine.tree(TAG), stamped_since=since) == []
    assert engine.image_id(TAG) == _output_id(after)
    assert engine.layer_digests(TAG)[:keep] == layers[:keep]
    assert len(engine.layer_digests(TAG)) == min(keep + 1, len(LAYERS))
    if len(LAYERS) - keep < 2:
        assert engine.image_id(TAG) == image_id
        assert engine.history(TAG) == history
    else:
        *kept, (created_by, comment) = engine.history(TAG)
        assert kept == history
        assert created_by == ""
        assert comment.startswith(
            f"merge {image_id} to " if keep else f"create new from {image_id}"
        )


@pytest.mark.parametrize("saver", engines(), ids=lambda engine: engine.name)
def test_what_any_engine_saved_can_be_squashed(
    loader: Loader, saver: Engine, tmp_path: Path
) -> None:
    archive, saved, after = (tmp_path / f"{name}.tar" for name in ("image", "saved", "after"))
    docker_archive(archive, {TAG: LAYERS})
    if saver.name != loader.name:
        saver.prune()
    saver.load(archive)
    saver.save(TAG, saved)
    squasher.squash_archive(saved, after, keep_layers=1)
    since = time.time_ns()

    loader.prune()
    (ref,) = loader.load(archive)
    tree = loader.tree(ref)
    loader.prune()
    (ref,) = loader.load(after)
    assert differences(tree, loader.tree(ref), stamped_since=since) == []


def test_a_gzip_layer_of_several_members(loader: Loader, tmp_path: Path) -> None:
    """That is how libdeflate, of the extra `fast`, makes one: a member for each MiB."""
    pytest.importorskip("deflate", reason="needs the extra `fast`")
    content = b"".join(sha256(b"%d" % n).digest() for n in range(100_000))
    layers = (*LAYERS, layer(entry("several", content)))
    before, after = tmp_path / "before.tar", tmp_path / "after.tar"
    docker_archive(before, {TAG: layers})
    done = squasher.squash_archive(before, after, keep_layers=1, compress="gzip")
    assert done.images[0].compressor.startswith("libdeflate ")
    assert done.images[0].after[1].size > 3 << 20
    since = time.time_ns()

    (ref,) = loader.load(before)
    tree = loader.tree(ref)
    loader.prune()
    (ref,) = loader.load(after)
    assert differences(tree, loader.tree(ref), stamped_since=since) == []


def test_docker_save_squash_docker_load(docker: Docker, tmp_path: Path) -> None:
    since = time.time_ns()
    docker.load(docker_archive(tmp_path / "image.tar", {TAG: LAYERS}))
    tree, layers = docker.tree(TAG), docker.layer_digests(TAG)

    with (
        subprocess.Popen(docker.command("save", TAG), stdout=subprocess.PIPE) as save,
        subprocess.Popen(
            [*SQUASH, "--keep-layers", "1"], stdin=save.stdout, stdout=subprocess.PIPE
        ) as squash,
        subprocess.Popen(
            docker.command("load"), stdin=squash.stdout, stdout=subprocess.PIPE
        ) as load,
    ):
        printed, _ = load.communicate()
    assert (save.returncode, squash.returncode, load.returncode) == (0, 0, 0)

    assert f"Loaded image: {TAG}" in printed.decode()
    assert differences(tree, docker.tree(TAG), stamped_since=since) == []
    assert docker.layer_digests(TAG)[:1] == layers[:1]
    assert len(docker.layer_digests(TAG)) == 2


def test_from_daemon_to_daemon(docker: Docker, tmp_path: Path) -> None:
    images = {"example.com/base:1": LAYERS[:1], TAG: LAYERS}
    since = time.time_ns()
    docker.load(docker_archive(tmp_path / "images.tar", images))
    tree, source = docker.tree(TAG), docker.image_id(TAG)

    words = [
        "-f",
        "docker-daemon:example.com/base:1",
        f"docker-daemon:{TAG}",
        "--load",
        "--cleanup",
    ]
    environment = os.environ | {"DOCKER_HOST": docker.host}
    subprocess.run([*SQUASH, *words], env=environment, check=True)

    assert differences(tree, docker.tree(TAG), stamped_since=since) == []
    assert docker.layer_digests(TAG)[:1] == docker.layer_digests("example.com/base:1")
    assert len(docker.layer_digests(TAG)) == 2
    with pytest.raises(EngineError, match="No such image"):
        docker.image_id(source)


def test_a_built_image_stays_the_same_and_runs(docker: Docker, tmp_path: Path) -> None:
    saved = tmp_path / "saved.tar"
    _build(docker, tmp_path)
    docker.save("built:1", saved)
    docker.prune()
    since = time.time_ns()
    docker.load(saved)
    tree, layers = docker.tree("built:1"), docker.layer_digests("built:1")

    for keep in range(len(layers)):
        docker.prune()
        after = tmp_path / f"{keep}.tar"
        squasher.squash_archive(saved, after, keep_layers=keep)
        assert docker.load(after) == ["built:1"]
        assert docker.layer_digests("built:1")[:keep] == layers[:keep]
        assert differences(tree, docker.tree("built:1"), stamped_since=since) == [], f"keep {keep}"
        assert docker.run("built:1", ["cat", "/srv/web"]) == "file\n"


def _build(docker: Docker, tmp_path: Path) -> None:
    context = tmp_path / "context.tar"
    # docker takes a context whose first header is a PAX one for a Dockerfile.
    with tarfile.open(context, "w", format=tarfile.USTAR_FORMAT) as tar:
        tar.add("/bin/busybox", "busybox")
        info = tarfile.TarInfo("Dockerfile")
        info.size = len(DOCKERFILE)
        tar.addfile(info, io.BytesIO(DOCKERFILE.encode()))
    with context.open("rb") as stdin:
        subprocess.run(
            docker.command("build", "--quiet", "--network=none", "--tag=built:1", "-"),
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            check=True,
        )


def test_several_images_of_one_archive(engine: Engine, tmp_path: Path) -> None:
    images = {"example.com/one:1": LAYERS, "example.com/two:1": LAYERS[:2]}
    before, after = tmp_path / "before.tar", tmp_path / "after.tar"
    docker_archive(before, images)
    squasher.squash_archive(before, after, keep_layers=0)
    since = time.time_ns()

    assert sorted(engine.load(before)) == sorted(images)
    trees = {tag: engine.tree(tag) for tag in images}
    engine.prune()
    assert sorted(engine.load(after)) == sorted(images)
    for tag in images:
        assert differences(trees[tag], engine.tree(tag), stamped_since=since) == []
        assert len(engine.layer_digests(tag)) == 1


@pytest.mark.parametrize("how", ["none", "gzip", "zstd"])
def test_compressed_layers(loader: Loader, tmp_path: Path, how: str) -> None:
    before, after = tmp_path / "before.tar", tmp_path / "after.tar"
    docker_archive(before, {TAG: LAYERS})
    words = ["--keep-layers=1", f"--compress={how}", str(before), f"--output={after}"]
    subprocess.run([*SQUASH, *words], check=True)
    if how == "zstd" and loader.version.startswith("20.10"):
        # The README says so, and `squash` tells whoever asks for it.
        with pytest.raises(EngineError):
            loader.load(after)
        return
    since = time.time_ns()
    (ref,) = loader.load(before)
    tree = loader.tree(ref)
    loader.prune()
    (ref,) = loader.load(after)
    assert differences(tree, loader.tree(ref), stamped_since=since) == []


def test_an_oci_archive(engine: Engine, tmp_path: Path) -> None:
    before, after = tmp_path / "before.tar", tmp_path / "after.tar"
    docker_archive(before, {TAG: LAYERS})
    words = ["--keep-layers=1", "--format=oci", str(before), f"--output={after}"]
    subprocess.run([*SQUASH, *words], check=True)
    since = time.time_ns()
    engine.load(before)
    tree = engine.tree(TAG)
    engine.prune()
    if isinstance(engine, Docker) and not isinstance(engine, DockerOnContainerd):
        # dockerd with its classic store reads manifest.json alone, which this format has not.
        with pytest.raises(EngineError, match="no such file"):
            engine.load(after)
        return
    assert engine.load(after) == [TAG]
    assert differences(tree, engine.tree(TAG), stamped_since=since) == []


def test_more_layers_than_an_engine_allows(engine: Engine, tmp_path: Path) -> None:
    layers = [
        layer(folder("d/", mtime=str(number)), entry(f"d/{number}", b"%d" % number))
        for number in range(150)
    ]
    before, after = tmp_path / "before.tar", tmp_path / "after.tar"
    docker_archive(before, {TAG: layers})
    squasher.squash_archive(before, after, keep_layers=10)
    assert engine.load(after) == [TAG]
    tree = engine.tree(TAG)
    assert sum(node.kind == "file" for node in tree.values()) == 150
    assert tree[b"d"].mtime_ns == 149 * 10**9
