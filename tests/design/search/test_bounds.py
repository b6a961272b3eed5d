"""Closed forms of the search's bounds against brute force, on graphs that branch."""

import numpy as np
import pytest

from hardplace.design.exact.layer_kernels import LayerTimes
from hardplace.design.partition.types import Replication
from hardplace.design.search.bound_inputs import BoundInputs, FeasiblePlans, chain, linked, shapes
from hardplace.design.search.bounds import batch_bound_s
from hardplace.hardware.settings import HBM3
from hardplace.workload.load import load
from hardplace.workload.sharding import tensor_parallel
from placement_lattices import contradictions, random_problem, shared_bounds_s, shared_problem


@pytest.mark.parametrize("first", range(0, 100, 20))
def test_nothing_on_random_lattices_contradicts_brute_force(first: int) -> None:
    for seed in range(first, first + 20):
        assert list(contradictions(*random_problem(seed))) == [], seed


def test_stages_at_the_ends_of_random_graphs_with_shared_weights_are_bounded() -> None:
    """Of 200 graphs none has a bound above brute force; the bound is sharper in some, and meets it in some."""
    found = np.array([shared_bounds_s(*shared_problem(seed)) for seed in range(200)])
    bound, without, best = found.T
    assert np.flatnonzero(bound > best * (1 + 1e-9)).tolist() == []
    assert (bound > without * (1 + 1e-9)).sum() >= 30
    assert ((bound > without * (1 + 1e-9)) & (bound > best * 0.999)).sum() >= 5


def test_tied_embeddings_are_added_up_between_the_first_stage_and_the_last() -> None:
    workload = load("bert-large")
    links = chain(workload, tensor_parallel(workload, 1), HBM3, 1)
    assert links.ends is not None
    assert links.ends.at == (0, len(workload.order) - 1)
    assert links.ends.alone == (1.0, 1.0)  # each of them holds the table once
    ((size, holders),) = links.ends.shared
    assert (size, holders) == (30_522 * 1024 * HBM3.optimizer.gradient_bytes, 2)
    outer = HBM3.cluster.levels[-1]
    expected = 2.0 * (size / 2.0 / outer.bandwidth_bytes_per_s + outer.latency_s)
    assert links.ends.adding_up_s(np.array([2.0, 5.0])).tolist() == pytest.approx([expected, expected])


def paid(count: int, *edges: tuple[int, int, float]) -> list[float]:
    one = linked([0] * count, np.zeros(1), edges, s_per_byte=1.0, latency_s=2.0)
    return (one.paid(np.arange(1.0, count + 1.0)) * one.hop_s).tolist()


def test_a_stage_pays_once_for_all_that_comes_in_and_once_for_all_that_goes_out() -> None:
    """By hand: a hop is at least 2 s and the smallest tensor, 1 s a byte."""
    assert paid(4, (0, 1, 1.0), (1, 2, 5.0), (2, 3, 1.0)) == [0.0, 6.0, 12.0, 18.0]
    # Two layers feed the third: two stages pay on their way out, one on its way in.
    assert paid(3, (0, 2, 1.0), (1, 2, 1.0)) == [0.0, 6.0, 9.0]
    # One layer feeds two: one on its way out, two on their way in.
    assert paid(3, (0, 1, 3.0), (0, 2, 1.0)) == [0.0, 6.0, 9.0]
    # A tensor without bytes joins nothing, and stages of what is not joined may pay nothing.
    assert paid(3, (0, 1, 1.0), (1, 2, 0.0)) == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("model", "ends"), [("llama2-7b", (1, 1)), ("t5-large", (1, 1)), ("dlrm", (2, 1))])
def test_the_ends_of_a_model_are_counted(model: str, ends: tuple[int, int]) -> None:
    workload = load(model)
    links = chain(workload, tensor_parallel(workload, 1), HBM3, 1)
    assert (links.sources, links.sinks) == ends
    assert links.hop_s > HBM3.cluster.levels[-1].latency_s
    assert links.counts.sum() == len(workload.order)


@pytest.mark.parametrize(
    ("stages", "hop_s", "recompute", "loads_s", "ends_s"),
    [
        (2, 1.0, False, (15.0, 17.0), (9.0, 18.0)),  # the mean, hops on both sides of the cut
        (2, 0.0, True, (16.0, 16.8), (9.0, 18.0)),  # all but the last run their forward part again
        (3, 0.0, False, (28 / 3, 14.0), (6.0, 14.0)),  # two of four layers of a kind lie in one stage
        (4, 0.0, False, (8.0, 8.0), (6.0, 14.0)),
        (1, 1.0, True, (28.0, 32.0), (18.0, 36.0)),
    ],
)
def test_closed_forms_by_hand(
    stages: int, hop_s: float, recompute: bool, loads_s: tuple[float, ...], ends_s: tuple[float, ...]
) -> None:
    """Four layers of one kind and two of another on two chips, ten rounds; ends: 0.1 s a byte, states on two shards."""
    seconds = LayerTimes(
        forward_s=np.array([[1.0, 2.0], [3.0, 1.0]]),
        backward_s=np.array([[2.0, 5.0], [5.0, 1.0]]),
        optimizer_s=np.array([[1.0, 2.0], [4.0, 20.0]]),
    )
    links = BoundInputs(
        counts=np.array([4.0, 2.0]), reduced_bytes=np.array([10.0, 40.0]), once=np.array([4.0, 2.0]), own=np.ones(2),
        hop_s=hop_s, sources=1.0, sinks=1.0,
    )  # fmt: skip
    one = FeasiblePlans(
        stages=np.array([float(stages)]), rounds=np.array([10.0]), reduction_s_per_byte=np.array([0.1]),
        latency_s=np.array([0.5]), shards=np.array([2.0]),
    )  # fmt: skip
    expected = [10 * load + end + 0.5 for load, end in zip(loads_s, ends_s, strict=True)]
    assert batch_bound_s(seconds, links, recompute, one).tolist() == pytest.approx(expected)
    # Known loads take the place of the closed form.
    known = np.full((4, 2), 3.0)
    assert batch_bound_s(seconds, links, recompute, one, known).tolist() == pytest.approx(
        [30 + end + 0.5 for end in ends_s]
    )


def test_what_fits_is_the_most_replicas_half_as_many_and_the_best_of_all_fewer() -> None:
    costs = {8: (0.8, 4.0), 4: (0.3, 3.0), 2: (0.2, 1.0), 1: (0.1, 5.0)}
    feasible = [
        (Replication(
            data_parallel=degree, reduction_s_per_byte=per_byte, reduction_latency_s=latency_s,
            boundary_s_per_byte=0.0, boundary_latency_s=0.0, optimizer_shards=degree,
        ), 2)
        for degree, (per_byte, latency_s) in costs.items()
    ]  # fmt: skip
    found = shapes(feasible, 8)
    assert found.stages.tolist() == [2.0] * 3
    assert found.rounds.tolist() == [2.0, 3.0, 5.0]  # micro-batches of a replica and one stage more
    assert found.reduction_s_per_byte.tolist() == [0.8, 0.3, 0.1]
    assert found.latency_s.tolist() == [4.0, 3.0, 0.0]  # one replica reduces nothing
    assert found.shards.tolist() == [8.0, 4.0, 2.0]


@pytest.mark.parametrize(
    ("model", "table", "layers"),
    [
        # By hand: the table of words, and what else the layers that hold it have (OPT's positions and projections,
        # GPT-2's positions and last norm, T5's norms, which it has of its own at both ends of the encoder).
        ("opt-350m", 50272 * 512, {0: 2050 * 1024 + 512 * 1024, 2: 1024 * 512}),
        ("gpt2-xl", 50257 * 1600, {0: 1024 * 1600, 2: 2 * 1600}),
        ("t5-large", 32128 * 1024, {0: 0, 4: 1024, 8: 1024}),
    ],
)
def test_a_table_of_several_layers_is_held_once(model: str, table: int, layers: dict[int, int]) -> None:
    workload = load(model)
    links = chain(workload, tensor_parallel(workload, 1), HBM3, 1)
    trained = links.reduced_bytes / HBM3.optimizer.reduction_bytes
    own = np.ones(len(trained))
    for layer, beside in layers.items():
        assert trained[layer] == table + beside
        own[layer] = beside / (table + beside)
    assert links.own.tolist() == pytest.approx(own.tolist())
    assert links.once @ trained == pytest.approx(workload.parameters, rel=1e-12)
    assert (links.once <= links.counts).all()
