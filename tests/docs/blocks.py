"""The commands in Markdown pages, and running them.

A fenced block is run if its language is one of:

sh        a script; it must succeed
console   commands after `$ `, each followed by what it prints. What fails must be followed by
          `echo $?`. `...` stands for anything within a line, and alone on a line for any lines;
          a time in seconds stands for any other
python    a program; it must succeed

The second word of the fence says what the block needs: nothing, "engines", "packages" (a new
environment, where tests/packaging runs it), "registry" (where tests/engines/test_push.py does),
"image" (where tests/engines/test_container.py does) or "slurm" (where tests/docs/test_slurm.py
does). A page is one folder, and its blocks run there from the first to the last. Other languages
only show something: LISTED.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parent.parent.parent
RUN = ("sh", "console", "python")
NEEDS = ("", "engines", "packages", "registry", "image", "slurm")
LISTED = ("dockerfile", "json", "markdown", "text", "yaml")
_END = "--- end of command:"


@dataclass(frozen=True)
class Block:
    """A fenced block: where it begins, its language, what it needs, its text."""

    line: int
    language: str
    needs: str
    text: str


def pages() -> list[Path]:
    """Return every page for users: the README and docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def name(page: Path) -> str:
    """Return the name of a page in test IDs."""
    return str(page.relative_to(ROOT))


def tokens(page: Path) -> Iterator[Token]:
    """Yield the parsed page, inline parts after the block that they are in."""
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text("utf-8")):
        yield token
        yield from token.children or ()


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    found = []
    for token in tokens(page):
        if token.type == "fence":
            language, _, needs = token.info.partition(" ")
            found.append(Block((token.map or [0])[0] + 1, language, needs, token.content))
    return found


def run(block: Block, folder: Path, shell: Sequence[str], env: Mapping[str, str]) -> None:
    """Run a block in `folder`; AssertionError says what went wrong.

    `shell` are the words before a script, as in `sh -c`; the script gets the folder as $1.
    """
    go = 'cd "$1"\n'
    if block.language == "sh":
        _sh(block, f"set -eu\n{go}{block.text}", folder, shell, env)
    elif block.language == "python":
        (folder / "page.py").write_text(block.text)
        _sh(block, f"set -eu\n{go}python3 page.py", folder, shell, env)
    else:
        _console(block, go, folder, shell, env)


def _sh(
    block: Block, script: str, folder: Path, shell: Sequence[str], env: Mapping[str, str]
) -> str:
    done = subprocess.run(
        [*shell, script, "sh", str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env,
        timeout=300,
        check=False,
    )
    printed = done.stdout.decode("utf-8", "replace")
    assert done.returncode == 0, f"line {block.line}: exit {done.returncode}\n{printed}"
    return printed


def _console(
    block: Block, go: str, folder: Path, shell: Sequence[str], env: Mapping[str, str]
) -> None:
    parts = commands(block)
    mark = f"\nstatus=$?; printf '\\n{_END} %s\\n' $status; (exit $status)\n"
    script = go + "".join(command + mark for command, _ in parts) + "exit 0\n"
    printed = re.split(rf"\n{_END} (\d+)\n", _sh(block, script, folder, shell, env))
    for number, (command, expected) in enumerate(parts):
        output, status = printed[2 * number], printed[2 * number + 1]
        told = number + 1 < len(parts) and parts[number + 1][0].strip() == "echo $?"
        assert status == "0" or told, f"line {block.line}: {command}: exit {status}\n{output}"
        assert fits(expected, output), (
            f"line {block.line}: {command}\n--- the page has\n{expected}\n--- it prints\n{output}"
        )


def commands(block: Block) -> list[tuple[str, str]]:
    """Return the commands of a console block, each with what the page says that it prints."""
    found: list[tuple[str, str]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        elif line.startswith("> ") and found and not found[-1][1]:
            found[-1] = (f"{found[-1][0]}\n{line[2:]}", "")
        else:
            assert found, f"line {block.line}: a console block begins with `$ `"
            found[-1] = (found[-1][0], f"{found[-1][1]}{line}\n")
    return found


def fits(expected: str, output: str) -> bool:
    """Say whether `output` is what a page shows, spaces at the ends of lines apart."""
    lines = []
    for line in expected.strip().splitlines():
        if line.strip() == "...":
            lines.append(r"(?:.*\n)*?")
            continue
        pattern = re.sub(
            r"\d+\\\.\d s\b", r"\\d+\\.\\d s", re.escape(line.rstrip()).replace(r"\ s", " s")
        )
        lines.append(pattern.replace(r"\.\.\.", ".*") + r" *\n")
    return bool(re.fullmatch("".join(lines), output.strip("\n") + "\n" if output.strip() else ""))
