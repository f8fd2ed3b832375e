"""Values in an image's words that look like secrets, by their names; and those words without them.

Whoever has the image can read its history and its environment. Only names tell: what is called
otherwise is not found, and what is called so need not be one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from squasher.image.configs import ImageConfig
from squasher.image.documents import field, load_config

MASK = "***"
#: Parts of a name; one that ends in _FILE names a file in which the secret is.
_NAMES = re.compile("TOKEN|PASSWORD|PASSWD|SECRET|API_?KEY|PRIVATE_?KEY|ACCESS_?KEY|CREDENTIAL")
_FILES = ("FILE", "PATH", "DIR")
#: NAME=VALUE among other words; quotes hold a value together.
_PAIR = re.compile(r"""(?<![\w.-])([\w.-]+)=("[^"]*"?|'[^']*'?|[^\s"']*)""")
#: The same where docker puts build arguments before a command: values have no quotes there, and end
#: where the next name or a path begins. Source: moby, builder/dockerfile; BuildKit, dockerfile2llb.
_ARGUMENT = re.compile(r"(?<![\w.-])([\w.-]+)=((?:(?!\s[\w.-]+=|\s/).)*)", re.DOTALL)
_ARGUMENTS = re.compile(r"(?:RUN )?\|\d+ ")
_URL = re.compile(r"(?<![\w+.-])([a-zA-Z][\w+.-]*://[^\s/:@?#]*):([^\s/@?#]+)@")


@dataclass(frozen=True, slots=True)
class Secret:
    """What looks like a secret, by its name.

    row     position of the history row, from 0 for the lowest; None for a variable of the
            environment
    name    of the variable or the build argument; "" for a URL with a password
    shown   the text with the value masked
    most    with `history="drop"`, the row is removed if at most so many layers are kept; None if
            squashing cannot remove it
    """

    row: int | None
    name: str
    shown: str
    most: int | None


def masked(text: str) -> str:
    """Return the words of a history row without what looks like a secret. O(its length)."""
    return _masked(text)[0]


def secrets(config: ImageConfig) -> tuple[Secret, ...]:
    """Return what looks like a secret in the environment and the history, each once."""
    env = [pair for text in _env(config) for pair in _of_env(text)]
    found = [Secret(None, name, shown, None) for name, shown in env]
    layers = 0
    for i, row in enumerate(config.history or ()):
        layers += not row.empty_layer
        most = min(layers - 1, len(config.diff_ids) - 2)
        for words in (row.created_by, row.comment):
            pairs = _masked(words)[1]
            found += (Secret(i, name, x, most if most >= 0 else None) for name, x in pairs)
    return tuple(dict.fromkeys(found))


def _env(config: ImageConfig) -> Iterator[str]:
    own = field(load_config(config.raw, "config"), "config")
    env = field(own, "Env") if isinstance(own, dict) else None
    yield from (x for x in env if isinstance(x, str)) if isinstance(env, list) else ()


def _of_env(text: str) -> Iterator[tuple[str, str]]:
    name, equals, value = text.partition("=")
    if equals and value and _is_secret(name):
        yield name, f"{name}={MASK}"
    elif _URL.search(value):
        yield "", f"{name}={_URL.sub(_without_password, value)}"


def _masked(text: str) -> tuple[str, list[tuple[str, str]]]:
    """Return the text without secrets, and the name and what is shown of each."""
    found: list[tuple[str, str]] = []

    def without(match: re.Match[str]) -> str:
        name, value = match[1], match[2]
        if not value.strip("\"' ") or not _is_secret(name):
            return match[0]
        found.append((name, f"{name}={MASK}"))
        return f"{name}={MASK}"

    def password(match: re.Match[str]) -> str:
        found.append(("", _without_password(match)))
        return _without_password(match)

    pair = _ARGUMENT if _ARGUMENTS.match(text) else _PAIR
    if pair is _ARGUMENT:  # the command behind them has words of its own
        text = _ARGUMENT.sub(without, text)
    return _URL.sub(password, _PAIR.sub(without, text)), found


def _without_password(match: re.Match[str]) -> str:
    return f"{match[1]}:{MASK}@"


def _is_secret(name: str) -> bool:
    upper = name.upper().replace("-", "_")
    return _NAMES.search(upper) is not None and not upper.endswith(_FILES)
