"""Activations that several layers keep, held once a device."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

import hardplace as hp
from hardplace.cuts import cuts_of
from hardplace.design.exact.layer_kernels import LayerTimes
from hardplace.design.exact.partition_problem import placement_problem, replications
from hardplace.design.partition.lattice import lattice
from hardplace.design.types import PlanFamily
from hardplace.hardware.catalogue import device, node
from hardplace.hardware.settings import setting
from hardplace.plans.chain import of_workload, stage_work, stages_of
from hardplace.plans.chunks import held, kept_again
from hardplace.plans.fleet import fleet_of
from hardplace.plans.placement.stages import LayerVariants, Stages, layers_of
from hardplace.plans.plan import Plan
from hardplace.plans.replanning.bounds import WaysToCut
from hardplace.report.workload_rows import kept
from hardplace.workload.kept import kept_parts, kept_twice, shared_kept
from hardplace.workload.sharding import tensor_parallel
from hardplace.workload.sharding.degrees import rank_layers
from hardplace.workload.summary import summarise
from hardplace.workload.types import Parallelism, Recompute, Workload
from hardplace.workload.weights import WeightSizes

torch = pytest.importorskip("torch")
ROWS, WIDE, DEEP, INNER = 2, 16, 4, 8


class Reads(torch.nn.Module):
    """A block that adds a weight's product with the encoder's output, as cross-attention does."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.read = torch.nn.Linear(WIDE, WIDE), torch.nn.Linear(WIDE, WIDE)

    def forward(self, state, seen):  # type: ignore[no-untyped-def]
        return state + torch.sigmoid(self.own(state)) * self.read(seen)


class Crossed(torch.nn.Module):
    """An encoder whose output every block of a decoder reads."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = torch.nn.Linear(WIDE, WIDE)
        self.blocks = torch.nn.ModuleList(Reads() for _ in range(DEEP))
        self.head = torch.nn.Linear(WIDE, 1)

    def forward(self, x):  # type: ignore[no-untyped-def]
        seen = torch.relu(self.encoder(x))
        state = seen + 1.0
        for block in self.blocks:
            state = block(state, seen)
        return self.head(state)


def kept_by_torch(module: torch.nn.Module, x: torch.Tensor) -> int:
    """Return the bytes of storages that autograd keeps, less parameters."""
    own = {one.untyped_storage().data_ptr() for one in module.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(one: torch.Tensor) -> torch.Tensor:
        kept[one.untyped_storage().data_ptr()] = one.untyped_storage()
        return one

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda one: one):
        loss = module(x).sum()
    assert loss.requires_grad
    return sum(one.nbytes() for address, one in kept.items() if address not in own)


@pytest.fixture(scope="module")
def crossed() -> Workload:
    return hp.trace(Crossed(), (torch.empty(ROWS, WIDE),), name="crossed", dtype="fp32")


def test_what_several_layers_keep_is_autograds_once(crossed: Workload) -> None:
    shared = shared_kept(crossed, crossed.layers, Recompute.NONE, ROWS)
    # relu keeps its output, and each of the four blocks keeps it as its input.
    assert [(one.bytes, len(one.layers)) for one in shared] == [(ROWS * WIDE * 4, DEEP + 1)]
    counted = sum(crossed.layers[index].saved_bytes.at(ROWS) for index in crossed.order)
    once = counted - kept_twice(shared, range(len(crossed.order)))
    assert once == kept_by_torch(Crossed(), torch.rand(ROWS, WIDE))
    assert kept_twice(shared, shared[0].layers[:1]) == 0.0
    assert sum(kept_parts(shared, len(crossed.order))) == (DEEP + 1) * ROWS * WIDE * 4


def test_a_search_of_chips_keeps_it_once_a_stage(crossed: Workload) -> None:
    """The activations of a stage are autograd's where it has all layers; else those of its own layers, once."""
    asked = setting("hbm3")
    family = PlanFamily(memory_bytes=1e9, micro_batch=ROWS, recompute=False, tensor_parallel=1)
    nothing = np.zeros((len(crossed.layers), 1))
    idle = LayerTimes(forward_s=nothing, backward_s=nothing, optimizer_s=nothing)
    choices = replications(asked, 1, asked.batch_samples // ROWS)
    shard = tensor_parallel(crossed, 1)
    (variant,) = placement_problem(crossed, shard, asked, family, idle, choices).variants
    sums = lattice(variant)
    assert sums.activation_bytes[0, -1] == kept_by_torch(Crossed(), torch.rand(ROWS, WIDE))
    seen, holders = ROWS * WIDE * 4, set(variant.kept[0].layers)
    for low, high in zip(*np.nonzero(sums.valid), strict=True):
        inside = set(np.flatnonzero(sums.members[high] & ~sums.members[low]).tolist())
        counted = sum(crossed.layers[crossed.order[at]].saved_bytes.at(ROWS) for at in inside)
        assert sums.activation_bytes[low, high] == counted - seen * max(0, len(inside & holders) - 1)


def test_show_says_what_all_layers_keep_once(crossed: Workload) -> None:
    layers, whole = rank_layers(crossed, Parallelism())
    summary = summarise(crossed, Parallelism(), ROWS, layers, whole)
    assert summary.saved_bytes == kept_by_torch(Crossed(), torch.rand(ROWS, WIDE))
    assert "what several layers keep once" in kept(summary)


class Rectified(torch.nn.Sequential):
    """A layer whose output its ReLU keeps, and the layer after it as its input."""

    def __init__(self) -> None:
        super().__init__(torch.nn.Linear(WIDE, WIDE), torch.nn.ReLU())


class Chain(torch.nn.Module):
    """A stem, `INNER` such layers and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = torch.nn.Linear(WIDE, WIDE), torch.nn.Linear(WIDE, 1)
        self.blocks = torch.nn.ModuleList(Rectified() for _ in range(INNER))

    def forward(self, x):  # type: ignore[no-untyped-def]
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


@pytest.fixture(scope="module")
def chain() -> Workload:
    return hp.trace(Chain(), (torch.empty(ROWS, WIDE),), name="chain")


def by_hand(low: int, high: int, again: int) -> int:
    """Return the bytes that layers low to high - 1 of the chain keep on one device, the first `again` inner ones
    recomputed: the stem its input, a layer its input and, not recomputed, its output, the head its input."""
    names: set[str] = set()
    for at in range(low, high):
        names.add(f"input of {at}")
        if 1 <= at <= INNER and at - max(low, 1) >= again:
            names.add(f"input of {at + 1}")
    return len(names) * ROWS * WIDE * 2


WAYS = [(virtual, some) for virtual in (1, 2) for some in (0, 1, 2)]


@pytest.mark.parametrize(("virtual", "some"), WAYS)
def test_chunks_and_layers_that_are_recomputed_keep_it_once(chain: Workload, virtual: int, some: int) -> None:
    """Two stages of all layers but the ends: estimate, place and replan against sets of what is kept, by hand."""
    plan = Plan(
        global_batch=8 * ROWS, micro_batch=ROWS, pipeline=2, virtual=virtual,
        recompute=Recompute.FULL if some else Recompute.NONE, recompute_layers=some,
    )  # fmt: skip
    found = of_workload(chain, plan)
    places = stages_of(found, plan)
    site = fleet_of([(device("h100-sxm"), node("dgx-h100"), 2)], plan).sites[0]
    plain = replace(found, layers=found.plain or found.layers, plain=())
    columns = [layers_of(one, plan, site, {}, 1) for one in (found, plain)]
    stages = Stages(LayerVariants(found, cuts_of(INNER + 2, []), *columns), virtual, some, site)
    for index, layers in enumerate(stage_work(found, plan, places)):
        own = [at for at, stage in enumerate(places) if stage == index]
        low, high = own[0], own[-1] + 1
        cuts = ((0, 3, 5), (5, 7, 10))[index][:: 1 if virtual > 1 else 2]
        assert (low, high) == (cuts[0], cuts[-1])
        expected = 0
        for start, end in itertools.pairwise(cuts):
            expected += by_hand(start, end, some - max(0, start - max(low, 1)))
        contents = held(layers, WeightSizes(), kept_again(found, plan, index, own))
        assert contents.saved_bytes == expected
        (at,) = stages.at(np.array([low]), np.array([high]))
        assert stages.held.saved_bytes[at] == expected
        if not some:
            assert WaysToCut(plan).held(found, plan).holds[index].saved_bytes == expected


def test_ways_to_cut_are_known_by_their_chunks(chain: Workload) -> None:
    plan = Plan(global_batch=8 * ROWS, micro_batch=ROWS, pipeline=2)
    ways, found = WaysToCut(plan), of_workload(chain, plan)
    once, chunks = (ways.held(found, replace(plan, virtual=one)).holds[0].saved_bytes for one in (1, 2))
    assert chunks > once


def test_half_of_what_is_kept_in_host_memory_is_half_of_it_once(chain: Workload) -> None:
    plan = Plan(global_batch=8 * ROWS, micro_batch=ROWS)
    whole, half = (of_workload(chain, replace(plan, offload_layers=some)) for some in (0, INNER // 2))
    assert [one.bytes for one in half.kept] == [one.bytes / 2 for one in whole.kept]
