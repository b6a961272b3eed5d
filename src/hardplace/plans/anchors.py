"""One's own system, measured: what a few of its steps say of all others (docs/model-training.md, section 8)."""

from __future__ import annotations

from dataclasses import dataclass

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """A figure of a step (`plans.efficiencies.FIGURES`) over the shipped one."""

    figure: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """What `anchor` learned of a system: device and software of its runs, how many, their factors; half: half the width
    of the 80 % interval that is left, as a logarithm; next_run: which run would tell most."""

    version: int
    device: str
    software: str
    runs: int
    factors: tuple[Factor, ...]
    half: float
    next_run: str = ""

    def times(self, figure: str) -> float:
        """Return the factor of a figure; 1 where nothing was learned of it."""
        return next((one.value for one in self.factors if one.figure == figure), 1.0)
