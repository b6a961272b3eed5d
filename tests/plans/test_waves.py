"""Schedules as arrays against the lists and the program that define them."""

import itertools

import pytest

from hardplace.plans.plan import PipelineSchedule
from hardplace.plans.simulate import Pass, order, program
from hardplace.plans.waves import Wave, stage_orders, waves

NUMBER = {phase: number for number, phase in enumerate(Pass)}
CASES = [
    (stages, micro_batches, virtual, schedule)
    for stages, micro_batches, virtual, schedule in itertools.product(
        (1, 2, 3, 5), (1, 2, 3, 6, 15), (1, 2, 3), PipelineSchedule
    )
    if (virtual == 1 and not schedule.folds)
    or (stages > 1 and schedule is PipelineSchedule.ONE_F_ONE_B and micro_batches % stages == 0)
    or (stages > 1 and virtual == 2 and schedule.folds and micro_batches >= 2 * stages * (schedule.value[0] == "d"))
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_orders_and_waves_are_those_of_the_definition(case):
    """Every stage runs what `order` says; each pass reads the end of the very pass that `program` names as its input,
    which no other pass has written over (a weight pass waits for its stage alone, which has run its backward pass), and
    each wave has as many passes as the program's depth."""
    stages, _, virtual, _ = case
    orders = stage_orders(*case)
    for stage in range(stages):
        wanted = [(NUMBER[phase], micro, chunk) for phase, micro, chunk in order(stage, *case)]
        assert list(zip(*(one[stage].tolist() for one in orders), strict=True)) == wanted
    made = program(*case)
    key = {(stage, item): number for number, (stage, item) in enumerate(zip(made.stages, made.items, strict=True))}
    lists, at = [order(stage, *case) for stage in range(stages)], [0] * stages
    held, depth, before = {0: -1}, {-1: 0}, [-1] * stages
    steps = waves(*case)
    for wave, (start, end, first) in enumerate(
        zip(steps.starts, steps.starts[1:], steps.firsts, strict=False), start=1
    ):
        passes = Wave(*(one[start:end] for one in steps.passes))
        beside = list(range(passes.stages[0], passes.stages[0] + end - start))
        assert first == (passes.stages[0] if passes.stages.tolist() == beside else -1)
        read = [held[row] for row in passes.inputs.tolist()]
        for stage, source, row, kind, hop in zip(
            passes.stages.tolist(), read, passes.rows.tolist(), passes.kinds.tolist(), passes.hops[:, 0], strict=True
        ):
            item = lists[stage][at[stage]]
            number = key[stage, item]
            if item[0] is Pass.WEIGHT:
                backward = key[stage, (Pass.BACKWARD, *item[1:])]
                assert (source, hop, made.inputs[number], made.hops[number]) == (-1, False, backward, False)
                source = backward
            assert (source, bool(hop)) == (made.inputs[number], made.hops[number])
            assert kind == (NUMBER[item[0]] * stages + stage) * virtual + item[2]
            depth[number] = 1 + max(depth[source], depth[before[stage]])
            assert depth[number] == wave
            at[stage], before[stage] = at[stage] + 1, number
            held[row] = number
    assert len(depth) - 1 == len(made.items)


@pytest.mark.parametrize("case", CASES[::3], ids=str)
def test_waves_that_two_steps_have_in_common_are_the_same(case):
    stages, micro_batches, *rest = case
    one, two = waves(stages, micro_batches, *rest), waves(stages, micro_batches + stages, *rest)
    same = one.common(two)
    assert same == two.common(one) <= len(one.firsts)
    assert one.common(one) == len(one.firsts)

    def wave(steps, number):
        return [part[steps.starts[number] : steps.starts[number + 1]].tolist() for part in steps.passes]

    unlike = (number for number in range(len(one.firsts)) if wave(one, number) != wave(two, number))
    assert same == next(unlike, len(one.firsts))
