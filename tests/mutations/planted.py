"""The package with one text of one module replaced, beside the one that is imported."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import squasher
from tests.mutations.mutations import Mutation

PACKAGE = Path(squasher.__file__).parent
_TAKEN = ("squasher", "tests.conformance", "tests.unit")


class _Loader(SourceFileLoader):
    """Loads the changed source; nothing of it is cached."""

    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self._source = source

    def get_code(self, fullname: str) -> CodeType:
        """Return the code of the changed source."""
        return compile(self._source, self.path, "exec", dont_inherit=True)


class _Finder:
    """Finds the one module that is changed."""

    def __init__(self, mutation: Mutation) -> None:
        self._name = f"squasher.{mutation.module}"
        self._path = str(PACKAGE / f"{mutation.module}.py")
        self._source = changed(mutation)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: Any = None
    ) -> ModuleSpec | None:
        """Return how to load the module if it is that one."""
        if name != self._name:
            return None
        loader = _Loader(name, self._path, self._source)
        return importlib.util.spec_from_file_location(name, self._path, loader=loader)


def source_of(mutation: Mutation) -> str:
    """Return the source that the mutation is for."""
    return (PACKAGE / f"{mutation.module}.py").read_text(encoding="utf-8")


def changed(mutation: Mutation) -> str:
    """Return the source with the fault."""
    return source_of(mutation).replace(mutation.old, mutation.new)


@contextlib.contextmanager
def planted(mutation: Mutation) -> Iterator[ModuleType]:
    """Give a fresh copy of the package that has the fault; the other one comes back at the end.

    Tests that are imported meanwhile test that copy.
    """
    before = _taken()
    finder = _Finder(mutation)
    sys.meta_path.insert(0, finder)
    try:
        yield importlib.import_module("squasher")
    finally:
        sys.meta_path.remove(finder)
        _taken()
        sys.modules.update(before)


def _taken() -> dict[str, ModuleType]:
    """Take the package, and all that may have imported it, out of the modules; return those."""
    names = [name for name in sys.modules if name.startswith(_TAKEN)]
    return {name: sys.modules.pop(name) for name in names}


def named_test(node: str) -> Callable[[], None]:
    """Return the test that pytest knows as `node`, imported anew; in brackets a case's name."""
    path, _, name = node.partition("::")
    function, _, case = name.removesuffix("]").partition("[")
    test = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), function)
    if not case:
        return functools.partial(test)
    corpus = importlib.import_module("tests.conformance.corpus")
    return functools.partial(test, corpus.by_name(case))
