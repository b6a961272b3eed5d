"""DLRM has MLPerf's parameters and the FLOPs of its matrices."""

from itertools import pairwise

import pytest

torch = pytest.importorskip("torch")

from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from hardplace.workload.affine import Affine  # noqa: E402
from hardplace.workload.load import load  # noqa: E402
from hardplace.workload.recording.models.recommendation import CRITEO_TERABYTE_40M, dlrm, dlrm_step  # noqa: E402
from hardplace.workload.recording.step import fake  # noqa: E402
from hardplace.workload.types import OperatorKind  # noqa: E402

BOTTOM = [13, 512, 256, 128]
TOP = [27 * 26 // 2 + 128, 1024, 1024, 512, 256, 1]


def products(widths):
    return sum(before * after for before, after in pairwise(widths))


def fakes(micro_batch):
    example, mode = dlrm_step(micro_batch), FakeTensorMode()
    fake(example.module, torch.bfloat16, mode)
    with mode:
        inputs = {
            name: torch.empty(value.shape, dtype=torch.bfloat16 if value.is_floating_point() else value.dtype)
            for name, value in example.inputs.items()
        }
    return example, inputs, mode


def test_parameters_are_those_of_mlperf():
    """187,767,399 rows (mlcommons/inference, --max-ind-range=40000000; "25+ billion" or "100 GB" in papers)."""
    assert max(CRITEO_TERABYTE_40M) < 40_000_000
    assert sum(CRITEO_TERABYTE_40M) == 187_767_399
    linear = products(BOTTOM) + sum(BOTTOM[1:]) + products(TOP) + sum(TOP[1:])
    with torch.device("meta"):
        count = sum(weight.numel() for weight in dlrm().parameters())
    assert count == 128 * 187_767_399 + linear == 24_036_595_969


@pytest.mark.parametrize("micro_batch", [2, 3])
def test_a_step_without_values(micro_batch):
    example, inputs, mode = fakes(micro_batch)
    counter = FlopCounterMode(display=False)
    with mode, counter:
        logits = example.module(**inputs)
    assert logits.shape == (micro_batch,)
    assert counter.get_total_flops() == 2 * micro_batch * (products(BOTTOM) + products(TOP) + 27 * 27 * 128)
    with mode:
        example.loss(logits, inputs).backward()
    assert all(weight.grad.shape == weight.shape for weight in example.module.parameters())


def test_a_table_is_recorded_by_what_is_looked_up():
    """And the tables are one layer beside the dense tower, since none needs another."""
    workload = load("dlrm")
    tables = next(layer for layer in workload.layers if layer.name == "tables")
    lookups = [one for one in tables.operators if one.kind is OperatorKind.EMBEDDING]
    assert len(lookups) == 52
    assert {one.dims for one in lookups} == {(Affine(0, 128),)}
    assert tables.parameters == 128 * 187_767_399
    assert not tables.inputs


def test_interaction_is_the_lower_triangle_of_dot_products():
    """Real values: the top MLP sees the dense tower and each pair of different features once."""
    module = dlrm(tables=(5, 7))
    seen = []
    module.top.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    dense, sparse = torch.rand(3, 13), torch.tensor([[0, 6], [4, 1], [2, 2]])
    module(dense, sparse)
    hidden = module.bottom(dense)
    first, second = (table(sparse[:, number]) for number, table in enumerate(module.tables))
    pairs = [(hidden * first).sum(1), (hidden * second).sum(1), (first * second).sum(1)]
    torch.testing.assert_close(seen[0], torch.cat([hidden, torch.stack(pairs, dim=1)], dim=1))
