"""Area and power of chips by part, vectorised over chips (docs/model-chips.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hardplace.hardware import blocks
from hardplace.hardware.blueprint import Blueprint
from hardplace.hardware.remainder import CONTROL_SCALE, EARLY_NM, FITTED, INTERFACE_SCALE_7, Remainder
from hardplace.hardware.technology import (
    BANK_BYTES,
    BITS,
    CLOCK_SHARE,
    CORE_CONTROL_UM2_45,
    FLIPFLOP_PJ,
    FP64_LANE,
    HOST_MM2,
    HOST_W,
    LINK_MM2_PER_GB_S,
    LINK_PJ_PER_BIT,
    MEMORY_MM2_PER_GB_S,
    MEMORY_MM2_PER_STACK,
    MEMORY_PJ_PER_BIT,
    WIRE_PJ_PER_BYTE_MM,
    Technology,
    mac_pj,
    one_between,
    sram_pj_per_byte,
    technology,
)
from hardplace.ndtypes import Floats
from hardplace.units import GB, KIB, UM2_PER_MM2

_PICO = 1e-12
_REGISTER_BANK_BYTES = 16.0 * KIB
_INSTRUCTION_BYTES = 16.0  # read and written by an fp32 multiply-add: three operands and a result


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """Share of the peak at which each part runs while TDP is drawn; published energies are for random operands."""

    matrix: float = FITTED.matrix_activity
    vector: float = FITTED.vector_activity
    memory: float = 0.8
    links: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """Area and power of each part of chips, arrays of shape (chips,).

    Attributes:
        area_mm2: Area by part.
        power_w: Power by part; memory's includes the DRAM itself.
    """

    area_mm2: Mapping[str, Floats]
    power_w: Mapping[str, Floats]

    @property
    def die_mm2(self) -> Floats:
        """Return the area of the die."""
        return np.asarray(sum(self.area_mm2.values()))

    @property
    def tdp_w(self) -> Floats:
        """Return the power of the whole at the stated activity."""
        return np.asarray(sum(self.power_w.values()))


def areas(plan: Blueprint, tech: Technology, remainder: Remainder = FITTED) -> dict[str, Floats]:
    """Return area of each part, mm2."""
    outer = tech if plan.outer_node_nm is None else technology(plan.outer_node_nm)
    found = {
        "matrix engines": plan.arrays * blocks.array_mm2(plan.rows, plan.columns, plan.dtype, tech, plan.types),
        "vector units": plan.vector_cores
        * (plan.vector_lanes + FP64_LANE * plan.lanes_fp64)
        * np.asarray(blocks.lane_mm2(tech)),
        "core buffers and registers": plan.arrays * blocks.sram_mm2(plan.core_buffer_bytes, tech)
        + plan.vector_cores * blocks.sram_mm2(plan.register_bytes, tech, ports=2),
        "control": _control_um2_45(plan, tech, remainder) * tech.logic_scale / UM2_PER_MM2,
    }
    disabled = (plan.units_made - 1.0) * np.asarray(sum(found.values()))
    found["shared buffer"] = _banks_mm2(plan, plan.buffer_bytes, outer)
    disabled = disabled + _banks_mm2(plan, plan.buffer_made_bytes, outer) - found["shared buffer"]
    if plan.memory_kind in MEMORY_MM2_PER_STACK:
        found["memory interface"] = plan.stacks * MEMORY_MM2_PER_STACK[plan.memory_kind]
    else:
        found["memory interface"] = plan.memory_bandwidth_bytes_per_s / GB * MEMORY_MM2_PER_GB_S[plan.memory_kind]
    disabled = disabled + (plan.interfaces_made - 1.0) * found["memory interface"]
    found["links"] = plan.link_bandwidth_bytes_per_s / GB * LINK_MM2_PER_GB_S
    found["host and management"] = np.full(len(plan), HOST_MM2)
    if plan.gpu:
        found["not attributed"] = np.full(len(plan), remainder.gpu_fixed_mm2 - HOST_MM2)
    else:
        scale = np.sqrt(outer.logic_scale / INTERFACE_SCALE_7)
        found["controllers and network ports"] = (
            remainder.interface * scale * (found["memory interface"] + found["links"])
        )
        found["not attributed"] = np.full(len(plan), remainder.array_fixed_mm2 - HOST_MM2)
    found["disabled units"] = disabled
    return found


def _control_um2_45(plan: Blueprint, tech: Technology, remainder: Remainder) -> Floats:
    """Return the area of control at 45 nm: of each array, or of each multiprocessor of a GPU."""
    if not plan.gpu:
        return plan.arrays * CORE_CONTROL_UM2_45
    early = tech.node_nm >= EARLY_NM
    return plan.vector_cores * (remainder.early_multiprocessor_um2_45 if early else remainder.multiprocessor_um2_45)


def _banks_mm2(plan: Blueprint, size_bytes: Floats, tech: Technology) -> Floats:
    """Return the area of the shared buffer with its banks."""
    return plan.buffer_banks * blocks.sram_mm2(size_bytes / plan.buffer_banks, tech)


def feed_bytes_per_mac(plan: Blueprint) -> Floats:
    """Return bytes between an array and its buffer a multiply-accumulate: streamed operand, sums, stationary one."""
    operand = BITS[plan.dtype] / 8.0
    return np.asarray(operand / plan.columns + 8.0 / plan.rows + operand / plan.reuse)


def buffer_bytes_per_mac(plan: Blueprint) -> Floats:
    """Return bytes between shared and own buffers a multiply-accumulate: square tiles of fp32 sums fill half a core's.

    A GPU's multiprocessor holds its sums in registers (256 KiB: 181 x 181, as the 128 x 256 of its libraries).
    """
    own = plan.register_bytes if plan.gpu else plan.core_buffer_bytes
    side = np.sqrt(np.maximum(own / 2.0 / 4.0, 1.0))
    return np.asarray(2.0 * BITS[plan.dtype] / 8.0 / side)


@dataclass(frozen=True, slots=True, kw_only=True)
class Energies:
    """Energy of an operation and of a byte at each level, in J; arrays of shape (chips,) where chips differ.

    On the die, energies go with the square of the voltage, leakage with the voltage.

    Attributes:
        mac_j: A multiply-accumulate: product, sum and the element's registers.
        vector_j: An fp32 multiply-add of one lane with its operands.
        feed_j_per_byte: A byte of an array's own buffer (a GPU: registers).
        shared_j_per_byte: A byte of a bank of the shared buffer, with the wires to it: half the side of the die that
            one bank serves.
        wire_j_per_byte: A byte over half the side of the die, which every byte from memory takes.
        memory_j_per_byte: A byte of memory, with PHY and DRAM.
        link_j_per_byte: A byte sent or received.
        idle_w: Leakage and host, in W, drawn whatever runs.
    """

    mac_j: Floats
    vector_j: Floats
    feed_j_per_byte: Floats
    shared_j_per_byte: Floats
    wire_j_per_byte: Floats
    memory_j_per_byte: float
    link_j_per_byte: float
    idle_w: Floats


def energies(plan: Blueprint, tech: Technology, die_mm2: Floats, dtype: str | None = None) -> Energies:
    """Return energies of these chips at a node; dtype: of the operands, if other than what the arrays are built for.

    The clock takes `CLOCK_SHARE` of the logic's energy on top.
    """
    operand = dtype or plan.dtype
    banks = np.full(len(plan), _REGISTER_BANK_BYTES)
    registers = blocks.element_bits(operand) * one_between(*FLIPFLOP_PJ, tech)
    square = plan.volts**2
    wire_j = WIRE_PJ_PER_BYTE_MM * np.sqrt(die_mm2) / 2.0 * _PICO * square
    lane = mac_pj("fp32", tech) + _INSTRUCTION_BYTES * sram_pj_per_byte(np.minimum(plan.register_bytes, banks), tech)
    return Energies(
        mac_j=(mac_pj(operand, tech) + registers) * _PICO * square,
        vector_j=lane * _PICO * square,
        feed_j_per_byte=sram_pj_per_byte(banks if plan.gpu else plan.core_buffer_bytes, tech) * _PICO * square,
        shared_j_per_byte=sram_pj_per_byte(np.minimum(plan.buffer_bytes, BANK_BYTES), tech) * _PICO * square
        + wire_j / np.sqrt(plan.buffer_banks),
        wire_j_per_byte=wire_j,
        memory_j_per_byte=8.0 * MEMORY_PJ_PER_BIT[plan.memory_kind] * _PICO,
        link_j_per_byte=8.0 * LINK_PJ_PER_BIT * _PICO,
        idle_w=tech.leakage_w_per_mm2 * die_mm2 * plan.volts + HOST_W,
    )


def control_w_per_mm2(plan: Blueprint, tech: Technology, remainder: Remainder = FITTED) -> Floats:
    """Return the power of clock and control that goes with the die, W a mm2: with the clock and the voltage squared."""
    scale = remainder.clock_w_per_mm2_ghz * one_between(*CONTROL_SCALE, tech)
    return np.asarray(scale * plan.clock_hz / 1e9 * plan.volts**2)


def powers(
    plan: Blueprint,
    tech: Technology,
    die_mm2: Floats,
    activity: Activity,
    remainder: Remainder = FITTED,
    energy: Energies | None = None,
) -> dict[str, Floats]:
    """Return power of each part at an activity, W: operations, operands, clock, leakage, memory, links.

    energy: that of these chips, where it is known.
    """
    energy = energy or energies(plan, tech, die_mm2)
    macs = plan.macs_per_s * activity.matrix
    lanes = plan.vector_cores * plan.vector_lanes * plan.clock_hz * activity.vector
    moved = buffer_bytes_per_mac(plan) * macs
    from_memory = plan.memory_bandwidth_bytes_per_s * activity.memory
    found = {
        "matrix engines": macs * energy.mac_j,
        "vector units": lanes * energy.vector_j,
        "core buffers and registers": macs * feed_bytes_per_mac(plan) * energy.feed_j_per_byte,
        "shared buffer": moved * energy.shared_j_per_byte,
        "network on chip": from_memory * energy.wire_j_per_byte,
    }
    control_w = control_w_per_mm2(plan, tech, remainder) * die_mm2
    found["clock and control"] = CLOCK_SHARE * np.asarray(sum(found.values())) + control_w
    found["leakage"] = energy.idle_w - HOST_W
    found["memory and its interface"] = from_memory * energy.memory_j_per_byte
    found["links"] = 2.0 * plan.link_bandwidth_bytes_per_s * activity.links * energy.link_j_per_byte
    found["host and management"] = np.full(len(plan), HOST_W)
    return found


def bill(plan: Blueprint, tech: Technology, activity: Activity | None = None, remainder: Remainder = FITTED) -> Bill:
    """Return area and power of each part of these chips at a node."""
    area = areas(plan, tech, remainder)
    die_mm2 = np.asarray(sum(area.values()))
    return Bill(area_mm2=area, power_w=powers(plan, tech, die_mm2, activity or Activity(), remainder))
