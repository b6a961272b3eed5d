"""The quick simulation of pipelines without virtual stages equals the events, to the last bit."""

import random

import pytest

from hardplace.plans.plan import PipelineSchedule
from hardplace.plans.simulate import ends_of, program
from hardplace.plans.simulate_line import line_ends_s


@pytest.mark.parametrize("seed", range(150))
def test_ends_are_those_of_the_events(seed: int) -> None:
    draw = random.Random(seed)
    stages, micro_batches = draw.randint(1, 9), draw.randint(1, 30)
    schedule = draw.choice((PipelineSchedule.ONE_F_ONE_B, PipelineSchedule.ZERO_BUBBLE))
    forward_s, backward_s, weight_s = ([draw.uniform(0.0, 2.0) for _ in range(stages)] for _ in range(3))
    hop_s = draw.choice((0.0, draw.uniform(0.0, 1.0)))
    apart = schedule is PipelineSchedule.ZERO_BUBBLE
    chunks = [[[one] for one in side] for side in (forward_s, backward_s, weight_s)]
    expected = ends_of(program(stages, micro_batches, 1, schedule), *chunks, hop_s)[1]
    assert line_ends_s(forward_s, backward_s, weight_s, hop_s, micro_batches, apart=apart) == expected
