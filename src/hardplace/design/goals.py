"""Objectives as scores, more is better, and several models as one score (docs/model-search.md).

Every objective is a function of the throughput that never falls, for a given chip and family, so that a bound on
throughput and the least costs of a box of chips bound it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from hardplace.hardware.money import Use
from hardplace.ndtypes import BoolVector, Floats, Ints

USD_PER_KWH = 0.08  # electricity, industry in the USA in 2023 (EIA, Electric Power Monthly; B)
_J_PER_KWH = 3.6e6
_S_PER_YEAR = 365.25 * 24.0 * 3600.0


class Objective(StrEnum):
    """Objective of a search: maximised, but for energy, carbon, tdp, price and area, which are minimised."""

    THROUGHPUT = "throughput"
    PER_WATT = "throughput-per-watt"
    PER_DOLLAR = "throughput-per-dollar"
    ENERGY = "energy"
    CARBON = "carbon"
    TDP = "tdp"
    PRICE = "price"
    AREA = "area"


# What one unit of a score is, and of its inverse where that is what people ask for.
UNITS = {
    Objective.THROUGHPUT: ("samples/s", False),
    Objective.PER_WATT: ("samples/s/W", False),
    Objective.PER_DOLLAR: ("samples/USD", False),
    Objective.ENERGY: ("J/sample", True),
    Objective.CARBON: ("kg CO2/sample", True),
    Objective.TDP: ("W", True),
    Objective.PRICE: ("USD", True),
    Objective.AREA: ("mm2", True),
}
_BY_UNIT = {unit: one for one, (unit, _) in UNITS.items()}
# What may be limited: the field of the budget, and its unit.
LIMITS = {
    "area": ("area_mm2", "mm2"),
    "tdp": ("tdp_w", "W"),
    "price": ("usd", "USD"),
    "memory": ("memory_bytes", "B"),
    "step": ("step_s", "s"),
}
OF_COSTS = frozenset({Objective.TDP, Objective.PRICE, Objective.AREA})  # the same for all plans that run on a chip
_OF_PLANS = (Objective.PER_DOLLAR, Objective.ENERGY, Objective.CARBON)  # need the energy of a sample


def shown(objective: Objective, score: float) -> float:
    """Return a score as people read it: its inverse where less is better."""
    return 1.0 / score if UNITS[objective][1] else score


def of_unit(unit: str) -> Objective | None:
    """Return the objective that is counted in a unit; None where there is none."""
    return _BY_UNIT.get(unit)


class Combine(StrEnum):
    """How one chip's scores on several models, each over that of the model's own best chip, become one."""

    GEOMETRIC = "geometric"
    WORST = "worst"
    WEIGHTS = "weights"  # geometric mean with weights
    ARITHMETIC = "arithmetic"  # PHAZE: of raw throughputs, not normalised; only in its preset


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Costs of chips, arrays of shape (chips,).

    Attributes:
        area_mm2: Die area by the space's model.
        die_mm2: Die area as the sum of parts.
        tdp_w: Thermal design power.
        usd: Price of making one.
        embodied_kg: Carbon of making one, kg CO2 equivalent.
        idle_w: Power when idle.
    """

    area_mm2: Floats
    die_mm2: Floats
    tdp_w: Floats
    usd: Floats
    embodied_kg: Floats
    idle_w: Floats

    def take(self, index: Ints | BoolVector) -> Costs:
        """Return the costs of the chips at these positions."""
        return Costs(**{name: getattr(self, name)[index] for name in self.__dataclass_fields__})


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """The goal of a search: objectives, and how several models become one score.

    Attributes:
        objectives: One, or several for a Pareto front.
        devices: Number of devices.
        combine: How the models' scores become one.
        weights: Weight of each model.
        norms: Score of each model on its own best chip, by which scores are divided.
        fleet: Number of chips that share the models; with more than one, every model's score is an objective of its
            own.
        use: Years of service, effectiveness and carbon intensity of the grid.
    """

    objectives: tuple[Objective, ...] = (Objective.THROUGHPUT,)
    devices: int = 1
    combine: Combine = Combine.GEOMETRIC
    weights: tuple[float, ...] = (1.0,)
    norms: tuple[float, ...] = (1.0,)
    fleet: int = 1
    use: Use = field(default_factory=Use)

    @property
    def shared(self) -> bool:
        """Return whether several chips share several models: each model's score counts for itself, and may be 0 on a
        chip.
        """
        return self.fleet > 1 and len(self.norms) > 1

    @property
    def needs_energy(self) -> bool:
        """Return whether some objective depends on the energy of a sample."""
        return any(one in _OF_PLANS for one in self.objectives)

    def scores(self, objective: Objective, samples_per_s: Floats, joules: Floats, costs: Costs) -> Floats:
        """Return scores of an objective; 0 where a model does not run.

        Costs of standing (making over the years of service, idle power) are for all devices all the time.

        Args:
            objective: The objective.
            samples_per_s: Throughput, shape (..., chips).
            joules: Energy of a sample of running, in J, same shape.
            costs: Costs of the chips.

        Returns:
            Scores, more is better, shape (..., chips).
        """
        seconds = self.use.years * _S_PER_YEAR
        paid = self.use.effectiveness / _J_PER_KWH
        usd_j, kg_j = paid * USD_PER_KWH, paid * self.use.grid_g_per_kwh / 1000.0
        chips = self.devices
        match objective:
            case Objective.THROUGHPUT:
                return samples_per_s
            case Objective.PER_WATT:
                cost = np.asarray(chips * costs.tdp_w)
            case Objective.PER_DOLLAR:
                cost = chips * (costs.usd / seconds + costs.idle_w * usd_j) + samples_per_s * joules * usd_j
            case Objective.ENERGY:
                cost = chips * costs.idle_w + samples_per_s * joules
            case Objective.CARBON:
                cost = chips * (costs.embodied_kg / seconds + costs.idle_w * kg_j) + samples_per_s * joules * kg_j
            case _:
                each = {
                    Objective.TDP: costs.tdp_w,
                    Objective.PRICE: costs.usd,
                    Objective.AREA: costs.area_mm2,
                }[objective]
                with np.errstate(divide="ignore"):  # a box that is given no cost of making: nothing bounds it
                    return np.where(samples_per_s > 0.0, 1.0 / each, 0.0)
        return np.asarray(samples_per_s / cost)

    def score(self, objective: Objective, samples_per_s: float, joules: float, costs: Costs) -> float:
        """Return the score of one chip with one plan; arguments as for `scores`, of that chip."""
        return float(self.scores(objective, np.array([samples_per_s]), np.array([joules]), costs)[0])

    def least_samples_per_s(self, score: float, joules: float, costs: Costs) -> float:
        """Return the throughput that one chip needs for a score of the only objective; 0 where any will do."""
        if len(self.objectives) > 1 or len(self.norms) > 1 or score <= 0.0:
            return 0.0
        # Every score of throughput is X / (standing + running X).
        one, two = (1.0 / self.score(self.objectives[0], x, joules, costs) for x in (1.0, 2.0))
        running = 2.0 * two - one
        standing = one - running
        if standing <= 0.0:
            return 0.0
        return score * standing / (1.0 - score * running) if score * running < 1.0 else np.inf

    def vectors(self, scores: Floats) -> Floats:
        """Return the scores that the front compares.

        Models are combined into one score, but for a set of several chips. 0 where a model does not run; for a set that
        holds of its row alone.

        Args:
            scores: Shape (objectives, models, chips).

        Returns:
            Shape (objectives, chips), or (models, chips) for a set of chips.
        """
        if scores.shape[1] == 1:
            return scores[:, 0]
        norms = np.array(self.norms)[None, :, None]
        if self.fleet > 1:
            return np.asarray((scores / norms)[0])
        if self.combine is Combine.ARITHMETIC:
            return np.where((scores > 0.0).all(axis=1), scores.mean(axis=1), 0.0)
        if self.combine is Combine.WORST:
            return np.asarray((scores / norms).min(axis=1))
        share = np.array(self.weights)[None, :, None] / sum(self.weights)
        with np.errstate(divide="ignore"):
            return np.asarray(np.exp((np.log(scores / norms) * share).sum(axis=1)))
