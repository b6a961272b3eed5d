"""What limits ask of a model, from its recording and, where known, its config."""

from __future__ import annotations

from hardplace.cost.layers.recognise import decoder_of
from hardplace.exports.architecture import Architecture, TransformerKind
from hardplace.exports.limits import ModelFacts
from hardplace.plans.placement.space import shape_of
from hardplace.workload.types import Workload


def facts_of(workload: Workload, architecture: Architecture | None) -> ModelFacts:
    """Return a model's layers that are cut, tokens, heads of keys (queries' without a config), experts."""
    shape = shape_of(workload)
    return ModelFacts(
        layers=shape.layers,
        sequence=shape.sequence,
        kv_heads=architecture.kv_heads if architecture else shape.heads,
        experts=shape.experts,
        encoder_decoder=architecture is not None and architecture.kind is TransformerKind.ENCODER_DECODER,
        cut_experts=shape.experts > 1 and decoder_of(workload) is None,
    )
