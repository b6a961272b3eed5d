"""`hardplace replan`: files, changes, answers and bad input."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from commands import Ended, command
from hardplace.files import read, write, write_text
from hardplace.plans.anchors import VERSION, Anchor, Factor
from hardplace.plans.plan_files import DeviceCount, PlanFile

ROOT = Path(__file__).parents[2]
LOT = DeviceCount(device="h100-sxm", node="dgx-h100", count=8)
PLAN = PlanFile(global_batch=16, tensor=2, sequence=True, pipeline=2, data=2)
RUNNING = replace(PLAN, model="opt-350m", on=(LOT,))


def replan(*arguments: str) -> Ended:
    return command("replan", *arguments, folder=Path.cwd())


@pytest.fixture
def path(tmp_path: Path) -> str:
    write(tmp_path / "plan.json", RUNNING)
    return str(tmp_path / "plan.json")


def test_a_new_plan_says_how_sure_it_is(path: str, tmp_path: Path) -> None:
    done = replan(path, "--lost", "3", "--out", str(tmp_path))
    assert "80 %: step" in done.out
    assert "tie" in done.out
    assert "80 % interval" in (tmp_path / "replan.html").read_text()


def test_a_lost_device(path: str) -> None:
    done = replan(path, "--lost", "3", "--horizon", "2h")
    assert done.code == 0, done.err
    assert "7 in NVIDIA DGX H100 at hand" in done.out
    assert "read from a checkpoint" in done.out
    found = json.loads(replan(path, "--lost", "3", "--horizon", "2h", "--json").out)["answer"]
    assert len(found["options"]) == 5
    assert 3 not in found["options"][0]["moves"]["devices"]


def test_what_is_kept_from_the_running_plan_is_said(path: str, tmp_path: Path) -> None:
    said = replan(path, "--lost", "3").out
    heads = next(line for line in said.splitlines() if "samples/s" in line and "ZeRO" in line)
    assert heads.split()[heads.split().index("tensor") :][:7] == [
        "tensor",
        "pipe",
        "virtual",
        "data",
        "ctx",
        "exp",
        "ZeRO",
    ]
    assert "sequence parallelism wherever tensor is above 1, context 1, expert 1, bf16" in said
    write(tmp_path / "plain.json", replace(RUNNING, sequence=False))
    plain = replan(str(tmp_path / "plain.json"), "--devices", "16").out
    assert "no sequence parallelism, context 1" in plain
    assert " 2 sp" not in plain
    assert "less than 0 B" not in plain
    write(tmp_path / "with.json", replace(RUNNING, tensor=8, pipeline=1, data=1))
    assert " 8 sp" in replan(str(tmp_path / "with.json"), "--horizon", "30s").out


def test_a_plan_alone_says_the_same_with_its_names_beside_it(path: str, tmp_path: Path) -> None:
    write(tmp_path / "alone.json", PLAN)
    alone = replan(str(tmp_path / "alone.json"), "--model", "opt-350m", "--device", "h100-sxm", "--devices", "6")
    said = [done.out.partition("\nwritten: ")[0] for done in (alone, replan(path, "--devices", "6"))]  # folders differ
    assert said[0] == said[1] != ""
    bare = replan(str(tmp_path / "alone.json"))
    assert bare.code == 2
    assert bare.err.strip().endswith("a plan alone: expected model and device with it")


def test_slower_links_from_a_file(path: str, tmp_path: Path) -> None:
    text = (ROOT / "src/hardplace/hardware/nodes/dgx-h100.toml").read_text()
    write_text(tmp_path / "slow.toml", text.replace('"450 GB/s"', '"45 GB/s"'))
    before, after = (
        json.loads(replan(path, "--json", *more).out)["answer"]["options"][0]["samples_per_s"]
        for more in ((), ("--cluster", str(tmp_path / "slow.toml")))
    )
    assert after < before


def test_what_fits_nowhere_is_infeasible(tmp_path: Path) -> None:
    big = replace(RUNNING, model="gpt3-175b", tensor=8, pipeline=16, data=4, global_batch=64)
    write(tmp_path / "big.json", replace(big, on=(replace(LOT, count=512),)))
    done = replan(str(tmp_path / "big.json"), "--devices", "8")
    assert done.code == 3
    assert re.search(r"is short by [\d.]+ GiB \([\d,]+ bytes\) on stage", done.out)
    late = replan(str(tmp_path / "big.json"), "--devices", "504", "--horizon", "30s")
    assert late.code == 3
    assert "no pause is shorter than 60.0 s" in late.out
    write(tmp_path / "wide.json", replace(RUNNING, context=2, on=(replace(LOT, count=2 * RUNNING.devices),)))
    wide = replan(str(tmp_path / "wide.json"), "--devices", "1")
    assert wide.code == 3
    assert "there are no plans on 1 devices with the context and expert degrees of the running plan" in wide.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--horizon", "0h"), "--horizon 0h: expected a time above zero"),
        (("--horizon", "4"), "--horizon 4: expected a time above zero with its unit"),
        (("--horizon", "٤h"), "--horizon ٤h: expected a time above zero"),
        (("--lost", "٤"), "--lost: '٤': expected devices by number"),
        (("--lost", "0-7"), "--lost: all 8 devices: expected one or more left"),
        (("--lost", "8"), "--lost: 8: expected a device of the running plan, 0 to 7"),
        (("--lost", "3-1"), "--lost: '3-1': expected devices by number"),
        (("--lost", "0", "--devices", "5"), "--devices: 5: expected at least the 7 that are left"),
        (("--cluster", "dgx-h10"), "unknown node 'dgx-h10'; did you mean dgx-h100"),
        (("--cluster", "dgx-a100"), "expected nodes as the running plan has them, 8 h100-sxm"),
        (("--model", "gpt2-xl"), "expected opt-350m, which"),
        (("--store", "0"), "--store: '0': expected a positive number in B/s with its unit"),
    ],
)
def test_bad_input_is_one_line(path: str, arguments: tuple[str, ...], message: str) -> None:
    done = replan(path, *arguments)
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("running", "message"),
    [
        (replace(RUNNING, on=(replace(LOT, device="h10"),)), "unknown device 'h10'"),
        (replace(RUNNING, model="gpt3"), "unknown model 'gpt3'"),
        (
            replace(RUNNING, on=(replace(LOT, node="dgx-a100"),)),
            "node: dgx-a100: has a100-80gb-sxm: expected a node of h100-sxm",
        ),
        (replace(RUNNING, stages=(48, 48)), "expected numbers that sum to the model's 24 layers"),
        (replace(RUNNING, global_batch=15), "global_batch: 15: expected a multiple of"),
        (replace(RUNNING, on=(replace(LOT, count=7),)), "on: count: 7: expected as many devices as the plan has, 8"),
        (replace(RUNNING, on=(LOT, LOT)), "on: 2 kinds of device: expected a plan on devices of one kind"),
    ],
)
def test_a_file_that_does_not_suit_is_refused(running: PlanFile, message: str, tmp_path: Path) -> None:
    write(tmp_path / "plan.json", running)
    done = replan(str(tmp_path / "plan.json"))
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1


def test_the_example_is_as_written(tmp_path: Path) -> None:
    example = ROOT / "examples/gpt3-175b-4096.json"
    write(tmp_path / "again.json", read(example, PlanFile))
    assert (tmp_path / "again.json").read_text() == example.read_text()


def test_what_place_writes_is_taken(tmp_path: Path) -> None:
    words = ["place", "opt-350m", "--device", "h100-sxm", "--devices", "4", "--batch", "16", "--fix", "schedule=1f1b"]
    made = command(*words, "--fix", "zero=1", "--out", str(tmp_path), folder=tmp_path)
    assert made.code == 0, made.err
    done = replan(str(tmp_path / "plan.json"), "--lost", "0")
    assert done.code == 0, done.err


def test_measured_steps_of_the_system_slow_the_plans_and_another_systems_are_refused(path: str, tmp_path: Path) -> None:
    factors = (Factor(figure="products", value=1.5), Factor(figure="streams", value=1.5))
    mine = Anchor(version=VERSION, device="h100-sxm", software="", runs=1, factors=factors, half=0.1)
    write(tmp_path / "mine.json", mine)
    steps = []
    for more in ([], ["--calibrated", str(tmp_path / "mine.json")]):
        found = json.loads(replan(path, "--lost", "3", "--json", *more).out)["answer"]
        steps.append(found["options"][0]["estimate"]["step_s"])
    assert 1.1 < steps[1] / steps[0] < 1.5
    write(tmp_path / "plan.json", replace(RUNNING, software="xla"))
    write(tmp_path / "mine.json", replace(mine, software="megatron-core"))
    done = replan(path, "--lost", "3", "--calibrated", str(tmp_path / "mine.json"))
    assert done.code == 2
    assert "software: megatron-core: expected xla" in done.err
