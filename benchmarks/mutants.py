"""A mutant, and the probes that say which tests run its statement."""

from __future__ import annotations

import ast
import gc
from dataclasses import dataclass
from itertools import takewhile
from types import CodeType, FunctionType

PROBE = "_mutation_probe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A module with one change: key (the digest of its place), line, text before and after, the whole source."""

    key: str
    module: str
    line: int
    before: str
    after: str
    source: str


def with_probes(source: str, mutants: list[Mutant]) -> str:
    """Return a module that calls PROBE, of builtins, before each mutant's statement, with the keys of mutants.

    Where a statement runs on import, each function of the module calls it.
    """
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    before: dict[ast.stmt, set[str]] = {}
    for one in mutants:
        statement, is_inside = _statement(tree, one.line)
        for place in [statement] if is_inside else [node.body[0] for node in functions]:
            before.setdefault(place, set()).add(one.key)
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            if isinstance(block := getattr(node, field, None), list):
                block[:] = [new for old in block for new in (*_probe(before.get(old, set())), old)]
    at = len(list(takewhile(_is_head, tree.body)))
    lines = f"import builtins\n{PROBE} = getattr(builtins, '{PROBE}', lambda *_: None)"
    tree.body[at:at] = ast.parse(lines).body
    return ast.unparse(ast.fix_missing_locations(tree))


def _first(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(one.lineno for one in decorators)])


def _last(node: ast.stmt) -> int:
    """Return the last line of a statement, of a compound one that of its head."""
    body: list[ast.stmt] = getattr(node, "body", [])
    return max(node.lineno, body[0].lineno - 1) if body else node.end_lineno or node.lineno


def _statement(tree: ast.Module, line: int) -> tuple[ast.stmt, bool]:
    """Return the shortest statement that holds a line, and whether it runs when a function is called."""
    held = [node for node in ast.walk(tree) if isinstance(node, ast.stmt) and _first(node) <= line <= _last(node)]
    statement = min(held, key=lambda node: _last(node) - _first(node))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return statement, any(statement is inner for one in functions for each in one.body for inner in ast.walk(each))


def is_in_function(source: str, line: int) -> bool:
    """Return whether what stands on a line runs when a function is called, not on import."""
    return _statement(ast.parse(source), line)[1]


def replace_code(path: str, before: str, after: str) -> bool:
    """Replace the code of every function of a module that is in memory; return whether that is possible."""
    old, new = (_codes(compile(text, path, "exec", dont_inherit=True)) for text in (before, after))
    if [name for name, _ in old] != [name for name, _ in new]:
        return False
    there = {(name, code.co_firstlineno): fresh for (name, code), (_, fresh) in zip(old, new, strict=True)}
    for function in [one for one in gc.get_objects() if type(one) is FunctionType]:
        code = function.__code__
        if code.co_filename == path and (fresh := there.get((code.co_qualname, code.co_firstlineno))) is not None:
            if len(code.co_freevars) != len(fresh.co_freevars):
                return False
            function.__code__ = fresh
    return True


def _codes(code: CodeType) -> list[tuple[str, CodeType]]:
    """Return the code objects inside one, with their qualified names, in the order in which they stand."""
    inner = [one for one in code.co_consts if isinstance(one, CodeType)]
    return [found for one in inner for found in ((one.co_qualname, one), *_codes(one))]


def _probe(keys: set[str]) -> list[ast.stmt]:
    return ast.parse(f"{PROBE}({', '.join(map(repr, sorted(keys)))})").body if keys else []


def _is_head(node: ast.stmt) -> bool:
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_text or (isinstance(node, ast.ImportFrom) and node.module == "__future__")
