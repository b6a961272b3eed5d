"""The only door to disk: values of our own types as JSON (.json, or .json.gz packed), strict both ways."""

from __future__ import annotations

import gzip
import json
import math
import os
import tempfile
import tomllib
import typing
import zlib
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

_PLAIN = {int: "a whole number", str: "a text", bool: "true or false", type(None): "null"}


def read(path: str | os.PathLike[str], kind: type[T]) -> T:
    """Return the value of type `kind` that a JSON file, or a TOML file by its name, holds.

    Raises BadInput, one line with file, field, value and what was expected, for anything that is not exactly
    that: no such file, damaged, not JSON, unknown or missing fields, a text or a fraction for a whole number.
    """
    where = Path(path)
    return _typed(where, read_toml(where) if where.suffix == ".toml" else _parse(where, _load(where)), kind)


def parse(text: str, kind: type[T], where: str | os.PathLike[str]) -> T:
    """Return the value of type `kind` that a JSON text holds, as strictly as read; where: what a message names."""
    return _typed(Path(where), _parse(Path(where), text), kind)


def _typed(where: Path, data: Any, kind: type[T]) -> T:
    """Return the JSON value as a value of type `kind`."""
    try:
        return _converter(detailed=False).structure(data, kind)
    except Exception:  # cattrs raises many types; the slower, detailed converter says which field it was
        _explain(where, data, kind)


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the table that a TOML file holds; BadInput, one line, if it cannot be read or is no TOML."""
    where = Path(path)
    try:
        return tomllib.loads(_load(where))
    except tomllib.TOMLDecodeError as problem:
        raise BadInput(f"{where}: expected TOML: {_line(problem)}") from None


def write(path: str | os.PathLike[str], value: object) -> None:
    """Write a value as JSON, packed if the name ends in .gz; the file is whole or as it was before.

    The same value always gives the same bytes.
    """
    where = Path(path)
    if where.suffix == ".gz":
        content = gzip.compress(dumps(value, compact=True).encode(), compresslevel=9, mtime=0)
    else:
        content = (dumps(value) + "\n").encode()
    _replace(where, content)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text as UTF-8; the file is whole or as it was before."""
    _replace(Path(path), text.encode())


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write bytes; the file is whole or as it was before."""
    _replace(Path(path), content)


def read_text(path: str | os.PathLike[str]) -> str:
    """Return a text file, unpacked if its name ends in .gz; BadInput if it cannot be read or is not UTF-8."""
    return _load(Path(path))


def dumps(value: object, *, compact: bool = False) -> str:
    """Return a value as JSON text; ValueError for numbers that JSON does not have (inf, nan)."""
    plain = _converter(detailed=False).unstructure(value)
    if compact:
        return json.dumps(plain, separators=(",", ":"), allow_nan=False)
    return json.dumps(plain, indent=1, allow_nan=False, ensure_ascii=False)


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Return the content of a file; BadInput if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as problem:
        raise BadInput(f"{path}: cannot be read: {problem.strerror}") from None


def _load(path: Path) -> str:
    """Return the text of a file, unpacked."""
    content = read_bytes(path)
    try:
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    except (OSError, EOFError, ValueError, zlib.error) as problem:
        expected = "a whole gzip file of UTF-8 text" if path.suffix == ".gz" else "UTF-8 text"
        raise BadInput(f"{path}: expected {expected}: {_line(problem)}") from None


def _parse(path: Path, text: str) -> Any:
    """Return the JSON value of a text."""

    def constant(name: str) -> NoReturn:
        raise ValueError(f"{name} is not a number that JSON has")

    try:
        return json.loads(text, parse_constant=constant)
    except (ValueError, RecursionError) as problem:
        raise BadInput(f"{path}: expected JSON: {_line(problem)}") from None


def _replace(path: Path, content: bytes) -> None:
    """Put content in place of a file in one step, so that no reader and no crash sees half of it."""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as problem:
        problem.filename = str(path)  # not the temporary one's, which nobody asked for
        raise
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _exactly(kind: type) -> Hook:
    """Return a hook that lets only values of exactly this type through (a bool is no int)."""

    def hook(value: Any, _: Any) -> Any:
        if value.__class__ is not kind:
            raise ValueError(f"expected {_PLAIN[kind]}")
        return value

    return hook


def _number(value: Any, _: Any) -> float:
    """Return a finite float; whole numbers are numbers too."""
    if value.__class__ not in (int, float) or not math.isfinite(value):
        raise ValueError("expected a finite number")
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
        if value.__class__ is list and len(value) == len(parts) and all(item.__class__ is int for item in value):
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
    raise BadInput(f"{place}: {_shorten(value)}: {_line(problem)}")


def _shorten(value: Any) -> str:
    """Return a value in at most 60 characters of JSON."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _line(problem: BaseException) -> str:
    """Return the text of an exception on one line."""
    return " ".join(str(problem).split())
