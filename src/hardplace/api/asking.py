"""A question as plain values, and names in the two forms that they may be given in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from hardplace.errors import BadInput

if TYPE_CHECKING:
    import os

    from hardplace.workload.types import Workload

Named = str | Sequence[str]  # one name or several


def asked_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a function's arguments, its local names at its start, as plain values of JSON."""
    return {name: plain(value) for name, value in arguments.items() if name not in _UNASKED}


_UNASKED = ("evaluator", "progress", "watch")


def plain(value: Any) -> Any:
    """Return a value as JSON has it; a Workload by its name, a Plan by the fields that are not their defaults."""
    if value is None or isinstance(value, bool | int | float | str):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list | set | frozenset | range):
        return [plain(one) for one in value]
    if is_dataclass(value) and not isinstance(value, type):
        if hasattr(value, "name"):
            return value.name
        return {one.name: plain(found) for one in fields(value) if (found := getattr(value, one.name)) != one.default}
    return str(value)


def names_of(text: Named) -> tuple[str, ...]:
    """Return one name or several as a tuple."""
    return (text,) if isinstance(text, str) else tuple(text)


def name_of(model: str | os.PathLike[str] | Workload) -> str:
    """Return the name of a model as it was given, of a Workload its own."""
    return str(getattr(model, "name", model)) if is_dataclass(model) else str(model)


Word = TypeVar("Word", bound=StrEnum)


def word_of(name: str, value: str, words: type[Word]) -> Word:
    """Return an argument that is one of a few words.

    Args:
        name: The argument.
        value: What it is.
        words: What it may be.

    Raises:
        BadInput: For another word.
    """
    try:
        return words(value)
    except ValueError:
        raise BadInput(name, repr(value), f"one of {', '.join(words)}") from None
