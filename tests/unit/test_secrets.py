"""squasher.image.secrets: what looks like a secret in an image's words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from squasher.image.configs import ImageConfig, parse_config
from squasher.image.secrets import Secret, masked, secrets


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ARG API_TOKEN=hush", "ARG API_TOKEN=***"),
        ("ENV DB_PASSWORD=hush A=b # buildkit", "ENV DB_PASSWORD=*** A=b # buildkit"),
        ('ENV SECRET="a b" A=b', "ENV SECRET=*** A=b"),
        ("ENV SECRET='a b' A=b", "ENV SECRET=*** A=b"),
        ('ENV SECRET="open', "ENV SECRET=***"),
        ("/bin/sh -c #(nop)  ENV MY_SECRET_X=abc", "/bin/sh -c #(nop)  ENV MY_SECRET_X=***"),
        (
            "RUN |1 TOKEN=hush /bin/sh -c make # buildkit",
            "RUN |1 TOKEN=*** /bin/sh -c make # buildkit",
        ),
        ("|2 TOKEN=a b c V=1 /bin/sh -c make", "|2 TOKEN=*** V=1 /bin/sh -c make"),
        ("|2 V=1 TOKEN=a\nb /bin/sh -c make", "|2 V=1 TOKEN=*** /bin/sh -c make"),
        ("|1 TOKEN=a bash -c make", "|1 TOKEN=***"),
        ("|1 A=b /bin/sh -c x --password=hush", "|1 A=b /bin/sh -c x --password=***"),
        ("RUN curl --api-key=k x", "RUN curl --api-key=*** x"),
        ("RUN git clone https://me:hush@x.example/y", "RUN git clone https://me:***@x.example/y"),
        ("RUN x ftp://:hush@y", "RUN x ftp://:***@y"),
        (
            "passwd=a credentials=b aws_access_key_id=c private_key=d",
            "passwd=*** credentials=*** aws_access_key_id=*** private_key=***",
        ),
    ],
)
def test_values_are_masked(text: str, expected: str) -> None:
    assert masked(text) == expected
    assert "hush" not in masked(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ARG TOKEN",
        "ARG TOKEN=",
        'ENV TOKEN=""',
        "ENV PASSWORD_FILE=/run/secrets/x TOKEN_PATH=/x SECRETS_DIR=/y",
        "ENV VERSION=1.2 KEY=x",
        "RUN echo $TOKEN",
        "RUN curl https://x.example:8080/a@b",
        "RUN curl https://me@x.example/",
        "RUN |1 V=1 /bin/sh -c make",
        "COPY file:abc in /x",
    ],
)
def test_words_without_secrets_stay(text: str) -> None:
    assert masked(text) == text


def made(env: Any = None, rows: Any = (), layers: int = 4) -> ImageConfig:
    document = {
        "config": {"Env": env},
        "history": [{"created_by": text, "empty_layer": empty} for text, empty in rows],
        "rootfs": {"diff_ids": [f"sha256:{n:064}" for n in range(layers)]},
    }
    return parse_config(json.dumps(document).encode())


def test_where_they_are() -> None:
    """`--history drop` takes the rows from that of the lowest squashed layer on."""
    rows = [
        ("ARG TOKEN=a", True),
        ("ADD x", False),
        ("ARG TOKEN=b", True),
        ("|1 TOKEN=b /bin/sh -c x", False),
        ("RUN y", False),
        ("RUN z https://u:p@h", False),
    ]
    assert secrets(made(["A=b", "MY_TOKEN=x", "URL=a://u:p@h"], rows)) == (
        Secret(None, "MY_TOKEN", "MY_TOKEN=***", None),
        Secret(None, "", "URL=a://u:***@h", None),
        Secret(0, "TOKEN", "TOKEN=***", None),
        Secret(2, "TOKEN", "TOKEN=***", 0),
        Secret(3, "TOKEN", "TOKEN=***", 1),
        Secret(5, "", "https://u:***@", 2),
    )
    assert [each.most for each in secrets(made(rows=rows[1:4], layers=1))] == [None, None]


@pytest.mark.parametrize("env", [None, [], "TOKEN=a", ["TOKEN=", "TOKEN", 5, None, "A_FILE=x"]])
def test_environments_without_secrets(env: Any) -> None:
    assert secrets(made(env)) == ()


def test_a_config_without_a_config() -> None:
    assert secrets(parse_config(b'{"rootfs":{"diff_ids":[]},"config":[]}')) == ()


def test_a_comment_counts() -> None:
    data = b'{"rootfs":{"diff_ids":[]},"history":[{"comment":"TOKEN=x"}]}'
    assert secrets(parse_config(data)) == (Secret(0, "TOKEN", "TOKEN=***", None),)


@pytest.mark.parametrize("text", ["A=", "a://b:", 'TOKEN="', "TOKEN=a ", "a", "://:", "- "])
@pytest.mark.parametrize("start", ["", "|1 "])
def test_long_words_take_no_longer_for_each_letter(text: str, start: str) -> None:
    """A million letters: what tries each place again and again would not come to an end."""
    assert masked(start + text * (1_000_000 // len(text)))
