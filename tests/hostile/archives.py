"""Outer archives whose members do not fit together: names, links, digests, sizes."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

from tests.builders import (
    Block,
    Char,
    Dir,
    Fifo,
    File,
    Hardlink,
    Member,
    Symlink,
    archive,
    image_config,
    layer,
    outer_tar,
    sha256,
)
from tests.hostile.case import GOOD, Case, descriptor, docker, dump, item, oci, refused

OTHER = layer(File(b"other", b"other"))
ZEROS = "0" * 64


def _with(*members: Member) -> bytes:
    """Return a sound archive with these members in front."""
    return layer(*members, trailer=b"") + docker(item())


def _instead(name: str, *members: Member) -> bytes:
    """Return an archive with these members in the place of `name`."""
    files = {
        "manifest.json": dump(item()),
        "config.json": dump(image_config([GOOD])),
        "layer.tar": GOOD,
    }
    del files[name]
    return layer(*members, trailer=b"") + outer_tar(dict(files))


def _members() -> Iterator[Case]:
    for name, member, says in (
        (
            "manifest.json twice",
            File(b"manifest.json", b"[]"),
            "'manifest.json': the member occurs",
        ),
        (
            "manifest.json twice, other name",
            File(b"./manifest.json"),
            "'manifest.json': the member",
        ),
        ("layer twice", File(b"layer.tar", b""), "'layer.tar': the member occurs twice"),
        ("layer twice, once as a link", Symlink(b"layer.tar", b"x"), "'layer.tar': the member"),
        ("a name that leaves the archive", File(b"../x"), "'../x': the name leads out of the root"),
        ("a name of 5000 bytes", File(b"n" * 5000), "'nnn"),
        ("a component of 300 bytes", File(b"d/" + b"n" * 300), "'d/nnn"),
    ):
        yield refused(f"member: {name}", lambda member=member: _with(member), says)  # type: ignore[misc]
    for name, member in (
        ("absolute", File(b"/etc/passwd", b"x")),
        ("a device", Char(b"c", 1, 3)),
        ("a disk", Block(b"b", 8, 0)),
        ("a pipe", Fifo(b"p")),
        ("a symlink out of the archive", Symlink(b"s", b"../../etc/passwd")),
        ("a symlink to itself", Symlink(b"s", b"s")),
        ("a hard link to nothing", Hardlink(b"h", b"nothing")),
        ("a folder that bears a layer's name", Dir(b"layer")),
    ):
        yield Case(f"member unused: {name}", lambda member=member: _with(member), 0, "", (GOOD,))  # type: ignore[misc]
    for name, members, says in (
        (
            "a symlink out of the archive",
            (Symlink(b"layer.tar", b"../../etc/passwd"),),
            "'layer.tar'",
        ),
        ("an absolute symlink", (Symlink(b"layer.tar", b"/etc/passwd"),), "'layer.tar'"),
        (
            "a symlink to itself",
            (Symlink(b"layer.tar", b"layer.tar"),),
            "'layer.tar': is not a regular",
        ),
        (
            "a symlink to a folder",
            (Dir(b"d"), Symlink(b"layer.tar", b"d")),
            "'layer.tar': is not in",
        ),
        (
            "symlinks in a circle",
            (Symlink(b"layer.tar", b"b"), Symlink(b"b", b"layer.tar")),
            "'layer.tar': is not a regular file",
        ),
        (
            "hard links in a circle",
            (Hardlink(b"layer.tar", b"b"), Hardlink(b"b", b"layer.tar")),
            "'layer.tar': is not a regular file",
        ),
        (
            "a chain of 9 links",
            (
                Symlink(b"layer.tar", b"l1"),
                *(Symlink(b"l%d" % n, b"l%d" % (n + 1)) for n in range(1, 9)),
                File(b"l9", GOOD),
            ),
            "'layer.tar': is not a regular file",
        ),
        ("a device", (Char(b"layer.tar", 1, 5),), "'layer.tar': is not a regular file"),
        ("a pipe", (Fifo(b"layer.tar"),), "'layer.tar': is not a regular file"),
        ("a folder", (Dir(b"layer.tar"),), "'layer.tar': is not in the archive"),
        ("nowhere", (), "'layer.tar': is not in the archive"),
    ):
        yield refused(
            f"layer is {name}",
            lambda members=members: _instead("layer.tar", *members),  # type: ignore[misc]
            f"manifest.json[0].Layers[0]: {says}",
        )
    yield refused(
        "config is a symlink out of the archive",
        lambda: _instead("config.json", Symlink(b"config.json", b"/etc/passwd")),
        "manifest.json[0].Config: 'config.json': is not in the archive",
    )
    yield refused(
        "manifest.json is a symlink to itself",
        lambda: _instead("manifest.json", Symlink(b"manifest.json", b"manifest.json")),
        "'manifest.json': is not a regular file",
    )
    yield refused(
        "manifest.json is a device",
        lambda: _instead("manifest.json", Char(b"manifest.json", 1, 5)),
        "'manifest.json': is not a regular file",
    )


def _digests() -> Iterator[Case]:
    """Yield what does not hash to what it should, or has not the size that it should."""
    config = dump(image_config([OTHER]))
    yield refused(
        "digest: another layer than the diff_id says",
        docker(item(), config),
        f"layer 1 of 1: blob: expected sha256:{sha256(OTHER)}, found sha256:{sha256(GOOD)}",
    )
    yield refused(
        "digest: layers swapped",
        archive([OTHER, GOOD], form="podman", config={"rootfs": _rootfs(GOOD, OTHER)}),
        "layer ",
    )
    good = f"blobs/sha256/{sha256(GOOD)}"
    for name, data, says in (
        ("another blob", OTHER, "layer 1 of 1: blob: expected sha256"),
        ("a blob of another size", OTHER + bytes(512), f"{good}: expected {len(GOOD)} bytes"),
        ("an empty blob", b"", f"{good}: expected {len(GOOD)} bytes, found 0"),
    ):
        yield refused(f"digest: {name}", lambda data=data: oci(members={good: data}), says)  # type: ignore[misc]
    config = dump(image_config([GOOD]))
    name = f"blobs/sha256/{sha256(config)}"
    yield refused(
        "digest: another config",
        oci(members={name: config[:-1] + b" "}),
        f"{name}: expected sha256:{sha256(config)}",
    )
    yield refused(
        "digest: config of another size",
        oci(members={name: config + b" "}),
        f"{name}: expected {len(config)} bytes, found {len(config) + 1}",
    )
    yield refused(
        "digest: another manifest",
        oci(index=dump({"manifests": [descriptor(b"x", "manifest.v1+json")]}),
            members={f"blobs/sha256/{sha256(b'x')}": b"{}"}),
        f"blobs/sha256/{sha256(b'x')}: expected sha256:{sha256(b'x')}, found",
    )  # fmt: skip
    yield refused(
        "digest: docker's config is called by another",
        docker(item(Config=f"blobs/sha256/{ZEROS}"), members={f"blobs/sha256/{ZEROS}": config}),
        f"blobs/sha256/{ZEROS}: expected sha256:{ZEROS}",
    )
    yield refused(
        "digest: docker's layer is called by another",
        docker(item(Layers=[f"blobs/sha256/{ZEROS}"]), members={f"blobs/sha256/{ZEROS}": GOOD}),
        f"layer 1 of 1: blob: expected sha256:{ZEROS}",
    )
    packed = gzip.compress(GOOD, mtime=0)
    for name, changes, says, code in (
        ("of another algorithm", {"digest": f"md5:{'0' * 32}"}, "the digest 'md5:000", 5),
        ("of SHA-512", {"digest": f"sha512:{'0' * 128}"}, "the digest 'sha512:000", 5),
        ("in capitals", {"digest": f"sha256:{'A' * 64}"}, "'sha256:AAAA", 3),
        ("too short", {"digest": "sha256:abc"}, "'sha256:abc' is not a valid digest", 3),
        ("that is a path", {"digest": "sha256:../../../../etc/passwd"}, "'sha256:..", 3),
        ("that is no string", {"digest": 7}, "a string is expected", 3),
        ("that is missing", {"digest": None}, "a string is expected", 3),
    ):
        place = f".layers[0].digest: {says}"
        yield Case(
            f"digest: {name}",
            lambda changes=changes: oci(layers=[descriptor(GOOD, **changes)]),  # type: ignore[misc]
            code,
            f"blobs/sha256/{_manifest_of(descriptor(GOOD, **changes))}{place}",
        )
    for name, size in (
        ("negative", -1),
        ("a float", 1.5),
        ("a string", "1"),
        ("true", True),
        ("missing", None),
    ):
        yield refused(
            f"size: {name}",
            lambda size=size: oci(layers=[descriptor(GOOD, size=size)]),  # type: ignore[misc]
            f"blobs/sha256/{_manifest_of(descriptor(GOOD, size=size))}.layers[0].size: a size is",
        )
    for name, size in (("too large", len(GOOD) + 1), ("2^64", 2**64), ("0", 0)):
        yield refused(
            f"size: {name}",
            lambda size=size: oci(layers=[descriptor(GOOD, size=size)]),  # type: ignore[misc]
            f"{good}: expected {size} bytes, found {len(GOOD)}",
        )
    yield refused(
        "digest: a layer that is not there",
        oci(layers=[descriptor(OTHER)]),
        f"blobs/sha256/{sha256(OTHER)}: is not in the archive",
    )
    yield refused(
        "digest: a compressed layer with the plain one's digest",
        oci(members={good: packed.ljust(len(GOOD), b"\0")}),
        "layer 1 of 1: ",
    )


def _manifest_of(layer_: object) -> str:
    return sha256(
        dump(
            {
                "schemaVersion": 2,
                "config": descriptor(dump(image_config([GOOD])), "config.v1+json"),
                "layers": [layer_],
            }
        )
    )


def _rootfs(*layers: bytes) -> dict[str, object]:
    return {"type": "layers", "diff_ids": [f"sha256:{sha256(data)}" for data in layers]}


def cases() -> Iterator[Case]:
    """Yield every case of this theme."""
    yield from _members()
    yield from _digests()
