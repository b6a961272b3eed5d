"""Kernels of recorded layers: nothing is lost, nothing is counted twice, the shape is what an expert would write."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hardplace.cost.arrays.times import bytes_into
from hardplace.cost.kernels.fusion import FUSED, PHAZE, UNFUSED, kernel_graph, optimizer_kernel
from hardplace.cost.types import Engine, KernelGraph
from hardplace.hardware.settings import ADAMW, CYCLES
from hardplace.workload.load import catalogue, load
from hardplace.workload.sharding import tensor_parallel
from hardplace.workload.types import Layer, OperatorKind, Phase

LLAMA = load("llama2-7b")
BLOCK = tensor_parallel(LLAMA, 1).layers[1]


def graph(layer: Layer, phase: Phase, micro_batch: int = 1) -> KernelGraph:
    return kernel_graph(layer, phase, micro_batch, CYCLES)


def test_a_llama_block_forward_is_ten_kernels() -> None:
    kernels = graph(BLOCK, Phase.FORWARD).kernels
    assert [kernel.engine for kernel in kernels] == [
        Engine.VECTOR,  # norm
        Engine.BOTH,  # q and its rotation
        Engine.BOTH,  # k and its rotation
        Engine.TENSOR,  # v
        Engine.BOTH,  # attention
        Engine.TENSOR,  # output projection
        Engine.VECTOR,  # residual and norm
        Engine.TENSOR,  # up
        Engine.BOTH,  # gate, SiLU, product
        Engine.BOTH,  # down and residual
    ]
    assert kernels[4].predecessors == (1, 2, 3)


def test_norm_reads_its_input_and_weight_and_writes_what_is_needed_later() -> None:
    norm = graph(BLOCK, Phase.FORWARD).kernels[0]
    tokens, hidden = 4096, 4096
    read = tokens * hidden * 2 + hidden * 2
    # The normalised input in fp32 and the reciprocal root are saved for the weight's gradient; then the bf16
    # product before and after the weight.
    written = tokens * hidden * (4 + 2 + 2) + tokens * 4
    assert norm.stream_bytes == pytest.approx(read + written, rel=1e-3)


@pytest.mark.parametrize("model", catalogue())
@pytest.mark.parametrize("degree", [1, 8])
def test_work_is_conserved(model: str, degree: int) -> None:
    for layer in tensor_parallel(load(model), degree).layers:
        for phase in (Phase.FORWARD, Phase.BACKWARD):
            operators = [one for one in layer.operators if one.phase is phase]
            flops = sum(one.flops.at(2) for one in operators if one.kind is OperatorKind.MATMUL)
            kernels = graph(layer, phase, 2).kernels
            macs = sum(matmul.macs for kernel in kernels for matmul in kernel.matmuls if kernel.tiled)
            others = {one.kind for one in operators} & {OperatorKind.CONVOLUTION, OperatorKind.GROUPED_MATMUL}
            assert 2 * macs >= flops if others else 2 * macs == flops
            collectives = sum(kernel.engine is Engine.NETWORK for kernel in kernels)
            assert collectives == sum(one.kind is OperatorKind.COLLECTIVE for one in operators)
            for index, kernel in enumerate(kernels):
                assert all(before < index for before in kernel.predecessors)
                assert kernel.stream_bytes >= 0


def test_fused_traffic_is_below_the_sum_of_its_operators() -> None:
    for phase in (Phase.FORWARD, Phase.BACKWARD):
        alone = sum(
            BLOCK.storages[storage].bytes.at(1)
            for one in BLOCK.operators
            if one.phase is phase and one.kind is not OperatorKind.MATMUL
            for storage in BLOCK.storages_of(one.reads + one.writes)
        )
        fused = sum(kernel.stream_bytes for kernel in graph(BLOCK, phase).kernels)
        assert fused < 0.6 * alone


def test_optimizer_step_streams_thirty_bytes_a_parameter() -> None:
    kernel = optimizer_kernel(BLOCK, ADAMW, CYCLES)
    assert kernel.stream_bytes == 30 * BLOCK.parameters
    assert kernel.lane_cycles == (10 + 15 + 10) * BLOCK.parameters


def test_the_table_of_what_fusion_saves_is_the_documents() -> None:
    """docs/model-cost.md, "Fusion": kernels, and compulsory GiB, of a block forward and backward by rules."""
    parts = (UNFUSED, replace(UNFUSED, flash=True), PHAZE, replace(FUSED, epilogues=False), FUSED)
    document = (Path(__file__).parents[3] / "docs" / "model-cost.md").read_text()
    table = re.findall(r"^\| ([\w.-]+) \|((?: \d+, [\d.]+ \|){5})$", document, re.MULTILINE)
    assert [name for name, _ in table] == ["bert-large", "opt-350m", "gpt2-xl", "llama2-7b", "gpt3-175b"]
    for name, cells in table:
        workload = load(name)
        block = tensor_parallel(workload, 1).layers[max(set(workload.order), key=workload.order.count)]
        for rules, cell in zip(parts, cells.strip(" |").split(" | "), strict=True):
            count, gib = cell.split(", ")
            both = (kernel_graph(block, phase, 1, CYCLES, rules) for phase in (Phase.FORWARD, Phase.BACKWARD))
            kernels = tuple(kernel for graph in both for kernel in graph.kernels)
            assert len(kernels) == int(count)
            once = float(bytes_into(kernels, np.array([2**50])).sum()) / 2**30
            assert f"{once:.{len(gib.partition('.')[2])}f}" == gib
