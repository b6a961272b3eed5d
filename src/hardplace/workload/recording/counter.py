"""FLOPs of a step by torch's own FlopCounterMode, without the recorder: what recorded FLOPs are checked against."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch.utils import flop_counter

from hardplace.workload.linear_scan import CHUNK, DELTA, LINEAR, scan_product_flops
from hardplace.workload.recording.step import TrainingStep, ready
from hardplace.workload.scan import scan_flops

Shape = tuple[int, ...]


def _attention(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    return int(flop_counter.sdpa_flop_count(query, key, value))


def _attention_backward(gradient: Shape, query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    return int(flop_counter.sdpa_backward_flop_count(gradient, query, key, value))


def _grouped(left: Shape, right: Shape, *_: Any, **__: Any) -> int:
    """Each row of the left meets one group of the right; of a weight's gradient the rows are what is summed over."""
    return 2 * left[0] * left[1] * right[-1]


def _matrix_vector(matrix: Shape, vector: Shape, *_: Any, **__: Any) -> int:
    """Of (m, k) and (k,): torch's counter has formulas for products of matrices alone."""
    return 2 * math.prod(matrix)


def _added_matrix_vector(added: Shape, matrix: Shape, vector: Shape, *_: Any, **__: Any) -> int:
    return 2 * math.prod(matrix)


def _dot(left: Shape, right: Shape, *_: Any, **__: Any) -> int:
    return 2 * math.prod(left)


def _scan(direction: str) -> Callable[..., int]:
    """Of x (batch, length, heads, head dimension) and B (batch, length, groups, state); the gradient comes first."""

    def count(*args: Any, **_: Any) -> int:
        x, _dt, _a, first, *_rest = args[direction == "backward" :]
        names = ("batch", "length", "heads", "head_dim", "groups", "state", "chunk")
        found = scan_flops(**dict(zip(names, (*x, *first[2:], args[-1]), strict=True)))
        return int(getattr(found, direction))

    return count


def _linear(name: str, *, backward: bool) -> Callable[..., int]:
    """Of queries (batch, length, key heads, width) and values (batch, length, heads, width)."""

    def count(*args: Any, **_: Any) -> int:
        query, _key, value, *_rest = args[backward:]
        return scan_product_flops(name, (*value, query[2], query[3], CHUNK), backward=backward)

    return count


def _causal(x: Shape, weight: Shape, *_: Any, **__: Any) -> int:
    """A product and a sum for each tap of each of (batch, channels, length)."""
    return 2 * math.prod(x) * weight[1]


def _causal_backward(gradient: Shape, x: Shape, weight: Shape, *_: Any, **__: Any) -> int:
    """The gradients of input and weight, and the output again for its SiLU."""
    return 3 * _causal(x, weight)


def _convolution_backward(
    gradient: Shape, x: Shape, weight: Shape, _bias: Any, _stride: Any, _padding: Any, _dilation: Any,
    transposed: bool, _output_padding: Any, _groups: int, wanted: list[bool], *_: Any, **__: Any,
) -> int:  # fmt: skip
    """As many as forward for each of the gradients of input and weight; torch's own formula leaves out the groups."""
    places = x if transposed else gradient
    return sum(wanted[:2]) * 2 * places[0] * math.prod(places[2:]) * math.prod(weight)


def formulas() -> dict[Any, Callable[..., int]]:
    """Return what torch's counter must be told: operators it does not know, as functions of their operands' shapes."""
    aten, own = torch.ops.aten, torch.ops.hardplace
    return {
        **{
            getattr(own, name + phase): _linear(name, backward=bool(phase))
            for name in (*DELTA, LINEAR)
            for phase in ("", "_backward")
        },
        own.ssd_scan: _scan("forward"),
        own.ssd_scan_backward: _scan("backward"),
        own.causal_conv1d: _causal,
        own.causal_conv1d_backward: _causal_backward,
        own.attention: _attention,
        own.attention_backward: _attention_backward,
        aten._scaled_dot_product_flash_attention_for_cpu: _attention,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
        aten._grouped_mm: _grouped,
        own.grouped_mm: _grouped,
        aten.mv: _matrix_vector,
        aten.addmv: _added_matrix_vector,
        aten.dot: _dot,
        aten.convolution_backward: _convolution_backward,
    }


def counted_flops(step: TrainingStep, micro_batch: int = 2) -> int:
    """Return the FLOPs of forward and backward pass of a micro-batch (samples), as torch counts them."""
    tried = (step, *step.others)
    problems = []
    for one in (*tried, *(replace(one, balanced=True) for one in tried)):
        try:
            return _counted(one, micro_batch)
        except Exception as problem:
            problems.append(problem)
    raise problems[0]


def _counted(step: TrainingStep, micro_batch: int) -> int:
    counter = flop_counter.FlopCounterMode(display=False, custom_mapping=formulas())
    with ready(step, micro_batch) as here, counter:
        loss = here.run()
        if step.loss is not None:
            here.backward(loss)
    return int(counter.get_total_flops())
