"""Ranks on devices: each place once, groups of the sizes that the plan says, as the launchers number them."""

from collections import Counter

import pytest

from hardplace.plans.plan import INSIDE_OUT, Dimension, Plan
from hardplace.report.ranks import rank_cells, rank_place

PLANS = [
    Plan(global_batch=64, tensor=2, pipeline=4, data=4),
    Plan(global_batch=64, tensor=4, context=2, pipeline=2, data=2),
    Plan(global_batch=64, tensor=2, pipeline=2, data=8, order=(INSIDE_OUT[0], INSIDE_OUT[3], *INSIDE_OUT[1:3])),
    Plan(global_batch=64, pipeline=2, data=16, expert=8),
    Plan(global_batch=64, data=3),
]


@pytest.mark.parametrize("plan", PLANS)
def test_each_place_of_the_groups_is_taken_once(plan):
    places = [rank_place(plan, 8, rank) for rank in range(plan.devices)]
    found = Counter((one.tensor, one.context, one.data, one.pipeline) for one in places)
    assert len(found) == plan.devices
    assert [8 * one.node + one.device for one in places] == list(range(plan.devices))
    for rank, one in enumerate(places):
        assert rank == sum(getattr(one, dimension) * plan.stride(dimension) for dimension in Dimension)
    experts = Counter(one.expert for one in places)
    assert set(experts.values()) == {plan.devices // plan.expert}
    assert len(experts) == plan.expert


def test_tensor_ranks_are_neighbours_and_stages_are_apart():
    plan = PLANS[0]
    first = [rank_place(plan, 8, rank) for rank in range(8)]
    assert [one.tensor for one in first] == [0, 1] * 4
    assert {one.pipeline for one in first} == {0}
    assert {rank_place(plan, 8, rank).pipeline for rank in range(8, 16)} == {1}


def test_the_picture_has_the_first_nodes():
    plan = Plan(global_batch=64, tensor=8, data=8)
    cells, nodes, left = rank_cells(plan, 8)
    assert len(cells) == 32
    assert [node for node, _ in nodes] == [0, 1, 2, 3]
    assert left == "Not drawn: 4 further nodes."
    assert cells[9].title == "rank 9: node 1, device 1; tensor 1 of 8, data 1 of 8"
    assert cells[9].groups == "t1 d1"
    cells, _, left = rank_cells(Plan(global_batch=64, data=64), 64)
    assert len(cells) == 16
    assert left == "Not drawn: 48 further devices of each node."
    cells, _, left = rank_cells(PLANS[-1], 8)
    assert len(cells) == 3
    assert left == ""
