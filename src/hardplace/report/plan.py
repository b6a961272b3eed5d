"""A plan's estimate in the terminal: whether it fits, step time, where it goes, memory by stage."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from hardplace.plans.estimate import PlanEstimate
from hardplace.plans.intervals import spreads
from hardplace.plans.memory import StageMemory
from hardplace.plans.plan import Plan
from hardplace.report.console import screen
from hardplace.report.text import plural
from hardplace.units import GIB, percent

_PARTS = ("weights", "gradients", "states", "activations", "logits", "working", "buffers", "fragmentation", "reserve")


class StageRow(NamedTuple):
    """A stage in a table: its device ("" where all are alike), layers, and memory in GiB."""

    stage: int
    device: str
    layers: int
    room: StageMemory
    total_gib: float
    held_gib: float

    @property
    def short_gib(self) -> float:
        """By how much the stage exceeds its device; below zero: what is left."""
        return self.total_gib - self.held_gib


def stage_rows(found: PlanEstimate) -> tuple[StageRow, ...]:
    """Return the stages of a plan, first to last."""
    kinds = found.plan.kinds or ("",) * found.plan.pipeline
    return tuple(
        StageRow(index, kind, layers, room, room.total_bytes / GIB, held / GIB)
        for index, (kind, layers, room, held) in enumerate(
            zip(kinds, found.stage_layers, found.memory, found.memory_bytes, strict=True)
        )
    )


def tensor_words(plan: Plan) -> str:
    """Return the tensor degree, with sequence parallelism: "8 sp"."""
    return f"{plan.tensor}{' sp' if plan.sequence else ''}"


def zero_words(plan: Plan) -> str:
    """Return the ZeRO stage, with the replicas that it divides over where these are not all: "1/8"."""
    return f"{plan.zero}{f'/{plan.shard}' if plan.shard else ''}"


def several_kinds(plan: Plan) -> bool:
    """Return whether a plan's stages are on more than one kind of device."""
    return len(set(plan.kinds)) > 1


def device_ranges(kinds: Sequence[str]) -> str:
    """Return which stages are on which device.

    >>> device_ranges(("h100-sxm", "h100-sxm", "a100-80gb-sxm"))
    '0-1 h100-sxm, 2 a100-80gb-sxm'
    """

    def said() -> Iterator[str]:
        for kind, run in groupby(range(len(kinds)), key=lambda stage: kinds[stage]):
            first, *more = run
            yield f"{first}-{more[-1]} {kind}" if more else f"{first} {kind}"

    return ", ".join(said())


def layers_of(stage_layers: Sequence[int]) -> str:
    """Return how many layers each stage has, equal neighbours once.

    >>> layers_of((7, 8, 8, 8, 7))
    '7, 3 x 8, 7'
    """
    runs = [(layers, len(list(run))) for layers, run in groupby(stage_layers)]
    return ", ".join(f"{count} x {layers}" if count > 1 else f"{layers}" for layers, count in runs)


def recompute_words(plan: Plan) -> str:
    """Return what a plan recomputes: modules where they are not the usual ones, layers where they are not all."""
    modules = f" ({', '.join(plan.recompute_modules)})" if plan.recompute_modules else ""
    return f"{plan.recompute}{modules}{f', {plan.recompute_layers} a stage' if plan.recompute_layers else ''}"


def speed(found: PlanEstimate) -> str:
    """Return how fast a plan is."""
    mfu = f"MFU {percent(found.mfu)} of {found.plan.precision} peak"
    return f"{found.tokens_per_s:,.0f} {found.counts}/s, step {found.step_s:.4g} s, {mfu}"


# What an answer's first lines say of it: how its notes begin or what they hold.
_EVIDENCE = ("no published run", "no software named", "more than anyone published", "has no bf16")


def evidence_notes(found: PlanEstimate) -> tuple[str, ...]:
    """Return the notes that say how well an estimate is supported: no published run of this device and software
    together, more MFU than anyone published, a format that the device lacks."""
    return tuple(note for note in dict.fromkeys(found.notes) if any(words in note for words in _EVIDENCE))


def evidence(found: PlanEstimate) -> str:
    """Return these notes in a line; empty: nothing to say."""
    return "; ".join(evidence_notes(found))


def surety(found: PlanEstimate) -> str:
    """Return the 80 % intervals of step, tokens a second and needed memory, and whose errors they are from."""
    one, tokens = found.interval, found.tokens_per_s * found.step_s
    low, high = one.tokens_per_s(tokens)
    anchor, own = found.plan.anchor, one.kind
    of, factor = spreads().memory[one.memory_kind], math.exp(one.memory)
    errors = f"{one.memory_kind}: {of.rows} runs of {plural(of.sources, 'source')}"
    if anchor is not None:
        steps = f"{plural(anchor.runs, 'measured step')} of this system"
        own = steps if not anchor.kinds or one.kind in anchor.kinds else own
        errors = steps if anchor.memory_half and one.memory == anchor.memory_half else errors
    held = max(room.total_bytes for room in found.memory) / GIB
    needed = f"{held / factor:.1f} to {held * factor:.1f} GiB, without what its allocator caches"
    memory = f"fullest device needs {needed} ({errors})"
    rates = f"{low:,.0f} to {high:,.0f} {found.counts}/s"
    return f"80 %: step {one.low_s:.4g} to {one.high_s:.4g} s, {rates} ({own}), {memory}"


def fit(found: PlanEstimate) -> str:
    """Return what says that a plan does not fit, with the stage that is short by most; empty: it fits."""
    rows = stage_rows(found)
    over = [one for one in rows if one.short_gib > 0.0]
    if not over:
        return ""
    most = max(over, key=lambda one: one.short_gib)
    others = f"; {len(over)} of {plural(len(rows), 'stage')} do not fit" if len(over) > 1 else ""
    on = f" ({most.device})" if several_kinds(found.plan) else ""
    return (
        f"does not fit: stage {most.stage}{on} is short by {most.short_gib:.2f} GiB: "
        f"{most.total_gib:.2f} of {most.held_gib:.2f} GiB{others}"
    )


def context_words(plan: Plan) -> str:
    """Return the context-parallel degree, and how its ranks see the whole sequence."""
    return f"{plan.context} ({plan.context_exchange})" if plan.context > 1 else str(plan.context)


def plan_words(found: PlanEstimate) -> str:
    """Return a plan's degrees, batch, schedule and layers in a line."""
    plan = found.plan
    modules = f" ({', '.join(plan.recompute_modules)})" if plan.recompute_modules else ""
    lines = plan.recompute_layers and f", {plural(plan.recompute_layers, 'layer')} a stage"
    away = plan.offload_layers and f", activations of {plural(plan.offload_layers, 'layer')} of each in host memory"
    return (
        f"tensor {plan.tensor}{' with sequence parallelism' if plan.sequence else ''}, context {context_words(plan)}, "
        f"data {plan.data}, pipeline {plan.pipeline}, virtual {plan.virtual}, expert {plan.expert}, ZeRO {plan.zero}"
        f"{f' over {plan.shard}' if plan.shard else ''}; {plural(plan.micro_batches, 'micro-batch')} of "
        f"{plan.micro_batch} a replica; schedule {plan.schedule}; recompute {plan.recompute}{modules}{lines or ''}; "
        f"layers of each stage {layers_of(found.stage_layers)}{away or ''}"
    )


def show_plan(found: PlanEstimate) -> None:
    """Print an estimate; first, where it does not fit, by how much."""
    console = screen()
    console.print(found.title)
    console.print(plan_words(found))
    if short := fit(found):
        console.print(f"{short}; speed and times as if it did")
    console.print(speed(found))
    console.print(surety(found))
    if said := evidence(found):
        console.print(said)
    console.print()
    show_parts(console, found)
    for note in estimate_notes(found):
        console.print(f"note: {note}")


def estimate_notes(found: PlanEstimate) -> tuple[str, ...]:
    """Return the notes that no line above says already."""
    return tuple(note for note in dict.fromkeys(found.notes) if note not in evidence_notes(found))


def show_parts(console: Console, found: PlanEstimate) -> None:
    """Print where a step's time goes, and device, layers and memory of each stage."""
    shares = Table("time of a step, busiest stage", "s", "share", box=None)
    for one in found.shares:
        if one.seconds > 0:
            shares.add_row(one.name, f"{one.seconds:#.4g}", percent(one.seconds / found.step_s))
    console.print(shares)
    several = several_kinds(found.plan)
    memory = Table("stage", *(("device",) if several else ()), "layers", *_PARTS, "total", "device has", "", box=None)
    memory.title, memory.title_justify = "memory of a device, GiB", "left"
    rows = [
        (
            *((row.device,) if several else ()),
            str(row.layers),
            *(f"{getattr(row.room, f'{name}_bytes') / GIB:.2f}" for name in _PARTS),
            f"{row.total_gib:.2f}",
            f"{row.held_gib:.2f}",
            "fits" if row.short_gib <= 0.0 else f"short by {row.short_gib:.2f}",
        )
        for row in stage_rows(found)
    ]
    for stages, cells in folded(rows):
        memory.add_row(stages, *cells)
    console.print()
    console.print(memory)


def folded(rows: Sequence[tuple[str, ...]], first: int = 0) -> list[tuple[str, tuple[str, ...]]]:
    """Return rows of which equal neighbours are one, with their numbers from `first` on.

    >>> folded([("a",), ("b",), ("b",)])
    [('0', ('a',)), ('1-2', ('b',))]
    """
    found = []
    for cells, run in groupby(range(len(rows)), key=lambda place: rows[place]):
        start, *more = (first + place for place in run)
        found.append((f"{start}-{more[-1]}" if more else f"{start}", cells))
    return found
