"""The search over plans: brute force over all plans and partitions, monotonicity, several kinds of device, branches."""

import itertools
import math
import re
from dataclasses import replace

import pytest

from hardplace.cost.layers.low_precision import Fp8Recipe
from hardplace.errors import BadInput
from hardplace.hardware.catalogue import device, node
from hardplace.plans.chain import of_workload
from hardplace.plans.estimate import estimate_plan
from hardplace.plans.fleet import fleet_of
from hardplace.plans.infeasible import PlanInfeasible
from hardplace.plans.placement.held_dimensions import fixed
from hardplace.plans.placement.search import PlanSearch
from hardplace.plans.placement.shortage import placed_or_short
from hardplace.plans.placement.space import PlanSpace
from hardplace.plans.plan import INSIDE_OUT, Format, PipelineSchedule, Plan
from hardplace.plans.plan_problems import problems
from hardplace.report.placed import certificate
from hardplace.workload.load import load
from hardplace.workload.types import Edge, Recompute

H100 = device("h100-sxm"), node("dgx-h100")
A100 = device("a100-80gb-sxm"), node("dgx-a100")
PLAIN = [one for one in PipelineSchedule if not one.folds]
TPU, TRAINIUM = (device("tpu-v4"), node("tpu-v4-64")), (device("trainium1"), node("trn1"))


def short_llama(blocks):
    """Llama-2-7B with fewer blocks."""
    whole = load("llama2-7b")
    order = (whole.order[0], *(whole.order[1],) * blocks, whole.order[-1])
    edges = tuple(Edge(place, 0, place + 1, 0) for place in range(len(order) - 1))
    return replace(whole, order=order, edges=edges)


def inventory(count, memory_bytes=None, kind=H100):
    chip, where = kind
    return [(replace(chip, memory_bytes=memory_bytes or chip.memory_bytes), where, count)]


PLAIN_PLAN = Plan(global_batch=1)


def search(workload, devices, batch, *fixes, memory_bytes=None, kind=H100):
    return PlanSearch(
        workload, inventory(devices, memory_bytes, kind), PlanSpace(global_batch=batch, fixed=fixed(fixes))
    )


def compositions(total, parts, least):
    if parts == 1:
        yield (total,)
        return
    for first in range(least, total + 1):
        for rest in compositions(total - first, parts - 1, least):
            yield (first, *rest)


def every_plan(
    devices, batch, layers, tensors, micro_batches, orders=(INSIDE_OUT,), virtuals=(1, 2, 3), zeros=range(4)
):
    """Every plan of a small space, by nested loops: the oracle has no bounds, caches or programmes."""
    for tensor, pipeline in itertools.product(tensors, (1, 2, 4, 8)):
        if devices % (tensor * pipeline):
            continue
        data = devices // tensor // pipeline
        for sequence, zero, schedule, micro, order in itertools.product(
            (False, True), zeros, PLAIN, micro_batches, orders
        ):
            if zero == 2 and pipeline > 1 and len(zeros) > 1:
                continue  # not in DeepSpeed or Megatron-LM: only where it is asked for
            for virtual in virtuals if pipeline > 1 and schedule is PipelineSchedule.ONE_F_ONE_B else (1,):
                most = -(-layers // pipeline)
                if most % virtual or (pipeline == 1 and schedule is not PipelineSchedule.ONE_F_ONE_B):
                    continue
                recomputes = [(Recompute.NONE, 0), *((Recompute.FULL, count) for count in range(most))]
                for stages in compositions(layers, pipeline, 0) if pipeline > 1 else [()]:
                    inner = stages[1:-1]
                    least = min([*inner, *(one + 1 for one in (stages[:1] + stages[-1:]))], default=virtual)
                    if least < virtual or any(one < max(1, virtual) for one in inner):
                        continue
                    for recompute, count in recomputes:
                        plan = Plan(
                            global_batch=batch,
                            tensor=tensor,
                            sequence=sequence,
                            pipeline=pipeline,
                            data=data,
                            zero=zero if data > 1 else 0,
                            schedule=schedule,
                            virtual=virtual,
                            micro_batch=micro,
                            order=order,
                            recompute=recompute,
                            recompute_layers=count,
                            stages=stages,
                        )
                        if not any(problems(plan)):
                            yield plan


def brute(workload, devices, memory_bytes, plans, kind=H100, like=PLAIN_PLAN):
    chains, known, steps = {}, {}, {}
    fleet = fleet_of(inventory(devices, memory_bytes, kind), like)
    for plan in plans:
        key = plan.tensor, plan.sequence, plan.micro_batch, plan.recompute, plan.recompute_layers > 0
        if key not in chains:
            chains[key] = of_workload(workload, plan)
        one = estimate_plan(chains[key], plan, fleet, known)
        if one.fits:
            name = replace(plan, stages=(), recompute_layers=min(1, plan.recompute_layers), order=INSIDE_OUT)
            steps[name] = min(one.step_s, steps.get(name, 1e9))
    return sorted(steps.values())


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (["fp8_gather=true"], "fixed: fp8_gather=true: expected precision fp8 with it, not bf16"),
        (["fp8_gather=true", "precision=fp8", "zero=0"], "fixed: fp8_gather=true: expected zero 1, 2 or 3 with it"),
        (["optimizer=adamw-remainders", "zero=3"], "fixed: optimizer=adamw-remainders: expected zero 0 to 2 with it"),
        (["backend=cudnn-fp8"], "fixed: backend=cudnn-fp8: expected precision fp8 or fp4 with it, not bf16"),
    ],
)
def test_fields_that_no_plan_has_together_are_refused_not_short_of_memory(held, said):
    """One of several values that goes with the others is enough."""
    with pytest.raises(BadInput, match=re.escape(said)):
        search(short_llama(2), 4, 16, "tensor=1", "micro_batch=1", *held).run()
    found = search(short_llama(2), 4, 16, "tensor=1", "micro_batch=1", "precision=bf16,fp8", "fp8_gather=true").run()
    assert {one.plan.precision for one in found.best} == {Format.FP8}


@pytest.mark.parametrize("gathers", [False, True])
@pytest.mark.parametrize(("memory_bytes", "recipe"), [(80e9, None), (12e9, Fp8Recipe.DELAYED)])
def test_search_in_fp8_equals_brute_force(gathers, memory_bytes, recipe):
    """Casts of weights are in seconds and memory, below the 16-bit weights where they are gathered in fp8."""
    workload = short_llama(4)
    like = Plan(global_batch=1, precision=Format.FP8, fp8_recipe=recipe, fp8_gather=gathers)
    plans = (
        replace(one, precision=Format.FP8, fp8_recipe=recipe, fp8_gather=gathers)
        for one in every_plan(4, 16, 4, (1, 2), (1,), virtuals=(1, 2))
    )
    expected = brute(workload, 4, memory_bytes, (one for one in plans if not any(problems(one))), H100, like)
    assert len(expected) >= 5
    fixes = ["tensor=1,2", "micro_batch=1", "pipeline=1,2,4", "order=tensor-context-data-pipeline", "shard=0"]
    fixes += ["precision=fp8", f"fp8_gather={str(gathers).lower()}"] + [f"fp8_recipe={recipe}"] * (recipe is not None)
    found = search(workload, 4, 16, *fixes, memory_bytes=memory_bytes).run()
    count = min(len(expected), 10)
    assert [each.step_s for each in found.best][:count] == pytest.approx(expected[:count], rel=1e-9)
    assert found.gap == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("kind", "blocks", "devices", "batch", "memory_bytes", "tensors", "micro_batches", "zeros"),
    [
        (H100, 6, 8, 16, 80e9, (1, 2), (1, 2), (0, 1, 2, 3)),
        (H100, 6, 8, 16, 9e9, (1, 2), (1,), (0, 1, 2, 3)),
        (H100, 5, 4, 12, 14e9, (1,), (1, 2), (0, 1, 2, 3)),
        (H100, 4, 8, 24, 7.5e9, (2, 4), (1,), (0, 1, 2, 3)),
        (H100, 5, 8, 48, 14e9, (1, 2), (1, 2), (2,)),
        (TPU, 5, 8, 16, 12e9, (1, 2), (1, 2), (0, 1, 2, 3)),
        (TRAINIUM, 4, 8, 24, 8e9, (2, 4), (1,), (0, 1, 2, 3)),
    ],
)
def test_search_equals_brute_force(kind, blocks, devices, batch, memory_bytes, tensors, micro_batches, zeros):
    workload = short_llama(blocks)
    plans = every_plan(devices, batch, blocks, tensors, micro_batches, zeros=zeros)
    expected = brute(workload, devices, memory_bytes, (plan for plan in plans if plan.zero in zeros), kind)
    assert len(expected) >= 5
    fixes = [
        f"tensor={','.join(map(str, tensors))}",
        f"micro_batch={','.join(map(str, micro_batches))}",
        "pipeline=1,2,4,8",
        "order=tensor-context-data-pipeline",
        "shard=0",
        *(["zero=2"] if zeros == (2,) else []),
    ]
    one = search(workload, devices, batch, *fixes, memory_bytes=memory_bytes, kind=kind)
    found = one.run()
    count = min(len(expected), 10)
    assert [each.step_s for each in found.best][:count] == pytest.approx(expected[:count], rel=1e-9)
    assert found.gap == pytest.approx(0.0, abs=1e-9)
    assert all(each.fits for each in found.best)
    # what the search priced is what `estimate` says of the plan
    assert [each.step_s for each in one.best] == pytest.approx([each.step_s for each in found.best], rel=1e-9)


@pytest.mark.parametrize(("most", "fix"), [(0, "virtual=2"), (2, "virtual=2"), (2, "virtual=1,2,3")])
def test_the_bound_holds_where_not_all_ways_to_cut_are_priced(monkeypatch, most, fix):
    """Few cuts may be priced: the best found is not below the optimum, and the bound not above it."""
    workload, fixes = short_llama(10), ("tensor=1", "micro_batch=1", "pipeline=4", "zero=0", "schedule=1f1b", fix)
    exact = search(workload, 8, 16, *fixes, memory_bytes=80e9).run()
    assert exact.gap == pytest.approx(0.0, abs=1e-9)
    monkeypatch.setattr("hardplace.plans.placement.search.MOST_CUTS", most)
    few = search(workload, 8, 16, *fixes, memory_bytes=80e9).run()
    assert few.bound_s <= exact.best[0].step_s * (1 + 1e-9) <= few.best[0].step_s * (1 + 2e-9)


@pytest.mark.parametrize("budget", [0, 10, 20000])
def test_so_many_plans_are_proven_as_are_the_best_of_the_space(monkeypatch, budget):
    """Where few ways to cut may be priced, what is called proven is the optimum of its place, and no plan that is
    missing, or faster than said, is below the bound of the list."""
    workload, fixes = short_llama(10), ("tensor=1,2", "micro_batch=1", "pipeline=4", "virtual=1,2,3")
    exact = search(workload, 8, 16, *fixes, memory_bytes=30e9).run()
    assert exact.proven_plans == len(exact.best) == 10
    assert "the 10 are the 10 best, proven" in certificate(exact)
    monkeypatch.setattr("hardplace.plans.placement.search.MOST_CUTS", 1)
    monkeypatch.setattr("hardplace.plans.placement.search.MOST_PROVEN", budget)
    few = search(workload, 8, 16, *fixes, memory_bytes=30e9).run()
    steps, true = [one.step_s for one in few.best], [one.step_s for one in exact.best]
    assert (few.proven_plans < 10) == (budget < 20000)
    assert steps[: few.proven_plans] == pytest.approx(true[: few.proven_plans], rel=1e-9)
    assert all(one >= min(said, few.list_bound_s) * (1 - 1e-9) for said, one in zip(steps, true, strict=True))
    if 0 < few.proven_plans < 10:
        assert "other plan takes less than" in certificate(few)


def test_more_memory_bandwidth_or_devices_is_never_worse():
    workload = short_llama(6)
    few = search(workload, 8, 32, memory_bytes=12e9).run().best[0].step_s
    assert search(workload, 8, 32, memory_bytes=24e9).run().best[0].step_s <= few
    assert search(workload, 16, 32, memory_bytes=12e9).run().best[0].step_s <= few
    chip, where = H100
    wide = tuple(replace(one, bandwidth_bytes_per_s=2 * one.bandwidth_bytes_per_s) for one in where.levels)
    parts = [(replace(chip, memory_bytes=12e9), replace(where, levels=wide), 8)]
    assert PlanSearch(workload, parts, PlanSpace(global_batch=32)).run().best[0].step_s <= few * (1 + 1e-9)


def test_two_kinds_of_device_are_placed_exactly():
    """All ways to cut two stages, either kind first, by hand."""
    workload, batch = short_llama(6), 8
    parts = [*inventory(2), *inventory(2, kind=A100)]
    fixes = (
        "tensor=1",
        "micro_batch=1",
        "schedule=1f1b",
        "virtual=1",
        "recompute=none",
        "zero=1",
        "shard=0",
        "order=tensor-context-data-pipeline",
    )
    found = PlanSearch(workload, parts, PlanSpace(global_batch=batch, fixed=fixed((*fixes, "pipeline=2")))).run()
    steps = []
    for kinds in (("h100-sxm", "a100-80gb-sxm"), ("a100-80gb-sxm", "h100-sxm")):
        for first in range(7):
            plan = Plan(global_batch=batch, pipeline=2, data=2, zero=1, kinds=kinds, stages=(first, 6 - first))
            steps.append(estimate_plan(of_workload(workload, plan), plan, fleet_of(parts, plan)).step_s)
    assert found.best[0].step_s == pytest.approx(min(steps))
    assert any(note.endswith("25.0 GB/s a device") for note in found.best[0].notes)  # of DGX A100
    fast = found.best[0].plan.kinds.index("h100-sxm")
    assert found.best[0].plan.stages[fast] > 3  # the H100s take more of the layers


@pytest.mark.parametrize("model", ["t5-large", "u-net", "dlrm"])
def test_branching_models_are_cut_at_downsets(model):
    fixes = ("pipeline=2", "schedule=1f1b", "micro_batch=1", "sequence=false", "tensor=1")
    found = search(load(model), 4, 16, *fixes, memory_bytes=900e9).run()
    plan = found.best[0].plan
    assert set(plan.assignment) == {0, 1}
    workload = load(model)
    assert all(plan.assignment[edge.source] <= plan.assignment[edge.target] for edge in workload.edges)
    again = estimate_plan(of_workload(workload, plan), plan, fleet_of(inventory(4), plan))
    assert again.step_s == pytest.approx(found.best[0].step_s)


def test_branching_model_against_all_assignments():
    workload, batch = load("dlrm"), 64
    fixes = ("pipeline=2", "schedule=1f1b", "micro_batch=1", "tensor=1", "recompute=none", "zero=0")
    found = search(workload, 2, batch, *fixes, memory_bytes=900e9).run()
    steps = []
    for stages in itertools.product((0, 1), repeat=len(workload.order)):
        plan = Plan(global_batch=batch, pipeline=2, zero=0, assignment=stages)
        if any(problems(plan)) or any(stages[e.source] > stages[e.target] for e in workload.edges):
            continue
        one = estimate_plan(of_workload(workload, plan), plan, fleet_of(inventory(2, 900e9), plan))
        if one.fits:
            steps.append(one.step_s)
    assert found.best[0].step_s == pytest.approx(min(steps))


def test_precision_and_optimizer_are_searched_when_asked():
    found = search(short_llama(4), 4, 16, "precision=bf16,fp8", "optimizer=adamw,adamw-8bit", "gradient=bf16").run()
    assert found.best[0].plan.precision is Format.FP8
    assert {one.plan.gradient for one in found.best} == {"bf16"}


@pytest.mark.parametrize("fix", ["virtual=40", "recompute_layers=99"])
def test_more_than_the_layers_is_refused(fix):
    with pytest.raises(BadInput, match=r"^fixed: \w+=\d+: expected at most the model's 4 layers$"):
        search(short_llama(4), 8, 16, fix).run()


def test_chunks_that_no_stage_has_layers_for_are_no_plans():
    with pytest.raises(BadInput, match="expected degrees that multiply to the 8 devices"):
        search(short_llama(8), 8, 32, "tensor=1", "pipeline=4", "virtual=4").run()


@pytest.mark.parametrize("fix", [("schedule=v-min", "pipeline=1"), ("schedule=dualpipe-v", "pipeline=8")])
def test_what_a_v_shaped_schedule_needs_is_said_where_no_plan_has_it(fix):
    with pytest.raises(
        BadInput, match=r"; with a V-shaped schedule pipeline 2 or more, .* twice as many micro-batches"
    ):
        search(short_llama(16), 8, 8, *fix).run()


def test_selective_recompute_is_placed_where_it_is_asked_for():
    found = search(short_llama(4), 4, 16, "recompute=selective").run()
    assert {one.plan.recompute for one in found.best} == {Recompute.SELECTIVE}
    assert found.best[0].step_s >= search(short_llama(4), 4, 16, "recompute=none").run().best[0].step_s


@pytest.mark.parametrize(
    ("name", "devices", "fixes"),
    [
        ("llama", 4, ("zero=3",)),
        ("llama", 4, ("zero=3", "pipeline=1,2")),
        ("llama", 8, ("shard=2",)),
        ("llama", 4, ("recompute=none", "micro_batch=2,1")),
        ("llama", 4, ("schedule=gpipe", "pipeline=2")),
        ("llama", 6, ("pipeline=6", "micro_batch=1")),
        ("llama", 5, ("pipeline=5", "recompute=full", "recompute_layers=1")),
        ("dlrm", 2, ("pipeline=2",)),
    ],
)
def test_what_is_short_is_a_plan_of_the_space(name, devices, fixes):
    """Where a dimension is held, the nearest plan has the value, and lacks memory."""
    workload = short_llama(4) if name == "llama" else load(name)
    space = PlanSpace(global_batch=8 * devices, fixed=fixed(fixes))
    found = placed_or_short(workload, inventory(devices, 3e9), space)
    assert isinstance(found, PlanInfeasible)
    assert found.short_bytes > 0.0
    for dimension, values in space.fixed.items():
        assert getattr(found.nearest, dimension) in values
    lightest_batch = min(space.fixed.get("micro_batch", (1,)))
    assert found.nearest.micro_batch == lightest_batch


def test_an_interrupt_keeps_the_remedies_that_are_found():
    class Interrupted(PlanSpace):
        """Ends as Ctrl-C does where a remedy with the states in host memory is looked for."""

        def of(self, name, usual):
            if self.fixed.get("offload") == (True,):
                raise KeyboardInterrupt
            return PlanSpace.of(self, name, usual)

    found = placed_or_short(load("llama2-7b"), inventory(1, 60e9), Interrupted(global_batch=8))
    assert isinstance(found, PlanInfeasible)
    assert len(found.remedies) < 3


def test_a_gap_is_what_another_plan_has_more_of_samples_a_second():
    """A bound of half the seconds: twice as fast."""
    found = search(short_llama(2), 2, 8, "micro_batch=1").run()
    assert found.gap == 0.0
    half = replace(found, bound_s=found.best[0].step_s / 2, proven_plans=0)
    assert half.gap == pytest.approx(1.0)
    assert "100.00\u00a0%" in certificate(half)
    assert half.certificate.score == pytest.approx(8 / found.best[0].step_s)
    assert half.certificate.bound == pytest.approx(2.0 * half.certificate.score)
    assert replace(found, bound_s=0.0).certificate.bound == math.inf  # nothing is proven yet


def test_any_micro_batch_is_searched_where_it_is_asked_for():
    found = search(short_llama(2), 2, 12, "micro_batch=3").run()
    assert {one.plan.micro_batch for one in found.best} == {3}


def test_what_does_not_fit_says_how_short_and_what_mends_it():
    found = placed_or_short(load("llama2-7b"), inventory(1), PlanSpace(global_batch=8))
    assert isinstance(found, PlanInfeasible)
    assert found.short_bytes > 18 * load("llama2-7b").parameters - 80e9
    assert len(found.remedies) == 3


@pytest.mark.parametrize(
    ("fixes", "words"),
    [
        (("tensor",), "expected NAME=VALUE"),
        (("tensors=2",), "tensors"),
        (
            ("tensor=1", "zero=1", "tensor=2"),
            "tensor=2: expected each dimension once, with all its values: tensor=VALUE,VALUE",
        ),
        (("tensor=two",), "fixed: tensor=two: expected a whole number"),
        (("schedule=fast",), "expected 1f1b, gpipe, zero-bubble"),
        (("order=tensor-data",), "inside out"),
        (("sequence=maybe",), "expected true or false"),
        (("micro_batch=0",), "fixed: micro_batch=0: expected a whole number from 1"),
        (("virtual=2,-1",), "fixed: virtual=-1: expected a whole number from 1"),
        (("zero=5",), "fixed: zero=5: expected 0, 1, 2 or 3"),
        (("gradient=foo",), "fixed: gradient=foo: expected fp32, bf16 or bf16"),
        (("fragmentation=nan",), "expected a share from 0 to below 1"),
        (("reserve_bytes=-1",), "expected bytes from 0"),
        (("recompute_layers=-1",), "expected a whole number from 0"),
    ],
)
def test_bad_fixes(fixes, words):
    with pytest.raises(BadInput, match=words):
        fixed(fixes)


def test_a_batch_that_nothing_divides():
    with pytest.raises(BadInput, match="fixed: tensor=1, pipeline=1: expected degrees that multiply to the 16 devices"):
        search(short_llama(2), 16, 7, "tensor=1", "pipeline=1").run()
    with pytest.raises(
        BadInput, match=r"batch: 7: expected a multiple of .* no data-parallel degree of 1,024 devices divides it"
    ):
        search(short_llama(2), 1024, 7).run()


def test_tensor_parallel_beyond_the_heads():
    with pytest.raises(BadInput, match=r"fixed: tensor=64: expected a divisor of the model's 25 heads"):
        search(load("gpt2-xl"), 64, 64, "tensor=64").run()
