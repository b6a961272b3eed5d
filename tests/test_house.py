"""The house: a class name is used once; what stands below the command line names no option of it."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src/hardplace"
OPTION = re.compile(r"(?<![\w-])--[a-z]")


def trees() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(SOURCE.rglob("*.py")):
        yield str(path.relative_to(SOURCE)), ast.parse(path.read_text())


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
