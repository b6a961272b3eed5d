"""Attention over context-parallel ranks with its exchange, alone, as Transformer Engine's benchmark times it
(validation/attention)."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from hardplace.cost.layers.decoder import block
from hardplace.cost.layers.types import Stream
from hardplace.cost.layers.work import AttentionWork, CollectiveWork, StreamWork, Work
from hardplace.hardware.catalogue import device, node
from hardplace.plans.fleet import DevicePool, fleet_of
from hardplace.plans.plan import ContextExchange, Plan
from hardplace.plans.timing import groups_of
from hardplace.workload.decoder import DecoderShape, Degrees
from hardplace.workload.types import Group, Recompute

TABLE = Path(__file__).parents[1] / "validation/attention/context_parallel.csv"
_NODES = {"h100-sxm": "dgx-h100", "b200-sxm": "dgx-b200"}


class AttentionRow(NamedTuple):
    """One measurement: packed sequences of so many tokens over `context` ranks."""

    device: str
    kernels: str
    workload: str
    sequences: tuple[int, ...]
    context: int
    exchange: ContextExchange
    measured_s: float


def _rows() -> list[AttentionRow]:
    with TABLE.open() as source:
        return [
            AttentionRow(
                row["device"],
                row["kernels"],
                row["workload"],
                tuple(map(int, row["sequences"].split())),
                int(row["context"]),
                ContextExchange(row["context_exchange"]),
                1e-3 * float(row["ms"]),
            )
            for row in csv.DictReader(source)
        ]


ROWS = _rows()


@cache
def _site(name: str, plan: Plan) -> DevicePool:
    return fleet_of([(device(name), node(_NODES[name]), plan.devices)], plan).sites[0]


def _beside(works: Sequence[Work]) -> list[Work]:
    """Return what attention is followed by (backward: preceded) until the next product or collective."""
    at = next(place for place, one in enumerate(works) if isinstance(one, AttentionWork))
    return list(takewhile(lambda one: isinstance(one, StreamWork), works[at + 1 :]))


def predicted_s(row: AttentionRow) -> float:
    """Return the seconds of attention and exchange alone, both passes: of a layer of the model without its products,
    norms and positions; the ring's as it shows beside attention."""
    plan = Plan(global_batch=1, context=row.context, context_exchange=row.exchange, software="megatron-core")
    site, groups = _site(row.device, plan), groups_of(plan)
    degrees = Degrees(
        context=row.context,
        exchanges_heads=plan.exchanges_heads,
        whole_keys=row.exchange is ContextExchange.ALL_GATHER,
    )

    def parts_of(tokens: int) -> tuple[float, float, float]:
        """Return seconds of attention, of its exchange, and of what lays heads out anew, of a sequence."""
        shape = DecoderShape(
            layers=1, hidden=4096, heads=32, kv_heads=8, head_dim=128, ffn=64, vocab=64, sequence=tokens, gated=True
        )  # fmt: skip
        layer = block(shape, degrees, Recompute.NONE)
        both = (*layer.forward, *layer.backward)
        attention = [one for one in both if isinstance(one, AttentionWork)]
        sent = [one for one in both if isinstance(one, CollectiveWork) and one.group is Group.CONTEXT]
        anew = [StreamWork(kind=Stream.ELEMENTWISE, bytes=4.0 * one.bytes, launches=2) for one in sent]
        if not plan.exchanges_heads:
            anew = [*_beside(layer.forward), *_beside(layer.backward[::-1])]
        found = [site.pricer.parts(works, site.cluster, groups) for works in (attention, sent, anew)]
        return found[0].attention_s, found[1].context_s, found[2].streams_s

    attention_s = sum(parts_of(tokens)[0] for tokens in row.sequences)
    _, exchange_s, anew_s = parts_of(sum(row.sequences))  # packed sequences travel together
    if row.exchange is ContextExchange.RING:
        exchange_s = max(site.pricer.efficiencies.context * exchange_s, exchange_s - attention_s)
    return attention_s + exchange_s + anew_s
