"""One's own system, measured: what a few of its steps say of all others (docs/model-training.md, section 8)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from hardplace.errors import unknown

VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """A figure of a step (`plans.efficiencies.FIGURES`) over the shipped one."""

    figure: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorRun:
    """A measured step of an anchor: its name, seconds that were measured, predicted without the anchor and with it."""

    name: str
    measured_s: float
    predicted_s: float
    anchored_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """What `anchor` learned of a system.

    Attributes:
        version: Version of this record.
        device: Device of its runs.
        software: Their software; "": none named.
        runs: Number of its runs; repeats of one count once.
        factors: Figures over the shipped ones.
        half: Half the width of the 80 % interval that is left, as a logarithm.
        kinds: Classes of its runs (`plans.intervals`); of others the interval is no narrower than without it; (): all.
        next_run: Which run would tell most.
        memory: Measured memory over predicted, without the reserve.
        memory_half: Half the width of the 80 % interval of the memory that is left, as a logarithm; 0: none measured.
        measured: The runs.
    """

    version: int
    device: str
    software: str
    runs: int
    factors: tuple[Factor, ...]
    half: float
    kinds: tuple[str, ...] = ()
    next_run: str = ""
    memory: float = 1.0
    memory_half: float = 0.0
    measured: tuple[AnchorRun, ...] = ()

    def times(self, figure: str) -> float:
        """Return the factor of a figure; 1 where nothing was learned of it."""
        return next((one.value for one in self.factors if one.figure == figure), 1.0)


_FARTHEST = 20.0  # factor of a figure, beyond which a file is no anchor of a system that exists
_WIDEST = 3.0  # half width, as a logarithm


def anchor_problems(anchor: Anchor, figures: Collection[str]) -> Iterator[str]:
    """Yield what is wrong with an anchor by itself; figures: names that its factors may have."""
    if anchor.version != VERSION:
        yield f"version: {anchor.version}: expected {VERSION}: anchor the runs again"
        return
    for one in anchor.factors:
        if one.figure not in figures:
            yield f"factors: {unknown('figure', one.figure, tuple(figures))}"
        elif not 1.0 / _FARTHEST <= one.value <= _FARTHEST:
            yield f"factors: {one.figure}: {one.value:g}: expected {1.0 / _FARTHEST:g} to {_FARTHEST:g}"
    if len({one.figure for one in anchor.factors}) < len(anchor.factors):
        yield "factors: a figure is there twice: expected each once"
    if not 0.0 < anchor.half <= _WIDEST:
        yield f"half: {anchor.half:g}: expected above 0, to {_WIDEST:g}"
    if not 0.0 <= anchor.memory_half <= _WIDEST:
        yield f"memory_half: {anchor.memory_half:g}: expected 0 to {_WIDEST:g}"
    if not 0.5 <= anchor.memory <= 2.0:
        yield f"memory: {anchor.memory:g}: expected 0.5 to 2"
    if anchor.runs < 1:
        yield f"runs: {anchor.runs}: expected a whole number from 1"
