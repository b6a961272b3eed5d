"""Seconds of collectives on network levels, by the fastest algorithm (docs/model-cost.md, "Collectives").

Every algorithm is steps, each with the latency of its level, and bytes through the busiest link of a level. Sources:
Thakur, Rabenseifner, Gropp 2005 (ring, recursive halving and doubling); Sanders, Speck, Traeff 2009 (double tree);
NVIDIA's NCCL (rings over all rails of a node); Klenk et al. 2020 (in-network); jax-ml/scaling-book (torus).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from hardplace.cost.types import Algorithm, Calibration, Collective
from hardplace.hardware.types import Cluster, NetworkLevel

IDEAL = Calibration()
_HALVES = {Collective.ALL_GATHER: 1, Collective.REDUCE_SCATTER: 1, Collective.ALL_REDUCE: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelPart:
    """The members of a process group at one network level.

    Attributes:
        members: How many meet there.
        level: The level.
    """

    members: int
    level: NetworkLevel


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectiveCost:
    """Cost of a collective.

    Attributes:
        latency_s: Seconds of latency.
        transfer_s: Seconds of the bytes on the busiest link.
    """

    latency_s: float
    transfer_s: float

    def seconds(self, calibration: Calibration) -> float:
        """Return the seconds as a communication library reaches them."""
        pipelined_s = (math.sqrt(self.transfer_s) + math.sqrt(calibration.fill_s)) ** 2
        return calibration.launch_s + self.latency_s + pipelined_s


def parts(cluster: Cluster, group: int, stride: int) -> tuple[LevelPart, ...]:
    """Return the network levels, inside out, on which the members of a process group meet.

    Args:
        cluster: The network.
        group: Number of members.
        stride: Devices from one member to the next.
    """
    found = []
    left, reach = group, stride
    for level in cluster.levels:
        inside = left if level is cluster.levels[-1] else math.gcd(left, max(1, level.devices // reach))
        if inside > 1:
            found.append(LevelPart(members=inside, level=level))
        left //= inside
        reach *= inside
    return tuple(found)


def _sides(part: LevelPart) -> tuple[int, ...]:
    """Return the sides of the torus that a part spans: whole axes as far as they multiply to its members."""
    sides, left = [], part.members
    for side in part.level.axes:
        side = math.gcd(left, side)
        if side > 1:
            sides.append(side)
            left //= side
    return (*sides, left) if left > 1 else tuple(sides)


def _torus(part: LevelPart, collective: Collective, tensor_bytes: float) -> CollectiveCost:
    """Return the cost on a wrapped torus: both directions of all its axes at once, half way round each ring.

    All-to-all: half of the bytes cross the middle of the longest axis, over 2 links a ring each way, so x a / 8 bytes
    a link. A slice that spans an axis in part has that axis's share of the links all the same.
    """
    sides, level = _sides(part), part.level
    # Both directions of one axis together.
    axis_bytes_per_s = level.reached_bytes_per_s / max(len(level.axes), len(sides))
    latency_s = sum(side // 2 for side in sides) * level.latency_s
    if collective is Collective.POINT_TO_POINT:
        return CollectiveCost(latency_s=level.latency_s, transfer_s=tensor_bytes / (axis_bytes_per_s / 2.0))
    if collective is Collective.ALL_TO_ALL:
        return CollectiveCost(
            latency_s=latency_s, transfer_s=tensor_bytes * max(max(sides) / 4.0, 1.0) / axis_bytes_per_s
        )
    halves = _HALVES[collective]
    share = (part.members - 1) / part.members
    return CollectiveCost(
        latency_s=halves * latency_s, transfer_s=halves * share * tensor_bytes / (axis_bytes_per_s * len(sides))
    )


def _bandwidth_bytes_per_s(part: LevelPart) -> float:
    """Return the bandwidth of a member towards the others, one way."""
    level = part.level
    reached = level.reached_bytes_per_s
    return reached * min(1.0, (part.members - 1) / (level.devices - 1)) if level.meshed else reached


def _switched(
    part: LevelPart, collective: Collective, tensor_bytes: float
) -> Iterator[tuple[Algorithm, CollectiveCost]]:
    """Yield the algorithms on one switched level, bandwidth a device and direction."""
    members, step_s = part.members, part.level.latency_s
    byte_s = 1.0 / _bandwidth_bytes_per_s(part)
    share, rounds = (members - 1) / members, math.ceil(math.log2(members))
    if collective is Collective.POINT_TO_POINT:
        yield Algorithm.DIRECT, CollectiveCost(latency_s=step_s, transfer_s=tensor_bytes * byte_s)
        return
    if collective is Collective.ALL_TO_ALL:
        yield (
            Algorithm.DIRECT,
            CollectiveCost(latency_s=(members - 1) * step_s, transfer_s=share * tensor_bytes * byte_s),
        )
        yield (
            Algorithm.DOUBLING,
            CollectiveCost(latency_s=rounds * step_s, transfer_s=rounds * tensor_bytes / 2.0 * byte_s),
        )
        return
    halves = _HALVES[collective]
    moved_s = halves * share * tensor_bytes * byte_s
    yield Algorithm.RING, CollectiveCost(latency_s=halves * (members - 1) * step_s, transfer_s=moved_s)
    yield Algorithm.HALVING, CollectiveCost(latency_s=halves * rounds * step_s, transfer_s=moved_s)
    if collective is Collective.ALL_REDUCE:
        yield Algorithm.DOUBLING, CollectiveCost(latency_s=rounds * step_s, transfer_s=rounds * tensor_bytes * byte_s)
        yield Algorithm.TREE, CollectiveCost(latency_s=2 * rounds * step_s, transfer_s=2.0 * tensor_bytes * byte_s)
        if part.level.in_network:
            # Each device sends all it has once, and the reduced share that it then multicasts.
            moved_s = (1.0 + 1.0 / members) * tensor_bytes * byte_s / part.level.in_network
            yield Algorithm.IN_NETWORK, CollectiveCost(latency_s=2 * step_s, transfer_s=moved_s)


def on_level(part: LevelPart, collective: Collective, tensor_bytes: float) -> dict[Algorithm, CollectiveCost]:
    """Return the cost of every algorithm among the members at one level."""
    if part.level.axes:
        return {Algorithm.TORUS: _torus(part, collective, tensor_bytes)}
    return dict(_switched(part, collective, tensor_bytes))


def _rings(found: tuple[LevelPart, ...], collective: Collective, tensor_bytes: float) -> CollectiveCost:
    """Return flat rings through all levels, one a device of the innermost, each crossing a level once a group of it.

    So the outer links of all devices inside serve the rings together (rails), and the slowest level rules.
    """
    halves, inside, slowest, latency_s = _HALVES[collective], 1, math.inf, 0.0
    group = math.prod(part.members for part in found)
    for part in found:
        slowest = min(slowest, inside * _bandwidth_bytes_per_s(part))
        inside *= part.members
        # Of the ring's `group` steps, those that stay below this level's groups were counted before.
        latency_s += halves * (group // inside) * (part.members - 1) * part.level.latency_s
    return CollectiveCost(latency_s=latency_s, transfer_s=halves * (group - 1) / group * tensor_bytes / slowest)


def _layered(
    found: tuple[LevelPart, ...], collective: Collective, tensor_bytes: float, calibration: Calibration
) -> tuple[str, CollectiveCost]:
    """Return the hierarchical algorithm: scatter level by level inwards out, gather back, the best way at each.

    An all-to-all is split by where its bytes go; every level carries those that leave the level inside.
    """
    latency_s, transfer_s, names, group, inside = 0.0, 0.0, [], math.prod(part.members for part in found), 1
    share = tensor_bytes
    for index, part in enumerate(found):
        last = index == len(found) - 1
        scattered = collective is Collective.ALL_REDUCE and not last
        one = Collective.REDUCE_SCATTER if scattered else collective
        size = tensor_bytes * inside * part.members / group if collective is Collective.ALL_TO_ALL else share
        algorithm, cost = best(part, one, size, calibration)
        turns = 2 if scattered else 1  # and the all-gather on the way back
        latency_s, transfer_s = latency_s + turns * cost.latency_s, transfer_s + turns * cost.transfer_s
        share /= part.members
        inside *= part.members
        names.append(f"{algorithm} {part.level.name}")
    return ", ".join(names), CollectiveCost(latency_s=latency_s, transfer_s=transfer_s)


def best(
    part: LevelPart, collective: Collective, tensor_bytes: float, calibration: Calibration
) -> tuple[Algorithm, CollectiveCost]:
    """Return the fastest algorithm among the members at one level."""
    choices = on_level(part, collective, tensor_bytes)
    return min(choices.items(), key=lambda item: item[1].seconds(calibration))


def algorithms(
    cluster: Cluster,
    collective: Collective,
    group: int,
    stride: int,
    tensor_bytes: float,
    calibration: Calibration = IDEAL,
) -> dict[str, CollectiveCost]:
    """Return the cost of every algorithm for a tensor, by name; empty for a group of one.

    Args:
        cluster: The network.
        collective: Kind of collective.
        group: Number of members.
        stride: Devices from one member to the next.
        tensor_bytes: Bytes of the tensor, as `Collective` defines it.
        calibration: What a library adds to the links.
    """
    found = parts(cluster, group, stride)
    if not found:
        return {}
    if collective is Collective.POINT_TO_POINT:
        return {str(Algorithm.DIRECT): best(found[-1], collective, tensor_bytes, calibration)[1]}
    if len(found) == 1:
        return {str(name): cost for name, cost in on_level(found[0], collective, tensor_bytes).items()}
    name, cost = _layered(found, collective, tensor_bytes, calibration)
    choices = {name: cost}
    if collective in _HALVES and not any(part.level.axes for part in found):
        choices["rings over all rails"] = _rings(found, collective, tensor_bytes)
    return choices


def collective_s(
    cluster: Cluster,
    collective: Collective,
    group: int,
    stride: int,
    tensor_bytes: float,
    calibration: Calibration = IDEAL,
) -> float:
    """Return the seconds of a collective by its fastest algorithm; 0 for a group of one. Arguments as for
    `algorithms`.
    """
    costs = algorithms(cluster, collective, group, stride, tensor_bytes, calibration).values()
    return min((cost.seconds(calibration) for cost in costs), default=0.0)


def broadcast_s(cluster: Cluster, group: int, stride: int, tensor_bytes: float) -> float:
    """Return the seconds in which one member's tensor reaches all: a chain through all ranks, chunk after chunk, so
    that all its bytes pass every link and every hop has its latency (NCCL has no other; docs/model-cost.md).

    Args:
        cluster: The network.
        group: Number of members.
        stride: Devices from one member to the next.
        tensor_bytes: Bytes of the tensor.
    """
    found = parts(cluster, group, stride)
    if not found:
        return 0.0
    cost = _rings(found, Collective.ALL_GATHER, tensor_bytes * group / (group - 1))
    return cost.latency_s + cost.transfer_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """A process group: number of members, and devices from one to the next."""

    members: int
    stride: int
