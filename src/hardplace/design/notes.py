"""Notes of an answer about chips: operators without a model, shared and frozen parameters, mixed models of area."""

from __future__ import annotations

from hardplace.design.goals import Objective
from hardplace.design.question import Question
from hardplace.hardware.chip_pricer import Preset
from hardplace.hardware.money import RETICLE_MM2
from hardplace.hardware.types import IDEAL, KernelLimits
from hardplace.units import format_quantity, percent
from hardplace.workload.types import OperatorKind, Workload
from hardplace.workload.weights import weights_of_model


def notes(question: Question) -> tuple[str, ...]:
    """Return what an answer leaves out: operators without a model, tied parameters, mixed models of area."""
    found = [text for workload in question.workloads for text in _notes(workload)]
    kernels, levels = question.setting.kernels, question.setting.cluster.levels
    reached = levels[0].reached_bytes_per_s / levels[0].bandwidth_bytes_per_s
    parts = question.space.area_model is Preset.PARTS
    if kernels == IDEAL and parts:
        found.append("kernels are ideal: they reach all of the rates of arrays and memory, and a launch takes no time")
    elif kernels != IDEAL:
        found.append(
            f"kernels reach {percent(kernels.matrix_share)} of {_held(kernels)} and {percent(kernels.memory_share)} of "
            f"the memory's bandwidth, collectives {percent(reached)} of the links', and a launch takes "
            f"{format_quantity(kernels.launch_s, 's')}, as on the GPUs that are fitted"
        )
    if question.goal.needs_energy:
        found.append(
            "energy is of the kernels and of idle chips; not of the gradient reduction, transfers between stages and "
            "the optimizer step; a plan with recompute is charged a second forward pass in every layer"
        )
    if not parts and any(one not in (Objective.THROUGHPUT, Objective.AREA) for one in question.goal.objectives):
        found.append(
            f"area is PHAZE's model at 45 nm; TDP, price, carbon and energy are those of the parts at "
            f"{question.space.node_nm:g} nm"
        )
    if parts and question.budget.area_mm2 > RETICLE_MM2:
        found.append(
            f"a chip above {RETICLE_MM2:g} mm², one reticle, is several dies of equal size; links between them are not "
            f"modelled"
        )
    return tuple(found)


def _held(kernels: KernelLimits) -> str:
    return "the arrays' rate" if kernels.power is None else "what the TDP leaves of the arrays' rate"


def _notes(workload: Workload) -> tuple[str, ...]:
    found = []
    layers = workload.layers
    priced = [
        operator
        for index in workload.order
        for operator in layers[index].operators
        if operator.kind is not OperatorKind.VIEW
    ]
    other = [operator for operator in priced if operator.kind is OperatorKind.OTHER]
    if other:
        elements = sum(operator.dims[0].factor for operator in other)
        every = sum(operator.dims[0].factor for operator in priced if operator.kind is not OperatorKind.MATMUL)
        names = ", ".join(sorted({operator.name for operator in other}))
        share = elements / every if every else 0.0
        found.append(f"operators without a model of their own ({percent(share, 2)} of vector elements): {names}")
    products = [one for one in priced if one.kind is OperatorKind.GROUPED_MATMUL]
    if products:
        share = sum(one.model_flops_per_sample for one in products) / workload.model_flops_per_sample()
        found.append(
            f"experts ({percent(share)} of the FLOPs): every rank of a stage holds its tensor-parallel part of all of "
            "them, so no plan of this search exchanges tokens between devices; tokens are taken as spread evenly, and "
            "grouped products as fast as others of their size (place has expert parallelism, and measured kernels)"
        )
    held = weights_of_model(workload)
    if workload.shared:
        used = "1 parameter is" if len(workload.shared) == 1 else f"{len(workload.shared):,} parameters are"
        found.append(
            f"{used} used by several layers, {held.twice:,} elements more than once: "
            "held once by a stage; stages that share one add up its gradient"
        )
    if held.elements < workload.parameters:
        found.append(
            f"{workload.parameters - held.elements:,} of {workload.parameters:,} parameters take no part in what was "
            "recorded, and are not held"
        )
    if held.trained < held.elements:
        found.append(
            f"{held.elements - held.trained:,} parameters are frozen: held without gradient and optimizer's states"
        )
    return tuple(found)
