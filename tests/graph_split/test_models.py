"""Models as graphs of `split`: what inference runs, who reads whom, and prices of the devices."""

from __future__ import annotations

from pathlib import Path

import pytest

import hardplace as hp
from hardplace.cost.cpu.operators import cpu_operator
from hardplace.cost.cpu.table import COLUMNS, cpu_named
from hardplace.files import read_json
from hardplace.graph_split.answer import SplitResult
from hardplace.graph_split.checker import violations
from hardplace.graph_split.coarsen import hsdag_groups
from hardplace.graph_split.graph_file import LinkChoice
from hardplace.graph_split.inference import InferenceGraph, inference_graph
from hardplace.graph_split.kernel_prices import priced_graph
from hardplace.graph_split.lists import placed
from hardplace.graph_split.requests import repeated
from hardplace.graph_split.split import SplitOutcome, split_latency
from hardplace.hardware.sheet import find
from hardplace.workload.types import OperatorKind
from oracles_split import least_makespan, unlike_graph

WEIGHTS = {"up": (64, 256), "down": (256, 10)}
PCIE = LinkChoice(bytes_per_s=16e9, latency_s=1e-5)


@pytest.fixture(scope="module")
def inception() -> InferenceGraph:
    return inference_graph(hp.load("inception-v3"), 1)


def test_inference_leaves_out_what_training_adds(inception: InferenceGraph) -> None:
    names = [one.name for layer in inception.kinds for one in layer.operators]
    assert not {"native_dropout", "nll_loss_forward", "_log_softmax"} & set(names)
    assert "add" not in names  # Inception-V3 adds nothing but counts of batches
    bert = inference_graph(hp.load("bert-base"), 1)
    often = [one.name for node in bert.nodes for one in bert.kinds[node.kind].operators]
    assert often.count("attention") == 12
    assert often.count("addmm") == 74  # six a layer, and the head's two
    assert "native_dropout" not in often


def test_branches_read_what_their_block_reads_and_all_is_read(inception: InferenceGraph) -> None:
    reads: dict[int, set[int]] = {}
    for source, readers, _ in inception.values:
        for reader in readers:
            reads.setdefault(reader, set()).add(source)
    convolutions = [
        index
        for index, node in enumerate(inception.nodes)
        if inception.kinds[node.kind].operators[0].kind is OperatorKind.CONVOLUTION
    ]
    assert len(convolutions) == 94  # the paper's network, without the auxiliary head
    assert reads[convolutions[0]] == {-1}
    assert all(len(reads[one]) == 1 for one in convolutions)
    read = {source for sources in reads.values() for source in sources}
    assert set(range(-1, len(inception.nodes) - 1)) == read  # but the last, the logits
    joins = [node for node, sources in reads.items() if len(sources) > 1]
    assert len(joins) >= 11  # one for each of the 11 blocks, and those of the last two
    image = next(size for source, _, size in inception.values if source == -1)
    assert image == 3 * 299 * 299 * 2


def test_weights_are_those_of_the_model(inception: InferenceGraph) -> None:
    assert sum(node.parameter_bytes for node in inception.nodes) == 2 * hp.load("inception-v3").parameters


def test_operators_that_a_cpu_ran_are_those_that_a_workload_has() -> None:
    """The shipped table was timed in torch; sizes and bytes of each convolution come out equal from the recording."""
    model, graph = hp.load("resnet-50"), inference_graph(hp.load("resnet-50"), 8)
    text = Path("src/hardplace/cost/cpu/data/epyc-1-thread.csv")
    rows = (Path(__file__).parents[2] / text).read_text().splitlines()[2:]
    timed = {tuple(row.split(",")[:8]) for row in rows if row.startswith("convolution,convolution,1,")}
    mine = set()
    for layer in graph.kinds:
        for one in layer.operators:
            if one.kind is OperatorKind.CONVOLUTION:
                own = cpu_operator(layer, one, 8)
                sizes = (own.batch, own.m, own.n, own.k, own.taps)
                mine.add((own.kind, own.name, *map(str, sizes), f"{own.moved_bytes:.0f}"))
    assert model.parameters == 25_557_032
    assert mine <= timed


def test_a_model_on_a_cpu_a_gpu_and_a_description() -> None:
    priced = priced_graph(hp.load("resnet-50"), ("cpu", "h100-sxm", "gemmini"), PCIE, 1)
    problem = priced.problem
    cpu_s = sum(one.time_s["cpu"] for one in problem.operators)
    gpu_s = sum(one.time_s.get("h100-sxm", 0.0) for one in problem.operators)
    assert cpu_s == pytest.approx(0.1284, rel=0.1)  # the whole model, measured: docs/model-split.md, "CPU"
    estimate = hp.operators("resnet-50", "h100-sxm", micro_batch=1)
    forward = sum(one.seconds * estimate.counts[one.layer] for one in estimate.kernels if one.phase == "forward")
    assert 0.4 * forward < gpu_s < forward  # without the counters and the loss
    assert problem.devices[1].memory_bytes == find("h100-sxm").memory_bytes
    assert violations(problem, placed(problem, [0] * len(problem.operators))) == []


def test_a_cpu_of_ones_own_and_its_faults(tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    shipped = (Path(__file__).parents[2] / "src/hardplace/cost/cpu/data/epyc-1-thread.csv").read_text()
    table.write_text(shipped)
    assert cpu_named(str(table)).figures == cpu_named("epyc-1-thread").figures
    table.write_text(f"{','.join(COLUMNS)}\nmatmul,mm,1,64,64,64,1,49152,1e-5\n")
    with pytest.raises(hp.BadInput, match=r"mine.csv: expected measured streams"):
        hp.split("resnet-50", str(table))
    with pytest.raises(hp.BadInput, match=r"batch: 0: expected 1 to 1024 samples"):
        hp.split("resnet-50", "cpu", batch=0)
    with pytest.raises(hp.BadInput, match="batch: 2: expected a model"):
        hp.split(Path(__file__).parents[2] / "examples/split/inception-block.json", ["cpu"], batch=2)


@pytest.mark.parametrize(
    ("name", "sizes"), [("resnet50", (400, 415, 241, 256)), ("inception_v3", (738, 774, 434, 470))]
)
def test_groups_of_hsdag_on_exports_of_its_kind(name: str, sizes: tuple[int, ...]) -> None:
    data = read_json(Path(__file__).parent / f"data/openvino/{name}.json.gz")
    place = {node[0]: row for row, node in enumerate(data["nodes"])}
    edges = [(place[a], place[b]) for a, b in data["edges"]]
    home = hsdag_groups(len(place), edges)
    between = {(home[a], home[b]) for a, b in edges if home[a] != home[b]}
    assert (len(place), len(edges), len(set(home)), len(between)) == sizes
    assert max(home.count(one) for one in set(home)) <= 4
    assert all(a < b for a, b in between)  # in order: no circle


@pytest.mark.parametrize("seed", [0, 2, 5])
def test_two_requests_in_flight_take_as_long_as_one_to_two(seed: int) -> None:
    problem = repeated(unlike_graph(seed), 2)
    found = split_latency(problem, limit_s=10)
    assert isinstance(found, SplitOutcome)
    assert violations(problem, found.schedule) == []
    one = least_makespan(unlike_graph(seed))
    assert one - 1e-9 <= found.value_s <= 2 * one + 1e-9


def test_an_onnx_file_is_split_as_its_operators_are(tmp_path: Path) -> None:
    """Two products with an activation between: its kernels, its weights (two bytes each), and no better split."""
    onnx = pytest.importorskip("onnx")
    helper, real = onnx.helper, onnx.TensorProto.FLOAT
    weights = [helper.make_tensor(name, real, size, [0.5] * (size[0] * size[1])) for name, size in WEIGHTS.items()]
    nodes = [
        helper.make_node("MatMul", ["x", "up"], ["a"]), helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "down"], ["y"]),
    ]  # fmt: skip
    ends = [helper.make_tensor_value_info(name, real, [4, width]) for name, width in (("x", 64), ("y", 10))]
    graph = helper.make_graph(nodes, "mlp", ends[:1], ends[1:], weights)
    path = tmp_path / "mlp.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    found = hp.split(path, ["cpu", "h100-sxm"], seconds=5)
    assert isinstance(found, SplitResult)
    assert [row.operator.split(": ")[-1] for row in found.placement] == ["data", "mm", "relu", "mm (2)"]
    assert sum(found.memory_bytes) == 2 * sum(a * b for a, b in WEIGHTS.values())
    assert found.certificate is not None
    assert found.certificate.proven
