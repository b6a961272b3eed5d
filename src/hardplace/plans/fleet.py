"""Fleets: the devices that a plan runs on, as equally filled nodes of one kind or several, with what prices their
work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from hardplace.cost.collectives import Ring
from hardplace.cost.layers.work import CollectiveWork
from hardplace.cost.one_chip.described_device import DescribedDevice
from hardplace.cost.types import Collective
from hardplace.errors import BadInput
from hardplace.hardware.catalogue import node, node_names
from hardplace.hardware.device import Device, Node
from hardplace.hardware.types import Cluster, NetworkLevel
from hardplace.plans.plan import Dimension, Plan
from hardplace.plans.pricer import StepPricer
from hardplace.plans.pricing import pricer_of
from hardplace.workload.types import Group

_USUAL = ("dgx-a100", "dgx-a100-320gb", "dgx-h100", "dgx-h200", "dgx-b200", "dgx-v100", "gb200-nvl72", "hgx-mi300x")
_USED = 0.8  # least share of a node's devices that a plan may use where its devices do not divide into whole nodes


PlanDevice = Device | DescribedDevice  # what plans place on
HOST_BYTES_PER_S = 31.5e9  # PCIe 4.0 x16, of a device whose link to the host is not known


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePool:
    """Devices of one kind, with their network.

    Attributes:
        device: Name of the device.
        cluster: Network levels and number of devices.
        pricer: What prices work on one of them.
        memory_bytes: Memory of one device.
        free_bytes: Of it, what a search of plans keeps free.
        host_bytes_per_s: Rate of the link between a device and its host, one way.
    """

    device: str
    cluster: Cluster
    pricer: StepPricer
    memory_bytes: float
    host_bytes_per_s: float = HOST_BYTES_PER_S
    free_bytes: float = 0.0

    @property
    def usable_bytes(self) -> float:
        """Return the memory that plans of a search may fill."""
        return self.memory_bytes - self.free_bytes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fleet:
    """All devices of a plan: one pool, or several kinds with the network level that joins them.

    Attributes:
        sites: The pools, one for each kind of device.
        joint: Network level between pools; None with one pool.
    """

    sites: tuple[DevicePool, ...]
    joint: NetworkLevel | None = None

    @property
    def devices(self) -> int:
        """Return the number of devices of all pools."""
        return sum(site.cluster.devices for site in self.sites)

    def of_stages(self, plan: Plan) -> tuple[DevicePool, ...]:
        """Return the pool of each pipeline stage.

        Raises:
            BadInput: Where the plan's kinds do not use exactly the devices of each pool.
        """
        kinds = plan.kinds or (self.sites[0].device,) * plan.pipeline
        by_name = {site.device: site for site in self.sites}
        for name, site in by_name.items():
            used = kinds.count(name) * plan.devices // plan.pipeline
            if used != site.cluster.devices:
                raise BadInput(f"kinds: {used} devices of {name} in {list(kinds)}: expected {site.cluster.devices}")
        return tuple(by_name[name] for name in kinds)

    def hop_s(self, plan: Plan, sites: Sequence[DevicePool], boundary_bytes: float) -> float:
        """Return the seconds of a boundary tensor between stages, of the slowest pair of neighbours.

        Where tensor-parallel ranks hold it whole, software that scatters it sends a part from each and gathers the
        parts on the other stage.

        Args:
            plan: The plan.
            sites: Pool of each stage.
            boundary_bytes: Bytes of the tensor of one micro-batch on a rank.

        Source: docs/model-training.md, section 3.
        """
        ring = Ring(members=2, stride=plan.stride(Dimension.PIPELINE))
        scattered = plan.habits.scatters and plan.tensor > 1 and not plan.sequence
        sent_bytes = boundary_bytes / plan.tensor if scattered else boundary_bytes
        gathers = (CollectiveWork(collective=Collective.ALL_GATHER, bytes=boundary_bytes, group=Group.TENSOR),)
        groups = {Group.TENSOR: Ring(members=plan.tensor, stride=plan.stride(Dimension.TENSOR))}
        worst_s = 0.0
        for one, other in {(one.device, other.device): (one, other) for one, other in pairwise(sites)}.values():
            cluster, step = one.cluster, ring
            if one is not other:
                assert self.joint is not None
                cluster, step = Cluster(devices=2, levels=(self.joint,)), Ring(members=2, stride=1)
            found_s = one.pricer.exchange_s(Collective.POINT_TO_POINT, sent_bytes, cluster, step)
            if scattered:  # activations on one of them, gradients on the other
                found_s += max(pool.pricer.seconds(gathers, pool.cluster, groups).total_s for pool in (one, other))
            worst_s = max(worst_s, found_s)
        return worst_s


Pricers = dict[tuple[object, ...], StepPricer]


def pricing_of(plan: Plan) -> tuple[object, ...]:
    """Return what of a plan devices are priced by (`pricing.pricer_of`): plans that have it in common share prices."""
    low = plan.precision, plan.fp8_recipe, plan.fp8_gather
    return (*low, plan.flash, plan.backend, plan.ways, plan.anchor)


def fleet_of(parts: Sequence[tuple[PlanDevice, Node, int]], plan: Plan, known: Pricers | None = None) -> Fleet:
    """Return the fleet of devices as a plan's precision and kernels use them.

    Several kinds are joined by the slower of their outermost network levels.

    Args:
        parts: Device, node and number of devices, of each kind.
        plan: The plan.
        known: What prices devices already, for callers with many plans; this call adds to it.

    Raises:
        BadInput: For one kind twice, or devices that do not fill their nodes.
    """
    known, how = {} if known is None else known, pricing_of(plan)
    for chip, _, _ in parts:
        if (chip.name, *how) not in known:
            known[chip.name, *how] = pricer_of(chip, plan)
    names = [chip.name for chip, _, _ in parts]
    if len(set(names)) < len(names):
        raise BadInput(f"devices: {', '.join(names)}: expected each kind once")
    joint = None
    if len(parts) > 1:
        outer = min((where.levels[-1] for _, where, _ in parts), key=lambda level: level.bandwidth_bytes_per_s)
        joint = outer.of(2)
    sites = tuple(
        DevicePool(
            device=chip.name,
            cluster=even_cluster(where, count),
            pricer=known[chip.name, *how],
            memory_bytes=chip.memory_bytes,
            host_bytes_per_s=chip.host_bandwidth_bytes_per_s or HOST_BYTES_PER_S,
        )
        for chip, where, count in parts
    )
    return Fleet(sites=sites, joint=joint)


def with_headroom(fleet: Fleet, headroom: float) -> Fleet:
    """Return a fleet of whose devices' memory a search keeps a share free.

    Args:
        fleet: The devices.
        headroom: The share, from 0 to below 1.
    """
    if not headroom:
        return fleet
    return replace(fleet, sites=tuple(replace(one, free_bytes=headroom * one.memory_bytes) for one in fleet.sites))


def even_cluster(one: Node, devices: int) -> Cluster:
    """Return the network of so many devices in nodes of a kind, each group of a level as full as the others.

    64 of the 72 devices of an NVL72 are used for 256, as published runs do.

    Args:
        one: The node.
        devices: Number of devices.

    Raises:
        BadInput: Where less than 80 % of a node's devices would be used (12 devices on nodes of 8).
    """
    found = one.cluster(devices)
    levels = list(found.levels)
    for index, level in enumerate(levels[:-1]):
        if devices % level.devices:
            used = next(size for size in range(level.devices, 0, -1) if devices % size == 0)
            if used < _USED * level.devices:
                raise BadInput(
                    f"devices: {devices}: expected a multiple of the {level.devices} devices of one {one.name}"
                )
            levels[index] = replace(level, devices=used)
    return Cluster(devices=devices, levels=tuple(levels))


def node_of(device: str) -> Node:
    """Return the usual node of a device, else the first one of the catalogue.

    Raises:
        BadInput: If the catalogue has none.
    """
    for name in (*_USUAL, *node_names()):
        if node(name).device == device:
            return node(name)
    raise BadInput("node", f"none of the catalogue has {device}", "a node's name or TOML file")
