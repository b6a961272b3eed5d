"""The best set of a few chips for several models, and which model runs where."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from hardplace.design.goals import Combine, Goal
from hardplace.ndtypes import Floats


def partitions(count: int, parts: int) -> Iterator[tuple[int, ...]]:
    """Yield every partition of models into groups.

    Args:
        count: Number of models.
        parts: Number of groups at most.

    Yields:
        The group of each model, numbered as they come.

    >>> list(partitions(3, 2))
    [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)]
    """

    def grown(start: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(start) == count:
            yield start
            return
        for group in range(min(max(start, default=-1) + 2, parts)):
            yield from grown((*start, group))

    yield from grown(())


def best_chip_set(goal: Goal, values: Floats) -> tuple[float, tuple[int, ...]]:
    """Return the best combined score of a set of chips, and the chip of each model.

    A set divides the models into groups, each on the chip that is best for it; every division is tried. The score is 0
    where no set takes every model.

    Args:
        goal: Number of chips, and how scores become one.
        values: Scores over those of own best chips, shape (chips, models); 0: the model does not run on the chip.
    """
    weights = np.array(goal.weights) / sum(goal.weights)
    raw = values * np.array(goal.norms) if goal.combine is Combine.ARITHMETIC else values
    chosen: tuple[int, ...] = ()
    best = -math.inf
    for groups in partitions(values.shape[1], goal.fleet):
        total, chips = [], [0] * len(groups)
        for group in set(groups):
            models = [model for model, one in enumerate(groups) if one == group]
            if goal.combine is Combine.WORST:
                merit = raw[:, models].min(axis=1)
            elif goal.combine is Combine.ARITHMETIC:
                runs = (raw[:, models] > 0.0).all(axis=1)
                merit = np.where(runs, raw[:, models].sum(axis=1), -np.inf)
            else:
                with np.errstate(divide="ignore"):
                    merit = np.log(raw[:, models]) @ weights[models]
            place = int(np.argmax(merit))
            total.append(float(merit[place]))
            for model in models:
                chips[model] = place
        if goal.combine is Combine.WORST:
            score = min(total)
        elif goal.combine is Combine.ARITHMETIC:
            score = sum(total) / len(groups) if min(total) > -math.inf else 0.0
        else:
            score = math.exp(sum(total))
        if score > best:
            best, chosen = score, tuple(chips)
    return best, chosen
