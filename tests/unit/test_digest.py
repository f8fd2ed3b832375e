"""squasher.digest."""

from __future__ import annotations

import hashlib

import pytest

from squasher.digest import Digest, check
from squasher.errors import DigestMismatchError, DocumentError, UnsupportedImageError

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_digest_is_read_and_written() -> None:
    digest = Digest.parse(f"sha256:{EMPTY}")
    assert digest == Digest.of(b"") == Digest(EMPTY)
    assert str(digest) == f"sha256:{EMPTY}"
    assert Digest.of(b"x").hex == hashlib.sha256(b"x").hexdigest()


@pytest.mark.parametrize(
    "text",
    [
        "",
        EMPTY,
        "sha256:",
        f"sha256:{EMPTY[:-1]}",
        f"sha256:{EMPTY}0",
        f"sha256:{EMPTY.upper()}",
        f"sha256:{EMPTY}\n",
        f" sha256:{EMPTY}",
        "sha256:../../etc/passwd",
        "md5",
        "SHA512:00",
    ],
)
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(DocumentError, match="is not a valid digest"):
        Digest.parse(text)


@pytest.mark.parametrize("text", ["sha512:" + "0" * 128, "blake3:ab", "multihash+base58:Qm_-=x"])
def test_another_algorithm_is_not_supported(text: str) -> None:
    with pytest.raises(UnsupportedImageError, match="not SHA-256"):
        Digest.parse(text)


def test_check_says_both_digests() -> None:
    one, two = Digest.of(b"1"), Digest.of(b"2")
    check(one, Digest.of(b"1"))
    with pytest.raises(DigestMismatchError) as raised:
        check(one, two, where="blob")
    assert str(raised.value) == f"blob: expected {one}, found {two}"
