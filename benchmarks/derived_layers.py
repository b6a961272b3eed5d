"""Layers of all shipped models on one rank at many degrees, derived together and each by itself: `derived_layers.py`.

Prints for each model the degrees, the processor seconds of both ways, and a digest of all layers with their fused
groups; ends with code 1 if any differs. `derived_layers.py t5-large mamba2-2.7b`: of these alone.
"""

from __future__ import annotations

import hashlib
import itertools
import sys
import time
from collections.abc import Iterator

from hardplace.cost.layers.recorded import FusedLayer, LayerFusion, fused_layer
from hardplace.errors import BadInput
from hardplace.workload.load import catalogue, load
from hardplace.workload.sharding.degrees import check_degrees
from hardplace.workload.sharding.shards import RankShards, shard
from hardplace.workload.types import Parallelism, Workload
from hardplace.workload.weights import experts_of

DEGREES = (1, 2, 3, 4, 8, 16)
EXPERTS = (1, 2, 8, 64)


def every(workload: Workload) -> Iterator[Parallelism]:
    """Yield degrees that suit a model: tensor with and without sequence, context, expert, and pairs of them."""
    shards = RankShards(workload)
    experts = EXPERTS if any(experts_of(layer) for layer in workload.layers) else (1,)
    for tensor, sequence, context, expert in itertools.product(DEGREES, (False, True), (1, 2), experts):
        one = Parallelism(
            tensor=tensor, sequence=sequence, context=context, expert=expert, whole_experts=tensor > 1 and expert > 1
        )
        if one.whole_experts and not sequence:
            continue
        try:
            check_degrees(workload, one, shards)
        except BadInput:
            continue
        yield one


def told(layer: FusedLayer) -> str:
    """Return all of a layer as text."""
    return repr((layer.layer, layer.forward.groups, layer.backward.groups, layer.weights))


def main() -> None:
    """Print a line for each model."""
    wrong = 0
    for name in sys.argv[1:] or catalogue():
        workload = load(name)
        asked = list(every(workload))
        start_s = time.process_time()
        shards, fusion = RankShards(workload), LayerFusion()
        together = [[fusion.of(layer) for layer in shards.at(one).layers] for one in asked]
        middle_s = time.process_time()
        alone = [[fused_layer(layer) for layer in shard(workload, one).layers] for one in asked]
        end_s = time.process_time()
        digests = [
            hashlib.sha256("\n".join(told(layer) for layers in way for layer in layers).encode()).hexdigest()[:12]
            for way in (together, alone)
        ]
        wrong += digests[0] != digests[1]
        print(
            f"{name:24} {len(asked):4} degrees  together {middle_s - start_s:6.2f} s  each {end_s - middle_s:6.2f} s  "
            f"{digests[0]} {'equal' if digests[0] == digests[1] else 'DIFFERENT'}",
            flush=True,
        )
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
