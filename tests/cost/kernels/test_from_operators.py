"""Kernels of the kinds that a single operator stands for: convolutions, experts, scans, attention; fusion by rules."""

import math
from dataclasses import replace

import numpy as np
import pytest

from hardplace.cost.arrays.times import bytes_into, kernel_times
from hardplace.cost.kernels.attention import seen_keys
from hardplace.cost.kernels.fusion import FUSED, PHAZE, UNFUSED, kernel_graph, readers, streamed
from hardplace.cost.types import Engine, Fusion, Kernel, Matmul, Reuse
from hardplace.hardware.phaze import tpuv4
from hardplace.hardware.settings import CYCLES, HBM3
from hardplace.workload.affine import Affine
from hardplace.workload.load import load
from hardplace.workload.sharding import tensor_parallel
from hardplace.workload.types import Gradient, Layer, Operator, OperatorKind, Phase, Storage, StorageRole, Tensor

BLOCK = tensor_parallel(load("llama2-7b"), 1).layers[1]


def number(value: int) -> Affine:
    return Affine(value, 0)


def kernels(operator: Operator, rules: Fusion = FUSED) -> tuple[Kernel, ...]:
    """The kernels of a layer of one operator that reads and writes a tensor of 1000 bytes each."""
    sizes = (1000, 1000, 1000)
    layer = Layer(
        name="layer",
        storages=tuple(Storage(role=StorageRole.INPUT, bytes=number(size)) for size in sizes),
        tensors=tuple(Tensor(storage=index, shape=(number(500),), dtype="bfloat16") for index in range(3)),
        operators=(operator,),
        saved=(),
        inputs=(),
        outputs=(),
    )
    return kernel_graph(layer, operator.phase, 1, CYCLES, rules).kernels


def operator(
    kind: OperatorKind, *dims: int, phase: Phase = Phase.FORWARD, gradient: Gradient = Gradient.NONE
) -> Operator:
    return Operator(
        name=f"aten.{kind}",
        module="here",
        kind=kind,
        phase=phase,
        dims=tuple(number(dim) for dim in dims),
        flops=number(0),
        reads=(0, 1),
        writes=(2,),
        gradient=gradient,
    )


RESNET_STEM = (2, 3, 64, 1, 224, 224, 112, 112, 7, 7)
STEM_MACS = 2 * 112 * 112 * 64 * 3 * 49


def test_a_convolution_is_an_implicit_matmul_over_its_positions() -> None:
    (kernel,) = kernels(operator(OperatorKind.CONVOLUTION, *RESNET_STEM))
    assert kernel.engine is Engine.TENSOR
    assert kernel.tiled
    assert kernel.matmuls == (Matmul(batch=1, m=2 * 112 * 112, n=64, k=3 * 49, left_words=2 * 3 * 224 * 224),)


def test_the_gradients_of_a_convolution_take_as_many_products_each() -> None:
    (kernel,) = kernels(operator(OperatorKind.CONVOLUTION, *RESNET_STEM, phase=Phase.BACKWARD))
    to_input, to_weights = kernel.matmuls
    assert to_weights.macs == STEM_MACS
    assert to_input.macs == pytest.approx(STEM_MACS, rel=0.01)
    for gradient, matmul in ((Gradient.DGRAD, to_input), (Gradient.WGRAD, to_weights)):
        one = operator(OperatorKind.CONVOLUTION, *RESNET_STEM, phase=Phase.BACKWARD, gradient=gradient)
        assert kernels(one)[0].matmuls == (matmul,)


def test_a_transposed_convolution_multiplies_no_zeros_between_its_inputs() -> None:
    """U-Net's: 28 x 28 positions of 1024 channels to 56 x 56 of 512, a kernel of 2 x 2 at a stride of 2: each output
    meets one kernel point."""
    dims, macs = (1, 1024, 512, 1, 28, 28, 56, 56, 2, 2), 56 * 56 * 512 * 1024
    plain = replace(operator(OperatorKind.CONVOLUTION, *dims), name="aten.convolution")
    (kernel,) = kernels(replace(plain, name="convolution_transposed"))
    assert kernel.matmuls == (Matmul(batch=1, m=56 * 56, n=512, k=1024, left_words=28 * 28 * 1024),)
    (both,) = kernels(replace(plain, name="convolution_transposed_backward", phase=Phase.BACKWARD))
    assert [one.macs for one in both.matmuls] == [macs, macs]


def test_groups_of_a_convolution_are_a_batch_and_depth_wise_ones_run_on_lanes() -> None:
    (grouped,) = kernels(operator(OperatorKind.CONVOLUTION, 1, 128, 128, 32, 56, 56, 56, 56, 3, 3))
    assert grouped.matmuls == (Matmul(batch=32, m=56 * 56, n=4, k=36, left_words=56 * 56 * 4),)
    (depth_wise,) = kernels(operator(OperatorKind.CONVOLUTION, 1, 128, 128, 128, 56, 56, 56, 56, 3, 3))
    assert depth_wise.engine is Engine.VECTOR
    assert not depth_wise.matmuls
    assert depth_wise.lane_cycles == 56 * 56 * 128 * 9
    assert depth_wise.stream_bytes == 3000


def test_experts_are_a_batch_of_equal_shares() -> None:
    (kernel,) = kernels(operator(OperatorKind.GROUPED_MATMUL, 8, 4096, 1024, 512))
    assert kernel.matmuls == (Matmul(batch=8, m=512, n=1024, k=512),)
    weights = operator(OperatorKind.GROUPED_MATMUL, 8, 512, 1024, 4096, phase=Phase.BACKWARD, gradient=Gradient.WGRAD)
    assert kernels(weights)[0].matmuls == (Matmul(batch=8, m=512, n=1024, k=512),)


def test_a_scan_is_four_products_a_chunk() -> None:
    # Mamba-2 1.3B: 64 heads of 64, one group, state 128, chunks of 256.
    (kernel,) = kernels(operator(OperatorKind.SCAN, 1, 2048, 64, 64, 1, 128, 256))
    assert kernel.engine is Engine.BOTH
    chunk = 256 * 256 * 128 + 64 * (256 * 256 * 64 + 2 * 256 * 128 * 64)
    assert sum(matmul.macs for matmul in kernel.matmuls) == 8 * chunk
    (backward,) = kernels(operator(OperatorKind.SCAN, 1, 2048, 64, 64, 1, 128, 256, phase=Phase.BACKWARD))
    assert sum(matmul.macs for matmul in backward.matmuls) == 3 * 8 * chunk
    (unrolled,) = kernels(operator(OperatorKind.SCAN, 1, 2048, 1536, 1, 1, 16, 1))
    assert unrolled.engine is Engine.VECTOR


@pytest.mark.parametrize("queries", [1, 200, 1000])
@pytest.mark.parametrize("window", [0, 1, 100, 700])
def test_keys_seen_lie_between_the_mask_and_its_blocks(queries: int, window: int) -> None:
    keys, most = 1000, window or 1000
    exact = sum(min(keys - queries + 1 + one, most) for one in range(queries)) / queries
    seen = seen_keys(queries, keys, causal=True, window=window)
    assert math.floor(exact) <= seen <= min(keys, exact + 2 * 128)


def attention(phase: Phase) -> Operator:
    return operator(OperatorKind.ATTENTION, 2, 8, 4, 512, 512, 64, 96, phase=phase)


@pytest.mark.parametrize(("phase", "products"), [(Phase.FORWARD, 2), (Phase.BACKWARD, 4)])
def test_plain_attention_passes_its_scores_through_memory(phase: Phase, products: int) -> None:
    made = kernels(attention(phase), UNFUSED)
    assert sum(bool(kernel.matmuls) for kernel in made) == products
    macs = sum(matmul.macs for kernel in made for matmul in kernel.matmuls)
    forward = 2 * 8 * 512 * 512 * (64 + 96)
    assert macs == forward * (2 if phase is Phase.BACKWARD else 1)
    assert sum(kernel.stream_bytes for kernel in made) >= 2 * 2 * 2 * 8 * 512 * 512
    assert all(before < index for index, kernel in enumerate(made) for before in kernel.predecessors)
    (flash,) = kernels(attention(phase))
    assert flash.stream_bytes == 3000
    assert flash.reuse is not None
    assert flash.reuse.queries == 1024  # two heads of queries share one of keys


def test_what_attention_keeps_and_streams_again_by_hand() -> None:
    """Of a query: itself (16 bit), a row of sums (fp32), two fp32 statistics; backward its gradient and sums of both.
    Of a head of keys: keys and values (16 bit); backward their gradients too."""
    one = replace(attention(Phase.FORWARD), dims=tuple(map(number, (2, 8, 4, 512, 512, 64, 64))))
    (forward,), (backward,) = kernels(one), kernels(replace(one, phase=Phase.BACKWARD))
    heads, queries, of_keys = 2 * 4, 2 * 512, 512 * 2 * 64 * 2
    assert forward.reuse == Reuse(
        heads=heads, queries=queries, row_bytes=2 * 64 + 4 * 64 + 2 * 4, resident_bytes=of_keys
    )
    assert backward.reuse == Reuse(
        heads=heads, queries=queries, row_bytes=2 * (2 * 64 + 4 * 64) + 2 * 4, resident_bytes=2 * of_keys
    )
    # 255 queries fit in 100 kB beside each other, so keys and values of each head pass five times.
    assert bytes_into((forward,), np.array([100_000]))[0, 0] == 3000 + 4 * heads * of_keys
    assert bytes_into((forward,), np.array([of_keys]))[0, 0] == 3000


@pytest.mark.parametrize(
    "model", ["bert-large", "gpt2-xl", "opt-350m", "llama2-7b", "mixtral-8x7b", "t5-large", "vit-l"]
)
@pytest.mark.parametrize("phase", [Phase.FORWARD, Phase.BACKWARD])
def test_each_rule_saves_traffic_and_keeps_the_work(model: str, phase: Phase) -> None:
    block = tensor_parallel(load(model), 1).layers[1]
    rules = (FUSED, replace(FUSED, epilogues=False), replace(FUSED, chains=False, epilogues=False))
    moved, lanes, counts = [], [], []
    for one in rules:
        made = kernel_graph(block, phase, 1, CYCLES, one).kernels
        moved.append(
            sum(
                kernel.stream_bytes
                + (
                    sum(2 * m.batch * (m.m * m.k + m.k * m.n + m.m * m.n) for m in kernel.matmuls)
                    if kernel.tiled
                    else 0
                )
                for kernel in made
            )
        )
        lanes.append(sum(kernel.lane_cycles for kernel in made))
        counts.append(len(made))
    assert moved[0] <= moved[1] < moved[2]
    assert counts[0] <= counts[1] < counts[2]
    assert len(set(lanes)) == 1


@pytest.mark.parametrize("phase", [Phase.FORWARD, Phase.BACKWARD])
def test_phazes_rules_lie_between_none_and_ours(phase: Phase) -> None:
    none, theirs, ours = (
        len(kernel_graph(BLOCK, phase, 1, CYCLES, replace(rules, flash=True)).kernels)
        for rules in (UNFUSED, PHAZE, FUSED)
    )
    assert ours < theirs < none
    made = kernel_graph(BLOCK, phase, 1, CYCLES, PHAZE).kernels
    assert all(before < index for index, kernel in enumerate(made) for before in kernel.predecessors)


@pytest.mark.parametrize("name", ["all_reduce", "all_gather", "reduce_scatter", "all_to_all"])
def test_a_collective_is_priced_as_what_it_is(name: str) -> None:
    one = replace(operator(OperatorKind.COLLECTIVE, 10**9), name=name)
    (kernel,) = kernels(one)
    assert kernel.collective == name
    seconds = kernel_times((kernel,), tpuv4(), HBM3, 8).whole_s[0, 0]
    moved = 7 / 8 * 1e9 / 450e9 * (2 if name == "all_reduce" else 1)
    assert moved < seconds < 1.05 * moved


@pytest.mark.parametrize(("phase", "times"), [(Phase.FORWARD, 1), (Phase.BACKWARD, 3)])
def test_a_scan_in_chunks_on_the_lanes_by_hand(phase: Phase, times: int) -> None:
    """2 samples of 100 steps are 8 chunks of 32: a mask of exp, product and sum a head, two operations a state."""
    one = operator(OperatorKind.SCAN, 2, 100, 3, 5, 1, 7, 32, phase=phase)
    (kernel,) = kernels(one)
    mask = 8 * 3 * 32 * 32 * (CYCLES["exp"] + 2)
    assert kernel.lane_cycles == times * (mask + 8 * 3 * 5 * 7 * 2)


def test_a_kernel_writes_gradients_and_what_is_read_elsewhere_or_nowhere() -> None:
    roles = (
        StorageRole.INPUT, StorageRole.ACTIVATION, StorageRole.GRADIENT, StorageRole.ACTIVATION, StorageRole.ACTIVATION,
    )  # fmt: skip
    one = operator(OperatorKind.ELEMENTWISE, 500)
    layer = Layer(
        name="layer",
        storages=tuple(Storage(role=role, bytes=number(1000)) for role in roles),
        tensors=tuple(Tensor(storage=index, shape=(number(500),), dtype="bfloat16") for index in range(5)),
        operators=(
            replace(one, reads=(0,), writes=(1, 4)),
            replace(one, reads=(1,), writes=(2,)),
            replace(one, reads=(2,), writes=(3,)),
            replace(one, reads=(4,), writes=()),  # of another kernel
        ),
        saved=(),
        inputs=(),
        outputs=(),
    )
    assert sorted(streamed(layer, (0, 1, 2), readers(layer))) == [0, 2, 3, 4]  # 1 stays inside
    assert sorted(streamed(layer, (1, 2), readers(layer))) == [1, 2, 3]


def test_without_a_mask_all_keys_are_seen_or_those_that_the_windows_of_a_block_reach() -> None:
    """128 queries with windows of 256 keys each look at 256 + 127 of them."""
    assert seen_keys(1000, 1000, causal=False, window=0) == 1000
    assert seen_keys(1000, 1000, causal=False, window=256) == 383
    assert seen_keys(1000, 300, causal=False, window=256) == 300
