"""Images as each tool makes and saves them, for the matrix of engines.

Each maker starts from nothing or from what another has built, changes it with its own means (files
that go, folders that come anew, links, owners) and writes it in a form of its own.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.engines.engines import (
    Containerd,
    Docker,
    DockerOnContainerd,
    EngineError,
    Place,
    Podman,
    places,
)

TAG = "example.com/matrix/app:1.0"
BUSYBOX = Path("/bin/busybox")
DOCKERFILE = """
FROM scratch
COPY busybox /bin/
SHELL ["/bin/busybox", "sh", "-c"]
ENV PATH=/bin
RUN busybox --install -s /bin && mkdir -p /srv/www /etc /var/cache/app && chmod 2775 /srv/www
RUN echo one >/srv/www/index && ln /srv/www/index /srv/www/copy && ln -s www /srv/web
RUN echo secret >/etc/key && echo root:x:0:0 >/etc/passwd && touch /var/cache/app/a
LABEL stage=middle
RUN rm /etc/key && rm -rf /var/cache/app && mkdir /var/cache/app && touch /var/cache/app/c
CMD ["cat", "/srv/www/index"]
"""
CHANGE = (
    "rm /etc/passwd && rm -rf /var/cache/app && mkdir /var/cache/app && echo new >/var/cache/app/d"
    " && chown 10:20 /srv/www/copy && rm /srv/web && mkdir /srv/web && echo 'file' >/srv/web/f"
)
AGAIN = "rm -rf /srv/web && ln -s www /srv/web && rm /var/cache/app/d && chmod 700 /var/cache"
EPOCH = "--build-arg=SOURCE_DATE_EPOCH=1500000000"
# podman and buildah raise these limits, which some sandboxes forbid even root (CAP_SYS_RESOURCE).
LIMITS = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024")


def run(words: Sequence[str], stdin: Path | None = None, stdout: Path | None = None) -> str:
    """Run a command; return what it printed. Raises EngineError."""
    with (
        (stdin or Path("/dev/null")).open("rb") as given,
        (stdout or Path("/dev/null")).open("wb") as file,
    ):
        done = subprocess.run(
            words,
            stdin=given,
            stdout=file if stdout else subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=120,
            check=False,
        )
    if done.returncode:
        raise EngineError(f"{words}: {done.stderr.decode(errors='replace').strip()}")
    return (done.stdout or b"").decode()


# ---------------------------------------------------------------- docker


def docker_build(place: Place, out: Path) -> str:
    """`docker build`, `docker save`."""
    docker = Docker(place)
    context = out.with_suffix(".context")
    # docker takes a context whose first header is a PAX one for a Dockerfile.
    with tarfile.open(context, "w", format=tarfile.USTAR_FORMAT) as tar:
        tar.add(BUSYBOX, "busybox")
        info = tarfile.TarInfo("Dockerfile")
        info.size = len(DOCKERFILE)
        tar.addfile(info, io.BytesIO(DOCKERFILE.encode()))
    run(docker.command("build", "--quiet", "--network=none", f"--tag={TAG}", "-"), stdin=context)
    docker.save(TAG, out)
    return f"docker-archive:{out}"


def docker_commit(place: Place, out: Path) -> str:
    """`docker commit` of a container that has changed files, `docker save`."""
    docker = Docker(place)
    docker_build(place, out)
    container = run(docker.command("create", "--network=none", TAG, "sh", "-c", CHANGE)).strip()
    run(docker.command("start", "--attach", container))
    run(docker.command("commit", container, TAG))
    run(docker.command("rm", container))
    docker.save(TAG, out)
    return f"docker-archive:{out}"


def buildx(kind: str, *options: str) -> Callable[[Place, Path], str]:
    """`docker buildx build` with `--output type=KIND`, in a dockerd on containerd's store."""

    def make(place: Place, out: Path) -> str:
        docker = DockerOnContainerd(place)
        with place.folder() as folder:
            shutil.copy2(BUSYBOX, f"{folder}/busybox")
            Path(folder, "Dockerfile").write_text(DOCKERFILE)
            output = f"--output=type={kind},dest={folder}/image"
            words = ("buildx", "build", "--quiet", "--network=none", f"--tag={TAG}", output)
            run(docker.command(*words, *options, folder))
            shutil.copyfile(f"{folder}/image", out)
        return f"{'oci-archive' if kind.startswith('oci') else 'docker-archive'}:{out}"

    return make


def buildx_load(place: Place, out: Path) -> str:
    """`docker buildx build --load` with all that its provenance can say, `docker save`."""
    docker = DockerOnContainerd(place)
    with place.folder() as folder:
        shutil.copy2(BUSYBOX, f"{folder}/busybox")
        Path(folder, "Dockerfile").write_text(DOCKERFILE)
        words = ("buildx", "build", "--quiet", "--load", "--network=none", f"--tag={TAG}")
        run(docker.command(*words, "--provenance=mode=max", folder))
    docker.save(TAG, out)
    return f"docker-archive:{out}"


_committed: list[bytes] = []


def committed(out: Path) -> bytes:
    """Return what docker 20.10 saves of the image that others change further; made once."""
    if not _committed:
        docker_commit(places()[0], out)
        _committed.append(out.read_bytes())
    return _committed[0]


# ---------------------------------------------------------------- podman, buildah, skopeo


def podman_commit(form: str) -> Callable[[Place, Path], str]:
    """`podman commit`, `podman save`, as docker-archive or oci-archive."""

    def make(place: Place, out: Path) -> str:
        podman = Podman(place)
        out.write_bytes(committed(out))
        podman.load(out)
        name = f"squasher-{form}"
        options = ["--network=none", *LIMITS, f"--name={name}"]
        run(podman.command("run", *options, TAG, "sh", "-c", AGAIN))
        run(podman.command("commit", "--quiet", name, TAG))
        run(podman.command("rm", name))
        run(podman.command("save", "--quiet", f"--format={form}", TAG), stdout=out)
        return f"{form}:{out}"

    return make


def buildah(form: str) -> Callable[[Place, Path], str]:
    """`buildah from scratch`, `copy`, `run`, `commit` twice, `push`."""

    def make(place: Place, out: Path) -> str:
        def call(*words: str) -> str:
            root = [f"--root={place.state}/podman", "--runroot=/run/squasher-podman"]
            return place.call("buildah", *root, "--storage-driver=overlay", *words).strip()

        with place.folder() as folder:
            shutil.copy2(BUSYBOX, folder)
            first = call("from", *LIMITS, "scratch")
            call("copy", "--quiet", first, f"{folder}/busybox", "/bin/")
            command = ["/bin/busybox", "sh", "-c"]
            install = (
                "/bin/busybox --install -s /bin; PATH=/bin; mkdir -p /etc /srv/www /var/cache/app;"
                " echo x >/etc/passwd; touch /srv/www/copy /var/cache/app/a; ln -s www /srv/web"
            )
            call("run", "--isolation=chroot", first, "--", *command, install)
            call("config", "--env=PATH=/bin", "--cmd=sh", first)
            call("commit", "--quiet", first, "squasher-base")
            second = call("from", *LIMITS, "--pull-never", "squasher-base")
            call("run", "--isolation=chroot", second, "--", *command, CHANGE)
            call("commit", "--quiet", second, "squasher-middle")
            third = call("from", *LIMITS, "--pull-never", "squasher-middle")
            call("run", "--isolation=chroot", third, "--", *command, "rm -r /srv/web /bin/vi")
            call("commit", "--quiet", third, TAG)
            call("rm", first, second, third)
            call("push", "--quiet", TAG, f"{form}:{folder}/image")
            shutil.copyfile(f"{folder}/image", out)
        return f"{form}:{out}"

    return make


def skopeo(form: str) -> Callable[[Place, Path], str]:
    """`skopeo copy` of what docker 20.10 has saved."""

    def make(place: Place, out: Path) -> str:
        with place.folder() as folder:
            Path(folder, "before").write_bytes(committed(out))
            copy(place, f"docker-archive:{folder}/before", f"{form}:{folder}/after:{TAG}")
            shutil.copyfile(f"{folder}/after", out)
        return f"{form}:{out}"

    return make


def copy(place: Place, source: str, destination: str, *options: str) -> None:
    """Copy an image with the skopeo of a place."""
    words = ["skopeo", "--insecure-policy", "copy", "--quiet", *options]
    place.call(*words, source, destination)


# ---------------------------------------------------------------- umoci, containerd


def umoci(place: Place, out: Path) -> str:
    """`umoci insert` and `umoci repack` into a layout folder."""
    with place.folder() as folder:
        image = f"{folder}/layout:app"
        place.call("umoci", "init", f"--layout={folder}/layout")
        place.call("umoci", "new", f"--image={image}")
        shutil.copy2(BUSYBOX, folder)
        place.call("umoci", "insert", f"--image={image}", f"{folder}/busybox", "/bin/busybox")
        for number in range(2):
            bundle = Path(folder, f"bundle-{number}")
            place.call("umoci", "unpack", f"--image={image}", str(bundle))
            root = place.path(str(bundle)) / "rootfs"
            (root / "etc").mkdir(exist_ok=True)
            (root / "etc" / f"file-{number}").write_text(f"{number}\n")
            (root / f"etc/link-{number}").symlink_to(f"file-{number}")
            if number:
                (root / "etc/file-0").unlink()
                (root / "etc/link-0").unlink()
                (root / "etc/link-0").mkdir(0o2750)
            place.call("umoci", "repack", f"--image={image}", str(bundle))
        place.call("umoci", "insert", f"--image={image}", "--whiteout", "/etc/link-1")
        shutil.copytree(f"{folder}/layout", out)
    return f"oci:{out}:app"


def containerd(place: Place, out: Path) -> str:
    """`ctr images export` of what docker 20.10 has saved."""
    out.write_bytes(committed(out))
    engine = Containerd(place)
    engine.load(out)
    engine.save(TAG, out)
    return f"oci-archive:{out}"


@dataclass(frozen=True)
class Maker:
    """A way to make an image: `make(place, path)` gives it as a transport of skopeo."""

    name: str
    place: Place
    make: Callable[[Place, Path], str]


def makers() -> list[Maker]:
    """Return every way."""
    old, new, newest = places()
    return [
        Maker("docker 20.10 build", old, docker_build),
        Maker("docker 26 build", new, docker_build),
        Maker("docker 20.10 commit", old, docker_commit),
        Maker("docker 26 commit", new, docker_commit),
        Maker("podman 4.3 docker-archive", old, podman_commit("docker-archive")),
        Maker("podman 4.3 oci-archive", old, podman_commit("oci-archive")),
        Maker("podman 5.4 docker-archive", new, podman_commit("docker-archive")),
        Maker("podman 5.4 oci-archive", new, podman_commit("oci-archive")),
        Maker("buildah 1.28 docker-archive", old, buildah("docker-archive")),
        Maker("buildah 1.39 oci-archive", new, buildah("oci-archive")),
        Maker("skopeo 1.9 oci-archive", old, skopeo("oci-archive")),
        Maker("skopeo 1.18 docker-archive", new, skopeo("docker-archive")),
        Maker("umoci 0.4.7", new, umoci),
        Maker("docker 28 build", newest, docker_build),
        Maker("docker 28 commit", newest, docker_commit),
        Maker("buildx docker-archive", newest, buildx("docker")),
        Maker("buildx oci-archive", newest, buildx("oci")),
        Maker("buildx provenance", newest, buildx("oci", "--provenance=mode=max")),
        Maker("buildx rewrite-timestamp", newest, buildx("oci,rewrite-timestamp=true", EPOCH)),
        Maker("buildx zstd", newest, buildx("oci,compression=zstd,force-compression=true")),
        Maker("buildx load", newest, buildx_load),
        Maker("podman 5.8 docker-archive", newest, podman_commit("docker-archive")),
        Maker("podman 5.8 oci-archive", newest, podman_commit("oci-archive")),
        Maker("buildah 1.43 oci-archive", newest, buildah("oci-archive")),
        Maker("skopeo 1.22 oci-archive", newest, skopeo("oci-archive")),
        Maker("umoci 0.6", newest, umoci),
        Maker("containerd 2.1", newest, containerd),
        Maker("containerd 1.6", old, containerd),
        Maker("containerd 1.7", new, containerd),
    ]
