"""The docker daemon, through its SDK: a byte stream out, a byte stream in.

The endpoint is found as the docker command finds it: DOCKER_HOST, DOCKER_CONTEXT, the current
context, the default. Whatever the SDK or the daemon say goes into one line.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any, BinaryIO, cast

from squasher import extras
from squasher.archive.source import Chunks
from squasher.digest import Digest
from squasher.errors import BaseNotFoundError, EngineError, SquasherError
from squasher.image import documents
from squasher.image.base import Base
from squasher.image.references import full_name, normalise_tag

_WHERE = "docker-daemon"
_REASON = re.compile(r"\w+Error\(\d+, ['\"]([^'\"]+)['\"]\)")
#: Source: moby, daemon/containerd/image_exporter.go, LoadImage.
_UNPACKED = "Error unpacking image"
_ID_PREFIX = re.compile("[0-9a-f]{4,64}")


@contextmanager
def _errors() -> Iterator[None]:
    """Turn what the SDK and the daemon raise into an EngineError."""
    try:
        import docker
        import requests
    except ImportError:
        raise EngineError(
            "the docker SDK is missing",
            where=_WHERE,
            hint=extras.hint("docker"),
        ) from None
    try:
        yield
    except docker.errors.APIError as error:
        raise EngineError(error.explanation or str(error), where=_WHERE) from None
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        text, hint = str(error), ""
        if "Permission denied" in text or "PermissionError" in text:
            hint = "is this user in the group docker?"
        elif "FileNotFoundError" in text or "Connection refused" in text:
            hint = "is the daemon running, and is DOCKER_HOST right?"
        elif "paramiko" in text:
            hint = "pip install 'docker[ssh]'"
        reason = _REASON.search(text)  # the SDK wraps what the system said three times
        said = reason[1] if reason else text
        raise EngineError(f"cannot talk to the daemon: {said}", where=_WHERE, hint=hint) from None


@contextmanager
def _client() -> Iterator[Any]:
    """Give a client for the endpoint that the docker command would use. Raises EngineError."""
    with _errors():
        import docker

        endpoint = _endpoint()
        # An image can take hours to stream: no read may time out.
        ssh = str(endpoint.get("base_url", "")).startswith("ssh://")
        options: dict[str, Any] = {"timeout": None, "version": "auto", "use_ssh_client": ssh}
        try:
            api = docker.APIClient(**options, **endpoint)
        except ValueError as error:  # of urllib, for a port that is none
            raise EngineError(f"the daemon's address is not valid: {error}", where=_WHERE) from None
        with api as client:
            yield client


def _endpoint() -> dict[str, Any]:
    """Return the daemon's address and certificates as the SDK takes them.

    The SDK's own reader of contexts looks in the working directory where there is no config.json.
    Source: docker/cli, cli/context/store: contexts/meta/<sha256 of the name>/meta.json.
    """
    from docker.utils import kwargs_from_env

    if os.environ.get("DOCKER_HOST"):
        return dict(kwargs_from_env())
    folder = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
    name = os.environ.get("DOCKER_CONTEXT") or _current_context(folder)
    if name == "default":
        return dict(kwargs_from_env())
    identity = hashlib.sha256(name.encode()).hexdigest()
    where = os.path.join(folder, "contexts", "meta", identity, "meta.json")
    meta = _document(where)
    if meta is None:
        raise EngineError(f"there is no docker context {name!r}", where=_WHERE)
    endpoint = documents.field(meta, "Endpoints")
    endpoint = documents.field(endpoint, "docker") if isinstance(endpoint, dict) else None
    host = documents.field(endpoint, "Host") if isinstance(endpoint, dict) else None
    if not isinstance(endpoint, dict) or not isinstance(host, str) or not host:
        raise EngineError(f"the docker context {name!r} has no host", where=f"{_WHERE}: {where}")
    verify = not documents.field(endpoint, "SkipTLSVerify")
    return {"base_url": host, "tls": _certificates(folder, identity, verify)}


def _certificates(folder: str, identity: str, verify: bool) -> Any:
    """Return the TLS configuration of a context, False if it has none."""
    from docker.tls import TLSConfig

    tls = os.path.join(folder, "contexts", "tls", identity, "docker")
    ca, cert, key = (os.path.join(tls, f"{part}.pem") for part in ("ca", "cert", "key"))
    pair = (cert, key) if os.path.exists(cert) and os.path.exists(key) else None
    authority = ca if os.path.exists(ca) else None
    if pair is None and authority is None:
        return False
    return TLSConfig(client_cert=pair, ca_cert=authority, verify=verify)


def _current_context(folder: str) -> str:
    document = _document(os.path.join(folder, "config.json")) or {}
    name = document.get("currentContext")
    return name if isinstance(name, str) and name else "default"


def _document(path: str) -> dict[str, Any] | None:
    """Return a document of docker's configuration, None if there is none."""
    try:
        with open(path, "rb") as stream:
            return documents.as_object(documents.load(stream.read(), path), path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EngineError(f"cannot be read: {error.strerror}", where=f"{_WHERE}: {path}") from None
    except SquasherError as error:
        raise EngineError(error.what, where=f"{_WHERE}: {path}") from None


def may_have(text: str) -> bool:
    """Tell whether `text` can be the name or the ID of an image."""
    return bool(normalise_tag(text) or _ID_PREFIX.fullmatch(text))


def _reference(name: str) -> str:
    """Return `name` for the API: a bare repository would mean all of its tags."""
    return name if name.startswith("sha256:") else normalise_tag(name) or name


def _inspect(client: Any, name: str) -> tuple[str, dict[str, Any]]:
    """Return how the daemon knows the image `name`, and what it says of it.

    As docker has it, the beginning of an ID will do where there is no such name. Raises
    BaseNotFoundError.
    """
    import docker

    identity = (name,) if _ID_PREFIX.fullmatch(name) else ()
    for reference in (_reference(name), *identity):
        with contextlib.suppress(docker.errors.NotFound):
            return reference, dict(client.inspect_image(reference))
    raise BaseNotFoundError(
        "the daemon has no such image",
        where=f"docker-daemon:{name}",
        hint=""
        if identity or name.startswith("sha256:")
        else f"run `docker pull {shlex.quote(name)}` first",
    )


@contextmanager
def export(name: str) -> Iterator[BinaryIO]:
    """Give what `docker save` of the image `name` writes. Raises EngineError, BaseNotFoundError."""
    with _client() as client:
        # Asked first: docker 20.10 takes an unknown ID below for a fault of its own.
        reference, _ = _inspect(client, name)
        chunks = _translated(client.get_image(reference))
        yield cast("BinaryIO", Chunks(chunks, f"docker-daemon:{name}"))


def _translated(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield `chunks`; the SDK asks for the first one, and fails, only when it is wanted."""
    with _errors():
        yield from chunks


def base(name: str) -> Base:
    """Return the image `name` as a base: its layers. Raises EngineError, BaseNotFoundError."""
    with _client() as client:
        found = _inspect(client, name)[1]
        manifest = _in_containerd(client)
    layers = found["RootFS"].get("Layers") or ()
    names = tuple(found.get("RepoTags") or ())
    platform = "/".join(filter(None, map(found.get, ("Os", "Architecture", "Variant"))))
    identity = Digest.parse(found["Id"])
    diff_ids = tuple(Digest.parse(diff_id) for diff_id in layers)
    return Base(
        diff_ids,
        names=names,
        platform=platform,
        image_id=identity,
        manifest=identity if manifest else None,  # or the index's
    )


def find_base(name: str) -> Base | None:
    """Return the image `name` as a base, None if there is none. Raises EngineError."""
    try:
        return base(name)
    except BaseNotFoundError:
        return None


def keeps_blobs() -> bool:
    """Tell whether the daemon stores layers as they come. False if unknown."""
    try:
        with _client() as client:
            return _in_containerd(client)
    except EngineError:  # whoever loads will be told
        return False


def _in_containerd(client: Any) -> bool:
    """Tell whether images lie in containerd's store: layers as they come, named by manifests.

    False if unknown: whoever answers as the daemon may refuse to say.
    Source: moby, daemon/info.go; docs, "containerd image store".
    """
    try:
        with _errors():
            status = client.info().get("DriverStatus") or ()
    except EngineError:
        return False
    return ["driver-type", "io.containerd.snapshotter.v1"] in status


def load(chunks: Iterable[bytes]) -> tuple[str, ...]:
    """Load an archive into the daemon; return the lines that it says. Raises EngineError."""
    said: list[str] = []
    with _client() as client:
        for line in client.load_image(chunks, quiet=True):
            if "error" in line:
                raise EngineError(str(line["error"]).strip(), where="docker-daemon")
            said += str(line.get("stream", "")).strip().splitlines()
    for line in said:
        if line.startswith(_UNPACKED):  # and yet it ends well: the image is there and of no use
            raise EngineError(line, where=_WHERE)
    return tuple(said)


def require_layers(diff_ids: Sequence[Digest]) -> None:
    """Require that the daemon has an image with these lowest layers. Raises EngineError.

    O(its images).
    """
    had = 0
    with _client() as client:
        import docker

        for image in client.images():
            with contextlib.suppress(docker.errors.NotFound):  # it may be gone meanwhile
                layers = client.inspect_image(image["Id"])["RootFS"].get("Layers") or ()
                pairs = zip(map(str, diff_ids), layers, strict=False)
                had = max(had, sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)))
    if had < len(diff_ids):
        places = range(had + 1, len(diff_ids) + 1)
        lacking = (f"layer {i} of {len(diff_ids)}, {diff_ids[i - 1]}" for i in places)
        raise EngineError(
            f"the daemon does not have these kept layers: {'; '.join(lacking)}",
            where=f"{_WHERE}: --partial",
            hint="load an archive with all layers",
        )


def image_id(name: str) -> str:
    """Return the ID of the image `name`. Raises EngineError, BaseNotFoundError."""
    with _client() as client:
        return str(_inspect(client, name)[1]["Id"])


def has(identity: str) -> bool:
    """Tell whether the daemon has an image of that ID. Raises EngineError."""
    try:
        return bool(image_id(identity))
    except BaseNotFoundError:
        return False


def remove_unused(identity: str, name: str) -> tuple[str, ...]:
    """Remove an image that has no container and no name but `name`; return what else uses it.

    A daemon that is told to remove an ID takes the image's name with it, where it has only one:
    so it is asked first. Never by force. Raises EngineError, BaseNotFoundError.

    Source: moby, daemon/images/image_delete.go.
    """
    with _client() as client:
        image = _inspect(client, identity)[1]
        known = (*(image.get("RepoTags") or ()), *(image.get("RepoDigests") or ()))
        # Containerd's store gives every image a name that is nothing but its own ID.
        others = [each for each in known if not each.endswith(f"@{image['Id']}")]
        names = [each for each in others if full_name(each) != full_name(_reference(name))]
        containers = client.containers(all=True, filters={"ancestor": identity})
        used = [f"it is still named {', '.join(names)}"] if names else []
        if containers:
            who = ", ".join(each["Names"][0].lstrip("/") for each in containers)
            used.append(f"it is still used by the container {who}")
        if not used:
            client.remove_image(identity)
    return tuple(used)
