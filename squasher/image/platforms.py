"""What a platform is called, and when two names mean the same.

Source: containerd/platforms: `normalizeOS` and `normalizeArch` (database.go), `NewMatcher` and
`Match` (platforms.go). What that takes from the machine where nothing is said is linux here.
"""

from __future__ import annotations

from dataclasses import dataclass

_SYSTEMS = {"": "linux", "macos": "darwin"}
_MACHINES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}
#: Architectures whose name tells the variant, whatever else is said.
_WITH_VARIANT = {"i386": ("386", ""), "armhf": ("arm", "v7"), "armel": ("arm", "v6")}
#: Variants that have another name, which is the one to compare.
_VARIANTS = {
    ("amd64", "v1"): "",
    ("arm64", "8"): "",
    ("arm64", "v8"): "",
    ("arm", ""): "v7",
    ("arm", "5"): "v5",
    ("arm", "6"): "v6",
    ("arm", "7"): "v7",
    ("arm", "8"): "v8",
}


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image runs on, as a document spells it; "" for what it does not say."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        parts = (self.os or "linux", self.architecture or "unknown", self.variant)
        return "/".join(part for part in parts if part)

    @property
    def normal(self) -> Platform:
        """The same platform in containerd's spelling, for comparisons."""
        system, machine = self.os.lower(), self.architecture.lower()
        system = _SYSTEMS.get(system, system)
        if machine in _WITH_VARIANT:
            return Platform(system, *_WITH_VARIANT[machine])
        machine, variant = _MACHINES.get(machine, machine), self.variant.lower()
        return Platform(system, machine, _VARIANTS.get((machine, variant), variant))


def parse(text: str) -> Platform | None:
    """Return the platform that OS/ARCH[/VARIANT] spells; None for any other text."""
    parts = text.split("/")
    if len(parts) not in (2, 3) or not all(parts):
        return None
    return Platform(*parts)


def same(wanted: str, found: Platform) -> bool:
    """Tell whether `found` is what `wanted`, as a user types it, means.

    A variant that is left out is the usual one: v7 of arm, v8 of arm64, v1 of amd64.
    """
    parsed = parse(wanted)
    return parsed is not None and parsed.normal == found.normal
