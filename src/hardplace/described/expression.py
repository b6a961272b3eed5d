"""Whole-number arithmetic in descriptions: sums, products, whole quotients, ceil, min and max of named values."""

from __future__ import annotations

import ast
from collections.abc import Mapping
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
        code: The compiled text.
    """

    text: str
    where: str
    fixed: Mapping[str, int]
    code: CodeType = field(compare=False, repr=False)

    def at(self, **values: int) -> int:
        """Return the value for these values of the free names.

        Raises:
            BadInput: For a division by zero, a value that is negative, or beyond 2^53.
        """
        try:
            value = eval(self.code, {"__builtins__": {}, **_FUNCTIONS, **self.fixed, **values})  # noqa: S307: checked
        except ZeroDivisionError:
            raise BadInput(self.where, self.text, "no division by zero") from None
        if not 0 <= value < _MOST:
            raise BadInput(self.where, f"{self.text} = {value}", "a whole number from 0, below 2^53")
        return int(value)


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
    return Expression(text=str(text), where=where, fixed=fixed, code=code)


def whole(text: object, where: str, fixed: Mapping[str, int], least: int = 0) -> int:
    """Return the value of an expression of parameters alone; BadInput below `least`."""
    value = expression(text, where, fixed).at()
    if value < least:
        shown = str(text) if str(text) == str(value) else f"{text} = {value}"
        raise BadInput(where, shown, f"a whole number from {least}")
    return value
