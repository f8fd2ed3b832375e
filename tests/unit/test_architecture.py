"""The order of the modules, which is what keeps them apart."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import squasher

#: A module imports only modules above it.
ORDER = (
    "_version",
    "errors",
    "extras",
    "digest",
    "paths",
    "tarstream",
    "compression",
    "content",
    "platforms",
    "spec",
    "image",
    "base",
    "location",
    "plugin",
    "completion",
    "spool",
    "job",
    "store",
    "tree",
    "merge",
    "reader",
    "scan",
    "writer",
    "proof",
    "comparison",
    "daemon",
    "_squash",
    "efficiency",
    "analysis",
    "target",
    "_core",
    "terminal",
    "report",
    "page",
    "cli_diff",
    "cli_inspect",
    "cli",
    "__init__",
    "__main__",
)
PACKAGE = Path(squasher.__file__).parent
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))
#: What the command must not load before it is needed.
HEAVY = ("docker", "requests", "tqdm", "jsonschema", "jinja2")


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the modules of the package that `tree` imports, also inside functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            package, _, module = (node.module or "").partition(".")
            if package == "squasher":
                names = [alias.name for alias in node.names]
                yield from (
                    [module] if module else [n if n in MODULES else "__init__" for n in names]
                )
        elif isinstance(node, ast.Import):
            for alias in node.names:
                package, _, module = alias.name.partition(".")
                if package == "squasher":
                    yield module or "__init__"
        else:
            yield from imports(node)


def test_every_module_has_its_place() -> None:
    assert sorted(ORDER) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_modules_above_it(module: str) -> None:
    found = set(imports(ast.parse((PACKAGE / f"{module}.py").read_text())))
    above = ORDER[: ORDER.index(module)]
    assert found <= set(above)


def test_the_proof_shares_with_the_work_only_the_readers() -> None:
    found = set(imports(ast.parse((PACKAGE / "proof.py").read_text())))
    assert not found & {"tree", "merge", "writer", "comparison", "_squash", "base"}


def test_the_test_sees_imports_wherever_they_stand() -> None:
    text = """
from typing import TYPE_CHECKING
import squasher.base, os
from squasher import spec, Image
if TYPE_CHECKING:
    from squasher.cli import run
def f():
    if True:
        from squasher.tree import Tree
"""
    assert list(imports(ast.parse(text))) == ["base", "spec", "__init__", "tree"]


@pytest.mark.parametrize("noun", ["utils", "helpers", "common", "manager"])
def test_every_module_has_found_its_noun(noun: str) -> None:
    assert not [module for module in MODULES if noun in module]


@pytest.mark.parametrize("module", ["squasher", "squasher.cli"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({HEAVY} & sys.modules.keys()))"
    code = code.replace(str(HEAVY), repr(set(HEAVY)))
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    assert loaded.stdout.split() == []


def test_what_is_public_is_there_and_documented() -> None:
    for name in squasher.__all__:
        value = getattr(squasher, name)
        assert value.__doc__, name


def test_what_is_public_is_listed_and_nothing_else_is_there() -> None:
    assert dir(squasher) == sorted(squasher.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        squasher.nothing  # noqa: B018


def test_modules_say_what_they_are() -> None:
    for module in MODULES:
        assert ast.get_docstring(ast.parse((PACKAGE / f"{module}.py").read_text())), module
