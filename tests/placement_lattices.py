"""Random placement problems on small branching graphs, and what of them contradicts brute force."""

import math
import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from hardplace.design.exact.layer_kernels import LayerTimes
from hardplace.design.partition.many_chips import least_bottlenecks
from hardplace.design.partition.memory_needs import feasible_shapes
from hardplace.design.partition.programme import place
from hardplace.design.partition.types import (
    Boundary,
    Charge,
    LayerLoad,
    PartitionProblem,
    PipelinePartition,
    Replication,
    SharedActivation,
    SharedLoad,
    Variant,
)
from hardplace.design.search.bound_inputs import linked, shapes
from hardplace.design.search.bounds import batch_bound_s
from hardplace.design.search.whole_layers import WholeLayers, weights_of_layers
from oracles_placement import batch_s, best_s, fits, partitions, slowest_s

_SLACK = 1 + 1e-9


def random_problem(seed: int) -> tuple[PartitionProblem, list[int]]:
    """Return a problem of three to six layers of one to three kinds, and the kind of each layer.

    Half of the graphs are connected by a tree at least; some tensors have no bytes; links may cost nothing.
    """
    draw = random.Random(seed)
    count = draw.randint(2, 6)
    kinds = [
        LayerLoad(
            name=str(index),
            forward_s=float(draw.randint(0, 5)),
            backward_s=float(draw.randint(0, 8)),
            gradient_bytes=float(draw.randint(0, 4)),
            state_bytes=float(draw.randint(1, 10)),
            sharded_state_bytes=float(draw.choice([0, 0, 8])),
            activation_bytes=float(draw.randint(0, 4)),
            optimizer_s=float(draw.choice([0, 1, 3])),
            tensor_parallel=False,
        )
        for index in range(draw.randint(1, 3))
    ]
    of = [draw.randrange(len(kinds)) for _ in range(count)]
    tree = draw.random() < 0.7
    pairs = {(draw.randrange(target), target) for target in range(1, count) if tree or draw.random() < 0.5}
    pairs |= {tuple(sorted(draw.sample(range(count), 2))) for _ in range(draw.choice([0, 0, 1, 3]))}
    # Two sources or more: edges to the last layer alone.
    if draw.random() < 0.3:
        pairs = {(source, count - 1) for source in range(count - 1)}
    least = draw.choice([0, 1, 1, 1])
    edges = tuple(
        Boundary(source=one, target=other, bytes=float(draw.randint(least, 6))) for one, other in sorted(pairs)
    )
    latency_s, per_byte = draw.choice([0.0, 0.5, 1.0, 4.0]), draw.choice([0.0, 1e-6, 0.1, 1.0])
    reduction_s = draw.choice([0.1, 10.0])  # where it is much, fewer replicas are faster
    degrees = tuple(
        Replication(
            data_parallel=degree,
            reduction_s_per_byte=reduction_s * (degree - 1) / degree,
            reduction_latency_s=draw.choice([0.0, 0.3, 30.0]),
            boundary_s_per_byte=per_byte,
            boundary_latency_s=latency_s,
            optimizer_shards=draw.choice([1, degree]),
        )
        for degree in draw.choice([(1,), (1, 2), (1, 2, 4), (1, 2, 4, 8)])
    )
    layers = tuple(kinds[kind] for kind in of)
    kept: tuple[SharedActivation, ...] = ()
    if draw.random() < 0.4:
        holders = sorted(draw.sample(range(count), draw.randint(2, count)))
        most = min(layers[one].activation_bytes for one in holders)
        kept = (SharedActivation(layers=tuple(holders), activation_bytes=most),)
    problem = PartitionProblem(
        variants=(Variant(tensor_parallel=1, layers=layers, boundaries=edges, replications=degrees, kept=kept),),
        devices=draw.choice([2, 3, 4, 8, 16]),
        memory_bytes=draw.choice([12.0, 15.0, 20.0, 30.0, 1e9]),
        micro_batches=draw.choice([4, 8, 32]),
        recompute=draw.random() < 0.4,
        charge=Charge.SLOWEST_STAGE,
        divisible=True,
    )  # fmt: skip
    return problem, of


def contradictions(problem: PartitionProblem, of: list[int]) -> Iterator[str]:
    """Yield what is above the optimum that it should bound, or is not the optimum that it should be."""
    (variant,) = problem.variants
    plans = [(stages, one) for stages in partitions(variant) for one in variant.replications]
    best = min((batch_s(problem, variant, one, stages) for stages, one in plans), default=math.inf)
    found = place(problem)
    exact = found.batch_s if isinstance(found, PipelinePartition) else math.inf
    if not math.isclose(exact, best, rel_tol=1e-9):
        yield f"place {exact}, brute force {best}"
    rows = shapes(feasible_shapes(problem), problem.micro_batches)
    one = variant.replications[0]
    kinds = [variant.layers[of.index(kind)] if kind in of else None for kind in range(max(of) + 1)]

    def column(field: str) -> np.ndarray:
        return np.array([[getattr(kind, field) if kind else 0.0] for kind in kinds])

    seconds = LayerTimes(
        forward_s=column("forward_s"), backward_s=column("backward_s"), optimizer_s=column("optimizer_s")
    )
    handed = [(edge.source, edge.target, edge.bytes) for edge in variant.boundaries]
    counted = linked(
        of, column("gradient_bytes")[:, 0], handed,
        s_per_byte=one.boundary_s_per_byte, latency_s=one.boundary_latency_s,
    )  # fmt: skip
    blind = replace(counted, sources=math.inf, sinks=math.inf)
    for name, chain in (("with sources and sinks", counted), ("without", blind)):
        bound = float(batch_bound_s(seconds, chain, problem.recompute, rows)[0])
        if bound > best * _SLACK:
            yield f"closed form {name} {bound}, brute force {best}"
    sinks = set(range(len(of))) - {edge.source for edge in variant.boundaries}
    last = of[min(sinks)] if len(sinks) == 1 else None
    weights = weights_of_layers(of, last, problem.recompute)
    whole = WholeLayers(problem=problem, order=tuple(of), weights=weights)
    units = shapes(feasible_shapes(problem), problem.micro_batches, whole)
    bound = float(batch_bound_s(seconds, counted, problem.recompute, units)[0])
    if bound > best * _SLACK:
        yield f"whole layers in the memory {bound}, brute force {best}"
    every = LayerTimes(
        forward_s=seconds.forward_s[of], backward_s=seconds.backward_s[of], optimizer_s=seconds.optimizer_s[of]
    )
    most = len(of)
    loads = least_bottlenecks(problem, every.forward_s, every.backward_s, most)
    for count in range(1, most + 1):
        least = min(
            (slowest_s(problem, variant, each, stages) for stages, each in plans if len(stages) == count
             and math.isfinite(batch_s(problem, variant, each, stages))),
            default=math.inf,
        )  # fmt: skip
        if loads[count - 1, 0] > least * _SLACK:
            yield f"load of {count} stages {loads[count - 1, 0]}, brute force {least}"
    if len(rows.stages):
        sharp = float(batch_bound_s(seconds, counted, problem.recompute, rows, loads)[0])
        if sharp > best * _SLACK:
            yield f"bound by loads {sharp}, brute force {best}"
    claimed = {(each.data_parallel, stages) for each, stages in feasible_shapes(problem)}
    there = {
        (each.data_parallel, len(stages)) for stages, each in plans if fits(problem, variant, each, stages)
        and each.data_parallel * len(stages) <= problem.devices and problem.micro_batches % each.data_parallel == 0
    }  # fmt: skip
    if claimed != there:
        yield f"shapes {sorted(claimed ^ there)} in one of feasible_shapes and brute force alone"


def shared_problem(seed: int) -> tuple[PartitionProblem, list[int], SharedLoad]:
    """Return a problem whose first and last layers, at times another one or two others, hold the same weights.

    More than half of the graphs are chains. Each holder is a kind of its own.
    """
    problem, of = random_problem(seed)
    (variant,) = problem.variants
    draw = random.Random(-seed)
    last = len(of) - 1
    edges = variant.boundaries
    if draw.random() < 0.6:
        edges = tuple(Boundary(source=at, target=at + 1, bytes=float(draw.randint(1, 6))) for at in range(last))
    holders = sorted({0, last} | ({draw.randint(0, last)} if draw.random() < 0.3 else set()))
    if draw.random() < 0.2:
        holders = sorted(draw.sample(range(last + 1), 2))
    shared = SharedLoad(
        layers=tuple(holders),
        gradient_bytes=float(draw.randint(0, 5)),
        added_bytes=float(draw.randint(0, 6)),
        state_bytes=1.0,
        sharded_state_bytes=0.0,
        optimizer_s=float(draw.choice([0, 1])),
    )
    layers = list(variant.layers)
    for kind, at in enumerate(holders, start=max(of) + 1):
        layers[at] = replace(
            layers[at],
            gradient_bytes=layers[at].gradient_bytes + shared.gradient_bytes,
            optimizer_s=layers[at].optimizer_s + shared.optimizer_s,
            state_bytes=layers[at].state_bytes + shared.state_bytes,
        )
        of[at] = kind
    made = replace(variant, layers=tuple(layers), boundaries=edges, shared=(shared,))
    return replace(problem, variants=(made,)), of, shared


def shared_bounds_s(problem: PartitionProblem, of: list[int], shared: SharedLoad) -> tuple[float, float, float]:
    """Return the closed form, the same without what stages at the ends hold, and the optimum by brute force."""
    (variant,) = problem.variants
    kinds = [variant.layers[of.index(kind)] if kind in of else None for kind in range(max(of) + 1)]

    def column(field: str) -> np.ndarray:
        return np.array([[getattr(kind, field) if kind else 0.0] for kind in kinds])

    one = variant.replications[0]
    gradients, updates = column("gradient_bytes")[:, 0], column("optimizer_s")
    links = linked(
        of, gradients, [(edge.source, edge.target, edge.bytes) for edge in variant.boundaries],
        s_per_byte=one.boundary_s_per_byte, latency_s=one.boundary_latency_s,
    )  # fmt: skip
    once, own = links.counts.copy(), np.ones(len(kinds))
    for at in shared.layers:
        kind = of[at]
        parts = ((shared.gradient_bytes, gradients[kind]), (shared.optimizer_s, updates[kind, 0]))
        share = max(part / whole if whole else 0.0 for part, whole in parts)
        own[kind] -= share
        if at != shared.layers[0]:
            once[kind] -= share
    ends = links.ends
    if ends is not None and set(ends.at) <= set(shared.layers) and shared.added_bytes:
        ends = replace(ends, shared=((shared.added_bytes, len(shared.layers)),))
    seconds = LayerTimes(forward_s=column("forward_s"), backward_s=column("backward_s"), optimizer_s=updates)
    rows = shapes(feasible_shapes(problem), problem.micro_batches)
    found = [
        float(batch_bound_s(seconds, replace(links, once=once, own=own, ends=each), problem.recompute, rows)[0])
        for each in (ends, None)
    ]
    return found[0], found[1], best_s(problem)
