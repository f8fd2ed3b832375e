"""Damaged, shrinking and hostile input: an error of ours, or the same tree; in bounded time."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import squasher
from squasher.cli.main import run
from squasher.errors import SquasherError
from tests import model
from tests.builders import (
    Dir,
    File,
    Hardlink,
    Sparse,
    Symlink,
    Whiteout,
    archive,
    layer,
    outer_tar,
    sha256,
)
from tests.conformance.check import attempt, layers_of
from tests.faults.command import COMMAND, environment, error_line, pending, waits
from tests.faults.conftest import IMAGE, LOWER

SMALL = (
    layer(Dir(b"d"), File(b"d/f", b"one"), Symlink(b"l", b"d/f"), Hardlink(b"h", b"d/f")),
    layer(Dir(b"d"), Whiteout(b"d/f"), File(b"g", b"two", xattrs={b"user.k": b"v"})),
    layer(File(b"g", b"three")),
)


def tree(image: bytes) -> dict[bytes, model.Record]:
    return model.listing(model.apply(layers_of(image)))


@pytest.mark.parametrize("form", ["legacy", "v25", "podman"])
@pytest.mark.parametrize("packed", [(), (0, 1, 2)], ids=["plain", "gzip"])
def test_a_flipped_byte_never_makes_other_files(form: str, packed: tuple[int, ...]) -> None:
    """In every member, a few bytes of header and data: exit 3 (or 5), or the same tree."""
    image = archive(SMALL, form=form, gzip_layers=packed)
    expected = tree(archive(SMALL, form="v25"))
    chance = random.Random(f"{form} {packed}")
    places = sorted(chance.sample(range(len(image)), 150))
    refused = 0
    for at in places:
        damaged = bytearray(image)
        damaged[at] ^= 1 << chance.randrange(8)
        result = attempt(bytes(damaged), keep=1)
        refused += result is None
        assert result is None or tree(result) == expected, at
    assert refused > 20


@pytest.mark.parametrize("length", [1, 511, 512, 513, 2000, len(IMAGE) // 2, len(IMAGE) - 1500])
def test_a_truncated_archive(
    length: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(IMAGE[:length])
    assert run([str(path), "-o", str(tmp_path / "out.tar")]) == 3
    assert error_line(capsys.readouterr().err.encode())
    assert os.listdir(tmp_path) == ["image.tar"]


@pytest.mark.parametrize("phase", ["read", "hash", "write"])
def test_an_input_that_shrinks_while_it_is_read(phase: str, tmp_path: Path) -> None:
    path, out = tmp_path / "image.tar", tmp_path / "out.tar"
    big = layer(File(b"big", b"b" * 3_000_000))
    path.write_bytes(archive([big, LOWER, big]))
    out.write_bytes(b"old")

    def progress(now: str, done: int, total: int) -> None:
        if now == phase:
            os.truncate(path, 700_000)

    with pytest.raises(SquasherError) as raised:
        squasher.squash_archive(path, out, keep_layers=1, progress=progress)
    assert raised.value.exit_code == 3
    assert out.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["image.tar", "out.tar"]


@pytest.mark.parametrize(
    "sent",
    [IMAGE[:100], IMAGE[:5000], IMAGE[:-2000], gzip.compress(IMAGE)[:-20]],
    ids=["header", "layer", "document", "gzip"],
)
def test_a_pipe_that_ends_early(sent: bytes, tmp_path: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "-o", str(tmp_path / "out.tar")],
        env=environment(),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        process.stdin.write(sent)
        process.stdin.flush()
        waits(lambda: pending(process.stdin.fileno()) == 0)  # type: ignore[union-attr]
        _, stderr = process.communicate()
    assert process.returncode == 3
    assert error_line(stderr)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_stdin_that_does_not_block(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """As ssh, node and others leave it behind: it ended where nothing was there yet."""
    image, out = pack(IMAGE), tmp_path / "out.tar"
    source, target = os.pipe()
    os.set_blocking(source, False)
    with subprocess.Popen(
        [*COMMAND, "--quiet", "-o", str(out)],
        env=environment(),
        stdin=source,
        stderr=subprocess.PIPE,
    ) as process:
        for at in range(0, len(image), 700):
            os.write(target, image[at : at + 700])
            waits(lambda: pending(target) == 0 or process.poll() is not None)
        os.close(target)
        os.close(source)
        _, stderr = process.communicate()
    assert (process.returncode, stderr) == (0, b"")
    assert out.exists()


@pytest.mark.parametrize(
    "hostile",
    [
        (File(b"a/" * 20_000 + b"f"),),
        (File(b"a/" * 200_000 + b"f"),),
        (Sparse(b"s", 2**50, [(0, b"x")], "1.0"), Hardlink(b"t", b"s")),
        (Sparse(b"s", 2**62, [(0, b"x")], "0.1"), File(b"other")),
        (
            *(Symlink(b"l%d" % n, b"l%d" % (n + 1)) for n in range(300)),
            Symlink(b"l300", b"l0"),
            File(b"l0/x"),
        ),
        tuple(Symlink(b"s", b"t%d" % n) for n in range(2000)),
        tuple(File(b"%d" % n, xattrs={b"user.%d" % n: b"v" * 2000}) for n in range(500)),
    ],
    ids=["deep", "deeper", "sparse-link", "sparse", "loop", "same", "xattrs"],
)
def test_a_small_image_does_not_take_long_or_become_large(hostile: tuple[object, ...]) -> None:
    """Any bytes end in an image or an error, in time linear in what they unpack to."""
    bad = layer(*hostile)  # type: ignore[arg-type]
    image = archive([bad, bad, LOWER])
    for keep in (0, 1):
        assert len(attempt(image, keep) or b"") < 5 * len(image)


@pytest.mark.parametrize(
    "value", ["[]", "0", '"text"', "null", "true", "{}", "1e999", "[[]]", '"\\ud800"', "-1"]
)
def test_documents_with_values_that_nobody_expects(value: str) -> None:
    """Every value of every document in turn replaced by another: an error of ours or an image."""
    image = archive(SMALL, form="v25", tags=("a:1",))
    members = {b"/".join(e.path).decode(): e.data for e in model.read(image) if e.kind == "file"}
    for name, data in members.items():
        if not data.startswith((b"{", b"[")):
            continue
        for path in places(json.loads(data)):
            changed = with_value(json.loads(data), path, "@@")
            text = json.dumps(changed).replace('"@@"', value).encode()
            result = attempt(repacked(members, name, text))
            for entry in model.read(result or b""):
                if entry.data.startswith((b"{", b"[")):
                    json.loads(entry.data, parse_constant=pytest.fail)


def places(document: object) -> list[tuple[object, ...]]:
    """Return the way to every value inside `document`."""
    found: list[tuple[object, ...]] = [()]
    items: list[tuple[object, object]] = []
    if isinstance(document, dict):
        items = list(document.items())
    elif isinstance(document, list):
        items = list(enumerate(document))
    for key, value in items:
        found += [(key, *rest) for rest in places(value)]
    return found


def with_value(document: object, path: tuple[object, ...], value: object) -> object:
    if not path:
        return value
    copy = dict(document) if isinstance(document, dict) else list(document)  # type: ignore[call-overload]
    copy[path[0]] = with_value(copy[path[0]], path[1:], value)
    return copy


def repacked(members: dict[str, bytes], name: str, data: bytes) -> bytes:
    """Return the archive with another `name`, and what points at it by digest corrected."""
    old, new = sha256(members[name]), sha256(data)
    sizes = (len(members[name]), len(data))
    result: dict[str, bytes | None] = {}
    renamed = name.replace(old, new)
    for other, text in members.items():
        if other == name:
            result[renamed] = data
        elif text.startswith((b"{", b"[")) and old.encode() in text:
            fixed = text.replace(old.encode(), new.encode())
            fixed = fixed.replace(b'"size":%d' % sizes[0], b'"size":%d' % sizes[1])
            inner = {**members, name: data}
            return repacked_again(inner, other, fixed, renamed, name)
        else:
            result.setdefault(other, text)
    return outer_tar(result)


def repacked_again(
    members: dict[str, bytes], name: str, data: bytes, renamed: str, old: str
) -> bytes:
    moved = {renamed if other == old else other: text for other, text in members.items()}
    return repacked(moved, name, data)
