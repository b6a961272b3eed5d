"""`replan` on random small changes against every plan of its space, priced and charged one by one.
`benchmarks/certificates_replan.py` asks hundreds."""

import random
from dataclasses import replace

import pytest

from hardplace.hardware.catalogue import device, node
from hardplace.plans.plan import Plan
from hardplace.plans.replanning.replan import Change
from oracles_plans import short_model
from oracles_replan import Event, compared, random_event


@pytest.mark.parametrize("number", [0, 1, 2, 3, 5, 6, 7])
def test_the_five_best_of_a_random_change_are_the_five_best_of_all(number: int) -> None:
    found = compared(random_event(random.Random(f"1:{number}")), 800)
    assert found is not None
    assert not found.wrong


DGX = node("dgx-a100")
PAIRS = replace(DGX, levels=(replace(DGX.levels[0], devices=2), DGX.levels[1]))
EVENT = Event(
    workload=short_model("opt-350m", 2),
    chip=device("a100-80gb-sxm"),
    before=PAIRS,
    running=Plan(global_batch=12, data=2, micro_batch=3),
    change=Change(devices=2, lost=frozenset({1}), node=PAIRS, horizon_s=3.0, restart_s=0.1, store_bytes_per_s=125e6),
)


@pytest.mark.parametrize("horizon_s", [1.0, 5.0, 500.0])
def test_what_only_a_checkpoint_has_and_the_running_plan_on_a_new_device(horizon_s: float) -> None:
    """ZeRO lost a half of the states: every plan reads them. The running micro-batch of 3 is in no other plan."""
    change = replace(EVENT.change, horizon_s=horizon_s)
    found = compared(replace(EVENT, change=change))
    assert found is not None
    assert not found.wrong
