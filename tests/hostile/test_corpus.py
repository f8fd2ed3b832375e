"""Every archive of the corpus through the real command: exit code, message, nothing left behind."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from tests import model
from tests.conformance.check import layers_of
from tests.forms.command import squash
from tests.fuzz import inflate
from tests.hostile import streams
from tests.hostile.case import Case
from tests.hostile.corpus import CASES

#: What the issue asks for; the corpus only grows.
AT_LEAST = 150
#: Places in one archive where both libraries are asked what they make of gzip there.
STREAMS_MAX = 9

#: What is refused because the result would be a trap.
WRITTEN = (
    "limit: names that each repeat long annotations",
    "limit: a large attribute for each of a thousand names",
    "limit: an attribute that fits no header with a long name",
)


def test_the_corpus_is_large_and_its_names_are_its_own() -> None:
    names = Counter(case.name for case in CASES)
    assert len(names) >= AT_LEAST
    assert not [name for name, count in names.items() if count > 1]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_exit_code_and_one_line_or_the_same_image(case: Case, tmp_path: Path) -> None:
    image = case.make()
    for found in islice(re.finditer(rb"\x1f\x8b\x08", image), STREAMS_MAX):
        inflate.compare(image[found.start() :])
    require(case, image, tmp_path)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_diff_takes_and_refuses_what_squash_does(case: Case, tmp_path: Path) -> None:
    """Its applier is another one, with the same bounds; it writes no layer that could be a trap."""
    path, empty = tmp_path / "image.tar", tmp_path / "empty"
    path.write_bytes(case.make())
    empty.mkdir()
    done = squash("diff", "-q", "--tmp-dir", empty, path, path)
    assert os.listdir(empty) == []
    assert done.out == b""
    if case.code == 0 or case.name in WRITTEN:
        assert (done.code, done.err) == (0, "")
        return
    assert done.code == case.code, done.err
    if case.says.startswith("layer "):
        assert done.err.startswith(f"squash: {path}: {case.says}"), done.err


@pytest.mark.parametrize(
    "case", [case for case in streams.cases() if "gzip" in case.name], ids=lambda case: case.name
)
def test_gzip_without_the_extra_fast(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("deflate", "zlib_ng"):
        monkeypatch.setitem(sys.modules, module, None)
    require(case, case.make(), tmp_path)


def require(case: Case, image: bytes, tmp_path: Path) -> None:
    """Require of the command what the case says of its image."""
    done = squash("--tmp-dir", tmp_path, *case.options or ("--keep-layers", "0"), stdin=image)
    assert done.code == case.code, done.err
    assert os.listdir(tmp_path) == []
    if case.code == 0:
        before, after = model.apply(case.layers), model.apply(layers_of(done.out))
        assert model.listing(before) == model.listing(after)
        return
    assert done.out == b""
    line, *rest = done.err.splitlines()
    assert rest == []
    assert line.isprintable()
    assert len(line) < 1000
    assert case.says
    assert line.startswith(f"squash: stdin: {case.says}"), line
