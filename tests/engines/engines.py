"""Drive the container engines that `scripts/engines up` has started, through their own commands.

Archives go in and out through standard input and output, so that no folder need be shared with an
engine; trees are read below /proc/PID/root, where the mounts of an engine's namespace are visible.
"""

# ruff: noqa: D102 # the protocols describe the methods

import fcntl
import functools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO, Any, Protocol, TextIO

from tests.engines.tree import Tree, read_tree

#: Seconds. What test_pairs.py loads, a busy disk takes minutes to remove.
TIMEOUT = 600
numbers = count()


class EngineError(RuntimeError):
    """A command of an engine failed; the text is what it said."""


@dataclass(frozen=True)
class Place:
    """One generation of engines: a mount namespace and a folder, as scripts/engines made them."""

    name: str
    state: Path

    @property
    def pid(self) -> int:
        """The process that holds the namespace."""
        return int((self.state / "holder.pid").read_text())

    def missing(self) -> str | None:
        """Say why this place cannot be used, None when it can."""
        if os.geteuid() != 0:
            return "not root"
        try:
            os.kill(self.pid, 0)
        except (OSError, ValueError):
            return f"{self.state}: no engines; start them with scripts/engines up"
        return None

    def command(self, *argv: str) -> list[str]:
        """Return the words that run `argv` inside the namespace."""
        return ["nsenter", f"--target={self.pid}", "--mount", "--", *argv]

    def call(
        self, *argv: str, stdin: IO[bytes] | None = None, stdout: IO[bytes] | None = None
    ) -> str:
        """Run `argv` inside the namespace and return what it printed; raise EngineError."""
        done = subprocess.run(
            self.command(*argv),
            stdin=stdin or subprocess.DEVNULL,
            stdout=stdout or subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=TIMEOUT,
            check=False,
        )
        if done.returncode:
            errors = done.stderr.decode(errors="replace").strip()
            raise EngineError(f"{self.name}: {argv}: exit {done.returncode}: {errors}")
        return (done.stdout or b"").decode()

    def path(self, inside: str | Path) -> Path:
        """Return how a path of the namespace is spelt outside."""
        return Path(f"/proc/{self.pid}/root{inside}")

    @contextmanager
    def folder(self) -> Iterator[str]:
        """Make an empty folder that has one name inside and outside."""
        folder = self.state / f"tmp-{os.getpid()}-{next(numbers)}"
        folder.mkdir(parents=True)
        try:
            yield str(folder)
        finally:
            shutil.rmtree(folder)


class Loader(Protocol):
    """What loads an image and unpacks it. A reference is a name or an ID, as `load` returns it."""

    @property
    def place(self) -> Place:
        """Where it runs."""
        ...

    @property
    def name(self) -> str:
        """Command and place, as in `podman-trixie`."""
        ...

    @property
    def version(self) -> str:
        """What the engine says of itself."""
        ...

    def load(self, archive: Path) -> list[str]:
        """Load an archive; return the references that the engine reports, in its own words."""
        ...

    def tree(self, ref: str) -> Tree:
        """Read the image's root filesystem as the engine would mount it for a container."""
        ...

    def image_id(self, ref: str) -> str:
        """Return the digest of the config, `sha256:` and 64 digits."""
        ...

    def layer_digests(self, ref: str) -> list[str]:
        """Return the diff_ids, lowest layer first."""
        ...

    def remove(self, ref: str) -> None:
        """Remove one image."""
        ...

    def prune(self) -> None:
        """Remove every image and layer, so that the next load unpacks all anew."""
        ...


class Engine(Loader, Protocol):
    """What also runs containers."""

    def run(self, ref: str, argv: Sequence[str]) -> str:
        """Run a command in a new container without a network and return what it printed."""
        ...

    def history(self, ref: str) -> list[tuple[str, str]]:
        """Return (created by, comment) of every history row, oldest first."""
        ...

    def save(self, ref: str, archive: Path) -> None:
        """Write the image as an archive."""
        ...


#: Layers that no `docker system prune` takes away.
_kept_for_good: set[str] = set()


@dataclass(frozen=True)
class Docker:
    """A dockerd with the overlay2 store, through Debian's own client of the same version."""

    place: Place

    @property
    def name(self) -> str:
        return f"docker-{self.place.name}"

    @property
    def version(self) -> str:
        return self._docker("version", "--format", "{{.Server.Version}}").strip()

    @property
    def host(self) -> str:
        """What DOCKER_HOST must be to find it."""
        return f"unix://{self.place.state}/docker.sock"

    def command(self, *argv: str) -> list[str]:
        """Return the words of a docker command, for pipes."""
        return self.place.command(*self._words(*argv))

    def load(self, archive: Path) -> list[str]:
        with archive.open("rb") as stdin:
            printed = self._docker("load", stdin=stdin)
        return [
            line.split(": ", 1)[1]
            for line in printed.splitlines()
            if line.startswith(("Loaded image: ", "Loaded image ID: "))
        ]

    def tree(self, ref: str) -> Tree:
        """Mount the layers as dockerd does, but without a container's own (/etc/hosts, ...)."""
        data = self._inspect(ref)["GraphDriver"]["Data"]
        store = self.place.state / "docker/overlay2"
        diffs = [data["UpperDir"], *filter(None, data.get("LowerDir", "").split(":"))]
        # The short names that dockerd keeps for it: mount(2) takes no more than a page of options.
        links = [self.place.path(Path(diff).parent / "link") for diff in diffs]
        with self.place.folder() as mount, self.place.folder() as empty:
            # overlay wants two layers; dockerd has an empty one of its own above the image.
            layers = ":".join([empty, *(f"l/{link.read_text()}" for link in links)])
            script = 'cd "$1" && LIBMOUNT_FORCE_MOUNT2=always mount -t overlay overlay -o "$2" "$3"'
            options = f"ro,index=off,lowerdir={layers}"
            self.place.call("sh", "-euc", script, "sh", str(store), options, mount)
            try:
                return read_tree(self.place.path(mount))
            finally:
                self.place.call("umount", mount)

    def run(self, ref: str, argv: Sequence[str]) -> str:
        options = ["--rm", "--network=none", f"--entrypoint={argv[0]}"]
        return self._docker("run", *options, ref, *argv[1:])

    def history(self, ref: str) -> list[tuple[str, str]]:
        printed = self._docker("history", "--no-trunc", "--format", "{{json .}}", ref)
        rows = [json.loads(line) for line in printed.splitlines()]
        return [(row["CreatedBy"], row["Comment"]) for row in reversed(rows)]

    def image_id(self, ref: str) -> str:
        return self.identity(ref)

    def identity(self, ref: str) -> str:
        """Return what the daemon itself calls the ID."""
        return str(self._inspect(ref)["Id"])

    def layer_digests(self, ref: str) -> list[str]:
        return list(self._inspect(ref)["RootFS"]["Layers"])

    def save(self, ref: str, archive: Path) -> None:
        with archive.open("wb") as stdout:
            self._docker("save", ref, stdout=stdout)

    def remove(self, ref: str) -> None:
        self._docker("rmi", "--force", ref)

    def prune(self) -> None:
        # BuildKit holds layers of a build that has ended for a moment; what a load that failed had
        # unpacked, dockerd of the classic store keeps for good.
        for _ in range(10):
            self._docker("system", "prune", "--all", "--force")
            left = self._layers() - _kept_for_good
            if not left:
                return
            time.sleep(1)
        _kept_for_good.update(left)

    def _layers(self) -> set[str]:
        layers = self.place.path(self.place.state / "docker/overlay2").iterdir()
        return {layer.name for layer in layers if layer.name != "l"}

    def _inspect(self, ref: str) -> dict[str, Any]:
        document: list[dict[str, Any]] = json.loads(self._docker("image", "inspect", ref))
        return document[0]

    def _words(self, *argv: str) -> list[str]:
        return ["/usr/bin/docker", f"--host={self.host}", *argv]

    def _docker(
        self, *argv: str, stdin: IO[bytes] | None = None, stdout: IO[bytes] | None = None
    ) -> str:
        return self.place.call(*self._words(*argv), stdin=stdin, stdout=stdout)


@dataclass(frozen=True)
class DockerOnContainerd(Docker):
    """A dockerd whose images are in containerd's store, which docker 29 takes for new installs."""

    @property
    def name(self) -> str:
        return f"docker+containerd-{self.place.name}"

    @property
    def host(self) -> str:
        return f"unix://{self.place.state}/docker-containerd.sock"

    def tree(self, ref: str) -> Tree:
        names = self._ctr("images", "ls", "--quiet").split()
        (name,) = {ref, f"docker.io/{ref}", f"docker.io/library/{ref}"}.intersection(names)
        with self.place.folder() as mount:
            self._ctr("images", "mount", name, mount)
            try:
                return read_tree(self.place.path(mount))
            finally:
                self._ctr("images", "unmount", "--rm", mount)

    def image_id(self, ref: str) -> str:
        """Return the digest of the config; dockerd itself shows that of the manifest or index."""
        document = json.loads(self._ctr("content", "get", self.identity(ref)))
        if "manifests" in document:
            document = json.loads(self._ctr("content", "get", document["manifests"][0]["digest"]))
        return str(document["config"]["digest"])

    def _layers(self) -> set[str]:
        return set()  # they go with the images

    def _ctr(self, *argv: str) -> str:
        address = "/run/docker-containerd/containerd/containerd.sock"
        return self.place.call("ctr", f"--address={address}", "--namespace=moby", *argv)


@dataclass(frozen=True)
class Podman:
    """A podman with its own stores and the kernel's overlay."""

    place: Place

    @property
    def name(self) -> str:
        return f"podman-{self.place.name}"

    @property
    def version(self) -> str:
        return self._podman("version", "--format", "{{.Client.Version}}").strip()

    def command(self, *argv: str) -> list[str]:
        """Return the words of a podman command, for pipes."""
        return self.place.command(*self._words(*argv))

    def load(self, archive: Path) -> list[str]:
        with archive.open("rb") as stdin:
            printed = self._podman("load", "--quiet", stdin=stdin)
        return [
            ref
            for line in printed.splitlines()
            if line.startswith("Loaded image")
            for ref in line.split(": ", 1)[1].split(",")
        ]

    def tree(self, ref: str) -> Tree:
        mount = self._podman("image", "mount", ref).strip()
        try:
            return read_tree(self.place.path(mount))
        finally:
            self._podman("image", "unmount", ref)

    def run(self, ref: str, argv: Sequence[str]) -> str:
        # podman raises these limits, which some sandboxes forbid even root (CAP_SYS_RESOURCE).
        limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]
        options = ["--rm", "--network=none", *limits, f"--entrypoint={argv[0]}"]
        return self._podman("run", *options, ref, *argv[1:])

    def history(self, ref: str) -> list[tuple[str, str]]:
        rows = json.loads(self._podman("history", "--no-trunc", "--format=json", ref))
        return [(row.get("CreatedBy", ""), row.get("comment", "")) for row in reversed(rows)]

    def image_id(self, ref: str) -> str:
        return f"sha256:{self._inspect(ref)['Id']}"

    def layer_digests(self, ref: str) -> list[str]:
        return list(self._inspect(ref)["RootFS"]["Layers"])

    def save(self, ref: str, archive: Path) -> None:
        with archive.open("wb") as stdout:
            self._podman("save", ref, stdout=stdout)

    def remove(self, ref: str) -> None:
        self._podman("rmi", "--force", ref)

    def prune(self) -> None:
        self._podman("rmi", "--all", "--force")

    def _inspect(self, ref: str) -> dict[str, Any]:
        document: list[dict[str, Any]] = json.loads(self._podman("image", "inspect", ref))
        return document[0]

    def _words(self, *argv: str) -> list[str]:
        root = f"--root={self.place.state}/podman"
        runroot = "--runroot=/run/squasher-podman"
        options = ["--storage-driver=overlay", "--cgroup-manager=cgroupfs", "--events-backend=none"]
        return ["podman", root, runroot, "--runtime=runc", *options, *argv]

    def _podman(
        self, *argv: str, stdin: IO[bytes] | None = None, stdout: IO[bytes] | None = None
    ) -> str:
        return self.place.call(*self._words(*argv), stdin=stdin, stdout=stdout)


@dataclass(frozen=True)
class Containerd:
    """A containerd with the overlayfs snapshotter, through ctr."""

    place: Place

    @property
    def name(self) -> str:
        return f"containerd-{self.place.name}"

    @property
    def version(self) -> str:
        return self._ctr("version").rsplit("Version:", 1)[1].split()[0]

    def load(self, archive: Path) -> list[str]:
        before = self._names()
        with archive.open("rb") as stdin:
            printed = self._ctr("images", "import", "-", stdin=stdin)
        lines = [line.split() for line in printed.splitlines()]
        old = [words[1] for words in lines if words[:1] == ["unpacking"]]
        new = [words[0] for words in lines if words[1:] == ["saved"]]
        # ctr 2 says a name again when it has unpacked it, and may end before it has said them all.
        return list(dict.fromkeys([*(old or new), *sorted(self._names() - before)]))

    def tree(self, ref: str) -> Tree:
        with self.place.folder() as mount:
            self._ctr("images", "mount", ref, mount)
            try:
                return read_tree(self.place.path(mount))
            finally:
                self._ctr("images", "unmount", "--rm", mount)

    def run(self, ref: str, argv: Sequence[str]) -> str:
        return self._ctr("run", "--rm", ref, f"squasher-{os.getpid()}-{next(numbers)}", *argv)

    def history(self, ref: str) -> list[tuple[str, str]]:
        rows = json.loads(self._blob(self.image_id(ref))).get("history") or []
        return [(row.get("created_by", ""), row.get("comment", "")) for row in rows]

    def image_id(self, ref: str) -> str:
        manifest = json.loads(self._blob(self._target(ref)))
        if "manifests" in manifest:
            manifest = json.loads(self._blob(manifest["manifests"][0]["digest"]))
        return str(manifest["config"]["digest"])

    def layer_digests(self, ref: str) -> list[str]:
        return list(json.loads(self._blob(self.image_id(ref)))["rootfs"]["diff_ids"])

    def save(self, ref: str, archive: Path) -> None:
        with archive.open("wb") as stdout:
            # Through its transfer service, ctr 2 may end before all of the archive is written.
            local = [] if self.version.startswith("1.") else ["--local"]
            self._ctr("images", "export", *local, "-", ref, stdout=stdout)

    def remove(self, ref: str) -> None:
        self._ctr("images", "rm", "--sync", ref)

    def prune(self) -> None:
        if refs := self._names():
            self._ctr("images", "rm", "--sync", *refs)

    def _names(self) -> set[str]:
        return set(self._ctr("images", "ls", "--quiet").split())

    def _target(self, ref: str) -> str:
        for line in self._ctr("images", "ls").splitlines():
            name, _, digest, *_ = line.split()
            if name == ref:
                return digest
        raise EngineError(f"{self.name}: no image {ref}")

    def _blob(self, digest: str) -> str:
        return self._ctr("content", "get", digest)

    def _ctr(
        self, *argv: str, stdin: IO[bytes] | None = None, stdout: IO[bytes] | None = None
    ) -> str:
        words = ["ctr", f"--address={self.place.state}/containerd.sock", *argv]
        return self.place.call(*words, stdin=stdin, stdout=stdout)


@dataclass(frozen=True)
class Umoci:
    """Skopeo, which reads the archive, and umoci, which unpacks it layer upon layer."""

    place: Place

    @property
    def name(self) -> str:
        return f"umoci-{self.place.name}"

    @property
    def version(self) -> str:
        umoci = self.place.call("umoci", "--version").split()[2]
        return f"{umoci} skopeo {self.place.call('skopeo', '--version').split()[-1]}"

    def load(self, archive: Path) -> list[str]:
        """Return the digest of the manifest as skopeo writes it."""
        ref = f"{self._layouts}/{os.getpid()}-{next(numbers)}:image"
        with archive.open("rb") as stdin:
            self._skopeo("copy", "--quiet", "docker-archive:/dev/stdin", f"oci:{ref}", stdin=stdin)
        return [ref]

    def tree(self, ref: str) -> Tree:
        with self.place.folder() as folder:
            self.place.call("umoci", "raw", "unpack", "--image", ref, f"{folder}/rootfs")
            return read_tree(self.place.path(f"{folder}/rootfs"))

    def image_id(self, ref: str) -> str:
        manifest = json.loads(self._skopeo("inspect", "--raw", f"oci:{ref}"))
        return str(manifest["config"]["digest"])

    def layer_digests(self, ref: str) -> list[str]:
        config = json.loads(self._skopeo("inspect", "--config", "--raw", f"oci:{ref}"))
        return list(config["rootfs"]["diff_ids"])

    def remove(self, ref: str) -> None:
        self.place.call("rm", "-r", ref.split(":", 1)[0])

    def prune(self) -> None:
        self.place.call("rm", "-rf", self._layouts)
        self.place.call("mkdir", self._layouts)

    @property
    def _layouts(self) -> str:
        return f"{self.place.state}/oci"

    def _skopeo(self, *argv: str, stdin: IO[bytes] | None = None) -> str:
        return self.place.call("skopeo", "--insecure-policy", *argv, stdin=stdin)


def folders() -> list[Path]:
    """Return where engines are: SQUASHER_ENGINES_DIR has one or, as PATH does, several folders."""
    named = os.environ.get("SQUASHER_ENGINES_DIR", "/var/tmp/squasher-engines")  # noqa: S108
    return list(map(Path, named.split(os.pathsep)))


def places() -> list[Place]:
    """Return the three generations, oldest first, running or not, that this process may use."""
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    folder = folders()[process % len(folders())]
    return [Place(name, folder / name) for name in ("bookworm", "trixie", "forky")]


def engines() -> list[Engine]:
    """Return every engine that runs containers."""
    found: list[Engine] = []
    for place in places():
        found += [Docker(place), Podman(place), Containerd(place)]
    return [*found, DockerOnContainerd(places()[-1])]


def loaders() -> list[Loader]:
    """Return every engine, and umoci."""
    return [*engines(), *map(Umoci, places())]


@functools.cache
def claim(folder: Path) -> TextIO:
    """Keep other runs away until this process ends; once, whoever asks in this one."""
    file = (folder / "lock").open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file
