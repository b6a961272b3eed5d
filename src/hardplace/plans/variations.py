"""What a plan would take if one thing were otherwise: a slower or faster link, another batch. The plan stays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from hardplace.errors import BadInput
from hardplace.hardware.types import Cluster
from hardplace.plans.chain import LayerChain
from hardplace.plans.estimate import estimate_plan
from hardplace.plans.fleet import Fleet
from hardplace.plans.plan import Plan
from hardplace.plans.plan_problems import problems

_TIMES = (0.5, 2.0)
_MEMORY = (0.5, 0.75)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanVariation:
    """A plan with one thing changed.

    Attributes:
        what: The change, in words.
        step_s: Seconds of a step with it.
        tokens_per_s: Tokens that all devices train on in a second.
        fits: Whether every stage still fits its device.
    """

    what: str
    step_s: float
    tokens_per_s: float
    fits: bool


def variations(chain: LayerChain, plan: Plan, fleet: Fleet) -> tuple[PlanVariation, ...]:
    """Return what a plan takes with links of half and twice the rate, less memory, half and twice the batch.

    A batch that the plan's degrees do not divide is left out. Nothing is searched again: with the change another plan
    may be faster than this one.

    Args:
        chain: The model's layers on one rank of the plan.
        plan: The plan.
        fleet: Its devices.
    """
    found = []
    for what, changed, devices in _changes(plan, fleet):
        if any(problems(changed)):
            continue
        try:
            cost = estimate_plan(chain, changed, devices)
        except BadInput:  # degrees that do not divide that batch
            continue
        found.append(PlanVariation(what=what, step_s=cost.step_s, tokens_per_s=cost.tokens_per_s, fits=cost.fits))
    return tuple(found)


def _changes(plan: Plan, fleet: Fleet) -> Iterator[tuple[str, Plan, Fleet]]:
    for level in dict.fromkeys(level.name for site in fleet.sites for level in site.cluster.levels):
        for times in _TIMES:
            yield f"{level} link x {times:g}", plan, _with_link(fleet, level, times)
    for times in _MEMORY:
        sites = tuple(replace(site, memory_bytes=site.memory_bytes * times) for site in fleet.sites)
        yield f"device memory x {times:g}", plan, replace(fleet, sites=sites)
    for times in _TIMES:
        batch = int(plan.global_batch * times)
        if batch and batch % (plan.data * plan.micro_batch) == 0:
            yield f"batch {batch:,}", replace(plan, global_batch=batch), fleet


def _with_link(fleet: Fleet, name: str, times: float) -> Fleet:
    """Return the fleet with another rate of one network level."""

    def changed(cluster: Cluster) -> Cluster:
        levels = tuple(
            replace(level, bandwidth_bytes_per_s=level.bandwidth_bytes_per_s * times) if level.name == name else level
            for level in cluster.levels
        )
        return replace(cluster, levels=levels)

    return replace(fleet, sites=tuple(replace(site, cluster=changed(site.cluster)) for site in fleet.sites))
