"""The docker daemon, through its SDK: a byte stream out, a byte stream in.

The endpoint is found as the docker command finds it: DOCKER_HOST, DOCKER_CONTEXT, the current
context, the default. Whatever the SDK or the daemon say goes into one line.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from squasher.base import Base
from squasher.digest import Digest
from squasher.errors import BaseNotFoundError, EngineError
from squasher.spec import normalise_tag


@contextmanager
def _client() -> Iterator[Any]:
    """Give a client of the daemon. Raises EngineError for whatever goes wrong inside the block."""
    try:
        import docker
        import requests
    except ImportError:
        raise EngineError(
            "the docker SDK is missing",
            where="docker-daemon",
            hint="pip install 'image-squasher[docker]'",
        ) from None
    try:
        with _connect() as client:
            yield client
    except docker.errors.NotFound as error:
        raise BaseNotFoundError(error.explanation or str(error), where="docker-daemon") from None
    except docker.errors.APIError as error:
        raise EngineError(error.explanation or str(error), where="docker-daemon") from None
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        text = str(error)
        hint = ""
        if "Permission denied" in text or "PermissionError" in text:
            hint = "is this user in the group docker?"
        elif "FileNotFoundError" in text or "Connection refused" in text:
            hint = "is the daemon running, and is DOCKER_HOST right?"
        raise EngineError(
            f"cannot talk to the daemon: {text}", where="docker-daemon", hint=hint
        ) from None


def _connect() -> Any:
    """Return a client for the endpoint that the docker command would use."""
    import docker
    from docker.context import ContextAPI
    from docker.utils import kwargs_from_env

    # An image can take hours to stream: no read may time out.
    options: dict[str, Any] = {"timeout": None, "version": "auto"}
    if os.environ.get("DOCKER_HOST"):
        return docker.APIClient(**options, **kwargs_from_env())
    name = os.environ.get("DOCKER_CONTEXT") or None
    context = ContextAPI.get_context(name) if name else ContextAPI.get_current_context()
    if context is None:
        raise EngineError(f"there is no docker context {name!r}", where="docker-daemon")
    if context.name == "default":
        return docker.APIClient(**options, **kwargs_from_env())
    return docker.APIClient(base_url=context.Host, tls=context.TLSConfig or False, **options)


def _reference(name: str) -> str:
    """Return `name` for the API: a bare repository would mean all of its tags."""
    return name if name.startswith("sha256:") else normalise_tag(name) or name


@contextmanager
def export(name: str) -> Iterator[BinaryIO]:
    """Give what `docker save` of the image `name` writes. Raises EngineError, BaseNotFoundError."""
    with _client() as client:
        yield cast("BinaryIO", _Chunks(client.get_image(_reference(name))))


def base(name: str) -> Base:
    """Return the image `name` as a base: its layers. Raises EngineError, BaseNotFoundError."""
    with _client() as client:
        layers = client.inspect_image(_reference(name))["RootFS"].get("Layers") or ()
    return Base(tuple(Digest.parse(diff_id) for diff_id in layers))


def load(chunks: Iterable[bytes]) -> tuple[str, ...]:
    """Load an archive into the daemon; return the lines that it says. Raises EngineError."""
    said: list[str] = []
    with _client() as client:
        for line in client.load_image(chunks, quiet=True):
            if "error" in line:
                raise EngineError(str(line["error"]).strip(), where="docker-daemon")
            said += str(line.get("stream", "")).strip().splitlines()
    return tuple(said)


def image_id(name: str) -> str:
    """Return the ID of the image `name`. Raises EngineError, BaseNotFoundError."""
    with _client() as client:
        return str(client.inspect_image(_reference(name))["Id"])


def remove(identity: str) -> None:
    """Remove an image by its ID, never by force. Raises EngineError, BaseNotFoundError."""
    with _client() as client:
        client.remove_image(identity)


class _Chunks(io.RawIOBase):
    """Chunks as they come, as a stream that cannot seek."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        super().__init__()
        self._chunks = iter(chunks)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        if not self._rest:
            self._rest = next(self._chunks, b"")
        data = self._rest[: len(buffer)]
        self._rest = self._rest[len(data) :]
        buffer[: len(data)] = data
        return len(data)
