"""Layers as short texts: `members("d/ d/f=one:600")`, and `text(layer)` back again.

| text | member | | text | member |
|-|-|-|-|-|
| `d/` | a directory; `./` is the root | | `s->t` | a symlink to `t` |
| `f` | an empty file | | `h==f` | a hard link to `f` |
| `f=one` | a file that holds `one` | | `c%1.3` | a character device |
| `-d/x` | a whiteout of `d/x` | | `!d` | an opaque whiteout in `d`; `!` in the root |

Behind it, in this order, what is unusual: `:600` the mode, `@5` the time in seconds, `+k` an xattr
`user.k`, `+acl` a default ACL. Members are separated by spaces, layers by ` | `.
"""

from __future__ import annotations

import re
from typing import Any

from tests import model
from tests.builders import (
    MTIME,
    SECOND,
    Char,
    Dir,
    File,
    Hardlink,
    Member,
    Opaque,
    Symlink,
    Whiteout,
    layer,
)
from tests.generator import ACL

_WORD = re.compile(
    r"(?P<sign>[-!]?)(?P<path>[^=%:@+]*?)(?:(?P<how>->|==|=|%)(?P<value>[^:@+]*))?"
    r"(?::(?P<mode>[0-7]+))?(?:@(?P<time>\d+))?(?:\+(?P<xattr>\w+))?"
)
_MODES = {"dir": 0o755, "symlink": 0o777, "char": 0o666}


def layers(texts: str) -> list[bytes]:
    """Return the layers that `texts` say, lowest first; no text at all is no layer."""
    return [layer(*members(one)) for one in texts.split("|")] if texts else []


def members(one: str) -> list[Member]:
    """Return the members of one layer."""
    return [_member(word) for word in one.split()]


def _member(word: str) -> Member:
    found = _WORD.fullmatch(word)
    assert found, word
    path, value = found["path"].encode(), (found["value"] or "").encode()
    options: dict[str, Any] = {}
    if found["mode"]:
        options["mode"] = int(found["mode"], 8)
    if found["time"]:
        options["mtime"] = int(found["time"]) * SECOND
    if found["xattr"] == "acl":
        options["xattrs"] = {model.ACL_DEFAULT: ACL}
    elif found["xattr"]:
        options["xattrs"] = {b"user." + found["xattr"].encode(): b"v"}
    if found["sign"]:
        return Whiteout(path, **options) if found["sign"] == "-" else Opaque(path, **options)
    match found["how"]:
        case "->":
            return Symlink(path, value, **options)
        case "==":
            return Hardlink(path, value, **options)
        case "%":
            major, minor = map(int, value.split(b"."))
            return Char(path, major, minor, **options)
    return Dir(path, **options) if path.endswith(b"/") else File(path, value, **options)


def text(tar: bytes) -> str:
    """Return what a layer says, as `members` takes it."""
    return " ".join(map(_word, model.read(tar)))


def _word(entry: model.Entry) -> str:
    path = b"/".join(entry.path).decode()
    match entry.kind:
        case "whiteout":
            return f"-{path}"
        case "opaque":
            return f"!{path}"
        case "dir":
            path = f"{path or '.'}/"
        case "symlink":
            path += f"->{entry.target.decode()}"
        case "hardlink":
            path += f"=={entry.target.decode()}"
        case "char":
            path += "%{}.{}".format(*entry.device)
        case _:
            path += f"={entry.data.decode()}" if entry.data else ""
    if entry.mode != _MODES.get(entry.kind, 0o644):
        path += f":{entry.mode:o}"
    if entry.mtime != MTIME:
        path += f"@{entry.mtime // SECOND}"
    for key in entry.xattrs:
        path += "+acl" if key == model.ACL_DEFAULT else f"+{key.removeprefix(b'user.').decode()}"
    return path
