"""squasher.archive.location: what a text names."""

from __future__ import annotations

import pytest

from squasher.archive.location import Location, parse_location
from squasher.errors import UsageError


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("-", Location("stream", "-")),
        ("image.tar", Location("path", "image.tar")),
        ("./oci:x", Location("path", "./oci:x")),
        ("debian:12", Location("path", "debian:12")),
        ("C:\\image.tar", Location("path", "C:\\image.tar")),
        ("docker-archive:a.tar", Location("docker-archive", "a.tar")),
        ("docker-archive:a.tar:me/app:1", Location("docker-archive", "a.tar", "me/app:1")),
        ("oci-archive:a.tar:ref", Location("oci-archive", "a.tar", "ref")),
        ("oci:dir", Location("oci", "dir")),
        ("oci:dir:ref", Location("oci", "dir", "ref")),
        ("oci:C:\\dir:ref", Location("oci", "C:\\dir", "ref")),
        ("docker-daemon:debian:12", Location("docker-daemon", "debian:12")),
        ("docker-daemon:sha256:ab", Location("docker-daemon", "sha256:ab")),
    ],
)
def test_what_a_text_names(text: str, location: Location) -> None:
    assert parse_location(text) == location


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("docker://debian:12", "skopeo copy docker://debian:12 oci-archive:image.tar"),
        ("containers-storage:app", "podman save app -o image.tar"),
        ("dir:folder", "skopeo copy dir:folder oci-archive:image.tar"),
        ("dir:my folder", "skopeo copy 'dir:my folder' oci-archive:image.tar"),
        ("docker-daemon:", "the name of the image is missing"),
        ("oci:", "the path is missing"),
        ("oci-archive::ref", "the path is missing"),
    ],
)
def test_what_is_refused_and_the_line_that_does_it(text: str, says: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_location(text)
    assert says in str(raised.value)
