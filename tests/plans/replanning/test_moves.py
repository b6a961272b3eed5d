"""Bytes that move between two plans, against sets of every element of the state on every device."""

import itertools
import random
from dataclasses import replace

import numpy as np
import pytest

from hardplace.plans.plan import Dimension, Plan
from hardplace.plans.replanning.assignment import assign
from hardplace.plans.replanning.mapping import EMPTY, GONE, standing
from hardplace.plans.replanning.moves import StateMoves, moves
from hardplace.plans.replanning.state_shares import StageMap, StateGroup

UNITS = 48  # of which every interval of these plans is a whole number
Held = frozenset[tuple[int, int, int, str]]  # part, layer, unit, kind of state
ORDERS = [
    (Dimension.TENSOR, Dimension.CONTEXT, Dimension.DATA, Dimension.PIPELINE),
    (Dimension.PIPELINE, Dimension.TENSOR, Dimension.DATA, Dimension.CONTEXT),
    (Dimension.CONTEXT, Dimension.DATA, Dimension.TENSOR, Dimension.PIPELINE),
]


def held(parts: list[StateGroup], spread: StageMap, *, new: bool) -> list[Held]:
    """What every rank holds, from the rules alone: ranks counted up by their coordinates."""
    plan = spread.plan
    degrees = {name: getattr(plan, name.value) for name in Dimension}
    found = []
    for rank in range(plan.devices):
        at, rest = {}, rank
        for name in plan.order:
            rest, at[name] = divmod(rest, degrees[name])
        inner, outer = sorted((Dimension.CONTEXT, Dimension.DATA), key=plan.order.index)
        replica = at[inner] + degrees[inner] * at[outer]
        mine = set()
        for index, part in enumerate(parts):
            cut = part.new_parts if new else part.old_parts
            replicas, tensor = plan.data * plan.context, at[Dimension.TENSOR]
            where = tensor * cut // plan.tensor
            if part.expert:
                without = [name for name in plan.order if name is not Dimension.PIPELINE]
                folded, scale = 0, 1
                for name in without:
                    folded, scale = folded + scale * at[name], scale * degrees[name]
                where, copy, replicas = folded % cut, folded // cut, scale // cut
            else:
                copy = replica
            units = [one for one in range(UNITS) if one * cut // UNITS == where]
            over = min(plan.shard or replicas, replicas) if part.expert else plan.sharded_over
            own = [one for place, one in enumerate(units) if place * over // len(units) == copy % over]
            for layer, stage in enumerate(spread.places):
                if stage == at[Dimension.PIPELINE] and part.elements[layer]:
                    # What layers share is one thing, that of the first of them.
                    which = next(place for place, size in enumerate(part.elements) if size) if part.shared else layer
                    mine |= {(index, which, one, "weight") for one in (own if plan.zero == 3 else units)}
                    if part.trained:
                        mine |= {(index, which, one, "states") for one in (own if plan.zero else units)}
        found.append(frozenset(mine))
    return found


def size(parts: list[StateGroup], some: Held, optimizer_bytes: int) -> float:
    weight_bytes = [1 if part.packed else 2 for part in parts]
    return sum(
        parts[index].elements[layer] / UNITS * (weight_bytes[index] if kind == "weight" else optimizer_bytes)
        for index, layer, _, kind in some
    )


def random_case(seed: int) -> tuple[list[StateGroup], StageMap, StageMap, np.ndarray, int]:
    draw = random.Random(seed)
    node = draw.choice((2, 4))
    layers = 4

    def spread(most: int) -> StageMap:
        tensor, data, context = draw.choice((1, 2)), draw.choice((1, 2, 3, 4)), draw.choice((1, 1, 2))
        pipeline = draw.choice((1, 2, 3))
        zero = draw.choice((0, 1, 1, 2)) if pipeline > 1 else draw.choice((0, 1, 3))
        replicas = data * context
        shard = draw.choice([0, *(one for one in (1, 2) if zero and replicas % one == 0)])
        plan = Plan(
            global_batch=24, tensor=tensor, data=data, context=context, pipeline=pipeline, zero=zero, shard=shard,
            order=draw.choice(ORDERS), expert=draw.choice([one for one in (1, 2) if tensor * replicas % one == 0]),
        )  # fmt: skip
        if plan.devices > most or plan.devices % node or plan.order_problem():
            return spread(most)
        places = [*range(pipeline), *(draw.randrange(pipeline) for _ in range(layers - pipeline))]
        return StageMap(plan=plan, places=tuple(draw.sample(places, layers)))

    old = spread(8)
    gained = draw.choice((0, 0, node))
    gone = draw.sample(range(old.plan.devices), draw.choice((0, 0, 1, 2)))
    slots = standing(old.plan.devices, node, frozenset(gone), gained)
    whole = int((slots != GONE).all(axis=1).sum())
    if whole == 0:
        return random_case(seed + 1000)
    new = spread(node * whole)
    parts = [
        StateGroup(elements=(96, 48, 48, 96), old_parts=old.plan.tensor, new_parts=new.plan.tensor),
        StateGroup(elements=(0, 4, 4, 8), old_parts=1, new_parts=1),
        StateGroup(elements=(0, 240, 0, 0), old_parts=old.plan.expert, new_parts=new.plan.expert, expert=True),
        StateGroup(
            elements=(96, 0, 96, 96), old_parts=old.plan.tensor, new_parts=new.plan.tensor, shared=bool(seed % 2)
        ),
        StateGroup(elements=(0, 144, 0, 0), old_parts=1, new_parts=1, trained=False, packed=seed % 3 == 0),
    ]
    return parts, old, new, slots, node


def kept(parts: list[StateGroup], slots: np.ndarray, olds: list[Held], news: list[Held], devices: list[int]) -> float:
    ranks = slots.reshape(-1)
    return sum(
        size(parts, need & olds[ranks[device]], 12)
        for need, device in zip(news, devices, strict=True)
        if ranks[device] >= 0
    )


@pytest.mark.parametrize("seed", range(60))
def test_bytes_are_those_of_every_element_and_the_mapping_is_the_best(seed: int) -> None:
    parts, old, new, slots, node = random_case(seed)
    found = moves(parts, old, new, slots, node)
    olds, news = held(parts, old, new=False), held(parts, new, new=True)
    ranks, devices = slots.reshape(-1), list(found.devices)
    assert len(set(devices)) == len(devices)
    assert all(ranks[device] != GONE for device in devices)
    groups = [devices[start : start + node] for start in range(0, len(devices), node)]
    assert all(len({device // node for device in group}) == 1 for group in groups)

    needed = sum(size(parts, one, 12) for one in news)
    here = kept(parts, slots, olds, news, devices)
    alive = frozenset().union(*(olds[rank] for rank in ranks if rank >= 0))
    every = frozenset().union(*olds)
    lost = sum(size(parts, need - alive, 12) for need in news)
    near = [
        frozenset().union(*(olds[rank] for rank in slots[device // node] if rank >= 0), frozenset())
        for device in devices
    ]
    across = [size(parts, need - has, 12) for need, has in zip(news, near, strict=True)]
    assert found.needed_bytes == pytest.approx(needed)
    assert found.kept_bytes == pytest.approx(here)
    assert found.moved_bytes == pytest.approx(needed - here - lost, abs=1e-6)
    assert found.checkpoint_bytes == pytest.approx(size(parts, every - alive, 12), abs=1e-6)
    assert found.across_bytes == pytest.approx(sum(across), abs=1e-6)
    assert found.busiest_across_bytes == pytest.approx(max(across), abs=1e-6)

    whole = [index for index in range(len(slots)) if (slots[index] != GONE).all()]
    table = {
        (group, place): max(
            kept(parts, slots, olds, news[group * node : (group + 1) * node], [place * node + one for one in order])
            for order in itertools.permutations(range(node))
        )
        for group in range(len(groups))
        for place in whole
    }
    best = max(
        sum(table[group, place] for group, place in enumerate(places))
        for places in itertools.permutations(whole, len(groups))
    )
    assert here == pytest.approx(best)
    assert found.least_moved_bytes <= found.moved_bytes + 1e-6


def case(zero: int, lost: frozenset[int] = frozenset(), data: int = 4) -> StateMoves:
    old = StageMap(plan=Plan(global_batch=16, data=4, zero=zero), places=(0, 0))
    new = replace(old, plan=replace(old.plan, data=data))
    return moves([StateGroup(elements=(64, 64), old_parts=1, new_parts=1)], old, new, standing(4, 1, lost, 0), 1)


def test_the_same_plan_on_the_same_devices_moves_nothing() -> None:
    found = case(1)
    assert found.moved_bytes == found.checkpoint_bytes == found.across_bytes == 0.0
    assert found.kept_bytes == found.needed_bytes == 4 * 128 * 2 + 128 * 12


def test_a_lost_device_with_replicas_needs_no_checkpoint() -> None:
    assert case(0, frozenset([3]), 2).checkpoint_bytes == 0.0


def test_what_only_lost_devices_held_is_read_once() -> None:
    found = case(1, frozenset([2, 3]), 2)  # two of four shards of the states; the weights have copies
    assert found.checkpoint_bytes == 128 * 12 / 2
    assert found.moved_bytes == pytest.approx(128 * 12 / 4)  # a shard grows from a quarter to a half


def test_one_device_that_others_join_keeps_what_it_has() -> None:
    """Of a node of four places two are there: the running plan's only device and an empty one."""
    old = StageMap(plan=Plan(global_batch=16), places=(0, 0))
    new = replace(old, plan=replace(old.plan, data=2, zero=1))
    slots = standing(1, 4, frozenset(), 1)
    assert slots.tolist() == [[0, EMPTY, GONE, GONE]]
    found = moves([StateGroup(elements=(64, 64), old_parts=1, new_parts=1)], old, new, slots, 2)
    assert sorted(found.devices) == [0, 1]
    assert found.kept_bytes == 128 * 2 + 128 * 12 / 2
    assert found.moved_bytes == 128 * 2 + 128 * 12 / 2
    assert found.checkpoint_bytes == 0.0


def test_devices_are_numbered_by_node() -> None:
    assert standing(5, 4, frozenset([1]), 2).tolist() == [[0, GONE, 2, 3], [4, EMPTY, EMPTY, GONE]]


def test_large_plans_keep_close_to_what_any_mapping_can() -> None:
    old = StageMap(plan=Plan(global_batch=64, tensor=8, pipeline=8, data=32, sequence=True), places=tuple(range(8)))
    new = replace(old, plan=replace(old.plan, data=31))
    slots = standing(2048, 8, frozenset(range(8, 72)), 0)
    found = moves([StateGroup(elements=(8_000_000,) * 8, old_parts=8, new_parts=8)], old, new, slots, 8)
    # 8 of 256 nodes are lost, one replica of each of 8 stages at most: weights stay but for those few
    assert found.kept_bytes > 0.9 * (found.needed_bytes - found.least_moved_bytes - found.checkpoint_bytes)


@pytest.mark.parametrize("seed", range(40))
def test_assignment_is_the_best_of_all(seed: int) -> None:
    draw = np.random.default_rng(seed)
    rows = int(draw.integers(1, 6))
    columns = int(draw.integers(rows, 7))
    value = draw.integers(-2, 4, (rows, columns)).astype(float) if seed % 2 else draw.random((rows, columns))
    found = assign(value)
    assert len(set(found.tolist())) == rows
    best = max(sum(value[row, one[row]] for row in range(rows)) for one in itertools.permutations(range(columns), rows))
    assert value[np.arange(rows), found].sum() == pytest.approx(best)
