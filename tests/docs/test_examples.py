"""The examples of the library do what they say."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess

import pytest

import squasher
from tests import builders
from tests.docs.conftest import Workshop, program


def example(workshop: Workshop, *words: str) -> subprocess.CompletedProcess[str]:
    """Run an example in the workshop."""
    return subprocess.run(
        ["python3", *words],
        cwd=workshop.folder,
        env=workshop.env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# ---------------------------------------------------------------- a mirror


@pytest.fixture
def registry(workshop: Workshop) -> Workshop:
    """Give app:1.0 and debian:12 in an OCI layout, with the blobs that a registry would have."""
    skopeo = shutil.which("skopeo", path="/usr/bin:/usr/local/bin")
    if skopeo is None:
        if os.environ.get("SQUASHER_ENGINES") == "required":
            pytest.fail("no skopeo")
        pytest.skip("no skopeo")
    program(workshop.programs / "skopeo", f"{skopeo} --insecure-policy")
    for source, name in (("app.tar", "app:1.0"), ("base.tar", "debian:12")):
        script = f"skopeo copy --quiet docker-archive:{source} oci:registry:{name}"
        subprocess.run(
            shlex.split(script), cwd=workshop.folder, env=workshop.env, check=True, timeout=120
        )
    return workshop


def layers(workshop: Workshop, image: str) -> list[dict[str, object]]:
    """Return the descriptors of an image's layers."""
    done = subprocess.run(
        ["skopeo", "inspect", "--raw", image],
        cwd=workshop.folder,
        env=workshop.env,
        stdout=subprocess.PIPE,
        check=True,
        timeout=120,
    )
    found: list[dict[str, object]] = json.loads(done.stdout)["layers"]
    return found


@pytest.mark.parametrize("destination", ["oci:mirror:app:1.0", "dir:mirror"])
def test_the_mirror_squashes_in_transit(registry: Workshop, destination: str) -> None:
    words = ("examples/mirror.py", "--base", "oci:registry:debian:12")
    done = example(registry, *words, "oci:registry:app:1.0", destination)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{destination}: 7 -> 2 layers, ")
    before, after = layers(registry, "oci:registry:app:1.0"), layers(registry, destination)
    assert after[0] == before[0]
    assert len(after) == 2
    if destination.startswith("oci:"):
        location = squasher.parse_location(f"oci:{registry.folder}/mirror:app:1.0")
        with (
            squasher.open_archive(registry.folder / "app.tar") as one,
            squasher.open_archive(location) as two,
        ):
            assert squasher.compare(one.images[0], two.images[0]) == ()


def test_the_mirror_squashes_all_without_a_base(registry: Workshop) -> None:
    done = example(registry, "examples/mirror.py", "oci:registry:app:1.0", "dir:mirror")
    assert done.returncode == 0, done.stderr
    assert len(layers(registry, "dir:mirror")) == 1


def test_the_mirror_refuses_a_base_that_is_none(registry: Workshop) -> None:
    other = builders.archive([builders.layer(builders.File(b"x"))])
    (registry.folder / "other.tar").write_bytes(other)
    words = ("examples/mirror.py", "--base", "docker-archive:other.tar")
    done = example(registry, *words, "oci:registry:app:1.0", "dir:mirror")
    assert done.returncode == 4
    assert done.stderr.startswith("mirror: ")
    assert not (registry.folder / "mirror").exists()


def test_the_mirror_says_what_skopeo_could_not_do(registry: Workshop) -> None:
    done = example(registry, "examples/mirror.py", "oci:registry:missing", "dir:mirror")
    assert done.returncode == 1
    assert "mirror: skopeo copy --quiet oci:registry:missing" in done.stderr


# ---------------------------------------------------------------- a policy

BASE = builders.layer(builders.File(b"su", b"su", mode=0o4755), builders.File(b"old", b"12345"))


def policy(workshop: Workshop, *members: builders.Member) -> subprocess.CompletedProcess[str]:
    """Check an image that adds one layer with these members, and one file, to BASE."""
    added = [builders.layer(*members), builders.layer(builders.File(b"z"))]
    (workshop.folder / "own.tar").write_bytes(builders.archive([BASE, *added]))
    (workshop.folder / "own-base.tar").write_bytes(builders.archive([BASE]))
    words = ("examples/policy.py", "--base", "own-base.tar", "--max-waste=4")
    return example(workshop, *words, "own.tar")


def test_the_policy_lets_an_image_pass(workshop: Workshop) -> None:
    done = policy(workshop, builders.File(b"tool", mode=0o755), builders.Dir(b"d", mode=0o2755))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (builders.File(b"tool", mode=0o4755), "/tool: setuid or setgid: ?rwsr-xr-x"),
        (builders.File(b"tool", mode=0o2755), "/tool: setuid or setgid: ?rwxr-sr-x"),
        (builders.Char(b"null"), "/null: a device"),
        (builders.Block(b"disk"), "/disk: a device"),
        (builders.File(b"old", b"new"), "layers waste 5 bytes, allowed are 4"),
        (builders.Whiteout(b"old"), "layers waste 5 bytes, allowed are 4"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_policy_finds(workshop: Workshop, member: builders.Member, said: str) -> None:
    done = policy(workshop, member)
    assert (done.returncode, done.stdout, done.stderr) == (1, f"{said}\n", "")


def test_the_policy_finds_what_engines_disagree_about(workshop: Workshop) -> None:
    done = policy(workshop, builders.Dir(b"d"), builders.Whiteout(b"d/nothing"))
    said = "/d/nothing: engines disagree: ghost-whiteout\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, said, "")


def test_the_policy_refuses_what_is_no_image(workshop: Workshop) -> None:
    done = example(workshop, "examples/policy.py", "--base=base.tar", "examples/policy.py")
    assert done.returncode == 3
    assert done.stderr.startswith("policy: ")


# ---------------------------------------------------------------- tests of an image


def image_tests(workshop: Workshop, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the tests of an image in a pytest of their own."""
    folder = workshop.folder / "examples" / "image_tests"
    options = ("-c", "/dev/null", f"--rootdir={folder}", "-p", "no:cacheprovider", "-q")
    return example(workshop, "-m", "pytest", *options, str(folder), *words)


def test_the_image_passes_its_tests(workshop: Workshop) -> None:
    done = image_tests(workshop, "--image=app.tar")
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout


def test_an_image_fails_its_tests(workshop: Workshop) -> None:
    data = builders.layer(builders.File(b"root/app.key"), builders.File(b"bin/x", mode=0o777))
    (workshop.folder / "bad.tar").write_bytes(builders.archive([data]))
    done = image_tests(workshop, "--image", "docker-archive:bad.tar")
    assert done.returncode == 1, done.stdout
    assert "3 failed, 1 passed" in done.stdout


def test_the_tests_of_an_image_skip_without_one(workshop: Workshop) -> None:
    done = image_tests(workshop)
    assert done.returncode == 0, done.stdout
    assert "4 skipped" in done.stdout
