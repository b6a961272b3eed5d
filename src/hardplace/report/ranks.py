"""Which rank of a plan sits where: node, device and place in each group, in the order that the launchers give."""

from __future__ import annotations

from dataclasses import dataclass

from hardplace.plans.plan import Dimension, Plan

MOST_NODES = 4
MOST_DEVICES = 16  # of a node that are drawn
_LETTERS = {Dimension.TENSOR: "t", Dimension.CONTEXT: "c", Dimension.DATA: "d", Dimension.PIPELINE: "p"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RankPlace:
    """A rank, the node and the device in it (all from 0), and its index in each group; expert: among expert ranks."""

    rank: int
    node: int
    device: int
    tensor: int
    context: int
    data: int
    pipeline: int
    expert: int


def rank_place(plan: Plan, node_devices: int, rank: int) -> RankPlace:
    """Return where a rank sits: launchers number ranks node after node, device after device."""
    index = {one: rank // plan.stride(one) % int(getattr(plan, one)) for one in Dimension}
    inside = rank % plan.stage_ranks if plan.stage_stride == 1 else rank // plan.stage_stride
    return RankPlace(
        rank=rank,
        node=rank // node_devices,
        device=rank % node_devices,
        tensor=index[Dimension.TENSOR],
        context=index[Dimension.CONTEXT],
        data=index[Dimension.DATA],
        pipeline=index[Dimension.PIPELINE],
        expert=inside % plan.expert,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RankCell:
    """A device of the picture: its corner and width in the figure's units, pipeline stage, two lines, a tooltip."""

    x: float
    y: float
    width: float
    stage: int
    rank: str
    groups: str
    title: str


def rank_cells(plan: Plan, node_devices: int) -> tuple[list[RankCell], list[tuple[int, float]], str]:
    """Return the devices of the first nodes, the nodes with their heights, and what is left out; 640 units wide."""
    nodes = -(-plan.devices // node_devices)
    shown, wide = min(nodes, MOST_NODES), min(node_devices, MOST_DEVICES, plan.devices)
    width = 640.0 / wide
    cells = []
    for node in range(shown):
        for device in range(wide):
            rank = node * node_devices + device
            if rank >= plan.devices:
                continue
            one = rank_place(plan, node_devices, rank)
            cells.append(
                RankCell(
                    x=70 + device * width,
                    y=10 + 44 * node,
                    width=width - 2,
                    stage=one.pipeline,
                    rank=str(rank),
                    groups=" ".join(
                        f"{_LETTERS[dimension]}{getattr(one, dimension)}"
                        for dimension in plan.order
                        if getattr(plan, dimension) > 1
                    ),
                    title=_told(plan, one),
                )
            )
    left = []
    if nodes > shown:
        left.append(f"{nodes - shown:,} further nodes")
    if node_devices > wide and plan.devices > wide:
        left.append(f"{min(node_devices, plan.devices) - wide:,} further devices of each node")
    return cells, [(node, 10 + 44 * node) for node in range(shown)], f"Not drawn: {' and '.join(left)}." if left else ""


def _told(plan: Plan, one: RankPlace) -> str:
    places = [
        f"{dimension} {getattr(one, dimension)} of {getattr(plan, dimension)}"
        for dimension in plan.order
        if getattr(plan, dimension) > 1
    ]
    if plan.expert > 1:
        places.append(f"expert {one.expert} of {plan.expert}")
    return f"rank {one.rank}: node {one.node}, device {one.device}" + (f"; {', '.join(places)}" if places else "")
