"""Strings that do harm where they are shown as they are, and images that carry them everywhere.

    STRINGS                  what is planted
    image(form=...)          a sound image that says each of them in every place that allows it
    broken()                 images with an error whose message quotes one, by what is wrong
    harmless(text)           no terminal is controlled by `text`, and its lines are our own
    MARKERS                  a plain word in each: who shows a string shows that

Whatever shows something of an image (a table, an error, a report, a page) is tested with these.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from tests.builders import (
    Dir,
    File,
    Hardlink,
    Member,
    Symlink,
    Whiteout,
    archive,
    layer,
    outer_tar,
    sha256,
)

#: By what they attack. None holds a lone surrogate or a NUL: JSON texts and tar names with those
#: are refused before they are shown (see `broken`).
STRINGS: Mapping[str, str] = {
    "colour": "\x1b[31mcolour-evil\x1b[0m",
    "clear": "\x1b[2J\x1b[Hclear-evil",
    "title": "\x1b]0;title-evil\x07",
    "hyperlink": "\x1b]8;;http://evil.invalid\x1b\\hyperlink-evil\x1b]8;;\x1b\\",
    "c1": "\x9b31mc1-evil\x9d0;t\x9c",
    "overwrite": "honest\roverwrite-evil\b\b\b\x7f",
    "lines": "one\nsquash: lines-evil\r\n\u2028two\u2029\x0b\x0c\x85three",
    "bidi": "\u202ebidi-evil\u202c\u2066\u2067\u2068\u2069\u061c\u200e\u200f",
    "unseen": "\u200b\u200c\u200d\u2060\ufeff\u00ad\u180eunseen-evil\U000e0041",
    "private": "\ue000\U000f0000\ufffe\uffffprivate-evil",
    "html": "<script>alert('html-evil')</script><img src=x onerror=alert(1)>",
    "attribute": "\"'><svg/onload=attribute-evil>",
    "closing": "</title></style></script></textarea>--><!--closing-evil",
    "entity": "&lt;b&gt;entity-evil&#60;i&#62;&amp;",
    "template": "{{ 7 * 7 }}{% raw %}${template-evil}<%= 1 %>",
    "link": "[link-evil](javascript:alert(1)) ![x](http://evil.invalid/x.png) <http://evil.invalid>",
    "bare": "http://evil.invalid/bare-evil www.evil.invalid me@evil.invalid @evil #1",
    "table": "| table-evil | b |\\| c",
    "code": "`` `code-evil` ``` ~~~ **bold** __u__ ~~s~~ $x$",
    "block": "# block-evil\n- list\n> quote\n```\n---\n| a |\n|---|\n",
    "formula": '=cmd|"/c formula-evil"!A1',
}
MARKERS = tuple(f"{what}-evil" for what in STRINGS)
ALL = " ".join(STRINGS.values())
_NAMES = tuple(text.replace("/", "\\").encode()[:200] for text in STRINGS.values())


def _history(layers: int, first: int) -> list[dict[str, Any]]:
    """Return rows for so many layers that say each string, some of them of empty layers."""
    texts = list(STRINGS.values())
    rows = [
        {"created": "2024-01-02T03:04:05Z", "created_by": text, "comment": text, "author": text}
        for text in texts[first:] + texts[:first]
    ]
    return [
        *rows[:layers],
        *({**row, "empty_layer": True} for row in rows[layers:]),
        {"created_by": ALL, "empty_layer": True},
    ]


def _config() -> dict[str, Any]:
    """Return keys of a config that say them all."""
    return {
        "author": ALL,
        "architecture": f"amd64{STRINGS['colour']}|`{STRINGS['html']}",
        "variant": ALL,
        "os.version": ALL,
        "docker_version": ALL,
        "config": {
            "Env": [f"{name}={text}" for name, text in STRINGS.items()],
            "Cmd": list(STRINGS.values()),
            "Labels": {text: text for text in STRINGS.values()},
            "User": ALL,
            "WorkingDir": ALL,
        },
    }


def _members(data: bytes) -> Iterator[Member]:
    """Yield a folder with entries of each name; the kinds change in turn."""
    yield Dir(b"d", xattrs={b"user." + _NAMES[0][:100]: data})
    for i, name in enumerate(_NAMES):
        path = b"d/" + name
        yield (
            File(path, data, xattrs={b"user.k": ALL.encode()}),
            Symlink(path, ALL.encode()[:4000]),
            Dir(path),
        )[i % 3]


def layers() -> list[bytes]:
    """Return three layers whose names are the strings; each kind of warning names one of them."""
    lower = layer(*_members(b"lower"))
    middle = layer(
        *(Whiteout(b"gone/" + name) for name in _NAMES),  # whiteouts of nothing: a warning each
        *(Whiteout(b"d/" + name) for name in _NAMES[::4]),
        *(File(b"twice-" + name, b"1") for name in _NAMES),
    )
    upper = layer(
        *(File(b"d/" + name + b"/below", b"u") for name in _NAMES),  # through symlinks and files
        *(File(b"twice-" + name, b"2") for name in _NAMES),
        *(File(b"twice-" + name, b"3") for name in _NAMES),  # a path twice
        *(File(name + b"-time", mtime=-(10**9)) for name in _NAMES),
        *(Hardlink(name + b"-link", name + b"-time", mode=0o600) for name in _NAMES),
    )
    return [lower, middle, upper]


def image(form: str = "legacy", *, first: int = 0) -> bytes:
    """Return the archive of a sound image that says them in each place that takes any text.

    `first` is the string that the row of the lowest layer says, the others follow. Its tag is an
    image name: with another no engine takes it, and neither do we (see `broken`).
    """
    stack = layers()
    return archive(
        stack,
        form=form,
        tags=("name:tag",),
        history=_history(len(stack), first),
        config=_config(),
    )


def broken() -> Iterator[tuple[str, bytes]]:
    """Yield (what is wrong, archive): errors whose messages quote names of the image."""
    lower = layer(Dir(b"d"), File(b"d/f", b"x"))
    for what, text in STRINGS.items():
        name = text.replace("/", "\\").encode()[:200]
        for kind, bad in (
            ("hard link", layer(Hardlink(name, b"missing-" + name))),
            ("leads out of the root", layer(File(b"../" + name))),
            ("below a whiteout", layer(File(b".wh." + name + b"/x"))),
            ("below a file", layer(File(name), File(name + b"/x"))),
            ("type", layer(File(b"x", b""), _odd(name))),
        ):
            yield f"{kind}: {what}", archive([lower, bad, lower])
        config = f"{text}.json"
        item: dict[str, Any] = {
            "Config": config,
            "RepoTags": [text],
            "Layers": [f"{text}/layer.tar"],
        }
        yield f"tag: {what}", outer_tar({"manifest.json": _json([item])})
        item["RepoTags"] = []
        yield f"no config: {what}", outer_tar({"manifest.json": _json([item])})
        document = {"os": "linux", "rootfs": {"diff_ids": ["sha256:" + sha256(lower)]}, text: 1}
        members = {"manifest.json": _json([item]), config.strip("/"): _json(document)}
        yield f"no layer: {what}", outer_tar(members)
        yield f"a member twice: {what}", layer(File(name, b"1"), File(name, b"2"))
        index = {"schemaVersion": 2, "manifests": [_pointer(text)]}
        yield f"digest: {what}", outer_tar({"index.json": _json(index), "oci-layout": b"{}"})
        yield f"artifact: {what}", _artifact(text)
        yield f"platform: {what}", _artifact(text, beside=True)


def _odd(name: bytes) -> Member:
    return replace(File(name), type=b"V")


def _pointer(text: str) -> dict[str, Any]:
    return {"mediaType": text, "size": 3, "digest": f"sha256:{text}"}


def _artifact(text: str, *, beside: bool = False) -> bytes:
    """Return a layout that has an artifact of the media type `text`, perhaps beside an image."""
    blob = b"{}"
    manifest = {
        "schemaVersion": 2,
        "mediaType": text,
        "config": {"mediaType": text, "size": 2, "digest": "sha256:" + sha256(blob)},
        "layers": [{"mediaType": f"{text}+encrypted.tar+encrypted", **_size_and_digest(blob)}],
    }
    if beside:
        manifest["config"]["mediaType"] = "application/vnd.oci.image.config.v1+json"  # type: ignore[index]
        manifest["layers"] = [
            {"mediaType": f"application/x.{text}tar.foreign", **_size_and_digest(blob)}
        ]
    data = _json(manifest)
    index = {
        "schemaVersion": 2,
        "manifests": [{"mediaType": text, **_size_and_digest(data), "annotations": {text: text}}],
    }
    return outer_tar(
        {
            f"blobs/sha256/{sha256(blob)}": blob,
            f"blobs/sha256/{sha256(data)}": data,
            "index.json": _json(index),
            "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        }
    )


def _size_and_digest(data: bytes) -> dict[str, Any]:
    return {"size": len(data), "digest": "sha256:" + sha256(data)}


def harmless(text: str) -> bool:
    """Tell whether a terminal shows `text` as lines of what is printable, and nothing else.

    `str.isprintable` is false for controls, format characters (bidi, zero width), surrogates,
    private use and all separators but the space.
    """
    return all(line.isprintable() for line in text.removesuffix("\n").split("\n"))


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
