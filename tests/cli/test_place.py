"""`hardplace place` and `estimate --plan`: table, page, plan file and back, what is short, bad input."""

import json
import math
import re

import pytest
from click.testing import CliRunner

import hardplace as hp
import hardplace.cli
from hardplace.cli.app import app
from hardplace.errors import BadInput
from hardplace.plans.placement.search import PlanSearch
from hardplace.report.placed import certificate
from hardplace.report.plan import device_ranges
from hardplace.units import percent

FEW = ("--device", "h100-sxm", "--devices", "8", "--batch", "16", "--fix", "tensor=2", "--fix", "pipeline=2")


def run(*words):
    return CliRunner(env={"COLUMNS": "400"}).invoke(app, list(words))


def test_the_best_plan_comes_back_through_its_file(tmp_path):
    done = run("place", "llama2-7b", *FEW, "--out", str(tmp_path), "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["answer"]
    again = run("estimate", "llama2-7b", "--plan", str(tmp_path / "plan.json"), "--device", "h100-sxm", "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["answer"]["step_s"] == pytest.approx(found["best"][0]["step_s"], rel=1e-9)
    alone = run("estimate", "llama2-7b", "--plan", str(tmp_path / "plan.json"), "--json")
    assert alone.exit_code == 0, alone.output
    assert json.loads(alone.stdout)["answer"] == json.loads(again.stdout)["answer"]
    words = ("estimate", "llama2-7b", "--plan", str(tmp_path / "plan.json"), "--device", "a100-80gb-sxm", "--json")
    assert json.loads(run(*words).stdout)["answer"]["step_s"] > 1.5 * found["best"][0]["step_s"]
    page = (tmp_path / "place.html").read_text()
    assert "Memory by stage" in page
    assert page.count("<rect") > 100


def test_the_table_says_what_is_proven(tmp_path):
    done = run("place", "llama2-7b", *FEW, "--out", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert "no plan in the searched space is faster in this cost model" in done.output
    assert "timeline of the best plan" in done.output
    assert "the 10 best plans have 1 combination of degrees (tensor, context, data, pipeline, expert); " in done.output
    assert "differ in" in done.output
    page = (tmp_path / "place.html").read_text()
    assert "1 combination of degrees" in page


def test_two_kinds_come_back_through_their_file(tmp_path):
    kinds = ("--device", "h100-sxm:8", "--device", "a100-80gb-sxm:8")
    done = run("place", "llama2-7b", *kinds, "--batch", "32", "--fix", "tensor=1,2", "--out", str(tmp_path), "--json")
    assert done.exit_code == 0, done.output
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert {*plan["kinds"]} == {"h100-sxm", "a100-80gb-sxm"}
    words = ("estimate", "llama2-7b", "--plan", str(tmp_path / "plan.json"), "--device", "h100-sxm:8")
    again = run(*words, "--device", "a100-80gb-sxm:8", "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(run(*words[:4], "--json").stdout)["answer"] == json.loads(again.stdout)["answer"]
    assert json.loads(again.stdout)["answer"]["step_s"] == pytest.approx(
        json.loads(done.stdout)["answer"]["best"][0]["step_s"], rel=1e-9
    )


def test_what_is_short(tmp_path):
    done = run("place", "llama2-7b", "--device", "h100-sxm", "--devices", "1", "--batch", "4", "--out", str(tmp_path))
    assert done.exit_code == 3
    short = re.search(r"is short by ([\d.]+) GiB \(([\d,]+) bytes\) on stage 0", done.output)
    assert short is not None, done.output
    assert float(short[1]) == pytest.approx(float(short[2].replace(",", "")) / 2**30, abs=0.005)
    assert done.output.count("fits with") == 3


def test_devices_and_layers_of_stages(tmp_path):
    """Which stage is on which kind, in the ten best, the stages' table, `estimate --plan` and the page."""
    kinds = ("--device", "h100-sxm:8", "--device", "a100-80gb-sxm:8")
    done = run("place", "llama2-7b", *kinds, "--batch", "32", "--fix", "tensor=1,2", "--out", str(tmp_path))
    assert done.exit_code == 0, done.output
    plan = json.loads((tmp_path / "plan.json").read_text())
    stages = list(zip(plan["kinds"], plan["stages"], strict=True))
    assert "(for estimate --plan; replan takes devices of one kind)" in done.output
    assert device_ranges(plan["kinds"]) in done.output
    again = run("estimate", "llama2-7b", "--plan", str(tmp_path / "plan.json"))
    for text in (done.output, again.output):
        lines = text[re.search(r"stage +device +layers", text).start() :].splitlines()[1:]
        folded = [line.split()[:3] for line in lines[: lines.index("") if "" in lines else None]]
        told = []
        for numbers, kind, layers in (row for row in folded if len(row) == 3 and row[0][0].isdigit()):
            first, _, last = numbers.partition("-")
            told += [(kind, int(layers))] * (int(last or first) - int(first) + 1)
        assert told[: len(stages)] == stages
    page = (tmp_path / "place.html").read_text()
    drawn = []
    for first, last, kind, layers in re.findall(r'<tr><td>(\d+)(?:-(\d+))?<td>(\S+)<td class="n">(\d+)<td', page):
        drawn += [(kind, int(layers))] * (int(last or first) - int(first) + 1)
    assert drawn == stages


def test_ranges_of_stages_on_a_kind():
    assert device_ranges(("a", "a", "b", "a")) == "0-1 a, 2 b, 3 a"


def test_one_kind_needs_no_column(tmp_path):
    done = run("place", "llama2-7b", *FEW, "--fix", "micro_batch=4", "--out", str(tmp_path))
    assert re.search("stage +layers", done.output)
    assert "(for estimate --plan and replan)" in done.output
    best = json.loads(run("place", "llama2-7b", *FEW, "--out", str(tmp_path), "--json").stdout)["answer"]["best"][0]
    assert f"{best['tokens_per_s']:,.0f} tokens/s, step {best['step_s']:.4g} s, MFU {percent(best['mfu'])}" in (
        run("place", "llama2-7b", *FEW, "--out", str(tmp_path)).output
    )


def test_one_plan_is_not_plans(tmp_path):
    plan = ("virtual=1", "zero=1", "micro_batch=1", "schedule=1f1b", "recompute=none", "recompute_layers=0")
    rest = ("sequence=true", "shard=0", "context=1", "order=tensor-context-data-pipeline")
    fixes = [word for one in (*plan, *rest) for word in ("--fix", one)]
    words = ("llama2-7b", "--device", "h100-sxm", "--devices", "4", "--batch", "1", "--fix", "tensor=2", *fixes)
    done = run("place", *words, "--fix", "pipeline=2", "--out", str(tmp_path))
    assert done.exit_code == 0, done.output
    for expected in ("1 sample a step", "considered   1 plan,", "the best plan has 1 combination of degrees"):
        assert expected in done.output
    for wrong in (r"\b1 plans", r"\b1 best plans", r"\b1 samples", r"\b1 micro-batches"):
        assert not re.search(wrong, done.output)
    again = run("estimate", "llama2-7b", "--plan", str(tmp_path / "plan.json")).output
    assert "1 micro-batch of 1 a replica" in again


PLAN = 'global_batch = 16\ntensor = 2\nsequence = true\npipeline = 2\ndata = 2\nschedule = "gpipe"\n'


def test_an_estimate_says_all_of_its_plan(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(PLAN + 'recompute = "full"\nrecompute_layers = 12\n')
    done = run("estimate", "llama2-7b", "--plan", str(path), "--device", "h100-sxm:8")
    assert done.exit_code == 0, done.output
    for expected in ("tensor 2 with sequence parallelism", "schedule gpipe", "recompute full, 12 layers a stage"):
        assert expected in done.output
    path.write_text(PLAN + 'recompute = "selective"\nrecompute_modules = ["mlp", "layernorm"]\noffload_layers = 2\n')
    done = run("estimate", "llama2-7b", "--plan", str(path), "--device", "h100-sxm:8")
    said = " ".join(done.output.split())
    assert "recompute selective (mlp, layernorm); layers" in said
    assert "activations of 2 layers of each in host memory" in said


@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_a_plan_that_does_not_fit(as_json, tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text("global_batch = 16\ndata = 8\nzero = 0\n")
    done = run("estimate", "llama2-7b", "--plan", str(path), "--device", "h100-sxm:8", *as_json)
    assert done.exit_code == 3
    if as_json:
        found = json.loads(done.stdout)["answer"]
        assert found["memory"][0]["weights_bytes"] > 0.1 * found["memory_bytes"][0]
        return
    head = next(line for line in done.output.splitlines() if line.startswith("does not fit"))
    short = re.search(r"stage 0 is short by ([\d.]+) GiB", head)
    assert short is not None
    assert f"short by {short[1]}" in done.output[done.output.index("reserve") :]


def test_a_plan_of_another_model(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text('global_batch = 16\nmodel = "gpt2-xl"\ndata = 8\n')
    done = run("estimate", "llama2-7b", "--plan", str(path), "--device", "h100-sxm:8")
    assert isinstance(done.exception, BadInput)
    path.write_text('global_batch = 16\nmodel = "gone/my.json.gz"\ndata = 8\n')
    gone = run("estimate", "llama2-7b", "--plan", str(path), "--device", "h100-sxm:8")
    assert str(gone.exception).startswith(f"{path}: model: 'gone/my.json.gz': expected 'llama2-7b'")
    assert str(done.exception) == f"{path}: model: 'gpt2-xl': expected 'llama2-7b', the model asked for, or no model"


def test_a_folder_that_cannot_be_made():
    done = run("place", "llama2-7b", *FEW, "--out", "/proc/hardplace")
    assert isinstance(done.exception, BadInput)
    assert str(done.exception).startswith("--out: /proc/hardplace: expected a folder that can be written")
    done = run("chip", "h100-sxm", "--out", "/proc/hardplace")
    assert str(done.exception).startswith("--out: /proc/hardplace: expected a folder that can be written")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ("--device", "h100-sxm", "--devices", "12"),
            "devices: 12: expected a multiple of the 8 devices of one dgx-h100",
        ),
        (("--device", "h100-sxm"), "expected a number of devices with one kind"),
        (("--device", "h100-sxm:8", "--devices", "8"), "expected a number of devices with one kind"),
        (("--device", "h100-sxm:eight"), "expected NAME:COUNT"),
        (
            ("--device", "tpu-v4", "--devices", "8", "--fix", "precision=fp8"),
            "fp8: tpu-v4 does not multiply in it: ",
        ),
        (("--device", "h100-sxm", "--devices", "8", "--node", "dgx-a100"), "expected a node of h100-sxm"),
        (
            ("--device", "h100-sxm", "--devices", "8", "--fix", "tensor=64"),
            "expected a divisor of the model's 32 heads",
        ),
        (("--device", "h100-sxm", "--devices", "8", "--fix", "pipeline=3"), "expected a divisor of the 8 devices"),
    ],
)
def test_bad_input(words, expected, tmp_path):
    done = run("place", "llama2-7b", *words, "--batch", "16", "--out", str(tmp_path))
    assert isinstance(done.exception, BadInput)
    assert expected in str(done.exception)
    assert "\n" not in str(done.exception)


def test_a_plan_whose_degrees_do_not_multiply_to_the_devices(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text("global_batch = 16\ntensor = 2\ndata = 2\n")
    done = run("estimate", "llama2-7b", "--plan", str(path), "--device", "h100-sxm:8")
    assert isinstance(done.exception, BadInput)
    expected = "tensor x context x data x pipeline: 2 x 1 x 2 x 1 = 4: expected the number of devices, 8"
    assert str(done.exception) == f"{path}: {expected}"


def test_a_plan_without_devices(tmp_path):
    path = tmp_path / "plan.toml"
    for text, expected in (
        ("global_batch = 16\n", "plan.toml names none: expected a device"),
        (
            'global_batch = 16\n[[on]]\ndevice = "h100-sxm"\nnode = "dgx-h100"\ncount = 0\n',
            "on: count: 0: expected a whole number of devices from 1",
        ),
    ):
        path.write_text(text)
        done = run("estimate", "llama2-7b", "--plan", str(path))
        assert isinstance(done.exception, BadInput)
        assert expected in str(done.exception)


def test_stopped_early_it_answers_with_its_bound(tmp_path, monkeypatch):
    whole = PlanSearch._tell

    def stop(self, bound_s):
        whole(self, bound_s)
        if self.best:
            raise KeyboardInterrupt

    monkeypatch.setattr(PlanSearch, "_tell", stop)
    done = run("place", "llama2-7b", *FEW, "--out", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert "stopped early: no plan in the searched space is more than" in done.output
    assert certificate


def test_memory_is_kept_free_and_a_plan_near_the_edge_says_so():
    """No plan fills more than what is left; one whose interval reaches the memory of its device is named."""
    held = {"tensor": (8,), "pipeline": (1, 2), "micro_batch": (1, 2), "zero": (1,), "sequence": (True,)}
    question = ("llama2-13b", "h100-sxm", 16)
    for headroom in (0.0, 0.05, 0.5):
        found = hp.place(*question, batch=64, fixed=held, headroom=headroom)
        for one in found.best:
            used = max(room.total_bytes / size for room, size in zip(one.memory, one.memory_bytes, strict=True))
            assert used <= 1.0 - headroom
            assert any("near the edge" in note for note in one.notes) == (used >= math.exp(-one.interval.memory))
    short = hp.place("llama3-70b", "h100-sxm", 32, batch=32, fixed={"tensor": (8,)}, headroom=0.6)
    assert isinstance(short, hp.Infeasible)
    assert short.remedies[0].what == "no memory kept free"
    with pytest.raises(BadInput, match=r"headroom: 1\.5: expected a share"):
        hp.place(*question, batch=64, headroom=1.5)


def test_a_frontier_is_printed_drawn_and_written(tmp_path):
    words = ("place", "llama2-7b", *FEW, "--fix", "micro_batch=1", "--fix", "zero=0,3", "--out", str(tmp_path))
    done = run(*words, "--pareto", "step,memory")
    assert done.exit_code == 0, done.output
    assert "one listed here is at least as fast and needs at most 5.3\u00a0% more memory" in done.output
    points = hp.read(tmp_path / "frontier.json").points
    assert len(points) > 2
    page = (tmp_path / "frontier.html").read_text()
    assert "How fast is llama2-7b with less memory of a device?" in page
    assert page.count("data-row=") >= 2 * len(points)
    traced = run(*words, "--pareto", "step,memory", "--trace", str(tmp_path / "trace"))
    assert isinstance(traced.exception, BadInput)
    assert "expected no frontier: a trace is of one plan" in str(traced.exception)
    listed = run(*words, "--pareto", "step,memory", "--top", "3")
    assert isinstance(listed.exception, BadInput)
    assert "--top: not beside --pareto" in str(listed.exception)
