"""The recommended plan, the map of degrees and the variations, each against another way to the same number."""

from __future__ import annotations

from dataclasses import replace

import pytest

import hardplace as hp
from hardplace.plans.placement.recommend import against, free_share, recommend
from hardplace.plans.placement.result import PlacementResult
from hardplace.plans.plan import PipelineSchedule

FIXED = {"recompute": "none", "zero": (0, 1), "micro_batch": 1}


@pytest.fixture(scope="module")
def found() -> PlacementResult:
    answer = hp.place(
        "llama2-7b", "h100-sxm", 16, batch=32, fixed={"recompute": "none", "zero": (0, 1), "micro_batch": 1}
    )
    assert isinstance(answer, PlacementResult)
    return answer


def test_the_recommended_plan_is_the_first_without_a_fault(found: PlacementResult) -> None:
    full = replace(found.best[0], memory_bytes=tuple(room.total_bytes * 1.01 for room in found.best[0].memory))
    rare = replace(found.best[1], plan=replace(found.best[1].plan, schedule=PipelineSchedule.ZERO_BUBBLE))
    deep = replace(found.best[2], plan=replace(found.best[2].plan, virtual=16))
    changed = replace(found, best=(full, rare, deep, *found.best[3:]))
    chosen = recommend(changed)
    assert chosen is not None
    sound = [
        place
        for place, one in enumerate(changed.best)
        if free_share(one) >= 0.05 and one.plan.virtual <= 8 and one.plan.schedule is not PipelineSchedule.ZERO_BUBBLE
    ]
    assert chosen.place == sound[0] >= 3
    assert chosen.cost == pytest.approx(found.best[chosen.place].step_s / full.step_s - 1.0)
    assert {*chosen.reasons} >= {*against(full), *against(rare), *against(deep)}
    assert len({*against(full), *against(rare), *against(deep)}) == 3
    assert recommend(replace(found, best=(full,))) is None


def test_the_map_agrees_with_a_search_of_each_pair(found: PlacementResult) -> None:
    """A step is the optimum of its degrees or more, a bound is at most it; a pair that does not fit has no plan."""
    assert found.degrees
    for one in found.degrees[::3]:
        alone = hp.place(
            "llama2-7b", "h100-sxm", 16, batch=32, fixed={**FIXED, "tensor": one.tensor, "pipeline": one.pipeline}
        )
        if isinstance(alone, hp.Infeasible):
            assert one.step_s is None
            continue
        assert one.fits
        least_s = alone.best[0].step_s
        assert one.step_s is None or one.step_s >= least_s * (1.0 - 1e-12)
        assert min(one.step_s or least_s, one.bound_s or least_s) <= least_s * (1.0 + 1e-12)


def test_a_variation_is_the_price_of_the_changed_question(found: PlacementResult) -> None:
    by_what = {one.what: one for one in found.variations}
    best = found.best[0].plan
    half = hp.estimate("llama2-7b", replace(best, global_batch=16), "h100-sxm")
    assert best.data * best.micro_batch <= 16
    assert by_what["batch 16"].step_s == half.step_s
    slower, faster = (next(one for one in found.variations if one.what.endswith(f"link x {x}")) for x in ("0.5", "2"))
    assert slower.step_s >= found.best[0].step_s >= faster.step_s
    assert by_what["device memory x 0.75"].fits == (free_share(found.best[0]) >= 0.25)
