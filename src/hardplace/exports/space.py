"""The space that `place` searches for one trainer: plans that it can run, so that the proof is over these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hardplace.exports.architecture import Architecture
from hardplace.exports.facts import facts_of
from hardplace.exports.limits import broken_limits
from hardplace.exports.targets import TRAINERS, Target
from hardplace.plans.placement.space import PlanFilter, PlanSpace
from hardplace.plans.plan import Plan
from hardplace.workload.types import Workload

# What a trainer does where nothing else was asked for: DeepSpeed's sums of gradients, and the stages of ZeRO beside a
# pipeline, which the search leaves out unless they are named.
_USUAL: dict[Target, Mapping[str, tuple[Any, ...]]] = {
    Target.DEEPSPEED: {"gradient": ("bf16+fp32",)},
    Target.TORCHTITAN: {"zero": (0, 2, 3)},
}


def space_for(
    target: Target,
    workload: Workload,
    architecture: Architecture | None,
    global_batch: int,
    fixed: Mapping[str, tuple[Any, ...]],
) -> PlanSpace:
    """Return the plans of a model that a trainer can run; fixed: what dimensions are held to, before the trainer's
    own."""
    facts = facts_of(workload, architecture)

    def allows(plan: Plan) -> bool:
        return next(broken_limits(target, plan, facts, cut=False), None) is None

    return PlanSpace(
        global_batch=global_batch,
        fixed={**_USUAL.get(target, {}), **fixed},
        within=PlanFilter(title=TRAINERS[target].title, allows=allows),
    )
