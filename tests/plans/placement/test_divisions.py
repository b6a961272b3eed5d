"""The bound of the end of a step before layers are cut."""

import math
from dataclasses import replace

import pytest

from hardplace.hardware.catalogue import device, node
from hardplace.plans.placement.divisions import Divisions
from hardplace.plans.placement.space import PlanSpace
from hardplace.plans.timing import end_of_stage, layer_seconds
from hardplace.workload.load import load

A100 = device("a100-80gb-sxm"), node("dgx-a100")


@pytest.mark.parametrize("zero", [0, 1])
@pytest.mark.parametrize("shard", [0, 8])
@pytest.mark.parametrize(("name", "micro_batch"), [("llama2-7b", 1), ("gpt3-175b", 4)])
def test_no_stage_ends_its_step_before_the_bound_of_its_sharding(name, micro_batch, zero, shard):
    """One micro-batch, so that what hides of the end weighs most: a first stage has an embedding to hide behind too."""
    if shard and not zero:
        return
    asked = {"tensor": 1, "pipeline": 8, "data": 64, "micro_batch": micro_batch, "zero": zero, "shard": shard}
    space = PlanSpace(global_batch=64 * micro_batch, fixed={key: (value,) for key, value in asked.items()})
    divided = Divisions(load(name), [(*A100, 512)], space)
    cell = next(iter(divided.cells()))
    plan, site = replace(cell.plan, zero=zero, shard=shard), cell.fleet.sites[0]
    bound_s = divided.end_s(cell, plan, math.inf)
    for kind, chain in cell.block.recomputed.items():
        count = divided.each(plan)
        for stage in (
            chain.layers[:count],
            (*chain.before, *chain.layers[:count]),
            (*chain.layers[:count], *chain.after),
        ):
            priced = [layer_seconds(one, replace(plan, recompute=kind), site, {}) for one in stage]
            forward_s, backward_s = sum(one.forward_s for one in priced), sum(one.backward_s for one in priced)
            end_s = end_of_stage(stage, plan, site, forward_s, backward_s) + site.pricer.efficiencies.step_s
            assert bound_s <= plan.micro_batches * (forward_s + backward_s) + end_s
    assert (bound_s > 0.0) == (not shard)  # of one micro-batch nothing is proven where two reductions hide


@pytest.mark.parametrize("name", ["deepseek-v3", "gpt-oss-120b"])
def test_of_layers_unlike_each_other_the_end_of_a_stage_has_no_bound(name):
    """The first layer may be the one with the least seconds or the most; a stage may have the others."""
    asked = {"tensor": 1, "pipeline": 2, "data": 32, "micro_batch": 1, "zero": 1, "expert": 1}
    space = PlanSpace(global_batch=64, fixed={key: (value,) for key, value in asked.items()})
    divided = Divisions(load(name), [(*A100, 64)], space)
    cell = next(iter(divided.cells()))
    assert divided.end_s(cell, replace(cell.plan, zero=1), math.inf) == 0.0
