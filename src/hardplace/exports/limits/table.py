"""The table of capabilities: what each trainer cannot express of a plan, with its reason and the changes that mend it.

Sources: the trainers' own code and issues, named where one is the reason (docs/exports.md).
"""

from __future__ import annotations

from collections.abc import Iterator

from hardplace.exports.limits.deepspeed import DEEPSPEED
from hardplace.exports.limits.fsdp import ACCELERATE, TORCHTITAN
from hardplace.exports.limits.maxtext import MAXTEXT
from hardplace.exports.limits.megatron import MEGATRON
from hardplace.exports.limits.shared import KINDS
from hardplace.exports.limits.types import ModelFacts, TrainerLimit
from hardplace.exports.targets import Target
from hardplace.plans.plan import Plan

LIMITS: dict[Target, tuple[TrainerLimit, ...]] = {
    Target.MEGATRON: MEGATRON,
    Target.MEGATRON_BRIDGE: (KINDS, *MEGATRON),
    Target.TORCHTITAN: TORCHTITAN,
    Target.DEEPSPEED: DEEPSPEED,
    Target.ACCELERATE: ACCELERATE,
    Target.MAXTEXT: MAXTEXT,
}


def broken_limits(target: Target, plan: Plan, facts: ModelFacts, *, cut: bool = True) -> Iterator[TrainerLimit]:
    """Yield the limits of a trainer that a plan breaks; cut: those of its stages' layers too."""
    for limit in LIMITS[target]:
        if (cut or not limit.cut) and limit.broken(plan, facts):
            yield limit
