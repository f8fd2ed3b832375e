"""A docker daemon of a few lines: the endpoints of the Engine API that squash asks for.

Source: Docker Engine API v1.41, "Images".
"""

from __future__ import annotations

import http.server
import json
import socketserver
import sys
import tempfile
import threading
import urllib.parse
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.forms import result


@dataclass
class Daemon:
    """What the daemon has and what it was asked.

    images      (ID, diff_ids, archive) by name, as `tag` and as ID
    digests     names with a digest, by ID
    containers  names of containers, by ID
    says        the lines that loading prints; None: what a real one says of the archive
    answers     a status and a message for a request, "METHOD /path" of the API, in place of its own
    going       IDs that it lists and does not have any more
    status      what it says of its store
    id_is       what it takes for an image's ID; with "nothing" it forgets what it has loaded
    """

    socket: Path
    images: dict[str, tuple[str, list[str], bytes]] = field(default_factory=dict)
    digests: dict[str, list[str]] = field(default_factory=dict)
    containers: dict[str, list[str]] = field(default_factory=dict)
    says: list[dict[str, Any]] | None = None
    answers: dict[str, tuple[int, str]] = field(default_factory=dict)
    id_is: Literal["config", "manifest", "nothing"] = "config"
    going: tuple[str, ...] = ()
    status: list[list[str]] | None = None
    asked: list[str] = field(default_factory=list)
    loaded: list[bytes] = field(default_factory=list)

    @property
    def host(self) -> str:
        """What DOCKER_HOST must be."""
        return f"unix://{self.socket}"

    def put(self, name: str, identity: str, diff_ids: list[str], archive: bytes) -> None:
        """Let it have an image."""
        self.images |= dict.fromkeys((name, identity), (identity, diff_ids, archive))

    def names(self, identity: str) -> list[str]:
        """Return the names of an image, as RepoTags has them."""
        return [name for name, found in self.images.items() if identity == found[0] != name]

    def load(self, archive: bytes) -> None:
        """Have the images of an archive: a name that another image had is moved."""
        self.loaded.append(archive)
        if self.id_is == "nothing":
            return
        read = result.read(archive)
        for image, item in zip(read.images, read.listed, strict=True):
            identity = image.image_id
            if self.id_is == "manifest":
                identity = image.descriptor["digest"]
            for name in (identity, *(item["RepoTags"] or ())):
                self.put(name, identity, image.config["rootfs"]["diff_ids"], archive)

    def remove(self, identity: str) -> str:
        """Remove an image by its ID, with its only name; return what is said against it.

        Source: moby, daemon/images/image_delete.go.
        """
        if self.containers.get(identity):
            return "conflict: image is being used by running container 1f"
        if len(self.names(identity)) > 1:
            return "conflict: image is referenced in multiple repositories"
        self.images = {key: value for key, value in self.images.items() if value[0] != identity}
        return ""


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    state: Daemon

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that went before the answer ended, as dockerd does."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def _answer(self, method: str) -> None:
        state = self.server.state
        body = self._body()
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        if path == "/version":
            return self._json(200, {"ApiVersion": "1.41", "Version": "20.10"})
        what = "/" + path.split("/", 2)[2]  # without the version
        request = f"{method} {what}"
        state.asked.append(request)
        if request in state.answers:
            status, message = state.answers[request]
            return self._json(status, {"message": message})
        if request == "POST /images/load":
            state.load(body)
            lines = state.says or [{"stream": "Loaded image: app:latest\n"}]
            return self._stream(json.dumps(line).encode() + b"\r\n" for line in lines)
        if request == "GET /images/json":
            identities = dict.fromkeys(found[0] for found in state.images.values())
            return self._json(200, [{"Id": each} for each in (*identities, *state.going)])
        if request == "GET /info":
            return self._json(200, {"DriverStatus": state.status})
        if request == "GET /containers/json":
            return self._json(200, [{"Names": [f"/{name}"]} for name in self._ancestor()])
        name = what.removeprefix("/images/").removesuffix("/get").removesuffix("/json")
        found = state.images.get(name)
        if found is None:
            return self._json(404, {"message": f"No such image: {name}"})
        identity, diff_ids, archive = found
        if what.endswith("/get"):
            return self._send(200, archive)
        if what.endswith("/json"):
            document = {
                "Id": identity,
                "RepoTags": state.names(identity),
                "RepoDigests": state.digests.get(identity),
                "RootFS": {"Layers": diff_ids or None},
            }
            return self._json(200, document)
        if against := state.remove(identity):
            return self._json(409, {"message": against})
        return self._json(200, [{"Deleted": identity}])

    def _ancestor(self) -> list[str]:
        """Return the names of the containers that are asked for, whether they run or not."""
        asked = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        assert asked["all"] == ["1"]
        (identity,) = json.loads(asked["filters"][0])["ancestor"]
        return self.server.state.containers.get(identity, [])

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _json(self, status: int, document: Any) -> None:
        self._send(status, json.dumps(document).encode())

    def _send(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = True

    def _stream(self, pieces: Iterable[bytes]) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in (*pieces, b""):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))

    def address_string(self) -> str:
        """Return a name for the log: a Unix socket has no address."""
        return "unix"

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - as its base
        """Say nothing."""


@contextmanager
def running() -> Iterator[Daemon]:
    """Give a daemon that listens.

    Its socket is in a folder of its own: the path of one has 107 bytes at most, and those below
    TMPDIR are as long as that makes them.
    """
    with tempfile.TemporaryDirectory(prefix="squasher-", dir="/tmp") as folder:
        state = Daemon(Path(folder) / "docker.sock")
        with _Server(str(state.socket), _Handler) as server:
            server.state = state
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                yield state
            finally:
                server.shutdown()
                thread.join()
