"""What a shell completes: options, choices, subcommands and files; click speaks to the shells.

The shell asks by running the command with an environment variable that says how. Source: click's
"Shell Completion", whose own entry is for commands that run through `Command.main`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click
from click.types import StringParamType

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

VARIABLE = "_SQUASH_COMPLETE"


class Place(StringParamType):
    """Text that may name a file, or be one of `words`."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self._words = tuple(words)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Return what stands for the shell's own files; if words fit, those and the files that fit.

        Bash would leave out the files.
        """
        from click.shell_completion import CompletionItem

        words = [word for word in self._words if incomplete and word.startswith(incomplete)]
        if not words:
            return [CompletionItem(incomplete, type="file")]
        import glob

        files = sorted(glob.glob(f"{glob.escape(incomplete)}*"))
        return [CompletionItem(text) for text in words + files]


class Sink(Place):
    """The name of a file to write; `-` stands for stdout."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return a name that the system knows."""
        text: str = super().convert(value, param, ctx)
        return "/dev/stdout" if text == "-" else text


class Words(StringParamType):
    """Text for which there are usual words; others are taken too."""

    def __init__(self, *words: str) -> None:
        self._words = words

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Return the words that fit."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(word) for word in self._words if word.startswith(incomplete)]


def answer(command: click.Command, program: str) -> int:
    """Answer the shell, as its question in the environment demands; return the exit code."""
    from click.shell_completion import shell_complete

    try:
        return shell_complete(command, {}, program, VARIABLE, os.environ[VARIABLE])
    except (KeyError, ValueError):  # no shell asks so: words missing, or no text
        return 1
