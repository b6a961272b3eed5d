"""Efficiencies of training steps by GPU, fitted on the calibration split of validation/training only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hardplace.cost.gpu.price import Efficiencies
from hardplace.files import read

_FILE = Path(__file__).parent / "data" / "training.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedEfficiencies:
    """What benchmarks/fit_training.py found, by GPU: figures and how many rows they were fitted on."""

    method: str
    figures: Mapping[str, Efficiencies]
    rows: Mapping[str, int]


@cache
def fitted() -> FittedEfficiencies:
    """Return the fitted efficiencies that ship with the package."""
    return read(_FILE, FittedEfficiencies)


def efficiencies(gpu: str) -> Efficiencies:
    """Return a GPU's fitted efficiencies; for a GPU without, those of kernels alone."""
    return fitted().figures.get(gpu, Efficiencies())
