"""The command `squash diff`: options in, exit codes out."""

from __future__ import annotations

import click

from squasher import terminal


@click.command("diff", context_settings=terminal.CONTEXT)
@click.argument("before")
@click.argument("after")
def command(before: str, after: str) -> int:
    """Show where two images differ."""
    raise NotImplementedError
