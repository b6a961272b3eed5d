"""How a plan is run: what it says before what its software does."""

from dataclasses import fields

import pytest

from hardplace.cost.layers.software import SOFTWARE, Dispatcher, Graphs
from hardplace.cost.layers.ways import Ways, routing_launches, ways

SAID = {
    "dispatcher": tuple(Dispatcher),
    "graphs": tuple(Graphs),
    "tensor_overlap": (False, True),
    "expert_overlap": (False, True),
    "fused_experts": (False, True),
}


@pytest.mark.parametrize("software", SOFTWARE)
def test_what_a_plan_says_counts_and_the_rest_is_its_softwares_habit(software: str) -> None:
    usual = ways(software)
    habits = SOFTWARE[software]
    assert usual == Ways(software=software, **{name: getattr(habits, name) for name in SAID})
    assert {one.name for one in fields(Ways)} == {"software", *SAID}
    for name, values in SAID.items():
        for value in values:
            found = ways(software, **{name: value})
            assert {one: getattr(found, one) for one in SAID} == {one: getattr(usual, one) for one in SAID} | {
                name: value
            }


@pytest.mark.parametrize("software", SOFTWARE)
def test_kernels_of_a_router_are_counted_for_all_to_all_and_a_tenth_is_left_of_them_in_graphs_of_parts(
    software: str,
) -> None:
    usual, free = SOFTWARE[software].routing_launches, {"graphs": Graphs.NONE}
    assert routing_launches(ways(software, dispatcher=Dispatcher.ALL_TO_ALL, **free)) == usual
    assert routing_launches(ways(software, dispatcher=Dispatcher.DEEPEP, **free)) == int(0.6 * usual)
    assert routing_launches(ways(software, dispatcher=Dispatcher.ALL_TO_ALL, graphs=Graphs.PARTIAL)) == int(0.1 * usual)
    assert routing_launches(ways(software, dispatcher=Dispatcher.ALL_TO_ALL, graphs=Graphs.FULL)) == 0
