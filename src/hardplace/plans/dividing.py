"""The recorded layers on one rank of a plan, and which of its degrees go together."""

from __future__ import annotations

from hardplace.errors import BadInput
from hardplace.plans.plan import Plan
from hardplace.workload.decoder import DecoderShape
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
        BadInput: If a degree divides nothing of them, for experts beside tensor without sequence parallelism, and for
            an exchange of heads, which recorded layers do not have.
    """
    if plan.exchanges_heads:
        raise BadInput(
            "context_exchange", plan.context_exchange, f"ring or all-gather: {workload.name} runs as recorded"
        )
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


def check_head_exchange(plan: Plan, shape: DecoderShape) -> None:
    """Raise BadInput for an exchange of heads that the software, or a decoder's heads, do not allow.

    Tensor parallelism divides the heads first, then the exchange does. Heads of keys that tensor ranks share count as
    one of each; of latent attention there are as many as of queries.

    Source: docs/model-training.md, section 2.
    """
    if not plan.exchanges_heads:
        return
    context, tensor, exchange = plan.context, plan.tensor, f"with context_exchange {plan.context_exchange}"
    if plan.exchange_problem():
        raise BadInput("context_exchange", plan.context_exchange, plan.exchange_problem())
    if shape.heads % (tensor * context):
        expected = f"tensor x context that divides the model's {shape.heads} heads {exchange}, not {tensor} x {context}"
        raise BadInput("context", context, expected)
    kv_heads = shape.heads // tensor if shape.latent else -(-shape.kv_heads // tensor)
    if kv_heads % context and (not plan.habits.repeats_keys or context % kv_heads):
        either = "a divisor or a multiple" if plan.habits.repeats_keys else "a divisor"
        software = f" and software {plan.software}" if plan.software else ""
        raise BadInput(
            "context", context, f"{either} of a tensor rank's heads of keys, {kv_heads}, {exchange}{software}"
        )


def without_sequence(plan: Plan) -> BadInput:
    """Return what is said of whole experts beside tensor parallelism where no rank has tokens of its own."""
    return BadInput(
        "sequence",
        "false",
        f"true with tensor {plan.tensor} and expert {plan.expert}: expert groups that span tensor groups hold "
        f"whole experts, to which each rank sends its own part of the sequence",
    )
