"""Files that are written: nobody who plants a symlink beside them leads them elsewhere.

What the user names as output is followed if it is a symlink, and its target replaced; every other
name is taken as it stands. Temporary files are private, new ones as the umask says.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from squasher.archive.output_file import put
from squasher.errors import OutputError
from tests.faults.conftest import IMAGE, Here, here

__all__ = ["here"]


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """Return a file that nobody asked to be written; it must stay as it is."""
    path = tmp_path / "victim"
    path.write_bytes(b"precious")
    path.chmod(0o640)
    before = path.stat()
    yield path
    after = path.stat()
    assert path.read_bytes() == b"precious"
    assert (after.st_ino, after.st_mode, after.st_nlink) == (before.st_ino, before.st_mode, 1)


#: What writes a file, by the arguments that come before its name.
OUTPUTS = {
    "archive": ("--keep-layers", "1", "-o"),
    "JSON": ("--keep-layers", "1", "--dry-run", "--report"),
    "HTML": ("inspect", "-q", "--html"),
}
each = pytest.mark.parametrize("arguments", OUTPUTS.values(), ids=OUTPUTS)


@each
def test_a_symlink_at_the_temporary_name(
    arguments: tuple[str, ...],
    victim: Path,
    here: Here,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Even one who guessed the name would only make the command fail."""
    monkeypatch.setattr(os, "urandom", bytes)
    temporary = tmp_path / f".squash-{bytes(8).hex()}.tmp"
    temporary.symlink_to(victim)
    result = here(*arguments, tmp_path / "out", stdin=IMAGE)
    assert result.returncode == 6
    assert b"cannot be written: File exists" in result.stderr
    assert temporary.is_symlink()
    assert not (tmp_path / "out").exists()


@each
def test_a_symlink_that_the_user_names_is_followed(
    arguments: tuple[str, ...], here: Here, tmp_path: Path
) -> None:
    link, target = tmp_path / "link", tmp_path / "folder" / "target"
    target.parent.mkdir()
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to("folder/target")
    assert here(*arguments, link, stdin=IMAGE).returncode == 0
    assert os.readlink(link) == "folder/target"
    assert len(target.read_bytes()) > 1000
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert os.listdir(target.parent) == ["target"]


@each
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_new_file_follows_the_umask(
    arguments: tuple[str, ...], umask: int, here: Here, tmp_path: Path
) -> None:
    before = os.umask(umask)
    try:
        assert here(*arguments, tmp_path / "out", stdin=IMAGE).returncode == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o666 & ~umask


def test_symlinks_inside_a_layout_are_replaced(victim: Path, here: Here, tmp_path: Path) -> None:
    folder = tmp_path / "layout"
    arguments = ("--keep-layers", "1", "-o", f"oci:{folder}")
    assert here(*arguments, stdin=IMAGE).returncode == 0
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert len(files) == 6
    for path in files:
        if path.name != "oci-layout":  # one that is there is left as it is
            path.unlink()
            path.symlink_to(victim)
    (folder / "index.json").unlink()
    (folder / "index.json").symlink_to(tmp_path / "nowhere")
    assert here(*arguments, stdin=IMAGE).returncode == 0
    assert {path: path.read_bytes() for path in files} == files
    assert not any(path.is_symlink() for path in files)
    assert not (tmp_path / "nowhere").exists()


def test_an_index_that_is_a_symlink_is_read_and_replaced(here: Here, tmp_path: Path) -> None:
    folder, index = tmp_path / "layout", tmp_path / "index"
    arguments = ("--keep-layers", "1", "-o")
    assert here(*arguments, f"oci:{folder}:one", stdin=IMAGE).returncode == 0
    index.write_bytes((folder / "index.json").read_bytes())
    before = index.read_bytes()
    (folder / "index.json").unlink()
    (folder / "index.json").symlink_to(index)
    assert here(*arguments, f"oci:{folder}:two", stdin=IMAGE).returncode == 0
    assert index.read_bytes() == before
    assert not (folder / "index.json").is_symlink()
    assert len(json.loads((folder / "index.json").read_bytes())["manifests"]) == 2


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_layout_follows_the_umask(umask: int, here: Here, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        assert here("-o", f"oci:{tmp_path / 'layout'}", stdin=IMAGE).returncode == 0
    finally:
        os.umask(before)
    for path in (tmp_path / "layout", *(tmp_path / "layout").rglob("*")):
        usual = 0o777 if path.is_dir() else 0o666
        assert stat.S_IMODE(path.stat().st_mode) == usual & ~umask, path


def test_what_was_private_is_private_while_it_is_written(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_bytes(b"old")
    out.chmod(0o604)

    def chunks() -> Iterator[bytes]:
        (temporary,) = set(tmp_path.iterdir()) - {out}
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
        yield b"new"

    put(str(out), chunks())
    assert out.read_bytes() == b"new"
    assert stat.S_IMODE(out.stat().st_mode) == 0o604


@pytest.mark.parametrize("there", [False, True])
def test_a_report_that_fails_leaves_what_was_there(*, there: bool, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    if there:
        out.write_bytes(b"old")

    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        put(str(out), chunks())
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([b"old"] if there else [])


def test_a_report_into_a_pipe_with_a_name(here: Here, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert here(*OUTPUTS["JSON"], fifo, stdin=IMAGE).returncode == 0
        assert json.loads(os.read(reader, 1 << 16))["images"]
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(fifo.stat().st_mode)


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
@pytest.mark.parametrize("verify", [False, True])
def test_a_file_that_the_shell_has_opened_is_written_on(
    name: str, *, verify: bool, tmp_path: Path
) -> None:
    """As `(echo before; squash -o /dev/stdout; echo after) > log` should have it."""
    log, alone = tmp_path / "log", tmp_path / "alone"
    (tmp_path / "image").write_bytes(IMAGE)
    command = [sys.executable, "-m", "squasher", "-q", "image", *(["--verify"] if verify else [])]
    subprocess.run([*command, "-o", alone], cwd=tmp_path, check=True)
    with log.open("wb", buffering=0) as stream:
        stream.write(b"before")
        subprocess.run([*command, "-o", name], cwd=tmp_path, check=True, stdout=stream)
        stream.write(b"after")
    assert log.read_bytes() == b"before" + alone.read_bytes() + b"after"
    assert {path.name for path in tmp_path.iterdir()} == {"log", "alone", "image"}


def test_a_descriptor_that_is_not_open() -> None:
    with pytest.raises(OutputError, match="/dev/fd/987: cannot be written: Bad file"):
        put("/dev/fd/987", (b"x",))
