"""The specification as tests/model.py has it, and squashing, against what real engines show.

Where an engine shows something else than the layers say, this file says so: `UNFIT`, `PARTS`,
`compare`, `_shown_xattrs`.
"""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import pytest

from tests import model
from tests.builders import archive, sha256
from tests.conformance.check import layers_of, squash
from tests.conformance.corpus import CASES, by_name
from tests.engines.archives import docker_archive
from tests.engines.engines import Engine, EngineError, Umoci, engines, loaders
from tests.engines.tree import GHOST, Node, Tree, differences
from tests.generator import random_image

BATCH = 20
RANDOM_IMAGES = 100
# podman and containerd make the directory of a global header's own name, which is "PaxHeaders/x".
GLOBAL_HEADER = b"PaxHeaders"
Images = Mapping[str, Sequence[bytes]]
Shown = Tree | EngineError

# What the kernel does not give back as it was said, whatever the engine.
UNFIT = {
    "x13": "an ACL that says no more than a mode becomes the mode",
    "x17": "the same, and an ACL and a mode that contradict each other",
    "x18": "an ext4 inode has no room for an xattr of 60 KiB",
}

# Where an engine parts from the specification and squashing can do nothing about it: the beginning
# of what is then found, by the beginning of the engine's name.
PARTS = {
    # A directory becomes a file, and the layer has a whiteout below it.
    ("docker", "w31"): "refused",
    ("containerd", "w31"): "refused",
    # Linux has no such namespace of xattrs.
    ("docker-trixie", "x12"): "refused",
    # What comes before its directory's entry makes a copy of the lower one, whose xattrs stay.
    ("containerd", "w33"): "b'd': xattrs: ",
    ("containerd", "o16"): "b'd': xattrs: ",
    ("containerd", "p16"): "b'd': xattrs: ",
    # A whiteout of the name `.wh.x`, and its missing directory.
    ("docker", "n14b"): "b'no",
    ("podman", "n14b"): "b'no",
    ("containerd", "n14b"): "b'no",
}

CORPUS = {c.name: c.layers for c in CASES if c.verdict == "agree" and c.name not in UNFIT}
GHOSTS = {c.name: c.layers for c in CASES if c.name.startswith("g-")}
ACLS = {c.name: c.layers for c in CASES if "default-acl" in c.kinds}
#: No order of one layer's entries shows this, and the warning says so: a later layer takes the ACL
#: from the directory, or a directory that is handed one has older files. Engines do not agree about
#: it either: `test_umoci_hands_on_no_default_acl`.
CHANGED_ACLS = ("x16-lost/0", "x16-lost/1", "x16-again/0")
# What the kernel adds while a layer is unpacked, and the spelling that only podman heeds. Left
# out: what some engines refuse or read otherwise, of which a warning tells.
WHILE_UNPACKING = {
    c.name: c.layers
    for c in CASES
    if (c.name.startswith(("k31", "k32", "p09")) or c.name == "p12")
    and not c.kinds & {"link-to-lower", "whiteout-device"}
}


def whites_out_below_file(layer: bytes) -> bool:
    """Tell whether a layer has a whiteout below what it makes a file: case w31."""
    entries = model.read(layer)
    files = {e.path for e in entries if e.kind not in ("dir", "whiteout", "opaque")}
    parents = [
        entry.path[:-1] if entry.kind == "whiteout" else entry.path
        for entry in entries
        if entry.kind in ("whiteout", "opaque")
    ]
    return any(path in files for parent in parents for path in model.prefixes(parent))


RANDOM = {
    f"random-{seed}": layers
    for seed in range(RANDOM_IMAGES)
    for layers in [random_image(seed, tame=True)]
    if not any(map(whites_out_below_file, layers))
}

# The other two show what these show, and take minutes.
ENGINES = ("docker-bookworm", "podman-bookworm", "containerd-bookworm", "docker-trixie")


def bases(engine: Engine, images: Images, layers: Sequence[bytes]) -> Iterator[int]:
    """Yield how many layers to keep: every number in the fastest engine, else at most one."""
    most = len(layers) - 2
    if engine.name == "docker-trixie":
        yield from range(most + 1)
    elif images is not CORPUS:
        yield most


def shown(engine: Engine, images: Images, file: Path) -> Iterator[dict[str, Shown]]:
    """Load images, many at a time since that is faster, and yield what the engine shows of each.

    A dict is about one image: "NAME/" is the image as it was, "NAME/K" squashed with K layers kept.
    """
    names = iter(images)
    while batch := list(islice(names, BATCH)):
        forms: dict[str, Sequence[bytes]] = {}
        for name in batch:
            forms[f"{name}/"] = images[name]
            for keep in bases(engine, images, images[name]):
                squashed = squash(archive(images[name]), keep)[1]
                forms[f"{name}/{keep}"] = layers_of(squashed)
        found = dict(_load(engine, forms, file))
        for name in batch:
            yield {form: found[form] for form in forms if form.partition("/")[0] == name}
        engine.prune()


def _load(engine: Engine, images: Images, file: Path) -> Iterator[tuple[str, Shown]]:
    """Load images and read their trees; where one is refused, halve them to find it."""
    tags = {name: f"example.com/{name.replace('/', '/keep')}:1" for name in images}
    try:
        engine.load(docker_archive(file, {tags[name]: images[name] for name in images}))
    except EngineError as error:
        names = list(images)
        if len(names) == 1:
            yield names[0], error
            return
        middle = len(names) // 2
        for half in (names[:middle], names[middle:]):
            yield from _load(engine, {name: images[name] for name in half}, file)
    else:
        for name, tag in tags.items():
            tree = engine.tree(tag)
            yield name, {path: node for path, node in tree.items() if path != GLOBAL_HEADER}


def compare(engine: Engine, found: Shown, layers: Sequence[bytes]) -> list[str]:
    """Name the paths and fields in which an engine differs from the model.

    Left out: the root, which engines make themselves, and the times of directories that no entry
    describes, which are those of unpacking.
    """
    if isinstance(found, EngineError):
        return [f"refused: {found}"]
    tree = model.apply(layers)
    expected = {path: _node(record, engine) for path, record in model.listing(tree).items() if path}
    below = {path: node for path, node in found.items() if path}
    implied = (path for path, node in model.walk(tree.root) if not node.explicit)
    times = tuple(f"{b'/'.join(path)!r}: mtime_ns: " for path in implied)
    return [text for text in differences(below, expected) if not text.startswith(times)]


def _node(record: model.Record, engine: Engine) -> Node:
    return Node(
        kind=record.type,
        mode=record.mode,
        uid=record.uid,
        gid=record.gid,
        mtime_ns=record.mtime_ns,
        size=record.size if record.type == "file" else 0,
        sha256=record.sha256,
        target=record.target,
        device=record.device,
        xattrs=tuple(_shown_xattrs(record.xattrs, engine)),
        links=tuple(sorted(record.names)) if len(record.names) > 1 else (),
    )


def _shown_xattrs(
    xattrs: Sequence[tuple[bytes, bytes]], engine: Engine
) -> Iterator[tuple[str, bytes]]:
    for key, value in xattrs:
        name, kind = key.decode(), engine.name.partition("-")[0]
        if not value and engine.name in ("docker-bookworm", "podman-bookworm"):
            continue
        if name.startswith("trusted.") and kind == "containerd":
            continue
        if name == "security.selinux" and kind == "podman":
            continue
        if not name.startswith(("user.", "trusted.", "security.", "system.")):
            continue  # Linux has no such namespace
        if name == "security.capability" and value[3] == 3 and not any(value[20:]):
            # Linux shows a capability for the root user of this namespace in the older form.
            value = value[:3] + b"\2" + value[4:20]
        yield name, value


@pytest.mark.parametrize("images", [CORPUS, RANDOM], ids=["corpus", "random"])
@pytest.mark.parametrize(
    "engine", [e for e in engines() if e.name in ENGINES], ids=lambda e: e.name, indirect=True
)
def test_engines_show_the_trees_of_the_model(
    engine: Engine, images: Images, tmp_path: Path
) -> None:
    """Squashed ones too, as they were before squashing."""
    since = time.time_ns()
    wrong: dict[str, list[str]] = {}
    for forms in shown(engine, images, tmp_path / "images.tar"):
        (form, before), *squashed = forms.items()
        name = form.partition("/")[0]
        wrong[form] = compare(engine, before, images[name])
        for form, after in squashed:
            wrong[form] = (
                [f"refused: {after}"]
                if isinstance(after, EngineError)
                else []
                if isinstance(before, EngineError)
                else differences(before, after, stamped_since=since)
            )
    for (beginning, name), text in PARTS.items():
        if engine.name.startswith(beginning) and name in images:
            assert wrong[f"{name}/"], f"{name}: parts no longer"
            for form in [form for form in wrong if form.partition("/")[0] == name]:
                wrong[form] = [found for found in wrong[form] if not found.startswith(text)]
    assert {form: found for form, found in wrong.items() if found} == {}


@pytest.mark.parametrize(
    "engine", [e for e in engines() if e.name in ENGINES], ids=lambda e: e.name, indirect=True
)
def test_default_acls_reach_what_they_reached(engine: Engine, tmp_path: Path) -> None:
    """The kernel hands them on while an engine unpacks, so the order of the entries decides.

    Left out: directories of which engines show more than before, as the specification has it, and
    those that nobody spells out: podman makes them 0775 there, docker 0755.
    """
    wrong: dict[str, object] = {}
    for forms in shown(engine, ACLS, tmp_path / "images.tar"):
        (form, before), *squashed = forms.items()
        tree = model.apply(ACLS[form.partition("/")[0]])
        warnings = tree.warnings
        reset = {w.path for w in warnings if w.kind == "implicit-base-directory"}
        reset |= {b"/".join(path) for path, node in model.walk(tree.root) if not node.explicit}
        for form, after in squashed:
            right = _acls(after, reset)
            if isinstance(before, EngineError):  # each layer unpacked alone: no such target
                assert "link-to-lower" in {w.kind for w in warnings}, before
            elif ((left := _acls(before, reset)) != right) != (form in CHANGED_ACLS):
                wrong[form] = left, right
    assert wrong == {}


@pytest.mark.parametrize(
    "engine", [e for e in engines() if e.name in ENGINES], ids=lambda e: e.name, indirect=True
)
def test_what_engines_do_while_unpacking_is_done_again(engine: Engine, tmp_path: Path) -> None:
    """The root with them, and what each engine does in its own way."""
    since = time.time_ns()
    wrong: dict[str, list[str]] = {}
    for forms in shown(engine, WHILE_UNPACKING, tmp_path / "images.tar"):
        (form, before), *squashed = forms.items()
        for form, after in squashed:
            if isinstance(before, EngineError) or isinstance(after, EngineError):
                wrong[form] = [f"refused: {before} {after}"]
            elif found := differences(before, after, stamped_since=since):
                wrong[form] = found
    assert wrong == {}


@pytest.mark.parametrize(
    "engine",
    [e for e in engines() if e.name in ENGINES and not e.name.startswith("containerd")],
    ids=lambda e: e.name,
    indirect=True,
)
def test_no_whiteout_of_the_base_comes_to_light(engine: Engine, tmp_path: Path) -> None:
    """A name that is listed and not found breaks find, cp, tar and rm."""
    wrong: dict[str, object] = {}
    for forms in shown(engine, GHOSTS, tmp_path / "images.tar"):
        (form, before), *squashed = forms.items()
        ghosts = _ghosts(before)
        expected = {b"/".join(p) for p in model.ghosts(model.apply(GHOSTS[form.partition("/")[0]]))}
        if ghosts != expected:
            wrong[form] = ghosts, expected
        for form, after in squashed:
            if not _ghosts(after) <= ghosts:
                wrong[form] = _ghosts(after), ghosts
    assert wrong == {}


REFUSED = {
    c.name: c.layers
    for c in CASES
    if c.kinds & {"link-through-lower-symlink", "through-dangling-symlink"}
}


@pytest.mark.parametrize(
    "engine", [e for e in engines() if e.name in ENGINES], ids=lambda e: e.name, indirect=True
)
def test_what_a_layer_alone_does_not_have_is_warned_of(engine: Engine, tmp_path: Path) -> None:
    """Docker and podman refuse it all, containerd the hard links alone; squashed, all load it."""
    loads = set()
    for forms in shown(engine, REFUSED, tmp_path / "images.tar"):
        (form, before), *squashed = forms.items()
        if not isinstance(before, EngineError):
            loads.add(form.partition("/")[0])
        assert [f for f, after in squashed if isinstance(after, EngineError)] == []
    expected = {
        c.name for c in CASES if c.name in REFUSED and "through-dangling-symlink" in c.kinds
    }
    assert loads == (expected if engine.name.startswith("containerd") else set())


@pytest.mark.parametrize(
    "loader", [x for x in loaders() if isinstance(x, Umoci)], ids=lambda x: x.name, indirect=True
)
def test_a_link_keeps_its_content_where_a_base_symlink_is_followed(
    loader: Umoci, tmp_path: Path
) -> None:
    """What is unpacked through the symlink comes after the link: it was the other way round."""
    file = tmp_path / "image.tar"
    file.write_bytes(squash(archive(by_name("t08-alias").layers), 1)[1])
    (ref,) = loader.load(file)
    assert loader.tree(ref)[b"z"].sha256 == sha256(b"one")


@pytest.mark.parametrize(
    "loader", [x for x in loaders() if isinstance(x, Umoci)], ids=lambda x: x.name, indirect=True
)
def test_umoci_hands_on_no_default_acl(loader: Umoci, tmp_path: Path) -> None:
    """So engines do not agree about what is inherited, which is why there is a warning.

    Its own answer does not change: what the headers say, and no more. Left out: directories that
    nobody spells out.
    """
    wrong: dict[str, object] = {}
    file = tmp_path / "image.tar"
    for name, layers in ACLS.items():
        made = model.apply(layers)
        reset = {b"/".join(path) for path, node in model.walk(made.root) if not node.explicit}
        expected = {
            (path, key.decode()): value
            for path, record in model.listing(made).items()
            for key, value in record.xattrs
            if key.startswith(b"system.posix_acl_")
        }
        for form in ("as it was", *range(len(layers) - 1)):
            image = archive(layers)
            file.write_bytes(image if isinstance(form, str) else squash(image, form)[1])
            (ref,) = loader.load(file)
            if (found := _acls(loader.tree(ref), reset)) != expected:
                wrong[f"{name}/{form}"] = found, expected
    assert wrong == {}


def _ghosts(found: Shown) -> set[bytes]:
    assert not isinstance(found, EngineError), found
    return {path for path, node in found.items() if node == GHOST}


def _acls(found: Shown, reset: Collection[bytes]) -> dict[tuple[bytes, str], bytes]:
    """Return the ACLs of everything that is not in `reset`."""
    assert not isinstance(found, EngineError), found
    return {
        (path, name): value
        for path, node in found.items()
        for name, value in node.xattrs
        if name.startswith("system.posix_acl_") and path not in reset
    }
