"""Values of our own types from JSON's and back, strictly: what is not exactly that is refused by its field."""

from __future__ import annotations

import json
import math
import typing
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from hardplace.errors import BadInput

if typing.TYPE_CHECKING:
    from cattrs import Converter

T = TypeVar("T")
Hook = Callable[[Any, Any], Any]  # a value and the type it is to have -> that value

MOST = 2**80  # no count of anything is as large: every number of a file lies between -MOST and MOST
_PLAIN = {str: "a text", bool: "true or false", type(None): "null"}


def typed(where: Path, data: Any, kind: type[T]) -> T:
    """Return a JSON value as a value of type `kind`; BadInput, one line with file and field, for anything else."""
    try:
        return _converter(detailed=False).structure(data, kind)
    except Exception:  # cattrs raises many types; the slower, detailed converter says which field it was
        _explain(where, data, kind)


def untyped(value: object) -> Any:
    """Return a value of our own types as JSON's."""
    return _converter(detailed=False).unstructure(value)


def _exactly(kind: type) -> Hook:
    """Return a hook that lets only values of exactly this type through (a bool is no int)."""

    def hook(value: Any, _: Any) -> Any:
        if value.__class__ is not kind:
            raise ValueError(f"expected {_PLAIN[kind]}")
        return value

    return hook


def _whole(value: Any, _: Any) -> int:
    """Return a whole number (a bool is none)."""
    if value.__class__ is not int:
        raise ValueError("expected a whole number")
    if not -MOST < value < MOST:
        raise ValueError("expected a whole number below 2^80")
    return int(value)


def _number(value: Any, _: Any) -> float:
    """Return a finite float; whole numbers are numbers too."""
    if value.__class__ not in (int, float) or not (value.__class__ is int or math.isfinite(value)):
        raise ValueError("expected a finite number")
    if value.__class__ is int and not -MOST < value < MOST:
        raise ValueError("expected a number below 2^80")
    return float(value)


def _choice(value: Any, kind: Any) -> Any:
    """Return the member of an enumeration of texts."""
    try:
        return kind(value)
    except ValueError:
        raise ValueError(f"expected one of {', '.join(kind)}") from None


def _fixed(types: Sequence[Any], names: str, make: Callable[[list[Any]], Any], converter: Converter) -> Hook:
    """Return the hook of a list of fixed length whose items have these types."""
    parts = [(part, converter.get_structure_hook(part)) for part in types]

    def hook(value: Any, _: Any) -> Any:
        if value.__class__ is not list or len(value) != len(parts):
            raise ValueError(f"expected a list of {names}")
        return make([structure(item, part) for item, (part, structure) in zip(value, parts, strict=True)])

    def whole_numbers(value: Any, kind: Any) -> Any:
        """The same for whole numbers alone, of which a Workload has thousands."""
        if value.__class__ is list and len(value) == len(parts):
            for item in value:
                if item.__class__ is not int or not -MOST < item < MOST:
                    break
            else:
                return make(value)
        return hook(value, kind)

    return whole_numbers if all(part is int for part in types) else hook


def _named_tuple(kind: Any, converter: Converter) -> Hook:
    """Return the hook of a NamedTuple, which is a list in the file."""
    types = typing.get_type_hints(kind)
    return _fixed(list(types.values()), ", ".join(types), kind._make, converter)


def _is_tuple(kind: Any) -> bool:
    return getattr(kind, "__origin__", None) is tuple


def _tuple(kind: Any, converter: Converter) -> Hook:
    """Return the hook of tuple[x, ...] or of tuple[x, y]."""
    from cattrs.cols import homogenous_tuple_structure_factory

    types = typing.get_args(kind)
    if types[-1] is not Ellipsis:
        return _fixed(types, ", ".join(map(str, types)), tuple, converter)
    return _only(list, "a list", homogenous_tuple_structure_factory(kind, converter))


def _only(json_type: type, expected: str, inner: Hook) -> Hook:
    """Return a hook that checks the JSON type first: cattrs iterates a text and indexes what it gets."""

    def hook(value: Any, kind: Any) -> Any:
        if value.__class__ is not json_type:
            raise ValueError(f"expected {expected}")
        return inner(value, kind)

    return hook


@cache
def _converter(*, detailed: bool) -> Converter:
    """Return the converter; detailed tells where a problem is and takes several times longer."""
    from cattrs import Converter
    from cattrs.cols import is_namedtuple, namedtuple_unstructure_factory
    from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

    converter = Converter(forbid_extra_keys=True, detailed_validation=detailed)
    for plain in _PLAIN:
        converter.register_structure_hook(plain, _exactly(plain))
    converter.register_structure_hook(int, _whole)
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(StrEnum, _choice)
    converter.register_structure_hook_factory(is_namedtuple, _named_tuple)
    converter.register_unstructure_hook_factory(is_namedtuple, namedtuple_unstructure_factory)

    def record(kind: Any) -> Hook:
        inner = make_dict_structure_fn(
            kind, converter, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=detailed
        )
        return _only(dict, "an object", inner)

    def written(kind: Any) -> Callable[[Any], Any]:
        """Return the hook that leaves out the fields marked so where they hold their default."""
        left_out = {one.name: override(omit_if_default=True) for one in fields(kind) if one.metadata.get("left_out")}
        return make_dict_unstructure_fn(kind, converter, **typing.cast(Any, left_out))

    converter.register_structure_hook_factory(is_dataclass, record)
    converter.register_unstructure_hook_factory(is_dataclass, written)
    converter.register_structure_hook_factory(_is_tuple, _tuple)
    return converter


def _explain(path: Path, data: Any, kind: type) -> NoReturn:
    """Raise BadInput for the first problem that the detailed converter finds."""
    from cattrs.errors import (
        AttributeValidationNote,
        BaseValidationError,
        ForbiddenExtraKeysError,
        IterableValidationNote,
    )

    try:
        _converter(detailed=True).structure(data, kind)
    except Exception as error:
        problem: BaseException = error
    else:
        raise AssertionError(f"{path}: one converter refuses what the other takes")
    field, value = "", data
    while isinstance(problem, BaseValidationError):
        problem = problem.exceptions[0]
        for note in getattr(problem, "__notes__", ()):
            if isinstance(note, AttributeValidationNote):
                field += f".{note.name}"
                value = value.get(note.name) if isinstance(value, dict) else value
            elif isinstance(note, IterableValidationNote):
                field += f"[{note.index}]"
                value = value[note.index] if isinstance(note.index, int) else value
    place = f"{path}: {field.removeprefix('.') or 'the whole file'}"
    if isinstance(problem, ForbiddenExtraKeysError):
        known = ", ".join(item.name for item in fields(problem.cl))
        raise BadInput(f"{place}: unknown field {sorted(problem.extra_fields)[0]!r}; expected {known}")
    if isinstance(problem, KeyError):
        raise BadInput(f"{place}: missing; expected a field of this name")
    said = " ".join(str(problem).split())
    raise BadInput(f"{place}: {_shown(value)}: {said}")


def _shown(value: Any) -> str:
    """Return a value in at most 60 characters of JSON."""
    text = json.dumps(value, default=str)  # TOML has dates
    return text if len(text) <= 60 else f"{text[:57]}..."
