"""All or nothing: what becomes of the output, whatever it is and whatever happens."""

from __future__ import annotations

import gzip
import os
import pwd
import re
import resource
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import squasher
from squasher.cli.main import run
from tests.builders import File, Whiteout, archive, layer
from tests.faults.command import (
    COMMAND,
    environment,
    error_line,
    failed,
    lacking,
    pending,
    squash,
    waits,
)
from tests.faults.conftest import IMAGE, LOWER

Capture = pytest.CaptureFixture[bytes]
AS_ROOT = os.geteuid() == 0
BAD = archive([LOWER, layer(File(b"f"))[:-1300]])


def expected(*options: str) -> bytes:
    return squash(*options, stdin=IMAGE).stdout


def test_a_file_and_a_pipe_get_the_same_bytes(image: Path, folder: Path) -> None:
    out = folder / "out.tar"
    assert squash(image, "-o", out).returncode == 0
    assert out.read_bytes() == expected() == squash(image, "-o", "-").stdout
    assert out.stat().st_size % 512 == 0


def test_stdin_may_be_a_file_a_pipe_or_a_dash(image: Path) -> None:
    with image.open("rb") as stream:
        from_file = squash("-", stdin=stream)
    assert from_file.stdout == expected() == squash("-", stdin=IMAGE).stdout


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_new_file_follows_the_umask(image: Path, folder: Path, umask: int) -> None:
    out = folder / "out.tar"
    assert squash(image, "-o", out, umask=umask).returncode == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o444, 0o755])
def test_an_existing_file_keeps_its_mode(image: Path, folder: Path, mode: int) -> None:
    out = folder / "out.tar"
    out.write_bytes(b"old")
    out.chmod(mode)
    assert squash(image, "-o", out).returncode == 0
    assert stat.S_IMODE(out.stat().st_mode) == mode
    assert out.read_bytes() == expected()
    assert os.listdir(folder) == ["out.tar"]


def test_a_failure_leaves_an_existing_file_alone(folder: Path) -> None:
    out = folder / "out.tar"
    out.write_bytes(b"old")
    before = out.stat()
    failed(squash("-o", out, stdin=BAD), 3)
    assert out.read_bytes() == b"old"
    assert (out.stat().st_ino, out.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert os.listdir(folder) == ["out.tar"]


def test_a_failure_leaves_no_new_file(folder: Path) -> None:
    failed(squash("-o", folder / "out.tar", stdin=BAD), 3)
    assert os.listdir(folder) == []


def test_the_output_may_be_the_input(image: Path) -> None:
    assert squash(image, "-o", image).returncode == 0
    assert image.read_bytes() == expected()
    with image.open("rb") as stream:
        assert squash("-o", image, stdin=stream).returncode == 0
    assert tarfile.is_tarfile(image)
    assert os.listdir(image.parent) == ["image.tar"]


def test_the_output_may_be_another_name_of_the_input(image: Path, folder: Path) -> None:
    """A hard link is a file of its own; through a symlink the input is replaced."""
    link = folder / "link.tar"
    os.link(image, link)
    assert squash(image, "-o", link).returncode == 0
    assert (image.read_bytes(), link.read_bytes()) == (IMAGE, expected())
    link.unlink()
    link.symlink_to(image)
    assert squash(image, "-o", link).returncode == 0
    assert link.is_symlink()
    assert image.read_bytes() == expected()
    assert os.listdir(folder) == ["link.tar"]


def test_the_output_may_lie_inside_the_input(image: Path, folder: Path) -> None:
    layout = folder / "layout"
    assert squash(image, "-o", f"oci:{layout}", "--keep-layers", "2").returncode == 0
    before = {path: path.read_bytes() for path in layout.rglob("*") if path.is_file()}
    (blob,) = (path for path, data in before.items() if data == LOWER)
    for inside in (layout / "out.tar", layout / "blobs" / "out.tar"):
        assert squash(layout, "-o", inside, "--no-tag").returncode == 0
        inside.unlink()
    assert {path: path.read_bytes() for path in layout.rglob("*") if path.is_file()} == before
    assert squash(layout, "-o", blob).returncode == 0  # as asked for
    assert tarfile.is_tarfile(blob)


def test_two_runs_to_one_output(image: Path, folder: Path) -> None:
    """Each is whole when it takes the name; the later one keeps it."""
    out, both = folder / "out.tar", threading.Barrier(2)

    def run_(tag: str) -> None:
        met: list[int] = []

        def progress(phase: str, done: int, total: int) -> None:
            if phase == "write" and not met:
                met.append(both.wait(30))

        squasher.squash_archive(image, out, tags=(tag,), progress=progress)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(run_, tag) for tag in ("one:1", "two:1")]:
            done.result()
    assert out.read_bytes() in (expected("-t", "one:1"), expected("-t", "two:1"))
    assert os.listdir(folder) == ["out.tar"]


def test_a_symlink_is_followed(image: Path, folder: Path) -> None:
    target, link = folder / "target.tar", folder / "link.tar"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to("target.tar")
    assert squash(image, "-o", link).returncode == 0
    assert link.is_symlink()
    assert target.read_bytes() == expected()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_a_symlink_to_nothing_makes_its_target(image: Path, folder: Path) -> None:
    (folder / "link.tar").symlink_to("new.tar")
    assert squash(image, "-o", folder / "link.tar").returncode == 0
    assert sorted(os.listdir(folder)) == ["link.tar", "new.tar"]
    assert (folder / "new.tar").read_bytes() == expected()


def test_a_symlink_to_itself_is_an_error(image: Path, folder: Path) -> None:
    (folder / "loop").symlink_to("loop")
    failed(squash(image, "-o", folder / "loop"), 6)
    assert os.listdir(folder) == ["loop"]


@pytest.mark.parametrize("name", ["fifo", "fifo.tar.gz"])
def test_a_fifo_is_written_like_a_pipe(image: Path, folder: Path, name: str) -> None:
    fifo = folder / name
    os.mkfifo(fifo)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()))
    reader.start()
    assert squash(image, "-o", fifo).returncode == 0
    reader.join()
    (found,) = got
    assert (gzip.decompress(found) if name.endswith(".gz") else found) == expected()
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert os.listdir(folder) == [name]


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_dev_stdout_is_written_like_stdout(image: Path, name: str) -> None:
    result = squash("-q", image, "-o", name)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout == expected()


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_a_closed_stdout_takes_no_archive(image: Path, name: str) -> None:
    """The temporary file that a pipe is copied to would get its number, and the archive."""
    shell = 'cat "$1" | "$2" -m squasher -q - -o "$3" >&-'
    result = subprocess.run(
        ["sh", "-c", shell, "sh", image, sys.executable, name], capture_output=True, check=False
    )
    assert result.returncode == 6
    assert "cannot be written" in error_line(result.stderr)


def test_a_device_is_written(image: Path, tmp_path: Path) -> None:
    """One of its own: a fault here would take /dev/null from the whole machine."""
    if not AS_ROOT:
        lacking("making a device needs root")
    null = tmp_path / "null"
    os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    assert squash(image, "-o", null).returncode == 0
    assert stat.S_ISCHR(null.stat().st_mode)


def test_dev_full_is_full(image: Path) -> None:
    assert "No space left" in failed(squash(image, "-o", "/dev/full"), 6)
    with open("/dev/full", "wb") as full:
        result = squash(image, stdout=full)
    assert result.returncode == 6
    assert "No space left" in error_line(result.stderr)


def test_a_missing_folder_is_an_error(image: Path, folder: Path) -> None:
    assert "No such file" in failed(squash(image, "-o", folder / "none" / "out.tar"), 6)
    assert os.listdir(folder) == []


def test_a_folder_is_an_error(image: Path, folder: Path) -> None:
    failed(squash(image, "-o", folder), 6)
    assert os.listdir(folder) == []


def test_a_file_in_place_of_a_folder_is_an_error(image: Path) -> None:
    failed(squash(image, "-o", image / "out.tar"), 6)


def test_a_folder_without_permission_is_an_error(capfdbinary: Capture) -> None:
    with tempfile.TemporaryDirectory() as name:  # that of pytest is for its user only
        path = Path(name, "image.tar")
        path.write_bytes(IMAGE)
        Path(name).chmod(0o555)
        try:
            if AS_ROOT:  # may write everywhere
                os.seteuid(pwd.getpwnam("nobody").pw_uid)
            assert run([str(path), "-o", str(Path(name, "out.tar"))]) == 6
        finally:
            if AS_ROOT:
                os.seteuid(0)
        Path(name).chmod(0o755)
        assert "Permission denied" in error_line(capfdbinary.readouterr().err)
        assert os.listdir(name) == ["image.tar"]


@pytest.mark.parametrize("name", ["n" * 251 + ".tar", "あ" * 83 + ".tar", "b\udcff\n.tar"])
def test_any_name_that_the_system_takes(image: Path, folder: Path, name: str) -> None:
    assert squash(image, "-o", folder / name).returncode == 0
    assert os.listdir(folder) == [name]


def test_a_name_that_the_system_does_not_take(image: Path, folder: Path) -> None:
    failed(squash(image, "-o", folder / ("n" * 256)), 6)
    assert os.listdir(folder) == []


def test_the_reader_of_stdout_has_gone(image: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = squash(image, stdout=writer)
    os.close(writer)
    assert result.returncode == 6
    assert "Broken pipe" in error_line(result.stderr)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "words", [("inspect", "--json"), ("inspect", "--html", "-"), ("-q", "--keep-layers=99")]
)
def test_a_stdout_that_does_not_block(
    words: tuple[str, ...], unbuffered: str, tmp_path: Path
) -> None:
    """As node and others leave it behind: text behind the first 64 KiB was lost."""
    names = [b"%d" % n + b"x" * 100 for n in range(120)]
    image = tmp_path / "image.tar"
    image.write_bytes(archive([*(layer(File(n)) for n in names), layer(*map(Whiteout, names))]))
    env = environment(PYTHONUNBUFFERED=unbuffered)
    expected = squash(*words, image, env=env).stdout
    assert len(expected) > 100_000
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with subprocess.Popen(
        [*COMMAND, *words, str(image)], env=env, stdout=writer, stderr=subprocess.PIPE
    ) as process:
        waits(lambda: pending(reader) == 65_536 or process.poll() is not None)
        os.close(writer)
        with os.fdopen(reader, "rb") as stream:
            assert stream.read() == expected
        _, stderr = process.communicate()
    assert (process.returncode, stderr) == (0, b"")


def test_the_reader_of_stdout_stops_in_the_middle(tmp_path: Path) -> None:
    image = tmp_path / "image.tar"
    image.write_bytes(archive([LOWER, layer(File(b"big", b"b" * 4_000_000))]))
    process = subprocess.Popen(
        [*COMMAND, str(image)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(1)
    process.stdout.close()
    stderr = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 6
    assert "Broken pipe" in error_line(stderr)


def test_the_reader_of_a_fifo_stops_in_the_middle(tmp_path: Path, folder: Path) -> None:
    image, fifo = tmp_path / "image.tar", folder / "fifo"
    image.write_bytes(archive([LOWER, layer(File(b"big", b"b" * 4_000_000))]))
    os.mkfifo(fifo)
    process = subprocess.Popen(
        [*COMMAND, str(image), "-o", str(fifo)],
        env=environment(),
        stderr=subprocess.PIPE,
    )
    with fifo.open("rb", buffering=0) as stream:
        stream.read(1)
    _, stderr = process.communicate()
    assert process.returncode == 6
    assert "Broken pipe" in error_line(stderr)
    assert os.listdir(folder) == ["fifo"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Return a small filesystem of its own."""
    if not AS_ROOT:
        lacking("mounting needs root")
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(path)], check=True)
    yield path
    subprocess.run(["umount", str(path)], check=True)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Return the path of an image that is larger than the disk."""
    path = tmp_path / "large.tar"
    path.write_bytes(archive([LOWER, layer(File(b"big", os.urandom(400_000)))]))
    return path


def test_a_full_disk_for_the_output(disk: Path, large: Path) -> None:
    out = disk / "out.tar"
    out.write_bytes(b"old")
    line = failed(squash(large, "-o", out), 6)
    assert "No space left" in line
    assert out.read_bytes() == b"old"
    assert os.listdir(disk) == ["out.tar"]


def test_a_full_disk_for_a_copy_of_a_pipe(disk: Path, large: Path) -> None:
    line = failed(squash("--tmp-dir", disk, stdin=large.read_bytes()), 6)
    assert "No space left" in line
    assert "--tmp-dir" in line
    assert os.listdir(disk) == []


@pytest.mark.parametrize("size", [600, 3000, 9000])
def test_a_full_disk_when_there_is_no_room_at_all(disk: Path, size: int) -> None:
    (disk / "fill").write_bytes(bytes(256 * 1024))
    assert "No space left" in failed(squash("--tmp-dir", disk, stdin=IMAGE[:size]), 6)
    assert os.listdir(disk) == ["fill"]


def test_a_full_disk_for_an_unpacked_layer(disk: Path, tmp_path: Path) -> None:
    path = tmp_path / "packed.tar"
    layers = [LOWER, layer(File(b"big", bytes(400_000)))]
    path.write_bytes(archive(layers, gzip_layers=(1,)))
    line = failed(squash("--tmp-dir", disk, path), 6)
    assert "No space left" in line
    assert os.listdir(disk) == []


def test_a_full_disk_for_a_layout(disk: Path, large: Path, image: Path) -> None:
    layout = disk / "layout"
    assert squash(image, "-o", f"oci:{layout}:old").returncode == 0
    before = {path: path.read_bytes() for path in layout.rglob("*") if path.is_file()}
    choices: list[list[str]] = [[], ["--keep-layers", "1"], ["--verify"]]
    for options in choices:
        line = failed(squash(large, *options, "-o", f"oci:{layout}:new"), 6)
        assert "No space left" in line
        assert {path: path.read_bytes() for path in layout.rglob("*") if path.is_file()} == before
    failed(squash(large, "-o", f"oci:{disk}/new"), 6)
    assert os.listdir(disk) == ["layout"]


def test_a_full_disk_for_a_compressed_layer(disk: Path, large: Path, folder: Path) -> None:
    words = ("--tmp-dir", disk, "--compress", "gzip", large)
    for output in ("-", f"{folder}/out.tar.gz", f"oci:{folder}/layout"):
        line = failed(squash(*words, "-o", output), 6)
        assert "No space left" in line
        assert "--tmp-dir" in line
    assert os.listdir(disk) == os.listdir(folder) == []


def test_a_compressed_layer_takes_no_room_but_that_of_the_output(
    disk: Path, large: Path, folder: Path
) -> None:
    words = ("--compress", "gzip", large)
    assert squash("--tmp-dir", disk, *words, "-o", folder / "out.tar").returncode == 0
    out = disk / "out.tar"
    out.write_bytes(b"old")
    line = failed(squash("--tmp-dir", folder, *words, "-o", out), 6)
    assert line == f"{out}: cannot be written: No space left on device"
    assert out.read_bytes() == b"old"
    assert os.listdir(disk) == os.listdir(folder) == ["out.tar"]


def test_a_full_disk_for_a_copy_that_is_verified(disk: Path, large: Path) -> None:
    line = failed(squash("--verify", "--tmp-dir", disk, large), 6)
    assert re.search(r"cannot write temporary data of 4[0-9]{5} bytes: No space left", line)
    assert os.listdir(disk) == []


def test_a_full_disk_for_what_verify_unpacks(disk: Path, tmp_path: Path, folder: Path) -> None:
    """Nothing is said about the result then: that is no failed proof."""
    path = tmp_path / "packed.tar"
    layers = [layer(File(b"big", bytes(400_000))), LOWER, layer(File(b"n"))]
    path.write_bytes(archive(layers, gzip_layers=(0,)))
    words = ("--tmp-dir", disk, "--keep-layers", "1", path, "-o", folder / "out.tar")
    line = failed(squash("--verify", *words), 6)
    assert line.startswith(f"layer 1 of 3: {disk}: cannot write temporary data")
    assert os.listdir(folder) == os.listdir(disk) == []
    assert squash(*words).returncode == 0


def test_a_full_disk_for_a_report(disk: Path, image: Path, folder: Path) -> None:
    """The archive is there already: it stays."""
    report = disk / "report.json"
    report.write_bytes(b"old")
    (disk / "fill").write_bytes(bytes(252 * 1024))
    result = squash(image, "-q", "-o", folder / "out.tar", "--report", report)
    assert result.returncode == 6
    line = error_line(result.stderr)
    assert line.startswith(f"{report}: ")
    assert "No space left" in line
    assert report.read_bytes() == b"old"
    assert sorted(os.listdir(disk)) == ["fill", "report.json"]
    assert tarfile.is_tarfile(folder / "out.tar")


def test_a_full_disk_that_tmpdir_names_for_copies(disk: Path, large: Path) -> None:
    env = environment(TMPDIR=str(disk))
    failed(squash(stdin=large.read_bytes(), env=env), 6)


def test_a_seekable_input_needs_no_copy(disk: Path, large: Path) -> None:
    with large.open("rb") as stream:
        result = squash("--tmp-dir", disk, stdin=stream)
    assert result.returncode == 0


def test_a_kept_layer_is_not_unpacked_and_neither_is_a_single_one(
    disk: Path, tmp_path: Path
) -> None:
    path = tmp_path / "packed.tar"
    big = layer(File(b"big", bytes(400_000)))
    path.write_bytes(archive([big, LOWER, LOWER], gzip_layers=(0,)))
    assert squash("--tmp-dir", disk, "--keep-layers", "1", path).returncode == 0
    path.write_bytes(archive([LOWER, big], gzip_layers=(1,)))
    assert squash("--tmp-dir", disk, "--keep-layers", "1", path).returncode == 0


def test_a_read_only_filesystem(disk: Path, image: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert "Read-only" in failed(squash(image, "-o", disk / "out.tar"), 6)


def test_a_name_that_cannot_be_replaced(disk: Path, image: Path) -> None:
    out, other = disk / "out.tar", disk / "other"
    out.write_bytes(b"old")
    other.write_bytes(b"other")
    subprocess.run(["mount", "--bind", str(other), str(out)], check=True)
    try:
        assert "busy" in failed(squash(image, "-o", out), 6)
        assert out.read_bytes() == b"other"
        assert sorted(os.listdir(disk)) == ["other", "out.tar"]
    finally:
        subprocess.run(["umount", str(out)], check=True)


def test_a_file_size_limit_is_an_error(image: Path, folder: Path) -> None:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))

    result = subprocess.run(
        [*COMMAND, str(image), "-o", str(folder / "out.tar")],
        env=environment(PYTHONDONTWRITEBYTECODE="1"),
        capture_output=True,
        preexec_fn=limit,
        check=False,
    )
    assert "too large" in failed(result, 6)
    assert os.listdir(folder) == []
