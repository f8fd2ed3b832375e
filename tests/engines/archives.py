"""Build small images with the standard library alone: no code of ours vouches for itself."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

MTIME = 1_500_000_000


def entry(
    name: str,
    data: bytes = b"",
    *,
    type: bytes = tarfile.REGTYPE,  # noqa: A002 # as tarfile says it
    mode: int = 0o644,
    owner: tuple[int, int] = (0, 0),
    mtime: str = str(MTIME),
    link: str = "",
    device: tuple[int, int] = (0, 0),
    xattrs: Mapping[str, bytes] | None = None,
) -> tuple[tarfile.TarInfo, bytes]:
    """One member of a layer; `mtime` is decimal text, since a float loses nanoseconds."""
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname, info.size = type, mode, link, len(data)
    info.uid, info.gid = owner
    info.devmajor, info.devminor = device
    info.mtime = int(mtime.partition(".")[0])
    records = {
        f"SCHILY.xattr.{key}": value.decode("utf-8", "surrogateescape")
        for key, value in (xattrs or {}).items()
    }
    info.pax_headers = records | ({"mtime": mtime} if "." in mtime else {})
    return info, data


def folder(name: str, mode: int = 0o755, **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    """One directory."""
    return entry(name, type=tarfile.DIRTYPE, mode=mode, **fields)  # type: ignore[arg-type]


def layer(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """One layer."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def config(layers: Sequence[bytes]) -> bytes:
    """Write the config of these layers: a history row for each, and one without a layer."""
    rows = [
        {"created_by": f"step {i}", "created": "2020-01-01T00:00:00Z"} for i in range(len(layers))
    ]
    document = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2020-01-01T00:00:00Z",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(data)}" for data in layers]},
        "history": [*rows, {"created_by": "CMD", "empty_layer": True}],
    }
    return json.dumps(document).encode()


def docker_archive(path: Path, images: Mapping[str, Sequence[bytes]]) -> Path:
    """Write images, by their tags, as docker 20.10 lays them out: a folder for each layer."""
    items = []
    members: dict[str, bytes] = {}
    for tag, layers in images.items():
        text = config(layers)
        names = [f"{sha256(data)}/layer.tar" for data in layers]
        items.append({"Config": f"{sha256(text)}.json", "RepoTags": [tag], "Layers": names})
        members |= {f"{sha256(text)}.json": text} | dict(zip(names, layers, strict=True))
    members["manifest.json"] = json.dumps(items).encode()
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            tar.addfile(*_member(name, data))
    return path


def _member(name: str, data: bytes) -> tuple[tarfile.TarInfo, io.BytesIO]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info, io.BytesIO(data)


def sha256(data: bytes) -> str:
    """Return the SHA-256 of some bytes, in hex."""
    return hashlib.sha256(data).hexdigest()
