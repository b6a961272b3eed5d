"""Seconds of every operator of a model on this CPU, and of the whole model: processor time, the least of repeats.

One inference without gradients on one thread. Processor time of this process leaves out what others run meanwhile, but
not what they cost in caches and memory bandwidth, so the least of the repeats counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from hardplace.cost.cpu.types import CpuOperator
from hardplace.workload.recording.choose import step_of
from hardplace.workload.recording.models.entries import MODELS
from hardplace.workload.recording.models.entries import step_of as catalogue_step
from hardplace.workload.recording.step import TrainingStep
from hardplace.workload.types import OperatorKind

_LEFT_OUT = {"view", "_unsafe_view", "t", "transpose", "expand", "permute", "reshape", "slice", "unsqueeze", "squeeze"}
_LEFT_OUT |= {
    "detach",
    "alias",
    "split",
    "select",
    "unbind",
    "lift_fresh",
    "empty",
    "empty_like",
    "chunk",
    "as_strided",
}
_LEFT_OUT |= {"randn", "zeros", "ones"}
_KINDS = {
    "native_batch_norm": OperatorKind.NORMALISATION,
    "_native_batch_norm_legit_no_training": OperatorKind.NORMALISATION,
    "native_layer_norm": OperatorKind.NORMALISATION,
    "native_group_norm": OperatorKind.NORMALISATION,
    "_softmax": OperatorKind.SOFTMAX,
    "_log_softmax": OperatorKind.SOFTMAX,
    "mean": OperatorKind.REDUCTION,
    "sum": OperatorKind.REDUCTION,
    "max_pool2d_with_indices": OperatorKind.REDUCTION,
    "avg_pool2d": OperatorKind.REDUCTION,
    "_adaptive_avg_pool2d": OperatorKind.REDUCTION,
    "embedding": OperatorKind.EMBEDDING,
    "gather": OperatorKind.GATHER,
    "index": OperatorKind.GATHER,
    "clone": OperatorKind.COPY,
    "copy": OperatorKind.COPY,
    "_to_copy": OperatorKind.COPY,
    "cat": OperatorKind.COPY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuRun:
    """What was timed of a model: its operators in order, views left out, and the whole without a timer within."""

    operators: tuple[CpuOperator, ...]
    whole_s: float


def step_named(model: str) -> TrainingStep:
    """Return the step of a catalogue model, a config.json or module:function."""
    return catalogue_step(model) if model in MODELS else step_of(model, dtype="fp32")


def timed(step: TrainingStep, batch: int, repeats: int) -> CpuRun:
    """Return the least processor seconds of each operator of one inference in fp32 with random weights, and in all."""
    torch.manual_seed(0)
    module = step.module.to(dtype=torch.float32).to_empty(device="cpu").eval()
    if getattr(module, "_supports_sdpa", False):  # recorded as one operator of ours, which no CPU runs
        module.set_attn_implementation("sdpa")
    with torch.no_grad():
        for value in [*module.parameters(), *module.buffers()]:
            if value.is_floating_point():
                value.normal_(std=0.02).abs_()
            else:
                value.zero_()
    inputs = tree_map_only(torch.Tensor, _filled, step.inputs(batch))
    named = {name: value for name, value in inputs.items() if name not in step.positional and name != "labels"}
    first = tuple(inputs[name] for name in step.positional)
    return _least(lambda: module(*first, **named), repeats)


def anchors(repeats: int) -> CpuRun:
    """Return the same of operators of usual kinds and sizes, one after the other: those that few models have often."""
    torch.manual_seed(0)
    return _least(_anchors, repeats)


def _anchors() -> None:
    for channels, side in ((32, 112), (128, 56), (256, 28), (640, 14), (1024, 7)):
        image = torch.randn(1, channels, side, side)
        functional.max_pool2d(image, 3, stride=2)
        functional.avg_pool2d(image, 3, stride=1, padding=1)
        functional.adaptive_avg_pool2d(image, 1)
        torch.cat([image, image[:, : channels // 2]], dim=1)
        functional.group_norm(image, 8)
        functional.conv2d(image, torch.randn(channels, 1, 3, 3), padding=1, groups=channels)
        for function in (functional.silu, torch.sigmoid, torch.tanh, functional.gelu):
            function(image)
        image * image
        image.clone()
    for tokens, width in ((16, 768), (128, 768), (384, 1024), (1, 4096), (64, 2048)):
        rows = torch.randn(1, tokens, width)
        functional.layer_norm(rows, (width,))
        torch.softmax(rows, dim=-1)
        functional.embedding(torch.zeros(1, tokens, dtype=torch.int64), rows[0])
        torch.mm(rows[0], torch.randn(width, width))
        torch.mm(rows[0], torch.randn(width, width // 4))
        heads = torch.randn(1, width // 64, tokens, 64)
        functional.scaled_dot_product_attention(heads, heads, heads)


def _least(work: Callable[[], Any], repeats: int) -> CpuRun:
    torch.set_num_threads(1)
    runs = []
    with torch.no_grad():
        whole_s = min(_spent(work) for _ in range(repeats + 1))
        for _ in range(repeats + 1):
            with _Timer() as timer:
                work()
            runs.append(timer.operators)
    found = [min(same, key=lambda one: one.seconds) for same in zip(*runs, strict=True)]
    return CpuRun(operators=tuple(found), whole_s=whole_s)


def _filled(value: torch.Tensor) -> torch.Tensor:
    if value.is_floating_point():
        return torch.randn(value.shape)
    return torch.ones(value.shape, dtype=value.dtype)


def _spent(work: Callable[[], Any]) -> float:
    began = time.process_time_ns()
    work()
    return (time.process_time_ns() - began) * 1e-9


class _Timer(TorchDispatchMode):
    """Times each operator that runs within it."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: list[CpuOperator] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        began = time.process_time_ns()
        result = func(*args, **(kwargs or {}))
        spent_s = (time.process_time_ns() - began) * 1e-9
        name = func._schema.name.partition("::")[2]
        name = name if name.startswith("_") else name.rstrip("_")  # in place or not
        if name not in _LEFT_OUT:
            self.operators.append(_described(name, args, kwargs or {}, result, spent_s))
        return result


def _described(name: str, args: Any, kwargs: Any, result: Any, spent_s: float) -> CpuOperator:
    """Return an operator as the cost model knows it: a product's sizes, the bytes read and written."""
    tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
    written = [one for one in tree_leaves(result) if isinstance(one, torch.Tensor)]
    moved = sum(one.numel() * one.element_size() for one in [*tensors, *written])
    kind, sizes, taps = _KINDS.get(name, OperatorKind.ELEMENTWISE), (1, 0, 0, 0), 1
    if name == "convolution":
        kind, weight = OperatorKind.CONVOLUTION, args[1].shape
        groups, taps = int(args[8]), weight[2:].numel()
        spatial = written[0].shape[0] * written[0].shape[2:].numel()
        sizes = (groups, spatial, weight[0] // groups, weight[1] * taps)
    elif name in ("mm", "addmm", "bmm", "baddbmm"):
        kind, left, right = OperatorKind.MATMUL, tensors[-2].shape, tensors[-1].shape
        sizes = (left[0] if len(left) == 3 else 1, left[-2], right[-1], left[-1])
    elif "scaled_dot_product" in name:
        kind, query, key = OperatorKind.ATTENTION, tensors[0].shape, tensors[1].shape
        sizes = (query[0] * query[1], query[2], key[2], query[3])
        moved = sum(one.numel() * one.element_size() for one in [*tensors[:3], written[0]])
    elif name in ("embedding", "gather", "index"):
        moved = 2 * written[0].numel() * written[0].element_size()
    return CpuOperator(
        kind=kind.value, name=name, batch=sizes[0], m=sizes[1], n=sizes[2], k=sizes[3], taps=taps,
        moved_bytes=float(moved), seconds=spent_s,
    )  # fmt: skip
