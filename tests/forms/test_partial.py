"""`--partial` leaves out the blobs of kept layers, `--blobs-from` says where they lie."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import squasher
from squasher.archive.lay_out import Written
from tests.builders import Dir, File, Whiteout, archive, layer, outer_tar, sha256
from tests.forms import result
from tests.forms.command import done, failed, squash
from tests.forms.daemon import Daemon, running
from tests.forms.shapes import SHAPES, Folder, plain_files

BASE = layer(Dir(b"etc"), File(b"etc/release", b"12"))
OLD = layer(Dir(b"app"), File(b"app/a", b"a" * 5000), File(b"app/b", b"b" * 5000))
NEW = layer(Dir(b"app"), File(b"app/a", b"a" * 5000), File(b"app/c", b"c"))
GONE = layer(Whiteout(b"app/b"), File(b"app/d", b"d"))
FIRST, SECOND, THIRD = [BASE, OLD], [BASE, NEW], [BASE, NEW, GONE]
SCHEMA = json.loads(
    (Path(squasher.__file__).parent.parent / "docs/schema/report-1.json").read_text()
)


def blob(data: bytes) -> str:
    return f"blobs/sha256/{sha256(data)}"


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Give the release that hosts have: the layers BASE and OLD."""
    path = tmp_path / "release-1.0.tar"
    path.write_bytes(archive(FIRST, tags=["app:1.0"]))
    return path


@pytest.fixture
def update(release: Path, tmp_path: Path) -> Path:
    """Give the update to 1.1 as a partial archive."""
    path = tmp_path / "update-1.1.tar"
    image = archive(SECOND, tags=["app:1.1"])
    done(squash("--onto", release, "--partial", "--verify", "-o", path, stdin=image))
    return path


def whole(partial: bytes, *layers: bytes) -> Folder:
    """Return the files of a partial archive, with these layers."""
    files = result.unpack(partial)
    more = {blob(data): data for data in layers}
    assert not files.keys() & more.keys()
    return dict(sorted((files | more).items()))


BASES: list[tuple[str, ...]] = [("-f", "2"), ("--keep-layers", "1"), ("--onto", "{}")]


@pytest.mark.parametrize("form", ["docker", "oci"])
@pytest.mark.parametrize("packed", [(), (0, 1, 2)])
@pytest.mark.parametrize("base", BASES, ids=lambda words: words[0])
def test_a_partial_archive_is_the_whole_one_without_kept_layers(
    base: tuple[str, ...], packed: tuple[int, ...], form: str, release: Path, tmp_path: Path
) -> None:
    words = [*(word.format(release) for word in base), "--format", form]
    image = archive(THIRD, form="v25", gzip_layers=packed)
    expected = result.unpack(done(squash(*words, stdin=image)).out)
    report = tmp_path / "report.json"
    ended = done(squash(*words, "--partial", "--verify", "--report", report, stdin=image))
    result.read(whole(ended.out, *kept_blobs(expected, base)))
    assert whole(ended.out, *kept_blobs(expected, base)) == expected
    document = json.loads(report.read_text())
    jsonschema.validate(document, SCHEMA)
    left_out = document["partial"]
    kept = kept_blobs(expected, base)
    assert left_out["layers"] == [f"sha256:{sha256(data)}" for data in kept]
    assert left_out["size"] == sum(map(len, kept))
    assert document["archive_size"] == len(ended.out)
    assert f"partial  {len(kept)} layer{'s' * (len(kept) != 1)}, " in ended.err


def kept_blobs(files: Folder, base: tuple[str, ...]) -> list[bytes]:
    """Return the blobs that the options `base` keep, as the archive stores them."""
    manifest = result.read(files).one.manifest
    count = len(FIRST) if base[0] == "--onto" else 1
    return [files["blobs/" + x["digest"].replace(":", "/")] for x in manifest["layers"][:count]]


def test_nothing_differs_and_nothing_is_squashed(release: Path) -> None:
    ended = done(squash("--onto", release, "--partial", "--verify", stdin=archive(FIRST)))
    assert result.read(whole(ended.out, *FIRST)).one.layers == (BASE, OLD)
    ended = done(squash("--keep-layers", "1", "--partial", "--verify", stdin=archive(FIRST)))
    assert result.read(whole(ended.out, BASE)).one.layers == (BASE, OLD)
    ended = done(squash("--keep-layers", "0", "--partial", "--verify", stdin=archive(FIRST)))
    assert len(result.read(ended.out).one.layers) == 1
    assert "partial  0 layers, 0 B, left out: only hosts" in ended.err


def test_a_layer_that_is_kept_and_new_is_there() -> None:
    """Loaders that have the lower one read the new one anyway."""
    empty = layer()
    image = archive([empty, layer(File(b"f")), layer(Whiteout(b"f"))])
    ended = done(squash("--keep-layers", "1", "--partial", "--verify", stdin=image))
    assert result.read(ended.out).one.layers == (empty, empty)


@pytest.mark.parametrize("shape", ["several-images", "buildx-oci"])
def test_several_images(shape: str, tmp_path: Path) -> None:
    source = tmp_path / "in.tar"
    source.write_bytes(SHAPES[shape]().archive)
    words = (source, "--keep-layers", "1", "--format", "oci", "--verify")
    files = result.unpack(done(squash(*words)).out)
    partial = result.unpack(done(squash(*words, "--partial")).out)
    kept = {image.blobs[0] for image in result.read(files).images}
    assert files == partial | {blob(data): data for data in kept}
    assert not partial.keys() & {blob(data) for data in kept}
    out = tmp_path / "out.tar"
    done(squash(*words, "--partial", "-o", out))
    told = done(squash("inspect", out, "--blobs-from", source)).out.decode()
    assert f"--blobs-from {source} {out} -o squashed.tar" in told  # the line to copy works


def test_into_a_layout(release: Path, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    words = ("--onto", release, "--partial", "--verify", "-o", f"oci:{layout}:1.1")
    done(squash(*words, stdin=archive(SECOND)))
    assert not (layout / blob(BASE)).exists()
    line = failed(squash("inspect", layout), 3)
    assert f"{blob(BASE)}: is not in the archive; name an archive that has layer" in line
    done(squash("inspect", f"oci:{layout}:1.1", "--blobs-from", release))


# ---------------------------------------------------------------- read back


def test_without_the_layers_it_is_refused(update: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.tar"
    other.write_bytes(archive([NEW]))
    for words in (
        (update,),
        ("inspect", update),
        ("diff", update, update),
        (update, "--blobs-from", other),
        ("inspect", update, "--blobs-from", other),
        ("diff", update, update, "--blobs-from", other),
        ("--onto", update, other),
        ("-f", update, other),
    ):
        line = failed(squash(*words), 3)
        assert f"{update}: manifest.json[0].Layers[0]: " in line
        assert line.endswith(
            f"{blob(BASE)}: is not in the archive; name an archive that has layer 1 of 3:"
            " --blobs-from ARCHIVE"
        )


def test_a_layer_of_several_that_is_nowhere(update: Path, tmp_path: Path) -> None:
    base = tmp_path / "base.tar"
    base.write_bytes(archive([BASE]))
    line = failed(squash("inspect", update, "--blobs-from", base), 3)
    assert f"{blob(OLD)}: is not in the archive; name an archive that has layer 2 of" in line


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
    monkeypatch.delenv("DOCKER_TLS_VERIFY", raising=False)
    with running() as state:
        monkeypatch.setenv("DOCKER_HOST", state.host)
        yield state


@pytest.mark.parametrize("form", ["legacy", "v25", "podman", "oci", "gzip", "folder", "transport"])
def test_any_form_lends(form: str, update: Path, tmp_path: Path) -> None:
    lender = tmp_path / "lender"
    data = archive(FIRST, form=form if form in ("legacy", "podman", "oci") else "v25")
    place = str(lender)
    if form == "folder":
        for name, content in files_of(data).items():
            (lender / name).parent.mkdir(parents=True, exist_ok=True)
            (lender / name).write_bytes(content)
    else:
        lender.write_bytes(gzip.compress(data) if form == "gzip" else data)
        place = f"docker-archive:{lender}" if form == "transport" else place
    image = tmp_path / "1.1.tar"
    image.write_bytes(archive(SECOND, tags=["app:1.1"]))
    done(squash("diff", "--blobs-from", place, image, update))
    ended = done(squash("inspect", "--blobs-from", place, update))
    assert "app:1.1" in ended.out.decode()
    ended = done(squash(update, "--blobs-from", place))
    (all_in_one,) = result.read(ended.out).one.layers
    assert result.tree((all_in_one,)) == result.tree(tuple(SECOND))


def files_of(data: bytes) -> Folder:
    from tests import model

    return {b"/".join(entry.path).decode(): entry.data for entry in model.read(data) if entry.data}


def test_the_daemon_lends(update: Path, daemon: Daemon) -> None:
    ids = [f"sha256:{sha256(data)}" for data in FIRST]
    daemon.put("app:1.0", "sha256:" + "1" * 64, ids, archive(FIRST))
    done(squash("inspect", update, "--blobs-from", "docker-daemon:app:1.0"))


def test_a_sparse_layout(tmp_path: Path) -> None:
    """An OCI layout whose base lies elsewhere, compressed, is read and written as if it were whole.

    Source: image-spec, image-layout.md: "blobs MAY be missing".
    """
    files = files_of(archive(THIRD, form="oci", gzip_layers=(0, 1, 2)))
    base = next(name for name in files if files[name].startswith(b"\x1f\x8b"))
    full, sparse = tmp_path / "full.tar", tmp_path / "sparse"
    full.write_bytes(outer_tar(files))
    lender = tmp_path / "lender"
    for folder, kept in ((sparse, files.keys() - {base}), (lender, {base})):
        for name in kept:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(files[name])
    line = failed(squash("--keep-layers", "1", sparse), 3)
    assert f"{base}: is not in the archive" in line
    words = ("--keep-layers", "1", "--verify")
    expected = done(squash(*words, full)).out
    # A folder with blobs and nothing else will do.
    assert done(squash(*words, sparse, "--blobs-from", lender)).out == expected


def test_the_chain(release: Path, update: Path, tmp_path: Path) -> None:
    """1.0 whole, 1.1 onto it as a part, 1.2 onto that as a part, each read with those below."""
    image = archive(THIRD, tags=["app:1.2"])
    second = tmp_path / "update-1.2.tar"
    words = ("--onto", update, "--blobs-from", release, "--partial", "--verify", "-o", second)
    done(squash(*words, stdin=image))
    files = result.unpack(second.read_bytes())
    names = [name for name in files if name.startswith("blobs/") and files[name][257:262]]
    assert len([x for x in names if files[x][257:262] == b"ustar"]) == 1
    source = tmp_path / "1.2.tar"
    source.write_bytes(image)
    lenders = ("--blobs-from", release, "--blobs-from", update)
    done(squash("diff", *lenders, source, second))
    for missing in ((), lenders[:2], lenders[2:]):
        assert "is not in the archive" in failed(squash("diff", *missing, source, second), 3)
    with squasher.open_archive(second, blobs_from=[str(release), str(update)]) as found:
        assert found.images[0].tags == ("app:1.2",)
        assert len(found.images[0].layers) == 4


def test_a_layer_of_the_archive_is_not_lent(release: Path, tmp_path: Path) -> None:
    """What is there counts, and is not checked against another archive."""
    damaged = tmp_path / "damaged.tar"
    damaged.write_bytes(archive(FIRST, form="v25").replace(b"a" * 5000, b"A" * 5000))
    done(squash("inspect", release, "--blobs-from", damaged))


def test_damage_in_a_lender_is_found(update: Path, tmp_path: Path) -> None:
    lender = tmp_path / "lender.tar"
    for form in ("v25", "legacy"):
        data = archive(FIRST, form=form)
        lender.write_bytes(data.replace(b"b" * 5000, b"B" * 5000))
        line = failed(squash("inspect", update, "--blobs-from", lender), 3)
        assert "layer 2 of 3: " in line
        assert f"expected sha256:{sha256(OLD)}" in line
    lender.write_bytes(outer_tar({"manifest.json": b"[", "x": b"y"}))
    line = failed(squash("inspect", update, "--blobs-from", lender), 3)
    assert f"{lender}: manifest.json" in line


def test_a_lender_may_lack_what_its_own_manifest_names(update: Path, tmp_path: Path) -> None:
    lender, base = tmp_path / "lender.tar", tmp_path / "base.tar"
    listed = [
        {"Config": "gone.json", "RepoTags": [], "Layers": []},
        {"Config": "config.json", "RepoTags": [], "Layers": ["gone.tar", "here.tar", "z.tar"]},
    ]
    ids = [f"sha256:{sha256(data)}" for data in (BASE, OLD, NEW)]
    config = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": ids}}
    files = {
        "manifest.json": json.dumps(listed).encode(),
        "config.json": json.dumps(config).encode(),
        "here.tar": OLD,
        "z.tar": gzip.compress(NEW),  # under a digest that nobody says
    }
    lender.write_bytes(outer_tar(files))
    base.write_bytes(archive([BASE]))
    done(squash("inspect", update, "--blobs-from", lender, "--blobs-from", base))
    base.write_bytes(archive([BASE], form="oci"))  # a layout: it has no manifest.json
    done(squash("inspect", update, "--blobs-from", base, "--blobs-from", lender))


def test_nobody_lends_what_is_not_named_by_its_digest(release: Path, tmp_path: Path) -> None:
    """Archives of docker before 25 call layers by names of their own."""
    other = tmp_path / "other.tar"
    files = plain_files(archive(FIRST, form="legacy"))
    gone = json.loads(files["manifest.json"])[0]["Layers"][0]
    del files[gone]
    other.write_bytes(outer_tar(files))
    line = failed(squash("inspect", other, "--blobs-from", release), 3)
    assert f"'{gone}': is not in the archive" in line


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--partial"], 2, "--partial: needs -f, --keep-layers or --onto"),
        (["--blobs-from", "-"], 2, "--blobs-from -: give a path or a transport"),
        (["--blobs-from", ""], 2, "--blobs-from: the name is empty"),
        (["--blobs-from", "no-such.tar"], 3, "--blobs-from: no-such.tar: cannot be read: No such"),
        (["--blobs-from", "oci:{}"], 3, "is a file"),
        (["--blobs-from", "/dev/null"], 3, "--blobs-from: /dev/null: "),
        (["--blobs-from", "docker://x"], 2, "the transport docker:// is not supported"),
        (["--blobs-from", "{}", "--report", "{}"], 2, "squash reads the image from this file"),
    ],
)
def test_refusals(words: list[str], code: int, says: str, release: Path) -> None:
    options = [word.format(release) for word in words]
    assert says in failed(squash(*options, stdin=archive(SECOND)), code)


# ---------------------------------------------------------------- the daemon, the proof


def test_load_into_a_daemon_that_has_the_layers(
    release: Path,
    update: Path,
    daemon: Daemon,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ("--onto", release, "--partial", "--load", "--verify")
    image = archive(SECOND, tags=["app:1.1"])
    daemon.says = [{"stream": "Loaded image: app:1.1\n"}]
    ids = [f"sha256:{sha256(data)}" for data in FIRST]
    out = tmp_path / "out.tar"
    for number, (diff_ids, lacks) in enumerate(
        (([], [1, 2]), (ids[:1], [2]), (ids[1:], [1, 2]), (ids[::-1], [1, 2]))
    ):
        daemon.put(f"x:{number}", f"sha256:{number}" + "0" * 63, diff_ids, b"")
        if number > 1:
            daemon.images.pop("x:1", None)
            daemon.images.pop("sha256:1" + "0" * 63, None)
        line = failed(squash(*words, "-o", out, stdin=image), 7)
        assert line.startswith(
            "docker-daemon: --partial: the daemon does not have these kept layers: layer "
        )
        assert [f"layer {i} of 2, {ids[i - 1]}" in line for i in (1, 2)] == [
            i in lacks for i in (1, 2)
        ]
        assert not daemon.loaded
        assert not out.exists()
    daemon.put("app:1.0", "sha256:" + "1" * 64, [*ids, "sha256:" + "f" * 64], b"")
    daemon.going = ("sha256:" + "9" * 64,)
    monkeypatch.setattr(daemon, "load", daemon.loaded.append)
    done(squash(*words, "-o", out, stdin=image))
    assert daemon.loaded == [out.read_bytes()]
    assert result.unpack(out.read_bytes()) == result.unpack(update.read_bytes())


def test_a_daemon_that_cannot_unpack(daemon: Daemon) -> None:
    """With containerd's store docker 28 ends well all the same."""
    lines = "Loaded image: app:1.1\nError unpacking image app:1.1: sha256:0d1: not found\n"
    daemon.says = [{"stream": line} for line in lines.splitlines(keepends=True)]
    line = failed(squash("--load", stdin=archive(SECOND)), 7)
    assert line == "docker-daemon: Error unpacking image app:1.1: sha256:0d1: not found"


def test_a_dry_run_asks_no_daemon(release: Path) -> None:
    ended = done(squash("--onto", release, "--partial", "--dry-run", stdin=archive(SECOND)))
    assert "partial  2 layers, " in ended.err


def test_verify_wants_kept_layers_absent_and_all_others_there(
    release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Written.without

    def too_much(written: Written, digests: Any) -> Written:
        return replace(real(written, digests), blobs=written.blobs)

    def too_little(written: Written, digests: Any) -> Written:
        right = real(written, digests)
        new = max(right.blobs, key=lambda digest: right.blobs[digest].size)
        return replace(right, blobs={k: v for k, v in right.blobs.items() if k != new})

    words = ("--onto", release, "--partial", "--verify")
    for wrong, says in (
        (too_much, "the archive has a layer that a partial archive leaves out"),
        (too_little, "is not in the archive"),
    ):
        monkeypatch.setattr(Written, "without", wrong)
        line = failed(squash(*words, stdin=archive(SECOND)), 1)
        assert line.startswith("not verified: ")
        assert says in line


def test_the_library(release: Path, tmp_path: Path) -> None:
    out = io.BytesIO()
    report = squasher.squash_archive(
        io.BytesIO(archive(SECOND)), out, onto=str(release), partial=True, verify=True
    )
    assert report.partial is not None
    assert [str(digest) for digest in report.partial.layers] == [
        f"sha256:{sha256(data)}" for data in FIRST
    ]
    assert report.partial.size == len(BASE) + len(OLD)
    with pytest.raises(squasher.ArchiveError, match="is not in the archive"):
        squasher.squash_archive(io.BytesIO(out.getvalue()), None, dry_run=True)
    lent = [str(release)]
    with squasher.open_archive(io.BytesIO(out.getvalue()), blobs_from=lent) as found:
        assert len(found.images[0].layers) == 3
