"""squasher.platforms against the table of containerd's own tests and what it says of each name."""

from __future__ import annotations

import itertools

import pytest

from squasher.image.platforms import Platform, parse, same

#: Names that mean the same, a group a line. Source: containerd/platforms, database.go and
#: platforms_test.go, TestParseSelector and TestNormalize.
GROUPS = (
    (
        "linux/amd64",
        "linux/x86_64",
        "linux/x86-64",
        "linux/amd64/v1",
        "Linux/AMD64",
        "linux/X86_64/V1",
    ),
    ("linux/amd64/v2", "linux/x86_64/v2"),
    ("linux/386", "linux/i386", "linux/i386/v7", "Linux/I386"),
    ("linux/arm64", "linux/aarch64", "linux/arm64/v8", "linux/arm64/8", "linux/Aarch64/V8"),
    ("linux/arm64/v9", "linux/aarch64/v9"),
    ("linux/arm", "linux/arm/v7", "linux/arm/7", "linux/armhf", "linux/armhf/v6", "LINUX/ARM/V7"),
    ("linux/arm/v6", "linux/arm/6", "linux/armel", "linux/armel/v7"),
    ("linux/arm/v5", "linux/arm/5"),
    ("linux/arm/v8", "linux/arm/8"),
    ("linux/ppc64le",),
    ("linux/ppc64le/power9",),
    ("darwin/arm64", "macOS/arm64"),
    ("windows/amd64",),
)


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group[0])
def test_names_that_mean_the_same(group: tuple[str, ...]) -> None:
    others = [name for each in GROUPS for name in each if each is not group]
    for wanted, spelt in itertools.product(group, group):
        assert same(wanted, Platform(*spelt.split("/")))
    for wanted, spelt in itertools.product(group, others):
        assert not same(wanted, Platform(*spelt.split("/")))


@pytest.mark.parametrize(
    "text", ["", "linux", "amd64", "/linux/arm", "linux/arm/", "linux//v7", "a/b/c/d"]
)
def test_what_spells_no_platform(text: str) -> None:
    assert parse(text) is None
    assert not same(text, Platform("", "", ""))


def test_what_is_not_said() -> None:
    assert str(Platform("", "", "")) == "linux/unknown"
    assert str(Platform("linux", "arm", "v7")) == "linux/arm/v7"
    assert same("linux/amd64", Platform("", "amd64", ""))
    assert not same("linux/amd64", Platform("", "", ""))
