"""The best MFU that anyone published on a device, by precision (docs/model-training.md, section 6)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hardplace.files import read
from hardplace.plans.efficiencies import fitted, nearest
from hardplace.plans.plan import Format

BEST_FILE = Path(__file__).parent / "data" / "best_mfu.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class BestRun:
    """The published run with the most MFU on a device in a precision (16-bit formats as bf16): its row in
    validation/training; kind: the device's generation (`efficiencies.generation`); sources: how many
    have runs there that count."""

    device: str
    kind: str
    precision: str
    mfu: float
    run: str
    sources: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BestRuns:
    """What `benchmarks/catalogue_mfu.py --published` wrote."""

    method: str
    rows: tuple[BestRun, ...]


@cache
def best_runs() -> dict[tuple[str, str], BestRun]:
    """Return the best published run by device and precision."""
    return {(one.device, one.precision): one for one in read(BEST_FILE, BestRuns).rows}


def best_run(device: str, precision: Format) -> BestRun | None:
    """Return the best published run on a device in a precision, None where nobody published one."""
    return best_runs().get((device, _named(precision)))


def nearest_best_run(kind: str, precision: Format) -> BestRun | None:
    """Return the best published run on the fitted generation nearest to one, None where nobody published one."""
    near = nearest(kind, fitted())
    rows = (one for one in best_runs().values() if (one.kind, one.precision) == (near, _named(precision)))
    return max(rows, key=lambda one: one.mfu, default=None)


def _named(precision: Format) -> str:
    return str(Format.BF16 if precision is Format.FP16 else precision)
