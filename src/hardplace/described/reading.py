"""Reads a description from TOML: parameters set, templates instantiated, every field checked by its name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hardplace.described.checks import check
from hardplace.described.expression import Expression, expression, whole
from hardplace.described.types import (
    DIMS,
    OPERANDS,
    OPERATIONS,
    OUTPUT,
    DataMove,
    DescribedMemory,
    Description,
    FetchStage,
    FunctionalUnit,
    MemoryPort,
    UnitOperation,
)
from hardplace.errors import BadInput, unknown
from hardplace.files import read_toml
from hardplace.units import parse_quantity

MARK = "description"  # the field that tells a description from a device's file
FOLDER = Path(__file__).parent / "catalogue"
_MOST_INSTANCES = 64
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,40}")
_PARTS = ("memory", "path", "fetch", "unit")
_FREE = (*DIMS, "operands", "stride")
_ROW = ("bytes", "pitch")


class _Section:
    """One table of the file: fields are taken by name, `end` complains of those that nobody takes."""

    def __init__(self, where: str, data: Any, fixed: Mapping[str, int]):
        if not isinstance(data, dict):
            raise BadInput(where, repr(data), "a table")
        self.where, self.data, self.fixed, self.asked = where, data, fixed, set[str]()

    def at(self, field: str) -> str:
        separator = "" if self.where.endswith(": ") else "."
        return f"{self.where}{separator}{field}"

    def get(self, field: str, default: Any = None) -> Any:
        self.asked.add(field)
        if field not in self.data and default is None:
            raise BadInput(self.at(field), None, "a field of this name; it is missing")
        return self.data.get(field, default)

    def text(self, field: str, default: str | None = None) -> str:
        value = self.get(field, default)
        if not isinstance(value, str) or not value.strip() or len(value) > 1000:
            raise BadInput(self.at(field), repr(value), "a text")
        if not value.isprintable():
            raise BadInput(self.at(field), repr(value), "a text of one line")
        return value

    def count(self, field: str, least: int, default: int | None = None) -> int:
        return whole(self.get(field, default), self.at(field), self.fixed, least)

    def flag(self, field: str, default: bool = False) -> bool:
        value = self.get(field, default)
        if not isinstance(value, bool):
            raise BadInput(self.at(field), repr(value), "true or false")
        return value

    def formula(self, field: str, free: tuple[str, ...], default: object = None) -> Expression:
        return expression(self.get(field, default), self.at(field), self.fixed, free)

    def table(self, field: str) -> _Section:
        return _Section(self.at(field), self.get(field, {}), self.fixed)

    def items(self) -> Iterable[tuple[str, Any]]:
        self.asked.update(self.data)
        return self.data.items()

    def end(self) -> None:
        for field in self.data:
            if field not in self.asked:
                raise BadInput(self.at(field), None, f"only {', '.join(sorted(self.asked))}")


def description_names() -> tuple[str, ...]:
    """Return the names of the descriptions that ship with the package."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def description_file(name: str) -> Path:
    """Return the file of a name that ships, or the file itself; BadInput with the nearest names for neither."""
    if name.endswith(".toml"):
        return Path(name)
    if name not in description_names():
        raise unknown("description", name, description_names())
    return FOLDER / f"{name}.toml"


def is_description(name: str) -> bool:
    """Return whether a name or a TOML file is a description rather than a device."""
    if not name.endswith(".toml"):
        return name in description_names()
    # A space of chips has a text of this name.
    return Path(name).is_file() and not isinstance(read_toml(name).get(MARK, ""), str)


def read_description(name: str, values: Mapping[str, int | str] | None = None) -> Description:
    """Return a described accelerator, checked.

    Args:
        name: A name that ships or a TOML file.
        values: Parameters to set in place of the file's.

    Raises:
        BadInput: One line with file and field, for the first fault.
    """
    path = description_file(name)
    return described(read_toml(path), path.name if path.parent == FOLDER else str(path), values or {})


def described(data: Mapping[str, Any], where: str, values: Mapping[str, int | str]) -> Description:
    """Return the accelerator that a TOML value describes; see read_description."""
    top = _Section(f"{where}: ", data, {})
    if top.get(MARK) != 1 or isinstance(top.get(MARK), bool):
        raise BadInput(top.at(MARK), repr(top.get(MARK)), "1, the version of the language")
    fixed = _parameters(top.table("parameters"), values)
    top.fixed = fixed
    name, title = top.text("name"), top.text("title")
    source = top.text("source", "not stated")
    clock_hz = parse_quantity(top.text("clock"), "Hz", top.at("clock"))
    device_memory = top.text("device_memory") if "device_memory" in data else ""
    parts = _instances(top, fixed)
    _check_names(parts, where)
    for kind in _PARTS:
        top.asked.add(kind)
    top.end()
    memories, ports = {}, {}
    for memory, its_ports in (_memory(named, part) for named, part in parts["memory"]):
        memories[memory.name] = memory
        ports.update({port.name: port for port in its_ports})
    for named, part in parts["path"]:
        ports[named] = _path(named, part)
    made = Description(
        name=name,
        title=title,
        source=source,
        clock_hz=clock_hz,
        parameters=fixed,
        memories=memories,
        ports=ports,
        fetches={named: _fetch(named, part) for named, part in parts["fetch"]},
        units={named: _unit(named, part) for named, part in parts["unit"]},
        device_memory_bytes=parse_quantity(device_memory, "B", top.at("device_memory")) if device_memory else None,
    )
    check(made, where)
    return made


def _parameters(section: _Section, values: Mapping[str, int | str]) -> dict[str, int]:
    """Return the parameters, each an expression of those before it."""
    fixed: dict[str, int] = {}
    for name, value in section.items():
        if not name.isidentifier() or name in (*_FREE, *_ROW):
            raise BadInput(section.at(name), None, f"a name that is none of {', '.join((*_FREE, *_ROW))}")
        fixed[name] = whole(values.get(name, value), section.at(name), dict(fixed))
    for name in values:
        if name not in fixed:
            raise unknown("parameter", name, fixed)
    return fixed


def _instances(top: _Section, fixed: Mapping[str, int]) -> dict[str, list[tuple[str, _Section]]]:
    """Return the parts by kind with their full names, those of every instance of every template among them."""
    found: dict[str, list[tuple[str, _Section]]] = {kind: [] for kind in _PARTS}
    for kind in _PARTS:
        for name, data in top.table(kind).items():
            place = top.at(f"{kind}.{name}")
            found[kind].append((_name(name, place), _Section(place, data, fixed)))
    templates = dict(top.table("template").items())
    for name, data in top.table("instance").items():
        part = _Section(top.at(f"instance.{name}"), data, fixed)
        template, count = part.text("of"), part.count("count", 1, 1)
        if template not in templates:
            raise BadInput(part.at("of"), repr(template), f"a template: {', '.join(templates) or 'none is there'}")
        if count > _MOST_INSTANCES:
            raise BadInput(part.at("count"), count, f"at most {_MOST_INSTANCES} instances")
        body = _Section(top.at(f"template.{template}"), templates[template], fixed)
        local = [inner for kind in _PARTS for inner in body.table(kind).data]
        for kind in _PARTS:
            for inner, content in body.table(kind).items():
                for index in range(count):
                    prefix = _name(f"{name}{index}" if count > 1 else name, part.where)
                    renamed = _prefixed(content, prefix, local)
                    section = _Section(top.at(f"template.{template}.{kind}.{inner}"), renamed, fixed)
                    found[kind].append((f"{prefix}.{_name(inner, section.where)}", section))
        body.end()
        part.end()
    return found


def _name(name: str, where: str) -> str:
    """Return a name in a file; BadInput for one with a dot, which stands before a port or an instance's part."""
    if not _NAME.fullmatch(name):
        raise BadInput(where, None, "a name of letters, digits, _ and -")
    return name


def _check_names(parts: Mapping[str, list[tuple[str, _Section]]], where: str) -> None:
    """Raise BadInput for a name that two of memories, ports, paths and units have: what is held is told by it."""
    seen: dict[str, str] = {}
    for kind in ("memory", "path", "unit"):
        for name, part in parts[kind]:
            ports = part.table("ports").data if kind == "memory" else {}
            for full in (name, *(f"{name}.{_name(port, part.at(port))}" for port in ports)):
                if full in seen:
                    raise BadInput(f"{where}: {kind}.{full}", None, f"a name that no {seen[full]} has")
                seen[full] = kind


def _prefixed(value: Any, prefix: str, local: list[str]) -> Any:
    """Return a value of a template with the names of its own parts put under the instance's."""
    if isinstance(value, dict):
        return {key: _prefixed(item, prefix, local) for key, item in value.items()}
    if isinstance(value, list):
        return [_prefixed(item, prefix, local) for item in value]
    if isinstance(value, str) and value.split(".")[0] in local and not value.startswith(tuple("0123456789")):
        return f"{prefix}.{value}"
    return value


def _memory(name: str, part: _Section) -> tuple[DescribedMemory, list[MemoryPort]]:
    banks = part.count("banks", 1, 1)
    ports = []
    for port, data in part.table("ports").items():
        field = _Section(part.at(f"ports.{port}"), data, part.fixed)
        ports.append(MemoryPort(name=f"{name}.{port}", width_bytes=banks * field.count("bytes", 1)))
        field.end()
    holds = part.table("holds")
    held = {operand: whole(size, holds.at(operand), part.fixed, 1) for operand, size in holds.items()}
    for operand in held:
        if operand not in OPERANDS:
            raise BadInput(holds.at(operand), None, f"one of {', '.join(OPERANDS)}")
    memory = DescribedMemory(
        name=name,
        capacity_bytes=None if part.flag("backing") else part.count("bytes", 1),
        latency_cycles=part.count("latency_cycles", 0, 0),
        buffers=part.count("buffers", 1, 1),
        keeps=part.count("keeps", 1) if "keeps" in part.data else None,
        element_bytes=held,
        ports=tuple(port.name for port in ports),
    )
    if memory.buffers > 8:
        raise BadInput(part.at("buffers"), memory.buffers, "at most 8")
    part.end()
    return memory, ports


def _path(name: str, part: _Section) -> MemoryPort:
    made = MemoryPort(name=name, width_bytes=part.count("bytes", 1), latency_cycles=part.count("latency_cycles", 0))
    part.end()
    return made


def _fetch(name: str, part: _Section) -> FetchStage:
    made = FetchStage(
        name=name, interval_cycles=part.count("interval_cycles", 1), decode_cycles=part.count("decode_cycles", 1)
    )
    part.end()
    return made


def _unit(name: str, part: _Section) -> FunctionalUnit:
    moves = part.get("moves", [])
    if not isinstance(moves, list):
        raise BadInput(part.at("moves"), repr(moves), "a list of tables")
    operations = part.table("operations")
    made = FunctionalUnit(
        name=name,
        fetch=part.text("fetch"),
        queue=part.count("queue", 1, 4),
        outstanding=part.count("outstanding", 1, 4),
        setup_cycles=part.count("setup_cycles", 0, 0),
        latency_cycles=part.count("latency_cycles", 0, 0),
        row_cycles=part.formula("row_cycles", _ROW, 0),
        merges=part.flag("merges", True),
        skips=part.flag("skips", True),
        retires=part.flag("retires"),
        forwards=part.flag("forwards"),
        moves=tuple(_move(_Section(part.at(f"moves[{index}]"), data, part.fixed)) for index, data in enumerate(moves)),
        operations={
            key: _operation(key, _Section(operations.at(key), data, part.fixed)) for key, data in operations.items()
        },
    )
    for field in ("queue", "outstanding"):
        if part.count(field, 1, 4) > 256:
            raise BadInput(part.at(field), part.count(field, 1, 4), "at most 256")
    part.end()
    return made


def _move(part: _Section) -> DataMove:
    via = part.get("via", [])
    if not isinstance(via, list) or not all(isinstance(path, str) for path in via):
        raise BadInput(part.at("via"), repr(via), "a list of paths")
    made = DataMove(
        operand=part.text("operand"),
        source=part.text("from"),
        target=part.text("to"),
        via=tuple(via),
        cycles=part.formula("cycles", (*DIMS, "stride"), 0),
    )
    if made.operand not in OPERANDS:
        raise BadInput(part.at("operand"), repr(made.operand), f"one of {', '.join(OPERANDS)}")
    part.end()
    return made


def _operation(name: str, part: _Section) -> UnitOperation:
    if name not in OPERATIONS:
        raise BadInput(part.where, None, f"one of {', '.join(OPERATIONS)}")
    limits, reads = part.table("at_most"), part.table("reads")
    at_most = {dim: whole(size, limits.at(dim), part.fixed, 1) for dim, size in limits.items()}
    for dim in at_most:
        if dim not in DIMS:
            raise BadInput(limits.at(dim), None, f"one of {', '.join(DIMS)}")
    made = UnitOperation(
        name=name,
        cycles=part.formula("cycles", _FREE),
        latency_cycles=part.formula("latency_cycles", _FREE, 0),
        at_most=at_most,
        reads={operand: reads.text(operand) for operand, _ in reads.items()},
        writes=part.text(f"{OUTPUT}"),
    )
    for operand in made.reads:
        if operand not in OPERANDS:
            raise BadInput(reads.at(operand), None, f"one of {', '.join(OPERANDS)}")
    part.end()
    return made
