"""`-f BASE`: its four forms, what is ambiguous, what is nowhere, and the table that helps."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import squasher
from squasher.archive import source
from squasher.image.model import chain_ids
from tests.builders import sha256
from tests.forms import result
from tests.forms.command import Done, done, failed, squash
from tests.forms.shapes import (
    CREATED,
    LAYERS,
    OCI_LAYER,
    SAMPLE,
    SHAPES,
    Document,
    config_of,
    dump,
    gzipped,
    item,
    pack,
    plain,
    plain_files,
)

HEX = [sha256(data) for data in LAYERS]
CHAIN = [digest.hex for digest in chain_ids([squasher.Digest(each) for each in HEX])]
IMAGE = plain(SAMPLE, LAYERS)
#: Rows of the sample from the newest down, and how many layers stay when they are squashed.
ROWS = {1: 5, 2: 4, 3: 4, 4: 3, 5: 3, 6: 2, 7: 2, 8: 1, 9: 1, 10: 0}


def kept(*options: str | Path, image: bytes = IMAGE) -> int:
    """Return how many layers squashing with these options keeps (the whole if nothing merges)."""
    found = result.read(done(squash(*options, stdin=image)).out)
    layers = found.images[0].layers
    if layers == LAYERS:
        return len(LAYERS)
    assert layers[:-1] == LAYERS[: len(layers) - 1]
    return len(layers) - 1


def table(outcome: Done, message: str) -> list[str]:
    """Require a base that is not found, saying so, with the table; return the table's rows."""
    assert message in failed(outcome, 4), outcome.err
    _, head, *rows = outcome.err.splitlines()
    assert head.startswith("  -f N  -f ID ")
    return rows


# ---------------------------------------------------------------- 1: rows of the history


@pytest.mark.parametrize("rows", ROWS)
def test_the_newest_rows(rows: int) -> None:
    expected = ROWS[rows] if ROWS[rows] < len(LAYERS) - 1 else len(LAYERS)
    assert kept("-f", str(rows)) == expected
    assert kept("-f", f"{rows:05}") == expected


@pytest.mark.parametrize("typed", ["0", "00", "0000", "00000"])
def test_no_rows(typed: str) -> None:
    line = failed(squash("-f", typed, stdin=IMAGE), 2)
    assert line.startswith(
        f"-f {typed}: 0 history rows were asked for; give 1 or more, or leave -f"
    )


@pytest.mark.parametrize("typed", ["11", "0011", "99999"])
def test_too_many_rows(typed: str) -> None:
    told = f"-f {typed}: example.com/team/app:1.0 has 10 history rows, not {int(typed)}"
    assert len(table(squash("-f", typed, stdin=IMAGE), told)) == 10


@pytest.mark.parametrize("typed", ["+1", "-1", "--1", "-0", " 1", "1 ", "+000001", "\u0663"])
def test_a_number_with_more_than_its_digits(typed: str) -> None:
    told = (
        ": is not a number of history rows; write it with the digits 0 to 9, without space or sign"
    )
    assert len(table(squash("-f", typed, stdin=IMAGE), told)) == 10


@pytest.mark.parametrize("base", ["", " ", "\t"])
def test_an_empty_base(base: str) -> None:
    line = failed(squash("-f", base, stdin=IMAGE), 2)
    assert "the base is empty; leave -f out to merge all layers into one" in line


def test_six_digits_are_a_digest() -> None:
    table(squash("-f", "000000", stdin=IMAGE), "example.com/team/app:1.0 has no layer of that name")


@pytest.mark.parametrize("count", [1, 3, 6])
def test_rows_of_a_history_that_cannot_be_mapped(count: int) -> None:
    """Lambda's base images, nix2container: nobody can tell which row has which layer."""
    rows = [
        {"created_by": "CMD", "empty_layer": True},
        *({"created_by": "r"} for _ in range(count)),
    ]
    image = plain(config_of(history=rows), LAYERS)
    for n in ("1", "2", "7"):
        ended = squash("-f", n, stdin=image)
        told = f"has 5 layers, but its history has rows for {count}: "
        shown = table(ended, told)
        assert "--keep-layers K" in ended.err
        assert all(row.split()[0] == "-" for row in shown)
        assert [row.split()[1] for row in shown[-5:]] == [chain[:24] for chain in CHAIN]
        assert sum("(no history)" in row for row in shown) == 5
    found = json.loads(done(squash("inspect", "--json", stdin=image)).out)["images"][0]
    assert [row["layer"] for row in found["history"]] == [*([None] * (count + 1)), *range(5)]
    assert {layer["created_by"] for layer in found["layers"]} == {""}


@pytest.mark.parametrize("history", [None, []])
def test_rows_of_no_history(history: Any) -> None:
    image = plain(config_of(history=history), LAYERS)
    assert [kept("-f", str(n), image=image) for n in range(2, 6)] == [3, 2, 1, 0]


@pytest.mark.parametrize("how", ["keep", "drop"])
def test_rows_that_say_more_than_the_layers_lose_theirs(how: str) -> None:
    rows = [{"created_by": str(n)} for n in range(6)]
    image = plain(config_of(history=rows), LAYERS)
    ended = done(squash("--keep-layers", "2", "--history", how, stdin=image))
    assert (
        "history has rows for 6 layers, but the image has 5 layers: the newest rows become"
        in ended.err
    )
    written = result.read(ended.out).one
    assert len(written.layers) == 3
    history = written.config["history"]
    assert [row.get("empty_layer", False) for row in history] == (
        [False] * 2 + [True] * 4 + [False] if how == "keep" else [False] * 3
    )
    assert [row["created_by"] for row in history[:2]] == ["0", "1"]


# ---------------------------------------------------------------- 2: digests


@pytest.mark.parametrize("layer", range(3))
@pytest.mark.parametrize("prefix", ["", "sha256:"])
@pytest.mark.parametrize("digits", [6, 12, 63, 64])
def test_a_layer_by_diff_id_and_chain_id(layer: int, prefix: str, digits: int) -> None:
    for known in (HEX, CHAIN):
        assert kept("-f", prefix + known[layer][:digits]) == layer + 1
    assert kept("-f", prefix + CHAIN[layer][:digits].upper()) == layer + 1


def test_a_layer_by_its_blob() -> None:
    archive = SHAPES["docker-29"]().archive
    for layer in range(3):
        assert kept("-f", sha256(gzipped(LAYERS[layer])), image=archive) == layer + 1


def test_a_layer_by_its_folder_in_an_old_archive() -> None:
    archive = SHAPES["docker-20.10"]().archive
    listed = json.loads(_member(archive, "manifest.json"))[0]["Layers"]
    for layer, name in enumerate(listed[:3]):
        assert kept("-f", name.split("/")[0], image=archive) == layer + 1
        assert kept("-f", name[:9], image=archive) == layer + 1


def _member(archive: bytes, name: str) -> bytes:
    return plain_files(archive)[name]


@pytest.mark.parametrize("base", ["sha256:" + HEX[0][:5], "sha256:", "f" * 64, "sha256:" + "f" * 7])
def test_a_digest_that_is_nowhere(base: str) -> None:
    assert len(table(squash("-f", base, stdin=IMAGE), f"-f {base}")) == 10


def test_the_same_layer_twice_is_ambiguous_and_chain_ids_are_offered() -> None:
    layers = (LAYERS[0], LAYERS[1], LAYERS[0], LAYERS[2])
    chain = chain_ids([squasher.Digest(sha256(data)) for data in layers])
    image = plain(config_of(layers), layers)
    outcome = squash("-f", HEX[0], stdin=image)
    assert "2 layers of example.com/team/app:1.0 fit; give one of the" in failed(outcome, 4)
    lines = [f"  {chain[i]} (layer {i + 1}, diff_id)" for i in (0, 2)]
    assert outcome.err.splitlines()[1:3] == lines
    assert outcome.err.splitlines()[3].startswith("  -f N  -f ID ")
    found = result.read(done(squash("-f", str(chain[2]), stdin=image)).out)
    assert len(found.one.layers) == 4
    found = result.read(done(squash("-f", str(chain[1]), stdin=image)).out)
    assert len(found.one.layers) == 3


# ---------------------------------------------------------------- 2 and 3: another image


def several(
    base_layers: Sequence[bytes] = LAYERS[:2], name: str = "debian:12", **config: Any
) -> tuple[bytes, bytes]:
    """Return an archive of the sample and its base, and the base's config."""
    base = dump(config_of(base_layers, **config))
    files = {f"{sha256(data)}.tar": data for data in (*LAYERS, *base_layers)}
    items = [
        item("app.json", [f"{h}.tar" for h in HEX], ["app:1"]),
        item("base.json", [f"{sha256(x)}.tar" for x in base_layers], [name]),
    ]
    return pack(
        {**files, "app.json": SAMPLE, "base.json": base, "manifest.json": dump(items)}
    ), base


@pytest.mark.parametrize(
    "base",
    [
        "debian:12",
        "docker.io/library/debian:12",
        "docker.io/debian:12",
        "index.docker.io/debian:12",
    ],
)
def test_another_image_by_its_name(base: str) -> None:
    assert kept("-f", base, "--image", "app:1", image=several()[0]) == 2


def test_a_name_without_a_tag_is_latest() -> None:
    archive = several(name="debian:latest")[0]
    assert kept("-f", "debian", "--image", "app:1", image=archive) == 2
    table(squash("-f", "debian", "--image", "app:1", stdin=several()[0]), "-f debian")


def test_another_image_by_its_id() -> None:
    archive, base = several()
    for name in (sha256(base), "sha256:" + sha256(base), sha256(base)[:6]):
        assert kept("-f", name, "--image", "app:1", image=archive) == 2


def test_a_name_that_could_be_a_digest() -> None:
    archive = several(name="decade:latest")[0]
    assert kept("-f", "decade", "--image", "app:1", image=archive) == 2


def test_a_base_must_be_found_in_every_image() -> None:
    archive = several()[0]
    assert "of that name" in failed(squash("-f", CHAIN[2], stdin=archive), 4)
    reports = done(squash("-f", "debian:12", stdin=archive))
    first, second = result.read(reports.out).images
    assert (len(first.layers), len(second.layers)) == (3, 2)


def test_another_image_that_is_no_base() -> None:
    archive = several((LAYERS[0], LAYERS[2]))[0]
    outcome = squash("-f", "debian:12", "--image", "app:1", stdin=archive)
    table(outcome, "is not the base of app:1: its layer 2 is sha256:")
    assert f"layer 2 is sha256:{HEX[2]}, the image has sha256:{HEX[1]}" in outcome.err


def test_another_image_that_has_more_layers() -> None:
    archive = several((*LAYERS, LAYERS[0]))[0]
    outcome = squash("-f", "debian:12", "--image", "app:1", stdin=archive)
    table(outcome, "it has 6 layers, app:1 has 5")


def test_another_platform_of_the_same_name_is_no_obstacle() -> None:
    """Two images are called so; the one that fits is the base."""
    other = dump(config_of((LAYERS[4],), architecture="arm64"))
    base = dump(config_of(LAYERS[:2]))
    files = {f"{h}.tar": data for h, data in zip(HEX, LAYERS, strict=True)}
    items = [
        item("other.json", [f"{HEX[4]}.tar"], ["debian:12"]),
        item("base.json", [f"{h}.tar" for h in HEX[:2]], ["debian:12"]),
        item("app.json", [f"{h}.tar" for h in HEX], ["app:1"]),
    ]
    documents = {"other.json": other, "base.json": base, "app.json": SAMPLE}
    archive = pack({**files, **documents, "manifest.json": dump(items)})
    assert kept("-f", "debian:12", "--image", "app:1", image=archive) == 2


# ---------------------------------------------------------------- 4: archives and transports


def base_archive(layers: Sequence[bytes] = LAYERS[:2], **config: Any) -> bytes:
    """Return the archive of a base."""
    return plain(config_of(layers, **config), layers, tags=("debian:12",))


def test_an_archive_that_is_the_base(tmp_path: Path) -> None:
    path = tmp_path / "base.tar"
    path.write_bytes(base_archive())
    assert kept("-f", path) == 2
    assert kept("-f", f"docker-archive:{path}") == 2
    assert kept("-f", f"docker-archive:{path}:debian:12") == 2
    path.write_bytes(gzipped(base_archive()))
    assert kept("-f", path) == 2


def test_a_layout_that_is_the_base(tmp_path: Path) -> None:
    folder = tmp_path / "layout"
    for name, data in SHAPES["umoci-layout"]().files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    assert kept("-f", f"oci:{folder}:base") == 2
    assert "no image none" in failed(squash("-f", f"oci:{folder}:none", stdin=IMAGE), 4)


def test_a_base_stored_in_another_way_is_the_base(tmp_path: Path) -> None:
    """Layers are compared by diff_id, not as they are stored."""
    path = tmp_path / "base.tar"
    archive = io.BytesIO()
    squasher.squash_archive(
        io.BytesIO(base_archive()), archive, keep_layers=2, form="oci", compress="gzip"
    )
    path.write_bytes(archive.getvalue())
    assert kept("-f", f"oci-archive:{path}", image=SHAPES["skopeo-oci-archive"]().archive) == 2


@pytest.mark.parametrize("form", ["pipe", "transport", "compressed"])
def test_a_base_that_is_copied_is_not_hashed(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what it says of its layers is needed."""
    hashed: list[int] = []

    class Hash:
        def __init__(self) -> None:
            self._hash = hashlib.sha256()
            self.hexdigest = self._hash.hexdigest

        def update(self, data: bytes) -> None:
            hashed.append(len(data))
            self._hash.update(data)

    monkeypatch.setattr(source, "hashlib", SimpleNamespace(sha256=Hash))
    path, data = tmp_path / "base", base_archive()
    if form == "compressed":
        path.write_bytes(gzip.compress(data))
    else:
        os.mkfifo(path)
        threading.Thread(target=path.write_bytes, args=(data,)).start()
    prefix = "docker-archive:" if form == "transport" else ""
    assert kept("-f", f"{prefix}{path}") == 2
    assert hashed == []
    image = gzip.compress(IMAGE)
    assert kept("--keep-layers", "2", image=image) == 2
    assert sum(hashed) > len(image)


def test_an_archive_that_is_no_base(tmp_path: Path) -> None:
    path = tmp_path / "base.tar"
    path.write_bytes(base_archive((LAYERS[0], LAYERS[3])))
    table(
        squash("-f", path, stdin=IMAGE),
        "is not the base of example.com/team/app:1.0: its layer 2 is",
    )
    path.write_bytes(b"no archive")
    assert "not a tar archive" in failed(squash("-f", path, stdin=IMAGE), 3)
    (tmp_path / "folder").mkdir()
    assert "holds no image" in failed(squash("-f", tmp_path / "folder", stdin=IMAGE), 3)


def test_an_archive_that_is_not_there(tmp_path: Path) -> None:
    assert "No such file" in failed(squash("-f", f"oci-archive:{tmp_path}/x", stdin=IMAGE), 3)
    table(squash("-f", f"{tmp_path}/None.tar", stdin=IMAGE), "")


def test_an_archive_that_holds_several_bases(tmp_path: Path) -> None:
    """It is not the order in the archive that decides."""
    path = tmp_path / "bases.tar"
    for count in (1, 3):
        path.write_bytes(several(LAYERS[:count])[0])
        outcome = squash("-f", path, stdin=IMAGE)
        assert "is built on several of its images; name one as" in failed(outcome, 4)
        lines = ["  app:1 (--keep-layers 5)", f"  debian:12 (--keep-layers {count})"]
        assert outcome.err.splitlines()[1:3] == lines
        assert kept("-f", f"docker-archive:{path}:debian:12") == count


def test_a_base_from_a_pipe_serves_all_images(tmp_path: Path) -> None:
    path = tmp_path / "base"
    os.mkfifo(path)
    threading.Thread(target=path.write_bytes, args=(base_archive(),)).start()
    found = result.read(done(squash("-f", path, stdin=several()[0])).out)
    assert [len(image.layers) for image in found.images] == [3, 2]


def test_the_digest_of_a_blob_that_the_archive_does_not_name() -> None:
    layers = [gzipped(data) for data in LAYERS]
    files = {f"{i}.tar": data for i, data in enumerate(layers)}
    items = [item("app.json", list(files), ["app:1"])]
    image = pack({**files, "app.json": SAMPLE, "manifest.json": dump(items)})
    for count in (1, 3):
        text = sha256(layers[count - 1])[:12]
        found = result.read(done(squash("-f", text, stdin=image)).out)
        assert len(found.one.layers) == count + 1
    table(squash("-f", "abcdef012345", stdin=image), "app:1 has no layer of that name")


def test_a_prefix_of_several_image_ids() -> None:
    """The prefix of six digits that both have is looked for, by the time of one of them."""
    configs: dict[str, bytes] = {}
    for second in range(1 << 16):
        config = dump(config_of(LAYERS[:1], created=f"2020-01-01T00:00:00.{second:09}Z"))
        twin = configs.setdefault(sha256(config)[:6], config)
        if twin is not config:
            break
    files = {"l.tar": LAYERS[0], "a.json": twin, "b.json": config}
    items = [item("a.json", ["l.tar"], ["a:1"]), item("b.json", ["l.tar"], ["b:1"])]
    files |= {f"{h}.tar": data for h, data in zip(HEX, LAYERS, strict=True)}
    items.append(item("app.json", [f"{h}.tar" for h in HEX], ["app:1"]))
    image = pack({**files, "app.json": SAMPLE, "manifest.json": dump(items)})
    prefix = sha256(config)[:6]
    for outcome, says in (
        (squash("--image", "app:1", "-f", prefix, stdin=image), "2 images of the archive fit; "),
        (squash("--image", prefix, stdin=image), f"2 images fit {prefix}; "),
    ):
        assert says in failed(outcome, 4)
        lines = outcome.err.splitlines()[1:3]
        assert sorted(lines) == sorted(f"  sha256:{sha256(x)}" for x in (twin, config))


def test_a_base_that_other_tools_have() -> None:
    line = failed(squash("-f", "docker://debian", stdin=IMAGE), 2)
    assert "the transport docker:// is not supported; run `skopeo copy docker://debian" in line


def test_stdin_is_no_base() -> None:
    table(squash("-f", "-", stdin=IMAGE), "-f -")


def test_the_image_itself_as_its_base() -> None:
    archive = several()[0]
    line = failed(squash("-f", "app:1", "--image", "app:1", stdin=archive), 4)
    assert "-f app:1: is the image itself" in line


# ---------------------------------------------------------------- history


def rows_of(*options: str | Path, image: bytes = IMAGE) -> list[Document]:
    """Return the history of the result."""
    found = result.read(done(squash(*options, stdin=image)).out)
    history: list[Document] = found.one.config["history"]
    return history


def test_history_keep_empties_the_rows_and_adds_one() -> None:
    rows = rows_of("-f", CHAIN[1])
    assert [row["created_by"] for row in rows] == [
        *(f"{text}{n}{more}" for n in range(5) for text, more in PAIRS),
        "",
    ]
    assert [row.get("empty_layer", False) for row in rows] == [
        *(False, True, False, True),
        *(True,) * 6,
        False,
    ]
    assert rows[-1] == {
        "created": CREATED,
        "created_by": "",
        "comment": f"merge sha256:{sha256(SAMPLE)} to sha256:{CHAIN[1]}",
    }


PAIRS = (("RUN step ", " # buildkit"), ("ENV N=", ""))


def test_history_drop_puts_one_row_in_their_place() -> None:
    """Empty rows directly above the last kept layer stay: they may be the base's own."""
    rows = rows_of("-f", CHAIN[1], "--history", "drop", "-m", "all in one")
    made_by = [row["created_by"] for row in rows]
    expected = ["RUN step 0 # buildkit", "ENV N=0", "RUN step 1 # buildkit", "ENV N=1", ""]
    assert made_by == expected
    assert rows[-1]["comment"] == "all in one"


def test_history_drop_of_everything() -> None:
    (row,) = rows_of("--history", "drop")
    assert row["comment"] == f"create new from sha256:{sha256(SAMPLE)}"


def base_rows(count: int) -> list[Document]:
    """Return the first rows of the sample."""
    rows: list[Document] = json.loads(SAMPLE)["history"][:count]
    return rows


@pytest.mark.parametrize(("count", "stays"), [(3, 3), (4, 4)])
def test_history_drop_with_a_base_that_says_where_its_history_ends(
    count: int, stays: int, tmp_path: Path
) -> None:
    path = tmp_path / "base.tar"
    path.write_bytes(base_archive(history=base_rows(count)))
    rows = rows_of("-f", path, "--history", "drop")
    assert rows[:-1] == base_rows(stays)
    assert len(rows) == stays + 1
    archive = several(history=base_rows(count))[0]
    options = ("-f", "debian:12", "--image", "app:1", "--history", "drop")
    assert rows_of(*options, image=archive)[:-1] == base_rows(stays)


@pytest.mark.parametrize("history", [None, [], [{"created_by": "another"}, {"created_by": "x"}]])
def test_a_base_whose_history_is_another_splits_by_layers(history: Any, tmp_path: Path) -> None:
    path = tmp_path / "base.tar"
    path.write_bytes(base_archive(history=history))
    assert kept("-f", path) == 2
    assert rows_of("-f", path, "--history", "drop")[:-1] == base_rows(4)


def test_a_base_whose_history_says_less_than_its_layers(tmp_path: Path) -> None:
    """The base has one row for two layers: the first of the image's rows is the base's alone."""
    path = tmp_path / "base.tar"
    path.write_bytes(base_archive(history=base_rows(2)))
    assert kept("-f", path) == 2
    rows = rows_of("-f", path, "--history", "drop")
    assert sum(not row.get("empty_layer") for row in rows) == 3


def test_history_of_too_few_rows_with_either_option() -> None:
    image = plain(config_of(history=base_rows(2)), LAYERS)
    for how in ("keep", "drop"):
        outcome = done(squash("-f", CHAIN[1], "--history", how, stdin=image))
        assert result.read(outcome.out).one.config["history"] == base_rows(2)
        assert "it gets no new row" in outcome.err


def test_history_drop_without_rows_of_the_squashed_layers() -> None:
    rows = rows_of(
        "-f", CHAIN[1], "--history", "drop", image=plain(config_of(history=base_rows(4)), LAYERS)
    )
    assert rows[:-1] == base_rows(4)
    assert len(rows) == 5


# ---------------------------------------------------------------- what is nowhere


def test_a_name_that_is_nowhere_is_explained() -> None:
    outcome = squash("-f", "debian:12", stdin=IMAGE)
    rows = table(outcome, "a saved image does not know its base's name")
    line = outcome.err.splitlines()[0]
    assert "-f docker-daemon:debian:12" in line
    assert (
        "`docker save example.com/team/app:1.0 debian:12 | squash --image example.com/team/app:1.0"
        " -f debian:12`"
    ) in line
    assert "give one of the chain IDs below" in line
    assert len(rows) == 10
    assert rows[0].split()[:2] == ["9", CHAIN[0][:24]]
    assert rows[1].split()[:2] == ["8", "ENV"]


def test_what_the_table_offers_can_be_typed() -> None:
    rows = table(squash("-f", "debian:12", stdin=IMAGE), "")
    words = [row.split() for row in rows]
    chains = [(row[0], row[1]) for row in words if len(row[1]) == 24]
    assert len(chains) == 5
    for layer, (above, chain) in enumerate(chains[:3]):
        assert kept("-f", chain) == layer + 1 == kept("-f", above)


def test_an_image_without_a_name_is_called_app() -> None:
    image = plain(SAMPLE, LAYERS, tags=())
    assert "`docker save app debian:12 |" in failed(squash("-f", "debian:12", stdin=image), 4)


@pytest.mark.parametrize(
    ("base", "near"), [("debain:12", "debian:12"), (CHAIN[1][:10] + "0", CHAIN[1][:24])]
)
def test_the_nearest_names(base: str, near: str) -> None:
    line = failed(squash("-f", base, "--image", "app:1", stdin=several()[0]), 4)
    assert "did you mean " in line
    assert near in line


def test_too_many_to_keep() -> None:
    rows = table(squash("--keep-layers", "6", stdin=IMAGE), "cannot keep 6 layers")
    assert len(rows) == 10
    failed(squash("--keep-layers", "-1", stdin=IMAGE), 2)


def test_the_table_is_no_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    long = [{"created_by": "RUN " + "x" * 300 + "\x1b[2J\n"}]
    image = plain(config_of(history=long), LAYERS)
    for columns in (60, 100):
        monkeypatch.setenv("COLUMNS", str(columns))
        rows = table(squash("-f", "Nothing at all", stdin=image), "")
        assert max(map(len, rows)) == columns
        assert rows[0].endswith("…")
    monkeypatch.setenv("COLUMNS", "400")
    rows = table(squash("-f", "Nothing at all", stdin=image), "")
    assert rows[0].endswith("x\\x1b[2J")


def test_the_library_gives_the_image_with_the_error() -> None:
    with (
        squasher.open_archive(io.BytesIO(IMAGE)) as archive,
        pytest.raises(squasher.BaseNotFoundError) as caught,
    ):
        squasher.squash(archive.images[0], "debian:12")
    assert caught.value.image is not None
    assert caught.value.image.config == archive.images[0].config
    assert OCI_LAYER in caught.value.image.layers[0].blob.media_type
