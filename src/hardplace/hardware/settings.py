"""Settings: the memory system, network, batch and optimizer that all candidates of a search share."""

from __future__ import annotations

from dataclasses import replace

from hardplace.errors import unknown
from hardplace.hardware.types import Cluster, KernelLimits, NetworkLevel, Optimizer, PowerLimit, Setting
from hardplace.units import GIB

# Lane-cycles an element, as PHAZE has them: add, mul, ReLU, norm arithmetic 1, dropout 2, division 10, softmax 10,
# sigmoid 12, pow and sqrt 15, tanh 27. exp takes softmax's 10, erf tanh's 27; composites are the sums of their
# parts, by the names that torch gives the operators.
PHAZE_CYCLES = {
    "other": 1,
    "native_dropout": 2,
    "native_dropout_backward": 2,
    "div": 10,
    "reciprocal": 10,
    "exp": 10,
    "log": 15,
    "pow": 15,
    "sqrt": 15,
    "rsqrt": 25,  # sqrt and division
    "sigmoid": 12,
    "tanh": 27,
    "erf": 27,
    "silu": 13,  # sigmoid, product
    "silu_backward": 17,  # sigmoid, and x (1 - s) + 1 times s times the gradient
    "gelu": 30,  # erf and three products
    "gelu_backward": 44,  # erf, exp, and seven
    "tanh_backward": 3,
    "softmax": 12,  # maximum, difference and exp, sum; 10 in PHAZE's table and a reduction
    "softmax_backward_data": 4,
    "log_softmax": 13,  # maximum, difference, exp, sum; one log a row
    "log_softmax_backward_data": 13,  # exp, sum, product, difference
}
# A power in these models is a square or a cube, and layer norm is more than one operation an element: mean, squares,
# difference, scale, weight, bias; backward: two sums for the input, two for the parameters, and the products.
CYCLES = PHAZE_CYCLES | {"pow": 2, "native_layer_norm": 6, "native_layer_norm_backward": 10}

# Mixed precision as Megatron-LM's distributed optimizer holds it: bf16 weights, fp32 gradients, and
# fp32 master weights and two moments divided among the replicas (its documentation: 6 + 12/d bytes a parameter).
# Reduction: fp32 reduce-scatter and bf16 all-gather. Step: read gradient, master, moments; write back and cast.
ADAMW = Optimizer(
    name="adamw",
    weight_bytes=2,
    gradient_bytes=4,
    state_bytes=12,
    sharded=True,
    reduction_bytes=6,
    step_bytes=30,
    step_functions=("mul",) * 10 + ("sqrt", "div"),
)
# PHAZE: 2 bytes of weight and of gradient, no state; its reduction is 4(d-1)/d times the bytes of the weights.
SGD = Optimizer(
    name="sgd",
    weight_bytes=2,
    gradient_bytes=2,
    state_bytes=0,
    sharded=False,
    reduction_bytes=8,
    step_bytes=6,
    step_functions=("mul", "add"),
)

# What kernels reach, of the models fitted on NVIDIA GPUs' measurements (cost/gpu/data/h100-sxm.json.gz): of what power
# leaves of the matrix peak 0.733 in the products of a step (benchmarks/power_limit.py: A100, H100, B200, GB200, GB300);
# of the memory's bandwidth 0.805; a launch takes 1.8 us (A, fitted). A MiB of shared buffer gives at most what V100's
# does, 2048 bytes a cycle of 6 MiB; A100's 5120 of 40 (NVIDIA A100 white paper; A).
REACHED = KernelLimits(matrix_share=0.733, memory_share=0.805, launch_s=1.8e-6, buffer_bytes_per_cycle_per_mib=2048 / 6)
# Of links, what collectives reach of what is sold: the node of H100 (nodes/dgx-h100.toml).
LINKS_SHARE = 0.84
_CAPACITIES_BYTES = (32.0 * GIB, 64.0 * GIB, 80.0 * GIB)  # PHAZE's three
# The shared buffer feeds all cores: H100's 50 MB L2, about 5.5 TB/s measured (jax-ml/scaling-book, gpus.md). PHAZE has
# no such limit, and without one thousands of tiny arrays win that no buffer could feed.
_BUFFER_BYTES_PER_S = 5.5e12
_CLOCK_HZ = 1.05e9  # TPU v4 (PHAZE writes 1.05e6: a unit fault)

PHAZE = Setting(
    name="phaze",
    description="PHAZE's constants, units mended: 268.8 GB/s memory, one flat 4 GiB/s link, SGD",
    clock_hz=_CLOCK_HZ,
    memory_bandwidth_bytes_per_s=268.8e9,  # 128 words x 2 bytes a cycle
    buffer_bandwidth_bytes_per_s=_BUFFER_BYTES_PER_S,
    memory_capacities_bytes=_CAPACITIES_BYTES,
    cluster=Cluster(
        devices=1024,
        levels=(NetworkLevel(name="link", devices=1024, bandwidth_bytes_per_s=4.0 * GIB, latency_s=0.0),),
    ),
    batch_samples=4096,
    optimizer=SGD,
    function_cycles=PHAZE_CYCLES,
)

# Memory: H100 SXM, 5 HBM3 stacks, 3.35 TB/s (NVIDIA data sheet). Network: DGX H100, 8 devices on NVLink 4 with
# 450 GB/s a direction, then one 400 Gb/s NIC a device (NVIDIA data sheets). Latency of a step: NCCL's tuning
# tables (src/graph/tuning.cc, ring, simple protocol): 3.4 us on NVLink, 14 us between nodes.
HBM3 = Setting(
    name="hbm3",
    description="present-day memory and network: 3.35 TB/s HBM3, nodes of 8 at 450 GB/s, 400 Gb/s between, AdamW",
    clock_hz=_CLOCK_HZ,
    memory_bandwidth_bytes_per_s=3.35e12,
    buffer_bandwidth_bytes_per_s=_BUFFER_BYTES_PER_S,
    memory_capacities_bytes=_CAPACITIES_BYTES,
    cluster=Cluster(
        devices=1024,
        levels=(
            NetworkLevel(name="node", devices=8, bandwidth_bytes_per_s=450e9, latency_s=3.4e-6),
            NetworkLevel(name="between nodes", devices=1024, bandwidth_bytes_per_s=50e9, latency_s=14e-6),
        ),
    ),
    batch_samples=4096,
    optimizer=ADAMW,
    function_cycles=CYCLES,
)

_SETTINGS = {setting.name: setting for setting in (HBM3, PHAZE)}


def settings() -> tuple[Setting, ...]:
    """Return the settings that ship with the package, the default first."""
    return tuple(_SETTINGS.values())


def setting(name: str) -> Setting:
    """Return a setting by name; BadInput with the nearest names if there is none."""
    if name not in _SETTINGS:
        raise unknown("setting", name, _SETTINGS)
    return _SETTINGS[name]


def as_reached(setting: Setting, power: PowerLimit | None = None) -> Setting:
    """Return a setting whose kernels and collectives reach what those of measured GPUs do, and not all there is.

    A level with an efficiency of its own, such as a node's that was fitted, keeps it. power: by what the power of the
    chips is priced.
    """
    levels = tuple(
        level if level.efficiency is not None else replace(level, efficiency=LINKS_SHARE)
        for level in setting.cluster.levels
    )
    kernels = replace(REACHED, power=power)
    return replace(setting, kernels=kernels, cluster=replace(setting.cluster, levels=levels))


def with_devices(setting: Setting, devices: int) -> Setting:
    """Return the setting with another number of devices: levels larger than that are dropped."""
    levels = setting.cluster.levels
    inner = tuple(level for level in levels[:-1] if level.devices < devices)
    last = levels[len(inner)]
    cluster = Cluster(devices=devices, levels=(*inner, replace(last, devices=devices)))
    return replace(setting, cluster=cluster)
