"""The command `squash`: options in, exit codes out. Nothing but the archive goes to stdout."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

import click

from squasher._version import __version__
from squasher.cli import checks, completion, console, docker_plugin, options, signals, texts, typed
from squasher.errors import ArchiveError, BaseNotFoundError, SquasherError, UsageError

if TYPE_CHECKING:
    from squasher.archive.location import Location
    from squasher.request import SquashReport

#: What the first argument may be, where it does not name an archive; each is a module's `command`.
_SUBCOMMANDS = {
    "inspect": ("squasher.cli.inspect", "What is in an image, and what squashing would save."),
    "diff": ("squasher.cli.diff", "Where two images differ, file by file."),
}

#: In seconds; Python's own is 5 ms, in which two windows are hashed (docs/speed.md).
_SWITCH_INTERVAL = 1e-4


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit."""
    if completion.VARIABLE in os.environ:
        sys.exit(completion.answer(command, "squash"))
    words = sys.argv[1:] if arguments is None else arguments
    sys.exit(run(words, docker=docker_plugin.is_plugin(sys.argv[0], os.environ)))


def run(arguments: Sequence[str], *, docker: bool = False) -> int:
    """Run the command with `arguments`, of a shell or the docker client; return its exit code."""
    try:
        return _guarded(arguments, docker)
    except signals.Interrupted as interrupted:
        console.say(f"interrupted by {signal.Signals(interrupted.number).name}")
        return 128 + interrupted.number


def _guarded(arguments: Sequence[str], docker: bool) -> int:
    """Run the command with its own signals, without garbage collection. Raises Interrupted."""
    restore = signals.take_signals()
    # A thread that has hashed some bytes gets the interpreter sooner from the one that walks.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_INTERVAL)
    # A million entries are no garbage, and looking at them again and again takes a quarter of the
    # time. What little there is goes with the process.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _run(arguments, docker)
    finally:
        restore()
        sys.setswitchinterval(interval)
        if collecting:
            gc.enable()


def _run(arguments: Sequence[str], docker: bool) -> int:
    program = "docker squash" if docker else "squash"
    try:
        if arguments[:1] == [docker_plugin.METADATA]:
            console.give(docker_plugin.metadata())
            return 0
        words = docker_plugin.take(arguments, os.environ) if docker else list(arguments)
        if not words and sys.stdin is not None and sys.stdin.isatty():
            console.tell(command.get_help(click.Context(command, info_name=program)))
            return UsageError.exit_code
        # Not command.main(): that turns a closed stderr into exit code 1.
        with _parsed(program, words) as context:
            if docker:
                context.params = docker_plugin.fill_in(context.params)
            code = context.command.invoke(context)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        at = getattr(error, "ctx", None)
        path = at.command_path if at else program
        console.say(f"{error.format_message().rstrip('.')}; see {path} --help")
        return UsageError.exit_code
    except BaseNotFoundError as error:
        console.fail(error)
        if error.there:
            console.tell("\n".join(f"  {texts.text(line)}" for line in error.there))
        if error.image is not None:
            from squasher.cli import report

            console.tell(report.choices(error.image, console.width()))
        return error.exit_code
    except SquasherError as error:
        console.fail(error)
        return error.exit_code
    except MemoryError:
        console.say("not enough memory for the entries of this image")
        return ArchiveError.exit_code
    return code or 0


def _parsed(program: str, words: list[str]) -> click.Context:
    """Return the arguments; for --help and --version click itself writes to stdout.

    Raises what click raises, SquasherError.
    """
    try:
        return command.make_context(program, words)
    except SquasherError:
        raise
    except OSError as error:
        console.discard(sys.stdout)
        if isinstance(error, BrokenPipeError):
            raise click.exceptions.Exit(0) from None
        raise console.unwritten(error) from None


class _Command(click.Command):
    """The command; its first argument may choose a subcommand."""

    @property
    def commands(self) -> dict[str, click.Command]:
        """The subcommands by name; loads them."""
        return {name: _subcommand(name) for name in _SUBCOMMANDS}

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Return the parsed arguments, in a context of the command that they are for."""
        if args and args[0] in _SUBCOMMANDS:
            chosen = _subcommand(args[0])
            return chosen.make_context(
                f"{info_name} {args[0]}", typed.with_values(args[1:]), parent, **extra
            )
        typed.check_meant(args, typed.valued(self.params), _SUBCOMMANDS)
        return super().make_context(info_name, typed.with_values(args), parent, **extra)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        lines = [(f"{ctx.info_name} {name}", text) for name, (_, text) in _SUBCOMMANDS.items()]
        with formatter.section("Other commands (for an archive with that name: ./inspect)"):
            formatter.write_dl(lines)


def _subcommand(name: str) -> click.Command:
    found: click.Command = import_module(_SUBCOMMANDS[name][0]).command
    return found


_HELP = """\
Squash the layers of a container image above BASE into one.

IMAGE is an archive of `docker save`, an OCI archive or an OCI layout. Give its path, a transport
(docker-archive:, oci-archive:, oci:, docker-daemon:), or - for stdin, which is the default.

\b
squash -f <base> image.tar -o out.tar
docker save app | squash -f <base> | docker load
squash --onto release-1.0.tar app-1.1.tar -o release-1.1.tar

Exit codes: 0 done; 1 --verify, --strict or --max-dead failed; 2 wrong options; 3 input missing,
damaged or not an image; 4 base or image not found; 5 not supported; 6 output not written; 7 the
docker daemon failed.
"""  # \b: click keeps these lines as they are


@click.command("squash", cls=_Command, context_settings=checks.CONTEXT, help=_HELP)
@click.argument("image", required=False, type=completion.Place(_SUBCOMMANDS))
@click.option(
    "-f",
    "--from-layer",
    "base",
    type=completion.Place(("auto",)),
    metavar="BASE",
    help="The base, whose layers are kept. auto: the base that the image names, if it can be"
    " proven; N: squash the newest N rows of the history; or a layer (the first digits of its"
    " diff_id, blob digest, chain ID or folder), another image of the archive, an archive, or a"
    " transport. Without -f, all layers become one.",
)
@click.option(
    "--keep-layers", type=int, metavar="K", help="Instead of -f: keep the K lowest layers."
)
@click.option(
    "--onto",
    type=completion.Place(),
    metavar="PREVIOUS",
    help="Instead of -f: keep all layers of PREVIOUS, the previous release, and add one layer that"
    " turns its files into those of IMAGE. PREVIOUS is an archive, a transport, or another image"
    " of the archive.",
)
@click.option(
    "--max-dead",
    metavar="SHARE",
    help="With --onto: exit 1 if more than SHARE of PREVIOUS is replaced or deleted: 0.3 or 30%.",
)
@options.max_layer_size
@click.option(
    "--partial",
    is_flag=True,
    help="Leave out the blobs of kept layers: only hosts that have them can load the archive.",
)
@click.option(
    "-o",
    "--output",
    "--output-path",
    "output",
    type=completion.Place(),
    metavar="OUT",
    help="Where to write the result: a path, a transport, or - for stdout, which is the default"
    " unless it is a terminal.",
)
@click.option(
    "-t",
    "--tag",
    "tags",
    multiple=True,
    metavar="NAME[:TAG]",
    help="Name of the result; without it, the names of the input stay. Repeatable.",
)
@click.option("--no-tag", is_flag=True, help="Give the result no name.")
@click.option("-m", "--message", metavar="TEXT", help="Comment of the new history row.")
@click.option(
    "--history",
    type=click.Choice(["keep", "drop"]),
    default="keep",
    show_default=True,
    help="keep: the rows of squashed layers become empty rows. drop: one row replaces them.",
)
@click.option(
    "--created",
    type=completion.Words("source", "now"),
    metavar="source|now|TIME",
    default="source",
    show_default=True,
    help="Creation time of the result. source: that of the input. now: the clock, or"
    " SOURCE_DATE_EPOCH. TIME: RFC 3339 or epoch seconds.",
)
@click.option(
    "--compress",
    type=completion.Words("auto", "none", "gzip", "zstd"),
    metavar="auto|none|gzip[:LEVEL]|zstd[:LEVEL]",
    default="auto",
    show_default=True,
    help="Compression of the new layer. auto: that of the newest layer of the input.",
)
@click.option(
    "--compress-kept",
    is_flag=True,
    help="Also compress kept layers that are not compressed. Their blobs change; diff_ids and the"
    " image ID do not.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["docker", "oci"]),
    help="docker, the default: an archive that every engine loads. oci: an OCI archive.",
)
@click.option(
    "--load", "--load-image", "load", is_flag=True, help="Load the result into the docker daemon."
)
@click.option(
    "-c",
    "--cleanup",
    is_flag=True,
    help="With docker-daemon: as input and --load: remove the source image, unless it has another"
    " name or a container uses it.",
)
@click.option(
    "--verify",
    is_flag=True,
    help="Read the result back, and prove that its files and its config are right.",
)
@click.option(
    "--report",
    "reports",
    multiple=True,
    type=completion.Place(),
    metavar="FILE",
    help="Write a report: JSON, or Markdown if FILE ends in .md; repeatable.",
)
@click.option(
    "--iidfile",
    type=completion.Sink(),
    metavar="FILE",
    help="Write the image ID of the result to FILE, as docker build does.",
)
@click.option(
    "--digestfile",
    type=completion.Sink(),
    metavar="FILE",
    help="Write the manifest digest of the result to FILE, as podman push does.",
)
@click.option(
    "--provenance",
    type=completion.Place(),
    metavar="FILE",
    help="Write to FILE how the result was made: an in-toto statement with SLSA provenance, not"
    " signed.",
)
@click.option(
    "--export-attestations",
    type=completion.Place(),
    metavar="DIR",
    help="Save to DIR what the result cannot have: attestations (SBOM, provenance) and signatures"
    " of the image before squashing, one file each. DIR must be empty or must not exist.",
)
@click.option(
    "--strict",
    metavar="[=KIND,...]",
    help="Exit 1 if engines disagree about the image: any warning, or one of these kinds.",
)
@options.clamp_mtime
@options.max_size
@click.option("--dry-run", is_flag=True, help="Plan and report, but write nothing else.")
@options.shared
@click.version_option(__version__, message="%(prog)s %(version)s")
def command(
    *,
    shared: options.Shared,
    image: str | None,
    output: str | None,
    tags: tuple[str, ...],
    no_tag: bool,
    load: bool,
    cleanup: bool,
    reports: tuple[str, ...],
    strict: str | None,
    dry_run: bool,
    verify: bool,
    max_dead: str | None,
    provenance: str | None,
    **own: Any,
) -> None:
    """Squash, report, and clean up; `own` are options that `squash_archive` takes as they are."""
    checks.exclude(("--tag", tags), ("--no-tag", no_tag))
    _check_dry_run(dry_run, load, provenance, own["export_attestations"])
    _check_base(own["base"], own["keep_layers"], own["onto"], max_dead)
    source = checks.source(image)
    daemon_name = _daemon_name(image)
    if cleanup and not (load and daemon_name):
        raise UsageError("needs a docker-daemon: input and --load", where="--cleanup")
    destination = _destination(output, load or dry_run)
    inputs = source, *map(_place_of, (own["base"], own["onto"], *shared.blobs_from))
    _check_files({**own, "provenance": provenance}, reports, inputs, destination)
    from squasher import api
    from squasher.archive import daemon
    from squasher.cli import report, warnings
    from squasher.cli.cleanup import clean_up

    before = daemon.image_id(daemon_name) if cleanup else ""
    phases = ["read", "hash", *([] if dry_run else ["write"]), *(["compare"] if verify else [])]
    with shared.watching(*phases) as progress:
        done = api.squash_archive(
            source,
            destination,
            tags=() if no_tag else tags or None,
            image=shared.image,
            platform=shared.platform,
            blobs_from=shared.blobs_from,
            max_dead=None if max_dead is None else options.share("--max-dead", max_dead),
            strict=None if strict is None else warnings.kinds(strict),
            verify=verify,
            load=load,
            dry_run=dry_run,
            tmp_dir=shared.tmp_dir,
            progress=progress,
            **own,
        )
    _write_beside(done, reports, provenance)
    if not shared.quiet:
        width = console.width()
        console.tell(report.summary(done, width, verbose=shared.verbose, written=not dry_run))
    if cleanup:
        ids = [str(each.image.config.image_id) for each in done.images]
        clean_up(daemon_name, before, ids + [str(digest) for digest in done.manifests])


def _write_beside(done: SquashReport, reports: Iterable[str], provenance: str | None) -> None:
    from squasher.cli import encoder, report
    from squasher.cli.provenance import asked, statement

    for path in reports:
        checks.write_file(path, report.render(done, markdown=path.endswith(".md")))
    if provenance is not None:
        parameters = asked(click.get_current_context(), os.environ)
        checks.write_file(provenance, encoder.text(statement(done, parameters)) + "\n")


def _check_dry_run(dry_run: bool, load: bool, provenance: str | None, exported: str | None) -> None:
    """Require that nothing is asked for that needs a result. Raises UsageError."""
    files = (("--provenance", provenance), ("--export-attestations", exported))
    for option in (("--load", load), *files):
        checks.exclude(("--dry-run", dry_run), option)


def _check_base(
    base: str | None, keep_layers: int | None, onto: str | None, max_dead: str | None
) -> None:
    """Require that the options say one way at most what is kept. Raises UsageError."""
    checks.exclude(
        ("--onto", onto is not None),
        ("-f", base is not None),
        ("--keep-layers", keep_layers is not None),
    )
    if max_dead is not None and onto is None:
        raise UsageError("needs --onto", where="--max-dead")


def _check_files(
    asked: Mapping[str, Any],
    reports: Sequence[str],
    inputs: Sequence[object],
    destination: object,
) -> None:
    """Require that each file and folder can be written without harm to another.

    `asked` are the values of options.
    """
    to_stdout = destination is not None and hasattr(destination, "write")
    files = [(f"--{name}", asked[name]) for name in ("provenance", "iidfile", "digestfile")]
    for option, path in (*(("--report", path) for path in reports), *files):
        if path is not None:
            checks.check_place(
                option,
                path,
                inputs=inputs,
                output=destination,
                stdout_takes="the archive" if to_stdout else "",
            )
    checks.check_folder("--export-attestations", asked["export_attestations"], inputs, destination)


def _daemon_name(image: str | None) -> str:
    from squasher.archive.location import parse_location

    location = parse_location(image or "-")
    return location.path if location.kind == "docker-daemon" else ""


def _place_of(base: str | None) -> Location | None:
    """Return where BASE lies, if that is a place; `auto` is none, whatever is called so."""
    from squasher.archive.location import parse_location

    try:
        return None if base == "auto" else parse_location(base or "-")
    except UsageError:  # told where it is opened
        return None


def _destination(output: str | None, elsewhere: bool) -> str | BinaryIO | Location | None:
    """Return where the archive goes; None if nothing is said and it goes `elsewhere`."""
    checks.require(("-o", output))
    from squasher.archive.location import parse_location

    location = parse_location(output if output is not None else "-", output=True)
    if location.kind == "path":
        return location.path
    if location.kind != "stream":
        return location
    if elsewhere and output is None:
        return None
    if sys.stdout is None or sys.stdout.isatty():
        what = "closed" if sys.stdout is None else "a terminal"
        raise UsageError(
            f"stdout is {what}", where="-o", hint="name a file with -o, or redirect it"
        )
    # Unbuffered: what a broken pipe leaves in a buffer is complained about at exit.
    return getattr(sys.stdout.buffer, "raw", sys.stdout.buffer)


if os.name == "nt":  # pragma: no cover
    for _stream in (sys.stdin, sys.stdout):
        if _stream is not None:
            import msvcrt

            msvcrt.setmode(_stream.fileno(), os.O_BINARY)  # type: ignore[attr-defined]
