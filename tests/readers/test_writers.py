"""What others than docker write: layers, and archives around them, of every tar at hand.

Each writer packs the same two folders. What the model reads in a layer must be what lies on the
disk, and squashing must keep that; and an archive around the layers that it has packed anew must
give the same result. SQUASHER_READERS=required makes a missing writer an error, else it is a skip.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import subprocess
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import squasher
from squasher.tar.walk import LayerWalk
from tests import model
from tests.builders import archive
from tests.conformance.check import check, layers_of, squash
from tests.readers.test_readers import REQUIRED, ROOT, need

HERE = Path(__file__).parent
#: Longer than the 100 bytes of a header, and than the 255 of a prefix and a name.
LONG = ("long name " * 14).strip()
TIME = 1_600_000_000
DEEP = "/".join(["deep" * 12] * 7)
Writer = Callable[[Path, Path], None]


def run(*words: str | Path, cwd: Path | None = None) -> str:
    env = {**os.environ, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def program(*words: str) -> Writer:
    """Return what runs a tar: `words` stand before the name of the archive and the names in it."""

    def write(folder: Path, out: Path) -> None:
        need(words[0])
        run(*words, out, ".", cwd=folder)

    return write


def with_tarfile(form: int, folder: Path, out: Path) -> None:
    with tarfile.open(out, "w", format=form) as tar:
        tar.add(folder, ".")


def with_perl(folder: Path, out: Path) -> None:
    need("perl")
    run("perl", HERE / "write.pl", folder, out)


def with_ruby(folder: Path, out: Path) -> None:
    need("ruby")
    run("env", f"SOURCE_DATE_EPOCH={TIME}", "ruby", HERE / "write.rb", folder, out)


def with_node(script: str, folder: Path, out: Path) -> None:
    need("node", "npm")
    made = subprocess.run([ROOT / "scripts/node-readers"], capture_output=True, text=True)
    if made.returncode:
        (pytest.fail if REQUIRED else pytest.skip)(f"npm installs nothing: {made.stderr[-500:]}")
    run("node", HERE / script, made.stdout.strip(), folder, out)


#: Those whose form has room for long names.
ROOMY: dict[str, Writer] = {
    "gnu": program("tar", "--format=gnu", "-cf"),
    "gnu-oldgnu": program("tar", "--format=oldgnu", "-cf"),
    "gnu-posix": program("tar", "--format=posix", "--xattrs", "-cf"),
    **{
        f"gnu-posix-sparse-{version}": program(
            "tar", "--format=posix", "--sparse", f"--sparse-version={version}", "-cf"
        )
        for version in ("0.0", "0.1", "1.0")
    },
    "bsdtar-pax": program("bsdtar", "--format=pax", "-cf"),
    "bsdtar-restricted-pax": program("bsdtar", "--format=paxr", "-cf"),
    "bsdtar-gnu": program("bsdtar", "--format=gnutar", "-cf"),
    "busybox": program("busybox", "tar", "-cf"),
    "tarfile-gnu": partial(with_tarfile, tarfile.GNU_FORMAT),
    "tarfile-pax": partial(with_tarfile, tarfile.PAX_FORMAT),
    "node": partial(with_node, "write.cjs"),
    "node-tar-stream": partial(with_node, "write-stream.cjs"),
}
WRITERS: dict[str, Writer] = {
    **ROOMY,
    "gnu-v7": program("tar", "--format=v7", "-cf"),
    "gnu-ustar": program("tar", "--format=ustar", "-cf"),
    "bsdtar-ustar": program("bsdtar", "--format=ustar", "-cf"),
    "bsdtar-v7": program("bsdtar", "--format=v7", "-cf"),
    "tarfile-ustar": partial(with_tarfile, tarfile.USTAR_FORMAT),
    "perl": with_perl,
    "ruby": with_ruby,
}


def plain(folder: Path) -> None:
    """Make what every form holds."""
    (folder / "etc").mkdir(parents=True)
    (folder / "etc/release").write_bytes(b"12\n")
    (folder / "etc/empty").touch()
    os.link(folder / "etc/release", folder / "etc/same")
    os.symlink("../etc/release", folder / "etc/link")
    (folder / "bin").mkdir()
    (folder / "bin/tool").write_bytes(b"x" * 5000)
    (folder / "bin/tool").chmod(0o4755)
    (folder / "bin").chmod(0o1777)


def hard(folder: Path) -> None:
    """Make what some forms have no room for."""
    plain(folder)
    (folder / LONG).write_bytes(b"long")
    os.symlink(LONG, folder / "to-long")
    (folder / DEEP).mkdir(parents=True)
    (folder / DEEP / "file").write_bytes(b"deep")
    os.link(folder / DEEP / "file", folder / f"{LONG} again")
    (folder / "größe").write_bytes("größe".encode())
    with (folder / "sparse").open("wb") as file:
        for at in (0, 1 << 20, 3 << 20):
            file.seek(at)
            file.write(b"data" * 1024)
        file.truncate(4 << 20)


def above(folder: Path) -> None:
    """Make what a second layer says."""
    (folder / "etc").mkdir(parents=True)
    (folder / "etc/.wh.same").touch()
    (folder / "etc/release").write_bytes(b"13\n")
    (folder / "new").write_bytes(b"new")
    os.link(folder / "new", folder / "newer")


def packed(write: Writer, fill: Callable[[Path], None], folder: Path) -> bytes:
    """Fill a folder that is owned by somebody, and return it as the writer packs it."""
    fill(folder)
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (TIME, TIME), follow_symlinks=False)
    out = folder.parent / f"{folder.name}.tar"
    write(folder, out)
    return out.read_bytes()


def on_disk(folder: Path) -> dict[bytes, tuple[object, ...]]:
    """Return what lies in a folder: kind, mode, time, and what is in it."""
    found: dict[bytes, tuple[object, ...]] = {}
    for path in folder.rglob("*"):
        info = path.lstat()
        name = os.fsencode(path.relative_to(folder))
        if stat.S_ISLNK(info.st_mode):
            found[name] = ("symlink", os.fsencode(os.readlink(path)))
        elif stat.S_ISDIR(info.st_mode):
            found[name] = ("dir", stat.S_IMODE(info.st_mode), int(info.st_mtime))
        else:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[name] = ("file", stat.S_IMODE(info.st_mode), int(info.st_mtime), digest)
    return found


def in_layer(data: bytes) -> dict[bytes, tuple[object, ...]]:
    """Return the same of what the model reads in a layer."""
    found: dict[bytes, tuple[object, ...]] = {}
    for path, node in model.walk(model.apply([data]).root):
        if not path:
            continue
        if node.kind == "symlink":
            found[b"/".join(path)] = ("symlink", node.target)
        elif node.kind == "dir":
            found[b"/".join(path)] = ("dir", node.mode, node.mtime // 10**9)
        else:
            digest = hashlib.sha256(node.data).hexdigest()
            found[b"/".join(path)] = (node.kind, node.mode, node.mtime // 10**9, digest)
    return found


@pytest.mark.parametrize(
    ("name", "fill"),
    [*((name, plain) for name in WRITERS), *((name, hard) for name in ROOMY)],
    ids=lambda each: each if isinstance(each, str) else each.__name__,
)
def test_what_it_packs_is_squashed(name: str, fill: Callable[[Path], None], tmp_path: Path) -> None:
    lower = packed(WRITERS[name], fill, tmp_path / "lower")
    upper = packed(WRITERS[name], above, tmp_path / "upper")
    disk = on_disk(tmp_path / "lower")
    if name == "perl":  # it writes nine bits of a mode
        disk = {key: (kind, *mode_in(0o777, rest)) for key, (kind, *rest) in disk.items()}
    assert in_layer(lower) == disk
    for keep in (0, 1):
        check([lower, upper, *[upper] * keep], keep)


#: Those that pack extended attributes, with the words that ask for it.
WITH_XATTRS = {
    "gnu-posix": program("tar", "--format=posix", "--xattrs", "--xattrs-include=*", "-cf"),
    "bsdtar-pax": program("bsdtar", "--format=pax", "--xattrs", "-cf"),
}
NOTE = b"\0\xff=\n"
#: Those that pack access control lists: as text, in records of their own that no engine reads.
WITH_ACLS = {
    "gnu-posix": program("tar", "--format=posix", "--acls", "--xattrs", "-cf"),
    "bsdtar-pax": program("bsdtar", "--format=pax", "--acls", "-cf"),
}


@pytest.mark.parametrize("name", WITH_XATTRS)
def test_extended_attributes_stay(name: str, tmp_path: Path) -> None:
    def noted(folder: Path) -> None:
        plain(folder)
        try:
            for path in ("bin/tool", "bin"):
                os.setxattr(folder / path, "user.note", NOTE)
        except OSError as error:
            pytest.skip(f"the file system has no extended attributes: {error}")

    lower = packed(WITH_XATTRS[name], noted, tmp_path / "lower")
    upper = packed(WITH_XATTRS[name], above, tmp_path / "upper")
    found = {b"/".join(path): node.xattrs for path, node in model.walk(model.apply([lower]).root)}
    told = {path: dict(xattrs) for path, xattrs in found.items() if xattrs}
    assert told == {path: {b"user.note": NOTE} for path in (b"bin", b"bin/tool")}
    for keep in (0, 1):
        check([lower, upper, upper], keep)


def acl(*rows: tuple[int, int, int]) -> bytes:
    """Return an access control list as Linux keeps it: rows of tag, rights, and owner.

    Source: include/uapi/linux/posix_acl_xattr.h.
    """
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in rows)


def give_acls(folder: Path) -> None:
    """Let user 4242 write a file, and read what comes into a folder.

    Not into one that a layer above has without: who inherits, and keeps it, engines disagree on.
    """
    none = 0xFFFFFFFF
    user, named, group, mask, other = 0x01, 0x02, 0x04, 0x10, 0x20
    last = ((group, 4, none), (mask, 6, none), (other, 4, none))
    try:
        for path, name, rights in (("etc/release", "access", 6), ("bin", "default", 4)):
            value = acl((user, 6, none), (named, rights, 4242), *last)
            os.setxattr(folder / path, f"system.posix_acl_{name}", value)
    except OSError as error:
        pytest.skip(f"the file system has no access control lists: {error}")


@pytest.mark.parametrize("name", WITH_ACLS)
def test_access_control_lists(name: str, tmp_path: Path) -> None:
    """GNU tar writes them as extended attributes, too, which engines read; bsdtar as text alone."""

    def write(folder: Path, out: Path) -> None:
        give_acls(folder)
        WITH_ACLS[name](folder, out)

    lower = packed(write, plain, tmp_path / "lower")
    upper = packed(WITH_ACLS[name], above, tmp_path / "upper")
    with tarfile.open(fileobj=io.BytesIO(lower)) as tar:
        texts = [text for each in tar for key, text in each.pax_headers.items() if ".acl." in key]
    assert any(":4242" in text for text in texts)
    found = {key for _, node in model.walk(model.apply([lower]).root) for key in dict(node.xattrs)}
    assert any(b"posix_acl" in key for key in found) == (name == "gnu-posix")
    for keep in (0, 1):
        check([lower, upper, *[upper] * keep], keep)


#: Owners and times that no octal field of a header holds.
OWNER, EARLY, LATE = 3_000_000, -5, 9_000_000_000
#: Those whose form has room for large numbers, and who use it: tar-stream cuts owners off, and
#: bsdtar's GNU form ends in the year 2242.
LARGE = (
    *("gnu", "gnu-posix", "bsdtar-pax", "tarfile-gnu", "tarfile-pax", "node"),
    *("gnu-oldgnu", "gnu-posix-sparse-1.0"),
)


@pytest.mark.parametrize("name", LARGE)
def test_large_numbers(name: str, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root gives files away")

    def write(folder: Path, out: Path) -> None:
        for path, when in (("bin/tool", LATE), ("etc/empty", EARLY)):
            os.chown(folder / path, OWNER, OWNER + 1)
            os.utime(folder / path, (when, when))
        WRITERS[name](folder, out)

    lower = packed(write, plain, tmp_path / "lower")
    upper = packed(WRITERS[name], above, tmp_path / "upper")
    found = {b"/".join(path): node for path, node in model.walk(model.apply([lower]).root)}
    for path, when in ((b"bin/tool", LATE), (b"etc/empty", EARLY)):
        node = found[path]
        assert (node.uid, node.gid, node.mtime) == (OWNER, OWNER + 1, when * 10**9)
    for keep in (0, 1):
        check([lower, upper, *[upper] * keep], keep)


@pytest.mark.parametrize("version", ["0.0", "0.1", "1.0"])
def test_a_sparse_file_of_many_gigabytes(version: str, tmp_path: Path) -> None:
    """Larger than an octal field holds; nothing of a hole is written, or held."""
    size = 9 << 30

    def fill(folder: Path) -> None:
        folder.mkdir()
        with (folder / "sparse").open("wb") as file:
            file.seek(size - 4096)
            file.write(b"end!" * 1024)

    lower = packed(ROOMY[f"gnu-posix-sparse-{version}"], fill, tmp_path / "lower")
    upper = packed(WRITERS["gnu"], above, tmp_path / "upper")
    (layer,) = layers_of(squash(archive([lower, upper]), 0)[1])
    for data in (lower, layer):
        assert len(data) < 1 << 20
        walk = LayerWalk(0)
        walk.feed(data)
        changes = walk.finish()
        entry = dict(zip(changes.paths, changes.entries, strict=True))[b"sparse"]
        assert entry.size == size
        assert entry.sparse is not None
        assert list(entry.sparse) == [(size - 4096, 4096)]
        assert data[entry.data : entry.data + 4096] == b"end!" * 1024


def mode_in(bits: int, rest: list[object]) -> list[object]:
    """Return what follows a kind, with some bits of the mode, if that is there."""
    return [rest[0] & bits, *rest[1:]] if isinstance(rest[0], int) else rest


def test_a_sparse_file_in_the_old_form_is_refused(tmp_path: Path) -> None:
    """As every engine does."""
    old = program("tar", "--format=gnu", "--sparse", "-cf")
    layer = packed(old, hard, tmp_path / "lower")
    with pytest.raises(squasher.ArchiveError, match="the tar header type 'S' is not supported"):
        squash(archive([layer, layer]), 0)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("form", ["v25", "legacy", "podman"])
def test_an_archive_that_it_packed(name: str, form: str, tmp_path: Path) -> None:
    layers = [packed(WRITERS[name], fill, tmp_path / fill.__name__) for fill in (plain, above)]
    before = archive(layers, form=form, shared=False)
    folder = tmp_path / "archive"
    folder.mkdir()
    with tarfile.open(fileobj=io.BytesIO(before)) as tar:
        for member in tar:
            if member.isfile():
                content = tar.extractfile(member)
                assert content is not None
                (folder / member.name).parent.mkdir(parents=True, exist_ok=True)
                (folder / member.name).write_bytes(content.read())
    WRITERS[name](folder, tmp_path / "again.tar")
    again = (tmp_path / "again.tar").read_bytes()
    assert again != before
    assert layers_of(squash(again, 0)[1]) == layers_of(squash(before, 0)[1])
