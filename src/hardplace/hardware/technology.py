"""Process nodes and published constants: area and energy of operations, SRAM, wires, memories, links, wafers, carbon.

Every constant has its source beside it and a trust as in the catalogue (A vendor or measured, B derived, C from
memory or judged). Equations in docs/model-chips.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hardplace.errors import BadInput
from hardplace.ndtypes import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Technology:
    """One process node. logic_scale: area of logic relative to 45 nm. energy_step: of operations, relative to 7 nm.

    leakage is at operating temperature, on logic and SRAM alike; carbon is of a processed wafer before yield.
    """

    node_nm: float
    logic_scale: float
    bitcell_um2: float
    energy_step: float
    leakage_w_per_mm2: float
    wafer_usd: float
    defects_per_cm2: float
    fab_kwh_per_cm2: float
    gas_g_per_cm2: float


# logic: Stillmaker and Baas 2017, table of area factors from 45 nm (B; 28 and 22 interpolated in log-log between 32:
#   0.46 and 20: 0.21); 12: GV100 against GP100, 25.9 / 25.1 MTr/mm2 (B); 5: 137.6 / 91.2 MTr/mm2 against 7
#   (Angstronomics, B); 8: Samsung's 8LPP against its 10LPP, 61.2 / 51.8 MTr/mm2 (WikiChip, by memory; C), the rest
#   but the bit cell as 10; 4: N4's 6 % shrink (TSMC, B); 3: N3E is 1.56 times N5 (Angstronomics, C).
# bit cell, high density, um2: Intel 45 nm 0.346, TSMC 28: 0.127, Intel 22: 0.092, TSMC 16: 0.074, Samsung 14: 0.064,
#   TSMC 10: 0.042, Samsung 8: 0.040 (C), 7: 0.027, 5: 0.021 (WikiChip, IEDM; A), 3: N3E 0.021 (WikiChip, IEDM 2022; A).
# energy below 7 nm: TSMC's claims at equal speed: N5 -30 % of N7, N4 -5 % of N5, N3E -32 % of N5 (B).
# leakage: judged so that idle power of V100, A100 and TPU v4 is not exceeded (C).
# wafer, USD: CSET / RetiredEngineer, TSMC in April 2020 (B); 45: as 40; 14: as 16; 4: as 5; 3: DigiTimes 2022.
# defects: TSMC, Technology Symposium 2020: N7 0.09, N5 0.10-0.11, mature nodes lower (B); 3: as N5 at its start (C).
# carbon: ACT (Gupta et al., ISCA 2022), logic/epa.json, gpa_95 and gpa_99 (mean: 97 % abatement) (A); 45: as 28;
#   4: as 5; 16 and 12: as 14.
_NODES = {
    45.0: (1.0, 0.346, 1.0, 0.050, 2274, 0.06, 0.90, 137.5),
    28.0: (0.368, 0.127, 1.0, 0.050, 2891, 0.06, 0.90, 137.5),
    22.0: (0.246, 0.092, 1.0, 0.045, 3677, 0.07, 1.077, 150.0),
    16.0: (0.19, 0.074, 1.0, 0.040, 3984, 0.08, 1.20, 162.5),
    14.0: (0.17, 0.064, 1.0, 0.040, 3984, 0.08, 1.20, 162.5),
    12.0: (0.184, 0.074, 1.0, 0.040, 3984, 0.08, 1.20, 162.5),
    10.0: (0.10, 0.042, 1.0, 0.040, 5992, 0.09, 1.475, 195.0),
    8.0: (0.085, 0.040, 1.0, 0.040, 5992, 0.09, 1.475, 195.0),
    7.0: (0.059, 0.027, 1.0, 0.040, 9346, 0.09, 2.15, 275.0),
    5.0: (0.0391, 0.021, 0.70, 0.040, 16988, 0.10, 2.75, 327.5),
    4.0: (0.0368, 0.021, 0.665, 0.040, 16988, 0.10, 2.75, 327.5),
    3.0: (0.0251, 0.021, 0.476, 0.040, 20000, 0.12, 3.25, 372.5),
}
NODES = tuple(_NODES)

# Operations at 45 nm: area um2 (Horowitz, ISSCC 2014, as tabulated by Dally) and energy pJ (Horowitz, ISSCC 2014); at
# 7 nm: energy pJ (Jouppi et al., ISCA 2021, table 2). bf16 and fp8 areas and 45 nm energies by the product of the
# mantissas' widths relative to fp16 (B); fp8 energy at 7 nm likewise (C); tf32 has fp16's mantissa.
MULTIPLY_UM2 = {"int8": 282, "fp8": 340, "bf16": 867, "fp16": 1640, "tf32": 1640, "fp32": 7700}
MULTIPLY_45_PJ = {"int8": 0.20, "fp8": 0.32, "bf16": 0.68, "fp16": 1.10, "tf32": 1.10, "fp32": 3.70}
MULTIPLY_7_PJ = {"int8": 0.07, "fp8": 0.10, "bf16": 0.21, "fp16": 0.34, "tf32": 0.34, "fp32": 1.31}
ADD_UM2 = {"int32": 137, "fp32": 4184}
ADD_45_PJ = {"int32": 0.10, "fp32": 0.90}
ADD_7_PJ = {"int32": 0.03, "fp32": 0.38}
BITS = {"int8": 8, "fp8": 8, "bf16": 16, "fp16": 16, "tf32": 19, "fp32": 32}
# Products are summed four at a time before they are rounded: 40 % less area of adders (Jouppi et al., ISCA 2021, on
# TPU v4i's matrix unit; C: the figure is from memory).
FOUR_INPUT_AREA = 0.6

FLIPFLOP_UM2 = 4.522  # DFF_X1 of the NanGate 45 nm library (A)
FLIPFLOP_PJ = (0.005, 0.0015)  # a bit and clock, at 45 and 7 nm (C: order of a library's internal and clock energy)

# Energy of a 64-bit access, pJ: Horowitz 2014 (45 nm), Jouppi et al. 2021 table 2 (7 nm), by size.
_SRAM_BYTES = np.array([8 * 1024.0, 32 * 1024.0, 1024 * 1024.0])
_SRAM_45_PJ = np.array([10.0, 20.0, 100.0])
_SRAM_7_PJ = np.array([7.5, 8.5, 14.0])
_SRAM_LOGS, _SRAM_45_LOGS, _SRAM_7_LOGS = np.log(_SRAM_BYTES), np.log(_SRAM_45_PJ), np.log(_SRAM_7_PJ)
BANK_BYTES = 1024.0 * 1024.0  # larger memories are banks of this size behind wires

WIRE_PJ_PER_BYTE_MM = 0.64  # 80 fJ a bit and mm (Dally, Hot Chips 2023; B), taken for all nodes: wires do not scale
# Off-chip memory, energy pJ a bit with PHY and controller; area mm2 of PHY and controller.
# HBM2 3.9 (O'Connor et al., MICRO 2017) to 250-450 pJ a 64-bit access (Jouppi 2021: 3.9-7.0): HBM2 5.5, later
# generations by the vendors' claims (B). GDDR6 350-480 pJ a 64-bit access (Jouppi 2021),
# GDDR6X 3 % less (Micron's 7.25 against 7.5 pJ, from memory; C). DDR 1300 pJ (Jouppi 2021).
MEMORY_PJ_PER_BIT = {
    "HBM2": 5.5, "HBM2e": 5.0, "HBM3": 4.5, "HBM3e": 4.2, "GDDR6": 6.5, "GDDR6X": 6.3, "GDDR7": 5.5,
    "LPDDR5": 8.0, "DDR5": 20.0,
}  # fmt: skip
# A stack's PHY spans its 6 mm edge, about 2 mm deep, and a controller beside it; die shots of GP100, GA100 (C).
# GDDR: 64 bits about 8 mm2 in Navi 10's die shot, 56-64 GB/s (C), GDDR6X at 20 Gb/s a pin for 15 (C); DDR the like (C).
MEMORY_MM2_PER_STACK = {"HBM2": 14.0, "HBM2e": 14.0, "HBM3": 16.0, "HBM3e": 16.0}
MEMORY_MM2_PER_GB_S = {"GDDR6": 0.14, "GDDR6X": 0.105, "GDDR7": 0.08, "LPDDR5": 0.3, "DDR5": 0.3}
# About the fastest as sold, for the number of stacks: HBM2e A100 80 GB, 2039 GB/s of 5; HBM3 H100, 3350 of 5; HBM3e
# B200, 8000 of 8 (devices/*.toml; B); HBM2 2.4 Gb/s a pin, from memory (C).
STACK_BYTES_PER_S = {"HBM2": 300e9, "HBM2e": 420e9, "HBM3": 670e9, "HBM3e": 1000e9}
LINK_MM2_PER_GB_S = 0.04  # one way; a lane of 112 Gb/s is about 0.5 mm2 (ISSCC papers; C)
LINK_PJ_PER_BIT = 6.0  # long reach, each way (ISSCC papers on 56-112 Gb/s; C)
HOST_MM2, HOST_W = 12.0, 5.0  # PCIe x16, PLLs, fuses, management; and on the board (C)

LAYOUT = 2.1  # placed and routed area over cell area of a 16 x 16 array: Gemmini, 22 nm
LAYOUT_GROWTH = 0.306  # power of side / 16: TPU v4i's 128 x 128, TPU v1's 256 x 256 (docs/model-chips.md)
SRAM_LAYOUT_256K, SRAM_LAYOUT_GROWTH = 2.82, 0.1155  # macro over bit cells: Gemmini 256 KB, TPU v4i 128 MiB
TWO_PORTS = 1.35  # an 8-transistor cell over a 6-transistor one (C)
SPECIAL_FUNCTIONS = 1.3  # a vector lane's exp, rsqrt, conversions over its multiply-add (C)
CORE_CONTROL_UM2_45 = 211_000.0  # Gemmini's controllers: 0.052 mm2 at 22 nm (Genc et al., DAC 2021)
FP64_LANE = 3.0  # of an fp32 lane: its multiplier is (53 / 24)^2 times as large, adder and registers twice (C)
CLOCK_SHARE = 0.10  # of the power of logic (C)


def technology(node_nm: float) -> Technology:
    """Return a process node; BadInput for one that the table does not have."""
    if node_nm not in _NODES:
        raise BadInput(f"technology node {node_nm:g} nm: expected one of {', '.join(f'{node:g}' for node in NODES)} nm")
    names = (
        "logic_scale", "bitcell_um2", "energy_step", "leakage_w_per_mm2",
        "wafer_usd", "defects_per_cm2", "fab_kwh_per_cm2", "gas_g_per_cm2",
    )  # fmt: skip
    return Technology(node_nm=node_nm, **dict(zip(names, map(float, _NODES[node_nm]), strict=True)))


def between(pj_45: float | Floats, pj_7: float | Floats, tech: Technology) -> Floats:
    """Return an energy (pJ) at a node from its published values at 45 and 7 nm: a power of the node between them.

    Below 7 nm the value of 7 nm is scaled by the foundry's claimed saving.
    """
    return np.asarray(pj_45 * (np.asarray(pj_7) / pj_45) ** _share(tech.node_nm) * tech.energy_step)


@lru_cache
def _share(node_nm: float) -> float:
    """Return how far a node is from 45 to 7 nm, by its logarithm."""
    return float(max(0.0, np.log(45.0 / max(node_nm, 7.0)) / np.log(45.0 / 7.0)))


@lru_cache
def one_between(pj_45: float, pj_7: float, tech: Technology) -> float:
    """Return `between` of one energy."""
    return float(between(pj_45, pj_7, tech))


def sram_pj_per_byte(size_bytes: Floats, tech: Technology) -> Floats:
    """Return energy of a byte read or written in an SRAM of this size, at most a bank, without wires to it."""
    size = np.log(np.clip(size_bytes, _SRAM_BYTES[0], BANK_BYTES))
    old = np.exp(np.interp(size, _SRAM_LOGS, _SRAM_45_LOGS))
    new = np.exp(np.interp(size, _SRAM_LOGS, _SRAM_7_LOGS))
    return between(old, new, tech) / 8.0


@lru_cache
def mac_pj(dtype: str, tech: Technology) -> float:
    """Return energy of a multiply-accumulate: a product of this type, a sum in fp32 (int32 for int8)."""
    multiply = between(MULTIPLY_45_PJ[dtype], MULTIPLY_7_PJ[dtype], tech)
    add = "int32" if dtype == "int8" else "fp32"
    return float(multiply + between(ADD_45_PJ[add], ADD_7_PJ[add], tech))
