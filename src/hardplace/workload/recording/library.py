"""The transformers library as a device would run it: what a recording puts in place of its functions."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from hardplace.workload.recording.attention import chunked_mask, library_attention
from hardplace.workload.recording.experts import grouped_product, llama4_mixture
from hardplace.workload.recording.looped_experts import FORWARDS
from hardplace.workload.recording.scan import fused_scan

# Of a class of the library, by the module that defines it: what its forward pass is taken for.
_FORWARDS: dict[tuple[str, str], Callable[..., Any]] = {
    ("llama4", "Llama4TextMoe"): llama4_mixture,
    **FORWARDS,
}


_UNCHECKED = "TRANSFORMERS_DISABLE_TORCH_CHECK"  # the library's own switch for its checks of values
SPARSE = "hardplace_sparse"
PACKED = "hardplace_flash_packed"  # the library looks for "flash" in it, and hands on where sequences begin


def _mask(*_: Any, mask_function: Any = None, kv_length: int = 0, **__: Any) -> Any:
    """Return no mask: a fused kernel knows causality and windows; of chunks, their size."""
    chunk = int(getattr(mask_function, "hardplace_chunk", 0))
    return chunked_mask(chunk) if 0 < chunk < kv_length else None


def _sparse_mask(*_: Any, q_length: int = 0, kv_length: int = 0, **__: Any) -> Any:
    """Return a mask of all scores, for the part of a model that chooses keys by scores of its own."""
    return torch.empty((1, 1, q_length, kv_length), dtype=torch.bool, device="cpu")


def _chunks(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return a chunked_causal_mask_function whose result says how long a chunk is."""

    def function(chunk_size: int, *rest: Any, **named: Any) -> Any:
        found = original(chunk_size, *rest, **named)
        found.hardplace_chunk = chunk_size
        return found

    return function


def _resized(positional_embeddings: torch.Tensor, spatial_shapes: torch.Tensor, max_length: int) -> torch.Tensor:
    """Stand in for SigLIP 2's loop over images of any shape, for images of one: resized once for all of them."""
    height, width = spatial_shapes[0].tolist()
    table = positional_embeddings.permute(2, 0, 1).unsqueeze(0).float()
    size = (height, width)
    table = torch.nn.functional.interpolate(table, size=size, mode="bilinear", align_corners=False, antialias=True)
    table = table.flatten(2).transpose(1, 2).to(positional_embeddings.dtype)
    rest = table[:, :1].expand(1, max_length - height * width, -1)
    return torch.cat([table, rest], dim=1).expand(spatial_shapes.shape[0], -1, -1)


def _replacements() -> Iterator[tuple[Any, str, Any]]:
    """Give owner, name and stand-in of functions and forward passes of the library."""
    from transformers import masking_utils, pytorch_utils
    from transformers.integrations import moe

    # Tables that a module caches would belong to the step before.
    yield pytorch_utils, "is_torchdynamo_compiling", lambda: True
    yield masking_utils, "find_packed_sequence_indices", lambda position_ids: None
    yield masking_utils, "chunked_causal_mask_function", _chunks(masking_utils.chunked_causal_mask_function)
    yield moe, "_grouped_mm", grouped_product
    for (family, name), forward in _FORWARDS.items():
        defined = sys.modules.get(f"transformers.models.{family}.modeling_{family}")
        if defined is not None:
            yield getattr(defined, name), "forward", forward
    siglip, gemma = (sys.modules.get(f"transformers.models.{one}.modeling_{one}") for one in ("siglip2", "t5gemma2"))
    if siglip is not None:
        yield siglip.Siglip2VisionEmbeddings, "resize_positional_embeddings", staticmethod(_resized)
    if gemma is not None:  # it joins its masks before a kernel sees them
        for mask in ("create_causal_mask", "create_sliding_window_causal_mask", "create_bidirectional_mask"):
            yield gemma, mask, lambda *_, **__: torch.empty((1, 1, 1, 1), dtype=torch.bool, device="cpu")


@contextmanager
def library_stand_ins() -> Iterator[None]:
    """Let Hugging Face models call the fused attention, and make no 4-D masks for it.

    Right because the step is recorded without padding and without packed sequences. Models that were asked to
    run "eager" attention keep it, and its masks. Enter it with the model already made.
    """
    from transformers import masking_utils, modeling_utils

    attention = modeling_utils.AttentionInterface._global_mapping
    masks = masking_utils.AttentionMaskInterface._global_mapping
    kept = (attention["sdpa"], masks["sdpa"])
    attention["sdpa"] = attention[SPARSE] = attention[PACKED] = library_attention
    masks["sdpa"], masks[SPARSE], masks[PACKED] = _mask, _sparse_mask, _mask
    originals = []
    checks = os.environ.get(_UNCHECKED)
    os.environ[_UNCHECKED] = "1"
    try:
        for owner, name, stand_in in list(_replacements()):
            originals.append((owner, name, inspect.getattr_static(owner, name)))
            setattr(owner, name, stand_in)
        with fused_scan():
            yield
    finally:
        for owner, name, original in reversed(originals):
            setattr(owner, name, original)
        os.environ.pop(_UNCHECKED) if checks is None else os.environ.update({_UNCHECKED: checks})
        attention["sdpa"], masks["sdpa"] = kept
        for own in (SPARSE, PACKED):
            del attention[own], masks[own]


def choose_kernels(module: torch.nn.Module) -> None:
    """Let attention hand to the operator what it hands to a device's kernel alone.

    That which chooses its keys, their indices; that of images one after another, where each begins.
    """
    for path, part in module.named_modules():
        config = getattr(part, "config", None)
        if type(part).__name__.endswith("Indexer"):
            for owner in (part, module.get_submodule(path.rpartition(".")[0])):  # of the layer's own, and the model's
                if getattr(owner, "config", None) is not None:
                    owner.config._attn_implementation = SPARSE
        if config is None:
            continue
        if "cu_seqlens" in inspect.signature(part.forward).parameters and "Vision" in type(part).__name__:
            config._attn_implementation = PACKED


def _by_class(model: type[Any]) -> bool:
    """Return whether a model's file chooses attention from a table of classes that has none for torch's function."""
    defined = vars(sys.modules[model.__module__])
    tables = [
        table for name, table in defined.items() if name.endswith("ATTENTION_CLASSES") and isinstance(table, dict)
    ]
    return any("sdpa" not in table for table in tables)


@contextmanager
def any_attention() -> Iterator[None]:
    """Let models of the library be made that route attention by its interface, also those that torch's cannot run.

    Sinks, say, are no argument of torch's function, but of a device's kernel and of the recorded operator.
    """
    from transformers import PreTrainedModel

    original = PreTrainedModel._sdpa_can_dispatch

    def can(self: Any, is_init_check: bool = False) -> bool:
        named = ("_supports_attention_backend", "_supports_flash_attn", "_supports_flex_attn")
        if any(getattr(self, name, False) for name in named) and not _by_class(type(self)):
            return True
        return bool(original(self, is_init_check))

    PreTrainedModel._sdpa_can_dispatch = can
    try:
        yield
    finally:
        PreTrainedModel._sdpa_can_dispatch = original
