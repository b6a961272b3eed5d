"""Bayesian search of sizes and plan together, as Spotlight does (HPCA 2023), through Optuna's TPE (extra `compare`).

Spotlight models the objective with a Gaussian process over features of its own; here a tree of Parzen estimators
(Bergstra et al., NIPS 2011) over the sizes themselves takes that place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hardplace.errors import BadInput
from hardplace.search.strategies.oracle import Oracle, Row, rows
from hardplace.search.types import PlanFamily

if TYPE_CHECKING:
    import optuna

SOURCE = "as Spotlight (HPCA 2023), with Optuna's TPE"
_NAMES = ("tensor_cores", "array_rows", "array_columns", "vector_cores", "vector_lanes", "buffer_bytes")


def search(oracle: Oracle, seed: int) -> None:
    """Ask the sampler for sizes and a plan, tell it the throughput; sizes that no chip of the space has are told 0.

    Raises BadInput if Optuna is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise BadInput("compare: the strategy bayesian needs Optuna: pip install 'hardplace[compare]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    axes = {
        name: sorted(set(column)) for name, column in zip(_NAMES, zip(*rows(oracle.chips), strict=True), strict=True)
    }
    tied = bool(np.array_equal(oracle.chips.vector_lanes, oracle.chips.array_columns))
    every = len(oracle.chips) * len(oracle.families)
    while oracle.families and len(oracle.seen) < every:
        oracle.check()
        trial = study.ask()
        place = oracle.places.get(_row(trial, axes, tied))
        value = 0.0 if place is None else oracle.value(place, _family(trial, oracle))
        study.tell(trial, value)


def _row(trial: optuna.Trial, axes: dict[str, list[int]], tied: bool) -> Row:
    """Return the sizes that the sampler suggests; an axis of ordered choices is its place in them."""

    def chosen(name: str) -> int:
        return axes[name][int(trial.suggest_int(name, 0, len(axes[name]) - 1))]

    tensor_cores, depth, width, vector_cores = (chosen(name) for name in _NAMES[:4])
    lanes = width if tied else chosen("vector_lanes")
    return tensor_cores, depth, width, vector_cores, lanes, chosen("buffer_bytes")


def _family(trial: optuna.Trial, oracle: Oracle) -> PlanFamily:
    return oracle.families[int(trial.suggest_int("family", 0, len(oracle.families) - 1))]
