"""The image of the workload `peers`, with everything in it that may get lost."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from scripts.benchmarks.archives import package_files

NAME = "localhost/bench-peers:latest"


def make_peers_image(path: Path) -> None:
    """Write an image of 110 MB with everything that a tool may lose."""
    from tests import builders as b

    odd = 1_600_000_000_123_456_789
    lower = b.layer(
        b.Dir(b"srv", mode=0o2775, gid=50, mtime=odd),
        b.File(b"srv/a", b"one\n"),
        b.Hardlink(b"srv/b", b"srv/a"),
        b.Symlink(b"srv/c", b"b", mtime=odd),
        b.File(b"srv/x", b"old\n"),
        b.Hardlink(b"srv/y", b"srv/x"),
        b.File(b"srv/same", b"same\n"),
        b.Hardlink(b"srv/also", b"srv/same"),
        b.File(b"srv/notes.wh.txt", b"no whiteout\n"),
        b.File(b"srv/setuid", b"#!\n", mode=0o4755, uid=1000, gid=1000, mtime=odd),
        b.File(b"srv/owner", b"", uid=3_000_000, gid=3_000_001),
        b.File(
            b"srv/capable",
            b"#!\n",
            mode=0o755,
            xattrs={b"security.capability": struct.pack("<5I", 0x2000001, 1 << 10, 0, 0, 0)},
        ),
        b.File(b"srv/noted", b"", xattrs={b"user.note": b"kept?"}),
        b.Char(b"srv/null", 1, 3),
        b.Fifo(b"srv/fifo"),
        b.Dir(b"srv/opaque"),
        b.File(b"srv/opaque/old", b"old\n"),
        b.Dir(b"srv/gone"),
        b.File(b"srv/gone/file", b"gone\n"),
        b.Dir(b"srv/tmp", mode=0o1777, mtime=odd),
        b.File("srv/größe".encode(), b"name\n"),
    )
    upper = b.layer(
        b.Dir(b"srv", mode=0o2775, gid=50, mtime=odd + 1),
        b.Whiteout(b"srv/a"),
        b.File(b"srv/x", b"new\n"),
        b.Whiteout(b"srv/gone"),
        b.Dir(b"srv/opaque"),
        b.Opaque(b"srv/opaque"),
        b.File(b"srv/opaque/new", b"new\n"),
    )
    layers = []
    for name, size in (("usr", 60), ("opt/app", 40)):
        files = package_files(name, size, size)
        folders = {str(parent) for path, _ in files for parent in Path(path).parents} - {"."}
        parts = [b.Dir(folder.encode()) for folder in sorted(folders)]
        layers.append(b.layer(*parts, *(b.File(path.encode(), data) for path, data in files)))
    more = b.layer(b.Dir(b"opt"), b.Dir(b"opt/app", mtime=odd), b.Whiteout(b"opt/app/0"))
    made = "2024-01-02T03:04:05.678901234Z"
    rows: list[dict[str, Any]] = [
        {"created": made, "created_by": f"RUN step {n}"} for n in range(5)
    ]
    empty: list[dict[str, Any]] = [
        {"created": made, "created_by": f"ENV step={n}", "empty_layer": True} for n in range(4)
    ]
    config = {
        "author": "somebody",
        "config": {
            "User": "1000:1000",
            "ExposedPorts": {"80/tcp": {}},
            "Env": ["PATH=/usr/bin:/bin", "LANG=C.UTF-8"],
            "Entrypoint": ["/bin/sh"],
            "Cmd": ["-c", "true"],
            "Healthcheck": {"Test": ["CMD", "true"], "Interval": 30_000_000_000},
            "Volumes": {"/data": {}},
            "WorkingDir": "/srv",
            "Labels": {"org.example": "1"},
            "StopSignal": "SIGINT",
            "Shell": ["/bin/sh", "-e", "-c"],
        },
    }
    path.write_bytes(
        b.archive(
            [*layers, lower, upper, more],
            form="v25",
            tags=[NAME],
            config=config,
            history=[row for pair in zip(rows, empty, strict=False) for row in pair] + rows[4:],
        )
    )
