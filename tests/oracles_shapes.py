"""Brute force for `search --shapes`: every shape of a question with every chip and every plan, one by one.

Nothing is bounded, nothing pruned. Schedules are the package's (a reshaped decoder has too many kernels for brute
force): what they reach and what they prove bracket the optimum, and the search's answer has to lie between.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path

from hardplace.answers import Infeasible
from hardplace.branch_and_bound.types import StoppingRule
from hardplace.design.goals import Goal
from hardplace.design.question import Question
from hardplace.errors import BadInput
from hardplace.hardware.settings import HBM3, with_devices
from hardplace.shaping.joint.answer import asked_shapes, jointly, reshapes_of
from hardplace.shaping.rank import ShapeQuery
from hardplace.shaping.sources import ShapeSource, model_named
from hardplace.units import GIB, MIB
from search_questions import exhaustive, question, small_space

DECODER = Path(__file__).parent / "data/tiny-decoder.json.gz"  # three layers of width 256
FROZEN = ("vocab", "heads", "kv_heads", "head_dim")


@dataclass(frozen=True, kw_only=True)
class ShapesAsked:
    """A question about shapes, chips and plans together."""

    model: ShapeSource
    question: Question
    shapes: ShapeQuery
    raw: bool


def random_shapes(rng: random.Random) -> ShapesAsked:
    """Return a random question about a few shapes of a small decoder and a few chips."""
    model = model_named(str(DECODER), None)
    devices = rng.choice((1, 2, 4, 6))
    ranges = {"layers": (3, rng.choice((2, 4))), "ffn": (512, 704, 896)}
    if rng.random() < 0.5:
        ranges = {"layers": ranges["layers"], "hidden": (256, rng.choice((128, 384))), "ffn": (704,)}
    frozen = FROZEN
    if rng.random() < 0.3:
        frozen = ("vocab", "layers")
        ranges = {"heads": (2, 4, 8), "kv_heads": (2, 4), "ffn": (704,), "hidden": (256,)}
    space = small_space(
        tensor_cores=tuple(sorted(rng.sample((1, 4, 16), 2))), array_rows=(rng.choice((64, 128)),),
        array_columns=(128,), vector_cores=(rng.choice((2, 16)),), buffer_bytes=(rng.choice((2, 8)) * MIB,),
        least_area_share=0.0,
    )  # fmt: skip
    batch = rng.choice((4, 8, 12))
    setting = replace(with_devices(HBM3, devices), batch_samples=batch)
    asked = question(
        "opt-350m", setting=setting, space=space, goal=Goal(), memory_bytes=(rng.choice((0.02, 0.06, 1.0)) * GIB,),
        micro_batches=(1,) if rng.random() < 0.6 else (1, 2), recompute=rng.choice(((False,), (False, True))),
        tensor_parallel=(1, 2) if devices > 1 and rng.random() < 0.3 else (1,),
    )  # fmt: skip
    assert model.workload is not None
    found = ShapesAsked(
        model=model, question=replace(asked, workloads=(model.workload,)), raw=rng.random() < 0.3,
        shapes=ShapeQuery(share=rng.choice((0.2, 0.4)), frozen=frozen, ranges=ranges),
    )  # fmt: skip
    try:
        reshapes_of(found.model, found.shapes, raw=found.raw)
    except BadInput:  # no shape but the model's own
        return random_shapes(rng)
    return found


@dataclass(frozen=True, kw_only=True)
class ComparedShapes:
    """What is wrong with an answer ("": nothing), how many shapes there were, and whether any runs."""

    wrong: str
    shapes: int
    feasible: bool


def compared_shapes(asked: ShapesAsked, gap: float, work: float = 0.0) -> ComparedShapes:
    """Return what is wrong with the joint search's answer; work: effort on schedules (0: list schedules)."""
    found, reshapes = reshapes_of(asked.model, asked.shapes, raw=asked.raw)
    own = asked.question.workloads[0].parameters
    reached = possible = 0.0
    for row in range(len(found.shapes)):
        workload = reshapes.workload(row)
        weight = 1.0 if asked.raw else workload.parameters / own
        every = exhaustive(replace(asked.question, workloads=(workload,)), gap, work)
        reached = max([reached, *(weight * one[0] for one, _ in every)])
        possible = max([possible, *(weight * most[0] for _, most in every)])
    counted = {"shapes": len(found.shapes), "feasible": reached > 0.0}
    try:
        shapes = asked_shapes(asked.model, asked.shapes, raw=asked.raw)
        answer = jointly(shapes, asked.question, StoppingRule(gap=gap))
    except BadInput as refused:
        return ComparedShapes(wrong=f"BadInput: {refused}", **counted)
    if isinstance(answer, Infeasible):
        return ComparedShapes(wrong=f"infeasible, but {reached:g} is reached" if reached else "", **counted)
    wrong = ""
    if reached > answer.bound * (1.0 + 1e-9):
        wrong = f"{reached:.9g} is reached, bound {answer.bound:.9g}"
    elif answer.score > possible * (1.0 + 1e-9):
        wrong = f"{answer.score:.9g} is claimed, no more than {possible:.9g} is possible"
    elif answer.bound > answer.score * (1.0 + gap) * (1.0 + 1e-9):
        wrong = f"bound {answer.bound:.9g} of {answer.score:.9g} is beyond the gap of {gap:g}"
    return ComparedShapes(wrong=wrong, **counted)
