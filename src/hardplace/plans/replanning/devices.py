"""The devices at hand, with the model and the plan that it runs under: fleets, layers and prices, each made once and
kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hardplace.cost.layers.recognise import decoder_of
from hardplace.cost.layers.recorded import FusedLayer, LayerFusion
from hardplace.errors import BadInput
from hardplace.hardware.device import Node
from hardplace.plans.chain import LayerChain, chain_of
from hardplace.plans.dividing import rank_layers
from hardplace.plans.estimate import PlanEstimate, estimate_plan
from hardplace.plans.fleet import HOST_BYTES_PER_S, DevicePool, Fleet, PlanDevice, even_cluster
from hardplace.plans.placement.space import shape_of
from hardplace.plans.plan import Plan
from hardplace.plans.pricing import pricer_of
from hardplace.plans.timing import Known
from hardplace.workload.sharding.shards import RankShards
from hardplace.workload.types import Recompute, Workload

Inside = tuple[int, ...]  # how many levels the network has, and the devices in a group of each but the last


class AvailableDevices:
    """The devices at hand for one model, on one kind of device.

    The running plan says what stays as it is; `room_for` whether so many nodes with so many devices each are there.
    """

    def __init__(
        self,
        workload: Workload,
        chip: PlanDevice,
        node: Node,
        running: Plan,
        devices: int,
        room_for: Callable[[int, int], bool] = lambda nodes, each: True,
    ) -> None:
        self.workload, self.chip, self.node, self.running = workload, chip, node, running
        self.devices, self.room_for = devices, room_for
        self.pricer, self.shape = pricer_of(chip, running), shape_of(workload)
        self.priced = 0
        self._decoder = decoder_of(workload)
        self._known: dict[Inside, Known] = {}
        self._shards = RankShards(workload)
        self._fusion = LayerFusion()
        self._ranks: dict[tuple[int, bool], tuple[FusedLayer, ...]] = {}
        self._chains: dict[tuple[object, ...], LayerChain] = {}
        self._placed: dict[int, Fleet | None] = {}

    def estimate(self, plan: Plan) -> PlanEstimate:
        """Return the estimate of a plan.

        Raises:
            BadInput: Where it does not suit the model or the nodes.
        """
        fleet = self.fleet(plan.devices)
        self.priced += 1
        return estimate_plan(self.chain(plan), plan, fleet, self.known(inside(fleet)))

    def known(self, network: Inside) -> Known:
        """Return the layers that are priced already on networks that they see alike."""
        return self._known.setdefault(network, {})

    def fleet(self, devices: int) -> Fleet:
        """Return the fleet of so many of the devices.

        Raises:
            BadInput: Where they do not fill their nodes.
        """
        site = DevicePool(
            device=self.chip.name,
            cluster=even_cluster(self.node, devices),
            pricer=self.pricer,
            memory_bytes=self.chip.memory_bytes,
            host_bytes_per_s=self.chip.host_bandwidth_bytes_per_s or HOST_BYTES_PER_S,
        )
        return Fleet(sites=(site,))

    def site(self, plan: Plan) -> DevicePool:
        """Return the device pool of a plan.

        Raises:
            BadInput: Where its devices do not fill their nodes.
        """
        return self.fleet(plan.devices).sites[0]

    def placed(self, devices: int) -> Fleet | None:
        """Return the fleet of so many of the devices; None where they do not fill nodes, or not so many nodes are
        there.
        """
        if devices not in self._placed:
            found: Fleet | None = None
            if devices <= self.devices:
                try:
                    found = self.fleet(devices)
                    each = found.sites[0].cluster.levels[0].devices
                    found = found if self.room_for(devices // each, each) else None
                except BadInput:
                    found = None
            self._placed[devices] = found
        return self._placed[devices]

    def chain(self, plan: Plan) -> LayerChain:
        """Return a plan's layers, with the plain ones beside where it recomputes.

        Raises:
            BadInput: Where a degree divides nothing.
        """
        again = 1 if plan.recompute is not Recompute.NONE else 0
        # activations in host memory are a share of a stage's, so layers then depend on the number of stages
        stages = plan.pipeline if plan.offload_layers else 0
        key = (plan.tensor, plan.sequence, plan.micro_batch, plan.recompute, stages)
        if key not in self._chains:
            made: tuple[FusedLayer, ...] = ()
            if self._decoder is None:
                if key[:2] not in self._ranks:
                    layers = rank_layers(self.workload, plan, self._shards)
                    self._ranks[key[:2]] = tuple(map(self._fusion.of, layers))
                made = self._ranks[key[:2]]
            self._chains[key] = chain_of(self.workload, made, self._decoder, replace(plan, recompute_layers=again))
        return self._chains[key]

    def divides(self, plan: Plan) -> bool:
        """Return whether a plan's degrees divide the model."""
        try:
            self.chain(plan)
        except BadInput:
            return False
        return True


def inside(fleet: Fleet) -> Inside:
    """Return what collectives within a layer see of the network: not how many groups its last level joins."""
    levels = fleet.sites[0].cluster.levels
    return len(levels), *(level.devices for level in levels[: -1 if len(levels) > 1 else None])
