"""The plans that a trainer runs, from the trainer's name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hardplace.errors import BadInput
from hardplace.exports.architecture import architecture_of
from hardplace.exports.export import refused_model
from hardplace.exports.space import space_for
from hardplace.exports.targets import target_of
from hardplace.plans.placement.space import PlanSpace
from hardplace.workload.types import Workload


def space_of_trainer(
    trainer: str,
    model: str,
    workload: Workload,
    batch: int,
    fixed: Mapping[str, tuple[Any, ...]],
    vendors: Sequence[str],
) -> PlanSpace:
    """Return the plans of a model that a trainer runs.

    vendors: of the devices. Raises BadInput for an unknown trainer, and where it runs none of this model on them.
    """
    target, architecture = target_of(trainer, "trainer"), architecture_of(model, workload, None)
    for vendor in vendors:
        if said := refused_model(target, vendor, architecture):
            what, _, expected = said.partition(": expected ")
            raise BadInput("trainer", f"{trainer}: {what}", expected)
    return space_for(target, workload, architecture, batch, fixed)
