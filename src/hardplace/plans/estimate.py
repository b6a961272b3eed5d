"""Estimate of one plan of one model on devices that exist: seconds of a step, where they go, and memory by stage.

Every equation, with units and sources: docs/model-training.md. Read `estimate_plan` first.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hardplace.answers import Answer
from hardplace.cost.layers.work import AttentionWork, GemmWork, LayerWork
from hardplace.errors import BadInput
from hardplace.plans.chain import LayerChain, stage_work, stages_of
from hardplace.plans.chunks import chunks_of, held, kept_again, second_bytes
from hardplace.plans.efficiencies import is_fitted, rows_together
from hardplace.plans.fleet import DevicePool, Fleet
from hardplace.plans.folding import as_run
from hardplace.plans.intervals import Interval, interval_of, kind_of, memory_kind_of, spreads
from hardplace.plans.memory import StageMemory, stage_memory
from hardplace.plans.pipeline import Pipelined, end_of_step_s, pipelined
from hardplace.plans.plan import PipelineSchedule, Plan
from hardplace.plans.published_best import best_run, nearest_best_run
from hardplace.plans.time_shares import TimeShares
from hardplace.plans.timing import Known, StepLayerTimes, end_of_stage, layer_seconds, tied_s, ties_s
from hardplace.units import format_quantity, percent
from hardplace.workload.weights import surplus

MOST_BEYOND = 1.05  # of the best published MFU, from which an answer says that it is more


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A part of a step's seconds, of the busiest stage.

    Attributes:
        name: What the time is spent on.
        seconds: Seconds of a step.
    """

    name: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PlanEstimate(Answer):
    """The estimate of a plan: seconds of a step, where they go, memory by stage.

    Attributes:
        plan: The plan.
        devices: Number of devices.
        step_s: Seconds of one optimizer step.
        shares: Where they go, on the busiest stage; they add up to step_s.
        memory: Memory of a device of each stage.
        memory_bytes: Memory capacity of a device of each stage.
        mfu: Model FLOPs utilisation: FLOPs without recompute, attention to the keys that are not masked, over the peak
            of the plan's precision (docs/model.md, section 8).
        tokens_per_s: Tokens that all devices train on in a second.
        stage_layers: Number of layers of each stage, without embedding and head.
        forward_s: Seconds of the forward pass of one micro-batch, by stage and chunk.
        backward_s: Seconds of the backward pass of one micro-batch, by stage and chunk.
        weight_s: Seconds of weight gradients that run apart, by stage and chunk.
        hop_s: Seconds of a boundary tensor from one stage to the next.
        interval: 80 % interval of step_s.
        notes: What is left out, or was taken for the figures.
    """

    plan: Plan
    devices: int
    step_s: float
    shares: tuple[Share, ...]
    memory: tuple[StageMemory, ...]
    memory_bytes: tuple[float, ...]
    mfu: float
    tokens_per_s: float
    stage_layers: tuple[int, ...]
    forward_s: tuple[tuple[float, ...], ...]
    backward_s: tuple[tuple[float, ...], ...]
    weight_s: tuple[tuple[float, ...], ...]
    hop_s: float
    interval: Interval
    notes: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Return whether every stage fits the memory of its device."""
        return all(one.total_bytes <= held for one, held in zip(self.memory, self.memory_bytes, strict=True))

    @property
    def least_s(self) -> float:
        """Return the seconds that the model's FLOPs take at the devices' peak: no step that was measured is faster."""
        return self.mfu * self.step_s

    @property
    def counts(self) -> str:
        """Return what a second's work is counted in: `samples` where each is one token, as of images; `tokens`."""
        return "samples" if round(self.tokens_per_s * self.step_s) == self.plan.global_batch else "tokens"


def estimate_plan(chain: LayerChain, plan: Plan, fleet: Fleet, known: Known | None = None) -> PlanEstimate:
    """Return the seconds of a step and the memory of each stage of a plan.

    Args:
        chain: The model's layers on one rank of this plan.
        plan: The plan.
        fleet: Devices, exactly as many as the plan has.
        known: Layers already priced on this fleet, for callers with many plans of one chain; this call adds to it.

    Raises:
        BadInput: Where the plan's degrees do not multiply to the devices, or its stages do not suit the model.
    """
    known = {} if known is None else known
    if fleet.devices != plan.devices:
        raise BadInput(
            f"tensor x context x data x pipeline: {plan.tensor} x {plan.context} x {plan.data} x {plan.pipeline} = "
            f"{plan.devices}: expected the number of devices, {fleet.devices}"
        )
    chain = as_run(chain, plan)
    places = stages_of(chain, plan)
    stages, sites = stage_work(chain, plan, places), fleet.of_stages(plan)
    priced = price_stages(stages, sites, plan, known)
    chunks = [chunks_of(stage, index, chain, plan) for index, stage in enumerate(stages)]
    forward_s, backward_s, weight_s = (
        tuple(
            tuple(sum(getattr(by[one], side) for one in chunk) for chunk in stage)
            for by, stage in zip(priced, chunks, strict=True)
        )
        for side in ("forward_s", "backward_s", "weight_s")
    )
    hop_s = fleet.hop_s(plan, sites, chain.crossing_bytes(places)) if plan.pipeline > 1 else 0.0
    run = pipelined(forward_s, backward_s, weight_s, hop_s, plan.micro_batches, plan.schedule)
    members = [{layer for layer, at in enumerate(places) if at == stage} for stage in range(plan.pipeline)]
    twice, shared_s = [surplus(chain.shared, one) for one in members], ties_s(chain.shared, plan, fleet)
    ends = [
        end_of_stage(stage, plan, site, sum(f), sum(b), again) + tied_s(chain.shared, shared_s, own)
        for stage, site, f, b, again, own in zip(stages, sites, forward_s, backward_s, twice, members, strict=True)
    ]
    end_s = end_of_step_s(ends, run.ends_s)
    end_s += max(site.pricer.efficiencies.step_s for site in fleet.sites)
    step_s = run.total_s + end_s
    each = plan.devices // plan.pipeline
    peak_flops_per_s = each * sum(site.pricer.plan_flops_per_s for site in sites)
    memory = tuple(
        stage_memory(
            plan,
            index,
            held(
                stage,
                again,
                kept_again(chain, plan, index, own),
                second_bytes(stage, index, chain, plan),
                site.pricer.casts,
            ),
        )
        for index, (stage, site, again, own) in enumerate(zip(stages, sites, twice, members, strict=True))
    )
    memory_bytes = tuple(site.memory_bytes for site in sites)
    interval = _interval(step_s, chain, plan, sites)
    mfu = _flops(chain, plan) / (step_s * peak_flops_per_s)
    return PlanEstimate(
        plan=plan,
        devices=plan.devices,
        step_s=step_s,
        shares=_shares([priced[run.stage][one] for one in stages[run.stage]], plan, run, end_s),
        memory=memory,
        memory_bytes=memory_bytes,
        mfu=mfu,
        tokens_per_s=plan.global_batch * chain.sequence_length / step_s,
        stage_layers=tuple(places[chain.inner].count(one) for one in range(plan.pipeline)),
        forward_s=forward_s,
        backward_s=backward_s,
        weight_s=weight_s,
        hop_s=hop_s,
        interval=interval,
        notes=(
            *_notes(fleet, plan),
            *_exchange(chain, fleet, plan),
            *_elsewhere(plan, interval),
            *_beyond(fleet, plan, mfu),
            *_edge(memory, memory_bytes, interval),
        ),
    )


def price_stages(
    stages: Sequence[Sequence[LayerWork]], sites: Sequence[DevicePool], plan: Plan, known: Known
) -> list[dict[LayerWork, StepLayerTimes]]:
    """Return the seconds of each stage's layers; equal layers on one kind of device are priced once.

    Args:
        stages: Layers of each stage.
        sites: Devices of each stage.
        plan: The plan.
        known: Layers already priced; this call adds to it.
    """
    here: dict[tuple[LayerWork, str], StepLayerTimes] = {}
    priced: list[dict[LayerWork, StepLayerTimes]] = []
    for stage, site in zip(stages, sites, strict=True):
        for one in dict.fromkeys(stage):
            if (one, site.device) not in here:
                here[one, site.device] = layer_seconds(one, plan, site, known)
        priced.append({one: here[one, site.device] for one in stage})
    return priced


def _shares(busiest: Sequence[StepLayerTimes], plan: Plan, run: Pipelined, end_s: float) -> tuple[Share, ...]:
    """Return where a step's seconds go; busiest: the layers of the stage that works longest."""
    parts = sum((one.forward + one.backward + one.weight for one in busiest), TimeShares())
    gathers_s = sum(one.forward_gather_s + one.backward_gather_s for one in busiest)
    host_s = sum(one.forward_host_s + one.backward_host_s for one in busiest)
    times = plan.micro_batches
    away = (Share(name="activations to and from the host, exposed", seconds=times * host_s),) * bool(host_s)
    return (
        Share(name="matrix products", seconds=times * parts.products_s),
        Share(name="attention", seconds=times * parts.attention_s),
        Share(name="norms, chains, losses", seconds=times * parts.streams_s),
        Share(name="waits for the host", seconds=times * parts.host_s),
        Share(name="tensor, context and expert exchange", seconds=times * parts.exchange_s),
        Share(name="weights gathered, gradients scattered (ZeRO-2, ZeRO-3), exposed", seconds=times * gathers_s),
        *away,
        Share(name="pipeline: filling, draining, hops, slower stages", seconds=run.bubble_s),
        Share(name="end of step: reduction and gather not hidden, optimizer", seconds=end_s),
    )


def _flops(chain: LayerChain, plan: Plan) -> float:
    """Return FLOPs of a step over all devices: forward and backward products, without recompute and what is masked."""
    rank = 0.0
    for layer, count in Counter(chain.whole).items():
        for one in (*layer.forward, *layer.backward):
            if isinstance(one, GemmWork):
                rank += count * one.flops * one.useful
            elif isinstance(one, AttentionWork):
                rank += count * one.model_flops
    return rank * plan.stage_ranks * plan.micro_batches


def _interval(step_s: float, chain: LayerChain, plan: Plan, sites: Sequence[DevicePool]) -> Interval:
    """Return the interval of a step, of the class of its least known device."""
    kinds = {
        kind_of(
            experts=chain.mixture,
            sequence=chain.sequence_length,
            fitted_device=is_fitted(site.pricer.kind),
            together=rows_together(site.pricer.kind, site.pricer.software) > 0,
        )
        for site in sites
    }
    widest = max(sorted(kinds), key=lambda kind: spreads().step[kind].half)
    memories = {
        memory_kind_of(
            experts=chain.mixture,
            sharded=plan.zero == 3,
            software=sites[0].pricer.software,
            generation=site.pricer.kind,
        )
        for site in sites
    }
    memory = max(sorted(memories), key=lambda kind: spreads().memory[kind].half)
    return interval_of(step_s, widest, memory, plan.anchor)


def _exchange(chain: LayerChain, fleet: Fleet, plan: Plan) -> tuple[str, ...]:
    """Return how the tokens of a mixture are taken to reach their experts, and what is captured in CUDA graphs."""
    if not chain.mixture:
        return ()
    how = replace(plan, software=fleet.sites[0].pricer.software).ways
    beside = "beside compute" if how.expert_overlap else "not beside compute"
    whose = f"as {how.software} does" if how.software else "no software named"
    sent = f"tokens reach experts by {how.dispatcher}, {beside}; " if plan.expert > 1 else ""
    said = f"{sent}CUDA graphs of a mixture: {how.graphs}"
    return (f"{said} (where the plan says nothing, {whose}; fields dispatcher, expert_overlap, graphs)",)


def _elsewhere(plan: Plan, interval: Interval) -> tuple[str, ...]:
    """Return what says that a plan's anchor is of runs of other classes."""
    if plan.anchor is None or not plan.anchor.kinds or interval.kind in plan.anchor.kinds:
        return ()
    of = " and ".join(plan.anchor.kinds)
    return (f"the measured steps are of another class ({of}): the interval is that of {interval.kind} without them",)


def _edge(memory: Sequence[StageMemory], capacity: Sequence[float], interval: Interval) -> tuple[str, ...]:
    """Return how near the fullest stage is to the memory of its device, where the interval of its memory reaches it."""
    shares = [one.total_bytes / held for one, held in zip(memory, capacity, strict=True)]
    most, factor = max(shares), math.exp(interval.memory)
    if not 1.0 / factor <= most <= factor:
        return ()
    low, high = most / factor, most * factor
    return (
        f"stage {shares.index(most)} fills {percent(most)} of its device's memory, 80 %: {percent(low, 0)} to "
        f"{percent(high, 0)}: near the edge, where a fragmented allocator decides; with a headroom of "
        f"{percent(1.0 - 1.0 / factor, 0)} nine of ten fit",
    )


def _beyond(fleet: Fleet, plan: Plan, mfu: float) -> tuple[str, ...]:
    """Return what says that nobody published as much MFU on the device, or on the nearest one where nobody published
    any: a plan that names its software has its fit."""
    if len(fleet.sites) != 1:
        return ()
    site = fleet.sites[0]
    best = best_run(site.device, plan.precision) or nearest_best_run(site.pricer.kind, plan.precision)
    if best is None or mfu <= MOST_BEYOND * best.mfu:
        return ()
    on = best.device if best.device == site.device else f"{best.device}, the nearest device with a published run,"
    return (
        f"{percent(mfu)} MFU is more than anyone published on {on} in {plan.precision}: "
        f"{percent(best.mfu)} at most ({best.run} of validation/training)",
    )


def _notes(fleet: Fleet, plan: Plan) -> tuple[str, ...]:
    said = list(dict.fromkeys(note for site in fleet.sites for note in site.pricer.notes))
    if fleet.joint is not None:
        rate = format_quantity(fleet.joint.bandwidth_bytes_per_s, "B/s")
        said.append(f"the kinds of device are taken to be joined by {fleet.joint.name}, {rate} a device")
    if plan.zero == 2 and plan.pipeline > 1:
        said.append("ZeRO-2 with a pipeline: DeepSpeed and Megatron-LM do not combine them")
    if plan.schedule is PipelineSchedule.ZERO_BUBBLE:
        said.append("zero-bubble (ZB-H1) is not in Megatron-LM; holding the schedule to 1f1b leaves it out")
    elif plan.schedule.folds:
        said.append(
            f"{plan.schedule} is not in Megatron-LM; its passes are in the order that is best if all take as long"
        )
    return tuple(said)
