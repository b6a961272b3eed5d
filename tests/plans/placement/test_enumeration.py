"""The plans of a space, by hand."""

from dataclasses import replace

from hardplace.hardware.catalogue import device, node
from hardplace.plans.fleet import fleet_of
from hardplace.plans.placement.enumeration import orders, shards
from hardplace.plans.placement.space import PlanSpace
from hardplace.plans.plan import Plan


def test_replicas_within_a_node_are_those_of_context_and_data_whichever_stands_inside():
    """Nodes of 4; context 2 x data 4 are 8 replicas side by side, 4 of them in a node.

    Where data stood outside context two were counted: an order that lands on the same levels was left out, and the
    plans sharded over 4 with it.
    """
    whole = node("dgx-h100")
    fours = replace(whole, levels=(replace(whole.levels[0], devices=4), whole.levels[1]))
    plan = Plan(global_batch=8, context=2, data=4)
    fleet, space = fleet_of([(device("h100-sxm"), fours, 8)], plan), PlanSpace(global_batch=8, fixed={"zero": (1,)})
    kept = orders(space, plan, fleet)
    assert len(kept) > 1
    assert all(shards(space, one, fleet) == [(1, 0), (1, 4)] for one in kept)
