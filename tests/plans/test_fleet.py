"""Tensors between stages, by hand from docs/model-training.md, section 3."""

from dataclasses import replace

import pytest

from hardplace.cost.collectives import Ring, collective_s
from hardplace.cost.types import Collective
from hardplace.hardware.catalogue import device, node
from hardplace.plans.fleet import fleet_of
from hardplace.plans.plan import Plan


@pytest.mark.parametrize("software", ["megatron-2021", "megatron-deepspeed", "deepspeed"])
def test_ranks_that_hold_a_tensor_whole_send_their_parts_of_it(software: str) -> None:
    """Two stages of eight tensor-parallel ranks: an eighth crosses from each rank, all eight are gathered inside the
    node. With sequence parallelism, and in Megatron Core, what a rank holds is what it sends."""
    plan = Plan(global_batch=8, tensor=8, pipeline=2, software=software)
    whole, ring = 4096 * 12288 * 2.0, Ring(members=2, stride=8)

    def hop_s(plan: Plan) -> float:
        fleet = fleet_of([(device("a100-80gb-sxm"), node("dgx-a100"), 16)], plan)
        return fleet.hop_s(plan, fleet.of_stages(plan), whole)

    site = fleet_of([(device("a100-80gb-sxm"), node("dgx-a100"), 16)], plan).sites[0]
    reached = site.pricer.efficiencies
    part_s, whole_s = (
        collective_s(site.cluster, Collective.POINT_TO_POINT, ring.members, ring.stride, size)
        for size in (whole / 8, whole)
    )
    gathered_s = collective_s(site.cluster, Collective.ALL_GATHER, 8, 1, whole)
    gather_s = reached.tensor * gathered_s + reached.sync_s + site.pricer.blocked_s
    assert hop_s(plan) == pytest.approx(part_s + gather_s, rel=1e-12)
    assert hop_s(plan) < 0.4 * whole_s
    assert hop_s(replace(plan, sequence=True)) == pytest.approx(whole_s, rel=1e-12)
    assert hop_s(replace(plan, software="megatron-core")) == pytest.approx(whole_s, rel=1e-12)
