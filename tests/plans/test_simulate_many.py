"""Many pipelines at once against one at a time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardplace.plans.pipeline import pipelined
from hardplace.plans.plan import PipelineSchedule
from hardplace.plans.simulate_many import stages_done_s


@given(
    stages=st.integers(1, 5),
    groups=st.integers(1, 14),
    rest=st.integers(0, 3),
    virtual=st.integers(1, 3),
    schedule=st.sampled_from([one for one in PipelineSchedule if one is not PipelineSchedule.DUALPIPE_V]),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_many_equal_one(stages, groups, rest, virtual, schedule, seed):
    stages = max(2, stages) if schedule.folds else stages
    virtual = virtual if schedule is PipelineSchedule.ONE_F_ONE_B and stages > 1 else 2 if schedule.folds else 1
    count = stages * groups + (0 if virtual > 1 and not schedule.folds else rest)
    draw = np.random.default_rng(seed)
    seconds = draw.uniform(0.1, 3.0, (3, stages, virtual, 2))
    hop_s = draw.uniform(0.0, 0.2, 2)
    many = stages_done_s(seconds, hop_s, count, schedule)
    for plan in range(2):
        one = pipelined(*(part.tolist() for part in seconds[..., plan]), float(hop_s[plan]), count, schedule)
        assert many[:, plan] == pytest.approx(one.ends_s)
