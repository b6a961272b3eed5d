"""Every operator of a model on a described accelerator, by the generated model (docs/model-described.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from hardplace.answers import Infeasible
from hardplace.cost.one_chip.array_kernels import KernelCost
from hardplace.described.layers import LayerShape, convolution, elementwise, product, softmax
from hardplace.described.program import totals
from hardplace.described.reading import read_description
from hardplace.described.tiling import TiledLayer, tiled
from hardplace.described.types import CONVOLUTION, DIMS, Description
from hardplace.errors import BadInput
from hardplace.workload.types import Layer, Operator, OperatorKind, Phase

_NOTHING = {OperatorKind.VIEW, OperatorKind.COLLECTIVE}
_MOST_EXTENT = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedChip:
    """A described accelerator as a chip that prices operators.

    Attributes:
        description: The accelerator.
        peak_macs_per_cycle: Most multiply-accumulates a cycle of its units on tiles without edges.
        notes: What the figures leave out.
    """

    description: Description
    peak_macs_per_cycle: float
    notes: tuple[str, ...]

    @property
    def peak_flops_per_s(self) -> float:
        """Return two operations for each multiply-accumulate of the peak."""
        return 2.0 * self.peak_macs_per_cycle * self.description.clock_hz

    @property
    def memory_bandwidth_bytes_per_s(self) -> float:
        """Return the bytes a second of all ports of the memory where operands lie."""
        ports = self.description.backing.ports
        return sum(self.description.ports[name].width_bytes for name in ports) * self.description.clock_hz

    @property
    def dtype(self) -> str:
        """Return the bytes of an element of the inputs, in words."""
        return f"{8 * self.description.backing.element_bytes['input']}-bit operands"


def described_chip(name: str) -> DescribedChip:
    """Return a described accelerator by its name or file.

    Raises:
        BadInput: For a fault in it, and for one without a unit for matrix products.
    """
    on = read_description(name)
    peak = max((_peak(on, unit) for unit in on.units if CONVOLUTION in on.units[unit].operations), default=0.0)
    if not peak:
        raise BadInput(name, None, "a unit with the operation convolution, for matrix products")
    return DescribedChip(
        description=on,
        peak_macs_per_cycle=peak * sum(CONVOLUTION in unit.operations for unit in on.units.values()),
        notes=(
            "operators one after the other, each from and to memory; chains are not fused, collectives left out",
            "attention as two products and a softmax; functions cost one pass of the unit for element-wise work",
            "backward passes of attention and convolutions as twice the forward's products",
            "a description has no energies: energy is left out",
        ),
    )


def _peak(on: Description, unit: str) -> float:
    """Return the most multiply-accumulates a cycle of a unit, over tiles of sizes that divide well."""
    operation, best = on.units[unit].operations[CONVOLUTION], 0.0
    for taps in (1, 3, on.parameters.get("rows", 1)):
        for along in (1, 14, 16, 64, 4096):
            tile = dict.fromkeys(DIMS, 1) | {"k": 5040, "c": 5040, "p": along, "q": 64, "r": taps, "s": taps}
            for dim, most in operation.at_most.items():
                tile[dim] = min(tile[dim], most)
            macs = 1
            for size in tile.values():
                macs *= size
            best = max(best, macs / max(1, operation.cycles.at(**tile, operands=1, stride=1)))
    return best


def described_kernel_costs(
    layer: Layer, phase: Phase, micro_batch: int, on: DescribedChip, known: dict[object, TiledLayer]
) -> tuple[KernelCost, ...]:
    """Return the operators of one phase of a layer at a micro-batch size (samples), in order.

    Args:
        layer: The layer.
        phase: Forward, backward or optimizer.
        micro_batch: Samples.
        on: The accelerator.
        known: Layers that were mapped before; new ones are put in.

    Raises:
        BadInput: For an operator that no unit does, or that no mapping fits.
    """
    if phase is Phase.OPTIMIZER:
        elements = layer.parameters
        work = [(elementwise("optimizer", min(elements, _MOST_EXTENT), 4), 1)] if elements else []
        return tuple(_cost(layer.name, phase, shape, times, on, known) for shape, times in work)
    return tuple(
        _cost(layer.name, phase, shape, times, on, known)
        for operator in layer.operators
        if operator.phase is phase and operator.kind not in _NOTHING
        for shape, times in _shapes(operator, layer, micro_batch)
    )


def _shapes(operator: Operator, layer: Layer, micro_batch: int) -> Iterator[tuple[LayerShape, int]]:
    """Return an operator as layers of an accelerator, each with how often it is done."""
    dims = [size.at(micro_batch) for size in operator.dims]
    name = operator.name
    kind = operator.kind
    if kind is OperatorKind.MATMUL:
        batch, m, n, k = dims
        yield product(name, m, n, k, batch), 1
    elif kind is OperatorKind.GROUPED_MATMUL:
        groups, m, n, k = dims
        yield product(name, max(1, m // groups), n, k, groups), 1
    elif kind is OperatorKind.ATTENTION:
        batch, heads, _, queries, keys, head, value = dims
        times = 1 if operator.phase is Phase.FORWARD else 2
        yield product(f"{name} scores", queries, keys, head, batch * heads), times
        yield softmax(f"{name} softmax", batch * heads * queries, keys), 1
        yield product(f"{name} values", queries, value, keys, batch * heads), times
        if times == 2:
            yield product(f"{name} scores again", queries, keys, head, batch * heads), 1
    elif kind is OperatorKind.CONVOLUTION and len(dims) == 10:
        batch, channels, filters, groups, *sizes = dims
        (high, wide), made, window = sizes[:2], sizes[2:4], (sizes[4], sizes[5])
        stride = max(1, -(-high // max(1, made[0])))
        shape = convolution(name, channels, filters, (high, wide), window, stride, groups=groups, batch=batch)
        shape = replace(shape, extents={**shape.extents, "p": made[0], "q": made[1]})  # as it was padded
        yield shape, 1 if operator.phase is Phase.FORWARD else 2
    elif kind is OperatorKind.SOFTMAX:
        tensor = layer.tensors[operator.reads[0]].shape
        columns = tensor[-1].at(micro_batch) if tensor else 1
        yield softmax(name, max(1, dims[0] // max(1, columns)), max(1, columns)), 1
    elif dims and dims[0]:
        inputs = max(1, len(operator.reads))
        yield elementwise(name, min(dims[0], _MOST_EXTENT), inputs), 1


def _cost(
    layer: str, phase: Phase, shape: LayerShape, times: int, on: DescribedChip, known: dict[object, TiledLayer]
) -> KernelCost:
    key = (shape.operation, *shape.extents.values(), shape.stride, shape.operands)
    if key not in known:
        found = tiled(on.description, shape)
        if isinstance(found, Infeasible):
            raise BadInput(
                f"{on.description.name}: {layer}: {found.what}", f"{found.available:,.0f} {found.unit}",
                f"{found.needed:,.0f}",
            )  # fmt: skip
        known[key] = found
    mapped = known[key]
    description, clock_hz = on.description, on.description.clock_hz
    _, held = totals(mapped.program)
    units = {name: cycles for name, cycles in held.items() if name in description.units}
    computing = Counter({name: cycles for name, cycles in units.items() if shape.operation in _does(description, name)})
    backing = {name: held.get(name, 0) for name in description.backing.ports}
    memory_bytes = float(sum(cycles * description.ports[name].width_bytes for name, cycles in backing.items()))
    seconds = times * mapped.time.cycles / clock_hz
    busiest_s = times * max(computing.values(), default=0) / clock_hz
    inner = max((cycles for name, cycles in held.items() if name not in computing and name not in backing), default=0)
    macs = float(times * shape.macs)
    return KernelCost(
        layer=layer,
        phase=phase.value,
        name=shape.name,
        engine=max(computing, key=lambda name: computing[name]) if computing else "",
        mapping=" ".join(f"{loop.level}:{loop.dim}{loop.tile}" for loop in mapped.mapping.loops) or "whole",
        seconds=seconds,
        bound_by=_part(description, mapped.time.bound_by, shape),
        array_s=busiest_s if shape.macs else 0.0,
        vector_s=0.0 if shape.macs else busiest_s,
        memory_s=times * max(backing.values()) / clock_hz,
        buffer_s=times * inner / clock_hz,
        flops=2.0 * macs,
        memory_bytes=times * memory_bytes,
        utilisation=macs / (on.peak_macs_per_cycle * clock_hz * seconds),
        energy_j=0.0,
    )


def _part(on: Description, held: str, shape: LayerShape) -> str:
    """Return which part of a chip a unit, port or path is: arrays, lanes, memory or buffer."""
    if held in on.backing.ports or (held in on.units and _at_memory(on, held)):
        return "memory"
    if held in on.units and shape.operation in _does(on, held):
        return "arrays" if shape.macs else "lanes"
    return "buffer"


def _at_memory(on: Description, unit: str) -> bool:
    """Return whether a unit moves to or from the memory where operands lie."""
    ends = {port for move in on.units[unit].moves for port in (move.source, move.target)}
    return bool(ends & set(on.backing.ports))


def _does(on: Description, unit: str) -> tuple[str, ...]:
    """Return the operations of a unit; one with convolutions does depthwise ones too."""
    names = tuple(on.units[unit].operations)
    return (*names, "depthwise") if CONVOLUTION in names else names
