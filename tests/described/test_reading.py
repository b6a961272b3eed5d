"""Descriptions: those that ship are sound; each fault is one line with file and field."""

from __future__ import annotations

import copy
import tomllib
from typing import Any

import pytest

from hardplace.described.reading import FOLDER, described, description_names, read_description
from hardplace.errors import BadInput

BASE = tomllib.loads((FOLDER / "systolic.toml").read_text())

OUTWARD = {"operand": "output", "from": "dram.write", "to": "ofmap.drain"}


def changed(path: str, value: Any = None) -> dict[str, Any]:
    """Return the systolic description with a field set, or left out for None."""
    data = copy.deepcopy(BASE)
    *tables, field = path.split("/")
    at = data
    for name in tables:
        at = at[int(name)] if isinstance(at, list) else at.setdefault(name, {})
    if value is None:
        del at[field]
    else:
        at[field] = value
    return data


def test_six_descriptions_ship_and_are_sound() -> None:
    assert description_names() == ("eyeriss", "gemmini", "plasticine", "systolic", "ultratrail", "vector-dsp")
    for name in description_names():
        made = read_description(name)
        assert made.name == name
        assert made.backing.capacity_bytes is None


def test_parameters_reach_every_expression() -> None:
    made = read_description("systolic", {"rows": 64, "columns": 8})
    array = made.units["array"].operations["convolution"]
    assert array.at_most == {"g": 1, "r": 1, "s": 1, "c": 64, "k": 8}
    assert array.latency_cycles.at(p=1) == 70
    assert made.memories["registers"].capacity_bytes == 2 * 64 * 8


def test_instances_are_parts_of_their_own_on_what_they_share() -> None:
    made = read_description("plasticine", {"tiles": 3})
    assert [name for name in made.units if name.endswith("pcu")] == ["tile0.pcu", "tile1.pcu", "tile2.pcu"]
    assert made.units["tile2.ag_in"].moves[0].target == "tile2.pmu.write"
    assert made.units["tile2.ag_in"].moves[0].source == "dram.read"
    assert made.units["tile2.ag_in"].moves[0].via == ("switch_in",)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("memory/ifmap/ports/spare", {"bytes": 4}, "x: port ifmap.spare: dangling: expected a unit that uses it"),
        ("path/loose", {"bytes": 4, "latency_cycles": 1}, "x: path loose: dangling"),
        ("memory/ofmap/ports/collect/bytes", 2, "is 2 bytes wide: expected at least 4, an element of output"),
        ("fetch/loads/interval_cycles", 0, "x: fetch.loads.interval_cycles: 0: expected a whole number from 1"),
        ("fetch/loads/decode_cycles", 0, "x: fetch.loads.decode_cycles: 0: expected a whole number from 1"),
        ("parameters/rows", None, "a parameter that is there in place of 'rows'"),
        ("unit/array/operations/convolution/reads/weight", None, "reads.weight: expected a port; it is missing"),
        ("unit/array/operations/convolution/reads/weight", "filter.nowhere", "'filter.nowhere': expected a port"),
        ("unit/array/operations/convolution/reads/weight", "ifmap.feed", "expected a memory that holds weight"),
        ("unit/array/operations/convolution/cycles", "n * p * depth", "in place of 'depth'"),
        ("unit/array/operations/convolution/cycles", "__import__('os')", "expected whole numbers, names"),
        ("unit/array/operations/convolution/cycles", "n ** 99", "expected whole numbers, names"),
        ("unit/array/fetch", "nobody", "x: unit.array.fetch: 'nobody': expected one of loads, products, stores"),
        ("unit/shift/moves/0/from", "dram.read", "x: port filter.feed: dangling"),
        ("unit/drain/moves", [OUTWARD], "a way of moves from it to dram"),
        ("unit/fill/moves", [{**OUTWARD, "operand": "bias"}], "x: unit.fill.moves[0].operand: 'bias': expected one of"),
        ("unit/array/speed", 3, "x: unit.array.speed: expected only fetch"),
        ("memory/ifmap/bytes", -4, "x: memory.ifmap.bytes: -4"),
        ("memory/ifmap/bytes", None, "x: memory.ifmap.bytes: expected a field of this name; it is missing"),
        ("memory/dram/backing", False, "x: memory.dram.bytes"),
        ("path/fill", {"bytes": 4, "latency_cycles": 1}, "x: unit.fill: expected a name that no path has"),
        ("path/dram.read", {"bytes": 4, "latency_cycles": 1}, "x: path.dram.read: expected a name of letters"),
        ("memory/ifmap/ports/a b", {"bytes": 4}, "x: memory.ifmap.a b: expected a name of letters"),
        ("memory/spare", {"bytes": 4, "holds": {"input": 1}}, "x: memory.spare: dangling: expected a port"),
        ("unit/idle", {"fetch": "loads"}, "x: unit.idle: dangling: expected moves or operations"),
        ("fetch/idle", {"interval_cycles": 1, "decode_cycles": 1}, "x: fetch.idle: dangling: expected a unit"),
        ("unit/array/operations/convolution/cycles", 0, "convolution.cycles: 0: expected at least 1 of every tile"),
        ("unit/array/operations/convolution/cycles", "p - p", "cycles: p - p: expected at least 1 of every tile"),
        ("unit/array/operations/convolution/cycles", "p - 9", "cycles: p - 9 = -8: expected a whole number from 0"),
        ("unit/array/operations/convolution/latency_cycles", "1 - p", "latency_cycles: 1 - p = -"),
        ("unit/fill/row_cycles", "bytes // (pitch - bytes)", "unit.fill.row_cycles: bytes // (pitch - bytes)"),
        ("unit/fill/row_cycles", "rows_of", "in place of 'rows_of'"),
        ("unit/fill/merges", "no", "x: unit.fill.merges: 'no': expected true or false"),
        ("unit/fill/moves/0/to", "dram.read", "x: unit.fill.moves[0].to: 'dram.read': expected another memory"),
        ("memory/ifmap/keeps", 0, "x: memory.ifmap.keeps: 0: expected a whole number from 1"),
        ("parameters/pitch", 4, "x: parameters.pitch: expected a name that is none of"),
        ("title", "two\nlines", "x: title: 'two\\nlines': expected a text of one line"),
        ("clock", "fast", "x: clock: 'fast'"),
        ("description", 2, "x: description: 2: expected 1"),
        ("instance/one", {"of": "nothing"}, "x: instance.one.of: 'nothing': expected a template"),
    ],
)
def test_a_fault_is_one_line_with_file_and_field(path: str, value: Any, said: str) -> None:
    with pytest.raises(BadInput) as problem:
        described(changed(path, value), "x", {})
    assert said in str(problem.value)
    assert str(problem.value).startswith("x: ")
    assert "\n" not in str(problem.value)


def test_a_circle_of_moves_needs_a_register_somewhere() -> None:
    data = changed("memory/registers/holds/weight", 1)
    data["memory"]["filter"]["latency_cycles"] = 0
    data["memory"]["filter"]["ports"]["back"] = {"bytes": 32}
    data["unit"]["shift"]["moves"].append({"operand": "weight", "from": "registers.load", "to": "filter.back"})
    with pytest.raises(BadInput, match=r"a register in the loop of weight through it"):
        described(data, "x", {})
    data["memory"]["filter"]["latency_cycles"] = 1
    described(data, "x", {})


def test_a_parameter_that_does_not_exist_is_named() -> None:
    with pytest.raises(BadInput, match="unknown parameter 'row'; did you mean rows"):
        read_description("systolic", {"row": 3})
