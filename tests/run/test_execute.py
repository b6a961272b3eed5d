"""Plans on real processes: loss and every gradient as of one process, bytes and collectives as the plan predicts."""

import json
import os
import sys
from dataclasses import replace

import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import hardplace.cli  # noqa: F401, E402  (joins the verbs)
from hardplace.cli.app import app  # noqa: E402
from hardplace.csv_table import parse  # noqa: E402
from hardplace.errors import BadInput  # noqa: E402
from hardplace.plans.plan import ContextExchange, Format, Plan  # noqa: E402
from hardplace.plans.published.own import measured_runs, own_runs  # noqa: E402
from hardplace.plans.published.rows import rows_of  # noqa: E402
from hardplace.run.execute import executed  # noqa: E402
from hardplace.run.launch import RankFailed, prepared, run_forked  # noqa: E402
from hardplace.run.measured import append_row, device_of, measured_row  # noqa: E402
from hardplace.run.predicted import in_fp32  # noqa: E402
from hardplace.run.types import RankCounts, RankResult, RunResult  # noqa: E402
from run_cases import CASES, EXAMPLES, differences, kept_of, workload_of  # noqa: E402

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.skipif(os.name != "posix", reason="processes fork")]
# All 14 run in benchmarks/run_plans.py; of these each division is in one.
HERE = ("tensor-sequence-zero3", "interleaved-recompute", "experts-pipeline", "bert-tensor")


@pytest.fixture(autouse=True)
def examples(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)


def function(name):
    import tiny_models

    return getattr(tiny_models, name)


@pytest.mark.parametrize("name", HERE)
def test_a_plan_runs_as_predicted(name):
    model, plan = CASES[name]
    found = executed(plan, workload_of(model), kept_of(model), function(model), 2)
    assert found is not None
    assert len(found.ranks) == 4
    assert found.loss_error < 1e-5
    assert found.gradient_error < 1e-5
    assert differences(name, found) == []


def test_autograd_keeps_what_a_recording_in_fp32_says():
    plan = Plan(global_batch=4, pipeline=2, zero=0, stages=(3, 1))
    found = executed(plan, workload_of("llama"), kept_of("llama"), function("llama"), 1)
    assert found is not None
    rotary, received = 2 * 32 * 16 * 4, 32 * 64 * 4  # both tables of a micro-batch; torch's buffer for one
    tokens = 32 * 8  # numbers of a micro-batch are views of the whole batch's
    # Micro-batches in flight: 2 of 4, then 1 of 4.
    more = [2 * rotary + 2 * tokens, rotary + 3 * received + 3 * tokens]
    for one, predicted, extra in zip(found.ranks, found.predicted, more, strict=True):
        assert one.counted.saved_bytes == predicted.saved_bytes + extra


def test_a_run_from_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(EXAMPLES)
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"global_batch": 4, "tensor": 2}))
    words = ["run", str(path), "--model", "tiny_models:llama", "--steps", "1"]
    runs = tmp_path / "runs.csv"
    done = CliRunner().invoke(app, [*words, "--runs", str(runs)])
    assert done.exit_code == 0, done.output
    assert "equal to 1e-05" in done.output
    assert "tensor all_reduce" in done.output
    assert "a row of cpu (a log alone" in done.output.replace("\n", " ")
    # On a device of the catalogue the same row is a measured step that `anchor` takes.
    (row,) = rows_of(parse(runs.read_text(), "runs.csv"))
    with pytest.raises(BadInput, match="device cpu: no device of the catalogue"):
        measured_runs(own_runs([row], "runs.csv"))
    (taken,) = measured_runs(own_runs([row | {"device": device_of("NVIDIA H100 80GB HBM3")}], "runs.csv"))
    assert (taken.plan.tensor, taken.plan.global_batch, taken.plan.precision) == (2, 4, Format.FP32)
    assert (taken.seconds, taken.fleet.devices) == (float(row["target_iter_s"]), 2)
    append_row(runs, row)
    assert [one["id"] for one in rows_of(parse(runs.read_text(), ""))] == ["llama-1", "llama-1-2"]
    path.write_text(json.dumps({"global_batch": 16, "data": 16}))
    done = CliRunner().invoke(app, words)
    assert "devices: 16: expected at most 8 as processes here" in str(done.exception)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "4")
    done = CliRunner().invoke(app, words)
    assert "devices: 16 in the plan: expected the launcher's 4" in str(done.exception)


def test_a_row_is_read_as_the_plan_that_ran():
    counted = RankCounts(weights_bytes=0, gradients_bytes=0, states_bytes=0, saved_bytes=0, traffic={})
    rank = RankResult(rank=0, stage=0, losses=(), gradient_error=0.0, worst="", counted=counted, seconds=(0.5,))
    found = RunResult(losses=(), reference=(), ranks=(rank,), predicted=(), notes=())
    given = {"global_batch": 8, "data": 4, "micro_batch": 1, "zero": 3, "shard": 2}
    plan = in_fp32(Plan(**given, recompute="full", recompute_layers=1))

    row = measured_row("here", workload_of("llama"), plan, found, "NVIDIA H100 80GB HBM3", 4)
    (taken,) = measured_runs(own_runs([row], "runs.csv"))
    assert (taken.plan.zero, taken.plan.shard, taken.plan.recompute_layers) == (3, 2, 1)
    for odd in ({"schedule": "zero-bubble"}, {"pipeline": 2, "data": 2, "zero": 1, "shard": 0, "stages": (3, 1)}):
        with pytest.raises(BadInput, match="the usual one: a table of runs has no column"):
            measured_row("here", workload_of("llama"), replace(plan, **odd), found, "cpu", 4)
    divided = replace(plan, context=2, data=2, zero=0, shard=0)
    row = measured_row("here", workload_of("llama"), divided, found, "NVIDIA H100 80GB HBM3", 4)
    (taken,) = measured_runs(own_runs([row], "runs.csv"))
    assert (taken.plan.context, taken.plan.context_exchange) == (2, divided.context_exchange)
    even = replace(plan, pipeline=2, data=2, zero=1, shard=0, stages=(2, 2))
    assert measured_row("here", workload_of("llama"), even, found, "cpu", 4)["pp"] == "2"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"pipeline": 2, "data": 2, "zero": 2}, "zero: 2: expected 0 or 1 with a pipeline"),
        ({"expert": 2, "tensor": 2}, "expert: 2: expected tensor 1"),
        ({"context": 2, "tensor": 2, "sequence": True}, "sequence: true: expected false with context"),
        ({"context": 2, "context_exchange": ContextExchange.ALL_TO_ALL}, "all-to-all: expected ring or all-gather"),
    ],
)
def test_plans_that_are_not_run_are_said(fields, said):
    with pytest.raises(BadInput, match=said):
        executed(Plan(global_batch=8, **fields), workload_of("llama"), kept_of("llama"), function("llama"), 1)


def test_modules_that_cannot_be_divided_are_said():
    plan = Plan(global_batch=8, tensor=2)
    with pytest.raises(BadInput, match="T5ForConditionalGeneration: expected pipeline, tensor and context 1"):
        prepared(function("t5"), plan, ((4,),), 1)
    with pytest.raises(BadInput, match="failed to build: division by zero"):
        prepared(lambda: 1 / 0, plan, ((4,),), 1)
    with pytest.raises(BadInput, match="expected a function that returns"):
        prepared(lambda: 1, plan, ((4,),), 1)

    def tied():
        model, inputs = function("llama")()
        model.lm_head.weight = model.model.embed_tokens.weight
        return model, inputs

    with pytest.raises(BadInput, match="tie_word_embeddings: true: expected false"):
        prepared(tied, plan, ((4,),), 1)


def test_a_rank_that_dies_ends_all_and_is_told_once():
    given = prepared(function("llama"), Plan(global_batch=8, data=2, zero=0), ((4,),), 1)
    weight = given.model.lm_head.weight

    def dies(grad):
        if torch.distributed.get_rank() == 1:
            sys.exit("rank one has enough")
        return grad

    weight.register_hook(dies)
    with pytest.raises(RankFailed, match=r"^rank 1: SystemExit: rank one has enough") as problem:
        run_forked(given)
    assert "\n" not in str(problem.value)
