"""The Workload of a decoder's Hugging Face config.json without torch: a recorded decoder of its family, reshaped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hardplace.errors import BadInput
from hardplace.workload.configs import shape_of_config
from hardplace.workload.decoder import DecoderShape
from hardplace.workload.load import load, published_config
from hardplace.workload.reshaping.reshape import Reshaping
from hardplace.workload.types import Holder, Layer, StorageRole, Workload

# The catalogue's decoder whose operators those of a model type are.
_RECORDED = {"llama": "llama2-7b", "mistral": "llama2-7b", "qwen3": "qwen3-8b", "opt": "opt-6.7b"}
_SIZES = ("layers", "hidden", "heads", "kv_heads", "head_dim", "ffn", "vocab")
# Fields that change operators, with the values that those of the recorded decoders have.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu",),
    "activation_function": ("relu",),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "attention_dropout": (0, 0.0),
    "dropout": (0.1,),
    "do_layer_norm_before": (True,),
    "enable_bias": (True,),
    "layer_norm_elementwise_affine": (True,),
    "quantization_config": (None,),
}


def workload_of_config(values: Mapping[str, Any], place: str, name: str) -> Workload:
    """Return what recording a decoder's config would give, at the length that recording would choose.

    Args:
        values: The fields of the config.
        place: The file, for messages.
        name: Name of the Workload.

    Returns:
        One training step in bf16.

    Raises:
        BadInput: For a config that is unsound, and for one whose operators no recorded decoder has: with torch it is
            recorded.
    """
    kind = values.get("model_type")
    if not isinstance(kind, str) or kind not in _RECORDED:
        raise _wants_torch(f"{place}: model_type", repr(kind), f"one of {', '.join(_RECORDED)}")
    shape = shape_of_config(values, place, None)
    base = _RECORDED[kind]
    recorded = load(base)
    _check(values, shape, recorded, place)
    own = shape_of_config(published_config(base), base, recorded.sequence_length)
    reshaping = Reshaping(workload=recorded, sizes={field: getattr(own, field) for field in _SIZES})
    made = reshaping.of({field: getattr(shape, field) for field in _SIZES}, name)
    return replace(_tied(made, shape), source=place, command="")


def _wants_torch(where: str, value: object, expected: str) -> BadInput:
    return BadInput(f"{where}: {value}: expected {expected}; anything else is recorded: pip install 'hardplace[torch]'")


def _check(values: Mapping[str, Any], shape: DecoderShape, recorded: Workload, place: str) -> None:
    """Raise BadInput for a config with other operators than the recorded decoder's."""
    for field, plain in _PLAIN.items():
        if field in values and values[field] not in plain:
            raise _wants_torch(f"{place}: {field}", repr(values[field]), " or ".join(repr(one) for one in plain[:1]))
    kinds = values.get("layer_types") or []
    if shape.window or (isinstance(kinds, list) and set(kinds) - {"full_attention"}):
        raise _wants_torch(f"{place}: sliding_window", shape.window, "attention to all keys")
    if shape.sequence != recorded.sequence_length:
        tokens = (
            f"at least {recorded.sequence_length:,} tokens" if shape.sequence < recorded.sequence_length else "fewer"
        )
        raise _wants_torch(f"{place}: max_position_embeddings", shape.sequence, tokens)


def _tied(workload: Workload, shape: DecoderShape) -> Workload:
    """Return a decoder with embedding and head of one table, or of two, as its config says."""
    tables = [_table(workload.layers[index], shape) for index in (0, -1)]
    last = len(workload.order) - 1
    untied = sum(workload.layers[index].parameters for index in workload.order)
    if not shape.tied:
        return replace(workload, shared=(), parameters=untied)
    return replace(
        workload,
        shared=((Holder(0, tables[0]), Holder(last, tables[1])),),
        parameters=untied - shape.vocab * shape.hidden,
    )


def _table(layer: Layer, shape: DecoderShape) -> int:
    """Return the storage of the tokens' table in the first or the last layer."""
    size = shape.vocab * shape.hidden
    return next(
        index
        for index, storage in enumerate(layer.storages)
        if storage.role is StorageRole.PARAMETER and storage.parameters == size
    )
