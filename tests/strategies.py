"""Shared Hypothesis strategies."""

from hypothesis import strategies as st

from hardplace.design.partition.types import (
    Boundary,
    Charge,
    LayerLoad,
    PartitionProblem,
    Replication,
    SharedActivation,
    SharedLoad,
    Variant,
)

amount = st.integers(0, 40).map(float)


@st.composite
def variants(draw: st.DrawFn, width: int, chain: bool) -> Variant:
    count = draw(st.integers(1, 6 if chain else 5))
    mixed = draw(st.booleans())
    layers = tuple(
        LayerLoad(
            name=str(index),
            forward_s=draw(amount),
            backward_s=draw(st.integers(1, 40).map(float)),
            gradient_bytes=draw(amount),
            state_bytes=draw(amount),
            sharded_state_bytes=draw(amount),
            activation_bytes=draw(amount),
            optimizer_s=draw(amount),
            tensor_parallel=draw(st.booleans()) if mixed else width > 1,
        )
        for index in range(count)
    )
    pairs = [(index, index + 1) for index in range(count - 1)]
    if not chain:
        every = [(a, b) for a in range(count) for b in range(a + 1, count)]
        pairs = draw(st.lists(st.sampled_from(every), unique=True, max_size=6)) if every else []
    boundaries = tuple(Boundary(source=a, target=b, bytes=draw(amount)) for a, b in pairs)
    degrees = draw(st.lists(st.integers(1, 5), unique=True, min_size=1, max_size=3))
    sharded = draw(st.booleans())
    replications = tuple(
        Replication(
            data_parallel=degree,
            reduction_s_per_byte=draw(st.sampled_from([0.0, 0.5, 3.0])) * (degree - 1) / degree,
            reduction_latency_s=1.0,
            boundary_s_per_byte=draw(st.sampled_from([0.0, 0.25, 2.0])),
            boundary_latency_s=0.5,
            optimizer_shards=degree if sharded else 1,
        )
        for degree in degrees
    )
    return Variant(
        tensor_parallel=width,
        layers=layers,
        boundaries=boundaries,
        replications=replications,
        shared=draw(shared_loads(layers)),
        kept=draw(shared_activations(layers)),
    )


@st.composite
def shared_activations(draw: st.DrawFn, layers: tuple[LayerLoad, ...]) -> tuple[SharedActivation, ...]:
    """Draw what several layers keep: of each layer at most what it keeps."""
    if len(layers) < 2 or draw(st.booleans()):
        return ()
    holders = sorted(draw(st.sets(st.integers(0, len(layers) - 1), min_size=2, max_size=4)))
    most = min(layers[one].activation_bytes for one in holders)
    return (SharedActivation(layers=tuple(holders), activation_bytes=most * draw(st.sampled_from([0.5, 1.0]))),)


@st.composite
def shared_loads(draw: st.DrawFn, layers: tuple[LayerLoad, ...]) -> tuple[SharedLoad, ...]:
    """Draw what layers share: of each layer at most what it has, none of it twice."""
    if len(layers) < 2 or draw(st.booleans()):
        return ()
    left = [1.0] * len(layers)
    found = []
    for _ in range(draw(st.integers(1, 2))):
        holders = sorted(draw(st.lists(st.integers(0, len(layers) - 1), min_size=2, max_size=4)))
        share = min(left[one] / holders.count(one) for one in holders) * draw(st.sampled_from([0.0, 0.5, 1.0]))
        for one in holders:
            left[one] -= share

        def part(field: str, holders: list[int] = holders, share: float = share) -> float:
            return share * min(getattr(layers[one], field) for one in holders)

        found.append(
            SharedLoad(
                layers=tuple(holders),
                gradient_bytes=part("gradient_bytes"),
                added_bytes=draw(amount),
                state_bytes=part("state_bytes"),
                sharded_state_bytes=part("sharded_state_bytes"),
                optimizer_s=part("optimizer_s"),
            )
        )
    return tuple(found)


@st.composite
def problems(draw: st.DrawFn, chain: bool = True) -> PartitionProblem:
    widths = draw(st.sampled_from([(1,), (2,), (1, 4)]))
    return PartitionProblem(
        variants=tuple(draw(variants(width, chain)) for width in widths),
        devices=draw(st.integers(1, 16)),
        memory_bytes=draw(st.sampled_from([60.0, 150.0, 400.0, 4000.0])),
        micro_batches=draw(st.integers(1, 12)),
        recompute=draw(st.booleans()),
        charge=draw(st.sampled_from(list(Charge))),
        divisible=draw(st.booleans()),
        max_stages=draw(st.sampled_from([None, None, 1, 3])),
    )
