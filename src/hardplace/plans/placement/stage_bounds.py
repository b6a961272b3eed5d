"""Bounds of a stage from the stages around it (docs/model-placement.md, "Bounds")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hardplace.ndtypes import Bools, Floats, Ints
from hardplace.plans.pipeline import WaysInV, forwards_left, turn_hops, weights_left
from hardplace.plans.placement.hops import Hops
from hardplace.plans.placement.stages import LayerVariants, Stages
from hardplace.plans.plan import PipelineSchedule, Plan
from hardplace.plans.v_orders import v_turns


@dataclass(frozen=True, slots=True, kw_only=True)
class OutsideBounds:
    """Least seconds of what comes before and after each cut, over the kinds of device, (cuts,).

    Attributes:
        down_s: Forward passes before the cut, of the first chunk of each stage.
        up_s: Backward passes before the cut, of the first chunk of each stage.
        above_s: Backward passes after the cut, of the last chunk of each stage; in a V before it.
        rise_s: Forward passes before the cut, of the second chunk of each stage in a V; else 0.
        turn_s: Forward passes of the whole model, in seconds.
    """

    down_s: Floats
    up_s: Floats
    above_s: Floats
    rise_s: Floats
    turn_s: float


def around(parts: list[LayerVariants], plan: Plan) -> OutsideBounds:
    """Return the least seconds that a stage must wait for; up and above without weight gradients that run apart.

    With chunks, what comes before a cut depends on the cuts before it: nothing here, `PrefixBounds` adds it stage by
    stage.
    """
    cuts, chain = parts[0].cuts, parts[0].chain
    none = np.zeros(len(cuts.members))
    every = [layers.seconds for one in parts for layers in one.run(plan)]
    least = np.min(every, axis=0)
    forward = least[0]
    back = least[1] + (0.0 if plan.schedule.apart else least[2])
    if plan.schedule.folds:
        first = ~np.array(chain.second)
        sides = forward * first, back * first, back * ~first, forward * ~first
        down_s, up_s, above_s, rise_s = (cuts.members @ one for one in sides)
        return OutsideBounds(down_s=down_s, up_s=up_s, above_s=above_s, rise_s=rise_s, turn_s=float(forward.sum()))
    if plan.virtual == 1:
        before_f, before_b = cuts.members @ forward, cuts.members @ back
        return OutsideBounds(
            down_s=before_f,
            up_s=before_b,
            above_s=before_b[-1] - before_b,
            rise_s=none,
            turn_s=float(forward.sum()),
        )
    first, last = chain.inner.start, chain.inner.stop
    tail = back[last:].sum() - cuts.members[:, last:] @ back[last:]
    inside = cuts.members[:, first:last].sum(axis=1)
    b = float(back[first:last].min(initial=np.inf)) if last > first else 0.0
    v = plan.virtual  # of n layers the last of v chunks has at least n / v, in the last stage (n - v + 1) / v
    above_s = tail + b * np.maximum(0.0, inside[-1] - inside - (v - 1)) / v
    return OutsideBounds(down_s=none, up_s=none, above_s=above_s, rise_s=none, turn_s=float(forward.sum()))


class PrefixBounds:
    """Least seconds of the first chunks of the stages before a stage, by the cut before it.

    Over all ways to cut those stages of which each may stand in a step below a limit. Each sum is least by itself: a
    lower bound on both.
    """

    def __init__(self, cuts: int, near: OutsideBounds) -> None:
        self.down_s, self.up_s, self._near = np.full(cuts, np.inf), np.full(cuts, np.inf), near
        self.down_s[0] = self.up_s[0] = 0.0

    def near(self) -> OutsideBounds:
        """Return the least seconds that a stage must wait for."""
        return replace(self._near, down_s=self.down_s, up_s=self.up_s)

    def past(self, stages: Stages, chosen: Ints, *, apart: bool) -> None:
        """Advance to the next stage.

        Args:
            stages: All stages on the device of this one.
            chosen: Those that may stand here.
            apart: Whether weight gradients run apart.
        """
        forward, backward, weight = stages.seconds[:, 0, chosen]
        low, high = stages.low[chosen], stages.high[chosen]
        down_s, up_s = np.full_like(self.down_s, np.inf), np.full_like(self.up_s, np.inf)
        np.minimum.at(down_s, high, self.down_s[low] + forward)
        np.minimum.at(up_s, high, self.up_s[low] + backward + (0.0 if apart else weight))
        self.down_s, self.up_s = down_s, up_s


@dataclass(frozen=True, slots=True, kw_only=True)
class LastPasses:
    """The last backward pass of stages at one place of the pipeline, (chosen,).

    Attributes:
        low: Cut before each.
        high: Cut after each.
        least_s: Seconds until it ends, at least.
        up_s: Seconds that it takes itself, of the first chunk.
        rest_s: Seconds of the stage from then on, at least.
        hop_s: Seconds of a boundary tensor, at least.
    """

    low: Ints
    high: Ints
    least_s: Floats
    up_s: Floats
    rest_s: Floats
    hop_s: Floats

    def of(self, which: Bools, end_s: Floats) -> LastPasses:
        """Return those of some of the stages, with the end of the step of each."""
        return LastPasses(
            low=self.low[which],
            high=self.high[which],
            least_s=self.least_s[which],
            up_s=self.up_s[which],
            rest_s=self.rest_s[which] + end_s,
            hop_s=self.hop_s[which],
        )


def last_passes(stages: Stages, plan: Plan, chosen: Ints, stage: int, near: OutsideBounds, hops: Hops) -> LastPasses:
    """Return the last backward pass of the chosen stages as the stage-th of the pipeline.

    Args:
        stages: All stages on its device.
        plan: The plan.
        chosen: Indices of stages.
        stage: Index in the pipeline, from 0.
        near: Least seconds of what comes before and after.
        hops: Seconds of a boundary tensor.
    """
    forward, backward, weight = stages.seconds[:, :, chosen]
    low, high = stages.low[chosen], stages.high[chosen]
    hop_s = hops.of_stages(stage, low, high)
    times, schedule = plan.micro_batches, plan.schedule
    late = np.array(weights_left(stage, plan.pipeline, times, plan.virtual, schedule), dtype=np.float64)
    rest_s = late @ weight
    back_s = times * backward.sum(axis=0) + (times - late) @ weight
    least_s = near.down_s[low] + stage * hop_s + times * forward.sum(axis=0) + back_s
    if plan.pipeline > 1:
        left = np.array(_forwards_left(plan, stage), dtype=np.float64)
        turn = near.turn_s + turn_hops(plan.pipeline, plan.virtual, schedule) * hop_s
        if schedule.folds:
            above = near.above_s[low] + stage * hop_s
        else:
            above = near.above_s[high] + (plan.pipeline - 1 - stage) * hop_s
        least_s = np.maximum(least_s, turn + above + left @ forward + back_s)
    if schedule.folds:
        way_s, hops_s = turn_hops(plan.pipeline, 2, schedule) * hop_s, stage * hop_s
        before = (one[low] + hops_s for one in (near.down_s, near.rise_s, near.above_s, near.up_s))
        ways = WaysInV(near.turn_s + way_s, near.up_s[-1] + near.above_s[-1] + way_s, *before)
        turns = v_turns(plan.pipeline, times, schedule)[stage]
        least_s = np.maximum(least_s, ways.looped_s(turns, times, forward[1], backward[0]))
    up_s = backward[0] if schedule.apart else backward[0] + weight[0]
    return LastPasses(low=low, high=high, least_s=least_s, up_s=up_s, rest_s=rest_s, hop_s=hop_s)


def _forwards_left(plan: Plan, stage: int) -> tuple[int, ...]:
    """Return how many forward passes of each chunk come after the way that the first micro-batch takes down and up to
    a stage's first backward pass: of GPipe all but its own."""
    if plan.schedule is PipelineSchedule.GPIPE:
        return (plan.micro_batches - 1,)
    return forwards_left(stage, plan.pipeline, plan.micro_batches, plan.virtual, plan.schedule)


def step_bounds(passes: Sequence[LastPasses], cuts: int) -> list[Floats]:
    """Return, of each stage at each place, a lower bound on the step of every partition that has it there.

    The last backward pass goes up from stage to stage. It is no earlier at a stage than the least that the stages after
    it allow, and each stage before it still does its own and ends its step: the least of both over all ways to cut the
    stages after and before.

    Args:
        passes: Last passes of the stages that may stand at each place.
        cuts: Number of cuts.

    Source: docs/model-placement.md, "Bounds".
    """
    after, ended = np.full(cuts, -np.inf), []
    for one in reversed(passes):
        ended.append(np.maximum(one.least_s, after[one.high] + one.hop_s + one.up_s))
        after = np.full(cuts, np.inf)
        np.minimum.at(after, one.low, ended[-1])
    before, found = np.full(cuts, -np.inf), []
    for one, end_s in zip(passes, reversed(ended), strict=True):
        rest_s = np.maximum(one.rest_s, before[one.low])
        found.append(end_s + rest_s)
        before = np.full(cuts, np.inf)
        np.minimum.at(before, one.high, rest_s + one.hop_s + one.up_s)
    return found
