"""What squash writes, read by the tools of each place as a user without rights."""

from __future__ import annotations

import json
import operator
import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from squasher.cli import main
from tests import builders, model
from tests.conformance.check import layers_of
from tests.docs.blocks import ROOT
from tests.engines.engines import Place, places

TAG = "example.com/team/app:1.0"
NOBODY = 65534
RUN = "/run/squasher-plain"  # podman 4.3 takes no more than 50 characters
#: Each by what tools call it. The last one is the default form, which a docker archive is as well.
FORMS = {
    "docker-archive": "docker-archive:{}/docker-archive",
    "oci-archive": "oci-archive:{}/oci-archive",
    "oci": "oci:{}/oci:app",
    "default": "oci-archive:{}/default",
}
CRANES = places()[-1:]  # the others have none
PYTHONS = ("/usr/bin/python3", "", "/usr/bin/python3.14")  # trixie has none
PLACE = operator.attrgetter("name")
# What is pushed comes back, in both of crane's ways. (Its `validate --remote` takes gzip alone.)
# usage: sh NAME PATH
CRANE = """
crane registry serve --address="${1%%/*}" >registry.log 2>&1 &
trap "kill $!" EXIT
for try in 1 2 3 4 5 6 7 8 9; do ! crane catalog "${1%%/*}" >>log 2>&1 || break; sleep 0.5; done
crane push "$2" "$1"
crane manifest "$1" >manifest.json
crane pull "$1" out.tar
crane export "$1" exported.tar
"""
# Owners within the range that scripts/engines gives to this user; devices are root's alone.
LAYERS = [
    builders.layer(
        builders.Dir(b"etc"),
        builders.File(b"etc/passwd", b"root"),
        builders.File(b"etc/key", b"secret", mode=0o600),
    ),
    builders.layer(
        builders.Dir(b"srv", mode=0o2750, uid=1000, gid=65000),
        builders.File(b"srv/one", b"one", uid=1000, mode=0o4755, mtime=1_500_000_000),
        builders.Hardlink(b"srv/two", b"srv/one", uid=1000, mode=0o4755, mtime=1_500_000_000),
        builders.Symlink(b"www", b"srv"),
    ),
    builders.layer(
        builders.Dir(b"etc"),
        builders.Whiteout(b"etc/key"),
        builders.File(b"etc/passwd", b"more", mode=0o640),
    ),
]


def tree(*layers: bytes) -> dict[bytes, model.Record]:
    """Return every path but the root, which engines make themselves."""
    found = model.listing(model.apply(layers))
    return {path: record for path, record in found.items() if path}


EXPECTED = tree(*LAYERS)


@dataclass(frozen=True)
class User:
    """A user without rights, at home in a folder of a place that holds the image in all forms.

    image_id   of the image in every form
    """

    place: Place
    home: Path
    image_id: str

    def __call__(self, *argv: str) -> str:
        """Run a command; return what it printed. Raises EngineError."""
        kept = ("PATH=/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL=C.UTF-8")
        where = (f"HOME={self.home}", f"TMPDIR={self.home}", f"XDG_RUNTIME_DIR={RUN}")
        rights = (f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--")
        script = ("sh", "-euc", 'cd "$HOME"; exec "$@"', "sh")
        return self.place.call("env", "-i", *kept, *where, "setpriv", *rights, *script, *argv)

    def skopeo(self, *argv: str) -> str:
        """Run skopeo."""
        return self("skopeo", "--insecure-policy", *argv)

    def source(self, form: str) -> str:
        """Return how tools call the image in a form."""
        return FORMS[form].format(self.home)

    def stores(self) -> list[str]:
        """Return the options of podman and buildah that name this user's stores."""
        return [
            f"--root={self.home}/store",
            f"--runroot={RUN}",
            "--storage-driver=overlay",
        ]

    def packed(self, folder: str) -> str:
        """Return the command that packs a folder as packed.tar."""
        options = "--format=posix --numeric-owner --sort=name"
        return f"tar --create {options} --file={self.home}/packed.tar --directory={folder} ."


@pytest.fixture(params=places(), ids=lambda place: place.name)
def user(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[User]:
    """Give a user, whose processes are gone in the end."""
    place: Place = request.param
    if reason := place.missing():
        if os.environ.get("SQUASHER_ENGINES") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    source = tmp_path / "source.tar"
    source.write_bytes(builders.archive(LAYERS))
    with place.folder() as folder:
        home = Path(folder)
        for form, named in FORMS.items():
            out = f"{home}/default" if form == "default" else named.format(home)
            assert main.run(["-q", "--keep-layers=1", str(source), "-o", out, "-t", TAG]) == 0
        written = model.read((home / "docker-archive").read_bytes())
        (listed,) = (entry.data for entry in written if entry.path == (b"manifest.json",))
        os.chown(home, NOBODY, NOBODY)
        place.call("install", "--directory", "--mode=700", f"--owner={NOBODY}", RUN)
        found = User(place, home, json.loads(listed)[0]["Config"].rpartition("/")[2])
        yield found
        if place.path(f"{RUN}/libpod").exists():
            found("podman", *found.stores(), "system", "migrate")
        place.call("rm", "-r", RUN)


@pytest.mark.parametrize("form", FORMS)
def test_skopeo(user: User, form: str) -> None:
    user.skopeo("copy", "--quiet", user.source(form), f"docker-archive:{user.home}/out.tar:{TAG}")
    assert tree(*layers_of((user.home / "out.tar").read_bytes())) == EXPECTED
    manifest = json.loads(user.skopeo("inspect", "--raw", user.source(form)))
    assert manifest["config"]["digest"] == f"sha256:{user.image_id}"


@pytest.mark.parametrize("form", FORMS)
def test_umoci(user: User, form: str) -> None:
    """Without root, it makes this user the owner of everything."""
    layout = user.source(form)
    if form != "oci":
        layout = f"oci:{user.home}/layout:app"
        user.skopeo("copy", "--quiet", user.source(form), layout)
    image = layout.removeprefix("oci:")
    user("umoci", "unpack", "--rootless", f"--image={image}", f"{user.home}/bundle")
    user("sh", "-euc", user.packed(f"{user.home}/bundle/rootfs"))
    owned = {path: replace(node, uid=NOBODY, gid=NOBODY) for path, node in EXPECTED.items()}
    assert tree((user.home / "packed.tar").read_bytes()) == owned


@pytest.mark.parametrize("form", FORMS)
def test_buildah(user: User, form: str) -> None:
    found = user("buildah", *user.stores(), "pull", "--quiet", user.source(form)).strip()
    assert found == user.image_id
    out = f"docker-archive:{user.home}/out.tar:{TAG}"
    user("buildah", *user.stores(), "push", "--quiet", found, out)
    assert tree(*layers_of((user.home / "out.tar").read_bytes())) == EXPECTED


@pytest.mark.parametrize("form", FORMS)
def test_podman(user: User, form: str) -> None:
    found = user("podman", *user.stores(), "pull", "--quiet", user.source(form)).strip()
    assert found == user.image_id
    mount = f"$(podman {' '.join(user.stores())} image mount {found})"
    user("podman", *user.stores(), "unshare", "sh", "-euc", user.packed(mount))
    assert tree((user.home / "packed.tar").read_bytes()) == EXPECTED


@pytest.mark.parametrize("form", ["docker-archive", "oci"])  # it reads no OCI archive
@pytest.mark.parametrize("user", CRANES, ids=PLACE, indirect=True)
def test_crane(user: User, form: str) -> None:
    """Through a registry of its own."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        name = f"127.0.0.1:{held.getsockname()[1]}/team/app:1.0"
    user("sh", "-euc", CRANE, "sh", name, f"{user.home}/{form}")
    assert tree(*layers_of((user.home / "out.tar").read_bytes())) == EXPECTED
    assert tree((user.home / "exported.tar").read_bytes()) == EXPECTED
    manifest = json.loads((user.home / "manifest.json").read_bytes())
    assert manifest["config"]["digest"] == f"sha256:{user.image_id}"


@pytest.mark.parametrize("user", CRANES, ids=PLACE, indirect=True)
def test_crane_without_a_registry(user: User) -> None:
    file = f"{user.home}/docker-archive"
    user("crane", "validate", f"--tarball={file}")
    user("sh", "-euc", f"crane export - exported.tar < {file}")
    assert tree((user.home / "exported.tar").read_bytes()) == EXPECTED


@pytest.mark.parametrize(
    ("user", "python"),
    [(place, python) for place, python in zip(places(), PYTHONS, strict=True) if python],
    ids=[place.name for place, python in zip(places(), PYTHONS, strict=True) if python],
    indirect=["user"],
)
def test_the_mirror(user: User, python: str) -> None:
    """The archive between squash and skopeo is this user's own."""
    shutil.copytree(
        ROOT / "squasher", user.home / "squasher", ignore=shutil.ignore_patterns("*.so")
    )
    shutil.copy(ROOT / "examples" / "mirror.py", user.home)
    words = (f"PYTHONPATH={user.home}", python, "mirror.py", user.source("oci"))
    user("env", *words, f"oci:{user.home}/mirrored:app")
    out = f"docker-archive:{user.home}/out.tar:{TAG}"
    user.skopeo("copy", "--quiet", f"oci:{user.home}/mirrored:app", out)
    (layer,) = layers_of((user.home / "out.tar").read_bytes())
    assert tree(layer) == EXPECTED


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_podman_load(user: User, form: str) -> None:
    user("podman", *user.stores(), "load", "--quiet", f"--input={user.home}/{form}")
    found = user("podman", *user.stores(), "image", "inspect", "--format={{.Id}}", TAG).strip()
    assert found == user.image_id
