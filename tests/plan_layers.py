"""Layers of a plan that cost nothing but the seconds that a test gives them."""

import numpy as np

from hardplace.cost.layers.work import LayerWork
from hardplace.plans.placement.stages import LayerColumns

NOTHING = LayerWork(
    name="nothing",
    forward=(),
    again=(),
    backward=(),
    parameters=0,
    expert_parameters=0,
    saved_bytes=0.0,
    working_bytes=0.0,
    output_bytes=0.0,
)


def layers_of(seconds, work):
    """Layers of (forward, backward, weight gradient) seconds a column."""
    count = seconds.shape[1]
    return LayerColumns(
        work=work,
        seconds=seconds,
        compute_s=seconds[:2],
        saved_bytes=np.zeros(count),
        working_bytes=np.zeros(count),
        brief_bytes=np.zeros(count),
        late_bytes=np.zeros(count),
        marks=np.zeros(count, dtype=np.int64),
        shared_marks=np.zeros(0, dtype=np.int64),
    )
