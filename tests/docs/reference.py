"""The parts of the reference that are written by the code: python -m tests.docs.reference

Each stands in its page between `<!-- from the code: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import typing
from collections.abc import Iterator
from types import ModuleType

import click

import squasher
from squasher import errors
from squasher.cli import diff as cli_diff
from squasher.cli import inspect as cli_inspect
from squasher.cli import main as main_module
from squasher.cli import warnings
from tests.docs.blocks import ROOT

FOLDER = ROOT / "docs" / "reference"
_PART = re.compile(r"(<!-- from the code: ([a-z-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
_COMMANDS = {
    "squash": main_module.command,
    "inspect": cli_inspect.command,
    "diff": cli_diff.command,
}


def updated(text: str) -> str:
    """Return a page with its parts as the code has them now."""
    return _PART.sub(lambda part: f"{part[1]}\n{written(part[2])}\n{part[4]}", text)


def written(name: str) -> str:
    """Return one part."""
    if name in _COMMANDS:
        lines = _options(_COMMANDS[name])
    elif name == "warnings":
        lines = _warnings()
    elif name == "errors":
        lines = _errors()
    elif name == "types":
        lines = _types()
    else:
        lines = _names(name)
    return "".join(f"{line}\n" for line in lines)


def _cell(text: str) -> str:
    """Return text for a cell of a table."""
    return text.replace("|", r"\|").replace("<", r"\<")


def _options(command: click.Command) -> Iterator[str]:
    yield "| option | |"
    yield "|---|---|"
    with click.Context(command, **command.context_settings) as context:
        for option in command.get_params(context):
            record = option.get_help_record(context)
            if isinstance(option, click.Option) and record:
                yield f"| `{record[0].replace('|', chr(92) + '|')}` | {_cell(record[1])} |"


def _warnings() -> Iterator[str]:
    yield "| kind | |"
    yield "|---|---|"
    for kind, words in sorted(warnings.TEXTS.items()):
        yield f"| `{kind}` | {_cell(words)} |"


def _errors() -> Iterator[str]:
    yield "| exception | exit code | |"
    yield "|---|--:|---|"
    found = [x for x in vars(errors).values() if isinstance(x, type)]
    for each in found:
        if issubclass(each, squasher.SquasherError) and each.__module__ == errors.__name__:
            yield f"| `{each.__name__}` | {each.exit_code} | {_cell(_first(each))} |"


def _first(thing: object) -> str:
    """Return the first paragraph of a docstring, on one line."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def public(kind: str) -> list[str]:
    """Return the public names of a kind: calls, values or errors."""
    found = []
    for name in squasher.__all__:
        value = getattr(squasher, name)
        if inspect.isfunction(value):
            group = "calls"
        elif isinstance(value, type) and issubclass(value, squasher.SquasherError):
            group = "errors"
        else:
            group = "values"
        if group == kind and name != "__version__":
            found.append(name)
    return found


def _names(kind: str) -> Iterator[str]:
    for name in public(kind):
        value = getattr(squasher, name)
        if inspect.isfunction(value):
            lines = _signature(name, value)
        else:
            lines = _fields(f"squasher.{name}", value)
        yield from _section(name, lines, inspect.getdoc(value) or "")


def _section(name: str, lines: Iterator[str], words: str) -> Iterator[str]:
    yield from (f"### {name}", "", "```text", *lines, "```", "")
    if words:
        yield from ("```text", words, "```", "")


def _types() -> Iterator[str]:
    for name, module in others().items():
        value = getattr(module, name)
        if isinstance(value, type):
            lines = _fields(f"{module.__name__}.{name}", value)
            yield from _section(name, lines, inspect.getdoc(value) or "")
        else:
            node = _definition(name, module)
            yield from _section(
                name, iter([f"{name} = {_right(node, module)}"]), _above(node, module)
            )


def others() -> dict[str, ModuleType]:
    """Return the types that public names lead to and that are not public, and their modules."""
    found: dict[str, ModuleType] = {}
    todo = [getattr(squasher, name) for kind in ("calls", "values") for name in public(kind)]
    texts = [(_annotations(each), importlib.import_module(each.__module__)) for each in todo]
    while texts:
        text, where = texts.pop()
        for name in set(re.findall(r"\b[A-Z]\w+", text)) - {*squasher.__all__, *found}:
            module = _home(name, where)
            if module is None:
                continue
            found[name] = module
            value = getattr(module, name)
            if isinstance(value, type):
                texts.append((_annotations(value), module))
            else:
                texts.append((_right(_definition(name, module), module), module))
    return dict(sorted(found.items()))


def _annotations(value: typing.Any) -> str:
    """Return what a function takes and returns, or a class holds, as one text."""
    found = [note for name, note in inspect.get_annotations(value).items() if name[0] != "_"]
    for name, member in () if inspect.isfunction(value) else vars(value).items():
        if isinstance(member, property) and name[0] != "_" and member.fget:
            found.append(member.fget.__annotations__["return"])
    return " ".join(map(str, found))


def _home(name: str, module: ModuleType) -> ModuleType | None:
    """Return the module of the package that defines what `module` calls `name`, if one does."""
    node = _definition(name, module)
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Attribute):
        return _home(name, vars(module)[ast.unparse(node.value.value)])
    if node is not None:
        return module
    for each in ast.walk(_tree(module)):
        if isinstance(each, ast.ImportFrom) and name in [alias.name for alias in each.names]:
            where = each.module or ""
            return _home(name, importlib.import_module(where)) if "squasher" in where else None
    return None


def _tree(module: ModuleType) -> ast.Module:
    return ast.parse(inspect.getsource(module))


def _definition(name: str, module: ModuleType) -> ast.stmt | None:
    for node in _tree(module).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return node
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return node
    return None


def _right(node: ast.stmt | None, module: ModuleType) -> str:
    """Return the right side of an assignment, as it is written."""
    assert isinstance(node, ast.Assign)
    return ast.get_source_segment(inspect.getsource(module), node.value) or ""


def _above(node: ast.stmt | None, module: ModuleType) -> str:
    """Return the comment above a statement, of lines that begin with `#:`."""
    assert node is not None
    lines = inspect.getsource(module).splitlines()[: node.lineno - 1]
    found: list[str] = []
    while lines and lines[-1].startswith("#:"):
        found.insert(0, lines.pop()[3:])
    return "\n".join(found)


def _signature(name: str, function: typing.Callable[..., object]) -> Iterator[str]:
    signature = inspect.signature(function)
    yield f"squasher.{name}("
    star = False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            star = True
            yield "    *,"
        default = parameter.default
        shown = getattr(default, "__name__", repr(default))
        end = "" if default is parameter.empty else f" = {shown}"
        yield f"    {parameter.name}: {parameter.annotation}{end},"
    yield f") -> {signature.return_annotation}"


def _fields(title: str, value: type) -> Iterator[str]:
    yield f"class {title}"
    for name, annotation in inspect.get_annotations(value).items():
        if not name.startswith("_") and "ClassVar" not in str(annotation):
            yield f"    {name}: {annotation}"
    for name, member in vars(value).items():
        if isinstance(member, property) and not name.startswith("_") and member.fget:
            result = member.fget.__annotations__["return"]
            yield f"    {name}: {result}    # {_first(member)}"


def main() -> None:
    """Bring the pages up to date."""
    importlib.import_module("squasher.cli.main")
    for page in sorted(FOLDER.glob("*.md")):
        page.write_text(updated(page.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
