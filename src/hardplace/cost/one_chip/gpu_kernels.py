"""Every kernel of a model on one GPU by its fitted model: time and its parts, traffic, energy (docs/model-gpu.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from hardplace.cost.arrays.machine import chip_energies
from hardplace.cost.arrays.times import bytes_into
from hardplace.cost.gpu.attention import attention_s, attention_shapes, backend_named, stand_in
from hardplace.cost.gpu.gemm import Gemms, gemms, memory_bytes
from hardplace.cost.gpu.models import model_of
from hardplace.cost.gpu.residual import corrected_gemm_s
from hardplace.cost.gpu.streams import stream_s
from hardplace.cost.gpu.types import GpuModel
from hardplace.cost.kernels.attention import seen_keys
from hardplace.cost.kernels.functions import EIGHTH_RATE, QUARTER_RATE
from hardplace.cost.layers.stream_kind import row_of, stream_of
from hardplace.cost.layers.types import Layout, Stream
from hardplace.cost.one_chip.array_kernels import KernelCost, energy_j, phase_kernels
from hardplace.cost.precision import PRECISIONS
from hardplace.cost.types import Fusion, Kernel
from hardplace.errors import BadInput
from hardplace.hardware.bill import Energies
from hardplace.hardware.blueprint import Blueprint
from hardplace.hardware.device import Device, Multiprocessors
from hardplace.hardware.settings import setting
from hardplace.units import percent
from hardplace.workload.decoder import LARGEST
from hardplace.workload.types import Layer, Operator, Phase

DTYPES = ("bf16", "fp16")  # what the figures were fitted on
_SAME_WIDTH_AS_EXP = 128  # multiply-add lanes of a multiprocessor whose 16 special-function units are an eighth of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU with its fitted model, and what its energy is reckoned from.

    rules: products are library kernels of their own, chains are fused as a compiler does, attention is flash where
    the GPU has figures for it. cycles: lane-cycles of a function.
    """

    device: Device
    engine: Multiprocessors
    dtype: str
    model: GpuModel
    rules: Fusion
    cycles: Mapping[str, int]
    plan: Blueprint
    energy: Energies
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Timed:
    """A kernel's seconds, its parts at the rates that the model has been fitted to, what it was timed as, its bytes."""

    seconds: float
    parts: dict[str, float]
    mapping: str
    memory_bytes: float


def gpu(device: Device, dtype: str) -> Gpu:
    """Return a GPU of the catalogue or of a file with its model: fitted, or by transfer from its nearest relative.

    Raises BadInput for a device that is no GPU, and for operands that are not of 16 bits: nothing else was fitted.
    """
    engine = device.engine
    if not isinstance(engine, Multiprocessors):
        raise BadInput(f"{device.name}: a chip with arrays: expected a GPU")
    used, words = device.supports(dtype)
    if used not in DTYPES:
        raise BadInput(
            f"{device.name}: operands of {used}: expected {' or '.join(DTYPES)}, which the model of GPUs is fitted on"
        )
    model = model_of(device)
    flash = stand_in("default", model) is not None
    plan, _, energy = chip_energies(device, used)
    return Gpu(
        device=device,
        engine=engine,
        dtype=used,
        model=model,
        rules=Fusion(name="gpu", chains=True, epilogues=False, flash=flash),
        cycles=EIGHTH_RATE if engine.vector_lanes >= _SAME_WIDTH_AS_EXP else QUARTER_RATE,
        plan=plan,
        energy=energy,
        notes=(
            *([words] if words else []),
            *_provenance(model),
            *([] if flash else ["attention: unfused, no figures"]),
        ),
    )


def _provenance(model: GpuModel) -> tuple[str, ...]:
    """Return where the figures that are used here are from, as sentences."""
    used = {"attention", f"attention {stand_in('default', model)}"}
    found = []
    for fit in model.fits:
        if fit.part == "step overhead" or (fit.part.startswith("attention") and fit.part not in used):
            continue
        error = fit.held_out_error
        found.append(
            f"{fit.part}: {fit.method}" + (f", mean error {percent(error)} on shapes held out" if error else "")
        )
    return tuple(found)


def gpu_kernel_costs(layer: Layer, phase: Phase, micro_batch: int, on: Gpu) -> tuple[KernelCost, ...]:
    """Return the kernels of one phase of a layer at a micro-batch size (samples), in order; collectives left out."""
    kernels = phase_kernels(layer, phase, micro_batch, setting("hbm3"), on.cycles, on.rules)
    if not kernels:
        return ()
    fed_bytes = bytes_into(kernels, np.array([on.engine.shared_memory_bytes]), PRECISIONS[on.dtype])[:, 0]
    return tuple(
        _cost(kernel, layer, phase, on, _timed(kernel, layer, phase, micro_batch, on), fed)
        for kernel, fed in zip(kernels, fed_bytes.tolist(), strict=True)
    )


def _cost(kernel: Kernel, layer: Layer, phase: Phase, on: Gpu, timed: _Timed, fed_bytes: float) -> KernelCost:
    macs = float(sum(matmul.macs for matmul in kernel.matmuls))
    peak = on.model.datasheet.tensor_flops_per_s
    least = max(2.0 * macs / peak, timed.memory_bytes / on.model.datasheet.memory_bandwidth_bytes_per_s)
    seconds = max(timed.seconds, least)
    return KernelCost(
        layer=layer.name,
        phase=phase.value,
        name=kernel.name,
        engine=kernel.engine.value,
        mapping=timed.mapping,
        seconds=seconds,
        bound_by=max(timed.parts, key=lambda name: timed.parts[name]),
        array_s=timed.parts.get("arrays", 0.0),
        vector_s=timed.parts.get("lanes", 0.0),
        memory_s=timed.parts["memory"],
        buffer_s=0.0,
        flops=2.0 * macs + float(kernel.lane_cycles),
        memory_bytes=timed.memory_bytes,
        utilisation=2.0 * macs / (peak * seconds),
        energy_j=energy_j(kernel, on.energy, on.plan, timed.memory_bytes, fed_bytes, seconds),
        raised_s=seconds - timed.seconds,
    )


def _timed(kernel: Kernel, layer: Layer, phase: Phase, micro_batch: int, on: Gpu) -> _Timed:
    operators = [layer.operators[index] for index in kernel.operators]
    if kernel.reuse is not None:
        return _flash(kernel, operators[0], micro_batch, on)
    if kernel.tiled:
        return _product(kernel, operators[0], on)
    if kernel.matmuls:
        return _scan(kernel, on)
    return _streamed(kernel, layer, operators, phase, micro_batch, on)


def _shapes(kernel: Kernel, layout: Layout) -> Gemms:
    """Return the GEMMs of a kernel; rows beyond the model's range are taken as several GEMMs of equal size."""
    rows = [
        (math.ceil(one.m / pieces), one.n, one.k, one.batch)
        for one in kernel.matmuls
        for pieces in [math.ceil(one.m / LARGEST)]
        for _ in range(pieces)
    ]
    m, n, k, batch = zip(*rows, strict=True)
    if max(*n, *k, *batch) > LARGEST:
        raise BadInput(
            f"{kernel.name}: a product of {max(*n, *k, *batch)}: expected at most {LARGEST} columns or depth"
        )
    return gemms(m, n, k, batch=batch, layout=layout)


def _gemms_s(shapes: Gemms, on: Gpu) -> float:
    """Return seconds of these GEMMs one after the other; single ones with the learned residual."""
    model = on.model
    return float(corrected_gemm_s(shapes, model.datasheet, model.gemm, model.residual).sum())


def _product(kernel: Kernel, operator: Operator, on: Gpu) -> _Timed:
    """Return a matmul, grouped matmul or convolution (an implicit GEMM) as a library's GEMM."""
    layout = Layout(operator.layout) if operator.layout else Layout.TN
    sheet, figures = on.model.datasheet, on.model.gemm
    shapes = _shapes(kernel, layout)
    # Nothing is in the cache beforehand. An unfolded operand is read at its distinct words: at most m k of them.
    moved = float(memory_bytes(shapes, sheet, replace(figures, warm=0.0)).sum())
    moved -= sum(2.0 * one.batch * (one.m * one.k - one.left_words) for one in kernel.matmuls if one.left_words)
    flops = 2.0 * sum(matmul.macs for matmul in kernel.matmuls)
    parts = {
        "arrays": flops / (sheet.tensor_flops_per_s * figures.tensor_efficiency),
        "memory": moved / (sheet.memory_bandwidth_bytes_per_s * figures.dram_efficiency),
        "power": (flops * figures.joule_per_flop + moved * figures.joule_per_byte) / sheet.power_w,
        "launch": figures.launch_s * len(shapes),
    }
    return _Timed(seconds=_gemms_s(shapes, on), parts=parts, mapping=f"GEMM {layout.value}", memory_bytes=moved)


def _flash(kernel: Kernel, operator: Operator, micro_batch: int, on: Gpu) -> _Timed:
    """Return flash attention with PyTorch's default backend.

    The fit knows as many keys as queries, all or those before: a window, other keys or another width of values scale
    the time by the work.
    """
    backend = backend_named("default", on.model)
    fitted, sheet = on.model.attention[backend], on.model.datasheet
    batch, heads, kv_heads, queries, keys, width, *value = (dim.at(micro_batch) for dim in operator.dims)
    rows = attention_shapes(
        batch=batch, sequence=queries, heads=heads, head_dim=width, kv_heads=kv_heads, causal=operator.causal,
        backward=operator.phase is Phase.BACKWARD,
    )  # fmt: skip
    seen = seen_keys(queries, keys, causal=operator.causal, window=operator.window)
    known = seen_keys(queries, queries, causal=operator.causal, window=0)
    scale = seen / known * (width + (value or [width])[0]) / (2 * width)
    seconds = fitted.launch_s + (float(attention_s(rows, sheet, fitted)[0]) - fitted.launch_s) * scale
    count = on.engine.count
    parts = {
        "arrays": 2.0 * sum(matmul.macs for matmul in kernel.matmuls) / sheet.tensor_flops_per_s,
        "lanes": batch * heads * queries * seen / (fitted.exponentials_per_cycle * sheet.clock_hz * count),
        "memory": kernel.stream_bytes / (sheet.memory_bandwidth_bytes_per_s * fitted.dram_efficiency),
        "launch": fitted.launch_s,
    }
    return _Timed(seconds=seconds, parts=parts, mapping=backend, memory_bytes=float(kernel.stream_bytes))


def _scan(kernel: Kernel, on: Gpu) -> _Timed:
    """Return a scan in chunks: its products as batched GEMMs with one launch, or its bytes and lanes if longer."""
    streamed = _stream(kernel, Stream.ELEMENTWISE, 0, on)
    shapes = _shapes(kernel, Layout.TN)
    products_s = _gemms_s(shapes, on) - (len(shapes) - 1) * on.model.gemm.launch_s
    parts = streamed.parts | {"arrays": products_s}
    return replace(streamed, seconds=max(streamed.seconds, products_s), parts=parts, mapping="GEMMs, batched")


def _streamed(
    kernel: Kernel, layer: Layer, operators: list[Operator], phase: Phase, micro_batch: int, on: Gpu
) -> _Timed:
    """Return a chain of vector operators as the kind of stream that it has been measured as."""
    kind = stream_of(operators, phase)
    return _stream(kernel, kind, row_of(operators, layer, kind, micro_batch), on)


def _stream(kernel: Kernel, kind: Stream, row: int, on: Gpu) -> _Timed:
    fitted, sheet = on.model.streams[kind], on.model.datasheet
    moved = float(kernel.stream_bytes)
    memory_s = float(np.asarray(stream_s(moved, sheet, fitted, row=row))) - fitted.launch_s
    lanes = on.engine.count * on.engine.vector_lanes
    parts = {"memory": memory_s, "lanes": kernel.lane_cycles / (lanes * sheet.clock_hz), "launch": fitted.launch_s}
    seconds = fitted.launch_s + max(memory_s, parts["lanes"])
    return _Timed(seconds=seconds, parts=parts, mapping=kind.value.replace("_", " "), memory_bytes=moved)
