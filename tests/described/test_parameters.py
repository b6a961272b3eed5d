"""Variants of an accelerator: bounds hold for any mapping, the answer is that of evaluating every one, bad input."""

from __future__ import annotations

import itertools
import math
import random
import re
from collections import Counter
from pathlib import Path

import pytest

import hardplace as hp
from described_layers import random_programs
from hardplace.answers import Infeasible
from hardplace.described.answer import described_accelerator
from hardplace.described.model import program_time
from hardplace.described.networks import layer_of
from hardplace.described.parameters import ParameterResult, layer_bound, work_cycles
from hardplace.described.reading import description_names, read_description
from hardplace.described.targets import target
from hardplace.described.types import DIMS
from hardplace.errors import BadInput
from hardplace.report.described import diagram
from hardplace.report.described_variants import parameters_page

LAYERS = ("product:70,90,110", "convolution:20,40,14,3", "elementwise:3000,2", "softmax:40,60")


def test_no_mapping_is_below_the_bound() -> None:
    """Random layers with random mappings on the six descriptions, timed by the generated model."""
    for on, layer, program in random_programs(tuple(map(read_description, description_names())), 180, 5, 1500):
        assert 0 < layer_bound(on, layer) <= program_time(on, program).cycles, (on.name, layer)


def test_no_parts_of_a_layer_are_below_its_work() -> None:
    """Eyeriss: 9 rows as 7 and 2 take 81 cycles of its array, 108 as one tile: its sets of rows are whole quotients."""
    draw = random.Random(2)
    cases = [(read_description("eyeriss"), layer_of("convolution:4,4,9,3"), {"p": 7})]
    for on in map(read_description, description_names()):
        for _ in range(40):
            size = draw.randint(5, 20)
            text = f"convolution:{draw.randint(1, 40)},{draw.randint(1, 40)},{size},{draw.choice((1, 3, 5))}"
            layer = layer_of(text)
            cases.append((on, layer, {dim: draw.randint(1, layer.extents[dim]) for dim in DIMS}))
    for on, layer, steps in cases:
        goal = target(on, layer)
        assert goal is not None
        operation, parts = goal.units[0].operation, []
        for dim in DIMS:
            whole = layer.extents[dim]
            step = min(steps.get(dim, whole), operation.at_most.get(dim, whole))
            parts.append(Counter([step] * (whole // step) + [whole % step] * (whole % step > 0)))
        taken = sum(
            math.prod(number for _, number in tile)
            * operation.cycles.at(
                **{dim: size for dim, (size, _) in zip(DIMS, tile, strict=True)}, operands=1, stride=1
            )
            for tile in itertools.product(*(one.items() for one in parts))
        )
        assert work_cycles(goal, layer) <= -(-taken // len(goal.units)), (on.name, layer, steps)


def test_units_with_ports_of_their_own_share_the_bytes(tmp_path: Path) -> None:
    """Two tiles of Plasticine that load through a port each: half the bytes go through one."""
    shipped = (Path(hp.__file__).parent / "described/catalogue/plasticine.toml").read_text()
    top, tile = shipped.split("[instance.tile]")
    one = "[instance.tile]" + tile.replace('count = "tiles"', "count = 1")
    other = one.replace("tile", "copy").replace("dram.read", "dram.again").replace("switch_in", "switch_again")
    path = "[path.switch_again]\nbytes = 64\nlatency_cycles = 3\n"
    ports = next(line for line in top.splitlines() if line.startswith("ports.read"))
    file = tmp_path / "two.toml"
    file.write_text(top.replace(ports, ports + "\n" + ports.replace("read", "again", 1)) + path + one + other)
    on, layer = read_description(str(file)), layer_of("elementwise:200000,2")
    assert len(on.units) == 6
    assert layer_bound(on, layer) <= described_accelerator(on, [layer]).cycles


def test_the_answer_is_that_of_every_variant() -> None:
    vary = {"rows": (8, 16, 48), "columns": (8, 32, 64), "buffer_kib": (8, 64)}
    found = hp.describe("systolic", layers=LAYERS, vary=vary, within=["rows * columns <= 1536"])
    assert isinstance(found, ParameterResult)
    layers, values = [layer_of(text) for text in LAYERS], {}
    for combination in itertools.product(*vary.values()):
        if combination[0] * combination[1] <= 1536:
            on = read_description("systolic", dict(zip(vary, combination, strict=True)))
            values[combination] = described_accelerator(on, layers).cycles
    assert found.best.cycles == min(values.values())
    assert len(found.choices) == len(values) == found.certificate.considered
    assert found.certificate.proven
    assert any(choice.what == "bounded" for choice in found.choices)
    for choice in found.choices:
        cycles = values[tuple(choice.values.values())]
        assert choice.cycles in (None, cycles)
        assert choice.bound_cycles <= cycles
    assert hp.describe("systolic", layers=LAYERS, parameters=dict(found.best.parameters)).cycles == found.best.cycles


def test_nothing_within_the_limits() -> None:
    found = hp.describe("systolic", layers=LAYERS[:1], vary={"rows": (8, 16)}, within=["rows * columns <= 100"])
    assert isinstance(found, Infeasible)
    assert found.needed == pytest.approx(2.56)  # 8 x 32 of at most 100


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"vary": {"rows": (8,)}}, "vary: rows: expected a network or layers"),
        ({"vary": {"rows": (8,)}, "layers": LAYERS[:1], "parameters": {"rows": 4}}, "vary: rows: expected a parameter"),
        ({"vary": {"rows": (8,)}, "layers": LAYERS[:1], "simulate": True}, "simulate: expected one accelerator"),
        ({"vary": {"rowz": (8,)}, "layers": LAYERS[:1]}, "rowz"),
        ({"vary": {"rows": ()}, "layers": LAYERS[:1]}, "vary: 0 combinations"),
        ({"vary": {"rows": (8,)}, "layers": LAYERS[:1], "within": ["rows < 8"]}, "within: 'rows < 8'"),
        ({"vary": {"rows": (8,)}, "layers": LAYERS[:1], "within": ["cows <= 8"]}, "cows"),
        ({"vary": {"rows": (8, 8)}, "layers": LAYERS[:1]}, "vary: rows=8,8: expected each value once"),
        ({"layers": LAYERS[:1], "within": ["rows <= 8"]}, "within: 'rows <= 8': expected values of a parameter"),
    ],
)
def test_bad_input(given: dict[str, object], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        hp.describe("systolic", **given)


def test_the_page_has_every_variant_and_their_front() -> None:
    found = hp.describe("systolic", layers=LAYERS[:2], vary={"rows": (8, 16, 32), "columns": (8, 32)})
    assert isinstance(found, ParameterResult)
    page = parameters_page(found)
    best = found.best.parameters
    assert "<h1>Which rows and columns of systolic are fastest for these layers?</h1>" in page
    assert f"rows={best['rows']}, columns={best['columns']}: {found.best.cycles:,} cycles" in page
    assert "e+0" not in page.split("<svg")[1].split("</svg>")[0]  # ticks are numbers as they are written
    table = page.split("<h2>Variants</h2>")[1].split("</section>")[0]
    assert table.count("<tr>") == 1 + 6
    evaluated = [one for one in found.choices if one.cycles is not None]
    for one in evaluated:
        assert f"<title>{one.variant}: {one.cycles:,} cycles</title>" in table
    assert table.count("<circle") == len(evaluated)
    assert {one.on_chip_bytes for one in found.choices} == {
        read_description("systolic", one.values).on_chip_bytes for one in found.choices
    }


def test_search_names_describe_for_a_described_accelerator() -> None:
    with pytest.raises(BadInput, match="describe searches the parameters of a described one") as said:
        hp.search("opt-350m", space="gemmini")
    assert "\n" not in str(said.value)


def test_no_line_of_a_block_diagram_crosses_a_block() -> None:
    for name in ("gemmini", "plasticine", "ultratrail", "vector-dsp"):
        drawn = diagram(hp.describe(name))
        for line in drawn.lines:
            points = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", line.path)]
            level = points[9] if " L" in line.path else None  # M x y, C with three points, L x y
            crossed = [block for block in drawn.blocks if points[0] < block.x and block.x + 128 < points[-2]]
            assert all(level is not None and level < block.y for block in crossed), (name, line.title)
