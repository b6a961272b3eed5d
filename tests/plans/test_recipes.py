"""What a run of Megatron-Bridge is read as: the recipe whose layout it has."""

import csv
from pathlib import Path

import pytest

from hardplace.cost.layers.software import Dispatcher, Graphs
from hardplace.plans.memory import StageMemory
from hardplace.plans.published.recipes import RECIPES, recipe_fields, released
from hardplace.plans.published.runs import PublishedRun, run_of, spelled
from hardplace.plans.published.scores import estimated
from hardplace.plans.published.ways import ways_of

TABLE = Path(__file__).parents[2] / "validation/training/training.csv"


def stage_memory_of(run: PublishedRun) -> StageMemory:
    (only,) = estimated(run).memory
    return only


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, str]]:
    with TABLE.open() as source:
        return {row["id"]: spelled(row) for row in csv.DictReader(source) if row["id"].startswith("mbridge")}


@pytest.mark.parametrize(
    ("name", "dispatcher", "overlap", "graphs"),
    [
        ("mbridge-086", Dispatcher.DEEPEP, True, Graphs.PARTIAL),  # DeepSeek-V3, B200, pipeline 8 x 2, expert 32
        ("mbridge-132", Dispatcher.HYBRIDEP, False, Graphs.NONE),  # the same, pipeline 16
        ("mbridge-040", Dispatcher.HYBRIDEP, True, Graphs.FULL),  # GB300, one sample a micro-batch, 26.06
        ("mbridge-083", Dispatcher.HYBRIDEP, False, Graphs.NONE),  # two samples
        ("mbridge-050", Dispatcher.HYBRIDEP, False, Graphs.NONE),  # Qwen3-30B, H100, fp8
        ("mbridge-226", Dispatcher.ALL_TO_ALL, True, Graphs.NONE),  # Qwen3-235B, B300, virtual stages 4
        ("mbridge-100", Dispatcher.ALL_TO_ALL, False, Graphs.NONE),  # B200, none
        ("mbridge-053", Dispatcher.HYBRIDEP, False, Graphs.NONE),  # Kimi-K2, two samples a micro-batch
        ("mbridge-044", Dispatcher.HYBRIDEP, True, Graphs.FULL),  # GPT OSS, GB300, mxfp8
        ("mbridge-269", Dispatcher.ALL_TO_ALL, False, Graphs.FULL),  # 25.09 drops tokens
    ],
)
def test_run_has_the_recipe_of_its_layout(
    rows: dict[str, dict[str, str]], name: str, dispatcher: Dispatcher, overlap: bool, graphs: Graphs
) -> None:
    found = recipe_fields(rows[name])
    assert (found["dispatcher"], found["expert_overlap"], found["graphs"]) == (dispatcher, overlap, graphs)
    assert found.items() <= ways_of(rows[name]).items()


def test_every_recipe_is_of_some_run(rows: dict[str, dict[str, str]]) -> None:
    ran = set()
    for row in rows.values():
        release = released(row)
        if release and row["moe"]:
            ran.add(
                next(place for place, one in enumerate(RECIPES) if one.of(row["model"] + row["note"], row, release))
            )
    assert ran >= set(range(len(RECIPES))) - {place for place, one in enumerate(RECIPES) if not one.model}


@pytest.mark.parametrize(
    ("name", "tied"), [("bloom-004", True), ("mosaic-001", True), ("nara21-001", True), ("mbridge-118", False)]
)
def test_gpts_share_the_table_of_input_and_output(name: str, tied: bool) -> None:
    with TABLE.open() as source:
        row = next(one for one in csv.DictReader(source) if one["id"] == name)
    run = run_of(row)
    assert run.shape.tied is tied
    if (
        name == "bloom-004"
    ):  # one stage: 8 layers of 12 h^2 and the table once over tensor 8, positions whole; 2 + 6 + 12 bytes
        held = (8 * 12 * 14400**2 + 250680 * 14400) / 8 + 2048 * 14400
        memory = stage_memory_of(run)
        states = memory.weights_bytes + memory.gradients_bytes + memory.states_bytes
        assert states == pytest.approx(20 * held, rel=0.001)


def test_release_is_of_the_note(rows: dict[str, dict[str, str]]) -> None:
    assert released(rows["mbridge-186"]) == (26, 2, 1)
    assert released({"note": "DeepEP; forced balance"}) is None
