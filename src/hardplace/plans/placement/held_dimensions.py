"""Dimensions that a plan is held to, read from texts or values by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, get_args, get_type_hints

from hardplace.errors import BadInput, unknown
from hardplace.plans.placement.space import MODULES_AGAIN, NUMERICS, SEARCHED, WAYS
from hardplace.plans.plan import MODULES, Dimension, Plan
from hardplace.plans.plan_problems import expected_of


def fixed(asked: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """Return the values that `name=value,value` texts hold dimensions to.

    Raises:
        BadInput: For a name or value that is none.
    """
    kinds = get_type_hints(Plan)
    found: dict[str, tuple[Any, ...]] = {}
    for text in asked:
        name, equals, values = text.partition("=")
        if not equals or not values:
            raise BadInput("fixed", text, "NAME=VALUE or NAME=VALUE,VALUE, such as tensor=8 or zero=1,3")
        names = [
            one for one in (*SEARCHED, *NUMERICS, *WAYS, MODULES_AGAIN) if one != "anchor"
        ]  # a file's, not a text's
        if name not in names:
            raise unknown("dimension", name, names)
        if name in found:
            raise BadInput("fixed", text, f"each dimension once, with all its values: {name}=VALUE,VALUE")
        kind = Dimension if name == "order" else _kind(kinds[name])
        found[name] = tuple(dict.fromkeys(_value(name, one, kind) for one in values.split(",")))
        for value in found[name]:
            if expected := expected_of(name, value):
                raise BadInput("fixed", f"{name}={value}", expected)
    return found


def fixed_of(held: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Return the values that dimensions are held to, from values by name: {"tensor": (1, 2), "zero": 3}.

    Raises:
        BadInput: For a name or value that is none.
    """

    def text(value: Any, joint: str = "-") -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        return joint.join(map(str, value)) if isinstance(value, tuple | list) else str(value)

    def values(name: str, given: Any) -> Sequence[Any]:
        one = not isinstance(given, tuple | list) or (
            (name == "order" and isinstance(given[0], str) and "-" not in given[0])
            or (name == MODULES_AGAIN and all(isinstance(one, str) for one in given))
        )
        return (given,) if one else given

    texts = {name: given for name, given in held.items() if name != "anchor"}
    joints = {MODULES_AGAIN: "+"}
    found = fixed(
        [
            f"{name}={','.join(text(one, joints.get(name, '-')) for one in values(name, given))}"
            for name, given in texts.items()
        ]
    )
    return found | {name: tuple(values(name, given)) for name, given in held.items() if name == "anchor"}


def _kind(hint: Any) -> Any:
    """Return the type of a field, of one that may be None the other one."""
    return next((one for one in get_args(hint) if one is not type(None)), hint)


def _value(name: str, text: str, kind: Any) -> Any:
    if name == MODULES_AGAIN:
        modules = tuple(one.strip() for one in text.split("+"))
        if unknown_ones := [one for one in modules if one not in MODULES]:
            raise BadInput("fixed", f"{name}={text}", f"{', '.join(MODULES)}, joined by +, not {unknown_ones[0]}")
        return modules
    if name == "order":
        order = tuple(_value("", one, kind) for one in text.split("-"))
        if sorted(order) != sorted(Dimension):
            raise BadInput("fixed", f"order={text}", "tensor, context, data and pipeline joined by -, inside out")
        return order
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        if isinstance(kind, type) and issubclass(kind, StrEnum):
            return kind(text)
        return kind(text)
    except (KeyError, ValueError):
        names = ", ".join(kind) if isinstance(kind, type) and issubclass(kind, StrEnum) else ""
        words = {bool: "true or false", int: "a whole number", float: "a number"}.get(kind, names)
        raise BadInput("fixed", f"{name}={text}", words) from None
