from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardplace.report.pipeline import MOST_STAGES, timeline
from hardplace.report.timeline import (
    BlockKind,
    StageSeconds,
    TimelineBlock,
    simulate,
    stage_seconds,
)
from report import example

STAGES = st.lists(
    st.builds(
        StageSeconds,
        forward_s=st.integers(0, 9).map(float),
        backward_s=st.integers(0, 9).map(float),
        reduction_s=st.integers(0, 3).map(float),
        optimizer_s=st.integers(0, 3).map(float),
    ),
    min_size=1,
    max_size=5,
)


def by_work(blocks: tuple[TimelineBlock, ...]) -> dict[tuple[BlockKind, int, int], TimelineBlock]:
    return {(block.kind, block.stage, block.micro_batch): block for block in blocks}


def test_order_of_the_first_and_the_last_of_three_stages() -> None:
    def letters(stage: int, micro_batches: int) -> str:
        blocks = simulate([StageSeconds(forward_s=1, backward_s=2)] * 3, micro_batches)
        return " ".join(f"{b.kind.value[0]}{b.micro_batch}" for b in blocks if b.stage == stage and b.micro_batch >= 0)

    assert letters(0, 4) == "f0 f1 f2 b0 f3 b1 b2 b3"
    assert letters(2, 3) == "f0 b0 f1 b1 f2 b2"
    assert letters(0, 2) == "f0 f1 b0 b1"


def test_two_stages_by_hand() -> None:
    # Stage 1:  f0 0-1, f1 1-2, waits, b0 6-8, f2 8-9, b1 11-13, waits, b2 16-18
    # Stage 2:  f0 1-3, b0 3-6, f1 6-8, b1 8-11, f2 11-13, b2 13-16
    stages = (
        StageSeconds(forward_s=1, backward_s=2, reduction_s=5, optimizer_s=1),
        StageSeconds(forward_s=2, backward_s=3, reduction_s=1, optimizer_s=1),
    )
    blocks = simulate(stages, 3)
    spans = [[(b.start_s, b.end_s) for b in blocks if b.stage == stage] for stage in range(2)]
    assert spans[0] == [(0, 1), (1, 2), (6, 8), (8, 9), (11, 13), (16, 18), (18, 23), (23, 24)]
    assert spans[1] == [(1, 3), (3, 6), (6, 8), (8, 11), (11, 13), (13, 16), (16, 17), (17, 18)]


@given(st.integers(0, 9), st.integers(0, 9), st.integers(1, 20))
def test_one_stage_takes_its_work(forward: int, backward: int, micro_batches: int) -> None:
    blocks = simulate((StageSeconds(forward_s=forward, backward_s=backward),), micro_batches)
    assert max(block.end_s for block in blocks) == micro_batches * (forward + backward)


@given(st.integers(0, 9), st.integers(0, 9), st.integers(1, 6), st.integers(1, 12))
def test_equal_stages_take_the_closed_form(forward: int, backward: int, count: int, micro_batches: int) -> None:
    blocks = simulate([StageSeconds(forward_s=forward, backward_s=backward)] * count, micro_batches)
    assert max(block.end_s for block in blocks) == (micro_batches + count - 1) * (forward + backward)


@given(STAGES, st.integers(1, 10))
def test_nothing_overlaps_and_dependencies_hold(stages: list[StageSeconds], micro_batches: int) -> None:
    blocks = simulate(stages, micro_batches)
    work = by_work(blocks)
    assert len(blocks) == len(stages) * (2 * micro_batches + 2)
    for stage, seconds in enumerate(stages):
        row = [block for block in blocks if block.stage == stage]
        for before, after in pairwise(row):
            assert before.end_s <= after.start_s
        for block in row:
            assert (
                block.end_s - block.start_s
                == {
                    BlockKind.FORWARD: seconds.forward_s,
                    BlockKind.BACKWARD: seconds.backward_s,
                    BlockKind.REDUCTION: seconds.reduction_s,
                    BlockKind.OPTIMIZER: seconds.optimizer_s,
                }[block.kind]
            )
        for index in range(micro_batches):
            forward, backward = (work[kind, stage, index] for kind in (BlockKind.FORWARD, BlockKind.BACKWARD))
            assert forward.end_s <= backward.start_s
            if stage:
                assert work[BlockKind.FORWARD, stage - 1, index].end_s <= forward.start_s
                assert backward.end_s <= work[BlockKind.BACKWARD, stage - 1, index].start_s


@given(STAGES, st.integers(1, 10))
def test_the_closed_form_is_never_below_the_simulation(stages: list[StageSeconds], micro_batches: int) -> None:
    blocks = simulate(stages, micro_batches)
    slowest = max(stage.forward_s + stage.backward_s for stage in stages)
    end_of_batch = max(stage.reduction_s + stage.optimizer_s for stage in stages)
    end_s = max(block.end_s for block in blocks)
    assert micro_batches * slowest <= end_s <= (micro_batches + len(stages) - 1) * slowest + end_of_batch


@pytest.mark.parametrize("recompute", [False, True])
def test_stage_seconds_are_the_loads_of_the_placement(recompute: bool) -> None:
    evaluation = example.evaluation(recompute=recompute)
    kinds = evaluation.layers
    found = stage_seconds(evaluation)
    for stage, seconds in zip(evaluation.placement.stages, found, strict=True):
        assert seconds.forward_s + seconds.backward_s == pytest.approx(stage.load_s)
    # The middle stage: four blocks; the activation comes before forward, the gradient before backward.
    forward_s, backward_s = (4 * phase.schedule.makespan_s for phase in (kinds[1].forward, kinds[1].backward))
    again_s = forward_s if recompute else 0.0
    assert found[1].forward_s == pytest.approx(forward_s + example.TRANSFER_S)
    assert found[1].backward_s == pytest.approx(again_s + backward_s + example.TRANSFER_S)


def test_short_batches_are_drawn_whole() -> None:
    shown = timeline(example.evaluation())
    assert shown.stages == (0, 1, 2)
    assert shown.windows == ((0.0, shown.end_s),)
    assert shown.cut == ""


def test_long_batches_are_cut_and_the_cut_is_named() -> None:
    evaluation = example.evaluation(stages=20, micro_batches=200)
    shown = timeline(evaluation)
    (start_s, first_s), (second_s, end_s) = shown.windows
    assert start_s == 0.0
    assert first_s < second_s < end_s == shown.end_s
    assert len(shown.stages) == MOST_STAGES
    assert "stages 9 to 12" in shown.cut
    assert end_s <= evaluation.placement.batch_s
