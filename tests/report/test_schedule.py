"""The report of one layer's schedules: utilisation, page, and a trace in the Trace Event Format."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from hardplace.cost.types import Engine
from hardplace.design.exact.layer_schedule import (
    LayerPass,
    LayerQuestion,
    LayerScheduleResult,
    schedule_layer,
    scheduled_pass,
)
from hardplace.design.scheduling.types import Assignment, Schedule, SharingRule, Status
from hardplace.design.types import PhaseSchedule
from hardplace.files import dumps
from hardplace.hardware.phaze import accelerator, chips_from_rows
from hardplace.hardware.settings import HBM3
from hardplace.report import gantt
from hardplace.report.layer_trace import layer_events, layer_trace
from hardplace.report.schedule import page
from hardplace.workload.load import load
from hardplace.workload.sharding import tensor_parallel


@pytest.fixture(scope="module")
def report() -> LayerScheduleResult:
    chips = chips_from_rows(np.array([[4, 128, 128, 2, 128, 2**25]]))
    question = LayerQuestion(
        layer=tensor_parallel(load("gpt3-175b"), 8).layers[1],
        tensor_parallel=8,
        micro_batch=1,
        chips=chips,
        setting=HBM3,
        rule=SharingRule.SHARING,
        splits=True,
    )
    made = schedule_layer(question, "<gpt3>", tuple(LayerPass), gap=0.01, limit_s=5.0)
    return replace(made, layer="block")


def test_the_trace_is_in_the_trace_event_format(report: LayerScheduleResult) -> None:
    data = json.loads(dumps(layer_events(report), compact=True))
    assert set(data) == {"traceEvents", "displayTimeUnit", "otherData"}
    assert data["displayTimeUnit"] in ("ms", "ns")
    named = set()
    for event in data["traceEvents"]:
        assert event["ph"] in ("M", "X")
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        assert isinstance(event["name"], str)
        if event["ph"] == "M":
            assert event["name"] in ("process_name", "thread_name", "thread_sort_index")
            named.add((event["pid"], event["tid"]))
        else:
            assert (event["pid"], event["tid"]) in named
            assert event["ts"] >= 0
            assert event["dur"] >= 0
    for process, one in enumerate(report.passes, start=1):
        mine = [event for event in data["traceEvents"] if event["pid"] == process and event["ph"] == "X"]
        last = max(event["ts"] + event["dur"] for event in mine)
        assert last == pytest.approx(one.phase.schedule.makespan_s * 1e6)
        assert {event["name"] for event in mine} == set(one.phase.kernels)
        # No thread does two things at once.
        for thread in {event["tid"] for event in mine}:
            row = sorted((event["ts"], event["ts"] + event["dur"]) for event in mine if event["tid"] == thread)
            assert all(end <= start + 1e-6 for (_, end), (start, _) in pairwise(row))


def test_perfettos_own_classes_read_the_same_slices(report: LayerScheduleResult) -> None:
    perfetto = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
    read = perfetto.Trace()
    read.ParseFromString(layer_trace(report))
    named = {one.track_descriptor.uuid: one.track_descriptor for one in read.packet if one.track_descriptor.uuid}
    open_ns: dict[int, int] = {}
    found = []
    for packet in read.packet:
        event = packet.track_event
        if event.type == perfetto.TrackEvent.TYPE_SLICE_BEGIN:
            assert event.track_uuid not in open_ns
            open_ns[event.track_uuid] = packet.timestamp
        elif event.type == perfetto.TrackEvent.TYPE_SLICE_END:
            pid = named[event.track_uuid].thread.pid
            found.append((pid, packet.timestamp - open_ns.pop(event.track_uuid), packet.timestamp))
    assert not open_ns
    events = [one for one in layer_events(report)["traceEvents"] if one["ph"] == "X"]
    for process, one in enumerate(report.passes, start=1):
        mine = [(took, end) for pid, took, end in found if pid == process]
        assert max(end for _, end in mine) == pytest.approx(one.phase.schedule.makespan_s * 1e9, abs=1)
        said = sum(event["dur"] for event in events if event["pid"] == process)
        assert sum(took for took, _ in mine) == pytest.approx(1e3 * said, abs=len(mine))


def test_recompute_is_between_both_passes_and_one_after_the_other(report: LayerScheduleResult) -> None:
    forward, backward, both = (one.phase.schedule for one in report.passes)
    assert both.bound_s <= forward.makespan_s + backward.makespan_s
    assert both.makespan_s >= max(forward.bound_s, backward.bound_s)
    assert len(both.assignments) == len(forward.assignments) + len(backward.assignments)


def test_the_page_escapes_names_and_holds_the_chart(report: LayerScheduleResult) -> None:
    html = page(report)
    assert "<gpt3>" not in html
    assert "&lt;gpt3&gt;" in html
    assert html.count("<rect ") >= sum(len(one.phase.kernels) for one in report.passes)
    assert "http://" not in html.split("<script>")[0]


def test_utilisation_counts_the_cores_that_work() -> None:
    chip = accelerator(chips_from_rows(np.array([[4, 128, 128, 2, 128, 2**25]])), 0, HBM3, 80 * 2**30)
    items = (
        Assignment(task=0, start_s=0.0, end_s=1.0, whole=True, tensor_cores=(), vector_cores=()),
        Assignment(task=1, start_s=1.0, end_s=2.0, whole=False, tensor_cores=(0, 1), vector_cores=(0, 1)),
        Assignment(task=2, start_s=0.0, end_s=2.0, whole=False, tensor_cores=(), vector_cores=()),
    )
    phase = PhaseSchedule(
        kernels=("a", "b", "c"),
        engines=(Engine.TENSOR, Engine.BOTH, Engine.COPY),
        schedule=Schedule(assignments=items, makespan_s=2.0, bound_s=2.0, status=Status.OPTIMAL),
    )
    one = scheduled_pass("forward", phase, chip)
    assert one.tensor_utilisation == pytest.approx((4 * 1 + 2 * 1) / (4 * 2))
    assert one.vector_utilisation == pytest.approx(2 * 1 / (2 * 2))
    assert gantt.rows(phase, chip)[-1] == "copy engine"
    assert {bar.row for bar in gantt.bars(phase, chip) if bar.task == 2} == {"copy engine"}


def test_the_gap_of_a_pass_is_that_of_its_certificate(report: LayerScheduleResult) -> None:
    one = replace(report, passes=report.passes[1:2])
    assert one.certificate is not None
    assert one.passes[0].phase.schedule.gap == pytest.approx(one.certificate.gap, rel=1e-12)
    assert one.passes[0].phase.schedule.gap <= 0.01
