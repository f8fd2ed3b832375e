"""The command `squash`: options in, exit codes out. Nothing but the archive goes to stdout."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

import click

from squasher._version import __version__
from squasher.errors import BaseNotFoundError, OutputError, SquasherError, UsageError

if TYPE_CHECKING:
    from tqdm import tqdm

    from squasher._core import Progress


class _Interrupted(BaseException):
    """A signal asked the command to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command with `arguments`; return its exit code."""
    restore = _take_signals()
    try:
        return _run(arguments)
    except _Interrupted as interrupted:
        _say(f"interrupted by {signal.Signals(interrupted.number).name}")
        return 128 + interrupted.number
    except BrokenPipeError:  # stderr is gone: nobody is left to tell
        return OutputError.exit_code
    finally:
        restore()


def _run(arguments: Sequence[str]) -> int:
    if not arguments and sys.stdin is not None and sys.stdin.isatty():
        click.echo(command.get_help(click.Context(command, info_name="squash")), err=True)
        return UsageError.exit_code
    try:
        command.main(args=list(arguments), prog_name="squash", standalone_mode=False)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        _say(f"{error.format_message().rstrip('.')}; see squash --help")
        return UsageError.exit_code
    except BaseNotFoundError as error:
        _say(str(error))
        if error.image is not None:
            from squasher import report

            click.echo(report.choices(error.image, _width()), err=True)
        return error.exit_code
    except SquasherError as error:
        _say(str(error))
        return error.exit_code
    return 0


def _say(message: str) -> None:
    from squasher.report import text

    click.echo(f"squash: {text(message)}", err=True)


def _take_signals() -> Callable[[], None]:
    """Turn signals that end a process into an exception, so that nothing is left behind."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in taken:  # a second signal must not break the cleaning up
            signal.signal(each, signal.SIG_IGN)
        raise _Interrupted(number)

    names = ("SIGINT", "SIGTERM", "SIGHUP")
    taken = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {
        each: signal.signal(each, interrupt)
        for each in taken
        if signal.getsignal(each) is not signal.SIG_IGN  # nohup
    }
    taken = list(before)

    def restore() -> None:
        for each, handler in before.items():
            signal.signal(each, handler)

    return restore


def _width() -> int:
    return max(60, shutil.get_terminal_size((80, 24)).columns)


_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.command("squash", context_settings=_CONTEXT)
@click.argument("image", required=False)
@click.option(
    "-f",
    "--from-layer",
    "base",
    metavar="BASE",
    help="The last layer to keep: a digest or a prefix of one (diff_id, blob, chain ID, folder), or"
    " the number of newest history rows to squash. Left out: all layers become one.",
)
@click.option(
    "--keep-layers", type=int, metavar="K", help="Keep the oldest K layers; instead of -f."
)
@click.option(
    "-o",
    "--output",
    "--output-path",
    "output",
    metavar="OUT",
    help="Where the archive goes; - or left out: stdout, unless that is a terminal.",
)
@click.option(
    "-t",
    "--tag",
    "tags",
    multiple=True,
    metavar="NAME[:TAG]",
    help="Name of the result, instead of those of the input; repeatable.",
)
@click.option("--no-tag", is_flag=True, help="Leave the result without a name.")
@click.option("-m", "--message", metavar="TEXT", help="Comment of the new history row.")
@click.option(
    "--history",
    type=click.Choice(["keep", "drop"]),
    default="keep",
    show_default=True,
    help="Keep the rows of squashed layers as empty ones, or put one row in their place.",
)
@click.option(
    "--created",
    metavar="source|now|TIME",
    default="source",
    show_default=True,
    help="Time of the result: that of the input, the clock (or SOURCE_DATE_EPOCH), or RFC 3339 or"
    " epoch seconds.",
)
@click.option("--dry-run", is_flag=True, help="Plan and report, write nothing.")
@click.option(
    "--tmp-dir",
    metavar="DIR",
    help="Folder for copies of piped or compressed input; default: $TMPDIR, else /var/tmp.",
)
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
@click.option("-v", "--verbose", is_flag=True, help="Say more.")
@click.option("--no-progress", is_flag=True, help="No progress bar, also on a terminal.")
@click.version_option(__version__, message="%(prog)s %(version)s")
def command(
    image: str | None,
    base: str | None,
    keep_layers: int | None,
    output: str | None,
    tags: tuple[str, ...],
    no_tag: bool,
    message: str | None,
    history: str,
    created: str,
    dry_run: bool,
    tmp_dir: str | None,
    quiet: bool,
    verbose: bool,
    no_progress: bool,
) -> None:
    r"""Squash the layers of a container image above BASE into one.

    IMAGE is an archive as `docker save` writes it: a file, or - (or nothing) for stdin.

    \b
    squash -f <base-layer> image.tar -o out.tar
    docker save app | squash -f <base-layer> | docker load

    Exit codes: 0 done, 2 usage, 3 no sound image archive, 4 base not found, 5 not supported,
    6 output not written.
    """
    if tags and no_tag:
        raise UsageError("--tag and --no-tag exclude each other")
    if quiet and verbose:
        raise UsageError("--quiet and --verbose exclude each other")
    source = _source(image)
    destination = None if dry_run else _destination(output)
    from squasher import _core, report

    bar = _Bar() if sys.stderr.isatty() and not quiet and not no_progress else None
    try:
        done = _core.squash_archive(
            source,
            destination,
            base=base,
            keep_layers=keep_layers,
            tags=() if no_tag else tags or None,
            message=message,
            history="drop" if history == "drop" else "keep",
            created=created,
            tmp_dir=tmp_dir,
            progress=bar or _narrate(verbose),
        )
    finally:
        if bar is not None:
            bar.close()
    if not quiet:
        click.echo(report.summary(done, _width(), verbose=verbose), err=True)


def _source(image: str | None) -> str | BinaryIO:
    if image is not None and image != "-":
        return image
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("stdin is a terminal", where="IMAGE", hint="name an archive, or pipe one")
    return sys.stdin.buffer


def _destination(output: str | None) -> str | BinaryIO:
    if output is not None and output != "-":
        if output.endswith((".tar.gz", ".tgz", ".tar.zst")):
            raise UsageError("compressed archives cannot be written", where=f"-o {output}")
        return output
    if sys.stdout is None or sys.stdout.isatty():
        raise UsageError(
            "stdout is a terminal", where="-o", hint="name a file with -o, or redirect it"
        )
    return sys.stdout.buffer


def _narrate(verbose: bool) -> Progress:
    """Return a callback that says when a phase begins, if `verbose`."""
    words = {
        "spool": "copying the input to a temporary file",
        "read": "reading and checking the layers",
        "hash": "hashing the new layer",
        "write": "writing the archive",
    }
    said: set[str] = set()

    def narrate(phase: str, done: int, total: int) -> None:
        if verbose and phase not in said:
            said.add(phase)
            click.echo(f"squash: {words[phase]}", err=True)

    return narrate


class _Bar:
    """One tqdm bar over the whole job. Called from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bar: tqdm[Any] | None = None
        self._phases: dict[str, int] = {}

    def __call__(self, phase: str, done: int, total: int) -> None:
        with self._lock:
            if self._bar is None:
                from tqdm import tqdm

                self._bar = tqdm(unit="B", unit_scale=True, leave=False, file=sys.stderr)
            if phase not in self._phases:
                self._phases[phase] = total
                self._bar.total = sum(self._phases.values()) or None
                self._bar.set_description(phase, refresh=False)
            self._bar.update(done)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


if os.name == "nt":  # pragma: no cover
    for _stream in (sys.stdin, sys.stdout):
        if _stream is not None:
            import msvcrt

            msvcrt.setmode(_stream.fileno(), os.O_BINARY)  # type: ignore[attr-defined]
