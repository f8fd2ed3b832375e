"""Names of images: what docker means by them, in short and in full."""

from __future__ import annotations

import re

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:(?P<domain>{_DOMAIN})/)?(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)(?::(?P<tag>\w[\w.-]{{0,127}}))?",
    re.ASCII,
)


#: Characters of a name with its registry, without the tag. Source: distribution/reference,
#: NameTotalLengthMax.
NAME_MAX = 255
#: Looks like an image ID: no engine takes it for a name.
_ID = re.compile(r"[0-9a-f]{64}")
_PIN = re.compile(r"@sha256:[0-9a-f]{64}$")


def normalise_tag(name: str) -> str | None:
    """Return `name` with its tag, `latest` if it has none; None if it is not a valid image name.

    Source: distribution/reference (the grammar that docker, containerd and podman share).
    """
    match = _REFERENCE.fullmatch(name)
    if match is None or _ID.fullmatch(name):
        return None
    tag = f":{match['tag']}" if match["tag"] else ""
    if len(full_name(name.removesuffix(tag))) > NAME_MAX:
        return None
    return name if match["tag"] else f"{name}:latest"


def ends_in_digest(reference: str) -> bool:
    """Tell whether a reference is true of one manifest only; `ctr` also writes bare `@sha256:…`."""
    return _PIN.search(reference) is not None


def is_pinned(name: str) -> bool:
    """Tell whether an image name ends in a digest."""
    return ends_in_digest(name) and normalise_tag(name.rpartition("@")[0]) is not None


def full_name(tag: str) -> str:
    """Return `tag` with registry and namespace, as docker completes short names."""
    for hub in ("docker.io/", "index.docker.io/"):
        if tag.startswith(hub):
            rest = tag.removeprefix(hub)
            return f"docker.io/{rest}" if "/" in rest else f"docker.io/library/{rest}"
    domain, slash, _ = tag.partition("/")
    if not slash:
        return f"docker.io/library/{tag}"
    if "." in domain or ":" in domain or domain == "localhost" or domain != domain.lower():
        return tag
    return f"docker.io/{tag}"


def short_name(name: str) -> str:
    """Return `name` as docker shows it: without the registry and namespace that it would add."""
    for prefix in ("docker.io/library/", "docker.io/"):
        if name.startswith(prefix) and full_name(name[len(prefix) :]) == name:
            return name[len(prefix) :]
    return name


def same_name(one: str, other: str) -> bool:
    """Tell whether docker takes both for the same image name."""
    names = [normalise_tag(name) for name in (one, other)]
    return None not in names and full_name(names[0] or "") == full_name(names[1] or "")
