"""Fit and score collectives against measured ones: one JSON line a machine, operation and set of rows.

python benchmarks/collectives.py [FILE...]

Per machine five numbers are fitted (launch, latency of a step, share of the bandwidth, fill of the pipeline, share of
the in-network reduction) on the all-reduces named in its `fit`; all other rows are scored with them. Error:
|predicted / measured - 1|. Peaks and topologies are the vendors' (validation/collectives/README.md).
"""

from __future__ import annotations

import csv
import itertools
import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hardplace.cost.collectives import collective_s
from hardplace.cost.types import Calibration, Collective
from hardplace.hardware.types import Cluster, NetworkLevel

MEASURED = sorted((Path(__file__).parent.parent / "validation/collectives").glob("*.csv"))
# AWS P6-B200, 400 Gb/s a device; NCCL reaches 0.95 to 0.96 of the rails of a DGX A100 and H100 (GTC25 S72583), 14 us a
# step between nodes (NCCL's tuning tables).
RAILS = NetworkLevel(name="rails", devices=1024, bandwidth_bytes_per_s=50e9, latency_s=14e-6, efficiency=0.95)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement."""

    source: str
    device: str
    collective: Collective
    devices: int
    volume_bytes: float
    seconds: float
    rings_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A node as the vendor has it, which devices are in such nodes, and which rows its numbers are fitted on."""

    devices: tuple[str, ...]
    level: NetworkLevel
    fit: Callable[[Row], bool]


def _level(gigabytes: float, devices: int = 8, *, meshed: bool = False, in_network: float = 0.0) -> NetworkLevel:
    return NetworkLevel(
        name="links",
        devices=devices,
        bandwidth_bytes_per_s=gigabytes * 1e9,
        latency_s=1e-6,
        meshed=meshed,
        in_network=in_network,
    )


def _alternate(row: Row) -> bool:
    """Return whether a size is an even power of two: half of the rows of a machine that one source measured."""
    return round(math.log2(row.volume_bytes)) % 2 == 0


MACHINES = {
    "V100 (hybrid cube mesh)": Machine(
        devices=("V100-32GB",), level=_level(150, meshed=True), fit=lambda row: row.devices in (2, 4, 8)
    ),
    "A100 (NVSwitch)": Machine(devices=("A100-80GB",), level=_level(300), fit=lambda row: "vTrain" in row.source),
    "H100, H200 (NVSwitch)": Machine(
        devices=("H100-80GB", "H200"),
        level=_level(450, in_network=0.85),
        fit=lambda row: (row.device == "H100-80GB" and "Azure" in row.source) or (row.rings_only and row.devices == 8),
    ),
    "B200 (NVSwitch)": Machine(
        devices=("B200",),
        level=_level(900, in_network=0.85),
        fit=lambda row: row.devices == 8 and (row.rings_only or _alternate(row)),
    ),
    "GB200 (NVSwitch)": Machine(devices=("GB200",), level=_level(900), fit=_alternate),
    "MI300X (mesh)": Machine(
        devices=("MI300X",), level=_level(448, meshed=True), fit=lambda row: "Azure" in row.source
    ),
    "MI250X (16 dies, xGMI)": Machine(
        devices=("MI200-GCD",), level=_level(300, 16), fit=lambda row: row.devices in (2, 8)
    ),
}


def rows(paths: list[Path]) -> dict[str, list[Row]]:
    """Return what can be scored, by machine: a size, a time, known hardware, not a fit."""
    found: dict[str, list[Row]] = {name: [] for name in MACHINES}
    home = {device: name for name, machine in MACHINES.items() for device in machine.devices}
    for row in (row for path in paths for row in csv.DictReader(path.read_text().splitlines())):
        known = row["device"] in home and not row["flag"] and row["size_bytes"] and row["time_us"]
        if known and row["devices"].isdigit() and int(row["devices"]) > 1:
            found[home[row["device"]]].append(
                Row(
                    source=row["source"],
                    device=row["device"],
                    collective=Collective(row["op"]),
                    devices=int(row["devices"]),
                    volume_bytes=float(row["size_bytes"]),
                    seconds=float(row["time_us"]) * 1e-6,
                    rings_only=row["algo"].lower().startswith("ring"),
                )
            )
    return found


def predicted_s(row: Row, level: NetworkLevel, calibration: Calibration) -> float:
    """Return the model's seconds of a row."""
    inner = replace(level, in_network=0.0) if row.rings_only else level
    levels = (inner,) if row.devices <= level.devices else (inner, RAILS)
    cluster = Cluster(devices=row.devices, levels=levels)
    return collective_s(cluster, row.collective, row.devices, 1, row.volume_bytes, calibration)


def _loss(chosen: list[Row], level: NetworkLevel, calibration: Calibration) -> float:
    return float(np.mean([abs(math.log(predicted_s(row, level, calibration) / row.seconds)) for row in chosen]))


def fit(chosen: list[Row], level: NetworkLevel) -> tuple[NetworkLevel, Calibration]:
    """Return the level and the calibration with the least mean |log ratio|, by coordinate search on shrinking steps."""
    values = {"launch": 1e-5, "step": 1e-6, "efficiency": 0.8, "fill": 1e-5, "network": level.in_network}
    names = [name for name, value in values.items() if value > 0.0]

    def made(trial: dict[str, float]) -> tuple[NetworkLevel, Calibration]:
        network, share = min(1.0, trial["network"]), min(1.0, trial["efficiency"])
        changed = replace(level, latency_s=trial["step"], in_network=network, efficiency=share)
        return changed, Calibration(launch_s=trial["launch"], fill_s=trial["fill"])

    best = _loss(chosen, *made(values))
    for factor in (2.0, 1.4, 1.15, 1.05, 1.02):
        for _, name in itertools.product(range(3), names):
            for change in (factor, 1.0 / factor):
                trial = values | {name: values[name] * change}
                loss = _loss(chosen, *made(trial))
                while loss < best:
                    values, best = trial, loss
                    trial = values | {name: values[name] * change}
                    loss = _loss(chosen, *made(trial))
    return made(values)


def _errors(some: list[Row], level: NetworkLevel, calibration: Calibration) -> dict[str, float]:
    """Return counts and errors of rows, those of 64 MiB or more also apart."""
    ratios = np.array([predicted_s(row, level, calibration) / row.seconds for row in some])
    away, large = np.abs(ratios - 1.0), np.array([row.volume_bytes >= 2**26 for row in some])
    found = {
        "count": len(some),
        "median_error": float(np.median(away)),
        "p90_error": float(np.quantile(away, 0.9)),
        "worst_ratio": float(ratios[np.argmax(np.abs(np.log(ratios)))]),
    }
    return found | ({"median_error_64MiB_up": float(np.median(away[large]))} if large.any() else {})


def _print(**fields: object) -> None:
    print(json.dumps({key: round(value, 3) if isinstance(value, float) else value for key, value in fields.items()}))


def main() -> None:
    for name, some in rows([Path(one) for one in sys.argv[1:]] or MEASURED).items():
        machine = MACHINES[name]
        groups: dict[tuple[str, int, str], list[Row]] = {}
        for row in some:
            fitted = row.collective is Collective.ALL_REDUCE and machine.fit(row)
            nodes = math.ceil(row.devices / machine.level.devices)
            groups.setdefault((str(row.collective), nodes, "fitted" if fitted else "held out"), []).append(row)
        level, calibration = fit(groups["all_reduce", 1, "fitted"], machine.level)
        _print(
            machine=name,
            launch_us=calibration.launch_s * 1e6,
            step_us=level.latency_s * 1e6,
            efficiency=level.efficiency,
            fill_us=calibration.fill_s * 1e6,
            in_network=level.in_network,
        )
        for (collective, nodes, use), members in sorted(groups.items()):
            fields = _errors(members, level, calibration)
            _print(machine=name, collective=collective, nodes=nodes, rows=use, **fields)


if __name__ == "__main__":
    main()
