"""Sharding rules: how each tensor of a recorded layer lies on the ranks of one group, and what moves for it.

docs/model-workload.md, section 4. Splits enter at parameters (tensor parallel: a linear of a whole input is cut by
output features, of a cut input by input features) or at the layer's inputs (sequence and context parallel), and go
on from operator to operator. Partial sums are added up as late as they can be: where something other than a sum
reads them. Where a split cannot go on, the parameter that caused it stays whole, and the layer starts again.
"""

from __future__ import annotations

from hardplace.workload.sharding.experts import ExpertWalk
from hardplace.workload.sharding.held import LayerShapes
from hardplace.workload.sharding.steps import Analysis, Earlier, Fewer, KeepWhole
from hardplace.workload.sharding.walk import Walk
from hardplace.workload.types import Group, Layer
from hardplace.workload.weights import experts_of


def analyse(layer: Layer, group: Group, parts: int, *, sequence: bool = False, whole_experts: bool = False) -> Analysis:
    """Analyse what one process group of `parts` ranks does to a layer.

    Args:
        layer: The recorded layer.
        group: Which process group.
        parts: Its ranks.
        sequence: Sequence parallelism (Megatron's), with tensor parallelism.
        whole_experts: Experts stay whole, and each tensor rank sends its own tokens to them.

    Returns:
        For each operator, the states of its tensors and what moves before it.
    """
    whole = experts_of(layer) if whole_experts else frozenset[int]()
    fewer: dict[int, int] = {}
    early: set[int] = set()
    known = LayerShapes(layer)
    while True:
        try:
            walk = ExpertWalk if group is Group.EXPERT else Walk
            decided = (whole, fewer, early)
            return walk(known, group, parts, decided, sequence=sequence, whole_experts=whole_experts).run()
        except KeepWhole as cause:
            if cause.parameters <= whole:
                raise AssertionError(f"{layer.name}: {sorted(whole)} are whole already") from None
            whole |= cause.parameters
        except Fewer as cause:
            fewer[cause.parameter] = cause.parts
        except Earlier as cause:
            if cause.number in early:
                raise AssertionError(f"{layer.name}: operator {cause.number} is early already") from None
            early.add(cause.number)
