"""How a plan is run: what it says, else what its software does."""

from __future__ import annotations

from dataclasses import dataclass

from hardplace.cost.layers.software import NONE_NAMED, Dispatcher, Graphs, software_named

# Kernels of a mixture's router, preprocessing and permutation over those of an all-to-all where nothing is captured.
_ROUTING = {Dispatcher.ALL_TO_ALL: 1.0, Dispatcher.DEEPEP: 0.6, Dispatcher.HYBRIDEP: 0.6}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """How a plan is run: software and what of its habits the plan changes, all settled."""

    software: str
    dispatcher: Dispatcher
    graphs: Graphs
    tensor_overlap: bool
    expert_overlap: bool
    fused_experts: bool


def ways(
    software: str = NONE_NAMED,
    *,
    dispatcher: Dispatcher | None = None,
    graphs: Graphs | None = None,
    tensor_overlap: bool | None = None,
    expert_overlap: bool | None = None,
    fused_experts: bool | None = None,
) -> Ways:
    """Return how a plan is run: what it says, else the software's habit.

    Raises:
        BadInput: For unknown software.
    """
    usual = software_named(software)
    return Ways(
        software=software,
        dispatcher=usual.dispatcher if dispatcher is None else dispatcher,
        graphs=usual.graphs if graphs is None else graphs,
        tensor_overlap=usual.tensor_overlap if tensor_overlap is None else tensor_overlap,
        expert_overlap=usual.expert_overlap if expert_overlap is None else expert_overlap,
        fused_experts=usual.fused_experts if fused_experts is None else fused_experts,
    )


def routing_launches(how: Ways) -> int:
    """Return the kernels that a mixture's router, preprocessing and permutation launch in a pass forward and back, of
    which graphs of parts of a layer take all but a tenth."""
    left = {Graphs.NONE: 1.0, Graphs.PARTIAL: 0.1}.get(how.graphs, 0.0)
    return int(left * _ROUTING[how.dispatcher] * software_named(how.software).routing_launches)
