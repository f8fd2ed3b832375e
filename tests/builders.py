r"""A vocabulary to build image layers and image archives in memory, byte for byte as wanted.

    layer(Dir(b"etc"), File(b"etc/motd", b"hi\n"), Whiteout(b"etc/issue"))  ->  bytes of a tar
    archive([lower, upper], form="legacy" | "v25" | "podman" | "oci")       ->  bytes of an image

*Members.* `File(path, data)`, `Dir(path)`, `Symlink(path, target)`, `Hardlink(path, target)`,
`Char(path, major, minor)`, `Block(path, major, minor)`, `Fifo(path)`, `Whiteout(path)`,
`Opaque(dir)`, `Sparse(path, size, extents, version)` each return a frozen `Member`. All take
`mode`, `uid`, `gid`, `mtime` (integer nanoseconds, or the raw bytes of a PAX record) and `xattrs`
(a dict of bytes). Paths are bytes and written as given; only `Dir` adds its trailing slash.
Anything odder is a field of `Member`, set with `dataclasses.replace(member, ...)`: `type` (raw
typeflag), `size` (what the header says), `records` (more PAX records), `prefixed` (raw bytes in
front of the header, such as `long_name(b"L", ...)` or `pax([...])`), `patches` (raw bytes by their
offset in the header), `checksum` (raw field), `dialect`.

*Layers.* `layer(*parts, dialect="pax", trailer=bytes(1024))`; a part is a `Member` or raw bytes.
Dialects: `pax` (ustar plus an `x` record for what does not fit), `gnu` (base-256 numbers, `L` and
`K`), `ustar` (prefix field; `ValueError` for what does not fit), `v7` (no magic).

*Archives.* `archive(layers, form=..., tags=..., config=..., history=..., gzip_layers=...)`; see
there. `outer_tar({name: data})` writes any other archive.
"""

# ruff: noqa: N802 - the members read as what they are, like containerd's tartest

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

BLOCK = 512
SECOND = 10**9
MTIME = 1_500_000_000 * SECOND
END = bytes(2 * BLOCK)

Records = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True, kw_only=True)
class Member:
    """One entry of a layer, with whatever raw header fields a test wants."""

    path: bytes
    type: bytes = b"0"
    data: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int | bytes = MTIME
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[bytes, bytes] = field(default_factory=dict)
    records: tuple[tuple[bytes, bytes], ...] = ()
    prefixed: bytes = b""
    size: int | None = None
    patches: tuple[tuple[int, bytes], ...] = ()
    checksum: bytes | None = None
    dialect: str | None = None


def _member(path: bytes, type_: bytes, mode: int, options: Mapping[str, Any]) -> Member:
    return replace(Member(path=path, type=type_, mode=mode), **options)


def File(path: bytes, data: bytes = b"", **options: Any) -> Member:
    return replace(_member(path, b"0", 0o644, options), data=data)


def Dir(path: bytes, **options: Any) -> Member:
    return _member(path if path.endswith(b"/") else path + b"/", b"5", 0o755, options)


def Symlink(path: bytes, target: bytes, **options: Any) -> Member:
    return replace(_member(path, b"2", 0o777, options), target=target)


def Hardlink(path: bytes, target: bytes, **options: Any) -> Member:
    return replace(_member(path, b"1", 0o644, options), target=target)


def Char(path: bytes, major: int = 1, minor: int = 3, **options: Any) -> Member:
    return replace(_member(path, b"3", 0o666, options), device=(major, minor))


def Block(path: bytes, major: int = 7, minor: int = 0, **options: Any) -> Member:
    return replace(_member(path, b"4", 0o660, options), device=(major, minor))


def Fifo(path: bytes, **options: Any) -> Member:
    return _member(path, b"6", 0o600, options)


def Whiteout(path: bytes, **options: Any) -> Member:
    """Return the whiteout that hides `path`: a file of its name with `.wh.` in front."""
    parent, slash, name = path.rpartition(b"/")
    return _member(parent + slash + b".wh." + name, b"0", 0o600, options)


def Opaque(path: bytes = b"", **options: Any) -> Member:
    """Return the opaque whiteout inside the directory `path`; no path is the root."""
    return _member((path + b"/" if path else b"") + b".wh..wh..opq", b"0", 0o600, options)


def Sparse(
    path: bytes,
    size: int,
    extents: Sequence[tuple[int, bytes]],
    version: str = "1.0",
    **options: Any,
) -> Member:
    """Return a sparse file in PAX form 0.0, 0.1 or 1.0, or in the old GNU form (`S`).

    GNU tar puts another name, `DIR/GNUSparseFile.PID/NAME`, into the header of 0.1 and 1.0: set
    `path` with `replace` for that.

    Source: the manual of GNU tar, "Storing Sparse Files" and "Old GNU Format".
    """
    spans = [(offset, len(data)) for offset, data in extents]
    packed = b"".join(data for _, data in extents)
    numbers = b",".join(b"%d,%d" % span for span in spans)
    member = replace(_member(path, b"0", 0o644, options), data=packed)
    if version == "0.0":
        pairs = [
            record
            for offset, length in spans
            for record in (
                (b"GNU.sparse.offset", b"%d" % offset),
                (b"GNU.sparse.numbytes", b"%d" % length),
            )
        ]
        counts = ((b"GNU.sparse.size", b"%d" % size), (b"GNU.sparse.numblocks", b"%d" % len(spans)))
        return replace(member, records=(*counts, *pairs))
    if version == "0.1":
        return replace(
            member,
            records=(
                (b"GNU.sparse.size", b"%d" % size),
                (b"GNU.sparse.numblocks", b"%d" % len(spans)),
                (b"GNU.sparse.name", path),
                (b"GNU.sparse.map", numbers),
            ),
        )
    if version == "1.0":
        table = b"".join(b"%d\n" % number for number in (len(spans), *sum(spans, ())))
        return replace(
            member,
            data=_padded(table) + packed,
            records=(
                (b"GNU.sparse.major", b"1"),
                (b"GNU.sparse.minor", b"0"),
                (b"GNU.sparse.name", path),
                (b"GNU.sparse.realsize", b"%d" % size),
            ),
        )
    table = b"".join(_octal(number, 12) for number in sum(spans[:4], ()))
    return replace(
        member, type=b"S", dialect="gnu", patches=((386, table), (483, _octal(size, 12)))
    )


def layer(*parts: Member | bytes, dialect: str = "pax", trailer: bytes = END) -> bytes:
    """Return the tar of these members, in this order; raw bytes are put in as they are."""
    return b"".join(p if isinstance(p, bytes) else encode(p, dialect) for p in parts) + trailer


def encode(member: Member, dialect: str = "pax") -> bytes:
    """Return the blocks of one member: extension headers, header, data."""
    dialect = member.dialect or dialect
    name, prefix, link, front = member.path, b"", member.target, member.prefixed
    size = len(member.data) if member.size is None else member.size
    seconds, fraction = (0, 1) if isinstance(member.mtime, bytes) else divmod(member.mtime, SECOND)
    records: list[tuple[bytes, bytes]] = []
    if dialect == "pax":
        if len(name) > 100:
            records.append((b"path", name))
        if len(link) > 100:
            records.append((b"linkpath", link))
        large = {b"uid": member.uid, b"gid": member.gid}
        records += [(k, b"%d" % n) for k, n in large.items() if not 0 <= n < 8**7]
        if size >= 8**11:
            records.append((b"size", b"%d" % size))
    elif dialect == "gnu":
        front += long_name(b"K", link) if len(link) > 100 else b""
        front += long_name(b"L", name) if len(name) > 100 else b""
    elif dialect == "ustar":
        prefix, name = _ustar_name(name)
    if fraction or (dialect != "gnu" and not 0 <= seconds < 8**11):
        records.append((b"mtime", mtime_text(member.mtime)))
    records += [(b"SCHILY.xattr." + key, value) for key, value in member.xattrs.items()]
    records += member.records
    head = header(
        name=name[:100],
        prefix=prefix,
        type=member.type,
        mode=member.mode,
        uid=member.uid,
        gid=member.gid,
        size=size,
        mtime=seconds,
        linkname=link[:100],
        device=member.device,
        dialect=dialect,
        patches=member.patches,
        checksum=member.checksum,
    )
    return front + (pax(records) if records else b"") + head + _padded(member.data)


def header(
    *,
    name: bytes,
    type: bytes,  # noqa: A002 - the name of the field
    prefix: bytes = b"",
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    size: int = 0,
    mtime: int = MTIME // SECOND,
    linkname: bytes = b"",
    device: tuple[int, int] = (0, 0),
    dialect: str = "pax",
    patches: Iterable[tuple[int, bytes]] = (),
    checksum: bytes | None = None,
) -> bytes:
    """Return one header block.

    Source: POSIX pax, "ustar Interchange Format"; GNU tar's manual, "Basic Tar Format".
    """
    number = _base256_or_octal if dialect == "gnu" else _octal
    is_device = type in (b"3", b"4")
    block = bytearray(BLOCK)
    for offset, value in (
        (0, name),
        (100, number(mode, 8)),
        (108, number(uid, 8)),
        (116, number(gid, 8)),
        (124, number(size, 12)),
        (136, number(mtime, 12)),
        (156, type),
        (157, linkname),
        (257, {"gnu": b"ustar  \0", "v7": b""}.get(dialect, b"ustar\x0000")),
        (329, number(device[0], 8) if is_device else b""),
        (337, number(device[1], 8) if is_device else b""),
        (345, prefix),
        *patches,
    ):
        block[offset : offset + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = checksum or b"%06o\0 " % sum(block)
    assert len(block) == BLOCK
    return bytes(block)


def pax(records: Records, type: bytes = b"x") -> bytes:  # noqa: A002
    """Return a PAX extended header (`x`, or global: `g`) of these records."""
    return raw_pax(b"".join(pax_record(key, value) for key, value in records), type)


def raw_pax(data: bytes, type: bytes = b"x") -> bytes:  # noqa: A002
    """Return a PAX extended header with any bytes as its records."""
    name = b"pax_global_header" if type == b"g" else b"PaxHeaders/x"
    return header(name=name, type=type, size=len(data)) + _padded(data)


def pax_record(key: bytes, value: bytes) -> bytes:
    r"""Return `LENGTH KEY=VALUE\n`, where the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(b"%d" % rest)
    length = rest + len(b"%d" % length)
    return b"%d %s=%s\n" % (length, key, value)


def long_name(type: bytes, name: bytes) -> bytes:  # noqa: A002
    """Return GNU's header for a long name (`L`) or link name (`K`)."""
    data = name + b"\0"
    return header(name=b"././@LongLink", type=type, size=len(data), dialect="gnu") + _padded(data)


def mtime_text(mtime: int | bytes) -> bytes:
    """Return the decimal seconds of a PAX record for integer nanoseconds; raw text stays."""
    if isinstance(mtime, bytes):
        return mtime
    seconds, fraction = divmod(abs(mtime), SECOND)
    text = b"%d.%09d" % (seconds, fraction) if fraction else b"%d" % seconds
    return b"-" + text if mtime < 0 else text


def _octal(number: int, width: int) -> bytes:
    """Return an octal field; a number that does not fit (its PAX record counts) becomes 0."""
    text = b"%0*o\0" % (width - 1, number) if number >= 0 else b""
    return text if 0 < len(text) <= width else b"0" * (width - 1) + b"\0"


def _base256_or_octal(number: int, width: int) -> bytes:
    if 0 <= number < 8 ** (width - 1):
        return _octal(number, width)
    value = bytearray(number.to_bytes(width, "big", signed=True))
    value[0] |= 0x80
    return bytes(value)


def _ustar_name(path: bytes) -> tuple[bytes, bytes]:
    if len(path) <= 100:
        return b"", path
    for cut in range(len(path) - 1, 0, -1):
        if path[cut : cut + 1] == b"/" and cut <= 155 and 0 < len(path) - cut - 1 <= 100:
            return path[:cut], path[cut + 1 :]
    raise ValueError(path)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def outer_tar(members: Mapping[str, bytes | None], links: Mapping[str, str] | None = None) -> bytes:
    """Return an archive of regular files, of directories (`None`) and of symlinks, in order."""
    parts = [
        File(name.encode(), data) if data is not None else Dir(name.encode())
        for name, data in members.items()
    ]
    parts += [Symlink(name.encode(), target.encode()) for name, target in (links or {}).items()]
    return layer(*parts)


def archive(
    layers: Sequence[bytes],
    *,
    form: str = "legacy",
    tags: Sequence[str] | None = ("example:latest",),
    config: Mapping[str, Any] | None = None,
    history: Sequence[Mapping[str, Any]] | None = None,
    gzip_layers: Collection[int] = (),
    shared: bool = True,
) -> bytes:
    """Return an image archive of these layers (uncompressed tars, lowest first).

    Forms: `legacy` is `docker save` before 25: a folder for each layer with VERSION, json and
    layer.tar, and a layer that occurs twice as a symlink to the first (unless `shared` is false);
    `v25` is `docker save` since 25: an OCI layout with manifest.json; `podman` is the flat
    docker-archive of podman and skopeo; `oci` is an oci-archive without manifest.json.

    `config` adds or replaces keys of the image config; `history` is one row a layer when left out;
    the layers whose index is in `gzip_layers` are stored compressed. `tags` None is RepoTags null.
    """
    blobs = [_gzip(data) if index in gzip_layers else data for index, data in enumerate(layers)]
    document = _json(image_config(layers, history=history, config=config))
    writer = {"legacy": _legacy, "v25": _v25, "podman": _podman, "oci": _oci}[form]
    return writer(layers, blobs, document, tags, shared)


def image_config(
    layers: Sequence[bytes],
    *,
    history: Sequence[Mapping[str, Any]] | None = None,
    config: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the document of an image config for these layers."""
    created = "2024-01-02T03:04:05.678901234Z"
    rows = [{"created": created, "created_by": f"step {n}"} for n in range(len(layers))]
    return {
        "architecture": "amd64",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
        "created": created,
        "history": rows if history is None else list(history),
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + sha256(data) for data in layers]},
        **(config or {}),
    }


def sha256(data: bytes) -> str:
    """Return the digest in hex."""
    return hashlib.sha256(data).hexdigest()


def _legacy(
    layers: Sequence[bytes],
    blobs: Sequence[bytes],
    config: bytes,
    tags: Sequence[str] | None,
    shared: bool,
) -> bytes:
    members: dict[str, bytes | None] = {}
    links: dict[str, str] = {}
    folders: list[str] = []
    first: dict[bytes, str] = {}
    for data, blob in zip(layers, blobs, strict=True):
        parent = folders[-1] if folders else ""
        folder = sha256(f"{parent} {sha256(data)}".encode())
        folders.append(folder)
        about = {"id": folder, "created": "1970-01-01T00:00:00Z", "os": "linux"}
        members[f"{folder}/"] = None
        members[f"{folder}/VERSION"] = b"1.0"
        members[f"{folder}/json"] = _json({**about, "parent": parent} if parent else about)
        if shared and blob in first:
            links[f"{folder}/layer.tar"] = f"../{first[blob]}/layer.tar"
        else:
            members[f"{folder}/layer.tar"] = blob
            first[blob] = folder
    name = f"{sha256(config)}.json"
    members[name] = config
    item = {"Config": name, "RepoTags": tags, "Layers": [f"{f}/layer.tar" for f in folders]}
    members["manifest.json"] = _json([_listed(item)])
    if tags and folders:
        members["repositories"] = _json(_repositories(tags, folders[-1]))
    return outer_tar(dict(sorted(members.items())), links)


def _v25(
    layers: Sequence[bytes],
    blobs: Sequence[bytes],
    config: bytes,
    tags: Sequence[str] | None,
    shared: bool,
) -> bytes:
    members = _layout(blobs, config, tags)
    paths = [f"blobs/sha256/{sha256(blob)}" for blob in blobs]
    item = {
        "Config": f"blobs/sha256/{sha256(config)}",
        "RepoTags": tags,
        "Layers": paths,
        "LayerSources": {
            "sha256:" + sha256(data): _descriptor(_layer_type(blob), blob)
            for data, blob in zip(layers, blobs, strict=True)
        },
    }
    for index in range(len(layers)):
        about = _json({"id": sha256(b"%d" % index), "os": "linux"})
        members[f"blobs/sha256/{sha256(about)}"] = about
    members["manifest.json"] = _json([_listed(item)])
    if tags and blobs:
        members["repositories"] = _json(_repositories(tags, sha256(blobs[-1])))
    return outer_tar(dict(sorted(members.items())))


def _podman(
    layers: Sequence[bytes],
    blobs: Sequence[bytes],
    config: bytes,
    tags: Sequence[str] | None,
    shared: bool,
) -> bytes:
    members: dict[str, bytes | None] = {f"{sha256(b)}.tar": b for b in blobs}
    name = f"{sha256(config)}.json"
    members[name] = config
    paths = [f"{sha256(blob)}.tar" for blob in blobs]
    members["manifest.json"] = _json([_listed({"Config": name, "RepoTags": tags, "Layers": paths})])
    return outer_tar(members)


def _oci(
    layers: Sequence[bytes],
    blobs: Sequence[bytes],
    config: bytes,
    tags: Sequence[str] | None,
    shared: bool,
) -> bytes:
    return outer_tar(_layout(blobs, config, tags))


def _layout(
    blobs: Sequence[bytes], config: bytes, tags: Sequence[str] | None
) -> dict[str, bytes | None]:
    """Return the members of an OCI layout, each tag as one descriptor, as docker 25 has it."""
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
            "layers": [_descriptor(_layer_type(blob), blob) for blob in blobs],
        }
    )
    described = _descriptor("application/vnd.oci.image.manifest.v1+json", manifest)
    named = [
        {
            **described,
            "annotations": {
                "io.containerd.image.name": f"docker.io/library/{tag}",
                "org.opencontainers.image.ref.name": tag.rpartition(":")[2],
            },
        }
        for tag in tags or ()
    ]
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": named or [described],
    }
    members: dict[str, bytes | None] = {"blobs/": None, "blobs/sha256/": None}
    members |= {f"blobs/sha256/{sha256(b)}": b for b in (*blobs, config, manifest)}
    members["index.json"] = _json(index)
    members["oci-layout"] = _json({"imageLayoutVersion": "1.0.0"})
    return members


def _descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "size": len(data), "digest": "sha256:" + sha256(data)}


def _layer_type(blob: bytes) -> str:
    suffix = "+gzip" if blob.startswith(b"\x1f\x8b") else ""
    return f"application/vnd.oci.image.layer.v1.tar{suffix}"


def _listed(item: Mapping[str, Any]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, (list, tuple)) else v for k, v in item.items()}


def _repositories(tags: Sequence[str], top: str) -> dict[str, dict[str, str]]:
    named: dict[str, dict[str, str]] = {}
    for tag in tags:
        name, _, version = tag.rpartition(":")
        named.setdefault(name, {})[version] = top
    return named


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
