"""What a trainer cannot express of a plan, each with its reason and the changes that mend it."""

from hardplace.exports.limits.stages import layers_by_chunk
from hardplace.exports.limits.table import LIMITS, broken_limits
from hardplace.exports.limits.types import ModelFacts, TrainerLimit

__all__ = ["LIMITS", "ModelFacts", "TrainerLimit", "broken_limits", "layers_by_chunk"]
