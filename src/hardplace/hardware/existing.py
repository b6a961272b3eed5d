"""Chips that exist as chips of the model, to stand beside a search's answer (docs/model-chips.md, section 8)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from hardplace.hardware.bill import bill, energies
from hardplace.hardware.blueprint import of_device, stacks_of, training_dtype
from hardplace.hardware.catalogue import device
from hardplace.hardware.chip_pricer import Preset
from hardplace.hardware.device import Arrays, Device, Multiprocessors
from hardplace.hardware.money import cost
from hardplace.hardware.space import ChipSpace, MemoryChoice
from hardplace.hardware.technology import technology
from hardplace.hardware.throttle import product_power
from hardplace.hardware.types import Setting

EXISTING = ("h100-sxm", "b200-sxm", "mi300x", "tpu-v5p", "tpu-v4", "trainium2")
_BYTES_PER_MAC = 16  # of an array's own buffer (hardware.types.own_buffer_bytes)
MOST_MM2 = 1e9  # no limit
_STEP = 4  # array sides of a GPU are multiples of it


@dataclass(frozen=True, slots=True, kw_only=True)
class ExistingCosts:
    """What a chip that exists takes: published where it is, else by the model of parts.

    Attributes:
        area_mm2: Area of all dies.
        tdp_w: Thermal design power.
        usd: Cost of making.
        embodied_kg: Carbon of making, kg CO2 equivalent.
        idle_w: Power when idle.
        published: Which of area and TDP are published.
    """

    area_mm2: float
    tdp_w: float
    usd: float
    embodied_kg: float
    idle_w: float
    published: tuple[str, ...]


def costs_of(one: Device) -> ExistingCosts:
    """Return area, TDP and cost of making of a device."""
    plan, tech = of_device(one), technology(one.node_nm)
    found = bill(plan, tech)
    area = one.die_area_mm2 or float(found.die_mm2[0])
    tdp = one.tdp_w or float(found.tdp_w[0])
    named = (("area", one.die_area_mm2), ("TDP", one.tdp_w))
    made = cost(plan, tech, np.array([area]), np.array([tdp]))
    return ExistingCosts(
        area_mm2=area,
        tdp_w=tdp,
        usd=float(made.usd[0]),
        embodied_kg=float(made.embodied_kg[0]),
        idle_w=float(energies(plan, tech, np.array([area])).idle_w[0]),
        published=tuple(name for name, value in named if value is not None),
    )


def arrays_of(one: Device) -> tuple[int, int, int]:
    """Return number, rows and columns of the arrays that stand for a device's engines.

    A chip with arrays has its own. A GPU has as many arrays as make its multiply-accumulates exactly, with sides whose
    ratio is at most two, and whose own buffers are nearest to what a multiprocessor holds in registers and shared
    memory: the tile that its kernels keep.
    """
    engine = one.engine
    if isinstance(engine, Arrays):
        return engine.count, engine.rows, engine.columns
    macs = engine.count * engine.flops_per_clock[training_dtype(one)] // 2
    wanted = (engine.register_bytes + engine.shared_memory_bytes) / _BYTES_PER_MAC
    best = (math.inf, 1, 1, macs)
    for count in range(1, engine.count + 1):
        each, rest = divmod(macs, count)
        for rows in range(_STEP, math.isqrt(each) + 1, _STEP) if not rest else ():
            columns, odd = divmod(each, rows)
            if not odd and columns % _STEP == 0 and columns <= 2 * rows:
                best = min(best, (abs(math.log(each / wanted)) + 0.01 * (columns / rows - 1), count, rows, columns))
    return best[1:]


def space_of(one: Device) -> ChipSpace:
    """Return the space whose only chip stands for a device, with its own clock, memory and links."""
    count, rows, columns = arrays_of(one)
    engine = one.engine
    cores = engine.count if isinstance(engine, Multiprocessors) else engine.vector_cores
    kind, bandwidth = one.memory_kind, one.memory_bandwidth_bytes_per_s
    memory = MemoryChoice(
        kind=kind,
        stacks=one.memory_stacks or int(stacks_of(kind, bandwidth)),
        bytes=one.memory_bytes,
        bandwidth_bytes_per_s=bandwidth,
    )
    return ChipSpace(
        name=one.name,
        description=one.title,
        tensor_cores=(count,),
        array_rows=(rows,),
        array_columns=(columns,),
        vector_cores=(cores,),
        vector_lanes=(engine.vector_lanes,),
        buffer_bytes=(one.buffer_bytes,),
        clock_hz=(one.clock_hz,),
        memories=(memory,),
        links_bytes_per_s=(one.link_bandwidth_bytes_per_s,) if one.link_bandwidth_bytes_per_s else (),
        area_model=Preset.PARTS,
        node_nm=one.node_nm,
        dtype=training_dtype(one),
        area_limit_mm2=MOST_MM2,
    )


def setting_of(one: Device, setting: Setting) -> Setting:
    """Return a setting with the bandwidth of the device's own buffer where it is published, and what its power leaves.

    A setting states the bandwidth at its own clock, and a chip's goes with its clock. Firmware holds a GPU to its
    published TDP; of chips with arrays none is known that does.
    """
    kernels = setting.kernels
    if kernels.power is not None:
        power = product_power(of_device(one), technology(one.node_nm), one.tdp_w)
        left = float(power.share[0]) if isinstance(one.engine, Multiprocessors) else 1.0
        setting = replace(setting, kernels=replace(kernels, matrix_share=kernels.matrix_share * left, power=None))
    own = one.buffer_bandwidth_bytes_per_s
    if own is None:
        return setting
    return replace(setting, buffer_bandwidth_bytes_per_s=own * setting.clock_hz / one.clock_hz)


def existing() -> tuple[Device, ...]:
    """Return the devices that stand beside an answer."""
    return tuple(device(name) for name in EXISTING)
