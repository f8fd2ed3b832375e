"""An archive of which the new layers are written while they are made.

The digest of a new layer is known when its last byte is. So is its name, but not before: its header
follows when the rest of the archive does. That spares a pass over the layer, and a copy of one that
is compressed.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterable

from squasher.archive.lay_out import FOLDERS, Written, member_header
from squasher.archive.output_file import (
    Progress,
    StagedFile,
    complete,
    old_mode,
    opened_beside,
    output_errors,
    put_all,
    reserve,
)
from squasher.archive.stream import chunks
from squasher.blobs.content import Content, Extent
from squasher.blobs.spool import OwnFile
from squasher.digest import Digest
from squasher.errors import OutputError
from squasher.image.manifests import blob_name
from squasher.tar.entry import BLOCK

#: The file stays open when it takes its name, and is read by position: Windows does neither.
CAN_GROW = hasattr(os, "pread")
#: The name of a blob, as long as all others.
_SOME_BLOB = blob_name(Digest("0" * 64))


class GrowingArchive:
    """A file beside OUT that begins with the folders of an archive, then new layers in order.

    It appears with the first layer, and is gone after `close` unless it has taken the name OUT.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._held = contextlib.ExitStack()
        self._stream: io.FileIO | None = None
        self._staged: StagedFile
        self._mode: int | None = None
        self._layers: list[tuple[Content, int, int]] = []  # offset and bytes left for the header

    def close(self) -> None:
        """Remove the file, unless it has taken its name."""
        self._held.close()

    def store(self, made: Iterable[bytes], size: int = 0) -> Content:
        """Return what `made` brings, `size` bytes where that is known, written behind the rest.

        Raises OutputError, and what `made` raises.
        """
        try:
            stream = self._stream or self._open()
            at, gap = stream.tell(), len(member_header(_SOME_BLOB, size))
            with output_errors(self._name):
                if size:
                    reserve(stream, at + gap + size)
                stream.seek(gap, os.SEEK_CUR)
                put_all(stream, made, self._name)
                content = Content((Extent(OwnFile(stream), at + gap, stream.tell() - at - gap),))
                stream.seek(-content.size % BLOCK, os.SEEK_CUR)
        except OutputError as error:
            error.elsewhere = True  # not in the image
            raise
        self._layers.append((content, at, gap))
        return content

    def _open(self) -> io.FileIO:
        """Open the file, and leave room for the folders."""
        self._mode = old_mode(self._name)
        opened = opened_beside(os.path.realpath(self._name), self._mode, self._name)
        self._stream, self._staged = self._held.enter_context(opened)
        self._stream.seek(sum(len(member_header(folder, 0)) for folder in FOLDERS))
        return self._stream

    def begins(self, written: Written) -> bool:
        """Tell whether the archive begins with the layers that are here, all at their place.

        It does not if two layers are the same, or if the header of one is larger than was known.
        """
        members = written.members[len(FOLDERS) :][: len(self._layers)]
        return bool(self._layers) and all(
            content is layer and len(member_header(name, content.size)) == gap
            for (name, content), (layer, _, gap) in zip(members, self._layers, strict=True)
        )

    def completed(self, written: Written, progress: Progress) -> StagedFile:
        """Write the rest of an archive that the file `begins`; return the complete file.

        Raises OutputError, and ArchiveError if the input has changed meanwhile.
        """
        stream, here = self._stream, len(FOLDERS) + len(self._layers)
        assert stream is not None  # noqa: S101  (the caller has asked whether the file begins it)
        members = written.members
        with output_errors(self._name):
            reserve(stream, written.size)
            for layer, _, _ in self._layers:
                progress(layer.size)
            put_all(stream, chunks(members[here:], progress), self._name)
            stream.seek(0)
            stream.write(b"".join(member_header(folder, 0) for folder in FOLDERS))
            layers = members[len(FOLDERS) : here]
            for (name, content), (_, at, _) in zip(layers, self._layers, strict=True):
                stream.seek(at)
                stream.write(member_header(name, content.size))
            complete(stream, self._mode)
        return self._staged
