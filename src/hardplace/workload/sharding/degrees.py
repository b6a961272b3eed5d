"""The layers of one rank, for degrees that a person asked for: checked, with names of their own."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hardplace.errors import BadInput, unknown
from hardplace.workload.sharding.shards import RankShards, shard
from hardplace.workload.types import Layer, Parallelism, Workload


def rank_layers(workload: Workload, parallelism: Parallelism) -> tuple[dict[int, Layer], tuple[str, ...]]:
    """Return the layers of one rank.

    Args:
        workload: The recorded model.
        parallelism: The degrees.

    Returns:
        Layers by index in the workload's, in the order of first appearance, those of one name with a number;
            parameters
        that stay whole on every rank.

    Raises:
        BadInput: For degrees that make no sense for the model.
    """
    check_degrees(workload, parallelism)
    names = _names(workload)
    named = replace(
        workload, layers=tuple(replace(one, name=name) for one, name in zip(workload.layers, names, strict=True))
    )
    made = shard(named, parallelism)
    return {index: made.layers[index] for index in dict.fromkeys(workload.order)}, tuple(dict.fromkeys(made.whole))


def layer_named(workload: Workload, name: str) -> int:
    """Return the index of a layer.

    Args:
        workload: The recorded model.
        name: Name of the layer.

    Raises:
        BadInput: With the nearest names, for a name that is none.
    """
    names = _names(workload)
    if name not in names:
        raise unknown(f"layer of {workload.name}", name, names)
    return names.index(name)


def _names(workload: Workload) -> list[str]:
    often = Counter(layer.name for layer in workload.layers)
    return [
        f"{layer.name} #{index}" if often[layer.name] > 1 else layer.name for index, layer in enumerate(workload.layers)
    ]


def check_degrees(workload: Workload, parallelism: Parallelism, shards: RankShards | None = None) -> None:
    """Raise BadInput for degrees that make no sense for a workload, or leave what matters most of it as it is.

    Args:
        workload: The recorded model.
        parallelism: The degrees.
        shards: Its shards, for callers that ask at many degrees.
    """
    length, name = workload.sequence_length, workload.name
    for option in ("tensor", "context", "expert"):
        degree = getattr(parallelism, option)
        if degree < 1:
            raise BadInput(option, degree, "at least 1")
    if parallelism.sequence and parallelism.tensor == 1:
        raise BadInput("sequence_parallel", None, "a tensor-parallel degree of 2 or more with it")
    if parallelism.context > 1 and length == 1:
        raise BadInput("context", parallelism.context, f"a sequence to cut; {name} has none (sequence_length 1)")
    if parallelism.sequence and length == 1:
        raise BadInput("sequence_parallel", None, f"a sequence to cut; {name} has none (sequence_length 1)")
    if length % parallelism.context:
        raise BadInput("context", parallelism.context, f"a divisor of the sequence of {length:,}")
    if parallelism.sequence and length % parallelism.tensor:
        raise BadInput("sequence_parallel", f"tensor {parallelism.tensor}", f"a divisor of the sequence of {length:,}")
    _check_cut(shards or RankShards(workload), parallelism)


def _check_cut(shards: RankShards, parallelism: Parallelism) -> None:
    """Raise BadInput if a degree leaves the layers that matter most as they are."""
    for option in ("tensor", "expert"):
        degree = getattr(parallelism, option)
        if degree == 1 or shards.cuts(_only(option, degree)):
            continue
        able = [one for one in (2, 4, 8) if shards.cuts(_only(option, one))]
        hint = f"a degree such as {', '.join(map(str, able))} does" if able else "2, 4 and 8 do not either"
        what = "the experts" if option == "expert" else "the products, heads or channels of its largest layers"
        name = shards.workload.name
        raise BadInput(option, f"{degree}: divides nothing of {name}", f"to cut {what}; {hint}")


def _only(option: str, degree: int) -> Parallelism:
    return Parallelism(tensor=degree) if option == "tensor" else Parallelism(expert=degree)
