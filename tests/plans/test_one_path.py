"""One answer for one run: `validate training`, `estimate --plan` and `place` price it by the same function."""

import csv
import random
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import pytest

from hardplace.cost.layers.recognise import decoder_of
from hardplace.files import write
from hardplace.hardware.catalogue import device
from hardplace.plans.chain import of_workload
from hardplace.plans.estimate import estimate_plan
from hardplace.plans.fleet import fleet_of
from hardplace.plans.placement.search import PlanSearch
from hardplace.plans.placement.space import PlanSpace
from hardplace.plans.plan import PipelineSchedule, Plan
from hardplace.plans.plan_files import PlanFile, read_plan
from hardplace.plans.published.rows import NotModelled
from hardplace.plans.published.runs import run_of
from hardplace.plans.published.scores import estimated
from hardplace.workload.load import load

ROOT = Path(__file__).parents[2]
MODELS = ("llama2-7b", "llama3-8b", "llama3-70b", "llama3-405b", "gpt3-175b", "qwen3-30b-a3b", "deepseek-v3")
COUNT = 8
SEARCHED = (
    *("tensor", "sequence", "pipeline", "virtual", "data", "context", "context_exchange", "expert", "zero", "shard"),
    *("micro_batch", "schedule", "order", "recompute", "recompute_layers"),
)


@cache
def shapes():
    return {replace(decoder_of(load(name)), tied=False): name for name in MODELS}


def runs():
    """The scored runs whose model is in the catalogue, by id, with its name."""
    found = {}
    for table in ("training.csv", "runs-2026b.csv"):
        with (ROOT / "validation/training" / table).open() as source:
            for row in csv.DictReader(source):
                try:
                    run = run_of(row)
                except NotModelled:
                    continue
                name = shapes().get(replace(run.shape, tied=False))
                if name and row["grade"] != "C" and not row["flag"] and not run.open:
                    found[row["id"]] = run, name
    return found


@pytest.fixture(scope="module")
def sample():
    found = runs()
    assert len(found) > 60
    chosen = random.Random(16).sample(sorted(found), COUNT)
    mixtures = [name for name, (run, _) in sorted(found.items()) if run.shape.experts and run.plan.pipeline == 1]
    eased = [name for name, (run, _) in sorted(found.items()) if run.plan.recompute_modules and run.plan.pipeline == 1]
    return {name: found[name] for name in (*chosen, mixtures[0], eased[0])}


def test_a_plans_file_is_priced_as_the_run(sample, tmp_path):
    for name, (run, model) in sample.items():
        file = tmp_path / f"{name}.json"
        write(file, PlanFile(**{one.name: getattr(run.plan, one.name) for one in fields(Plan)}, model=model))
        plan = read_plan(file)
        fleet = fleet_of([(device(run.device), run.node, plan.devices)], plan)
        found, scored = estimate_plan(of_workload(load(model), plan), plan, fleet), estimated(run)
        assert found.step_s == pytest.approx(scored.step_s, rel=1e-9), name
        assert found.memory == scored.memory, name


def test_place_held_to_the_run_prices_it_alike(sample):
    """It also searches where stages are cut, so with a pipeline it may be faster."""
    for name, (run, model) in sample.items():
        whole = Plan(global_batch=run.plan.global_batch)
        held = {one: (getattr(run.plan, one),) for one in SEARCHED}
        held |= {
            one.name: (getattr(run.plan, one.name),)
            for one in fields(Plan)
            if one.name not in held and getattr(run.plan, one.name) != getattr(whole, one.name)
        }
        chip = replace(device(run.device), memory_bytes=1e15)  # all fit: only seconds are compared
        parts = [(chip, run.node, run.plan.devices)]
        found = PlanSearch(load(model), parts, PlanSpace(global_batch=run.plan.global_batch, fixed=held)).run()
        best, scored = found.best[0], estimated(run)
        if run.plan.pipeline == 1 or run.plan.schedule is not PipelineSchedule.ONE_F_ONE_B:
            assert best.step_s == pytest.approx(scored.step_s, rel=1e-9), name
        assert best.step_s <= scored.step_s * (1 + 1e-9), name
