"""Mamba's state-space scan as one operator, in the models of the transformers library.

The library's version in plain torch takes the scan apart into some sixty operators on tensors that are quadratic in
the chunk (Mamba-2), or into one operator a token (Mamba-1); a device runs fused kernels. Inside fused_scan() a mixer
runs: in_proj matmul, causal depth-wise convolution, scan, gated RMS norm, out_proj matmul.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from hardplace.workload.recording import mamba  # noqa: F401  (defines the operators beside the scan)
from hardplace.workload.recording.library_scans import FUNCTIONS, METHODS

_INPUTS = "Tensor x, Tensor dt, Tensor A, Tensor B, Tensor C, Tensor D, Tensor dt_bias"
torch.library.define("hardplace::ssd_scan", f"({_INPUTS}, int chunk) -> (Tensor, Tensor)")
torch.library.define(
    "hardplace::ssd_scan_backward",
    f"(Tensor gradient, {_INPUTS}, Tensor out, Tensor decay, int chunk)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)


@torch.library.register_fake("hardplace::ssd_scan")
def _scan(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, dt_bias: Tensor, chunk: int) -> Any:
    """Return the output, of x's dtype as the kernel's, and the summed log decay of each chunk in fp32."""
    batch, length, heads, _ = x.shape
    decay = x.new_empty((batch, heads, -(-length // chunk), chunk), dtype=torch.float32)
    return x.new_empty(x.shape), decay


@torch.library.register_fake("hardplace::ssd_scan_backward")
def _scan_gradients(gradient: Tensor, *saved: Any) -> Any:
    return tuple(tensor.new_empty(tensor.shape) for tensor in saved[:7])


def _scan_saves(ctx: Any, inputs: Any, output: Any) -> None:
    """state-spaces/mamba, ops/triton/ssd_combined.py, MambaChunkScanCombinedFn.forward.

    out, x, dt, dA_cumsum, A, B, C, D and dt_bias are kept; scores and states of the chunks are made again.
    """
    *tensors, ctx.chunk = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, *output)


def _scan_backward(ctx: Any, gradient: Tensor, _: None) -> Any:
    return *torch.ops.hardplace.ssd_scan_backward(gradient, *ctx.saved_tensors, ctx.chunk), None


torch.library.register_autograd("hardplace::ssd_scan", _scan_backward, setup_context=_scan_saves)


def _chunk_scan(
    hidden_states: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    chunk_size: int,
    D: Tensor,
    dt_bias: Tensor,
    initial_states: Tensor | None = None,
    return_final_states: bool = False,
    **_: Any,
) -> Tensor:
    """Stand in for mamba2_chunk_scan of the library; options that change values only are left out."""
    if initial_states is not None or return_final_states:
        raise NotImplementedError("a scan that carries a cache is not recorded; set use_cache=False")
    return torch.ops.hardplace.ssd_scan(hidden_states, dt, A, B, C, D, dt_bias, chunk_size)[0]  # type: ignore[no-any-return]


def _selective_scan(
    hidden_states: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor,
    delta_bias: Tensor,
    return_last_state: bool = False,
    **_: Any,
) -> Tensor:
    """Stand in for mamba_selective_scan of the library."""
    if return_last_state:
        raise NotImplementedError("a scan that carries a cache is not recorded; set use_cache=False")
    return torch.ops.hardplace.selective_scan(hidden_states, dt, A, B, C, D, z, delta_bias)[0]  # type: ignore[no-any-return]


def _convolution(
    hidden_states: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str | None = None, **_: Any
) -> Tensor:
    """Stand in for causal_conv1d_fn of the library: convolution and SiLU in one kernel."""
    if activation not in (None, "silu", "swish"):
        raise NotImplementedError(f"a causal convolution with {activation} is not recorded; with silu or none it is")
    given = hidden_states.to(weight.dtype)  # of a weight that stays fp32
    output: Tensor = torch.ops.hardplace.causal_conv1d(given, weight, bias, activation is not None)
    return output.to(hidden_states.dtype)


def _gated_norm(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return the stand-in for the forward of a gated RMS norm, of groups where it has them, gated before or after."""

    def forward(self: Any, hidden_states: Tensor, gate: Tensor | None = None) -> Tensor:
        if gate is None:
            return original(self, hidden_states, gate)
        group = getattr(self, "group_size", hidden_states.shape[-1])
        return torch.ops.hardplace.gated_rms_norm(hidden_states, gate, self.weight, group)[0]  # type: ignore[no-any-return]

    return forward


def _not_whole(*_: Any, **__: Any) -> None:
    """Stand in for a kernel that runs the whole mixer: None lets the library go on with the parts."""


_STAND_INS: dict[str, Callable[..., Any]] = {
    "mamba2_chunk_scan": _chunk_scan,
    "mamba_selective_scan": _selective_scan,
    "causal_conv1d_fn": _convolution,
    "mamba2_split_conv1d_scan_combined": _not_whole,
    "mamba_inner_fn": _not_whole,
    **FUNCTIONS,
}
_SCANS = {"mamba2_chunk_scan", "mamba_selective_scan", *FUNCTIONS, *(name for name, _ in METHODS)}


def _replacements() -> Iterator[tuple[Any, str, Callable[..., Any]]]:
    """Yield owner, attribute and stand-in, for every loaded model with a scan or a causal convolution."""
    for module in [part for name, part in sys.modules.items() if name.startswith("transformers.models.")]:
        defined = vars(module)
        scans = _SCANS & defined.keys()
        if not scans and "causal_conv1d_fn" not in defined:
            continue
        yield from ((module, name, stand_in) for name, stand_in in _STAND_INS.items() if name in defined)
        norms = [part for name, part in defined.items() if name.endswith("RMSNormGated")] if scans else []
        yield from ((norm, "forward", _gated_norm(norm.forward)) for norm in norms)
        for (name, method), stand_in in METHODS.items():
            if name in defined:
                yield defined[name], method, stand_in


@contextmanager
def fused_scan() -> Iterator[None]:
    """Let the mixers of Mamba models run one operator for each kernel; enter it with the model already made."""
    originals = []
    try:
        for owner, name, stand_in in list(_replacements()):
            originals.append((owner, name, getattr(owner, name)))
            setattr(owner, name, stand_in)
        yield
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)
