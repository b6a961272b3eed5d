"""A chip for each stage, against every assignment of stages to chips.

Three random questions to their end; benchmarks/certificates_stage_chips.py draws as many as one asks for.
"""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest

from hardplace.answers import Infeasible
from hardplace.branch_and_bound.loop import Deadline
from hardplace.branch_and_bound.types import Finishing, Progress, Stop, StoppingRule
from hardplace.design.goals import Goal, Objective
from hardplace.design.partition.several_kinds import place_on_kinds
from hardplace.design.partition.types import PartitionProblem
from hardplace.design.results import StagesResult
from hardplace.design.search.explore import DesignSearch
from hardplace.design.stage_chips.answer import stage_chips
from hardplace.design.stage_chips.least_layers import LayerOn, LeastLayers
from hardplace.design.stage_chips.pairs import ChipPairs, StageChip
from hardplace.errors import BadInput
from hardplace.hardware.space import AXES
from hardplace.report.stage_chips import stages_sheet
from oracles_stages import compared, plans, random_stages
from placement_lattices import random_problem
from search_questions import OPEN, question, small_space


def _other(problem: PartitionProblem, draw: random.Random) -> PartitionProblem:
    """Return the problem on another kind: other seconds, memory and links."""
    (variant,) = problem.variants
    layers = tuple(
        replace(
            one,
            forward_s=one.forward_s * draw.choice((0.5, 1.0, 2.0)),
            backward_s=one.backward_s * draw.choice((0.5, 1.0, 1.5)),
            optimizer_s=one.optimizer_s * draw.choice((0.5, 1.0, 3.0)),
        )
        for one in variant.layers
    )
    replications = tuple(
        replace(one, reduction_s_per_byte=one.reduction_s_per_byte * draw.choice((0.5, 2.0)))
        for one in variant.replications
    )
    return replace(
        problem,
        variants=(replace(variant, layers=layers, replications=replications),),
        memory_bytes=problem.memory_bytes * draw.choice((0.7, 1.0, 1.5)),
    )


def test_the_best_plan_on_two_kinds_is_the_best_of_all_assignments() -> None:
    better = 0
    for seed in range(60):
        draw = random.Random(seed)
        first, _ = random_problem(seed)
        pair = (first, _other(first, draw))
        every = list(plans(pair, 2))
        best = min((cost for cost, _, _ in every), default=math.inf)
        alone = min((cost for cost, _, kinds in every if kinds == 1), default=math.inf)
        found = place_on_kinds(pair)
        assert (found.cost if found else math.inf) == pytest.approx(best, rel=1e-12), seed
        of_two = min((cost for cost, count, _ in every if count > 1), default=math.inf)
        several = place_on_kinds(pair, least_stages=2)
        assert (several.cost if several else math.inf) == pytest.approx(of_two, rel=1e-12), seed
        better += best < alone * (1.0 - 1e-9)
    assert better > 5  # two kinds are better than one


@pytest.mark.parametrize("number", [0, 1, 53])  # in the last one two kinds are better by 77 %
def test_no_plan_on_any_chips_exceeds_the_bound_and_no_answer_the_best_pair(number: int) -> None:
    assert not compared(random_stages(f"1:{number}"), 0.01).wrong


def test_the_least_seconds_of_a_layer_are_those_of_the_best_chip() -> None:
    asked = question("bert-base", space=small_space(**OPEN), micro_batches=(1,), tensor_parallel=(2,))
    search = DesignSearch(question=asked, ends=StoppingRule(gap=0.01))
    least = LeastLayers(search, Deadline())
    kernels, chips = search.scoring.models[0].kernels[1, 2], search.scoring.space.at(asked.space.whole.places())
    times = [
        (kernels.lower_bounds(chips, section.setting), kernels.list_schedules(chips, section.setting))
        for section in search.scoring.sections
        if section.capacity_bytes == least.memories[0]
    ]
    for layer in range(len(kernels.shard.layers)):
        for forward in (False, True):
            one = LayerOn((1, 2), 0, layer, forward)
            least.refine(one, 1e-4, math.inf)
            lower, upper = (
                min(
                    float((time.forward_s[layer] + (0.0 if forward else time.backward_s[layer])).min())
                    for time in (pair[bound] for pair in times)
                )
                for bound in (0, 1)
            )
            assert 0.9 * lower <= least.cost(one) <= upper * (1.0 + 1e-9), one


def test_a_plan_has_the_memory_of_the_chips_that_have_its_stages() -> None:
    asked = question("opt-350m", space=small_space(**OPEN), micro_batches=(1,), tensor_parallel=(1,))
    scoring = DesignSearch(question=asked, ends=StoppingRule(gap=0.01)).scoring
    small, large = (
        max(range(len(scoring.sections)), key=lambda at: sign * scoring.sections[at].capacity_bytes) for sign in (-1, 1)
    )
    low = np.zeros((len(AXES), 1), dtype=np.int64)
    high = np.array([[len(values) - 1] for values in asked.space.values])
    family = replace(scoring.there[small][0].families[0], memory_bytes=0.0)
    pair = StageChip(section=large, places=low), StageChip(section=small, places=high)
    found = ChipPairs(scoring, lambda: None).placed(pair, family)
    assert found is not None
    assert set(found.found.kinds) == {1}
    assert found.family.memory_bytes == scoring.sections[small].capacity_bytes < scoring.sections[large].capacity_bytes


def test_an_answer_without_pairs_says_so_and_what_one_kind_is_proven_to_reach() -> None:
    def interrupt(now: Progress) -> None:
        if isinstance(now, Finishing) and now.doing == "trying pairs of chips":
            raise KeyboardInterrupt

    asked = question("opt-350m", space=small_space(**OPEN), micro_batches=(1,), tensor_parallel=(1,))
    found = stage_chips(asked, StoppingRule(gap=0.05), report=interrupt)
    assert isinstance(found, StagesResult)
    assert (found.stop, found.pairs_tried) == (Stop.INTERRUPTED, 0)
    assert "interrupted: pairs of chips tried: 0" in found.notes[0]
    assert "no two kinds were tried" in stages_sheet(found).certificate
    tried = stages_sheet(replace(found, pairs_tried=3)).certificate
    assert "two kinds gain nothing in the 3 pairs that were tried" in tried
    loose = replace(found, stop=Stop.SECONDS, bound=2.0 * found.score, one_kind_bound=1.03 * found.score)
    said = stages_sheet(loose).certificate
    assert "100.00\xa0% above; none on one kind of chip more than" in said
    assert said.endswith("3.00\xa0% above the best of those.")


def test_one_kind_is_never_better_than_the_answer() -> None:
    asked = question("opt-350m", space=small_space(**OPEN), micro_batches=(1,), tensor_parallel=(1,))
    found = stage_chips(asked, StoppingRule(gap=0.05))
    assert isinstance(found, StagesResult)
    assert found.bound >= found.score >= found.one_kind_score
    assert found.certificate.gap == found.gap == found.bound / found.score - 1.0
    assert sum(one.layers for one in found.stages) == len(asked.workloads[0].order)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"goal": Goal(objectives=(Objective.PER_WATT,))}, "objective: throughput-per-watt with chips per stage"),
        ({"goal": Goal(objectives=(Objective.THROUGHPUT, Objective.TDP))}, "objective: throughput, tdp"),
        ({"step": 1.0}, "limits: step"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(changed: dict[str, object], said: str) -> None:
    asked = question("opt-350m")
    step_s = changed.pop("step", None)
    asked = replace(asked, **changed, budget=replace(asked.budget, step_s=step_s))  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=said):
        stage_chips(asked)


def test_a_model_that_fits_no_memory_is_infeasible() -> None:
    asked = question("gpt3-175b", memory_bytes=(1e9,), micro_batches=(1,), tensor_parallel=(1,))
    short = stage_chips(asked)
    assert isinstance(short, Infeasible)
    assert short.needed > short.available == 1e9
