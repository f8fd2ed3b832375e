"""What to do when the library of an extra is missing."""

from __future__ import annotations

import zipimport


def hint(extra: str) -> str:
    """Return what brings the library of `extra`: a line for pip, unless this is squash.pyz.

    That file finds nothing that pip installs for it later, and carries no compiled code.
    """
    line = f"pip install 'image-squasher[{extra}]'"
    if not isinstance(__spec__.loader, zipimport.zipimporter):
        return line
    newer = "run it with Python 3.14 or newer, or " if extra == "zstd" else ""
    return f"this single file carries no compiled code: {newer}use the package instead: {line}"
