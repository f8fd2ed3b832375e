"""One exit code for each kind of failure, one line on stderr, nothing on stdout."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.builders import Dir, File, Hardlink, archive, image_config, layer, outer_tar, sha256
from tests.faults.command import environment, error_line, failed, squash
from tests.faults.conftest import IMAGE, LOWER, UPPER, Here


def test_zero_when_it_is_done(image: Path, folder: Path) -> None:
    out = folder / "out.tar"
    result = squash(image, "-o", out)
    assert (result.returncode, result.stdout) == (0, b"")
    assert tarfile.is_tarfile(out)
    assert [path.name for path in folder.iterdir()] == ["out.tar"]


def test_zero_when_there_is_nothing_to_squash(image: Path) -> None:
    result = squash("--keep-layers", "2", "-m", "idle", image)
    assert result.returncode == 0
    assert b"nothing to squash" in result.stderr
    assert b"--message" in result.stderr
    with tarfile.open(fileobj=io.BytesIO(result.stdout)) as archive_:
        assert "manifest.json" in archive_.getnames()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--nonsense"], "--nonsense"),
        (["a.tar", "b.tar"], "b.tar"),
        (["--keep-layers", "many"], "many"),
        (["--keep-layers", "-1", "IMAGE"], "-1"),
        (["-f", "1", "--keep-layers", "1", "IMAGE"], "cannot be used together"),
        (["-f", "", "IMAGE"], "empty"),
        (["-f", " ", "IMAGE"], "empty"),
        (["-f", "0", "IMAGE"], "0 history rows"),
        (["-t", "Upper Case", "IMAGE"], "Upper Case"),
        (["-t", "a", "--no-tag", "IMAGE"], "cannot be used together"),
        (["-q", "-v", "IMAGE"], "cannot be used together"),
        (["--history", "half", "IMAGE"], "half"),
        (["--created", "yesterday", "IMAGE"], "yesterday"),
        (["--created", "2024-01-02", "IMAGE"], "2024-01-02"),
        (["--created", "20240101T000000Z", "IMAGE"], "20240101T000000Z"),
        (["--created", "2024-01-01 00:00:00+00:00", "IMAGE"], "2024-01-01 00:00:00+00:00"),
        (["--created", "2024-01-01T00:00:00,5Z", "IMAGE"], "2024-01-01T00:00:00,5Z"),
        (["-o", "", "IMAGE"], ""),
    ],
)
def test_two_for_options_that_make_no_sense(
    arguments: list[str], says: str, image: Path, here: Here
) -> None:
    result = here(*(str(image) if word == "IMAGE" else word for word in arguments))
    assert says in failed(result, 2)


def test_two_for_a_malformed_source_date_epoch_only_if_it_is_needed(image: Path) -> None:
    env = environment(SOURCE_DATE_EPOCH="soon")
    assert "SOURCE_DATE_EPOCH" in failed(squash("--created", "now", image, env=env), 2)
    assert squash(image, env=env).returncode == 0


def test_two_for_one_name_for_two_images(tmp_path: Path, here: Here) -> None:
    configs = [json.dumps(image_config([LOWER], config={"n": n})).encode() for n in (1, 2)]
    items = [{"Config": f"{n}.json", "RepoTags": None, "Layers": ["l"]} for n in (0, 1)]
    members = {f"{n}.json": config for n, config in enumerate(configs)}
    image = outer_tar({**members, "l": LOWER, "manifest.json": json.dumps(items).encode()})
    assert "2 images" in failed(here("-t", "one", stdin=image), 2)


def test_three_for_a_missing_image(tmp_path: Path) -> None:
    assert "No such file" in failed(squash(tmp_path / "none.tar"), 3)


def test_three_for_empty_input(here: Here) -> None:
    assert "empty" in failed(here(), 3)
    assert "empty" in failed(here("/dev/null"), 3)


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        b"no archive, but long enough for a header: " * 100,
        bytes(512),
        bytes(10_240),
        b"\0" * 257 + b"ustar\x0000" + bytes(300),
        IMAGE[:700],
        IMAGE[:512],
        layer(File(b"manifest.json", b"[]")),
        layer(File(b"manifest.json", b"null")),
        layer(File(b"manifest.json", b"{}")),
        layer(File(b"manifest.json", b"[" * 100_000)),
        layer(File(b"manifest.json", b"\xff\xfe")),
        layer(File(b"manifest.json", b'[{"Config":"none","Layers":[]}]')),
        layer(File(b"manifest.json", b'[{"Config":"\\ud800","Layers":[]}]')),
        layer(File(b"../manifest.json", b"[]")),
        layer(File(b"manifest.json", b"[]"), File(b"manifest.json", b"[]")),
        layer(File(b"repositories", b"{}")),
        layer(Dir(b"nothing")),
        layer(Hardlink(b"manifest.json", b"manifest.json")),
    ],
    ids=range(19),
)
def test_three_for_what_is_no_image_archive(data: bytes, here: Here) -> None:
    failed(here(stdin=data), 3)


def test_three_for_a_root_filesystem_and_the_command_that_was_meant(here: Here) -> None:
    rootfs = layer(Dir(b"etc"), File(b"etc/passwd", b"root"), Dir(b"usr"))
    assert "docker save" in failed(here(stdin=rootfs), 3)


def test_three_for_a_folder_that_is_no_layout(tmp_path: Path, here: Here) -> None:
    failed(here(tmp_path), 3)


def test_three_for_an_entry_that_no_engine_takes(here: Here) -> None:
    bad = layer(Hardlink(b"a", b"missing"))
    line = failed(here(stdin=archive([LOWER, bad])), 3)
    assert "layer 2 of 2" in line
    assert "'a'" in line


def test_three_for_a_wrong_diff_id(here: Here) -> None:
    config = {"rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64] * 2}}
    line = failed(here(stdin=archive([LOWER, UPPER], config=config)), 3)
    assert sha256(LOWER) in line or sha256(UPPER) in line


def test_four_with_the_table_of_layers(image: Path) -> None:
    result = squash("-f", "no-such-base", image)
    assert (result.returncode, result.stdout) == (4, b"")
    first, *table = result.stderr.decode().splitlines()
    assert first.startswith("squash: ")
    assert "no-such-base" in first
    assert sha256(LOWER)[:12] in "\n".join(table)
    assert "step 2" in "\n".join(table)


@pytest.mark.parametrize(
    "arguments", [("-f", "4"), ("--keep-layers", "4"), ("-f", "f" * 64), ("-f", "sha256:ab")]
)
def test_four_for_a_base_that_is_not_there(
    arguments: tuple[str, str], image: Path, here: Here
) -> None:
    result = here(*arguments, image)
    assert (result.returncode, result.stdout) == (4, b"")


def test_four_for_an_ambiguous_base_and_the_chain_ids_to_choose_from(here: Here) -> None:
    result = here("-f", sha256(LOWER), stdin=archive([LOWER, UPPER, LOWER]))
    assert result.returncode == 4
    _, *lines = result.stderr.decode().splitlines()
    assert [line.startswith("  sha256:") for line in lines[:3]] == [True, True, False]


def test_five_for_an_image_that_is_not_for_linux(here: Here) -> None:
    image = archive([LOWER, UPPER], config={"os": "windows"})
    assert "Windows" in failed(here(stdin=image), 5)


def test_six_for_no_room_for_a_copy_of_a_pipe(tmp_path: Path) -> None:
    line = failed(squash("--tmp-dir", tmp_path / "none", stdin=IMAGE), 6)
    assert "--tmp-dir" in line


def test_the_error_is_one_line_whatever_the_names_say(tmp_path: Path, here: Here) -> None:
    failed(here(tmp_path / "two\nlines\x1b[31m.tar"), 3)
    item: dict[str, object] = {"Config": "a\nb\x1b[2J", "RepoTags": None, "Layers": []}
    image = outer_tar({"manifest.json": json.dumps([item]).encode()})
    assert "\x1b" not in failed(here(stdin=image), 3)


def test_names_do_not_depend_on_the_locale() -> None:
    item: dict[str, object] = {"Config": "configé.json", "RepoTags": None, "Layers": []}
    image = outer_tar({"manifest.json": json.dumps([item]).encode()})
    env = environment(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    failed(squash(stdin=image, env=env), 3)


def shell(line: str, *paths: Path) -> subprocess.CompletedProcess[bytes]:
    """Run the command with redirections that only a shell can make."""
    return subprocess.run(
        ["sh", "-c", f'"$0" -m squasher {line}', sys.executable, *map(str, paths)],
        env=environment(),
        capture_output=True,
        check=False,
    )


def test_stdin_and_stdout_that_are_closed(image: Path) -> None:
    assert "terminal" not in failed(shell("<&-"), 2)
    assert "terminal" not in failed(shell('"$1" >&-', image), 2)


def test_a_stderr_that_is_closed(image: Path, folder: Path) -> None:
    result = shell('"$1" -o "$2" 2>&-', image, folder / "out.tar")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
    assert tarfile.is_tarfile(folder / "out.tar")
    assert shell('"$1" 2>&-', folder / "none.tar").returncode == 3


def test_a_stderr_that_nobody_reads(image: Path, folder: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    assert squash(image, "-o", folder / "out.tar", stderr=writer).returncode == 0
    assert squash("-v", image, "-o", folder / "out.tar", stderr=writer).returncode == 0
    assert squash(folder / "none.tar", stderr=writer).returncode == 3
    assert squash("-f", "none", image, stderr=writer).returncode == 4
    os.close(writer)
    assert os.listdir(folder) == ["out.tar"]


def test_help_and_version_go_to_stdout() -> None:
    for option in ("--help", "-h", "--version"):
        result = squash(option)
        assert result.returncode == 0
        assert result.stdout.startswith((b"Usage: squash", b"squash "))
        assert not result.stderr


def test_quiet_says_nothing_and_verbose_says_more(image: Path) -> None:
    quiet, normal, verbose = (squash(*options, image) for options in (["-q"], [], ["-v"]))
    assert quiet.stdout == normal.stdout == verbose.stdout
    assert quiet.stderr == b""
    assert len(normal.stderr) < len(verbose.stderr)
    assert b"\r" not in normal.stderr


def test_quiet_still_says_what_is_wrong(here: Here) -> None:
    assert error_line(here("-q", "/none.tar").stderr)


def test_a_dry_run_writes_nothing(image: Path, folder: Path) -> None:
    result = squash("--dry-run", image, "-o", folder / "out.tar")
    assert (result.returncode, result.stdout) == (0, b"")
    assert b"archive" in result.stderr
    assert not list(folder.iterdir())
