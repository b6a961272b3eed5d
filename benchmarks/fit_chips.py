"""Fit the constants of hardware/remainder.py on published dies and TDPs, and predict each with its die left out.

python benchmarks/fit_chips.py [--write]

Prints the constants and spreads; --write also writes validation/chips_left_out.csv, which chip_validation.py prints.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from published_chips import VALIDATION, PublishedChip, published_chips

from hardplace.cost.gpu.fitting.optimise import fit
from hardplace.hardware.bill import Activity, areas, bill
from hardplace.hardware.blueprint import of_device
from hardplace.hardware.remainder import FITTED, Remainder
from hardplace.hardware.technology import technology
from hardplace.ndtypes import Floats

RANGES = {
    "interface": (0.0, 6.0),
    "array_fixed_mm2": (12.0, 300.0),
    "multiprocessor_um2_45": (0.0, 150e6),
    "early_multiprocessor_um2_45": (0.0, 100e6),
    "gpu_fixed_mm2": (12.0, 150.0),
    "matrix_activity": (0.0, 1.0),
    "vector_activity": (0.0, 1.0),
    "clock_w_per_mm2_ghz": (0.0, 0.5),
}
GPU = ("multiprocessor_um2_45", "early_multiprocessor_um2_45", "gpu_fixed_mm2")
ARRAY = ("interface", "array_fixed_mm2")
POWER = ("matrix_activity", "vector_activity", "clock_w_per_mm2_ghz")


@dataclass(frozen=True, slots=True)
class _Linear:
    """What is predicted, as it is linear in the constants: base + slopes @ constants."""

    names: tuple[str, ...]
    base: Floats
    slopes: Floats
    published: Floats
    dies: tuple[str, ...]

    def predicted(self, constants: dict[str, float]) -> Floats:
        return np.asarray(self.base + self.slopes @ np.array([constants[name] for name in self.names]))

    def fitted(self, left_out: str = "") -> dict[str, float]:
        """Return the constants that fit all dies but one; each die counts once, whatever the number of its products."""
        count = {die: self.dies.count(die) for die in self.dies}
        kept = np.array([die != left_out for die in self.dies])
        weight = np.array([1.0 / count[die] for die in self.dies])[kept]

        def predict(constants: dict[str, float]) -> Floats:
            return np.asarray(self.predicted(constants)[kept])

        start = {name: float(getattr(FITTED, name)) for name in self.names}
        return fit(predict, start, {name: RANGES[name] for name in self.names}, self.published[kept], weight)


def _die_mm2(chip: PublishedChip, remainder: Remainder) -> float:
    plan, tech = of_device(chip.device), technology(chip.device.node_nm)
    return float(np.asarray(sum(areas(plan, tech, remainder).values()))[0])


def _tdp_w(chip: PublishedChip, remainder: Remainder) -> float:
    activity = Activity(matrix=remainder.matrix_activity, vector=remainder.vector_activity)
    plan, tech = of_device(chip.device), technology(chip.device.node_nm)
    return float(bill(plan, tech, activity, remainder).tdp_w[0])


def _linear(chips: Sequence[PublishedChip], names: tuple[str, ...], power: bool, at: Remainder) -> _Linear:
    price = _tdp_w if power else _die_mm2
    least = {name: RANGES[name][0] for name in names}
    base = np.array([price(chip, replace(at, **least)) for chip in chips])
    slopes = np.empty((len(chips), len(names)))
    for column, name in enumerate(names):
        low, high = RANGES[name]
        most = np.array([price(chip, replace(at, **(least | {name: high}))) for chip in chips])
        slopes[:, column] = (most - base) / (high - low)
    base = base - slopes @ np.array(list(least.values()))
    published = np.array([(chip.tdp_w if power else chip.die_mm2) or 0.0 for chip in chips])
    return _Linear(names, base, slopes, published, tuple(chip.die for chip in chips))


def _dies(chips: Iterable[PublishedChip]) -> list[PublishedChip]:
    """Return one product a die, the one with most units."""
    found: dict[str, PublishedChip] = {}
    for chip in chips:
        if chip.die_mm2 is not None and (chip.die not in found or chip.die_mm2 < (found[chip.die].die_mm2 or 0.0)):
            found[chip.die] = chip
    return list(found.values())


def problems(chips: Sequence[PublishedChip]) -> dict[str, tuple[list[PublishedChip], tuple[str, ...], bool]]:
    """Return what is fitted, by name: chips, constants, whether it is power."""
    return {
        "gpu": ([chip for chip in _dies(chips) if chip.gpu], GPU, False),
        "array": ([chip for chip in _dies(chips) if not chip.gpu], ARRAY, False),
        "power": ([chip for chip in chips if chip.tdp_w is not None and not chip.capped], POWER, True),
    }


def constants(chips: Sequence[PublishedChip]) -> Remainder:
    """Return the constants that fit all published dies and the TDPs that are no caps."""
    found = FITTED
    for these, names, power in problems(chips).values():
        found = replace(found, **_linear(these, names, power, found).fitted())
    return found


def left_out(chips: Sequence[PublishedChip], at: Remainder) -> list[dict[str, object]]:
    """Return what each chip is predicted to be by fits without its die: name, kind, published, predicted."""
    found: list[dict[str, object]] = []
    for these, names, power in problems(chips).values():
        linear = _linear(these, names, power, at)
        for die in dict.fromkeys(linear.dies):
            predicted = linear.predicted(linear.fitted(die))
            for index, chip in enumerate(these):
                if chip.die == die:
                    found.append(
                        {"name": chip.device.name, "family": chip.family, "kind": "tdp_w" if power else "die_mm2",
                         "published": f"{linear.published[index]:g}", "predicted": f"{predicted[index]:.1f}"}
                    )  # fmt: skip
    return found


def spreads(rows: Iterable[dict[str, object]]) -> dict[tuple[str, str], tuple[float, float]]:
    """Return tenth and ninetieth percentile of published / predicted, by kind and family."""
    ratios: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        ratio = float(str(row["published"])) / float(str(row["predicted"]))
        ratios.setdefault((str(row["kind"]), str(row["family"])), []).append(ratio)
    return {key: (float(np.quantile(of, 0.1)), float(np.quantile(of, 0.9))) for key, of in ratios.items()}


if __name__ == "__main__":
    every = published_chips()
    fitted = constants(every)
    for name in (*ARRAY, *GPU, *POWER):
        print(f"{name} = {getattr(fitted, name):.4g}")
    out = left_out(every, fitted)
    for (kind, family), (low, high) in spreads(out).items():
        print(f"{kind} {family}: {low:.2f} to {high:.2f}")
    if "--write" in sys.argv:
        with (VALIDATION / "chips_left_out.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(out[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(out)
    for row in out:
        off = float(str(row["predicted"])) / float(str(row["published"])) - 1
        print(
            f"{row['kind']:8} {row['family']:6} {row['name']:16} {row['published']:>6} {row['predicted']:>8} {off:+.0%}"
        )
