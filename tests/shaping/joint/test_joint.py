"""Shape, chip and plan as one search: exhaustive search gives the same; bounds hold; kernels are the recordings'."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardplace.branch_and_bound.loop import Deadline
from hardplace.branch_and_bound.types import Stop, StoppingRule
from hardplace.cost.kernels.fusion import kernel_graph
from hardplace.cost.layers.recognise import decoder_of
from hardplace.design.exact.layer_kernels import kernels_of
from hardplace.design.goals import Goal
from hardplace.design.question import Question
from hardplace.design.search.explore import DesignSearch
from hardplace.design.types import PlanChoices
from hardplace.errors import BadInput
from hardplace.hardware.settings import setting, with_devices
from hardplace.hardware.space_files import space
from hardplace.hardware.types import Budget
from hardplace.shaping.joint.answer import asked_shapes, jointly, loose, only, reshapes_of
from hardplace.shaping.joint.bounds import Plans, layer_s, most_samples_per_s
from hardplace.shaping.joint.boxes import places_of
from hardplace.shaping.joint.candidates import Reshapes
from hardplace.shaping.joint.joint import Joint
from hardplace.shaping.joint.kernels import Columns, kernels
from hardplace.shaping.joint.layouts import PHASES, layouts
from hardplace.shaping.joint.types import ShapeDesignResult
from hardplace.shaping.ranges import parse_range
from hardplace.shaping.rank import ShapeQuery
from hardplace.shaping.sources import ShapeSource, model_named
from hardplace.shaping.types import FIELDS, columns
from hardplace.workload.load import load
from hardplace.workload.reshaping.reshape import Reshaping
from hardplace.workload.sharding import tensor_parallel
from hardplace.workload.weights import repeated, shared_weights

SETTING = replace(with_devices(setting("hbm3"), 16), batch_samples=64)
CHIPS = replace(
    space("phaze"), tensor_cores=(4, 16), array_rows=(128,), array_columns=(64, 128), vector_cores=(2, 64),
    vector_lanes=(128,), buffer_bytes=(2**21, 2**23), least_area_share=0.0,
)  # fmt: skip


def model_of(name: str) -> tuple[ShapeSource, Reshaping]:
    workload = load(name)
    shape = decoder_of(workload)
    assert shape is not None
    sizes = {field: getattr(shape, field) for field in FIELDS}
    return ShapeSource(name=name, shape=shape, workload=workload), Reshaping(workload=workload, sizes=sizes)


def question_of(name: str, micro_batches: tuple[int, ...] = (1, 2), widths: tuple[int, ...] = (1, 2)) -> Question:
    return Question(
        workloads=(load(name),),
        setting=SETTING,
        budget=Budget(area_mm2=240.0),
        space=CHIPS,
        choices=PlanChoices(
            memory_bytes=SETTING.memory_capacities_bytes,
            micro_batches=micro_batches,
            recompute=(False, True),
            tensor_parallel=widths,
        ),
        goal=Goal(devices=SETTING.cluster.devices),
    )


def asked(*ranges: str, share: float = 0.03, frozen: tuple[str, ...] = ("vocab",)) -> ShapeQuery:
    return ShapeQuery(share=share, frozen=frozen, ranges=dict(parse_range(one) for one in ranges))


@pytest.mark.parametrize("name", ["llama3-8b", "gpt3-2.7b", "opt-6.7b", "qwen3-8b"])
@pytest.mark.parametrize(("ranks", "micro_batch"), [(1, 1), (1, 4), (2, 2), (8, 1)])
def test_kernels_are_those_of_the_reshaped_workload(name: str, ranks: int, micro_batch: int) -> None:
    model, reshaping = model_of(name)
    assert model.shape is not None
    vocab = model.shape.vocab + 64
    others = [
        {"hidden": 2048, "heads": 16, "kv_heads": 8, "head_dim": 96, "ffn": 3008, "vocab": vocab, "layers": 5},
        {"hidden": 5120, "heads": 32, "kv_heads": 32, "head_dim": 160, "ffn": 20000, "vocab": vocab, "layers": 50},
    ]
    if model.shape.heads == model.shape.kv_heads:
        others[0]["kv_heads"] = 16
    like = reshaping.of(others[0], "like")
    made = layouts(reshaping, like, ranks, micro_batch, SETTING.function_cycles)
    assert made is not None
    shapes = columns([replace(model.shape, **one) for one in others])
    for row, sizes in enumerate(others):
        other = reshaping.of(sizes, "x")
        real = tensor_parallel(other, ranks).layers
        # A table that both ends hold counts in the first of them.
        again = repeated(shared_weights(other, real), len(other.order))
        twice = [sum(again[other.order.index(index)]) for index in range(len(real))]
        for layout, layer, more in zip(made, real, twice, strict=True):
            got = kernels(layout, Columns(shapes=shapes, micro_batch=micro_batch), SETTING.function_cycles)
            for phase, mine in zip(PHASES, got, strict=True):
                want = kernel_graph(layer, phase, micro_batch, SETTING.function_cycles).kernels
                assert tuple(kernel[row] for kernel in mine) == want
            whole = {**reshaping.sizes, **sizes}
            assert (layout.saved.affine(whole) or (0, 0)) == layer.saved_bytes
            assert (layout.parameters.affine(whole) or (0, 0))[0] == layer.parameters - more


@settings(max_examples=6, deadline=None)
@given(
    cuts=st.lists(st.sampled_from(["hidden", "ffn", "heads", "vocab", "head_dim"]), min_size=1, max_size=3),
    ranks=st.sampled_from([1, 2]),
    micro_batch=st.sampled_from([1, 2]),
)
def test_smaller_sizes_are_never_slower_and_bounds_hold(cuts: list[str], ranks: int, micro_batch: int) -> None:
    """A shape whose sizes are at most another's bounds it; both are below the bound that the scheduler proves."""
    model, reshaping = model_of("llama3-8b")
    assert model.shape is not None
    steps = {"hidden": 448, "ffn": 1216, "heads": 8, "vocab": 32000, "head_dim": 32}
    small = replace(model.shape, **{name: getattr(model.shape, name) - steps[name] for name in set(cuts)})
    shapes = columns([model.shape, small])
    (place,) = places_of(question_of("llama3-8b"))
    made = layouts(reshaping, reshaping.workload, ranks, micro_batch, SETTING.function_cycles)
    assert made is not None
    setting_ = place.section.setting
    for index, layout in enumerate(made):
        seconds = layer_s(layout, shapes, micro_batch, ranks, place.chips, setting_, lambda: None)
        assert (seconds.forward_s[1] <= seconds.forward_s[0] * (1 + 1e-12)).all()
        assert (seconds.backward_s[1] <= seconds.backward_s[0] * (1 + 1e-12)).all()
        shard = tensor_parallel(reshaping.workload, ranks)
        lower = kernels_of(shard, micro_batch, SETTING).lower_bounds(place.chips, setting_)
        assert (seconds.forward_s[0] <= lower.forward_s[index] * (1 + 1e-9)).all()
        assert (seconds.backward_s[0] <= lower.backward_s[index] * (1 + 1e-9)).all()


def test_no_search_of_a_shape_exceeds_its_bound() -> None:
    question = question_of("gpt2-xl")
    model, reshaping = model_of("gpt2-xl")
    assert model.shape is not None
    shapes = columns([model.shape, replace(model.shape, layers=40, hidden=1792, heads=28, kv_heads=28, ffn=7040)])
    (place,) = places_of(question)
    for group in ((1, 1), (2, 1), (1, 2)):
        choices = replace(question.choices, micro_batches=(group[0],), tensor_parallel=(group[1],))
        for row in (0, 1):
            sizes = {name: getattr(shapes.at(row), name) for name in FIELDS}
            workload = reshaping.of(sizes, "x")
            made = layouts(reshaping, workload, group[1], group[0], SETTING.function_cycles)
            assert made is not None
            plans = Plans(group=group, setting=SETTING, memory_bytes=place.section.capacity_bytes, recompute=True)
            mine = most_samples_per_s(made, shapes.take(np.array([row])), place.chips, plans, lambda: None).max()
            found = DesignSearch(
                question=replace(question, workloads=(workload,), choices=choices), ends=StoppingRule(gap=0.0)
            ).run()
            reached = found.scores[0][0] if found.reached else 0.0
            assert reached <= mine * (1 + 1e-9)


@pytest.mark.parametrize("raw", [False, True])
def test_joint_search_is_exhaustive_search(raw: bool) -> None:
    question = question_of("gpt2-xl", micro_batches=(1,), widths=(1, 2) if raw else (1,))
    model, _ = model_of("gpt2-xl")
    wanted = asked("layers=44:48:4", "hidden=1536:1664:128", "head_dim=64,128", share=0.02)
    _, reshapes = reshapes_of(model, wanted, raw=raw)
    assert 4 <= len(reshapes.shapes) <= 40
    best = 0.0
    for row in range(len(reshapes.shapes)):
        found = DesignSearch(
            question=replace(question, workloads=(reshapes.workload(row),)), ends=StoppingRule(gap=0.0)
        ).run()
        if found.reached:
            best = max(best, found.scores[0][0] * reshapes.weights[row])
    joint = Joint(question=question, reshapes=reshapes, ends=StoppingRule(gap=0.0)).run()
    assert joint.score == pytest.approx(best, rel=1e-9)
    assert joint.ended.stop in (Stop.OPTIMAL, Stop.SCHEDULES)
    assert joint.reached * (1 + joint.ended.excess) >= best * (1 - 1e-12)
    loose = Joint(question=question, reshapes=reshapes, ends=StoppingRule(gap=0.05)).run()
    assert best / loose.score <= 1.05 * (1 + 1e-9)


def test_the_answer_holds_what_each_choice_alone_gives() -> None:
    model = model_named("gpt2-xl", None)
    question = question_of("gpt2-xl", micro_batches=(1,), widths=(1,))
    found = jointly(
        asked_shapes(model, asked("layers=44:52:4", "hidden=1536:1664:128")), question, StoppingRule(gap=0.01)
    )
    assert isinstance(found, ShapeDesignResult)
    assert found.base.changes == ()
    assert found.base.score <= found.then_shape.score * (1 + 1e-9) <= found.best.score * (1 + 2e-9)
    assert found.then_shape.evaluation.chip.name == found.base.evaluation.chip.name
    assert found.bound >= found.best.score
    assert sum(level.discarded for level in found.levels) <= found.candidates
    assert only(CHIPS, found.best.evaluation.chip).chips == 1


def test_the_best_is_evaluated_where_its_search_is_not_laid_out_in_time() -> None:
    model, _ = model_of("gpt2-xl")
    _, reshapes = reshapes_of(model, asked("layers=44:48:4"), raw=False)
    within = Deadline()
    joint = Joint(
        question=question_of("gpt2-xl", micro_batches=(1,), widths=(1,)), reshapes=reshapes,
        ends=StoppingRule(gap=0.05), within=within,
    )  # fmt: skip
    found = joint.run()
    assert found.best is not None
    assert found.evaluation is not None
    joint._searches.clear()
    within.limit_s = 0.0
    after = joint._exactly(found.best)
    assert after.samples_per_s == pytest.approx(found.evaluation.samples_per_s, rel=0.02)  # list schedules


def test_a_time_limit_gives_the_best_so_far() -> None:
    model, _ = model_of("gpt2-xl")
    found = jointly(
        asked_shapes(model, asked("layers=40:56:1")), question_of("gpt2-xl"), StoppingRule(gap=0.0, limit_s=4.0)
    )
    assert isinstance(found, ShapeDesignResult)
    assert found.stop is Stop.SECONDS
    assert found.bound > found.score > 0


@pytest.mark.parametrize("bytes_", [SETTING.memory_capacities_bytes[0], 2.0**20])
def test_a_time_limit_before_anything_is_reached_is_bad_input(bytes_: float) -> None:
    """Also where the model's own shape fits no memory: another shape might."""
    model, _ = model_of("gpt2-xl")
    question = question_of("gpt2-xl", micro_batches=(1,), widths=(1,))
    question = replace(question, choices=replace(question.choices, memory_bytes=(bytes_,)))
    with pytest.raises(BadInput, match="time limit before any plan was reached"):
        jointly(asked_shapes(model, asked("layers=44:52:4")), question, StoppingRule(gap=0.0, limit_s=1e-9))


@pytest.mark.parametrize("name", ["bert-large", "mixtral-8x7b"])
def test_other_models_are_refused(name: str) -> None:
    with pytest.raises(BadInput, match=r"^[^\n]*expected a d[^\n]*$"):
        reshapes_of(model_named(name, None), asked(), raw=False)


def test_too_many_shapes_are_refused() -> None:
    frozen = ("layers", "hidden", "heads", "kv_heads", "head_dim")
    model, wide = (
        model_named("gpt2-xl", None),
        asked("ffn=6000:8000:1", "vocab=50257:50280:1", share=0.4, frozen=frozen),
    )
    with pytest.raises(BadInput, match="expected at most 20,000"):
        reshapes_of(model, wide, raw=False)


def test_reshapes_name_their_rows() -> None:
    _, reshapes = reshapes_of(model_named("gpt2-xl", None), asked("layers=44:52:4"), raw=False)
    assert isinstance(reshapes, Reshapes)
    assert reshapes.workload(0).name == "gpt2-xl"
    assert reshapes.workload(1).name != "gpt2-xl"


def test_an_interrupt_gives_the_best_so_far_with_its_bound() -> None:
    told = []

    def report(now: object) -> None:
        told.append(now)
        if len(told) == 2:
            raise KeyboardInterrupt

    question = question_of("gpt2-xl", micro_batches=(1,), widths=(1,))
    wanted = asked("layers=44:52:4", "hidden=1536:1664:128")
    found = jointly(asked_shapes(model_named("gpt2-xl", None), wanted), question, StoppingRule(gap=0.0), report=report)
    assert isinstance(found, ShapeDesignResult)
    assert found.stop is Stop.INTERRUPTED
    assert found.bound >= found.score >= found.base.score > 0


def test_shapes_that_no_recording_can_have_are_left_out_and_counted() -> None:
    wanted = asked("kv_heads=1,2,8", "layers=32", "hidden=4096", "head_dim=128", share=0.1)
    found, reshapes = reshapes_of(model_named("llama3-8b", None), wanted, raw=False)
    assert found.unmade > 0
    assert len(reshapes.shapes) == len(found.shapes) == len(found.parameters) == len(reshapes.weights) > 1
    for row in range(len(reshapes.shapes)):
        assert reshapes.workload(row).parameters == found.parameters[row]


def test_a_bound_above_twice_the_score_says_what_to_ask_instead() -> None:
    (said,) = loose(10.0, 47.8)
    assert "little is proven" in said
    assert "space phaze" in said
    assert loose(10.0, 20.0) == ()
