"""Recorded layers with their operators fused."""

import pytest

from hardplace.cost.kernels.fusion import fused_phase, structure_of
from hardplace.cost.layers.recorded import LayerFusion
from hardplace.workload.load import load
from hardplace.workload.sharding.shards import RankShards
from hardplace.workload.types import Parallelism, Phase


@pytest.mark.parametrize("model", ["t5-large", "gpt-oss-120b", "resnet-50"])
def test_layers_of_one_structure_are_fused_once_as_each_by_itself(model):
    """Of degree 2 and 4 the structure is the same, with sequence parallelism another one."""
    shards, fusion, structures, count = RankShards(load(model)), LayerFusion(), set(), 0
    for tensor, sequence in ((1, False), (2, False), (4, False), (2, True), (4, True)):
        if sequence and model == "resnet-50":
            continue
        for layer in shards.at(Parallelism(tensor=tensor, sequence=sequence)).layers:
            found = fusion.of(layer)
            assert found.layer is found.forward.layer is found.backward.layer is layer
            for phase, fused in ((Phase.FORWARD, found.forward), (Phase.BACKWARD, found.backward)):
                assert fused.groups == fused_phase(layer, phase).groups
            structures.add(structure_of(layer))
            count += 1
    assert len(structures) < count
