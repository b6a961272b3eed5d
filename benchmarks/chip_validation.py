"""Print the tables of docs/validation.md: blocks, dies, TDPs and voltages, modelled against published, misses included.

python benchmarks/chip_validation.py
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from published_chips import VALIDATION, PublishedChip, published_chips

from hardplace.hardware.bill import bill
from hardplace.hardware.blocks import array_mm2, sram_mm2
from hardplace.hardware.blueprint import of_device, volts_at
from hardplace.hardware.technology import technology

BLOCK_TARGET, DIE_TARGET, POWER_TARGET = 0.25, 0.25, 0.30


def blocks() -> Iterator[tuple[dict[str, Any], float]]:
    """Yield each published block and the model's area, mm2."""
    for row in tomllib.loads((VALIDATION / "chips.toml").read_text())["block"]:
        tech = technology(row["node_nm"])
        if "array" in row:
            yield row, float(array_mm2(row["array"][0], row["array"][1], row["dtype"], tech))
        else:
            yield row, float(sram_mm2(row["sram_bytes"], tech, row.get("ports", 1)))


def predictions(kind: str) -> dict[str, float]:
    """Return what each chip is predicted to be by a fit that has not seen its die (benchmarks/fit_chips.py)."""
    with (VALIDATION / "chips_left_out.csv").open() as file:
        return {row["name"]: float(row["predicted"]) for row in csv.DictReader(file) if row["kind"] == kind}


def verdict(off: float, target: float) -> str:
    """Return whether a deviation is within a target."""
    return "yes" if abs(off) <= target else "**no**"


def block_table() -> str:
    """Return the table of areas by block."""
    lines = [
        f"| Chip | Block | Node | Published, mm² | Model, mm² | Off | Within {BLOCK_TARGET:.0%} | Set on it |",
        "|---|---|---:|---:|---:|---:|---|---|",
    ]
    for row, model in blocks():
        off = model / row["mm2"] - 1
        fitted = "yes" if row["calibrates"] else "no"
        lines.append(
            f"| {row['chip']} | {row['name']} | {row['node_nm']} nm | {row['mm2']:.4g} | {model:.3g} | {off:+.0%} "
            f"| {verdict(off, BLOCK_TARGET)} | {fitted} |"
        )
    return "\n".join(lines)


def die_table(chips: Sequence[PublishedChip]) -> str:
    """Return the table of dies, each predicted without it, and its summary."""
    found = predictions("die_mm2")
    lines = [
        f"| Die of | Kind | Node | Published, mm² | Trust | Left out, mm² | Off | Within {DIE_TARGET:.0%} |",
        "|---|---|---:|---:|---|---:|---:|---|",
    ]
    offs: dict[str, list[float]] = {}
    for chip in chips:
        if chip.device.name not in found or chip.die_mm2 is None:
            continue
        model = found[chip.device.name]
        off = model / chip.die_mm2 - 1
        offs.setdefault(chip.family, []).append(off)
        lines.append(
            f"| {chip.device.name} | {chip.family} | {chip.device.node_nm:g} nm | {chip.die_mm2:.0f} "
            f"| {chip.die_trust} | {model:.0f} | {off:+.0%} | {verdict(off, DIE_TARGET)} |"
        )
    return "\n".join([*lines, "", summary(offs, DIE_TARGET)])


def tdp_table(chips: Sequence[PublishedChip]) -> str:
    """Return the table of TDPs that are no caps, each predicted without its die, and its summary."""
    found = predictions("tdp_w")
    lines = [
        f"| Chip | Kind | TDP, W | Trust | Left out, W | Off | Within {POWER_TARGET:.0%} |",
        "|---|---|---:|---|---:|---:|---|",
    ]
    offs: dict[str, list[float]] = {}
    for chip in chips:
        if chip.device.name not in found or chip.tdp_w is None:
            continue
        model = found[chip.device.name]
        off = model / chip.tdp_w - 1
        offs.setdefault(chip.family, []).append(off)
        drawn = " (drawn)" if chip.drawn else ""
        lines.append(
            f"| {chip.device.name} | {chip.family} | {chip.tdp_w:.0f}{drawn} | {chip.tdp_trust} | {model:.0f} "
            f"| {off:+.0%} | {verdict(off, POWER_TARGET)} |"
        )
    return "\n".join([*lines, "", summary(offs, POWER_TARGET)])


def summary(offs: dict[str, list[float]], target: float) -> str:
    """Return mean and worst deviation by kind and of all."""
    parts = []
    for name, of in (*offs.items(), ("all", [off for part in offs.values() for off in part])):
        size = np.abs(of)
        beyond = int((size > target).sum())
        parts.append(
            f"{name}: {len(size)}, mean {size.mean():.1%}, worst {size.max():.0%}, {beyond} beyond {target:.0%}"
        )
    return "; ".join(parts) + "."


def sustained(chip: PublishedChip) -> float:
    """Return the share of its clock at which a chip draws its TDP at full activity; 1: at most that."""
    plan, tech = of_device(chip.device), technology(chip.device.node_nm)
    power = bill(plan, tech).power_w
    fixed = ("memory and its interface", "links", "host and management")
    rest = sum(float(power[name][0]) for name in fixed)
    leakage = float(power["leakage"][0])
    logic = sum(float(value[0]) for name, value in power.items() if name not in (*fixed, "leakage"))
    shares = np.linspace(0.2, 1.0, 801)
    volts = volts_at(shares)
    drawn = rest + leakage * volts + logic * shares * volts**2
    within = shares[drawn <= (chip.tdp_w or 0.0)]
    return float(within.max()) if len(within) else float(shares[0])


def cap_table(chips: Sequence[PublishedChip]) -> str:
    """Return the table of products whose TDP is a cap: what they would draw, and the clock that the cap leaves."""
    lines = [
        "| Chip | TDP, W | At its clock, W | Clock under the cap |",
        "|---|---:|---:|---:|",
    ]
    for chip in chips:
        if chip.capped and chip.tdp_w is not None:
            watts = float(bill(of_device(chip.device), technology(chip.device.node_nm)).tdp_w[0])
            lines.append(f"| {chip.device.name} | {chip.tdp_w:.0f} | {watts:.0f} | {sustained(chip):.0%} |")
    return "\n".join(lines)


def voltages() -> list[tuple[str, str, float, float, float]]:
    """Return chip, node, clock and voltage relative to the nominal ones, and the curve's voltage, of each anchor.

    The nominal clock of a chip is where its published curve, linear between its anchors, has the nominal voltage.
    """
    with (VALIDATION / "voltages.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = []
    for chip in dict.fromkeys(row["chip"] for row in rows):
        own = [row for row in rows if row["chip"] == chip]
        mv, mhz = ([float(row[field]) for row in own] for field in ("mv", "clock_mhz"))
        nominal_mv = float(own[0]["nominal_mv"])
        nominal_mhz = float(np.interp(nominal_mv, mv, mhz))
        for clock, volt in zip(mhz, mv, strict=True):
            share = clock / nominal_mhz
            found.append((chip, own[0]["node_nm"], share, volt / nominal_mv, float(volts_at(share))))
    return found


def voltage_table() -> str:
    """Return the table of published voltages against the curve."""
    lines = ["| Chip | Node | Clock | Voltage | Curve | Off |", "|---|---:|---:|---:|---:|---:|"]
    lines += [
        f"| {chip} | {node} nm | {clock:.2f} | {volt:.2f} | {model:.2f} | {model / volt - 1:+.0%} |"
        for chip, node, clock, volt, model in voltages()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    every = published_chips()
    for table in (block_table(), die_table(every), tdp_table(every), cap_table(every), voltage_table()):
        print(table)
        print()
