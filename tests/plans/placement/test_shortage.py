"""What devices hold together, and questions that no plan can answer."""

from dataclasses import replace

import pytest

from hardplace.errors import BadInput
from hardplace.hardware.catalogue import device, node
from hardplace.plans.dividing import rank_layers
from hardplace.plans.memory import least_bytes_per_parameter
from hardplace.plans.placement.held_dimensions import fixed_of
from hardplace.plans.placement.search import PlanSearch
from hardplace.plans.placement.shortage import _changes, cannot_hold, lightest
from hardplace.plans.placement.space import PlanSpace
from hardplace.plans.plan import OptimizerKind, Plan
from hardplace.workload.load import load
from hardplace.workload.sharding.shards import RankShards
from hardplace.workload.weights import weights_of, weights_of_model

H100, DGX = device("h100-sxm"), node("dgx-h100")


@pytest.mark.parametrize("name", ["mixtral-8x7b", "glm-4.5", "gpt-oss-120b", "t5-large", "bert-base"])
def test_all_devices_together_hold_every_parameter_with_its_gradient_and_states(name):
    """However a plan divides a model, no part of it is nowhere."""
    workload = load(name)
    trained = weights_of_model(workload).trained
    held = fixed_of({"micro_batch": 1, "pipeline": (1, 2)})
    search = PlanSearch(workload, [(H100, DGX, 8)], PlanSpace(global_batch=8, fixed=held))
    plans = 0
    for one in lightest(search):
        ranks = one.devices // one.plan.pipeline
        whole = ranks * sum(room.weights_bytes + room.gradients_bytes + room.states_bytes for room in one.memory)
        assert whole >= least_bytes_per_parameter(one.plan) * trained
        plans += 1
    assert plans > 3


def test_recorded_experts_beside_tensor_parallelism_are_whole():
    """Expert groups fold into tensor groups and hold whole experts; cut by both, most of the model would be nowhere."""
    workload = load("glm-4.5")
    plan = Plan(global_batch=8, tensor=8, expert=4, sequence=True)
    shards = RankShards(workload)
    for layer, whole in zip(rank_layers(workload, plan, shards), map(weights_of, workload.layers), strict=True):
        mine = weights_of(layer)
        assert mine.expert_parameters == whole.expert_parameters // 4
        assert whole.parameters // 8 <= mine.parameters < 0.3 * whole.parameters
    with pytest.raises(BadInput, match=r"sequence: false: expected true with tensor 8 and expert 4: expert groups"):
        rank_layers(workload, replace(plan, sequence=False), shards)


def test_devices_too_small_for_the_states_alone_are_not_searched():
    trained = 671_000_000_000

    def held(devices, **fixed):
        return cannot_hold(trained, [(H100, DGX, devices)], PlanSpace(global_batch=512, fixed=fixed))

    assert held(64)
    assert held(64, optimizer=(OptimizerKind.ADAMW_8BIT,))
    assert not held(64, offload=(True,))
    assert not held(256)


def test_a_pipeline_longer_than_the_layers_has_a_lightest_plan():
    """Embedding and head are stages of their own."""
    space = PlanSpace(global_batch=14, fixed=fixed_of({"pipeline": 14, "micro_batch": 1}))
    found = list(lightest(PlanSearch(load("bert-base"), [(H100, DGX, 14)], space)))
    assert [one.plan.stages for one in found] == [(0, *(1,) * 12, 0)]


def test_a_longer_context_group_is_a_remedy_unless_its_degree_is_held():
    space = PlanSpace(global_batch=8)
    for fixed, expected in (({}, {"context 2", "context 4"}), ({"context": (1,)}, set())):
        changes = _changes([(H100, DGX, 8)], replace(space, fixed=fixed))
        assert {what for what, _, _ in changes if what.startswith("context")} == expected
