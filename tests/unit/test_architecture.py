"""The packages, as docs/development/architecture.md says: who may use whom."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import squasher

PACKAGE = Path(squasher.__file__).parent
PAGE = PACKAGE.parent / "docs" / "development" / "architecture.md"
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
#: What the command must not load before it is needed.
HEAVY = ("docker", "requests", "tqdm", "jsonschema", "jinja2")
#: Starting points; whatever they use is nobody's concern.
DOORS = ("__init__", "__main__", "_version")

#: Lines that a module, a class and a function may have.
MODULE_MAX, CLASS_MAX, FUNCTION_MAX = 500, 200, 60
#: What is longer, and why.
LONGER = {
    "tar.walk.LayerWalk.feed": "the loop over the entries of a layer, which is hot",
    "tar.writer.header": "one header, field by field, in the order of the format",
    "api.squash_archive": "its arguments are all options of the command, each with its line",
}


def rooms() -> dict[str, set[str]]:
    """Return the packages of the page, in its order, with the packages and modules each may use."""
    table = PAGE.read_text(encoding="utf-8").partition("## The packages")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|$", table, re.MULTILINE)
    return {name: set(re.findall(r"[\w.]+", uses)) for name, uses in rows}


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the modules of the package that `tree` imports, also inside functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            package, _, module = (node.module or "").partition(".")
            if package == "squasher":
                for alias in node.names:
                    inner = f"{module}.{alias.name}" if module else alias.name
                    yield inner if inner in MODULES else module or "__init__"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                package, _, module = alias.name.partition(".")
                if package == "squasher":
                    yield module or "__init__"
        else:
            yield from imports(node)


def used_by(module: str) -> set[str]:
    return set(imports(ast.parse(MODULES[module].read_text(encoding="utf-8"))))


def room_of(module: str) -> str:
    return module.partition(".")[0]


def as_named(modules: set[str], uses: set[str]) -> set[str]:
    """Return modules that are used as a row has them: by name if it names one, else by room."""
    by_name = {room_of(name) for name in uses if "." in name}
    return {module if room_of(module) in by_name else room_of(module) for module in modules}


def test_every_module_is_in_a_room() -> None:
    assert {room_of(module) for module in MODULES} == {*rooms(), *DOORS}


def test_a_room_uses_only_rooms_above_it() -> None:
    above: set[str] = set()
    for room, uses in rooms().items():
        assert {room_of(name) for name in uses} <= above, room
        assert {name for name in uses if "." in name} <= MODULES.keys(), room
        above.add(room)


@pytest.mark.parametrize("module", [name for name in MODULES if room_of(name) not in DOORS])
def test_a_module_uses_only_what_its_room_may(module: str) -> None:
    room = room_of(module)
    uses = rooms()[room]
    assert as_named(used_by(module), uses) - {room, "_version"} <= uses


def test_what_a_room_may_use_it_uses() -> None:
    for room, uses in rooms().items():
        inside = [module for module in MODULES if room_of(module) == room]
        found = as_named({used for module in inside for used in used_by(module)}, uses)
        assert uses <= found, room


def test_no_module_leads_back_to_itself() -> None:
    TopologicalSorter({module: used_by(module) for module in MODULES}).prepare()


def sizes() -> Iterator[tuple[str, int, int]]:
    """Yield every module, class and function with its lines, and how many it may have."""
    for module, path in MODULES.items():
        text = path.read_text(encoding="utf-8")
        yield module, len(text.splitlines()), MODULE_MAX
        stack: list[tuple[str, ast.AST]] = [(module, ast.parse(text))]
        while stack:
            name, parent = stack.pop()
            for node in ast.iter_child_nodes(parent):
                if not isinstance(node, ast.ClassDef | ast.FunctionDef):
                    continue
                most = CLASS_MAX if isinstance(node, ast.ClassDef) else FUNCTION_MAX
                assert node.end_lineno
                yield f"{name}.{node.name}", node.end_lineno - node.lineno + 1, most
                stack.append((f"{name}.{node.name}", node))


def test_nothing_is_too_long_to_be_read_at_once() -> None:
    longer = {name: lines for name, lines, most in sizes() if lines > most}
    assert not {name: lines for name, lines in longer.items() if name not in LONGER}


def test_what_may_be_longer_is() -> None:
    shorter_now = LONGER.keys() - {name for name, lines, most in sizes() if lines > most}
    assert not shorter_now, "take them off the list"


def test_the_proof_and_diff_share_with_the_work_only_what_reads() -> None:
    """Also nothing that they use leads there; `verify.archive` begins with what was written."""
    readers = {"layers.read", "layers.content", "layers.options"}
    for start in ("verify.proof", "verify.comparison"):
        todo, seen = [start], {start}
        while todo:
            new = used_by(todo.pop()) - seen
            seen |= new
            todo += new & MODULES.keys()
        assert {module for module in seen if room_of(module) == "layers"} <= readers, start


def test_the_test_sees_imports_wherever_they_stand() -> None:
    text = """
from typing import TYPE_CHECKING
import squasher.image.base, os
from squasher import api, Image
from squasher.tar import paths
if TYPE_CHECKING:
    from squasher.cli.main import run
def f():
    if True:
        from squasher.layers.tree import Tree
"""
    expected = ["image.base", "api", "__init__", "tar.paths", "layers.tree"]
    assert list(imports(ast.parse(text))) == expected


@pytest.mark.parametrize("noun", ["utils", "helpers", "common", "manager"])
def test_every_module_has_found_its_noun(noun: str) -> None:
    assert not [module for module in MODULES if noun in module]


@pytest.mark.parametrize("module", ["squasher", "squasher.cli.main"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({set(HEAVY)!r} & sys.modules.keys()))"
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
    for module, path in MODULES.items():
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), module
