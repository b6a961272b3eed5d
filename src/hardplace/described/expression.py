"""Whole-number arithmetic in descriptions: sums, products, whole quotients, ceil, min and max of named values."""

from __future__ import annotations

import ast
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import CodeType

from hardplace.errors import BadInput

_FUNCTIONS = {"min": min, "max": max, "ceil_div": lambda a, b: -(-a // b), "ceil_log2": lambda a: (a - 1).bit_length()}
_EXPECTED = "whole numbers, names, + - * // ( ) and min, max, ceil_div, ceil_log2"
_ALLOWED = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.USub, ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Call, ast.Name,
    ast.Load, ast.Constant,
)  # fmt: skip
_LONGEST = 300  # characters: the parser recurses
_MOST = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """An expression that was checked: only arithmetic, of names that are known.

    Attributes:
        text: As in the file.
        where: File and field, for messages.
        fixed: Values of the parameters.
        tree: The parsed text.
        code: The compiled text.
    """

    text: str
    where: str
    fixed: Mapping[str, int]
    tree: ast.expr = field(compare=False, repr=False)
    code: CodeType = field(compare=False, repr=False)

    def at(self, **values: int) -> int:
        """Return the value for these values of the free names.

        Raises:
            BadInput: For a division by zero, a value that is negative, or beyond 2^53.
        """
        try:
            # The syntax was checked when the text was read.
            value = eval(self.code, {"__builtins__": {}, **_FUNCTIONS, **self.fixed, **values})
        except ZeroDivisionError:
            raise BadInput(self.where, self.text, "no division by zero") from None
        if not 0 <= value < _MOST:
            raise BadInput(self.where, f"{self.text} = {value}", "a whole number from 0, below 2^53")
        return int(value)

    def at_least(self, **values: int) -> float:
        """Return a number that the value is not below, without rounding of quotients: ceil_div(a, b) is a / b or 1."""
        return _interval(self.tree, {**self.fixed, **values})[0]

    def divides_evenly(self, free: Collection[str]) -> bool:
        """Return whether parts of a tile cannot take less than the whole: sums, products and ceil_div by parameters, in
        which each free name stands once at most."""
        names = [node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name) and node.id in free]
        return len(set(names)) == len(names) and all(_splits(node, free) for node in ast.walk(self.tree))


def expression(text: object, where: str, fixed: Mapping[str, int], free: tuple[str, ...] = ()) -> Expression:
    """Return a checked expression.

    Args:
        text: A whole number, or a text such as `"rows + columns - 1"`.
        where: File and field, for messages.
        fixed: Values of the parameters.
        free: Further names that it may use, which are known when it is evaluated.

    Raises:
        BadInput: For anything but arithmetic of whole numbers and known names.
    """
    if isinstance(text, bool) or not isinstance(text, int | str) or len(str(text)) > _LONGEST:
        raise BadInput(where, repr(text), f"a whole number or an expression of {_EXPECTED}")
    try:
        tree = ast.parse(str(text).strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise BadInput(where, repr(text), _EXPECTED) from None
    called = {id_of.func for id_of in ast.walk(tree) if isinstance(id_of, ast.Call)}
    for node in ast.walk(tree):
        if not isinstance(node, _ALLOWED) or (isinstance(node, ast.Constant) and type(node.value) is not int):
            raise BadInput(where, repr(text), _EXPECTED)
        if isinstance(node, ast.Call):
            count = len(node.args)
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            fits = {"min": count >= 2, "max": count >= 2, "ceil_div": count == 2, "ceil_log2": count == 1}
            if not fits.get(name) or node.keywords:
                raise BadInput(where, repr(text), _EXPECTED)
        if isinstance(node, ast.Name) and node not in called and node.id not in fixed and node.id not in free:
            known = ", ".join((*fixed, *free)) or "none"
            raise BadInput(where, repr(text), f"a parameter that is there in place of {node.id!r} (known: {known})")
    code = compile(tree, "<description>", "eval")
    return Expression(text=str(text), where=where, fixed=fixed, tree=tree.body, code=code)


def _splits(node: ast.AST, free: Collection[str]) -> bool:
    if isinstance(node, ast.Call):
        divisor = {one.id for one in ast.walk(node.args[-1]) if isinstance(one, ast.Name)}
        return ast.unparse(node.func) == "ceil_div" and not divisor & set(free)
    return not isinstance(node, ast.FloorDiv | ast.Sub | ast.USub)


def _interval(node: ast.expr, values: Mapping[str, int]) -> tuple[float, float]:
    """Return numbers that a value is not below and not above, without rounding of quotients."""
    if isinstance(node, ast.Constant):
        return float(node.value), float(node.value)  # type: ignore[arg-type]
    if isinstance(node, ast.Name):
        return float(values[node.id]), float(values[node.id])
    if isinstance(node, ast.UnaryOp):
        low, high = _interval(node.operand, values)
        return -high, -low
    if isinstance(node, ast.BinOp):
        (a, b), (c, d) = _interval(node.left, values), _interval(node.right, values)
        if isinstance(node.op, ast.Add):
            return a + c, b + d
        if isinstance(node.op, ast.Sub):
            return a - d, b - c
        if isinstance(node.op, ast.Mult):
            ends = [x * y if x and y else 0.0 for x in (a, b) for y in (c, d)]
            return min(ends), max(ends)
        low, high = _quotient((a, b), (c, d))
        return (max(low - 1.0, 0.0) if low >= 0.0 else low - 1.0), high
    assert isinstance(node, ast.Call)
    parts = [_interval(one, values) for one in node.args]
    name = ast.unparse(node.func)
    if name == "ceil_div":
        low, high = _quotient(parts[0], parts[1])
        return (max(low, 1.0) if low > 0.0 else low), high + 1.0
    if name == "ceil_log2":
        low, high = (math.log2(max(one, 1.0)) for one in parts[0])
        return low, high + 1.0
    chosen = min if name == "min" else max
    return chosen(one[0] for one in parts), chosen(one[1] for one in parts)


def _quotient(over: tuple[float, float], under: tuple[float, float]) -> tuple[float, float]:
    """Return the ends of a quotient; where the divisor may be 0, all numbers."""
    if under[0] <= 0.0 <= under[1]:
        return -math.inf, math.inf
    ends = [one / other for one in over for other in under]
    return min(ends), max(ends)


def whole(text: object, where: str, fixed: Mapping[str, int], least: int = 0) -> int:
    """Return the value of an expression of parameters alone; BadInput below `least`."""
    value = expression(text, where, fixed).at()
    if value < least:
        shown = str(text) if str(text) == str(value) else f"{text} = {value}"
        raise BadInput(where, shown, f"a whole number from {least}")
    return value
