"""What contradicts a plan on a kind of device: kernels, launches, exchanges and software that exist for others only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hardplace.cost.layers.low_precision import Fp8Recipe
from hardplace.cost.layers.software import ON_ARRAYS, Dispatcher, Graphs, on_arrays_of
from hardplace.cost.one_chip.described_device import DescribedDevice
from hardplace.errors import BadInput
from hardplace.hardware.device import Device, Multiprocessors
from hardplace.plans.plan import Format, Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRule:
    """What some values of a plan's field need of a device.

    Attributes:
        field: Name of the field.
        needs: Whether a value that is set needs anything.
        has: Whether a device has it.
        expected: What was expected instead.
    """

    field: str
    needs: Callable[[object], bool]
    has: Callable[[Device | DescribedDevice], bool]
    expected: str


def _gpu(chip: Device | DescribedDevice) -> bool:
    return isinstance(chip, Device) and isinstance(chip.engine, Multiprocessors)


def _from_ampere(chip: Device | DescribedDevice) -> bool:
    return _gpu(chip) and "bf16" in chip.dtypes


def _from_hopper(chip: Device | DescribedDevice) -> bool:
    return _gpu(chip) and chip.vendor == "NVIDIA" and "fp8" in chip.dtypes


def _blocks_of_32(chip: Device | DescribedDevice) -> bool:
    return _gpu(chip) and "fp4" in chip.dtypes


def _of(vendor: str) -> Callable[[Device | DescribedDevice], bool]:
    """Return whether a chip is of a vendor; a GPU passes: it is told so with all software of arrays."""
    return lambda chip: _gpu(chip) or chip.vendor == vendor


# DeepEP runs from SM80 on, its branch hybrid-ep from SM90 on (deepseek-ai/DeepEP, README.md, requirements); Megatron
# Core's grouped products with activation are kernels of NVIDIA's GPUs.
RULES = (
    DeviceRule(
        field="backend", needs=lambda value: value != "", has=_gpu, expected="none: only GPUs have attention backends"
    ),
    DeviceRule(
        field="graphs",
        needs=lambda value: value not in (None, Graphs.NONE),
        has=_gpu,
        expected="none: only GPUs have CUDA graphs",
    ),
    DeviceRule(
        field="dispatcher",
        needs=lambda value: value is Dispatcher.DEEPEP,
        has=_from_ampere,
        expected="all-to-all: DeepEP needs a GPU of Ampere or later",
    ),
    DeviceRule(
        field="dispatcher",
        needs=lambda value: value is Dispatcher.HYBRIDEP,
        has=_from_hopper,
        expected="all-to-all: HybridEP needs a GPU of NVIDIA, of Hopper or later",
    ),
    DeviceRule(
        field="fused_experts",
        needs=lambda value: value is True,
        has=_from_hopper,
        expected="false: that kernel needs a GPU of NVIDIA, of Hopper or later",
    ),
    DeviceRule(
        field="fp8_recipe",
        needs=lambda value: value in (Fp8Recipe.MXFP8, Fp8Recipe.NVFP4),
        has=_blocks_of_32,
        expected="delayed or tensorwise: blocks of 16 and 32 elements need a GPU of Blackwell, MI350X or later",
    ),
    DeviceRule(
        field="fp8_recipe",
        needs=lambda value: value is Fp8Recipe.BLOCKWISE,
        has=_gpu,
        expected="delayed or tensorwise: blocks of 128 elements are scaled by kernels of GPUs",
    ),
    DeviceRule(
        field="software",
        needs=lambda value: value == "neuron",
        has=_of("AWS"),
        expected="the chip's own, or none: Neuron is of AWS's chips",
    ),
    DeviceRule(
        field="software",
        needs=lambda value: value == "gaudi",
        has=_of("Intel"),
        expected="the chip's own, or none: Gaudi's software is of Intel's chips",
    ),
    DeviceRule(
        field="software",
        needs=lambda value: value == ON_ARRAYS,
        has=lambda chip: _gpu(chip) or on_arrays_of(chip.vendor) == ON_ARRAYS,
        expected="the chip's own, or none: AWS's chips are run by Neuron, Intel's by Gaudi's software",
    ),
)


def check_device(chip: Device | DescribedDevice, plan: Plan) -> None:
    """Raise BadInput, in one line, for the first field of a plan that contradicts a device; also for a format that its
    engines do not multiply in (on a GPU 16 bit is whichever of the two it has, and fp32 is there)."""
    for rule in RULES:
        value = getattr(plan, rule.field)
        if rule.needs(value) and not rule.has(chip):
            raise BadInput(rule.field, f"{value} on {chip.name}", rule.expected)
    either = _gpu(chip) and not plan.precision.low
    if isinstance(chip, Device) and not either and str(plan.precision) not in chip.dtypes:
        able = [str(one) for one in Format if str(one) in chip.dtypes]
        raise BadInput(
            f"precision: {plan.precision}: {chip.name} does not multiply in it: expected {' or '.join(able)}"
        )
