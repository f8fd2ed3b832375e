"""Squash in memory and hold the result against the model, in every respect that it knows."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import squasher
from squasher.errors import SquasherError
from tests import model
from tests.builders import END, archive, sha256
from tests.conformance import safe


def squash(
    source: bytes, keep: int, *, verify: bool = False
) -> tuple[squasher.SquashReport, bytes]:
    """Return the report and the archive that squashing all but the `keep` lowest layers gives."""
    destination = io.BytesIO()
    report = squasher.squash_archive(
        io.BytesIO(source), destination, keep_layers=keep, verify=verify
    )
    return report, destination.getvalue()


def layers_of(image: bytes) -> list[bytes]:
    """Return the uncompressed layers of an archive, which must agree with its config."""
    members = {b"/".join(entry.path): entry for entry in model.read(image)}
    assert len(members) == len(model.read(image)), "a member twice"
    (item,) = json.loads(members[b"manifest.json"].data)
    text = members[item["Config"].encode()].data.decode("utf-8", "surrogateescape")
    config: dict[str, Any] = json.loads(text)
    blobs = [members[name.encode()].data for name in item["Layers"]]
    layers = [gzip.decompress(b) if b.startswith(b"\x1f\x8b") else b for b in blobs]
    assert config["rootfs"]["diff_ids"] == ["sha256:" + sha256(layer) for layer in layers]
    return layers


def check(layers: Sequence[bytes], keep: int, form: str = "v25") -> squasher.SquashReport:
    """Squash `layers` above the `keep` lowest ones and require all that the rules say."""
    report, image = squash(archive(layers, form=form), keep)
    safe.check_archive(image)
    result = layers_of(image)
    assert result[:keep] == list(layers[:keep]), "a kept layer differs"
    packed = archive(layers, form=form, gzip_layers=range(len(layers)))
    _, other = squash(packed, keep, verify=True)
    assert layers_of(other) == result, "compressed layers make a difference"
    if len(layers) - keep <= 1:
        assert result == list(layers), "nothing to merge, and yet it was"
        return report
    assert len(result) == keep + 1
    safe.check_layer(result[keep])
    check_merged(layers, keep, result[keep])
    return report


def check_merged(layers: Sequence[bytes], keep: int, merged: bytes, *, acls: bool = True) -> None:
    """Require of a merged layer that it shows the same tree and says nothing needlessly.

    Without `acls` a default ACL may reach more than it did.
    """
    before = model.apply(layers)
    after = model.apply([*layers[:keep], merged])
    assert comparable(after, after, keep) == comparable(before, after, keep)
    assert model.ghosts(after) <= model.ghosts(before), "a whiteout of the base comes to light"
    entries = model.read(merged)
    for entry in entries:
        assert entry.kind != "opaque"
        assert entry.typeflag in b"\x000123456"
    assert merged.endswith(END)
    assert len(merged) % 512 == 0
    said = [(b"/".join(e.path), "whiteout" if e.kind == "whiteout" else "entry") for e in entries]
    assert len({path for path, _ in said}) == len(said), "a path twice"
    expected = model.expected_merge(layers, keep)
    assert sorted(said) == sorted(expected)
    if any(warning.kind == "default-acl" for warning in before.warnings):
        check_parents(entries)
        if acls:
            check_default_acls(layers, keep, before, entries)
    else:
        assert said == expected, "the order differs"
    check_links(entries)
    check_whiteouts(entries)


def comparable(tree: model.Tree, after: model.Tree, keep: int) -> dict[bytes, model.Record]:
    """Return the listing, without the times of directories that the merged layer only implies.

    Engines give those the time of unpacking, before squashing and after.
    """
    records = model.listing(tree)
    for path, node in model.walk(after.root):
        name = b"/".join(path)
        if node.kind == "dir" and node.layer == keep and not node.explicit and name in records:
            records[name] = replace(records[name], mtime_ns=0)
    return records


def check_parents(entries: Sequence[model.Entry]) -> None:
    """Require that a directory comes before its whiteouts, and names come sorted otherwise.

    Children may come before a directory that has a default ACL.
    """
    with_acl = {e.path for e in entries if model.ACL_DEFAULT in e.xattrs}
    seen: set[model.Path] = set()
    explicit = {e.path for e in entries if e.kind == "dir"}
    for entry in entries:
        parent = entry.path[:-1]
        if entry.path and parent in explicit - with_acl:
            assert parent in seen
        seen.add(entry.path)


def check_default_acls(
    layers: Sequence[bytes], keep: int, before: model.Tree, entries: Sequence[model.Entry]
) -> None:
    """Require that a default ACL reaches what it reached on overlay engines, and nothing else.

    They unpack each layer alone: what comes after the directory's header in its own layer inherits.
    """
    place = {entry.path: at for at, entry in enumerate(entries)}
    groups = model.groups(before)
    for entry in entries:
        if entry.kind != "dir" or model.ACL_DEFAULT not in entry.xattrs:
            continue
        folder = model.find(before.root, entry.path)
        assert folder is not None
        for name, child in folder.children.items():
            path = (*entry.path, name)
            linked = len(groups[child.serial]) > 1 or child.linked
            if path in place and child.layer >= keep and not linked:
                inherits = inherits_acl(model.read(layers[child.layer]), path, child.kind)
                assert inherits in (None, place[path] > place[entry.path]), path
    check_heirs(layers, keep, before, entries)


def check_heirs(
    layers: Sequence[bytes], keep: int, before: model.Tree, entries: Sequence[model.Entry]
) -> None:
    """Require that a file inherits what it did if the new layer has its directory and the ACL.

    Whichever of its names comes first.
    """
    said = [model.handed_on(model.read(layer)) for layer in layers]
    now = model.handed_on(entries)
    groups = model.groups(before)
    if now is None or before.replaced_targets:
        return
    folders, files = now
    for path, node in model.walk(before.root):
        made = said[node.layer]
        if node.layer < keep or made is None or path not in files or path not in made[1]:
            continue
        acl = made[1][path]
        if any(folders.get(name[:-1]) == acl for name in groups[node.serial]):
            assert files[path] == acl, path


def inherits_acl(layer: Sequence[model.Entry], path: model.Path, kind: str) -> bool | None:
    """Tell whether this layer, unpacked alone, makes `path` while its parent has a default ACL.

    None if it goes through a symlink anywhere: by another name.
    """
    has_acl = False
    files: set[model.Path] = set()  # which are symlinks if anything goes through them
    made: list[bool] = []
    above = {path[:depth] for depth in range(len(path))}
    for entry in layer:
        if any(entry.path[:depth] in files for depth in range(1, len(entry.path))):
            return None
        if entry.kind in ("whiteout", "opaque"):
            # It hides what is in lower layers, but engines make the directory that it stands in.
            inside = entry.path[:-1] if entry.kind == "whiteout" else entry.path
            if kind == "dir" and inside[: len(path)] == path:
                made.append(has_acl)
            continue
        (files.discard if entry.kind == "dir" else files.add)(entry.path)
        if entry.kind == "hardlink":  # a lower symlink that is linked is this layer's from now on
            files.add(model.clean(entry.target))
        if entry.kind == "dir" and entry.path == path[:-1]:
            has_acl = model.ACL_DEFAULT in entry.xattrs
        elif entry.kind != "dir" and entry.path in above:
            has_acl, made = False, []  # what was there is gone
        elif entry.path == path and entry.kind != "dir" and kind == "dir":
            made = []
        elif entry.path == path or (kind == "dir" and entry.path[: len(path)] == path):
            made.append(has_acl)
    return made[0 if kind == "dir" else -1] if made else None


def check_links(entries: Sequence[model.Entry]) -> None:
    """Require that links lead to an earlier entry and repeat all of its attributes."""
    earlier: dict[model.Path, model.Entry] = {}
    for entry in entries:
        if entry.kind == "hardlink":
            target = earlier[tuple(entry.target.split(b"/"))]
            assert target.kind not in ("hardlink", "dir")
            for name in ("mode", "uid", "gid", "mtime", "xattrs"):
                if (name, target.kind) != ("mode", "symlink"):
                    assert getattr(entry, name) == getattr(target, name)
        earlier[entry.path] = entry


def check_whiteouts(entries: Sequence[model.Entry]) -> None:
    """Require that whiteouts are plain empty files that are all alike."""
    for entry in entries:
        if entry.kind == "whiteout":
            fields = (entry.typeflag, entry.mode, entry.uid, entry.gid, entry.mtime, entry.data)
            assert fields == (b"0", 0o600, 0, 0, 0, b"")
            assert not entry.xattrs


def attempt(image: bytes, keep: int = 0) -> bytes | None:
    """Return the squashed archive, None for an error of ours: one line, exit code, no output."""
    destination = io.BytesIO()
    caught = None
    try:
        squasher.squash_archive(io.BytesIO(image), destination, keep_layers=keep)
    except SquasherError as error:
        caught = error
    if caught is None:
        return destination.getvalue()
    assert caught.exit_code in (3, 5), caught
    assert "\n" not in str(caught)
    assert destination.getvalue() == b""
    return None
