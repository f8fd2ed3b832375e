"""What became of an image that something else made one layer of."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.benchmarks.archives import member

if TYPE_CHECKING:
    from tests import model


def fate_itself(before: str, after: str) -> None:
    """Print what one image lost or changed of another; a plain tar has only the files of one."""
    from tests import model

    old, old_config, _, _ = _opened(before)
    new, new_config, layers, dangling = _opened(after)
    if dangling:
        print(f"  {len(dangling)} hard links to nothing, left out: {', '.join(dangling)}")
    shared = old.keys() & new.keys() - {b""}
    fields = [name for name in model.Record.__dataclass_fields__ if name != "absolute"]
    for title, paths in (("lost", old.keys() - new.keys()), ("added", new.keys() - old.keys())):
        few = b", ".join(sorted(paths)[:6]).decode(errors="replace")
        print(f"  {len(paths)} paths {title}{f': {few}' if few else ''}")
    for field in fields:
        other = sorted(p for p in shared if getattr(old[p], field) != getattr(new[p], field))
        if other:
            few = b", ".join(other[:8]).decode(errors="replace")
            print(f"  {field} of {len(other)} paths: {few}")
    inner = [old_config["config"], new_config.get("config") or {}]
    keys = [key for key in inner[0] if inner[0][key] != inner[1].get(key)]
    keys += [key for key in ("author", "created") if old_config.get(key) != new_config.get(key)]
    counts = [
        f"{len(rows)} rows ({sum(1 for row in rows if row.get('empty_layer'))} empty)"
        for rows in (old_config["history"], new_config.get("history") or [])
    ]
    print(f"  config: {', '.join(keys) or 'the same'}; history {' -> '.join(counts)};", end="")
    print(f" {layers} layers")


def _opened(path: str) -> tuple[dict[bytes, model.Record], dict[str, Any], int, list[str]]:
    """Return files, config, number of layers, and hard links without a target, of an image."""
    from tests import model

    with tarfile.open(path) as archive:
        if "manifest.json" in archive.getnames():
            (item,) = json.load(member(archive, "manifest.json"))
            layers = [member(archive, name).read() for name in item["Layers"]]
            config = json.load(member(archive, item["Config"]))
        else:
            layers, config = [Path(path).read_bytes()], {}
    plain = [gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data for data in layers]
    if len(plain) > 1:  # a link may lead to a file of a layer below
        return model.listing(model.apply(plain)), config, len(layers), []
    sound, dangling = _sound(plain[0])
    return model.listing(model.apply([sound])), config, len(layers), dangling


def _sound(tar: bytes) -> tuple[bytes, list[str]]:
    """Return a layer without the hard links whose target is missing, and their names."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        names = {os.path.normpath(each.name.lstrip("/")) for each in archive.getmembers()}
        dangling = [
            each
            for each in archive.getmembers()
            if each.islnk() and os.path.normpath(each.linkname.lstrip("/")) not in names
        ]
    for each in reversed(dangling):
        tar = tar[: each.offset] + tar[each.offset_data :]
    return tar, [each.name for each in dangling]
