"""No plan that `place` finds is faster than the best published run of its device by more than 5 %."""

import pytest

from hardplace.hardware.catalogue import device
from hardplace.plans.fleet import node_of
from hardplace.plans.placement.held_dimensions import fixed
from hardplace.plans.placement.search import PlanSearch
from hardplace.plans.placement.space import PlanSpace
from hardplace.plans.published_best import best_runs
from hardplace.workload.load import load

MOST = 1.05


@pytest.mark.parametrize(
    ("model", "name", "count"),
    [
        ("llama2-7b", "a100-80gb-sxm", 8),
        ("llama2-13b", "a100-40gb-sxm", 64),
        ("qwen3-8b", "h100-sxm", 64),
        ("llama3-8b", "gb300", 64),
        ("llama2-7b", "b200-sxm", 8),
        ("llama2-7b", "tpu-v5p", 64),
        ("llama3-8b", "gb200", 64),
        ("llama2-7b", "v100-sxm2", 64),
        ("llama2-7b", "trainium1", 64),
    ],
)
def test_no_plan_passes_the_best_published_run(model: str, name: str, count: int) -> None:
    """The whole catalogue: benchmarks/catalogue_mfu.py."""
    space = PlanSpace(global_batch=4 * count, fixed=fixed(["tensor=1,2", "pipeline=1"]))
    found = PlanSearch(load(model), [(device(name), node_of(name), count)], space).run()
    assert found is not None
    assert 0.2 < max(one.mfu for one in found.best) < MOST * best_runs()[name, "bf16"].mfu
