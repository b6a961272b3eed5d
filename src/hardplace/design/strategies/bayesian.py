"""Bayesian search of sizes and plan together, as Spotlight does (HPCA 2023), through Optuna's TPE (extra `compare`).

Spotlight models the objective with a Gaussian process over features of its own; here a tree of Parzen estimators
(Bergstra et al., NIPS 2011) over the sizes themselves takes that place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hardplace.design.strategies.oracle import Oracle, rows
from hardplace.design.types import PlanFamily
from hardplace.errors import BadInput

if TYPE_CHECKING:
    import optuna

SOURCE = "as Spotlight (HPCA 2023), with Optuna's TPE"
_STALE = 1000  # suggestions in a row that were seen before, after which the sampler has nothing new
_NAMES = ("tensor_cores", "array_rows", "array_columns", "vector_cores", "vector_lanes", "buffer_bytes")


def search(oracle: Oracle, seed: int) -> None:
    """Ask the sampler for sizes and a plan, tell it the throughput of the nearest chip of the space.

    Nearest: least sum of squared differences of the sizes' places on their axes. It ends of itself when all was seen,
    or after a thousand suggestions in a row that were evaluated before.
    Raises BadInput if Optuna is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise BadInput("compare: the strategy bayesian needs Optuna: pip install 'hardplace[compare]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    columns = np.array(rows(oracle.chips)).T
    axes = [np.unique(column) for column in columns]
    places = np.array([np.searchsorted(axis, column) for axis, column in zip(axes, columns, strict=True)])
    stale = 0
    while oracle.families and stale < _STALE and len(oracle.seen) < len(oracle.chips) * len(oracle.families):
        oracle.check()
        trial, before = study.ask(), len(oracle.seen)
        wanted = [trial.suggest_int(name, 0, len(axis) - 1) for name, axis in zip(_NAMES, axes, strict=True)]
        nearest = int(np.argmin(((places - np.array(wanted)[:, None]) ** 2).sum(axis=0)))
        study.tell(trial, oracle.value(nearest, _family(trial, oracle)))
        stale = stale + 1 if len(oracle.seen) == before else 0


def _family(trial: optuna.Trial, oracle: Oracle) -> PlanFamily:
    return oracle.families[int(trial.suggest_int("family", 0, len(oracle.families) - 1))]
