"""Execution traces read back with Chakra's own classes, where mlc-chakra is installed (`docs/exports.md`)."""

import io
import json
import subprocess
import sys
from collections import Counter, defaultdict

import pytest

from export_cases import planned_of
from hardplace.errors import BadInput
from hardplace.exports.chakra import chakra_traces
from hardplace.plans.plan import PipelineSchedule, Plan

et = pytest.importorskip("chakra.schema.protobuf.et_def_pb2", reason="mlc-chakra is not installed: see docs/exports.md")
protolib = pytest.importorskip("chakra.src.third_party.utils.protolib")

PLANS = {
    "data": Plan(global_batch=8, data=4, zero=3),
    "tensor": Plan(global_batch=8, tensor=2, sequence=True, data=2, zero=1),
    "pipeline": Plan(global_batch=8, pipeline=4, data=2, zero=2),
    "interleaved": Plan(global_batch=8, tensor=2, pipeline=2, virtual=2, data=2, zero=0),
    "zero-bubble": Plan(global_batch=8, pipeline=4, schedule=PipelineSchedule.ZERO_BUBBLE),
    "v-half": Plan(global_batch=8, pipeline=4, virtual=2, schedule=PipelineSchedule.V_HALF),
}


def read(content):
    stream = io.BytesIO(content)
    metadata, nodes = et.GlobalMetadata(), []
    protolib.decodeMessage(stream, metadata)
    while True:
        node = et.Node()
        if not protolib.decodeMessage(stream, node):
            return metadata, nodes
        nodes.append(node)


def values(node):
    return {one.name: getattr(one, one.WhichOneof("value")) for one in node.attr}


@pytest.fixture(params=PLANS)
def traced(request):
    run = planned_of("gpt3-2.7b", PLANS[request.param])
    *ranks, groups = chakra_traces(run)
    assert [name for name, _ in ranks] == [f"rank.{index}.et" for index in range(run.plan.devices)]
    return run, [read(content) for _, content in ranks], json.loads(groups[1])


def test_nodes_follow_what_they_need(traced):
    _, ranks, _ = traced
    for metadata, nodes in ranks:
        assert metadata.version.startswith("hardplace ")
        assert [node.id for node in nodes] == list(range(len(nodes)))
        assert all(one < node.id for node in nodes for one in node.data_deps)


def test_compute_takes_the_predicted_time(traced):
    run, ranks, _ = traced
    found = run.priced(run.plan)
    for rank, (_, nodes) in enumerate(ranks):
        stage = rank // run.plan.stride(run.plan.order[3]) % run.plan.pipeline
        took_s = sum(node.duration_micros for node in nodes) / 1e6
        whole_s = run.plan.micro_batches * sum(
            sum(seconds[stage]) for seconds in (found.forward_s, found.backward_s, found.weight_s)
        )
        exchange_s = [one.seconds for one in found.shares if "exchange" in one.name or "gathered" in one.name]
        assert took_s <= whole_s + 1e-6 * len(nodes)
        if sum(exchange_s) == 0.0:
            assert took_s == pytest.approx(whole_s, abs=1e-6 * len(nodes))


def test_every_send_is_taken_once(traced):
    run, ranks, _ = traced
    sent, taken = Counter(), Counter()
    for rank, (_, nodes) in enumerate(ranks):
        for node in nodes:
            if node.type in (et.COMM_SEND_NODE, et.COMM_RECV_NODE):
                one = values(node)
                key = (one["comm_src"], one["comm_dst"], one["comm_tag"], one["comm_size"])
                (sent if node.type == et.COMM_SEND_NODE else taken)[key] += 1
                assert rank == one["comm_src" if node.type == et.COMM_SEND_NODE else "comm_dst"]
    assert sent == taken
    assert set(sent.values()) <= {1}
    edges = run.plan.pipeline * run.plan.virtual - 1 - run.plan.schedule.folds  # a V turns on one rank
    assert len(sent) == 2 * edges * run.plan.micro_batches * run.plan.devices // run.plan.pipeline


def test_the_ranks_of_a_group_join_the_same_collectives(traced):
    _, ranks, groups = traced
    joined = defaultdict(list)
    for rank, (_, nodes) in enumerate(ranks):
        mine = defaultdict(list)
        for node in nodes:
            if node.type == et.COMM_COLL_NODE:
                one = values(node)
                mine[one["pg_name"]].append((one["comm_type"], one["comm_size"]))
        for name, found in mine.items():
            assert rank in groups[name]
            joined[name].append(found)
    assert set(joined) == set(groups)
    for name, found in joined.items():
        assert len(found) == len(groups[name])
        assert all(one == found[0] for one in found)


def test_chakras_own_printer_reads_them(tmp_path):
    (_, content), *_ = chakra_traces(planned_of("gpt3-2.7b", PLANS["data"]))
    (tmp_path / "rank.0.et").write_bytes(content)
    words = ["--input_filename", tmp_path / "rank.0.et", "--output_filename", tmp_path / "out.json"]
    code = "from chakra.src.jsonizer.jsonizer import main; main()"
    subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True)
    assert "COMM_COLL_NODE" in (tmp_path / "out.json").read_text()


def test_too_large_a_step_is_refused():
    plan = Plan(global_batch=262144, data=1024, pipeline=4, zero=0)
    with pytest.raises(BadInput, match="expected 5,000,000 nodes at most"):
        next(chakra_traces(planned_of("gpt3-2.7b", plan)))
