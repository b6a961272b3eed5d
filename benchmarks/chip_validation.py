"""Print the tables of docs/validation.md: areas by block and TDPs, modelled against published, misses included.

python benchmarks/chip_validation.py
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hardplace.hardware.bill import bill
from hardplace.hardware.blocks import array_mm2, sram_mm2
from hardplace.hardware.blueprint import of_device
from hardplace.hardware.catalogue import device, device_names
from hardplace.hardware.technology import technology

DATA = Path(__file__).parents[1] / "validation" / "chips.toml"
AREA_TARGET, POWER_TARGET = 0.25, 0.30
TARGETS = ("tpu-v4", "a100-80gb-sxm", "h100-sxm")  # whose TDP is to be within the target


def blocks() -> Iterator[tuple[dict[str, Any], float]]:
    """Yield each published block and the model's area, mm2."""
    for row in tomllib.loads(DATA.read_text())["block"]:
        tech = technology(row["node_nm"])
        if "array" in row:
            yield row, float(array_mm2(row["array"][0], row["array"][1], row["dtype"], tech))
        else:
            yield row, float(sram_mm2(row["sram_bytes"], tech, row.get("ports", 1)))


def devices() -> Iterator[tuple[str, float, float, float | None, float | None]]:
    """Yield name, modelled die and TDP, published die and TDP (None if not published)."""
    for name in device_names():
        one = device(name)
        found = bill(of_device(one), technology(one.node_nm))
        yield name, float(found.die_mm2[0]), float(found.tdp_w[0]), one.die_area_mm2, one.tdp_w


def verdict(off: float, target: float) -> str:
    """Return whether a deviation is within a target."""
    return "yes" if abs(off) <= target else "**no**"


def area_table() -> str:
    """Return the table of areas by block."""
    lines = [
        f"| Chip | Block | Node | Published, mm² | Model, mm² | Off | Within {AREA_TARGET:.0%} | Set on it |",
        "|---|---|---:|---:|---:|---:|---|---|",
    ]
    for row, model in blocks():
        off = model / row["mm2"] - 1
        fitted = "yes" if row["calibrates"] else "no"
        lines.append(
            f"| {row['chip']} | {row['name']} | {row['node_nm']} nm | {row['mm2']:.4g} | {model:.3g} | {off:+.0%} "
            f"| {verdict(off, AREA_TARGET)} | {fitted} |"
        )
    return "\n".join(lines)


def power_table() -> str:
    """Return the table of TDPs and dies."""
    lines = [
        f"| Device | TDP, W | Model, W | Off | Within {POWER_TARGET:.0%} | Die, mm² | Model, mm² | Off |",
        "|---|---:|---:|---:|---|---:|---:|---:|",
    ]
    for name, die, power, real_die, real_power in devices():
        off = "" if real_power is None else f"{power / real_power - 1:+.0%}"
        fits = "" if real_power is None else verdict(power / real_power - 1, POWER_TARGET)
        die_off = "" if real_die is None else f"{die / real_die - 1:+.0%}"
        shown = f"**{name}**" if name in TARGETS else name
        published = "" if real_die is None else f"{real_die:.0f}"
        tdp = "" if real_power is None else f"{real_power:.0f}"
        lines.append(f"| {shown} | {tdp} | {power:.0f} | {off} | {fits} | {published} | {die:.0f} | {die_off} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(area_table())
    print()
    print(power_table())
