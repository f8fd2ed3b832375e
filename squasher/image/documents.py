"""The JSON documents of an image: read strictly, edited in place, written anew.

Documents come from strangers: every reader here says which place is wrong
(`manifest.json[0].Layers[2]`). A config is edited as text, member by member, so that all it says
besides (unknown keys, order, numbers of any size or spelling) stays byte for byte.

Source: OCI image-spec, config.md, manifest.md, image-index.md, image-layout.md, annotations.md;
docker image specification v1.2 ("manifest.json"); keys are matched as Go does, exactly or else in
any case.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from squasher.digest import Digest
from squasher.errors import DocumentError, placed
from squasher.tar.paths import show

_T = TypeVar("_T")

#: A real one has kilobytes; podman, skopeo and CRI-O read no longer config than 4 MiB
#: (containers/image, internal/iolimits), docker was seen to load one of 9 MiB.
DOCUMENT_MAX = 16 << 20
#: Lists and objects inside each other; real documents have five levels. Far below what Python's own
#: recursion allows, so that what has been read can also be written.
DEPTH_MAX = 100
#: The same in a config, of which little is written anew: docker takes 10,000.
CONFIG_DEPTH_MAX = 400
#: What engines read of a config. Source: image-spec, config.md; docker, image.Image.
_CONFIG = frozenset(
    (
        *("architecture", "author", "comment", "config", "container", "container_config"),
        *("created", "docker_version", "history", "id", "os", "os.features", "os.version"),
        *("parent", "rootfs", "size", "variant"),
    )
)

#: Bytes of memory that a character stands for where it is no part of a text: a list, an object, a
#: name with its place, a value with its place. Measured with CPython 3.10 to 3.14.
_WEIGHTS = {b"[": 96, b"{": 250, b":": 200, b",": 64}

DECODER = json.JSONDecoder()
SURROGATE = re.compile("[\ud800-\udfff]")
SPACE = re.compile(r"[ \t\r\n]*")


def load(data: bytes, where: str) -> Any:
    """Return the JSON value in `data`. Raises DocumentError for anything else than one."""
    value = _parsed(data, where, data.decode, _finite, _once, DEPTH_MAX)
    _check_depth(value, DEPTH_MAX, where)
    return value


def _parsed(
    data: bytes,
    where: str,
    decode: Callable[[], str],
    number: Callable[[str], float | str],
    pairs: Callable[[list[tuple[str, Any]]], dict[str, Any]],
    depth: int,
) -> Any:
    if len(data) > DOCUMENT_MAX:
        raise DocumentError(f"a document of {len(data)} bytes is too large", where=where)
    try:
        return json.loads(
            decode(), parse_constant=_no_constant, parse_float=number, object_pairs_hook=pairs
        )
    except ValueError as error:
        raise DocumentError(f"not valid JSON: {error}", where=where) from None
    except RecursionError:
        raise _too_deep(where, depth) from None


def load_config(data: bytes, where: str) -> dict[str, Any]:
    """Return the object in `data`, of which all that we do not know may be odd: it stays as text.

    That is bytes that are no UTF-8, numbers beyond all (both become text), keys that come twice
    under a key that no engine knows (the last one counts), and more levels. Raises DocumentError.
    """
    value = _parsed(data, where, lambda: decoded(data), _number, _perhaps_twice, CONFIG_DEPTH_MAX)
    _check_depth(value, CONFIG_DEPTH_MAX, where)  # first: since 3.14 deeper ones are read as well
    document = as_object(value, where)
    level: list[Any] = [document]
    while level:
        for found in level:
            if isinstance(found, _Ambiguous):
                raise DocumentError(f"not valid JSON: {found.told}", where=where)
        level = [
            inner
            for outer in level
            for inner in _inside(_known(outer) if outer is document else outer)
        ]
    return document


def _known(document: dict[str, Any]) -> dict[str, Any]:
    """Return the members of a config that engines read."""
    return {key: value for key, value in document.items() if fold(key) in _CONFIG}


def decoded(data: bytes) -> str:
    """Return the text of a config; `encoded` gives the same bytes again, UTF-8 or not."""
    return data.decode("utf-8", "surrogateescape")


def encoded(text: str) -> bytes:
    """Return the bytes that `decoded` made the text of."""
    return text.encode("utf-8", "surrogateescape")


def _check_depth(value: Any, most: int, where: str) -> None:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(most):
        level = [inner for outer in level for inner in _inside(outer)]
    if level:
        raise _too_deep(where, most)


def weight(data: bytes) -> int:
    """Return how many bytes of memory reading a document takes at most. O(its length).

    What is in its texts counts as well: nobody has read them yet. One rare character makes each of
    a text four bytes long.
    """
    length = len(data) * (2 if data.isascii() and b"\\u" not in data else 9)
    return length + sum(data.count(key) * cost for key, cost in _WEIGHTS.items())


def _inside(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    """Return the lists and objects that are directly in `value`."""
    inner = value.values() if isinstance(value, dict) else value
    return (x for x in inner if isinstance(x, dict | list))


def _too_deep(where: str, most: int) -> DocumentError:
    return DocumentError(f"nested more than {most} levels deep", where=where)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _number(text: str) -> float | str:
    """Return a number, as text if it is beyond all that a float can be."""
    value = float(text)
    return text if value in (float("inf"), -float("inf")) else value


def _finite(text: str) -> float:
    value = _number(text)
    if isinstance(value, str):
        raise ValueError(f"{text[:40]} is not a number that can be kept")
    return value


class _Ambiguous(dict[str, Any]):
    """An object with a key that comes twice: readers take either, or both."""

    told = ""


def _perhaps_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    counts = Counter(key for key, _ in pairs)
    twice = next(key for key, count in counts.items() if count > 1)
    found = _Ambiguous(value)
    found.told = f"the key {show(twice.encode('utf-8', 'surrogatepass'))} occurs twice"
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = _perhaps_twice(pairs)
    if isinstance(value, _Ambiguous):
        raise ValueError(value.told)
    return value


def fold(key: str) -> str:
    """Return what Go compares of the name of a member: case counts for nothing.

    Source: Go encoding/json, fold.go: the long s and the Kelvin sign are letters, too.
    """
    return key.replace("\u017f", "s").lower()


def field(value: dict[str, Any], name: str, where: str = "") -> Any:
    """Return the member `name` as Go finds it, in any case; None if absent.

    Raises DocumentError if there are several: readers differ on which one counts.
    """
    folded = name.lower()
    keys = [key for key in value if fold(key) == folded]
    if len(keys) > 1:
        raise DocumentError("the key occurs twice", where=f"{where}.{name}")
    return value[keys[0]] if keys else None


def spelt(value: Any, names: Sequence[str], where: str) -> dict[str, Any]:
    """Return the object `value` with `names` spelt so, as Go would find them; null is absent.

    From here on a member is found by its name, and written once.
    """
    known = {name.lower(): name for name in names}
    result: dict[str, Any] = {}
    seen: set[str] = set()
    for key, member in as_object(value, where).items():
        name = known.get(fold(key), key)
        if name in seen:
            raise DocumentError("the key occurs twice", where=place_of(where, name))
        seen.add(name)
        if member is not None or name not in names:
            result[name] = member
    return result


def as_object(value: Any, where: str) -> dict[str, Any]:
    """Return `value` if it is an object."""
    if not isinstance(value, dict):
        raise DocumentError("an object is expected", where=where)
    return value


def as_list(value: Any, where: str) -> list[Any]:
    """Return `value` if it is a list; null and absent are an empty one, as Go has it."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise DocumentError("a list is expected", where=where)
    return value


def elements(value: Any, where: str, read: Callable[[Any, str], _T]) -> tuple[_T, ...]:
    """Return the elements of a list, as `read` gives each, which it gets with its place."""
    return tuple(read(each, f"{where}[{i}]") for i, each in enumerate(as_list(value, where)))


def as_text(value: Any, where: str) -> str:
    """Return `value` if it is a string without characters that UTF-8 cannot hold."""
    if not isinstance(value, str):
        raise DocumentError("a string is expected", where=where)
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise DocumentError("a string with a lone surrogate", where=where) from None
    return value


def place_of(where: str, key: str) -> str:
    """Return the place of a member whose name comes from the document, fit for a message."""
    return f"{where}.{show(key.encode('utf-8', 'surrogatepass'))[1:-1]}"


def text_or_none(document: dict[str, Any], key: str, where: str) -> str:
    """Return the string `key` of an object, "" if it is null or absent."""
    value = field(document, key, where)
    return "" if value is None else as_text(value, f"{where}.{key}")


def as_size(value: Any, where: str) -> int:
    """Return `value` if it is a whole number that can be a size."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise DocumentError("a size is expected", where=where)
    return value


def as_digest(value: Any, where: str) -> Digest:
    """Return the digest that `value` spells."""
    text = as_text(value, where)
    with placed(where):
        return Digest.parse(text)


def dump(document: Any) -> str:
    """Return `document` as compact JSON; equal documents give equal text."""
    return json.dumps(document, separators=(",", ":"))
