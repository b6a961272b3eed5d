"""Spaces that ship, their limits, another process node, and what is wrong with files of one's own."""

from pathlib import Path

import pytest

from hardplace.design.question import question_of
from hardplace.errors import BadInput
from hardplace.hardware.chip_pricer import Preset
from hardplace.hardware.space_files import at_process, space, space_names
from hardplace.workload.load import load

SPACES = Path(__file__).parents[2] / "src" / "hardplace" / "hardware" / "spaces"


def asked(**given: object) -> object:
    arguments: dict[str, object] = {"setting": "hbm3", "space": "reticle", "devices": 8, "batch": 64, "limits": {}}
    return question_of((load("opt-350m"),), **(arguments | given))  # type: ignore[arg-type]


def test_one_reticle_has_limits_of_its_own_on_area_and_tdp_which_others_replace() -> None:
    budget = asked().budget  # type: ignore[attr-defined]
    assert (budget.area_mm2, budget.tdp_w) == (858.0, 700.0)
    budget = asked(limits={"tdp": "400W"}).budget  # type: ignore[attr-defined]
    assert (budget.area_mm2, budget.tdp_w) == (858.0, 400.0)
    assert asked(space="phaze").budget.tdp_w is None  # type: ignore[attr-defined]


def test_area_and_power_of_one_reticle_are_of_one_model_at_one_node() -> None:
    chips = space("reticle")
    assert (chips.area_model, chips.node_nm) == (Preset.PARTS, 5.0)
    assert asked(process="7nm").space.node_nm == 7.0  # type: ignore[attr-defined]
    assert [at_process(chips, each).node_nm for each in ("3nm", " 4 nm", 5, "16")] == [3.0, 4.0, 5.0, 16.0]


@pytest.mark.parametrize(
    ("name", "process", "said"),
    [("reticle", "6nm", "3nm"), ("reticle", "", "7nm"), ("phaze", "7nm", "PHAZE's")],
)
def test_a_process_that_is_not_there_is_refused(name: str, process: str, said: str) -> None:
    with pytest.raises(BadInput, match=said) as problem:
        at_process(space(name), process)
    assert problem.value.field == "process"


@pytest.mark.parametrize("name", space_names())
def test_every_space_that_ships_is_read(name: str) -> None:
    assert space(name).chips > 0


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("tdp_limit_w = 700", "tdp_limit_w = -1", "tdp_limit_w"),
        ("tdp_limit_w = 700", "watts = 700", "watts"),
        ('tensor_cores = "1..16,', 'tensor_cores = "16..1,', "tensor_cores"),
        ('vector_lanes = "64, 128, 256, 512"', 'vector_lanes = ""', "vector_lanes"),
        ("node_nm = 5", "node_nm = 6", "6 nm"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = (SPACES / "reticle.toml").read_text()
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(BadInput, match=said):
        space(str(path))
