"""Devices that a model is placed on: equally filled nodes of one kind or several, with what prices their work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from hardplace.cost.collectives import Ring
from hardplace.cost.types import Collective
from hardplace.errors import BadInput
from hardplace.hardware.catalogue import node, node_names
from hardplace.hardware.device import Device, Node
from hardplace.hardware.types import Cluster, NetworkLevel
from hardplace.plans.plan import Dimension, Plan
from hardplace.plans.pricer import StepPricer
from hardplace.plans.pricing import pricer_of

_USUAL = ("dgx-a100", "dgx-a100-320gb", "dgx-h100", "dgx-h200", "dgx-b200", "dgx-v100", "gb200-nvl72", "hgx-mi300x")
_USED = 0.8  # least share of a node's devices that a plan may use where its devices do not divide into whole nodes


HOST_BYTES_PER_S = 31.5e9  # PCIe 4.0 x16, of a device whose link to the host is not known


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePool:
    """Devices of one kind: their network, what prices their work, the memory of one in bytes, and its link
    to the host in bytes a second."""

    device: str
    cluster: Cluster
    pricer: StepPricer
    memory_bytes: float
    host_bytes_per_s: float = HOST_BYTES_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """All devices: one site, or several with the level that joins them."""

    sites: tuple[DevicePool, ...]
    joint: NetworkLevel | None = None

    @property
    def devices(self) -> int:
        """Devices of all sites."""
        return sum(site.cluster.devices for site in self.sites)

    def of_stages(self, plan: Plan) -> tuple[DevicePool, ...]:
        """Return the site of each pipeline stage; BadInput where the plan's kinds do not use each site as it is."""
        kinds = plan.kinds or (self.sites[0].device,) * plan.pipeline
        by_name = {site.device: site for site in self.sites}
        for name, site in by_name.items():
            used = kinds.count(name) * plan.devices // plan.pipeline
            if used != site.cluster.devices:
                raise BadInput(f"kinds: {used} devices of {name} in {list(kinds)}: expected {site.cluster.devices}")
        return tuple(by_name[name] for name in kinds)

    def hop_s(self, plan: Plan, sites: Sequence[DevicePool], boundary_bytes: float) -> float:
        """Return the seconds of a boundary tensor between stages: of the slowest pair of neighbours."""
        ring = Ring(members=2, stride=plan.stride(Dimension.PIPELINE))
        worst_s = 0.0
        for one, other in {(one.device, other.device): (one, other) for one, other in pairwise(sites)}.values():
            cluster, step = one.cluster, ring
            if one is not other:
                assert self.joint is not None
                cluster, step = Cluster(devices=2, levels=(self.joint,)), Ring(members=2, stride=1)
            found_s = one.pricer.exchange_s(Collective.POINT_TO_POINT, boundary_bytes, cluster, step)
            worst_s = max(worst_s, found_s)
        return worst_s


Pricers = dict[tuple[object, ...], StepPricer]


def fleet_of(parts: Sequence[tuple[Device, Node, int]], plan: Plan, known: Pricers | None = None) -> Fleet:
    """Return the devices (kind, node, how many) as a plan's precision and kernels use them.

    Several kinds are joined by the slower of their outermost levels. known: what prices devices already, for callers
    with many plans. Raises BadInput for one kind twice, or devices that do not fill their nodes.
    """
    known = {} if known is None else known
    how = (plan.precision, plan.flash, plan.backend, plan.ways)
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


def even_cluster(one: Node, devices: int) -> Cluster:
    """Return so many devices of a node, each group of a level as full as the others.

    64 of the 72 devices of an NVL72 are used for 256, as published runs do. Raises BadInput where less than 80 % of a
    node's devices would be (12 devices on nodes of 8).
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
    """Return the usual node of a device, else the first of the catalogue; BadInput if there is none."""
    for name in (*_USUAL, *node_names()):
        if node(name).device == device:
            return node(name)
    raise BadInput("node", f"none of the catalogue has {device}", "a node's name or TOML file")
