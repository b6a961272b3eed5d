"""Seconds of each pass of a micro-batch through a chunk of a stage, by what they are spent on: what a trace draws."""

from __future__ import annotations

from dataclasses import dataclass

from hardplace.plans.chain import LayerChain, stage_work, stages_of
from hardplace.plans.chunks import chunks_of
from hardplace.plans.estimate import price_stages
from hardplace.plans.fleet import Fleet
from hardplace.plans.folding import as_run
from hardplace.plans.plan import Plan
from hardplace.plans.simulate import Pass
from hardplace.plans.time_shares import TimeShares


@dataclass(frozen=True, slots=True, kw_only=True)
class PassTimes:
    """Seconds of a pass.

    Attributes:
        work: Compute and exchanges.
        gather_s: Gathered weights and scattered gradients that compute does not hide.
    """

    work: TimeShares
    gather_s: float

    @property
    def total_s(self) -> float:
        """Return the seconds of the pass, as the pipeline is simulated with."""
        return self.work.total_s + self.gather_s


def pass_times(chain: LayerChain, plan: Plan, fleet: Fleet) -> tuple[tuple[dict[Pass, PassTimes], ...], ...]:
    """Return the seconds of every pass by stage and chunk; they add up to `PlanEstimate.forward_s`, ..."""
    chain = as_run(chain, plan)
    places = stages_of(chain, plan)
    stages, sites = stage_work(chain, plan, places), fleet.of_stages(plan)
    found = []
    for index, (stage, priced) in enumerate(zip(stages, price_stages(stages, sites, plan, {}), strict=True)):
        row = []
        for chunk in chunks_of(stage, index, chain, plan):
            layers = [priced[layer] for layer in chunk]
            row.append(
                {
                    Pass.FORWARD: PassTimes(
                        work=sum((one.forward for one in layers), TimeShares()),
                        gather_s=sum(one.forward_gather_s for one in layers),
                    ),
                    Pass.BACKWARD: PassTimes(
                        work=sum((one.backward for one in layers), TimeShares()),
                        gather_s=sum(one.backward_gather_s for one in layers),
                    ),
                    Pass.WEIGHT: PassTimes(work=sum((one.weight for one in layers), TimeShares()), gather_s=0.0),
                }
            )
        found.append(tuple(row))
    return tuple(found)
