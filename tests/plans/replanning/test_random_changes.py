"""`replan` on random small changes against every plan of its space, priced and charged one by one.
`benchmarks/certificates_replan.py` asks hundreds."""

import random
from dataclasses import replace

import pytest

from hardplace.hardware.catalogue import device, node
from hardplace.plans.plan import Plan
from hardplace.plans.replanning.replan import Change, ReplanResult, replan
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


def test_no_plan_is_looked_at_that_cannot_do_more_work_for_the_read_that_all_need() -> None:
    """A read of 16 seconds, as every plan on all devices needs it, leaves the plans that a horizon shorter by that
    does without a read: as many are looked at."""
    running = Plan(global_batch=12, data=4, zero=1)
    change = Change(devices=2, lost=frozenset({2, 3}), node=PAIRS, horizon_s=20.0, restart_s=0.1)

    def found(store_bytes_per_s: float, more_s: float) -> ReplanResult:
        one = replace(change, store_bytes_per_s=store_bytes_per_s, horizon_s=change.horizon_s + more_s)
        result = replan(short_model("opt-350m", 3), EVENT.chip, running, PAIRS, one)
        assert isinstance(result, ReplanResult)
        return result

    slow = found(12.5e6, 0.0).options[0]
    assert slow.read_s > 10.0
    assert found(12.5e6, slow.read_s).priced == found(1e18, 0.0).priced


def test_a_running_plan_that_goes_on_moves_nothing_and_does_not_stop() -> None:
    """A horizon as short as a restart: only the plan that runs already does any work."""
    change = Change(devices=4, lost=frozenset(), node=PAIRS, horizon_s=60.0, restart_s=60.0)
    result = replan(EVENT.workload, EVENT.chip, Plan(global_batch=12, data=4, zero=1), PAIRS, change)
    assert isinstance(result, ReplanResult)
    (only,) = result.options
    assert (only.transfer_s, only.read_s, only.pause_s) == (0.0, 0.0, 0.0)
    assert only.effective_samples_per_s == pytest.approx(12 / only.estimate.step_s)
