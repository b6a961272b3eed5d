"""How sure a prediction is: 80 % intervals from runs of whole sources that no fit has seen (docs/model-training.md,
section 7)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hardplace.files import read
from hardplace.plans.anchors import Anchor

_FILE = Path(__file__).parent / "data" / "intervals.json"
LONG_CONTEXT = 16384  # tokens from which attention rules a step
MIXTURE, LONG, KNOWN, SOFTWARE, DEVICE = (
    "a mixture of experts",
    "a long context",
    "software and device with published runs together",
    "software or pair with no published run",
    "a device with no published run",
)
# Classes of the memory of a stage; the memory of software in quotes was published.
MEMORY_KNOWN, MEMORY_MIXTURE, MEMORY_SHARDED, MEMORY_OTHER, MEMORY_DEVICE = (
    "software whose memory was published, no ZeRO-3",
    "a mixture of experts",
    "weights sharded (ZeRO-3)",
    "software, or none named, whose memory nobody published",
    "a device other than NVIDIA's with HBM since Ampere",
)
_AMPERE = 2048.0  # tensor FLOPs a clock of a multiprocessor


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Errors of one class of runs: half the width of the 80 % interval as a logarithm; rows and sources that it is
    from; coverage: share of the runs inside, of sources whose own errors were left out of the width, sources counting
    alike."""

    half: float
    rows: int
    sources: int
    coverage: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Spreads:
    """What `benchmarks/fit_training.py` measured of step times by class and of the ratio of two runs of one source, and
    `benchmarks/memory_spread.py` of the memory of the fullest stage by class, with the software whose memory was
    published (half widths as logarithms)."""

    method: str
    step: Mapping[str, Spread]
    memory: Mapping[str, Spread]
    memory_software: tuple[str, ...]
    pairs: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An 80 % interval of a step's seconds; kind: the class of runs whose errors it is from; memory: half the width of
    the memory's, as a logarithm; memory_kind: its class."""

    low_s: float
    high_s: float
    kind: str
    memory: float
    memory_kind: str

    def tokens_per_s(self, tokens: float) -> tuple[float, float]:
        """Return the interval of tokens a second; tokens: of a step."""
        return tokens / self.high_s, tokens / self.low_s


@cache
def spreads() -> Spreads:
    """Return the spreads that ship with the package."""
    return read(_FILE, Spreads)


def kind_of(*, experts: bool, sequence: int, fitted_device: bool, together: bool) -> str:
    """Return the class of a run; together: published runs of its device and software were fitted."""
    if not fitted_device:
        return DEVICE
    if experts:
        return MIXTURE
    if sequence >= LONG_CONTEXT:
        return LONG
    return KNOWN if together else SOFTWARE


def is_usual_device(generation: str) -> bool:
    """Return whether a generation of devices (`efficiencies.generation`) is NVIDIA's with HBM since Ampere, whose
    memory most sources published; boards of theirs with GDDR have half of the tensor rate or less."""
    vendor, flops, *_ = generation.split("-")
    return vendor == "nvidia" and float(flops) >= _AMPERE


def memory_kind_of(*, experts: bool, sharded: bool, software: str, generation: str) -> str:
    """Return the class of a run's memory: of those that it belongs to the widest; sharded: weights by ZeRO-3;
    generation: of its device (`efficiencies.generation`)."""
    found = spreads()
    kinds = [MEMORY_KNOWN if software in found.memory_software else MEMORY_OTHER]
    kinds += [MEMORY_MIXTURE] * experts + [MEMORY_SHARDED] * sharded
    kinds += [MEMORY_DEVICE] * (not is_usual_device(generation))
    return max((kind for kind in kinds if kind in found.memory), key=lambda kind: found.memory[kind].half)


def interval_of(step_s: float, kind: str, memory_kind: str, anchor: Anchor | None = None) -> Interval:
    """Return the interval of a step of a class, and of its memory; anchor: what runs of one's own system leave of it,
    no narrower than the class's where they are of other classes."""
    found = spreads()
    half, memory = found.step[kind].half, found.memory[memory_kind].half
    if anchor is not None:
        half = anchor.half if not anchor.kinds or kind in anchor.kinds else max(half, anchor.half)
        memory = min(memory, anchor.memory_half) if anchor.memory_half else memory
    factor = math.exp(half)
    low_s, high_s = step_s / factor, step_s * factor
    return Interval(low_s=low_s, high_s=high_s, kind=kind, memory=memory, memory_kind=memory_kind)
