"""The drivers themselves: what was written by hand is what every engine shows."""

from hashlib import sha256
from pathlib import Path
from tarfile import CHRTYPE, FIFOTYPE, LNKTYPE, SYMTYPE

from tests.engines.archives import MTIME, config, docker_archive, entry, folder, layer
from tests.engines.engines import Loader
from tests.engines.tree import Node, Tree, differences

TAG = "example.com/team/app:1.0"
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind... permitted
TOOL = {"security.capability": CAPABILITY, "user.note": b"\x00\xff"}
LAYERS = [
    layer(
        folder("bin/"),
        entry("bin/tool", b"tool", mode=0o755, xattrs=TOOL),
        entry("bin/alias", type=LNKTYPE, link="bin/tool", mode=0o755, xattrs=TOOL),
        entry("bin/su", b"su", mode=0o4755),
        folder("data/", xattrs={"user.kind": b"cache"}),
        entry("data/old", b"old"),
        folder("dev/"),
        entry("dev/null", type=CHRTYPE, mode=0o666, device=(1, 3)),
        entry("dev/pipe", type=FIFOTYPE, mode=0o600),
        folder("etc/", mtime="1400000000"),
        entry("etc/passwd", b"root"),
        entry("etc/removed", b"secret"),
        entry("lib", type=SYMTYPE, link="usr/lib", mtime="1400000001"),
        folder("tmp/", 0o1777),
        entry("tmp/file", b""),
    ),
    layer(
        folder("data/", 0o700, owner=(10, 20)),
        entry("data/.wh..wh..opq"),
        entry("data/new", b"new"),
        folder("etc/", mtime="1400000002"),
        entry("etc/.wh.removed"),
        entry("etc/passwd", b"root, user", owner=(1000, 2**31), mtime="1500000000.123456789"),
    ),
    layer(
        entry(".wh.tmp"),
        entry("foo.wh.bar", b"a file"),
        entry("na\udcefve", b"not UTF-8"),
        folder("var/", mtime="1"),
        folder("var/log/", 0o2775, mtime="1"),
    ),
]


def _file(data: bytes, mode: int = 0o644, **fields: object) -> Node:
    common = {"mtime_ns": MTIME * 10**9, "size": len(data), "sha256": sha256(data).hexdigest()}
    return Node("file", mode, **(common | fields))  # type: ignore[arg-type]


def _folder(mode: int = 0o755, mtime: int = MTIME, **fields: object) -> Node:
    return Node("dir", mode, mtime_ns=mtime * 10**9, **fields)  # type: ignore[arg-type]


_tool = _file(b"tool", 0o755, xattrs=tuple(TOOL.items()), links=(b"bin/alias", b"bin/tool"))
EXPECTED = {
    b"bin": _folder(),
    b"bin/alias": _tool,
    b"bin/su": _file(b"su", 0o4755),
    b"bin/tool": _tool,
    b"data": _folder(0o700, uid=10, gid=20),
    b"data/new": _file(b"new"),
    b"dev": _folder(),
    b"dev/null": Node("char", 0o666, mtime_ns=MTIME * 10**9, device=(1, 3)),
    b"dev/pipe": Node("fifo", 0o600, mtime_ns=MTIME * 10**9),
    b"etc": _folder(mtime=1_400_000_002),
    b"etc/passwd": _file(b"root, user", uid=1000, gid=2**31, mtime_ns=MTIME * 10**9 + 123456789),
    b"foo.wh.bar": _file(b"a file"),
    b"lib": Node("symlink", 0o777, mtime_ns=1_400_000_001 * 10**9, target=b"usr/lib"),
    b"na\xefve": _file(b"not UTF-8"),
    b"var": _folder(mtime=1),
    b"var/log": _folder(0o2775, mtime=1),
}


def without_root(tree: Tree) -> Tree:
    """Leave out the root directory, which these layers do not describe."""
    return {path: node for path, node in tree.items() if path}


def test_an_engine_shows_what_the_layers_say(loader: Loader, tmp_path: Path) -> None:
    archive = docker_archive(tmp_path / "image.tar", {TAG: LAYERS})
    (ref,) = loader.load(archive)
    assert differences(without_root(loader.tree(ref)), EXPECTED) == []
    assert loader.layer_digests(ref) == [f"sha256:{sha256(data).hexdigest()}" for data in LAYERS]


def test_an_engine_names_the_image_as_its_archive_does(engine: Loader, tmp_path: Path) -> None:
    archive = docker_archive(tmp_path / "image.tar", {TAG: LAYERS})
    assert engine.load(archive) == [TAG]
    assert engine.image_id(TAG) == f"sha256:{sha256(config(LAYERS)).hexdigest()}"


def test_a_removed_image_is_unpacked_anew(loader: Loader, tmp_path: Path) -> None:
    archive = docker_archive(tmp_path / "image.tar", {TAG: [layer(entry("implied/file"))]})
    (ref,) = loader.load(archive)
    before = loader.tree(ref)[b"implied"].mtime_ns
    loader.remove(ref)
    (ref,) = loader.load(archive)
    assert loader.tree(ref)[b"implied"].mtime_ns > before
