"""Seconds of inference's kernels on a device: fitted GPUs, arrays, descriptions, measured CPUs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hardplace.cost.arrays.machine import ArrayMachine
from hardplace.cost.cpu.model import CpuModel
from hardplace.cost.cpu.operators import cpu_operator
from hardplace.cost.cpu.table import cpu_named, is_cpu
from hardplace.cost.one_chip.array_kernels import kernel_costs
from hardplace.cost.one_chip.described_kernels import DescribedChip, described_chip, described_kernel_costs
from hardplace.cost.one_chip.estimate import priced_on
from hardplace.cost.one_chip.gpu_kernels import Gpu, gpu_kernel_costs
from hardplace.described.reading import is_description
from hardplace.described.tiling import TiledLayer
from hardplace.errors import BadInput
from hardplace.graph_split.graph_file import LinkChoice, devices_of, links_of
from hardplace.graph_split.inference import RULES, InferenceGraph, inference_graph
from hardplace.graph_split.types import GraphOperator, GraphTensor, SplitProblem
from hardplace.hardware.sheet import find
from hardplace.units import percent
from hardplace.workload.types import Layer, Phase, Workload

_DTYPES = ("bf16", "fp16")
_CPU = "cpu"  # stands for the CPU whose measured operators ship
_SHIPPED_CPU = "epyc-1-thread"
_DATA = "data"


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedGraph:
    """A problem with where its seconds are from."""

    problem: SplitProblem
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _KernelPrices:
    """Seconds of each kernel, inf where the device does not do it; memory of the device; what to say of them."""

    seconds: tuple[float, ...]
    memory_bytes: float
    note: str


def priced_graph(workload: Workload, devices: Sequence[str], links: LinkChoice, batch: int) -> PricedGraph:
    """Return one inference of a Workload at a batch on devices by name: of the catalogue, descriptions, CPUs.

    The data are on the first device. BadInput for an unknown device and an operator that none of them does.
    """
    graph = inference_graph(workload, batch)
    nouns = devices_of(devices)
    prices = {kind: _prices(graph, kind, batch) for kind in dict.fromkeys(one.kind for one in nouns)}
    operators = [GraphOperator(name=_DATA, time_s={nouns[0].kind: 0.0}, group=None)]
    for index, node in enumerate(graph.nodes):
        times = {kind: own.seconds[index] for kind, own in prices.items() if own.seconds[index] < math.inf}
        if not times:
            raise BadInput(
                f"{workload.name}: {node.name}", "no time", f"a device that does it beside {', '.join(prices)}"
            )
        operators.append(GraphOperator(name=node.name, time_s=times, memory_bytes=node.parameter_bytes))
    tensors = [
        GraphTensor(source=source + 1, readers=tuple(one + 1 for one in readers), size_bytes=size)
        for source, readers, size in graph.values
    ]
    nouns = tuple(
        replace(one, memory_bytes=prices[one.kind].memory_bytes) if one.memory_bytes == math.inf else one
        for one in nouns
    )
    problem = SplitProblem(
        name=f"{workload.name}, batch {batch}", operators=tuple(operators), tensors=tuple(tensors), devices=nouns,
        links=links_of(nouns, links),
    )  # fmt: skip
    notes = [f"{kind}: {own.note}" for kind, own in prices.items()]
    notes.append(
        f"the data are on {nouns[0].name}; memory: weights alone; kernels as inference runs them, chains fused"
    )
    return PricedGraph(problem=problem, notes=tuple(notes))


def _prices(graph: InferenceGraph, kind: str, batch: int) -> _KernelPrices:
    """Return the seconds of every kernel on a kind of device."""
    name = _SHIPPED_CPU if kind == _CPU else kind
    if is_cpu(name):
        cpu = cpu_named(name)
        by_kind = [
            sum(cpu.seconds(cpu_operator(layer, operator, batch)) for operator in layer.operators)
            for layer in graph.kinds
        ]
        memory_bytes, note = math.inf, f"operators measured on {name} (one thread, fp32), {_errors(cpu)}"
    else:
        chip, dtype = _chip(name)
        known: dict[object, TiledLayer] = {}
        by_kind = [_on_chip(layer, chip, batch, known) for layer in graph.kinds]
        if isinstance(chip, DescribedChip):
            memory_bytes, note = math.inf, f"the model generated from its description, {chip.dtype}"
        else:
            model = "fitted model" if isinstance(chip, Gpu) else "model of arrays, ideal kernels"
            memory_bytes = chip.device.memory_bytes
            note = f"{model}, {dtype}, forward only, without the host's overhead"
    return _KernelPrices(
        seconds=tuple(by_kind[node.kind] for node in graph.nodes), memory_bytes=memory_bytes, note=note
    )


def _chip(name: str) -> tuple[ArrayMachine | Gpu | DescribedChip, str]:
    """Return a chip and the type of its operands: bf16, or fp16 where its engines lack that."""
    if is_description(name):
        return described_chip(name), ""
    device = find(name)
    dtype = next((one for one in _DTYPES if one in device.dtypes), _DTYPES[0])
    return priced_on(device, dtype), dtype


def _on_chip(
    layer: Layer, chip: ArrayMachine | Gpu | DescribedChip, batch: int, known: dict[object, TiledLayer]
) -> float:
    """Return the seconds of a kernel, inf where a description has no unit or mapping for it."""
    if isinstance(chip, DescribedChip):
        try:
            costs = described_kernel_costs(layer, Phase.FORWARD, batch, chip, known)
        except BadInput:
            return math.inf
    elif isinstance(chip, Gpu):
        on = replace(chip, rules=replace(RULES, flash=chip.rules.flash))
        costs = gpu_kernel_costs(layer, Phase.FORWARD, batch, on)
    else:
        costs = kernel_costs(layer, Phase.FORWARD, batch, chip, RULES)
    return sum(cost.seconds for cost in costs)


def _errors(model: CpuModel) -> str:
    """Return what the fits of products leave on operators held back, as words."""
    known = [
        f"{kind} {percent(model.held_out_error[kind], 0)}"
        for kind in ("convolution", "matmul", "attention")
        if kind in model.held_out_error
    ]
    return f"mean error on operators held back: {', '.join(known)}" if known else "too few for an error"
