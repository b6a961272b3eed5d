"""The best plan to go on with when the devices or the links of a running plan change (docs/model-replan.md).

Best first: plans come in rising order of their step's seconds (`search.variants`); each is charged the pause that it
takes to move there, until no later one can do more work over the horizon. Read `replan` first.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from hardplace.errors import BadInput
from hardplace.hardware.device import Device, Node
from hardplace.placement.moves import GONE, Ints, Moves, Part, Spread, moves, standing
from hardplace.placement.plan import Plan, stage_layers
from hardplace.search.clusters import even_cluster
from hardplace.search.estimate import PlanEstimate
from hardplace.search.variants import Shortage, Variants
from hardplace.workload.sharding import shard
from hardplace.workload.types import OperatorKind, Parallelism, StorageRole, Workload

RESTART_S = 60.0
STORE_BYTES_PER_S = 1e9  # of a node: 2 TB/s sustained for 2,048 nodes (Llama 3, arXiv 2407.21783, section 3.3.1)
BEST = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is at hand: devices (those left of the running plan, then new ones), which of the running plan's are lost,
    node and links as they are now. horizon_s: until the next change; restart_s: of a stop without any transfer;
    store_bytes_per_s: at which a node reads checkpoints."""

    devices: int
    lost: frozenset[int]
    node: Node
    horizon_s: float
    restart_s: float = RESTART_S
    store_bytes_per_s: float = STORE_BYTES_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A plan to go on with: what it does, what moves, and the pause. samples: of the horizon."""

    estimate: PlanEstimate
    moves: Moves
    transfer_s: float
    read_s: float
    pause_s: float
    samples: float
    spares: int

    @property
    def samples_per_s(self) -> float:
        """While it runs."""
        return self.estimate.plan.global_batch / self.estimate.step_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Replanned:
    """The best options, most work first, and the running plan's seconds before the change. reread_s: how much longer
    the pause is if no host keeps the last checkpoint in memory (all state is read). uneven: the best plan whose batch is
    only near the asked one, where that is faster."""

    options: tuple[Option, ...]
    running: PlanEstimate
    reread_bytes: float
    reread_s: float
    uneven: PlanEstimate | None
    considered: int
    priced: int


def replan(workload: Workload, chip: Device, running: Plan, before: Node, change: Change) -> Replanned | Shortage:
    """Return the plans that do most work until the next change, or what every plan is short of.

    before: the node as it was. Work is samples_per_s x (horizon - pause); the first option is the optimum of the space
    (docs/model-replan.md, "The space"). Raises BadInput for a plan that does not suit the model, or devices that are not
    among its own.
    """
    _check(running, change)
    was = Variants(workload, chip, before, running, running.devices)
    now = Variants(workload, chip, change.node, running, change.devices)
    slots = _slots(running, before, change)
    found: list[Option] = []
    mover = _Mover(workload, running, was.estimate(running), slots, change)
    limit_s = float("inf")
    able = _room(slots)
    for estimate in now.rising(able):
        if estimate.step_s > limit_s:
            break
        found.append(mover.option(estimate))
        found.sort(key=lambda one: -one.samples)
        del found[BEST:]
        if len(found) == BEST and found[-1].samples > 0.0:
            batch = running.global_batch
            limit_s = batch * max(0.0, change.horizon_s - change.restart_s) / found[-1].samples
    return now.shortage() if not found else _answer(found, mover, now, change)
