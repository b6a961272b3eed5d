"""The end of a step and the memory of a stage, by hand from docs/model-training.md, sections 4 and 5."""

from dataclasses import replace

import pytest

from hardplace.cost.collectives import Ring
from hardplace.cost.layers.types import Stream
from hardplace.cost.layers.work import LayerWork, StreamWork
from hardplace.cost.types import Collective
from hardplace.hardware.catalogue import device, node
from hardplace.plans.fleet import fleet_of
from hardplace.plans.memory import StageContents, stage_memory
from hardplace.plans.plan import Dimension, Plan
from hardplace.plans.timing import end_of_stage, layer_seconds

LAYER = LayerWork(
    name="layer",
    forward=(),
    again=(),
    backward=(),
    parameters=10**9,
    expert_parameters=0,
    saved_bytes=0.0,
    working_bytes=0.0,
    output_bytes=0.0,
    tensors=9,
)
CONTENTS = StageContents(
    parameters=10**9,
    expert_parameters=0,
    saved_bytes=3e9,
    logits_bytes=5e8,
    working_bytes=7e8,
    largest_parameters=10**8,
    boundary_bytes=2e7,
    largest_trained_parameters=10**8,
)


@pytest.mark.parametrize("zero", [0, 1, 2])
def test_the_end_of_a_step_by_hand(zero: int) -> None:
    """Nothing hides. Fp32 gradients are read for norm, clipping and update, written for clipping, set to zero (under
    ZeRO-2 only the rank's own); 16-bit weights are written; 12 bytes of states a parameter are read and written."""
    plan = Plan(global_batch=8, data=8, zero=zero, overlap=False)
    site = fleet_of([(device("h100-sxm"), node("dgx-h100"), 8)], plan).sites[0]
    ring, count = Ring(members=8, stride=1), LAYER.parameters

    def over_s(what: Collective, bytes_each: int) -> float:
        return site.pricer.exchange_s(what, float(bytes_each * count), site.cluster, ring)

    traffic_s = over_s(Collective.ALL_REDUCE, 4)
    if zero:  # gradients scattered, then the new weights gathered
        traffic_s = over_s(Collective.REDUCE_SCATTER, 4) + over_s(Collective.ALL_GATHER, 2)
    own = count / 8 if zero else count
    zeroed = own if zero == 2 else count
    moved_bytes = own * (4 * 4 + 2 + 2 * 12) + 4 * zeroed
    expected_s = traffic_s + site.pricer.moved_s(Stream.OPTIMIZER, moved_bytes)
    assert end_of_stage([LAYER], plan, site, 1.0, 2.0) == pytest.approx(expected_s, rel=1e-12)


@pytest.mark.parametrize(("shard", "owners"), [(0, 32), (8, 8)])
def test_ranks_that_own_whole_tensors_broadcast_them_one_after_another(shard: int, owners: int) -> None:
    """Four nodes of eight, four layers of nine tensors: each of 32 ranks owns one at least, each of 8 within a node.

    A chain through all has 3 hops between nodes and 28 inside; its bytes pass the eight links between nodes together.
    """
    plan = Plan(global_batch=32, data=32, zero=1, shard=shard, overlap=False, software="internevo")
    site = fleet_of([(device("a100-80gb-sxm"), node("dgx-a100"), 32)], plan).sites[0]
    ring, count = Ring(members=32, stride=1), 4 * LAYER.parameters
    inside, between = site.cluster.levels
    hops_s = 7 * inside.latency_s if shard else 28 * inside.latency_s + 3 * between.latency_s
    sent_s = 2.0 * count / (inside.reached_bytes_per_s if shard else 8 * between.reached_bytes_per_s)
    own = count / (shard or 32)
    moved_bytes = own * (4 * 4 + 2 + 2 * 12) + 4 * count
    expected_s = site.pricer.exchange_s(Collective.ALL_REDUCE, 4.0 * count, site.cluster, ring)
    expected_s += owners * hops_s + sent_s + site.pricer.moved_s(Stream.OPTIMIZER, moved_bytes)
    assert end_of_stage(4 * [LAYER], plan, site, 1.0, 2.0) == pytest.approx(expected_s, rel=1e-12)


@pytest.mark.parametrize(("software", "waits"), [("xla", True), ("fsdp-compiled", False)])
def test_groups_of_replicas_reduce_after_the_loop_of_layers(software: str, waits: bool) -> None:
    """Hybrid sharding of 8 of 16 with a backward pass longer than the all-reduce between nodes: all of it shows where
    layers are a loop, else one layer's share (here the only one's)."""
    plan = Plan(global_batch=16, data=16, zero=3, shard=8, software=software)
    site = fleet_of([(device("h100-sxm"), node("dgx-h100"), 16)], plan).sites[0]
    site.pricer.efficiencies = replace(site.pricer.efficiencies, exposed=0.0)
    part, across = 4.0 * LAYER.parameters / 8, Ring(members=2, stride=8)
    between_s = site.pricer.exchange_s(Collective.ALL_REDUCE, part, site.cluster, across)
    two = [LAYER, replace(LAYER, parameters=0)]
    ends_s = [end_of_stage(two, plan, site, 1.0, backward_s) for backward_s in (0.0, 1e3)]
    assert ends_s[0] - ends_s[1] == pytest.approx(0.0 if waits else between_s / 2.0)


@pytest.mark.parametrize(("shown", "fits"), [(0.0, True), (0.4, True), (1.0, True), (0.4, False)])
def test_of_a_loops_own_weights_a_share_shows_whatever_runs_beside(shown: float, fits: bool) -> None:
    """ZeRO-3 of 16 with a layer that is longer than its traffic (fits), or a tenth of it: what shows is that share of
    the traffic at least; software that gathers layers ahead hides all of it behind the longer layer."""
    for software in ("xla", "megatron-core"):
        plan = Plan(global_batch=16, data=16, zero=3, software=software)
        site = fleet_of([(device("h100-sxm"), node("dgx-h100"), 16)], plan).sites[0]
        figures = replace(site.pricer.efficiencies, looped=0.0, shown=shown, contention=0.0, launch_s=0.0)
        site.pricer.efficiencies = figures
        gather_s = site.pricer.exchange_s(Collective.ALL_GATHER, 2e9, site.cluster, Ring(members=16, stride=1))
        work = StreamWork(kind=Stream.NORM, bytes=3e12 * gather_s * (2.0 if fits else 0.1))
        found = layer_seconds(replace(LAYER, forward=(work,)), plan, site, {})
        covered_s = min(gather_s, found.forward.total_s)
        assert (covered_s == gather_s) == fits
        least_s = shown * gather_s if software == "xla" else 0.0
        assert found.forward_gather_s == pytest.approx(max(least_s, gather_s - covered_s), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize(("software", "behind"), [("megatron-core", 1.0), ("xla", 0.7)])
def test_weights_gathered_ahead_hide_behind_all_of_a_layer(software: str, behind: float) -> None:
    """ZeRO-3 of 16, traffic longer than a layer: what shows is what the layer, or in a loop a share of it, does not
    cover, and what the part beside the layer slows it down by."""
    plan = Plan(global_batch=16, data=16, zero=3, software=software)
    site = fleet_of([(device("h100-sxm"), node("dgx-h100"), 16)], plan).sites[0]
    site.pricer.efficiencies = replace(
        site.pricer.efficiencies, exposed=0.9, looped=0.3, shown=0.0, contention=0.2, launch_s=0.0
    )
    layer = replace(LAYER, forward=(StreamWork(kind=Stream.NORM, bytes=1e10),))
    found = layer_seconds(layer, plan, site, {})
    gather_s = site.pricer.exchange_s(Collective.ALL_GATHER, 2e9, site.cluster, Ring(members=16, stride=1))
    inside_s = behind * found.forward.total_s
    assert 0.0 < inside_s < gather_s
    assert found.forward_gather_s == pytest.approx(gather_s - inside_s + 0.2 * inside_s, rel=1e-12)


def test_weights_of_experts_are_gathered_over_their_replicas_frozen_ones_too() -> None:
    """ZeRO-3 of 8 replicas, experts over 2 of them: 16-bit weights from 8 devices, those of experts from every other
    one of 4. Nothing hides."""
    plan = Plan(global_batch=8, data=8, expert=2, zero=3, overlap=False)
    site = fleet_of([(device("h100-sxm"), node("dgx-h100"), 8)], plan).sites[0]
    layer = replace(LAYER, frozen_parameters=5, expert_parameters=3 * 10**9, expert_frozen_parameters=2 * 10**9)
    dense = site.pricer.exchange_s(
        Collective.ALL_GATHER, 2.0 * (layer.parameters + 5), site.cluster, Ring(members=8, stride=1)
    )
    experts = site.pricer.exchange_s(Collective.ALL_GATHER, 2.0 * 5 * 10**9, site.cluster, Ring(members=4, stride=2))
    found = layer_seconds(layer, plan, site, {})
    assert found.forward_gather_s == pytest.approx(dense + experts, rel=1e-12)
    assert found.backward_host_s == 0.0  # nothing goes to host memory unless a plan says so


def test_states_divided_within_a_node_are_reduced_between_nodes_behind_the_same_pass() -> None:
    """ZeRO-1 over 8 of 16: what hides is taken once from the scatter inside and the all-reduce of a shard between."""
    plan = Plan(global_batch=16, data=16, shard=8)
    site = fleet_of([(device("h100-sxm"), node("dgx-h100"), 16)], plan).sites[0]
    site.pricer.efficiencies = replace(site.pricer.efficiencies, exposed=0.0)
    count, inside, across = LAYER.parameters // 8, Ring(members=8, stride=1), Ring(members=2, stride=8)

    def over_s(what: Collective, size: float, ring: Ring) -> float:
        return site.pricer.exchange_s(what, size, site.cluster, ring)

    reduced_s = over_s(Collective.REDUCE_SCATTER, 4.0 * 8 * count, inside) + over_s(
        Collective.ALL_REDUCE, 4.0 * count, across
    )
    gathered_s = over_s(Collective.ALL_GATHER, 2.0 * 8 * count, inside)
    moved_bytes = count * (4 * 4 + 2 + 2 * 12) + 4 * 8 * count
    update_s = site.pricer.moved_s(Stream.OPTIMIZER, moved_bytes)
    backward_s = 0.75 * reduced_s  # of two layers, half of it hides traffic
    expected_s = (1.0 - 0.75 / 2) * reduced_s + gathered_s + update_s
    halves = [replace(LAYER, parameters=LAYER.parameters // 2)] * 2
    assert end_of_stage(halves, plan, site, 0.0, backward_s) == pytest.approx(expected_s, rel=1e-12)


def test_the_memory_of_a_stage_by_hand() -> None:
    """First of two stages in 1F1B: two micro-batches in flight, one stage's working set and logits beside, tensors to
    and from the next stage; 4 % lost to the allocator, 2 GB reserved."""
    plan = Plan(global_batch=16, data=4, pipeline=2, zero=1)
    found = stage_memory(plan, 0, CONTENTS)
    model = 1e9 * (2 + 4 + 12 / 4)
    allocated = model + 2 * 3e9 + 5e8 + 7e8 + 2 * 2e7
    assert found.allocated_bytes == pytest.approx(allocated)
    assert found.total_bytes == pytest.approx(1.04 * allocated + 2e9)
    alone = stage_memory(replace(plan, pipeline=1, zero=2), 0, CONTENTS)
    assert alone.allocated_bytes == pytest.approx(1e9 * (2 + 4 / 4 + 12 / 4) + 3e9 + 5e8 + 7e8 + 4e8)
    scattered = stage_memory(replace(plan, pipeline=1, zero=2, software="xla"), 0, CONTENTS)  # a quarter at a time
    assert scattered.allocated_bytes == pytest.approx(alone.allocated_bytes - 0.75 * 4e8)


@pytest.mark.parametrize(("batch", "turns"), [(64, 4), (16, 2)])
def test_what_is_reduced_of_a_chunk_hides_behind_the_passes_of_the_others(batch: int, turns: int) -> None:
    """Two chunks of two layers, four stages: traffic of the first that is done has the passes of p micro-batches
    (or of as many as there are) through the other and its own; that of the last its own pass alone."""
    site_plan = Plan(global_batch=batch, data=8, pipeline=4, virtual=2, zero=1)
    site = fleet_of([(device("h100-sxm"), node("dgx-h100"), 32)], site_plan).sites[0]
    pricer = replace(site.pricer, efficiencies=replace(site.pricer.efficiencies, exposed=0.0))
    site, stage = replace(site, pricer=pricer), [LAYER] * 4

    def shown_s(plan: Plan, backward_s: float) -> float:
        alone_s = end_of_stage(stage, replace(plan, overlap=False), site, 0.0, 0.0)
        return end_of_stage(stage, plan, site, 0.0, backward_s) - alone_s

    ring = Ring(members=8, stride=site_plan.stride(Dimension.DATA))
    whole_s = site.pricer.exchange_s(Collective.REDUCE_SCATTER, 4.0 * 4e9, site.cluster, ring)
    for pass_s in (0.01 * whole_s, 0.3 * whole_s):
        behind_s = 0.75 * pass_s / 2  # hidden but for a layer, of one chunk
        shown = max(whole_s - (turns + 1) * behind_s, whole_s / 2 - behind_s, whole_s / 4)
        assert shown_s(site_plan, pass_s) == pytest.approx(shown - whole_s, rel=1e-9)
        plain = max(whole_s - 2 * behind_s, whole_s / 4)
        assert shown_s(replace(site_plan, virtual=1), pass_s) == pytest.approx(plain - whole_s, rel=1e-9)
