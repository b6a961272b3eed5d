"""The recorded layers on one rank of a plan, and which of its degrees go together."""

from __future__ import annotations

from hardplace.errors import BadInput
from hardplace.plans.plan import Plan
from hardplace.workload.sharding.degrees import check_degrees
from hardplace.workload.sharding.shards import RankShards
from hardplace.workload.types import Layer, Parallelism, Workload


def rank_layers(workload: Workload, plan: Plan, shards: RankShards) -> tuple[Layer, ...]:
    """Return the recorded layers on one rank of a plan.

    Args:
        workload: The recorded model.
        plan: The plan, whose degrees divide it.
        shards: Shards of the model.

    Raises:
        BadInput: If a degree divides nothing of them, and for experts beside tensor without sequence parallelism.
    """
    both = plan.tensor > 1 and plan.expert > 1
    degrees = Parallelism(
        tensor=plan.tensor,
        sequence=plan.sequence,
        context=plan.context,
        expert=plan.expert,
        whole_experts=both and plan.sequence,
    )
    check_degrees(workload, degrees, shards)
    if both and not plan.sequence:
        raise without_sequence(plan)
    return shards.at(degrees).layers


def without_sequence(plan: Plan) -> BadInput:
    """Return what is said of whole experts beside tensor parallelism where no rank has tokens of its own."""
    return BadInput(
        "sequence",
        "false",
        f"true with tensor {plan.tensor} and expert {plan.expert}: expert groups that span tensor groups hold "
        f"whole experts, to which each rank sends its own part of the sequence",
    )
