"""What runs between two kernels of a phase, and which kernels have the whole chip anyway: by hand."""

from typing import Any

import numpy as np
import pytest

from hardplace.branch_and_bound.front import Front
from hardplace.branch_and_bound.types import StoppingRule
from hardplace.design.goals import Goal, Objective
from hardplace.design.search.dives import survey
from hardplace.design.search.explore import DesignSearch
from hardplace.design.search.kernel_work import KernelWork, gaps_of
from hardplace.design.search.least_work import least_seconds, part_seconds, rates
from hardplace.hardware.space import Box
from search_questions import OPEN, question, small_space

DIAMOND = ((), (0,), (0,), (1, 2), (3,))  # 0, then 1 beside 2, then 3, then 4
ASIDE = ((), (0,), (0,), (2,))  # 0, then 1 beside 2 and 3


def search(*objectives: Objective) -> DesignSearch:
    space = small_space(**{**OPEN, "memories": OPEN["memories"][:1], "links_bytes_per_s": (450e9,)})
    asked = question(
        "opt-350m", space=space, goal=Goal(objectives=objectives), micro_batches=(1,), tensor_parallel=(2,)
    )
    return DesignSearch(question=asked, ends=StoppingRule(gap=0.02))


def work_of(*graphs: tuple[tuple[int, ...], ...]) -> KernelWork:
    """Return work of which only the order of the kernels, all of tensor cores, is of interest."""
    count = sum(len(graph) for graph in graphs)
    fields: dict[str, Any] = {name: np.zeros(0) for name in KernelWork.__dataclass_fields__}
    starts = np.cumsum([0, *(len(graph) for graph in graphs[:-1])]).tolist()
    everywhere = np.ones((count, 1), dtype=bool)
    fields |= {"on_tensor": everywhere, "on_vector": ~everywhere}
    return KernelWork(**{**fields, "layers": len(graphs) // 2, "phases": tuple(zip(starts, graphs, strict=True))})


def test_pairs_that_another_kernel_divides_are_left_out() -> None:
    pairs, members = gaps_of(DIAMOND)
    assert pairs == {3: [(0, 0)]}, "between 0 and 3; to the end 3 itself divides it"
    assert members.tolist() == [[0, 1, 1, 0, 0]]
    pairs, members = gaps_of(ASIDE)
    assert pairs == {4: [(0, 0)]}
    assert members.tolist() == [[0, 1, 1, 1]]


def test_a_phase_lasts_as_long_as_what_lies_between_its_kernels() -> None:
    work = work_of(DIAMOND, ASIDE)
    seconds = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 1.0, 2.0, 3.0, 4.0])[:, None]
    nothing = 0.0 * seconds
    assert work.longest(seconds, nothing[None])[0, :, 0].tolist() == [1 + 3 + 4 + 5, 1 + 3 + 4]
    # 1 and 2 of the first phase, and 1, 2 and 3 of the second, share the chip.
    assert work.longest(seconds, np.stack([nothing, seconds]))[0, :, 0].tolist() == [15, 10]


def test_a_kernel_has_the_whole_chip_where_all_that_may_run_beside_it_is_over_sooner() -> None:
    work = work_of(DIAMOND, ASIDE)
    whole_s = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 1.0, 2.0, 3.0, 4.0])[:, None]
    one_s = np.array([1.0, 5.0, 3.0, 4.0, 4.9, 2.0, 8.9, 4.9, 6.0])[:, None]
    # Of the first phase 1 is fixed (5 >= 2 + 3), then 2 runs beside none (3 >= 3 + 0). Of the second only 0 and 3 are:
    # 6 >= 4 + 2, then 2 has 1 beside it (4.9 < 3 + 2), and 1 still 2 (8.9 >= 2 + 3), after which 2 is fixed too.
    assert work.always_whole(one_s, whole_s)[:, 0].tolist() == [True, True, True, True, False] + [True] * 4


def test_parts_are_as_slow_as_the_bounds_of_schedules_and_no_slower() -> None:
    """With the exact kernels of each chip, its schedules' bound holds all that the parts know of it."""
    scoring = search(Objective.THROUGHPUT).scoring
    section, layout, there = scoring.sections[0], scoring.models[0], scoring.there[0][0]
    places = scoring.space.whole.places()
    on = rates(scoring.space, places, places, section.setting)
    for group in there.members:
        parts = part_seconds(layout.work[group], on, there.collectives_s[group], section.setting)
        known = least_seconds(layout.work[group], on, parts, section.setting)
        chips, kernels = scoring.space.at(places), layout.kernels[group]
        lower = kernels.lower_bounds(chips, section.setting)
        upper = kernels.list_schedules(chips, section.setting)
        for ours, least, most in zip(
            (known.forward_s, known.backward_s), (lower.forward_s, lower.backward_s),
            (upper.forward_s, upper.backward_s), strict=True,
        ):  # fmt: skip
            assert (ours <= most * (1 + 1e-9)).all()
            assert np.median(ours / least) > 0.99


def test_a_survey_reaches_chips_at_each_level_of_the_cost() -> None:
    scoring = search(Objective.THROUGHPUT, Objective.TDP).scoring
    survey(scoring, lambda: None)
    speeds, inverse_w = np.array(sorted(scores for scores, _ in scoring.front.points)).T
    assert len(speeds) > 3
    assert speeds[-1] > 2.0 * speeds[0]
    assert inverse_w[0] > 1.2 * inverse_w[-1]
    assert isinstance(scoring.front, Front)


@pytest.mark.parametrize("most", [1, 5, 60, 1000])
def test_sampled_chips_of_a_box_are_its_own_and_no_more_than_asked(most: int) -> None:
    box = Box(low=(1, 0, 2, 0, 0, 0, 3), high=(5, 3, 4, 2, 1, 1, 8))
    found = box.sampled(most)
    assert 1 <= found.shape[1] <= most
    every = {tuple(one) for one in box.places().T.tolist()}
    chosen = [tuple(one) for one in found.T.tolist()]
    assert set(chosen) <= every
    assert len(set(chosen)) == len(chosen) == (box.size if most >= box.size else len(chosen))
    if most == 60:
        assert all(len(set(axis)) == high - low for axis, low, high in zip(found, box.low, box.high, strict=True))
