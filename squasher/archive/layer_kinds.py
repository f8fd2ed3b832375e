"""Kinds of layers that are no tar which can be read: told by their media type, or by their bytes.

Source: OCI image-spec, layer.md; ocicrypt, "Encrypted container images"; containerd,
core/images/mediatypes.go and docs/snapshotters/erofs.md; Linux, fs/erofs/erofs_fs.h and
fs/squashfs/squashfs_fs.h.
"""

from __future__ import annotations

from squasher.blobs.content import Content
from squasher.errors import UnsupportedImageError
from squasher.tar.members import is_header

_FROM_TAR = "squash the image with tar layers that it was made from"
_HINTS = {
    "encrypted layers": "`skopeo copy --decryption-key KEY` stores the image decrypted",
    "foreign layers": "",
    "EROFS layers": _FROM_TAR,
    "squashfs layers": _FROM_TAR,
}
#: The magic number of each file system, and where it lies.
_MAGIC = {
    "squashfs layers": (0, b"hsqs"),
    "EROFS layers": (1024, b"\xe2\xe1\xf5\xe0"),
}


def check_type(media_type: str, where: str) -> None:
    """Raise UnsupportedImageError if `media_type` is that of layers which cannot be read.

    What else is said after a `+` is how the layer is compressed.
    """
    base = media_type.partition("+")[0]
    if media_type.endswith("+encrypted"):
        _refuse("encrypted layers", where)
    if "foreign" in media_type or "nondistributable" in media_type:
        _refuse("foreign layers", where)
    if base.startswith("application/vnd.erofs") or base.endswith(".erofs"):
        _refuse("EROFS layers", where)
    if base.endswith(".squashfs"):
        _refuse("squashfs layers", where)


def check_content(head: bytes, content: Content, where: str) -> None:
    """Raise UnsupportedImageError if `content`, which begins with `head`, is a file system.

    A tar begins with a name, and its first file may hold anything: it is told by its header.
    """
    if is_header(head):
        return
    for kind, (place, magic) in _MAGIC.items():
        if content.read_at(place, len(magic)) == magic:
            _refuse(kind, where)


def _refuse(kind: str, where: str) -> None:
    raise UnsupportedImageError(f"{kind} are not supported", where=where, hint=_HINTS[kind])
