"""The house: a class name is used once, no file imports in a circle or is too long; below the command line no text
names an option."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src/hardplace"
OPTION = re.compile(r"(?<![\w-])--[a-z]")
MOST_LINES = 350  # of a module


@cache
def trees() -> tuple[tuple[str, ast.Module], ...]:
    return tuple((str(path.relative_to(SOURCE)), ast.parse(path.read_text())) for path in sorted(SOURCE.rglob("*.py")))


def imports(tree: ast.Module, modules: Collection[str]) -> Iterator[str]:
    """Yield the modules that a file imports anywhere: at its top, for types alone, within a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in modules)
        elif isinstance(node, ast.ImportFrom):
            for name in node.names:
                yield next((one for one in (f"{node.module}.{name.name}", node.module) if one in modules), "")


def test_no_files_import_each_other_in_a_circle() -> None:
    """`graphlib` raises CycleError, which names the files."""
    named = {
        ("hardplace/" + name).removesuffix(".py").removesuffix("/__init__").replace("/", "."): tree
        for name, tree in trees()
    }
    TopologicalSorter({name: {*imports(tree, named)} - {name, ""} for name, tree in named.items()}).prepare()


def test_no_module_is_too_long() -> None:
    lines = {str(path.relative_to(SOURCE)): path.read_text().count("\n") for path in SOURCE.rglob("*.py")}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_a_class_name_is_used_once() -> None:
    places = defaultdict(list)
    for name, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name)
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_no_text_below_the_command_line_names_an_option() -> None:
    said = []
    for name, tree in trees():
        # the page prints the command that asks again; exports write the flags of other programs
        if name.startswith(("cli/", "exports/")) or name == "report/page.py":
            continue
        docstrings = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            text = node.value if isinstance(node, ast.Constant) and id(node) not in docstrings else None
            if isinstance(text, str) and OPTION.search(text):
                said.append(f"{name}:{node.lineno}: {text}")
    assert said == []
