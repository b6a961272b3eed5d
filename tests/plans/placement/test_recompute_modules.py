"""`place` held to modules that are recomputed: as by brute force, beside other kinds of recompute, and bad input."""

from dataclasses import replace

import pytest

from hardplace.errors import BadInput
from hardplace.hardware.catalogue import device, node
from hardplace.plans.chain import of_workload
from hardplace.plans.estimate import estimate_plan
from hardplace.plans.fleet import fleet_of
from hardplace.plans.placement.held_dimensions import fixed, fixed_of
from hardplace.plans.placement.search import PlanSearch
from hardplace.plans.placement.space import PlanSpace
from hardplace.plans.plan import Plan
from hardplace.workload.load import load
from hardplace.workload.types import Recompute

MODULES = ("mlp", "layernorm")
PARTS = [(device("a100-40gb-sxm"), node("dgx-a100-320gb"), 8)]
HELD = {"tensor": (1, 2), "pipeline": (1,), "sequence": (False,), "micro_batch": (1, 2), "software": ("megatron-core",)}


def priced(plan):
    return estimate_plan(of_workload(load("llama2-7b"), plan), plan, fleet_of(PARTS, plan))


def test_held_modules_are_as_by_brute_force_and_stay_with_selective_recompute():
    held = HELD | {"recompute_modules": (MODULES,), "recompute": (Recompute.NONE, Recompute.SELECTIVE)}
    found = PlanSearch(load("llama2-7b"), PARTS, PlanSpace(global_batch=64, fixed=held)).run()
    steps = {}
    for tensor in (1, 2):
        for micro_batch in (1, 2):
            for zero in (0, 1, 2, 3):
                base = Plan(
                    global_batch=64, tensor=tensor, data=8 // tensor, micro_batch=micro_batch, zero=zero,
                    software="megatron-core",
                )  # fmt: skip
                plans = [base, replace(base, recompute=Recompute.SELECTIVE, recompute_modules=MODULES)]
                for plan in plans:
                    one = priced(plan)
                    if one.fits:
                        steps[plan] = one.step_s
    assert found.best[0].step_s == pytest.approx(min(steps.values()), rel=1e-9)
    kinds = {one.plan.recompute for one in found.best}
    assert Recompute.SELECTIVE in kinds
    for one in found.best:
        assert one.plan.recompute_modules == (MODULES if one.plan.recompute is Recompute.SELECTIVE else ())
        assert priced(one.plan).step_s == pytest.approx(one.step_s, rel=1e-9)
        assert one.step_s >= min(steps.values()) * (1 - 1e-12)


def test_modules_are_read_from_texts_and_from_python():
    assert fixed(["recompute_modules=mlp+layernorm"]) == {"recompute_modules": (MODULES,)}
    assert fixed_of({"recompute_modules": MODULES}) == {"recompute_modules": (MODULES,)}
    assert fixed_of({"recompute_modules": "moe_act"}) == {"recompute_modules": (("moe_act",),)}
    with pytest.raises(BadInput, match="not foo"):
        fixed(["recompute_modules=mlp+foo"])
    for more, words in (
        ({"recompute_modules": (("mlp",), ("layernorm",))}, "one list, its modules joined by"),
        ({"recompute_modules": (("mlp",),), "recompute": (Recompute.FULL,)}, "recompute selective with it, not full"),
    ):
        with pytest.raises(BadInput, match=words):
            PlanSearch(load("llama2-7b"), PARTS, PlanSpace(global_batch=64, fixed=HELD | more)).run()
