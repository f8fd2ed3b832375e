"""The old lines and the new ones, side by side: a table of the documentation, row by row."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, Block
from tests.docs.conftest import Workshop
from tests.engines.engines import Docker, Podman, places
from tests.engines.makers import run
from tests.engines.tree import Tree, differences

PAGE = ROOT / "docs" / "how-to" / "coming-from.md"
ROWS: list[tuple[str, str]] = re.findall(
    r"^\| `(docker-squash .*?)` \| `(.*?)` \|", PAGE.read_text("utf-8"), re.MULTILINE
)
BUILD = """
printf 'FROM debian:12\\nENV A=b\\nCOPY base.tar /\\nCOPY app.tar /base.tar\\n' >Dockerfile
docker build --quiet --tag app:latest .
"""
OPTIONS = ("-f", "-t", "-m", "-v", "-c", "--tmp-dir", "--output-path", "--load-image")
# What docker-squash brings back in the demo image: its steps delete them.
BROUGHT_BACK = {b"etc/demo/parts/" + name for name in (b"first", b"second", b"third")}


def test_the_table_has_every_option_of_docker_squash() -> None:
    lines = " ".join(old for old, _ in ROWS).split()
    assert [option for option in OPTIONS if option not in lines] == []


@pytest.mark.parametrize(("old", "new"), ROWS)
def test_the_new_line_does_what_the_old_one_did(harbour: Workshop, old: str, new: str) -> None:
    docker = Docker(places()[0])
    left: list[tuple[Tree, int, list[str], str]] = []
    sources: list[Tree] = []
    for line in (old, new):
        docker.prune()
        docker.load(harbour.folder / "both.tar")
        if "app:old" in line:
            run(docker.command("tag", "app:latest", "app:old"))
            run(docker.command("rmi", "app:latest"))
        (harbour.folder / "out.tar").unlink(missing_ok=True)
        if "$ID" in line:  # docker-squash wants a base that the image was built on here
            harbour.run(Block(0, "sh", "", BUILD))
        sources.append(docker.tree("app:old" if "app:old" in line else "app:latest"))
        base = run(docker.command("images", "--quiet", "--no-trunc", "debian:12"))
        identity = base.strip().removeprefix("sha256:")
        harbour.run(Block(0, "sh", "", line.replace("$ID", identity)))
        if (harbour.folder / "scratch").exists():
            kept = sorted(path.name for path in (harbour.folder / "scratch").iterdir())
            assert kept == (["new"] if line is old else [])
            harbour.run(Block(0, "sh", "", "rm -r scratch"))
        left.append(_result(docker, harbour.folder / "out.tar"))
    (theirs, count, names, output), (ours, our_count, our_names, our_output) = left
    assert differences(_without_root(sources[1]), _without_root(ours)) == []
    source = _without_root(sources[0])
    lost = {path for path in source.keys() | theirs.keys() if source.get(path) != theirs.get(path)}
    assert lost - {b""} <= BROUGHT_BACK
    assert (count, names, output) == (our_count, our_names, our_output)


def _result(docker: Docker, out: Path) -> tuple[Tree, int, list[str], str]:
    """Return the squashed image's tree and number of layers, the names of all, what went out."""
    names = run(docker.command("images", "--format", "{{.Repository}}:{{.Tag}}")).split()
    if "app:new" not in names and not out.exists():
        ref = run(docker.command("images", "--quiet", "--filter", "dangling=true")).strip()
    else:
        ref = "app:new"
    if ref == "app:new" and ref not in names:
        docker.load(out)
    layers = docker.layer_digests(ref)
    comments = [comment for _, comment in docker.history(ref)]
    message = "one layer" if "one layer" in comments else ""
    output = f"{out.exists()} {layers[:-1]} {message}"
    return docker.tree(ref), len(layers), sorted(names), output


def test_the_squashed_builds_hold_the_same_files(harbour: Workshop) -> None:
    """What `docker build --squash` and `podman build --squash` leave, beside ours."""
    harbour.run(Block(0, "sh", "", DOCKER))
    docker, podman = Docker(places()[0]), Podman(places()[0])
    built, ours = (docker.tree(ref) for ref in ("app:built", "app:ours"))
    assert docker.layer_digests("app:built")[:1] == docker.layer_digests("app:ours")[:1]
    assert len(docker.history("app:built")) == len(docker.history("app:ours"))
    assert _without_times(built) == _without_times(ours)
    harbour.run(Block(0, "sh", "", PODMAN))
    # podman runs all steps in one container, where writing to x is writing to y.
    joined = {b"srv/x", b"srv/y"}
    for theirs, mine, layers in (
        ("app:built", "app:ours", 2),
        ("app:all-built", "app:all-ours", 1),
    ):
        digests = [podman.layer_digests(ref) for ref in (theirs, mine)]
        assert [len(each) for each in digests] == [layers, layers]
        assert digests[0][: layers - 1] == digests[1][: layers - 1]
        one, two = (_without_times(podman.tree(ref)) for ref in (theirs, mine))
        differ = {path for path in one.keys() | two.keys() if one.get(path) != two.get(path)}
        assert differ == joined


def _without_root(tree: Tree) -> Tree:
    """Leave out the root, which no layer has an entry for: its time is that of unpacking."""
    return {path: node for path, node in tree.items() if path}


def _without_times(tree: Tree) -> dict[bytes, object]:
    """Two builds happen at two times."""
    return {path: (node.kind, node.mode, node.sha256, node.links) for path, node in tree.items()}


def _section(title: str) -> str:
    """Return the script of a section of the page."""
    text = PAGE.read_text("utf-8").split(f"## {title}\n")[1]
    return "".join(
        part.split("```")[0] for part in text.split("\n## ")[0].split("```sh engines\n")[1:]
    )


_FILE = _section("docker-squash").split("docker build")[0]
DOCKER = _FILE + _section("docker build --squash")
PODMAN = _FILE + _section("podman build --squash, --squash-all")
