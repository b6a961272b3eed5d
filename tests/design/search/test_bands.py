"""Boxes divided by what their chips take: every chip is in one part, and no bound of a part is below what it has."""

from dataclasses import replace

import numpy as np

from hardplace.branch_and_bound.types import StoppingRule
from hardplace.design.goals import Goal, Objective
from hardplace.design.search.bands import Band
from hardplace.design.search.candidates import BoxCandidate, ChipBlock
from hardplace.design.search.explore import DesignSearch
from hardplace.design.search.regions import OF_COSTS, opened
from hardplace.hardware.settings import as_reached
from hardplace.hardware.types import PowerLimit
from search_questions import OPEN, question, small_space

SPACE = small_space(
    **{
        **OPEN,
        "tensor_cores": (2, 4, 8, 16, 24, 32),
        "vector_cores": (4, 16, 64),
        "clock_hz": (0.9e9, 1.4e9, 1.8e9),
        "memories": OPEN["memories"][:1],
        "links_bytes_per_s": OPEN["links_bytes_per_s"][:1],
    }
)
FRONT = (Objective.THROUGHPUT, Objective.TDP)
DIVIDED = replace(OF_COSTS, banded=0, leaf=64)  # as of a space of millions of chips


def search(*objectives: Objective) -> DesignSearch:
    asked = question(
        "opt-350m",
        space=SPACE,
        goal=Goal(objectives=objectives),
        budget={"tdp_w": 400.0},
        micro_batches=(1,),
        tensor_parallel=(1,),
    )
    return DesignSearch(question=asked, ends=StoppingRule(gap=0.01))


def test_every_chip_within_the_limits_is_in_one_part_whose_scores_hold_for_it() -> None:
    """216 chips; the parts of a box in its band of TDP, down to single chips, against pricing them all."""
    scoring = search(*FRONT).scoring
    open_ = [box for _, box in search(*FRONT).roots() if isinstance(box, BoxCandidate)]
    every = SPACE.whole.places()
    costs, _, _ = scoring.limits.costs(scoring.sections[0], SPACE.at(every))
    inside = np.flatnonzero(scoring.limits.within(costs) & scoring.limits.large(SPACE.at(every), costs))
    scores = scoring.vectors(scoring.known(0, every, every))
    wanted = {tuple(every[:, chip].tolist()): scores[:, chip] for chip in inside.tolist()}
    found: list[tuple[int, ...]] = []
    banded = 0
    while open_:
        region = open_.pop()
        for most, part in opened(scoring, region, lambda: None, DIVIDED).left:
            if isinstance(part, BoxCandidate):
                assert part.band is not None
                banded += part.band != region.band
                open_.append(part)
                continue
            assert isinstance(part, ChipBlock)
            for chip in part.places.T.tolist():
                found.append(tuple(chip))
                assert (wanted[tuple(chip)] <= np.array(most) * (1 + 1e-12)).all()
    assert sorted(found) == sorted(wanted)
    assert 50 < len(inside) < 200, "the limits leave some and not all"
    assert banded > 5


def test_a_band_bounds_its_chips_and_says_more_than_the_box() -> None:
    scoring = search(*FRONT).scoring
    every = SPACE.whole.places()
    costs, _, _ = scoring.limits.costs(scoring.sections[0], SPACE.at(every))
    scores = scoring.vectors(scoring.known(0, every, every))
    low, high = every.min(axis=1, keepdims=True), every.max(axis=1, keepdims=True)
    whole = scoring.vectors(scoring.known(0, low, high))
    (root,) = (box for _, box in search(*FRONT).roots() if isinstance(box, BoxCandidate))
    assert root.band is not None
    said_more = []
    for band in root.band.halves():
        held = np.flatnonzero(band.holds(costs) & scoring.limits.within(costs))
        bound = scoring.vectors(scoring.known(0, low, high, bands=[band]))
        assert (scores[:, held].max(axis=1) <= bound[:, 0] * (1 + 1e-12)).all()
        assert (bound <= whole * (1 + 1e-12)).all()
        said_more.append((bound < whole * 0.9).any())
    assert any(said_more)


def test_only_questions_about_what_chips_take_have_bands() -> None:
    for objectives, banded in (((Objective.THROUGHPUT,), False), (FRONT, True)):
        assert [box.band is not None for _, box in search(*objectives).roots() if isinstance(box, BoxCandidate)] == [
            banded
        ]


def test_a_band_below_what_runs_beside_products_promises_nothing() -> None:
    """Power that leaves the arrays nothing: no throughput, and no number that is none (warnings are errors)."""
    made = search(*FRONT)
    real = as_reached(
        made.question.setting, PowerLimit(node_nm=SPACE.node_nm, dtype="bf16", memory_kind="HBM3", clock_hz=1e9)
    )
    scoring = DesignSearch(question=replace(made.question, setting=real), ends=made.ends).scoring
    every = SPACE.whole.places()
    low, high = every.min(axis=1, keepdims=True), every.max(axis=1, keepdims=True)
    some, none = (scoring.known(0, low, high, bands=[Band(most_w=most_w)]).samples_per_s[0] for most_w in (300.0, 1.0))
    assert (some > 0.0).any()
    assert (none == 0.0).all()
