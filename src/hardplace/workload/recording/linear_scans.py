"""Linear attention and recurrences of the transformers library as one operator for each kernel that a device runs.

The library's versions in plain torch take a chunk, or a token, at a time. FLOPs: hardplace.workload.linear_scan. What
each operator keeps is what the named kernel's autograd function saves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hardplace.workload.linear_scan import CHUNK

_DELTA = "Tensor q, Tensor k, Tensor v, Tensor g, Tensor beta"


def _delta(q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor) -> Any:
    """Return the output, the decay summed within chunks in fp32, and the inverse of each chunk's triangle."""
    inverse = k.new_empty((*v.shape[:3], CHUNK))
    return v.new_empty(v.shape), g.new_empty(g.shape, dtype=torch.float32), inverse


def _kimi_delta(q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor) -> Any:
    """Return what the gated delta rule's kernel does, and the scores of queries and keys, which this one keeps."""
    found = _delta(q, k, v, g, beta)
    return *found, torch.empty_like(found[2])


def _delta_gradients(gradient: Tensor, *saved: Any) -> Any:
    """Return gradients of q, k, v, g and beta; the decay that was kept is g's sum in fp32."""
    *given, of_g = saved
    q, k, v, decay, beta = given[:5]
    like = [one.new_empty(one.shape) for one in (q, k, v, beta)]
    return *like[:3], decay.new_empty(decay.shape, dtype=of_g), like[3]


def _delta_saves(ctx: Any, inputs: Any, output: Any) -> None:
    """fla, ops/gated_delta_rule/chunk.py, ChunkGatedDeltaRuleFunction.forward: q, k, v, g, beta, A.

    g is the sum within chunks. ops/kda/chunk.py saves the scores Aqk too.
    """
    q, k, v, g, beta = inputs
    ctx.of_g = g.dtype
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(q, k, v, output[1], beta, *output[2:])


def _delta_backward(name: str) -> Callable[..., Any]:
    def backward(ctx: Any, gradient: Tensor, *_: None) -> Any:
        return tuple(getattr(torch.ops.hardplace, f"{name}_backward")(gradient, *ctx.saved_tensors, ctx.of_g))

    return backward


for _name, _shapes, _more in (("gated_delta_scan", _delta, ""), ("kimi_delta_scan", _kimi_delta, ", Tensor")):
    torch.library.define(f"hardplace::{_name}", f"({_DELTA}) -> (Tensor, Tensor, Tensor{_more})")
    torch.library.define(
        f"hardplace::{_name}_backward",
        "(Tensor gradient, Tensor q, Tensor k, Tensor v, Tensor decay, Tensor beta, Tensor inverse"
        f"{', Tensor scores' if _more else ''}, ScalarType of_g) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    )
    torch.library.register_fake(f"hardplace::{_name}", _shapes)
    torch.library.register_fake(f"hardplace::{_name}_backward", _delta_gradients)
    torch.library.register_autograd(f"hardplace::{_name}", _delta_backward(_name), setup_context=_delta_saves)

torch.library.define("hardplace::l2_norm", "(Tensor x) -> (Tensor, Tensor)")
torch.library.define("hardplace::l2_norm_backward", "(Tensor gradient, Tensor y, Tensor rstd) -> Tensor")


@torch.library.register_fake("hardplace::l2_norm")
def _l2_norm(x: Tensor) -> Any:
    return x.new_empty(x.shape), x.new_empty(x.shape[:-1], dtype=torch.float32)


@torch.library.register_fake("hardplace::l2_norm_backward")
def _l2_norm_gradient(gradient: Tensor, y: Tensor, rstd: Tensor) -> Tensor:
    return y.new_empty(y.shape)


def _l2_norm_saves(ctx: Any, inputs: Any, output: Any) -> None:
    """fla, modules/l2norm.py, L2NormFunction.forward: y, rstd."""
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*output)


def _l2_norm_backward(ctx: Any, gradient: Tensor, _: None) -> Any:
    return torch.ops.hardplace.l2_norm_backward(gradient, *ctx.saved_tensors)


torch.library.register_autograd("hardplace::l2_norm", _l2_norm_backward, setup_context=_l2_norm_saves)

_LINEAR = "Tensor q, Tensor k, Tensor v, Tensor[] gates"
torch.library.define("hardplace::linear_attention_scan", f"({_LINEAR}) -> (Tensor, Tensor[])")
torch.library.define(
    "hardplace::linear_attention_scan_backward",
    "(Tensor gradient, Tensor q, Tensor k, Tensor v, Tensor[] gates, Tensor[] statistics)"
    " -> (Tensor, Tensor, Tensor, Tensor[])",
)


@torch.library.register_fake("hardplace::linear_attention_scan")
def _linear(q: Tensor, k: Tensor, v: Tensor, gates: list[Tensor]) -> Any:
    """Return the output and, of gates, two statistics of each row in fp32 (normaliser and maximum)."""
    statistics = [v.new_empty(v.shape[:3], dtype=torch.float32) for _ in gates]
    return v.new_empty(v.shape), statistics


@torch.library.register_fake("hardplace::linear_attention_scan_backward")
def _linear_gradients(gradient: Tensor, q: Tensor, k: Tensor, v: Tensor, gates: Any, statistics: Any) -> Any:
    return *(one.new_empty(one.shape) for one in (q, k, v)), [one.new_empty(one.shape) for one in gates]


class _LinearAttention(torch.autograd.Function):
    """Of constant decay, fla, ops/simple_gla/chunk.py: q, k, v are kept.

    Of gates, NX-AI/mlstm_kernels, torch/chunkwise/triton_xl_chunk/fwbw.py: q, k, v, both gates, output, and the
    normaliser and maximum of each row.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, *gates: Tensor) -> Tensor:
        output, statistics = torch.ops.hardplace.linear_attention_scan(q, k, v, list(gates))
        ctx.gates = len(gates)
        ctx.save_for_backward(q, k, v, *gates, *statistics, *([output] if gates else []))
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        q, k, v, *rest = ctx.saved_tensors
        gates, statistics = rest[: ctx.gates], rest[ctx.gates : 2 * ctx.gates]
        dq, dk, dv, of_gates = torch.ops.hardplace.linear_attention_scan_backward(gradient, q, k, v, gates, statistics)
        return dq, dk, dv, *of_gates


torch.library.define("hardplace::recurrence_scan", "(Tensor x, Tensor[] others) -> Tensor")
torch.library.define(
    "hardplace::recurrence_scan_backward", "(Tensor gradient, Tensor x, Tensor[] others, Tensor output) -> Tensor[]"
)


@torch.library.register_fake("hardplace::recurrence_scan")
def _recurrence(x: Tensor, others: list[Tensor]) -> Tensor:
    return x.new_empty(x.shape)


@torch.library.register_fake("hardplace::recurrence_scan_backward")
def _recurrence_gradients(gradient: Tensor, x: Tensor, others: list[Tensor], output: Tensor) -> Any:
    return [one.new_empty(one.shape) for one in (x, *others)]


class _Recurrence(torch.autograd.Function):
    """Of (batch, length, channels): the inputs and the output are kept (transformers, RwkvLinearAttention.forward)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *others: Tensor) -> Tensor:
        output = torch.ops.hardplace.recurrence_scan(x, list(others))
        ctx.save_for_backward(x, *others, output)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, *others, output = ctx.saved_tensors
        return tuple(torch.ops.hardplace.recurrence_scan_backward(gradient, x, others, output))


def linear_attention(q: Tensor, k: Tensor, v: Tensor, *gates: Tensor) -> Tensor:
    """Run linear attention on (batch, length, heads, width); gates: (batch, length, heads) each."""
    return _LinearAttention.apply(q, k, v, *gates)


def recurrence(x: Tensor, *others: Tensor) -> Tensor:
    """Run a recurrence of each channel of (batch, length, channels); others: its coefficients."""
    return _Recurrence.apply(x, *others)
