"""Operators of a Mamba mixer beside Mamba-2's scan, one for each kernel that a device runs.

They have shapes and gradients but no kernel: a step is recorded on fake tensors, and real ones are refused by torch.
What each saves for its backward pass is what the named kernel's autograd function saves.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# Steps of the sequence between two states that the selective scan's kernel writes out
# (state-spaces/mamba, csrc/selective_scan/selective_scan.cpp: n_chunks = (seqlen + 2048 - 1) / 2048).
SELECTIVE_CHUNK = 2048


torch.library.define("hardplace::causal_conv1d", "(Tensor x, Tensor weight, Tensor? bias, bool silu) -> Tensor")
torch.library.define(
    "hardplace::causal_conv1d_backward",
    "(Tensor gradient, Tensor x, Tensor weight, Tensor? bias, bool silu) -> (Tensor, Tensor, Tensor)",
)


@torch.library.register_fake("hardplace::causal_conv1d")
def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool) -> Tensor:
    return torch.empty_like(x)


@torch.library.register_fake("hardplace::causal_conv1d_backward")
def _convolution_gradients(gradient: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool) -> Any:
    return torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight[:, 0])


def _convolution_saves(ctx: Any, inputs: Any, output: Tensor) -> None:
    """Dao-AILab/causal-conv1d, CausalConv1dFn.forward: x, weight, bias; the activation's input is made again."""
    *tensors, ctx.silu = inputs
    ctx.save_for_backward(*tensors)


def _convolution_backward(ctx: Any, gradient: Tensor) -> Any:
    x, weight, bias = ctx.saved_tensors
    dx, dweight, dbias = torch.ops.hardplace.causal_conv1d_backward(gradient, x, weight, bias, ctx.silu)
    return dx, dweight, None if bias is None else dbias, None


torch.library.register_autograd("hardplace::causal_conv1d", _convolution_backward, setup_context=_convolution_saves)


torch.library.define(
    "hardplace::gated_rms_norm", "(Tensor x, Tensor gate, Tensor weight, int group_size) -> (Tensor, Tensor)"
)
torch.library.define(
    "hardplace::gated_rms_norm_backward",
    "(Tensor gradient, Tensor x, Tensor gate, Tensor weight, Tensor rstd, int group_size) -> (Tensor, Tensor, Tensor)",
)


@torch.library.register_fake("hardplace::gated_rms_norm")
def _norm(x: Tensor, gate: Tensor, weight: Tensor, group_size: int) -> Any:
    groups = x.shape[-1] // group_size
    return x.new_empty(x.shape), x.new_empty((*x.shape[:-1], groups), dtype=torch.float32)


@torch.library.register_fake("hardplace::gated_rms_norm_backward")
def _norm_gradients(gradient: Tensor, x: Tensor, gate: Tensor, weight: Tensor, rstd: Tensor, group_size: int) -> Any:
    return x.new_empty(x.shape), gate.new_empty(gate.shape), torch.empty_like(weight)


def _norm_saves(ctx: Any, inputs: Any, output: Any) -> None:
    """state-spaces/mamba, ops/triton/layernorm_gated.py, LayerNormFn.forward: x, weight, rstd, z."""
    x, gate, weight, ctx.group_size = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, gate, weight, output[1])


def _norm_backward(ctx: Any, gradient: Tensor, _: None) -> Any:
    return *torch.ops.hardplace.gated_rms_norm_backward(gradient, *ctx.saved_tensors, ctx.group_size), None


torch.library.register_autograd("hardplace::gated_rms_norm", _norm_backward, setup_context=_norm_saves)

torch.library.define(
    "hardplace::selective_scan",
    "(Tensor x, Tensor dt, Tensor A, Tensor B, Tensor C, Tensor D, Tensor gate, Tensor dt_bias)"
    " -> (Tensor, Tensor, Tensor)",
)
torch.library.define(
    "hardplace::selective_scan_backward",
    "(Tensor gradient, Tensor x, Tensor dt, Tensor A, Tensor B, Tensor C, Tensor D, Tensor gate, Tensor dt_bias,"
    " Tensor states, Tensor ungated) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)


@torch.library.register_fake("hardplace::selective_scan")
def _selective(x: Tensor, dt: Tensor, A: Tensor, *_: Tensor) -> Any:
    batch, channels, length = x.shape
    chunks = -(-length // SELECTIVE_CHUNK)
    states = x.new_empty((batch, channels, chunks, 2 * A.shape[1]), dtype=torch.float32)
    return x.new_empty(x.shape), states, x.new_empty(x.shape)


@torch.library.register_fake("hardplace::selective_scan_backward")
def _selective_gradients(gradient: Tensor, *saved: Tensor) -> Any:
    return tuple(tensor.new_empty(tensor.shape) for tensor in saved[:8])


def _selective_saves(ctx: Any, inputs: Any, output: Any) -> None:
    """state-spaces/mamba, ops/selective_scan_interface.py, SelectiveScanFn.forward, with z.

    The inputs, the state after each SELECTIVE_CHUNK steps, and the output before its gate.
    """
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs, *output[1:])


def _selective_backward(ctx: Any, gradient: Tensor, *_: None) -> Any:
    return tuple(torch.ops.hardplace.selective_scan_backward(gradient, *ctx.saved_tensors))


torch.library.register_autograd("hardplace::selective_scan", _selective_backward, setup_context=_selective_saves)
