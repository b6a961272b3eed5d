"""Exchanges of context-parallel ranks: which plans have them, what published runs say of them, what is searched, what
trainers are told, and what is refused in one line."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from attention_measured import ROWS, predicted_s
from commands import command
from export_cases import LLAMA, planned_of
from hardplace.cost.layers.builder import GATHERED_PASSES
from hardplace.cost.layers.work import StreamWork
from hardplace.errors import BadInput
from hardplace.exports.export import exported, nearest_job
from hardplace.exports.importers.found import Answers
from hardplace.exports.importers.read import imported_plan
from hardplace.exports.limits import broken_limits
from hardplace.exports.planned import job_of
from hardplace.exports.targets import Target
from hardplace.files import write
from hardplace.hardware.catalogue import device, node
from hardplace.plans.chain import of_shape
from hardplace.plans.fleet import fleet_of
from hardplace.plans.placement.search import PlanSearch
from hardplace.plans.placement.space import PlanSpace
from hardplace.plans.plan import ContextExchange, Plan
from hardplace.plans.plan_files import PlanFile, read_plan
from hardplace.plans.plan_problems import problems
from hardplace.plans.published.runs import NotModelled, run_of
from hardplace.plans.timing import groups_of, layer_seconds
from hardplace.report.placed import alike
from hardplace.run.execute import refused
from hardplace.workload.decoder import DecoderShape
from hardplace.workload.types import Recompute
from oracles_plans import short_model

TABLE = Path(__file__).parents[2] / "validation/training/training.csv"
SHAPE = DecoderShape(
    layers=2, hidden=64, heads=16, kv_heads=4, head_dim=8, ffn=128, vocab=32, sequence=64, gated=True
)  # fmt: skip
EXCHANGE = Plan(global_batch=64, context=2, data=8, context_exchange=ContextExchange.ALL_TO_ALL)
ANSWERS = Answers(devices=16, batch=64, micro_batch=1)


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, str]]:
    with TABLE.open() as source:
        return {row["id"]: row for row in csv.DictReader(source)}


# -- plans ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"context": 1, "data": 16}, "context_exchange: all-to-all: expected context 2 or more with it"),
        (
            {"software": "torchtitan"},
            "context_exchange: all-to-all: expected ring or all-gather with software torchtitan",
        ),
    ],
)
def test_a_plan_that_cannot_exchange_heads_says_so(fields: dict[str, object], said: str) -> None:
    assert list(problems(replace(EXCHANGE, **fields))) == [said]  # type: ignore[arg-type]


@pytest.mark.parametrize("exchange", [ContextExchange.RING, ContextExchange.ALL_GATHER])
def test_other_exchanges_say_nothing_without_context_parallelism(exchange: ContextExchange) -> None:
    """Files of plans hold one whatever their degree is."""
    assert not list(problems(replace(EXCHANGE, context=1, data=16, context_exchange=exchange)))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"context": 4}, ""),
        ({"context": 8}, ""),  # each head of keys twice
        ({"tensor": 8, "context": 2}, ""),  # 1 head of keys a tensor rank, twice
        ({"context": 8, "software": "megatron-core"}, "a divisor of a tensor rank's heads of keys, 4"),
        ({"tensor": 2, "context": 4, "software": "megatron-core"}, "a divisor of a tensor rank's heads of keys, 2"),
        ({"tensor": 2, "context": 2, "software": "megatron-core"}, ""),
        ({"tensor": 8, "context": 4}, "tensor x context that divides the model's 16 heads with .*, not 8 x 4"),
        ({"context": 32}, "tensor x context that divides the model's 16 heads with .*, not 1 x 32"),
    ],
)
def test_heads_must_divide_after_tensor_parallelism(fields: dict[str, object], said: str) -> None:
    plan = replace(EXCHANGE, data=1, **fields)  # type: ignore[arg-type]
    if not said:
        assert of_shape(SHAPE, plan).layers
        return
    with pytest.raises(BadInput, match=said):
        of_shape(SHAPE, plan)
    assert of_shape(SHAPE, replace(plan, context_exchange=ContextExchange.RING)).layers


def test_heads_of_keys_that_neither_divide_nor_are_divided_are_refused() -> None:
    with pytest.raises(BadInput, match="a divisor or a multiple of a tensor rank's heads of keys, 3"):
        of_shape(replace(SHAPE, heads=12, kv_heads=3), replace(EXCHANGE, context=4))


def test_a_plans_file_comes_back_and_costs_the_same(tmp_path: Path) -> None:
    run = planned_of(LLAMA, EXCHANGE)
    write(tmp_path / "plan.json", PlanFile(**{name: getattr(EXCHANGE, name) for name in Plan.__dataclass_fields__}))
    back = read_plan(tmp_path / "plan.json")
    assert back.context_exchange is ContextExchange.ALL_TO_ALL
    assert run.priced(back).step_s == run.priced(EXCHANGE).step_s
    ring = replace(EXCHANGE, context_exchange=ContextExchange.RING)
    assert run.priced(ring).mfu * run.priced(ring).step_s == pytest.approx(
        run.priced(EXCHANGE).mfu * run.priced(EXCHANGE).step_s, rel=1e-12
    )  # the same FLOPs


# -- published runs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "cells", "exchange"),
    [
        ("simumax-037", {}, ContextExchange.ALL_TO_ALL),  # its guide: cp_comm_type=a2a
        ("simumax-037", {"note": "cp_comm_type p2p"}, ContextExchange.RING),
        ("simumax-037", {"context_exchange": "all-gather"}, ContextExchange.ALL_GATHER),
        ("simumax-001", {}, ContextExchange.RING),  # one context rank
        ("mbridge-001", {"cp": "2", "dp": "", "context_exchange": "Ulysses"}, ContextExchange.ALL_TO_ALL),
        ("mbridge-001", {"context_exchange": "p2p"}, ContextExchange.RING),
        ("mbridge-001", {"cp": "2", "dp": "", "note": "--cp-comm-type a2a"}, ContextExchange.ALL_TO_ALL),
        ("mbridge-001", {"note": "cp_comm_type=a2a+p2p"}, ContextExchange.RING),
        ("mbridge-001", {"note": "keys and values gathered over the context ranks"}, ContextExchange.ALL_GATHER),
    ],
)
def test_a_published_run_exchanges_as_its_row_or_its_source_says(
    rows: dict[str, dict[str, str]], name: str, cells: dict[str, str], exchange: ContextExchange
) -> None:
    assert run_of(rows[name] | cells).plan.context_exchange is exchange


def test_a_columns_word_that_is_none_is_refused(rows: dict[str, dict[str, str]]) -> None:
    with pytest.raises(BadInput, match="context_exchange: 'swap': expected ring, all-gather, all-to-all or an empty"):
        run_of(rows["simumax-037"] | {"context_exchange": "swap"})
    with pytest.raises(NotModelled, match="context_exchange: all-to-all: expected context 2 or more"):
        run_of(rows["simumax-001"] | {"context_exchange": "all-to-all"})


def test_no_attention_hides_an_exchange_of_heads() -> None:
    """It shows whole, where a ring of this length shows in part."""
    shown = {}
    for exchange in ContextExchange:
        plan = replace(EXCHANGE, context_exchange=exchange)
        site = fleet_of([(device("h100-sxm"), node("dgx-h100"), plan.devices)], plan).sites[0]
        layer = of_shape(replace(SHAPE, heads=32, kv_heads=32, head_dim=128, sequence=32768), plan).layers[0]
        alone_s = site.pricer.parts(layer.forward, site.cluster, groups_of(plan)).context_s
        assert alone_s > 0.0
        shown[exchange] = layer_seconds(layer, plan, site, {}).forward.exchange_s / alone_s
    assert shown[ContextExchange.ALL_TO_ALL] == shown[ContextExchange.ALL_GATHER] == 1.0
    assert shown[ContextExchange.RING] < 0.9


# -- measured ---------------------------------------------------------------------------------------------------------


def test_attention_with_an_exchange_of_heads_takes_what_it_takes_on_h100() -> None:
    """Eighteen measurements of Transformer Engine's benchmark with FA3, 2 to 8 ranks; nothing is fitted on them."""
    rows = [one for one in ROWS if (one.kernels, one.exchange) == ("FA3", ContextExchange.ALL_TO_ALL)]
    errors = [predicted_s(one) / one.measured_s - 1.0 for one in rows]
    assert len(errors) == 18
    assert max(map(abs, errors)) < 0.05
    assert sum(map(abs, errors)) / 18 < 0.015


@pytest.mark.parametrize("exchange", [ContextExchange.RING, ContextExchange.ALL_GATHER])
def test_attention_over_blocks_of_keys_takes_what_it_takes_on_h100(exchange: ContextExchange) -> None:
    """Of the same benchmark; one figure an exchange is of the rows over 2 and 4 ranks, those over 8 were left out."""
    errors = {
        context: [
            predicted_s(one) / one.measured_s - 1.0
            for one in ROWS
            if (one.kernels, one.exchange, one.context) == ("FA3", exchange, context)
        ]
        for context in (2, 4, 8)
    }
    for found in errors.values():
        assert len(found) == 6
        assert abs(sum(found)) / 6 < 0.015
    assert max(map(abs, errors[2] + errors[4])) < 0.03
    assert max(map(abs, errors[8])) < 0.1  # 72,000 tokens, 1,100 of each sequence a rank: steps are short


def test_heads_are_exchanged_fastest_over_four_ranks_and_more_as_measured() -> None:
    """Over 2 a ring is, but for the longest sequences."""
    seconds = {
        (one.workload, one.context, one.exchange): (predicted_s(one), one.measured_s)
        for one in ROWS
        if one.kernels == "FA3"
    }
    for workload in {one.workload for one in ROWS}:
        for context in (4, 8):
            for way in (0, 1):
                each = {exchange: seconds[workload, context, exchange][way] for exchange in ContextExchange}
                assert min(each, key=each.__getitem__) is ContextExchange.ALL_TO_ALL
        ring, heads = (seconds[workload, 2, one] for one in (ContextExchange.RING, ContextExchange.ALL_TO_ALL))
        assert ring[0] < heads[0]
        assert ring[1] < heads[1] or workload == "bucket128k"


def test_blocks_of_keys_cost_nothing_where_a_compiler_reads_keys_as_they_come() -> None:
    """XLA has attention over gathered keys as one kernel; Transformer Engine copies and adds up in both passes, and
    runs it again with core attention."""
    streams = {}
    for software in ("megatron-core", "xla"):
        plan = replace(EXCHANGE, context_exchange=ContextExchange.ALL_GATHER, software=software)
        for recompute in (Recompute.NONE, Recompute.SELECTIVE):
            modules = ("core_attn",) if recompute is Recompute.SELECTIVE else ()
            again = {"recompute": recompute, "recompute_modules": modules}
            layer = of_shape(SHAPE, replace(plan, **again)).layers[0]
            alone = of_shape(SHAPE, replace(plan, **again, context=1, data=16)).layers[0]
            streams[software, recompute] = [
                sum(one.bytes for one in work if isinstance(one, StreamWork))
                - sum(one.bytes for one in whole if isinstance(one, StreamWork)) / 2.0
                for work, whole in (
                    (layer.forward, alone.forward),
                    (layer.backward, alone.backward),
                    (layer.again, alone.again),
                )
            ]
    keys = 2.0 * SHAPE.sequence * 2 * SHAPE.kv_heads * SHAPE.head_dim  # bytes of the whole sequence's keys and values
    assert streams["xla", Recompute.NONE] == [0.0, 0.0, 0.0]
    forward, backward = (each * keys for each in GATHERED_PASSES)
    assert streams["megatron-core", Recompute.NONE] == pytest.approx([forward, backward, 0.0])
    assert streams["megatron-core", Recompute.SELECTIVE] == pytest.approx([forward, backward, forward])


# -- the search -------------------------------------------------------------------------------------------------------


def test_heads_are_exchanged_where_that_is_fastest_and_only_by_software_that_does() -> None:
    """Four nodes of two H100, 32 heads with keys of their own: a ring passes four times the bytes, and attention does
    not hide them."""
    workload, where = short_model("llama2-7b", 3), node("dgx-h100")
    where = replace(where, levels=(replace(where.levels[0], devices=2), where.levels[1]))
    inventory = [(device("h100-sxm"), where, 8)]
    held = {"context": (8,), "micro_batch": (1,), "tensor": (1,), "pipeline": (1,), "zero": (1,)}

    def searched(**fixed: tuple[object, ...]):  # type: ignore[no-untyped-def]
        return PlanSearch(workload, inventory, PlanSpace(global_batch=8, fixed=held | fixed)).run()

    found = searched()
    assert found.best[0].plan.context_exchange is ContextExchange.ALL_TO_ALL
    assert {one.plan.context_exchange for one in found.best} == set(ContextExchange)
    assert "differ in context_exchange" in alike(found)
    for exchange in (ContextExchange.RING, ContextExchange.ALL_GATHER):
        assert searched(context_exchange=(exchange,)).best[0].step_s > found.best[0].step_s
    other = searched(software=("fsdp-eager",))
    assert {one.plan.context_exchange for one in other.best} == {ContextExchange.RING, ContextExchange.ALL_GATHER}
    with pytest.raises(BadInput, match="context_exchange: all-to-all: expected ring or all-gather with software fsdp"):
        searched(software=("fsdp-eager",), context_exchange=(ContextExchange.ALL_TO_ALL,))


# -- trainers ---------------------------------------------------------------------------------------------------------


def texts(target: Target, plan: Plan, folder: Path) -> dict[str, str]:
    run = planned_of(LLAMA, plan)
    found = exported(nearest_job(job_of(run, target, plan, None), run.priced)).files
    for file in found:
        (folder / file.name).write_text(file.text)
    return {file.name: file.text for file in found}


def test_megatron_is_told_and_comes_back(tmp_path: Path) -> None:
    assert "--cp-comm-type a2a" in texts(Target.MEGATRON, EXCHANGE, tmp_path)["megatron.args"]
    back = imported_plan(tmp_path / "megatron.args", Target.MEGATRON, ANSWERS).plan
    assert (back.context, back.context_exchange) == (2, ContextExchange.ALL_TO_ALL)
    assert 'cp_comm_type: "a2a"' in texts(Target.MEGATRON_BRIDGE, EXCHANGE, tmp_path)["bridge.yaml"]


def test_megatrons_exchange_in_two_levels_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "args.txt"
    path.write_text("--context-parallel-size 4 --cp-comm-type a2a+p2p --micro-batch-size 1 --global-batch-size 64")
    found = imported_plan(path, Target.MEGATRON, ANSWERS)
    assert found.plan.context_exchange is ContextExchange.RING
    assert any("a2a+p2p: taken as a ring" in note for note in found.notes)


def test_deepspeed_is_told_and_comes_back(tmp_path: Path) -> None:
    plan = replace(EXCHANGE, zero=3, gradient="bf16+fp32")
    config = json.loads(texts(Target.DEEPSPEED, plan, tmp_path)["ds_config.json"])
    assert config["sequence_parallel_size"] == 2
    # deepspeed.runtime.config._batch_assertion: replicas of whole sequences
    batch = config["train_micro_batch_size_per_gpu"] * config["gradient_accumulation_steps"] * (16 // 2)
    assert config["train_batch_size"] == batch == 64
    back = imported_plan(tmp_path / "ds_config.json", Target.DEEPSPEED, ANSWERS)
    assert (back.plan.context, back.plan.data, back.plan.context_exchange) == (2, 8, ContextExchange.ALL_TO_ALL)
    assert not back.notes
    run = planned_of(LLAMA, plan)
    said = exported(job_of(run, Target.DEEPSPEED, plan, None)).warnings
    assert any("UlyssesSPAttentionHF" in one for one in said)


@pytest.mark.parametrize(
    ("target", "fields", "limits"),
    [
        (Target.TORCHTITAN, {"zero": 3}, {"context_exchange"}),
        (Target.ACCELERATE, {"zero": 3}, {"context_exchange"}),
        (Target.MAXTEXT, {"zero": 3}, {"context_exchange"}),
        (Target.MEGATRON, {"context": 16, "data": 1}, {"context_exchange"}),  # 8 heads of keys
        (Target.MEGATRON, {"tensor": 4, "context": 4, "data": 1}, {"context_exchange"}),
        (Target.MEGATRON, {"tensor": 4, "data": 2}, set()),
        (Target.DEEPSPEED, {"zero": 3, "tensor": 2, "data": 4, "gradient": "bf16+fp32"}, {"context"}),
        (Target.DEEPSPEED, {"zero": 3, "context": 16, "data": 1, "gradient": "bf16+fp32"}, set()),
    ],
)
def test_what_a_trainer_cannot_exchange_is_refused_with_the_nearest_plan(
    target: Target, fields: dict[str, object], limits: set[str]
) -> None:
    run = planned_of(LLAMA, replace(EXCHANGE, **fields))  # type: ignore[arg-type]
    job = job_of(run, target, run.plan, None)
    assert {one.field for one in broken_limits(target, job.plan, job.facts)} == limits
    near = nearest_job(job, run.priced).plan
    assert not any(broken_limits(target, near, job.facts))
    assert (
        near == job.plan if not limits else near.context_exchange is not job.plan.context_exchange or near != job.plan
    )


def test_deepspeed_takes_a_ring_as_an_exchange_of_heads() -> None:
    """Where no sample is left to give the devices to."""
    ring = {"zero": 3, "gradient": "bf16+fp32", "context_exchange": ContextExchange.RING, "global_batch": 8}
    run = planned_of(LLAMA, replace(EXCHANGE, **ring))  # type: ignore[arg-type]
    near = nearest_job(job_of(run, Target.DEEPSPEED, run.plan, None), run.priced).plan
    assert (near.context, near.context_exchange) == (2, ContextExchange.ALL_TO_ALL)


def test_a_run_on_processes_refuses_it() -> None:
    assert [one.split(":")[0] for one in refused(EXCHANGE)] == ["context_exchange"]


# -- one line ---------------------------------------------------------------------------------------------------------

FEW = ("--device", "h100-sxm", "--devices", "8", "--batch", "16")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("llama2-7b", "context_exchange=ulysses"), "context_exchange=ulysses: expected ring, all-gather, all-to-all"),
        (("llama2-7b", "context_exchange=all-to-all"), "expected a context of 2 or more with it, such as context=2"),
        (
            ("mamba2-2.7b", "context=2", "context_exchange=all-to-all"),
            "expected ring or all-gather: mamba2-2.7b runs as",
        ),
        (("llama2-7b", "context=64", "context_exchange=all-to-all"), "fixed: context=64"),
        (("opt-350m", "context=8", "tensor=4", "context_exchange=all-to-all"), "divide"),
    ],
)
def test_what_is_asked_of_a_search_in_vain_is_said_in_a_line(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    model, *held = words
    ended = command("place", model, *FEW, *(part for one in held for part in ("--fix", one)), folder=tmp_path)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert said.replace("fixed:", "--fix:") in ended.err or said in ended.err


@pytest.mark.parametrize(
    ("model", "fields", "said"),
    [
        ("llama2-7b", {"context_exchange": "ulysses"}, "context_exchange"),
        ("llama2-7b", {"context": 1}, "plan.json: context_exchange: all-to-all: expected context 2 or more with it"),
        ("mamba2-2.7b", {}, "context_exchange: all-to-all: expected ring or all-gather: mamba2-2.7b runs as recorded"),
        (
            LLAMA,
            {"context": 64},
            "context: 64: expected tensor x context that divides the model's 32 heads with context_exchange all-to-all",
        ),
    ],
)
def test_a_file_that_asks_for_what_is_not_is_refused_in_a_line(
    model: str, fields: dict[str, object], said: str, tmp_path: Path
) -> None:
    plan = {"global_batch": 64, "context": 2, "context_exchange": "all-to-all"} | fields
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    devices = f"h100-sxm:{plan['context']}"
    ended = command("estimate", model, "--plan", "plan.json", "--device", devices, folder=tmp_path)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert said in ended.err
