"""Properties of whole images: configs, archives, sizes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

from hypothesis import given, settings
from hypothesis import strategies as st

import squasher
from squasher.digest import Digest
from squasher.image.configs import edit_config, parse_config
from tests.builders import File, archive, layer
from tests.generator import random_image

relaxed = settings(max_examples=40)

seeds = st.integers(0, 10**6)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner)),
    max_leaves=8,
)
KNOWN = ("rootfs", "history", "created", "architecture", "os", "variant")
keys = st.text().filter(lambda key: key.lower() not in (*KNOWN, "moby.buildkit.cache.v0"))
others = st.dictionaries(keys, values, max_size=4).filter(
    lambda found: len({key.lower() for key in found}) == len(found)
)


@relaxed
@given(others, others, st.sampled_from([None, 1, "\t"]), st.booleans(), st.randoms())
def test_editing_a_config_leaves_all_other_bytes(
    before: dict[str, Any], inside: dict[str, Any], indent: Any, ascii_: bool, random: Any
) -> None:
    """Promise 4, rule I1: every key stays as it was, byte-exact numbers included."""
    ids = [str(Digest.of(bytes([n]))) for n in range(3)]
    inside.pop("diff_ids", None)
    members = [*before.items(), ("rootfs", {**inside, "diff_ids": "@ids"}), ("created", "@time")]
    random.shuffle(members)
    text = json.dumps(dict(members), indent=indent, ensure_ascii=ascii_)
    text = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")

    def filled(diff_ids: list[str], time: str) -> bytes:
        compact = json.dumps(diff_ids, separators=(",", ":"))
        return text.replace('"@ids"', compact).replace("@time", time).encode()

    old = parse_config(filled(ids, "2020"))
    new = edit_config(old, [Digest.parse(ids[0])], None, "2024")
    assert new.raw == filled(ids[:1], "2024")


rows = st.lists(
    st.fixed_dictionaries(
        {"created_by": st.text(max_size=5)},
        optional={"empty_layer": st.booleans(), "comment": st.text(max_size=5), "x": scalars},
    ),
    max_size=8,
)


def squashed(
    image: bytes, keep: int, how: Literal["keep", "drop"] = "keep"
) -> tuple[squasher.SquashReport, dict[str, Any]]:
    destination = io.BytesIO()
    report = squasher.squash_archive(io.BytesIO(image), destination, keep_layers=keep, history=how)
    return report, json.loads(report.images[0].image.config.raw)


@relaxed
@given(rows, st.integers(0, 3))
def test_no_row_of_the_history_is_dropped(history: list[dict[str, Any]], keep: int) -> None:
    """`keep`: every row of a squashed layer gets `empty_layer`, order kept, then one new row."""
    full = [n for n, row in enumerate(history) if not row.get("empty_layer")]
    layers = [layer(File(b"f%d" % n)) for n in range(max(len(full), keep + 2))]
    _, config = squashed(archive(layers, history=history), keep)
    found = config["history"]
    if len(full) < keep:
        assert found == history  # too short to tell: no new row
        return
    gone = set(full[keep:])
    assert found[:-1] == [
        {**row, "empty_layer": True} if n in gone else row for n, row in enumerate(history)
    ]
    assert not found[-1].get("empty_layer")
    assert sum(not row.get("empty_layer") for row in found) == keep + 1


@relaxed
@given(rows, st.integers(0, 3))
def test_dropping_leaves_one_row_for_the_squashed_layers(
    history: list[dict[str, Any]], keep: int
) -> None:
    """`drop`: the rows from the first squashed layer's row on go, one row stands in their place."""
    full = [n for n, row in enumerate(history) if not row.get("empty_layer")]
    layers = [layer(File(b"f%d" % n)) for n in range(max(len(full), keep + 2))]
    _, config = squashed(archive(layers, history=history), keep, "drop")
    if len(full) >= keep:
        end = full[keep] if len(full) > keep else len(history)
        assert config["history"][:-1] == history[:end]


@relaxed
@given(seeds, st.sampled_from(["legacy", "v25", "podman"]), st.integers(0, 4))
def test_the_predicted_size_is_the_written_size(seed: int, form: str, keep: int) -> None:
    """The size of the new layer and of the archive are known from the plan."""
    layers = random_image(seed)
    destination = io.BytesIO()
    report = squasher.squash_archive(
        io.BytesIO(archive(layers, form=form)), destination, keep_layers=min(keep, len(layers))
    )
    assert report.size == len(destination.getvalue())
    for made, shown in zip(report.images[0].image.layers, report.images[0].after, strict=True):
        assert made.blob.size == shown.size


@relaxed
@given(seeds, st.integers(0, 3))
def test_the_form_of_the_archive_makes_no_difference(seed: int, keep: int) -> None:
    """Promise 5: new diff_id, config and image ID depend on the image, not on its archive."""
    layers = random_image(seed)
    results = {
        report.images[0].image.config.raw
        for form in ("legacy", "v25", "podman")
        for packed in ((), (0,), range(len(layers)))
        for report, _ in [
            squashed(archive(layers, form=form, gzip_layers=packed), min(keep, len(layers)))
        ]
    }
    assert len(results) == 1


def test_hash_seeds_make_no_difference(tmp_path: Path) -> None:
    """Promise 5: not on hash seeds, the clock or threads: the whole archive, byte for byte."""
    digests = set()
    for seed in range(6):
        (tmp_path / f"{seed}.tar").write_bytes(archive(random_image(seed)))
    code = (
        "import hashlib, io, pathlib, squasher, sys\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).glob('*.tar')):\n"
        "    for keep in (0, 1):\n"
        "        out = io.BytesIO()\n"
        "        squasher.squash_archive(path, out, keep_layers=keep)\n"
        "        print(hashlib.sha256(out.getvalue()).hexdigest())\n"
    )
    root = Path(squasher.__file__).parent.parent
    for hash_seed in ("0", "1", "4711"):
        env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(root)}
        command = [sys.executable, "-c", code, str(tmp_path)]
        digests.add(subprocess.run(command, env=env, capture_output=True, check=True).stdout)
    assert len(digests) == 1
    (text,) = digests
    assert len(text.split()) == 12
    assert hashlib.sha256().hexdigest() not in text.decode()
