"""Workload `peers`: what else makes one layer of all."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from scripts.benchmarks.archives import member
from scripts.benchmarks.contestants import ours, peer_commands
from scripts.benchmarks.measuring import (
    BENCH,
    Command,
    CommandError,
    Row,
    Run,
    contestant,
    output_of,
    repeat,
    run,
)
from scripts.benchmarks.peers_image import NAME
from scripts.benchmarks.report import print_rows

#: Where the peers run: a folder of scripts/engines. They see it under the same name as we do.
_PLACE = "forky"
_STORE = '--root="$PWD/../podman" --runroot=/run/squasher-podman --storage-driver=overlay'
#: Who, what makes it ready (an image is in a registry or a store already), what is measured, and
#: what brings the result here. A result of one tar alone is a root filesystem without a config.
_CONTESTANTS = (
    ("skopeo copy", "", "skopeo copy -q docker-archive:image.tar docker-archive:out.tar", ""),
    (
        "crane flatten",
        'crane push --insecure image.tar "$REGISTRY/app"',
        'crane flatten --insecure -t "$REGISTRY/flat" "$REGISTRY/app"',
        'crane pull --insecure "$REGISTRY/flat" out.tar',
    ),
    ("crane export", "", "crane export - out.tar <image.tar", ""),
    (
        "buildah build --squash",
        f"buildah {_STORE} pull -q docker-archive:image.tar",
        f"buildah {_STORE} build -q --squash --pull=never --format docker -t localhost/flat"
        f" context && buildah {_STORE} push -q localhost/flat docker-archive:out.tar",
        f"buildah {_STORE} rmi -f localhost/flat {NAME}; buildah {_STORE} rmi --prune",
    ),
    (
        "podman build --squash-all",
        f"podman {_STORE} pull -q docker-archive:image.tar",
        f"podman {_STORE} build -q --squash-all --pull=never --format docker -t localhost/flat"
        f" context && podman {_STORE} save -q -o out.tar localhost/flat",
        f"podman {_STORE} rmi -f localhost/flat {NAME}; podman {_STORE} image prune -f",
    ),
    (
        "docker export | import",
        "docker load -q -i image.tar",
        f"docker export $(docker create {NAME} sh) | docker import - flat &&"
        " docker save flat -o out.tar",
        f"docker ps -aq --filter ancestor={NAME} | xargs -r docker rm;"
        f" docker rmi -f flat {NAME}; docker image prune -f",
    ),
    (
        "docker-squash",
        "docker load -q -i image.tar",
        f"$PEERS/docker-squash --load-image false --output-path out.tar {NAME}",
        f"docker rmi -f {NAME}",
    ),
    ("oci-squash", "", "$PEERS/oci-squash -o out.tar image.tar", ""),
    (
        "tar of each layer",
        "",
        "mkdir root && tar -xf image.tar && for layer in $LAYERS; do tar -C root -xf $layer; done"
        " && tar -C root --exclude='.wh.*' -cf out.tar .",
        "",
    ),
)


def side_by_side(options: argparse.Namespace) -> None:
    """Measure each tool that makes one layer of a whole image, and print what it loses."""
    place = Path(os.environ.get("SQUASHER_ENGINES_DIR", "")) / _PLACE
    if not (place / "holder.pid").exists():
        raise SystemExit("bench: peers: bring up engines with scripts/engines up, and env")
    enter = ["nsenter", f"--target={(place / 'holder.pid').read_text().strip()}", "--mount", "--"]
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=place) as name,
        registry(enter, Path(name)) as address,
    ):
        folder = Path(name)
        image, output = folder / "image.tar", folder / "out.tar"
        subprocess.run([sys.executable, BENCH, "--make-peers", image], check=True)
        with tarfile.open(image) as archive:
            (item,) = json.load(member(archive, "manifest.json"))
        (folder / "context").mkdir()
        (folder / "context/Dockerfile").write_text(f"FROM {NAME}\n")
        environment = {
            "REGISTRY": address,
            "DOCKER_HOST": f"unix://{place}/docker.sock",
            "LAYERS": " ".join(item["Layers"]),
            "PEERS": str(peer_commands()),
            "TMPDIR": name,
        }
        variables = ["env", *(f"{key}={value}" for key, value in environment.items())]

        def here(script: str) -> Command:
            inside = [] if "$PEERS" in script else enter  # a program of ours, or of the place
            return [*variables, *inside, "sh", "-euc", f'cd "$0" && {script}', folder]

        def measured(title: str, command: Command, count: int, ready: str, fetch: str) -> Row:
            def once() -> Run:
                shutil.rmtree(folder / "root", ignore_errors=True)
                output.unlink(missing_ok=True)
                return run(command)

            try:
                if ready:
                    run(here(ready))
                runs = repeat(count, once)
            except CommandError:
                with suppress(CommandError):
                    run(here(fetch or "true"))  # it also removes what is left
                raise
            if fetch:
                run(here(fetch))
            fate = output_of([sys.executable, BENCH, "--fate", image, output])
            print(title, fate, sep="\n", flush=True)
            return Row(title, runs)

        mine: Command = [*ours(), "--keep-layers", "0", image, "-o", output]
        rows = [measured("squash", mine, options.runs, "", "")]
        for title, ready, script, fetch in _CONTESTANTS:
            words = title, here(script), options.peer_runs, ready, fetch
            rows.append(contestant(title, partial(measured, *words)))
            if not rows[-1].runs:
                print(title, f"  {rows[-1].note}\n", sep="\n", flush=True)
        print_rows(f"one layer of all: {image.stat().st_size:,} bytes", rows)


@contextmanager
def registry(enter: Command, folder: Path) -> Iterator[str]:
    """Run a registry on the loopback address, and give its address."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        address = f"127.0.0.1:{held.getsockname()[1]}"
    storage = {"filesystem": {"rootdirectory": f"{folder}/registry"}}
    config = {"version": 0.1, "storage": storage, "http": {"addr": address}}
    (folder / "registry.json").write_text(json.dumps(config))  # JSON is YAML
    server = subprocess.Popen(
        [*enter, "docker-registry", "serve", folder / "registry.json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield address
    finally:
        server.kill()
        server.wait()
