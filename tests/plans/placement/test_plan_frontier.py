"""Frontiers of plans against every plan of small spaces."""

import io
from contextlib import redirect_stdout
from dataclasses import replace

import pytest

from hardplace.errors import BadInput
from hardplace.hardware.catalogue import device, node
from hardplace.plans.placement.plan_frontier import MEMORY_STEP, Against, PlanFrontierSearch
from hardplace.plans.placement.search import PlanSearch
from hardplace.plans.placement.shortage import placed_or_short
from hardplace.plans.placement.space import PlanSpace
from hardplace.report.plan_frontier import show_plan_frontier
from oracles_plans import Asked, brute, short_model

H100, A100 = device("h100-sxm"), device("a100-80gb-sxm")
ONE_KIND, TWO_KINDS = [(H100, node("dgx-h100"), 4)], [(H100, node("dgx-h100"), 2), (A100, node("dgx-a100"), 2)]


@pytest.mark.parametrize("inventory", [ONE_KIND, TWO_KINDS])
def test_of_every_plan_a_point_is_as_fast_with_hardly_more_memory(inventory):
    held = {"micro_batch": (1, 2), "tensor": (1, 2)}
    asked = Asked(short_model("llama2-7b", 3), inventory, 8, held)
    space = PlanSpace(global_batch=8, fixed=held)
    found = PlanFrontierSearch(asked.workload, inventory, space, Against.MEMORY).run()
    points = [(one.estimate.step_s, one.memory_share) for one in found.points]
    assert points == sorted(points)
    assert [share for _, share in points] == sorted((share for _, share in points), reverse=True)
    assert len(points) > 3
    every = brute(asked)
    capacity = {chip.name: chip.memory_bytes for chip, _, _ in inventory}
    shares = [max(size / capacity[kind] for kind, size in held) for held in every.bytes_]
    assert min(shares) >= (1.0 - MEMORY_STEP) * points[-1][1]
    assert found.nothing_below
    for step_s, share in zip(every.steps_s, shares, strict=True):
        if share <= 1.0:
            assert any(
                point_s <= step_s * (1 + 1e-12) and filled <= share / (1.0 - MEMORY_STEP) * (1 + 1e-12)
                for point_s, filled in points
            )


def test_of_kinds_with_unlike_memory_what_is_filled_is_a_share_of_each():
    """In bytes nothing is proven: below the limit of the larger device's GiB a plan may have those of the smaller."""
    small = replace(A100, memory_bytes=0.25 * A100.memory_bytes)
    inventory = [(small, node("dgx-a100"), 1), (H100, node("dgx-h100"), 1)]
    space = PlanSpace(global_batch=4, fixed={"micro_batch": (1,)})
    found = PlanFrontierSearch(short_model("llama2-7b", 4), inventory, space, Against.MEMORY).run()
    said = io.StringIO()
    with redirect_stdout(said):
        show_plan_frontier(found)
    text = " ".join(said.getvalue().replace("\u00a0", " ").split())
    assert "GiB" not in text
    assert "fullest device, %" in text
    assert f"no plan fits {100 * found.least:.1f} % of each device's memory" in text
    shares = [one.memory_share for one in found.points]
    assert len(shares) > 1
    assert all(f"{100 * share:.1f}" in text for share in shares)


def test_fewer_devices_are_halves_until_the_model_no_longer_fits():
    found = PlanFrontierSearch(
        short_model("llama2-7b", 8), [(H100, node("dgx-h100"), 8)], PlanSpace(global_batch=16), Against.DEVICES
    ).run()
    steps = [one.estimate.step_s for one in found.points]
    assert [one.estimate.devices for one in found.points] == [8, 4, 2, 1]
    assert steps == sorted(steps)
    assert found.certificate.proven
    with pytest.raises(BadInput, match="one kind"):
        PlanFrontierSearch(short_model("llama2-7b", 2), TWO_KINDS, PlanSpace(global_batch=8), Against.DEVICES).run()


def test_an_interrupt_keeps_the_points_so_far():
    seen = []

    def stop(considered, left, best_s, bound_s):
        seen.append(best_s)
        if len(seen) > 300:
            raise KeyboardInterrupt

    found = PlanFrontierSearch(
        short_model("llama2-7b", 3), ONE_KIND, PlanSpace(global_batch=8), Against.MEMORY, stop
    ).run()
    assert found.points
    assert not found.nothing_below
    assert found.stop.value == "interrupted"
    said = io.StringIO()
    with redirect_stdout(said):
        show_plan_frontier(found)
    assert "searched space that needs no less memory than the last one listed" in " ".join(said.getvalue().split())


def test_a_point_that_replaces_another_keeps_its_limit_and_its_bound():
    model, space = short_model("llama2-7b", 3), PlanSpace(global_batch=8)
    slow = PlanSearch(model, ONE_KIND, replace(space, fixed={"tensor": (4,)}), most=1).run()
    fast = PlanSearch(model, ONE_KIND, space, most=1).run()
    assert slow.best[0].step_s > fast.best[0].step_s
    unproven = replace(slow, bound_s=0.5 * fast.bound_s)  # within the first limit a plan may be faster still
    search = PlanFrontierSearch(model, ONE_KIND, space, Against.MEMORY)
    search._add(0.9, unproven)
    search._add(0.5, fast)
    (point,) = search._points
    assert (point.estimate, point.limit, point.bound_s) == (fast.best[0], 0.9, unproven.bound_s)


def test_where_nothing_fits_the_shortage_is_of_the_one_search_that_was_made():
    workload, inventory = short_model("llama3-70b", 8), [(H100, node("dgx-h100"), 1)]
    space = PlanSpace(global_batch=1)
    found = PlanFrontierSearch(workload, inventory, space, Against.MEMORY).run()
    assert found == placed_or_short(workload, inventory, space)
    assert found.short_bytes > 0.0
