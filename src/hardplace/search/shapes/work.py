"""What no plan and no chip of a space exceeds for many shapes at once: their matrix products on its fastest arrays."""

from __future__ import annotations

import numpy as np

from hardplace.cost.types import Floats
from hardplace.search.layout import Group
from hardplace.search.question import Question
from hardplace.search.shapes.types import FIELDS, Shapes
from hardplace.workload.reshape import Reshaping


def most_samples_per_s(reshaping: Reshaping, shapes: Shapes, question: Question, group: Group) -> Floats:
    """Return a bound on the samples a second of each shape, shape (shapes,)."""
    sizes = {name: getattr(shapes, name).astype(np.float64) for name in FIELDS} | {"micro_batch": 1.0}
    first, block, last = (one.columns(sizes) for one in reshaping.macs())
    macs = first + shapes.layers * block + last
    return np.asarray(question.setting.cluster.devices * fastest_macs_per_s(question) / macs)


def fastest_macs_per_s(question: Question) -> float:
    """Return the multiply-accumulates a second of the largest arrays that fit the area."""
    from hardplace.hardware.space import phaze_space
    chips = phaze_space(question.budget)
    return float((chips.tensor_cores * chips.array_rows * chips.array_columns).max() * question.setting.clock_hz)
