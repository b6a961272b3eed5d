"""What a user names as model or device: a shape (or a Workload that is no decoder), and what prices shapes on it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from hardplace.cost.arrays.machine import machine
from hardplace.cost.arrays.timer import ArrayTimer
from hardplace.cost.collectives import Ring
from hardplace.cost.gpu.attention import backend_named, stand_in
from hardplace.cost.gpu.datasheet import gpu
from hardplace.cost.gpu.models import gpu_model
from hardplace.cost.gpu.timer import GpuTimer
from hardplace.cost.gpu.types import Fit, GpuModel
from hardplace.cost.layers.recognise import decoder_of
from hardplace.cost.layers.software import ON_ARRAYS
from hardplace.cost.layers.timer import Roofline, Timer
from hardplace.cost.layers.ways import ways
from hardplace.errors import BadInput
from hardplace.hardware.catalogue import device_names
from hardplace.hardware.device import Device, Multiprocessors
from hardplace.hardware.sheet import find
from hardplace.plans.efficiencies import anchored, efficiencies, generation, generation_of_arrays
from hardplace.plans.fleet import even_cluster, node_of
from hardplace.plans.pricing import check_anchor
from hardplace.shaping.types import UNFUSED, StepConditions
from hardplace.workload.configs import config_of, name_of_config, shape_of_config
from hardplace.workload.decoder import DecoderShape
from hardplace.workload.load import catalogue, load
from hardplace.workload.types import Workload

# Mean error to expect of products that 32 does not divide, of which no public data has any: the factors are A100's.
_UNALIGNED = 0.15
# Mean error to expect where nothing was measured: of a chip's closed forms (docs/validation.md has 10 to 20 % on
# TPUv4), of attention and of kernels that only move bytes where no fit says.
_CLOSED_FORM, _UNKNOWN, _ROOFLINE = 0.15, 0.15, 0.35


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeSource:
    """The model that was asked about.

    Attributes:
        name: Name of the model.
        shape: Shape of the decoder; None: it is none.
        workload: Recorded model; None: it is a config.
    """

    name: str
    shape: DecoderShape | None
    workload: Workload | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedDevice:
    """A device to price shapes on, with the mean relative errors of its model.

    Attributes:
        name: Name of the device.
        title: Full name.
        timer: Seconds of kernels.
        product_error: Error of products.
        unaligned_error: Error of products of which 32 does not divide a leading dimension.
        attention_error: Error of attention.
        stream_error: Error of kernels that only move bytes.
        quantum: What widths are padded to.
        memory_bytes: Memory of the device.
        notes: What was taken for the figures.
    """

    name: str
    title: str
    timer: Timer
    product_error: float
    unaligned_error: float
    attention_error: float
    stream_error: float
    quantum: int
    memory_bytes: float
    notes: tuple[str, ...]


def model_named(name: str, sequence: int | None) -> ShapeSource:
    """Return a catalogue model, a Workload file or a Hugging Face config.json.

    Args:
        name: Name or path.
        sequence: Tokens instead of the model's own; only of decoders.

    Raises:
        BadInput: For anything else.
    """
    path = Path(name)
    if name not in catalogue() and path.suffix == ".json" and (values := config_of(path)) is not None:
        return ShapeSource(
            name=name_of_config(path),
            shape=shape_of_config(values, name, sequence),
            workload=None,
        )
    workload = load(name)
    shape = decoder_of(workload)
    if sequence is not None and sequence != workload.sequence_length:
        if shape is None:
            raise BadInput(
                "sequence", sequence, f"{workload.sequence_length} tokens, at which {workload.name} was recorded"
            )
        shape = replace(shape, sequence=sequence)
    return ShapeSource(name=workload.name, shape=shape, workload=workload)


def target(name: str, conditions: StepConditions) -> PricedDevice:
    """Return a device ready to price: a GPU of the catalogue, a TOML or a calibrated model's file, or a chip with
    arrays.

    Raises:
        BadInput: With the nearest names for an unknown device, and for an attention backend without figures.
    """
    if name.endswith((".json", ".json.gz")):
        model = gpu_model(name)
        known = model.datasheet.name in device_names()
        return _gpu(model, gpu(model.datasheet.name) if known else None, conditions)
    device = find(name)
    if conditions.anchor is not None and (not isinstance(device.engine, Multiprocessors) or device.tdp_w is None):
        raise BadInput(f"calibrated: {device.name}: expected a GPU with a fitted model, as measured steps are of")
    if not isinstance(device.engine, Multiprocessors):
        return _chip(device, conditions)
    if device.tdp_w is None:
        return _by_roofline(device, conditions)
    return _gpu(gpu_model(name), device, conditions)


def _gpu(model: GpuModel, device: Device | None, conditions: StepConditions) -> PricedDevice:
    """Return a GPU with its model; device: None where only its datasheet within the model is known."""
    name = model.datasheet.name
    notes = [f"{name}: no calibration of its own: {fit.method}" for fit in model.fits if fit.part == "all"]
    cluster = ring = None
    if conditions.tensor > 1:
        try:
            cluster = even_cluster(node_of(name), conditions.tensor)
            ring = Ring(members=conditions.tensor, stride=1)
        except BadInput:
            notes.append(f"{name}: no node of the catalogue has it: tensor-parallel collectives are left out")
    backend = UNFUSED
    if conditions.flash:
        if conditions.attention == "default" and stand_in("default", model) is None:
            backend = min(model.attention, default=UNFUSED)
            notes.append(f"attention: no figures of PyTorch's default on {name}: {backend}")
        else:
            backend = backend_named(conditions.attention, model)
    anchor = conditions.anchor
    how = ways(anchor.software) if anchor else None
    named = bool(anchor and anchor.software)
    reached = efficiencies(generation(model.datasheet), how, flash=backend != UNFUSED, named=named)
    if anchor:
        check_anchor(anchor, name, anchor.software)
        reached = anchored(reached, anchor, flash=backend != UNFUSED)
        notes.append(f"{name}: figures of {anchor.runs} measured steps of this system")
    if reached.products != 1.0:
        notes.append(
            f"{name}: in a step, matrix products take {reached.products:.3g} x their time when run alone (fitted on "
            f"published runs)"
        )
    return PricedDevice(
        name=name,
        title=device.title if device else name,
        timer=GpuTimer(
            model=model,
            products=reached.products,
            attentions=reached.attention,
            streams=reached.streams,
            network=reached.tensor,
            sync_s=reached.sync_s,
            launch_s=reached.launch_s,
            attention=backend,
            cluster=cluster,
            ring=ring,
        ),
        product_error=product_error(model),
        unaligned_error=max(_UNALIGNED, product_error(model)),
        attention_error=_error(model, f"attention {backend}"),
        stream_error=_UNKNOWN,
        quantum=64,
        memory_bytes=device.memory_bytes if device else math.inf,
        notes=tuple(notes),
    )


def product_error(model: GpuModel) -> float:
    """Return the mean error of a GPU's model on large products that no fit has seen."""
    return _error(model, "gemm")


def _error(model: GpuModel, part: str) -> float:
    """Return the mean error on large held-out kernels: of the part's own fit, or what transfer is expected to have."""

    def of(fit: Fit) -> float | None:
        return fit.held_out_error_large or fit.held_out_error

    for wanted in (part, "all"):
        for fit in model.fits:
            found = of(fit) if fit.part == wanted else None
            if found is not None:
                return found
    return _UNKNOWN


def _chip(device: Device, conditions: StepConditions) -> PricedDevice:
    _known_attention(device, conditions)
    on = machine(device, "bf16")
    notes = [*on.notes, "closed forms of a chip with arrays: not fitted on measurements"]
    reached = efficiencies(generation_of_arrays(device), ways(ON_ARRAYS))
    if reached.products != 1.0:
        notes.append(
            f"{device.name}: kernels alone; `place` takes {reached.products:.3g} times as long for products, fitted on "
            f"training runs"
        )
    if conditions.tensor > 1:
        notes.append(f"{device.name}: tensor-parallel collectives are left out")
    return PricedDevice(
        name=device.name,
        title=device.title,
        timer=ArrayTimer(machine=on, flash=conditions.flash),
        product_error=_CLOSED_FORM,
        unaligned_error=_CLOSED_FORM,
        attention_error=_CLOSED_FORM,
        stream_error=_CLOSED_FORM,
        quantum=int(on.chips.array_columns[0]),
        memory_bytes=device.memory_bytes,
        notes=tuple(notes),
    )


def _known_attention(device: Device, conditions: StepConditions) -> None:
    if conditions.attention not in (UNFUSED, "default"):
        raise BadInput(
            "attention", repr(conditions.attention), f"default or {UNFUSED}: {device.name} has no figures of backends"
        )


def _by_roofline(device: Device, conditions: StepConditions) -> PricedDevice:
    _known_attention(device, conditions)
    dtype = "bf16" if "bf16" in device.dtypes else "fp16"
    notes = [f"{device.name}: no calibration: ranked by the roofline of its datasheet only, which knows no alignment"]
    if conditions.tensor > 1:
        notes.append(f"{device.name}: tensor-parallel collectives are left out")
    return PricedDevice(
        name=device.name,
        title=device.title,
        timer=Roofline(flops_per_s=device.peak_flops_per_s(dtype), bytes_per_s=device.memory_bandwidth_bytes_per_s),
        product_error=_ROOFLINE,
        unaligned_error=_ROOFLINE,
        attention_error=_ROOFLINE,
        stream_error=_ROOFLINE,
        quantum=64,
        memory_bytes=device.memory_bytes,
        notes=tuple(notes),
    )
