"""What people type out of a habit from other tools, and what they mean by it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence

import click

from squasher.errors import UsageError


def with_values(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with a value for each option that stands alone: it is not IMAGE.

    Raises UsageError for a value of `--load-image`, which docker-squash takes.
    """
    words = list(arguments)
    end = words.index("--") if "--" in words else len(words)
    for word, after in zip(words[:end], [*words[1:end], ""], strict=False):
        answered = word == "--load-image" and after.lower() in _ANSWERS
        if word.startswith("--load-image=") or (answered and not os.path.exists(after)):
            raise UsageError(
                "takes no value", where="--load-image", hint="leave it out to load nothing"
            )
    return [_ALONE.get(word, word) for word in words[:end]] + words[end:]


#: Options that may have a value behind `=`, and what they say without.
_ALONE = {"--strict": "--strict=", "--clamp-mtime": "--clamp-mtime=SOURCE_DATE_EPOCH"}


def valued(parameters: Iterable[click.Parameter]) -> set[str]:
    """Return the names of the options that take a value."""
    options = (each for each in parameters if isinstance(each, click.Option) and not each.is_flag)
    return {name for option in options for name in option.opts}


def check_meant(
    arguments: Sequence[str], with_value: Collection[str], commands: Collection[str]
) -> None:
    """Raise UsageError for words that would be read as something else than what was meant.

    `-from root` would be the base `rom` of the image `root`. Values of options (`with_value` are
    the options that have one) and names of files are not looked at.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    for before, word in zip(["", *arguments], arguments[:end], strict=False):
        letters = before.startswith("-") and not before.startswith("--")
        if (f"-{before[-1]}" if letters else before) in with_value or os.path.exists(word):
            continue
        if word in _MEANT:
            raise UsageError("there is no such option", where=word, hint=_MEANT[word])
        if word in commands:
            hint = f"run `squash {word} ...`; for an archive with that name, write ./{word}"
            raise UsageError("the command must be the first word", where=word, hint=hint)


#: What other squashers, and habits, have; among them jwilder/docker-squash.
_MEANT = {
    "-from": "use -f BASE to keep a base; leave it out to squash all layers, as `-from root` does",
    "-i": "give the archive without an option: squash image.tar",
    **{
        f"-{name}": f"--{name}"
        for name in ("verbose", "quiet", "output", "tag", "load", "help", "version", "verify")
    },
}

#: What docker-squash takes for yes and no.
_ANSWERS = ("yes", "true", "t", "y", "1", "no", "false", "f", "n", "0")
