"""`docker squash`: what the docker client tells a plugin, and what the plugin makes of it.

The client runs the file `docker-squash` of a folder `cli-plugins` in two ways:

    docker-squash docker-cli-plugin-metadata         who are you?
    docker-squash [GLOBAL OPTIONS] squash WORDS      all its own arguments, as they were typed

Source: docker/cli, "Docker CLI Plugin Spec"; cli-plugins/manager (environment), cli-plugins/socket
(the end), cli/command/cli.go (which endpoint wins).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress
from typing import Any

from squasher._version import __version__
from squasher.errors import UsageError

METADATA = "docker-cli-plugin-metadata"
_NAME = "docker-squash"
#: The client sets it to how it was called itself.
_CALLER = "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND"
#: A socket that the client closes when it is told to end.
_SOCKET = "DOCKER_CLI_PLUGIN_SOCKET"
#: Seconds between the end of the socket and ours: a busy machine may bring a signal late.
_CTRL_C_FIRST = 0.5

_SHORT = "H:c:l:Dh"
_SWITCHES = ("debug", "help", "tls", "tlsverify")
_VALUES = ("host", "context", "config", "log-level", "tlscacert", "tlscert", "tlskey")
_LONG = (*_SWITCHES, *(f"{name}=" for name in _VALUES))
_OTHER_NAMES = {"H": "host", "c": "context", "l": "log-level", "D": "debug", "h": "help"}
#: Go's truth: `--tls=false` is a way to say nothing.
_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FILES = {"tlscacert": "ca.pem", "tlscert": "cert.pem", "tlskey": "key.pem"}


def is_plugin(program: str, environment: Mapping[str, str]) -> bool:
    """Tell whether the docker client runs `program`, which is how this process was called.

    The variable alone does not tell: what another plugin starts inherits it.
    """
    name = os.path.basename(program).removesuffix(".exe")
    return name == _NAME and bool(environment.get(_CALLER))


def metadata() -> str:
    """Return what the client wants to know of a plugin, as JSON."""
    import json

    return json.dumps(
        {
            "SchemaVersion": "0.1.0",
            "Vendor": "squasher",
            "Version": __version__,
            "ShortDescription": "Squash the layers of an image above its base",
        }
    )


def take(arguments: Sequence[str], environment: MutableMapping[str, str]) -> list[str]:
    """Return the words for `squash`; do in `environment`, and here, what the client wants.

    Raises UsageError.
    """
    words, change = parse(arguments)
    for name, value in change.items():
        if value is None:
            environment.pop(name, None)
        else:
            environment[name] = value
    end_with_docker(environment)
    return words


def parse(arguments: Sequence[str]) -> tuple[list[str], dict[str, str | None]]:
    """Return the words for `squash`, and what the client's own options mean.

    That is a change of the environment in which the daemon is looked for; None removes a variable.
    The client has checked its options before. Raises UsageError for certificates that the
    environment cannot name.
    """
    import getopt

    try:
        flags, words = getopt.getopt(_without_truth(arguments), _SHORT, list(_LONG))
    except getopt.GetoptError as error:
        raise UsageError(error.msg, where="docker squash") from None
    options: dict[str, str] = {}
    for name, value in flags:
        bare = name.lstrip("-")
        options[_OTHER_NAMES.get(bare, bare)] = value.removeprefix("=")
    words = [word for i, word in enumerate(words) if i or word != "squash"]
    if words[:1] == ["help"]:  # docker help squash [inspect]
        words = [*words[2:], "--help"]
    elif "help" in options:
        words = [*words, "--help"]
    return words, _environment(options)


def _without_truth(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with `--tls=true` as `--tls`, and without `--tls=false`."""
    own = list(arguments)
    end = own.index("squash") if "squash" in own else len(own)
    words = []
    for word in own[:end]:
        name, equals, value = word.partition("=")
        if not equals or name.removeprefix("--") not in _SWITCHES:
            words.append(word)
        elif value in _TRUE:
            words.append(name)
    return words + own[end:]


def _environment(options: Mapping[str, str]) -> dict[str, str | None]:
    """Return the environment that means the same as the client's options.

    `--host` and `--context` win over the environment, which wins over the current context; the
    context `default` is what DOCKER_HOST names.
    """
    change: dict[str, str | None] = {}
    if "config" in options:
        change["DOCKER_CONFIG"] = options["config"]
    if "host" in options:
        change["DOCKER_HOST"] = options["host"]
    elif "context" in options:
        change["DOCKER_CONTEXT"] = options["context"]
        if options["context"] != "default":
            change["DOCKER_HOST"] = None
    files = {name: options[name] for name in _FILES if name in options}
    folders = {os.path.dirname(path) for path in files.values()}
    if len(folders) > 1 or any(
        os.path.basename(path) != _FILES[name] for name, path in files.items()
    ):
        raise UsageError(
            "the certificates must be ca.pem, cert.pem and key.pem of one folder",
            where=f"docker --{next(iter(files))}",
            hint="or make a context with them: docker context create",
        )
    if files or "tls" in options or "tlsverify" in options:
        config = options.get("config") or os.environ.get("DOCKER_CONFIG")
        default = os.environ.get("DOCKER_CERT_PATH") or config or os.path.expanduser("~/.docker")
        change["DOCKER_CERT_PATH"] = (folders.pop() or ".") if folders else default
    if "tlsverify" in options:
        change["DOCKER_TLS_VERIFY"] = "1"
    return change


def fill_in(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a command as `docker squash` means them.

    An image that is no existing path is one of the daemon's, and so is a base that is no row, no
    layer, no image of the same archive and no path; what has no output is loaded. Raises
    UsageError.
    """
    filled = dict(options)
    for name in ("image", "before", "after"):
        if filled.get(name):
            filled[name] = _of_daemon(filled[name])
    if "load" in filled:  # squash itself, no subcommand
        filled["daemon_base"] = True
        if filled["output"] is None and not filled["dry_run"]:
            filled["load"] = True
    return filled


def _of_daemon(text: str) -> str:
    from squasher.archive.location import parse_location  # start-up is quicker without it

    location = parse_location(text)
    bare = location.kind == "path" and not os.path.exists(text)
    return f"docker-daemon:{text}" if bare and text and os.path.basename(text) else text


def end_with_docker(environment: Mapping[str, str]) -> None:
    """Have this process end, as by SIGTERM, when the docker client does or is told to.

    The client does not pass signals on: it closes a socket. Clients before 25 have none. On Ctrl-C
    it does so at once, but the signal has come here as well, and says which exit code it is.
    """
    import socket
    import threading

    address = environment.get(_SOCKET, "")
    if not address or not hasattr(socket, "AF_UNIX"):
        return
    line = socket.socket(socket.AF_UNIX)
    try:
        line.connect("\0" + address[1:] if address.startswith("@") else address)
    except ConnectionRefusedError:  # it was told to end while we started
        pass
    except OSError:
        line.close()
        return

    def wait() -> None:
        with line, suppress(OSError):
            while line.recv(1):
                pass
        time.sleep(_CTRL_C_FIRST)
        # A command that has given its signals back is about to end with its own exit code.
        if callable(signal.getsignal(signal.SIGTERM)):
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="docker", daemon=True).start()
