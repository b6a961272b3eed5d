"""A step's trace read back with Perfetto's own classes: slices add up to the predicted shares, memory peaks as said."""

from collections import defaultdict
from itertools import pairwise

import pytest
from click.testing import CliRunner

perfetto = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")

import hardplace.cli  # noqa: F401, E402  (joins the verbs)
from hardplace.cli.app import app  # noqa: E402
from hardplace.errors import BadInput  # noqa: E402
from hardplace.hardware.catalogue import device, node  # noqa: E402
from hardplace.plans.chain import of_workload  # noqa: E402
from hardplace.plans.estimate import estimate_plan  # noqa: E402
from hardplace.plans.fleet import fleet_of  # noqa: E402
from hardplace.plans.passes import pass_times  # noqa: E402
from hardplace.plans.plan import PipelineSchedule, Plan  # noqa: E402
from hardplace.report.step_trace import COMPUTE, step_trace  # noqa: E402
from hardplace.workload.load import load  # noqa: E402
from hardplace.workload.types import Recompute  # noqa: E402

PLANS = {
    "one stage": Plan(global_batch=8, tensor=2, data=4, zero=3),
    "1f1b": Plan(global_batch=16, tensor=2, pipeline=4, recompute=Recompute.FULL, recompute_layers=3),
    "interleaved": Plan(global_batch=8, pipeline=4, data=2, virtual=2),
    "gpipe": Plan(global_batch=8, pipeline=4, data=2, schedule=PipelineSchedule.GPIPE),
    "zero-bubble": Plan(global_batch=16, pipeline=4, data=2, schedule=PipelineSchedule.ZERO_BUBBLE),
}


def traced(plan):
    workload = load("llama2-7b")
    fleet = fleet_of([(device("h100-sxm"), node("dgx-h100"), plan.devices)], plan)
    chain = of_workload(workload, plan)
    found = estimate_plan(chain, plan, fleet)
    read = perfetto.Trace()
    read.ParseFromString(step_trace("llama2-7b", found, pass_times(chain, plan, fleet)))
    return found, read


def tracks(read):
    """Names of tracks by their number, with the process that each is of."""
    found, processes = {}, {}
    for packet in read.packet:
        one = packet.track_descriptor
        if one.HasField("process"):
            processes[one.uuid] = one.process.pid - 1
        if one.uuid and one.HasField("thread"):
            found[one.uuid] = (one.thread.pid - 1, one.thread.thread_name)
        elif one.uuid and one.HasField("counter"):
            found[one.uuid] = (processes[one.parent_uuid], "memory")
    return found


def slices(read):
    """(stage, track, name, start ns, end ns, depth), as they are nested."""
    named, open_ones, found = tracks(read), defaultdict(list), []
    for packet in read.packet:
        event = packet.track_event
        if event.type == perfetto.TrackEvent.TYPE_SLICE_BEGIN:
            open_ones[event.track_uuid].append((event.name, packet.timestamp))
        elif event.type == perfetto.TrackEvent.TYPE_SLICE_END:
            name, start = open_ones[event.track_uuid].pop()
            found.append((*named[event.track_uuid], name, start, packet.timestamp, len(open_ones[event.track_uuid])))
    assert not any(open_ones.values())
    return found


@pytest.mark.parametrize("name", PLANS)
def test_slices_add_up_to_the_shares(name):
    found, read = traced(PLANS[name])
    plan, done = PLANS[name], slices(read)
    busy = dict.fromkeys(range(plan.pipeline), 0.0)
    for stage, track, _, start, end, depth in done:
        assert 0 <= start <= end
        if track == COMPUTE and depth == 0:
            busy[stage] += (end - start) / 1e9
    slowest = max(busy, key=busy.__getitem__)
    sums = defaultdict(float)
    for stage, track, part, start, end, depth in done:
        if stage == slowest and (depth == 1 or track != COMPUTE):
            sums[part] += (end - start) / 1e9
    names = {
        "tensor, context and expert exchange": "exchange",
        "weights gathered, gradients scattered (ZeRO-2, ZeRO-3), exposed": "gathered, scattered, exposed",
        "end of step: reduction and gather not hidden, optimizer": "end of step: reduction, optimizer, gather",
    }
    slack_s = 2e-9 * len(done)  # times are whole nanoseconds
    for share in found.shares:
        if not share.name.startswith("pipeline"):
            assert sums[names.get(share.name, share.name)] == pytest.approx(share.seconds, abs=slack_s), share.name
    (pipeline,) = [share.seconds for share in found.shares if share.name.startswith("pipeline")]
    end_s = max(end for _, track, _, _, end, depth in done if track == COMPUTE and depth == 0) / 1e9
    assert end_s - busy[slowest] == pytest.approx(pipeline, abs=slack_s)


@pytest.mark.parametrize("name", PLANS)
def test_passes_of_a_stage_do_not_overlap_and_there_is_each(name):
    _, read = traced(PLANS[name])
    plan = PLANS[name]
    passes = defaultdict(list)
    for stage, track, _, start, end, depth in slices(read):
        if track == COMPUTE and depth == 0:
            passes[stage].append((start, end))
    kinds = 3 if plan.schedule is PipelineSchedule.ZERO_BUBBLE else 2
    for found in passes.values():
        assert len(found) == kinds * plan.virtual * plan.micro_batches
        found.sort()
        assert all(before[1] <= after[0] for before, after in pairwise(found))


@pytest.mark.parametrize("name", PLANS)
def test_memory_peaks_at_the_predicted_total(name):
    found, read = traced(PLANS[name])
    named, most = tracks(read), defaultdict(float)
    for packet in read.packet:
        if packet.track_event.type == perfetto.TrackEvent.TYPE_COUNTER:
            stage, _ = named[packet.track_event.track_uuid]
            most[stage] = max(most[stage], packet.track_event.counter_value)
    assert len(most) == PLANS[name].pipeline
    for stage, memory in enumerate(found.memory):
        assert most[stage] == pytest.approx(memory.total_bytes, rel=1e-9), stage


def test_arrows_lead_from_every_send_to_its_receive():
    plan = PLANS["1f1b"]
    _, read = traced(plan)
    sent, taken = [], []
    for packet in read.packet:
        sent += [(one, packet.timestamp) for one in packet.track_event.flow_ids]
        taken += [(one, packet.timestamp) for one in packet.track_event.terminating_flow_ids]
    assert len(sent) == len(taken) == 2 * (plan.pipeline - 1) * plan.micro_batches
    begun = dict(sent)
    assert len(begun) == len(sent)
    assert all(begun[one] < at for one, at in taken)


def test_the_command_line_writes_one(tmp_path):
    path, plan = tmp_path / "step.pftrace", tmp_path / "plan.json"
    plan.write_text('{"global_batch": 16, "tensor": 2, "pipeline": 2, "data": 2}')
    words = ["estimate", "llama2-7b", "--plan", str(plan), "--device", "h100-sxm", "--trace", str(path)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert f"{path} (a trace)" in done.output
    read = perfetto.Trace()
    read.ParseFromString(path.read_bytes())
    assert len(slices(read)) > 50
    done = CliRunner().invoke(app, ["estimate", "llama2-7b", "--operators", "--on", "tpu-v4", "--trace", str(path)])
    assert "--trace: expected --plan with it" in str(done.exception)
    done = CliRunner().invoke(app, ["estimate", "opt-350m", "--operators", "--on", "tpu-v4", "--software", "xla"])
    assert "--software, --calibrated: expected --plan with them" in str(done.exception)
    done = CliRunner().invoke(app, ["estimate", "opt-350m", "--plan", "plan.json", "--tensor-parallel", "2"])
    assert "--plan: has its own; expected no --micro-batch" in str(done.exception)
    plan.write_text('{"global_batch": 400000, "pipeline": 8}')
    with pytest.raises(BadInput, match="passes: expected a step of at most 200,000"):
        traced(Plan(global_batch=400000, pipeline=2))
