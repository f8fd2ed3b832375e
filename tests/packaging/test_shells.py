"""Completion in the shells themselves, and the man pages."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

from tests.packaging.conftest import DEMO, ROOT, done, missing, run

PAGES = sorted((ROOT / "man").iterdir())
#: How the shell is started (HOME is empty), and what makes it complete at all.
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], ""),
    "zsh": (["zsh", "-f", "-i"], "autoload -Uz compinit && compinit -u -d zcompdump; "),
    "fish": (["fish", "-i"], ""),
}
_CONTROL = re.compile(r"\x1b(\[[0-9;?>=]*[a-zA-Z]|[()][0-9A-B]|[=>]|\].*?(\x07|\x1b\\))|[\r\x0f]")


def documented(shell: str) -> str:
    """Return the line that the documentation has for a shell."""
    page = (ROOT / "docs/how-to/install.md").read_text()
    line: str
    (line,) = re.findall(rf"^.*_SQUASH_COMPLETE={shell}_source.*$", page, re.MULTILINE)
    return line.partition("  #")[0].strip()


class Terminal:
    """A shell on a terminal of its own."""

    def __init__(self, words: list[str], folder: Path) -> None:
        self._master, slave = pty.openpty()
        env = {
            "HOME": str(folder),
            "PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}",
            "TERM": "xterm",
            "LANG": "C.UTF-8",
        }
        self.process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *words],
            cwd=folder,
            env=env,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    def type(self, keys: str, until: str) -> None:
        """Type, and read until the text appears."""
        os.write(self._master, keys.encode())
        seen, end = "", time.monotonic() + 60
        while until not in _CONTROL.sub("", seen):
            ready, _, _ = select.select([self._master], [], [], end - time.monotonic())
            assert ready, f"no {until!r} in {seen!r}"
            seen += os.read(self._master, 65536).decode(errors="replace")

    def close(self) -> None:
        """End the shell."""
        self.process.kill()
        self.process.wait()
        os.close(self._master)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_line_typed_with_the_tab_key(shell: str, tmp_path: Path) -> None:
    words, before = SHELLS[shell]
    if shutil.which(words[0]) is None:
        missing(f"no {words[0]}")
    shutil.copy(DEMO, tmp_path / "demo.tar")
    (tmp_path / ".config/fish/completions").mkdir(parents=True)
    terminal = Terminal(words, tmp_path)
    try:
        terminal.type(f"{before}{documented(shell)}; echo rea''dy\n", "ready\n")
        terminal.type("squash --keep-l\t", "--keep-layers")
        terminal.type(" 1 de\t", "demo.tar")
        terminal.type(" --history k\t", "keep")
        terminal.type(" -o small.tar; echo en''ded\n", "ended")
        assert (tmp_path / "small.tar").stat().st_size
        terminal.type("squash insp\t", "inspect")
        terminal.type(" --js\t", "--json")
        terminal.type(" sm\t", "small.tar")
        terminal.type(" > found.json; echo en''ded\n", "ended")
        assert (tmp_path / "found.json").read_text().startswith("{")
    finally:
        terminal.close()


def test_the_man_pages_are_those_of_the_options(tmp_path: Path) -> None:
    """`scripts/make-man` brings them up to date."""
    done(run(ROOT / "scripts/make-man", tmp_path))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        path.name: path.read_text() for path in PAGES
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_a_man_page_is_sound(page: Path) -> None:
    if shutil.which("mandoc") is None:
        missing("no mandoc")
    said = run("mandoc", "-T", "lint", "-W", "unsupp", page)
    assert (said.returncode, said.stdout) == (0, ""), said.stdout
    shown = done(run("mandoc", "-T", "utf8", "-O", "width=100", page)).replace("\b", "")
    assert "NAME" in shown
    assert "--help" in re.sub("(.)\\1", r"\1", shown) or "-help" in shown


def test_every_option_is_in_the_man_page() -> None:
    text = (ROOT / "man/squash.1").read_text().replace("\\-", "-")
    said = done(run(sys.executable, "-m", "squasher", "--help"))
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", said))
    assert len(options) > 20
    assert {option for option in options if option not in text} == set()
