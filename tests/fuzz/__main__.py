"""Run one harness under atheris: `python -m tests.fuzz HARNESS [what libFuzzer takes]`.

`scripts/fuzz` calls this with its folders and limits.
"""

from __future__ import annotations

import sys
from importlib import import_module

import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]

with atheris.instrument_imports(include=["squasher"]):
    import squasher

    for name in squasher.__all__:  # they are imported when first used, which is too late
        getattr(squasher, name)
    harness = import_module(f"tests.fuzz.{sys.argv.pop(1)}")

atheris.Setup(sys.argv, harness.one)
atheris.Fuzz()
