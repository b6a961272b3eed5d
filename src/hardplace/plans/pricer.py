"""Seconds of a layer's work on a device: kernels by a `Timer`, collectives on their network level, as a step reaches
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from hardplace.cost.collectives import Ring, collective_s, parts
from hardplace.cost.layers.low_precision import Cast, CastBytes
from hardplace.cost.layers.timer import Timer
from hardplace.cost.layers.types import Layout, Stream
from hardplace.cost.layers.work import AttentionWork, CollectiveWork, GemmWork, StreamWork, Work
from hardplace.cost.types import Collective
from hardplace.hardware.types import Cluster
from hardplace.plans.plan import Format
from hardplace.plans.time_shares import TimeShares
from hardplace.workload.types import Group

# Into which a tensor-parallel collective and its product are cut where one runs beside the other.
_CHUNKS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiencies:
    """What a training step reaches, relative to its kernels and collectives alone; 1 and 0 where nothing was fitted.

    Fitted on published runs (docs/model-training.md, section 6). Factors are seconds in a step over seconds alone.
    Casts to low precision are counted as kernels that move bytes.

    Attributes:
        products: Factor of matrix products, of the device (clocks of a loaded chip, gaps).
        low: Further factor of products in low precision (half the energy a FLOP: clocks fall less at the power limit).
        attention: Factor of attention, of the device.
        low_rate: Rate of fp8 GEMMs alone over that of bf16.
        fp4_rate: Rate of nvfp4 GEMMs alone over that of bf16.
        streams: Factor of kernels that move bytes, over the fused kernels counted; of the software.
        tensor: Factor of tensor-parallel collectives, over the network's model.
        sync_s: Seconds that ranks of a tensor-parallel group wait for each other at each collective.
        expert: Factor of all-to-alls that show, over the network's model.
        context: Share of the seconds of a ring of keys that always shows, whatever attention hides.
        exposed: Share of compute behind which data-parallel traffic at the end of a step cannot hide.
        looped: Share of compute behind which traffic of weights within layers does not hide where layers are a loop;
            software that gathers layers ahead hides it behind all.
        shown: Share of that traffic that shows whatever runs beside it.
        contention: Seconds that a second of traffic beside compute slows it by (multiprocessors, memory bandwidth).
        reduction: Factor of data-parallel collectives, over the network's model.
        launch_s: Seconds of the host for each kernel; a layer's pass takes at least its kernels times this.
        step_s: Seconds of the host each step.
    """

    products: float = 1.0
    low: float = 1.0
    attention: float = 1.0
    low_rate: float = 1.6
    fp4_rate: float = 2.4
    streams: float = 1.0
    tensor: float = 1.0
    sync_s: float = 0.0
    expert: float = 1.0
    context: float = 0.0
    exposed: float = 0.0
    looped: float = 0.0
    shown: float = 0.0
    contention: float = 0.0
    reduction: float = 1.0
    launch_s: float = 0.0
    step_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolatedTimes:
    """Seconds of a piece of work as its kernels and collectives take alone, outside of a training step.

    Attributes:
        products_s: Matrix products in 16 bit or fp32.
        low_s: Matrix products that run in low precision, at the rate of bf16.
        expert_share: Share of both that is experts', which no tensor-parallel collective runs beside.
        casts_bytes: Bytes that casts of activations and gradients to low precision move; below 0 where norms that write
            casts save more.
        weight_casts_bytes: Bytes that casts of the forward products' weights move, whenever they are made.
        attention_s: Attention.
        streams_s: Kernels that only move bytes.
        tensor_s: Tensor-parallel collectives.
        sums_s: All-reduces among them, each of which waits for the whole product before it.
        tensor_calls: Number of tensor-parallel collectives.
        context_s: Context-parallel collectives.
        expert_s: All-to-alls of experts.
        launches: Number of kernels launched, but those of experts' products.
        expert_launches: Number of kernels that experts' products launch.
    """

    products_s: float
    low_s: float
    expert_share: float
    casts_bytes: float
    weight_casts_bytes: float
    attention_s: float
    streams_s: float
    tensor_s: float
    sums_s: float
    tensor_calls: int
    context_s: float
    expert_s: float
    launches: int
    expert_launches: int


@dataclass(slots=True, kw_only=True)
class StepPricer:
    """Prices work on one device; every distinct kernel is priced once and kept for the next call.

    Attributes:
        kind: Whose fitted figures a step reaches (`efficiencies.generation`).
        peak_flops_per_s: Dense peak of 16-bit products.
        plan_flops_per_s: Dense peak of products in the plan's precision; of fp32 TF32's, where a GPU has it.
        timer: Seconds of kernels alone, without collectives.
        efficiencies: What a step reaches.
        low: Format below 16 bit of products that allow it; None: 16 bit.
        casts: What its casts move; None: 16 bit.
        wide: 16-bit peak over that of fp32 (or TF32) products where all is in fp32, else 1.
        flash: Attention is one kernel; else unfused.
        tensor_overlap: Tensor-parallel gathers and scatters run beside products.
        deduplicates: A token goes to a rank, and to a node, once however many experts it has there (DeepEP, HybridEP).
        launched: Share of the kernels that the host launches one by one, not as CUDA graphs.
        experts_launched: The same of experts' products, whose sizes change from step to step: no graph of parts of a
            layer holds them.
        blocked_s: Seconds that each launch shows, since the host waits for every kernel (CUDA_LAUNCH_BLOCKING).
        software: Whose figures these are; "": none named.
        notes: What to know of the timer's figures.
    """

    kind: str
    peak_flops_per_s: float
    plan_flops_per_s: float
    timer: Timer
    efficiencies: Efficiencies
    low: Format | None = None
    casts: CastBytes | None = None
    wide: float = 1.0
    flash: bool = True
    tensor_overlap: bool = False
    deduplicates: bool = False
    launched: float = 1.0
    experts_launched: float = 1.0
    blocked_s: float = 0.0
    software: str = ""
    notes: tuple[str, ...] = ()
    _known: dict[GemmWork | AttentionWork, float] = field(default_factory=dict, init=False)
    _moved: dict[tuple[Stream, float, int], float] = field(default_factory=dict, init=False)
    _exchanged: dict[tuple[Collective, float, Cluster, Ring, int], float] = field(default_factory=dict, init=False)

    def seconds(self, work: Iterable[Work], cluster: Cluster, groups: Mapping[Group, Ring]) -> TimeShares:
        """Return the seconds of work in a training step, one piece after the other.

        Args:
            work: Kernels and collectives.
            cluster: Network of the devices.
            groups: Process group of each kind of collective.
        """
        return self.reached(self.parts(work, cluster, groups))

    def parts(self, work: Iterable[Work], cluster: Cluster, groups: Mapping[Group, Ring]) -> IsolatedTimes:
        """Return the seconds that pieces of work take alone; arguments as for `seconds`."""
        listed = tuple(work)
        self._price({one for one in listed if isinstance(one, GemmWork | AttentionWork) and one not in self._known})
        products_s = low_s = experts_s = casts_bytes = weights_bytes = attention_s = streams_s = 0.0
        casts = self.casts
        shared_s, sums_s = {Group.TENSOR: 0.0, Group.CONTEXT: 0.0, Group.EXPERT: 0.0}, 0.0
        launches, of_experts, calls, wide = 0, 0, 0, 2.0 if self.wide > 1.0 else 1.0
        for one in listed:
            before = launches
            launches += 1
            match one:
                case GemmWork():
                    own = one.cast is not Cast.PRODUCT
                    launches += one.batch - 1 if one.grouped and own else 0
                    if casts is not None and one.low:
                        low_s += self._known[one]
                        if own:
                            launches += 2 * one.batch  # casts, scales in the order that the product wants
                        if one.layout is not Layout.NT:
                            each = casts.operand_bytes(one.cast, one.gathered)
                            casts_bytes += each * one.batch * one.m * one.k
                        if one.layout is Layout.TN:
                            weights_bytes += casts.weight_bytes * one.batch * one.n * one.k
                    else:
                        products_s += self._known[one]
                    if one.grouped:
                        of_experts += launches - before
                        experts_s += self._known[one]
                case AttentionWork():
                    attention_s += self._known[one]
                case StreamWork():
                    launches += one.launches - 1
                    streams_s += self.moved_s(one.kind, one.bytes * wide, one.row)
                case CollectiveWork():
                    ring = groups[one.group]
                    calls += 1 if one.group is Group.TENSOR and ring.members > 1 else 0
                    sent = one.bytes * wide if casts is None else one.bytes * casts.sent_share(one.directions)
                    took_s = self._exchange_s(one.collective, sent, cluster, ring, one.copies)
                    shared_s[one.group] += took_s
                    if one.group is Group.TENSOR and one.collective is Collective.ALL_REDUCE:
                        sums_s += took_s
        return IsolatedTimes(
            products_s=products_s,
            low_s=low_s,
            expert_share=experts_s / (products_s + low_s) if experts_s else 0.0,
            casts_bytes=casts_bytes,
            weight_casts_bytes=weights_bytes,
            attention_s=attention_s,
            streams_s=streams_s,
            tensor_s=shared_s[Group.TENSOR],
            sums_s=sums_s,
            tensor_calls=calls,
            context_s=shared_s[Group.CONTEXT],
            expert_s=shared_s[Group.EXPERT],
            launches=launches - of_experts,
            expert_launches=of_experts,
        )

    def reached(self, parts: IsolatedTimes, *, ring: bool = False, casts_weights: bool = False) -> TimeShares:
        """Return the seconds that a training step reaches, from the seconds alone.

        Args:
            parts: Seconds alone.
            ring: Keys of other context-parallel ranks travel beside attention.
            casts_weights: Weights are cast each time, not once a step.
        """
        by = self.efficiencies
        rate = by.fp4_rate if self.low is Format.FP4 else by.low_rate
        casts_bytes = max(0.0, parts.casts_bytes + (parts.weight_casts_bytes if casts_weights else 0.0))
        casts_s = self.moved_s(Stream.ELEMENTWISE, casts_bytes) if casts_bytes else 0.0
        attention_s = by.attention * parts.attention_s
        context_s = parts.context_s
        if ring:
            context_s = max(by.context * parts.context_s, parts.context_s - attention_s)
        products_s = by.products * (parts.products_s + by.low * parts.low_s / rate)
        tensor_s = by.tensor * parts.tensor_s
        if self.tensor_overlap:
            beside_s = products_s * (1.0 - parts.expert_share)
            sums_s = by.tensor * parts.sums_s
            cut_s = tensor_s - sums_s  # gathers and scatters
            tensor_s = sums_s + max(cut_s, beside_s) + min(cut_s, beside_s) / _CHUNKS - beside_s
        found = TimeShares(
            products_s=products_s,
            attention_s=attention_s,
            streams_s=by.streams * (parts.streams_s + casts_s),
            exchange_s=tensor_s + by.sync_s * parts.tensor_calls + context_s + by.expert * parts.expert_s,
        )
        launches = self.launched * parts.launches + self.experts_launched * parts.expert_launches
        waits_s = max(launches * self.blocked_s, launches * by.launch_s - found.total_s)
        return found + TimeShares(host_s=waits_s)

    def moved_s(self, kind: Stream, moved_bytes: float, row: int = 0) -> float:
        """Return the seconds of a kernel that only moves bytes, outside of a step.

        Args:
            kind: Which measured kind of kernel.
            moved_bytes: Bytes read and written.
            row: Elements of a row that it reduces; 0: none.
        """
        key = (kind, moved_bytes, row)
        if key not in self._moved:
            moved = self.timer.moved_s(
                StreamWork(kind=kind, bytes=moved_bytes), np.array([moved_bytes]), np.array([row])
            )
            self._moved[key] = float(moved[0])
        return self._moved[key]

    def exchange_s(self, collective: Collective, moved_bytes: float, cluster: Cluster, ring: Ring) -> float:
        """Return the seconds of a data-parallel collective, or of a tensor between stages, as a step reaches them.

        Args:
            collective: Kind of collective.
            moved_bytes: Bytes of the whole tensor.
            cluster: Network of the devices.
            ring: Process group, as members and stride.
        """
        reduced = 1.0 if collective is Collective.POINT_TO_POINT else self.efficiencies.reduction
        return reduced * self._exchange_s(collective, moved_bytes, cluster, ring, 1)

    def _exchange_s(
        self, collective: Collective, moved_bytes: float, cluster: Cluster, ring: Ring, copies: int
    ) -> float:
        """Return seconds alone; where the dispatcher deduplicates, copies of a token to experts on one rank go once,
        and those to experts in one group of the innermost level leave it once."""
        key = (collective, moved_bytes, cluster, ring, copies)
        if key not in self._exchanged:
            found = parts(cluster, ring.members, ring.stride)
            if copies > 1 and self.deduplicates and len(found) > 1:
                each = moved_bytes * _distinct(ring.members, copies)
                inside_s = collective_s(cluster, collective, found[0].members, ring.stride, each)
                groups = ring.members // found[0].members
                leaving = moved_bytes * _distinct(groups, copies)
                whole_s = max(inside_s, collective_s(cluster, collective, ring.members, ring.stride, leaving))
            else:
                size = moved_bytes * _distinct(ring.members, copies) if self.deduplicates else moved_bytes
                whole_s = collective_s(cluster, collective, ring.members, ring.stride, size)
            self._exchanged[key] = whole_s
        return self._exchanged[key]

    def _price(self, fresh: set[GemmWork | AttentionWork]) -> None:
        products = [one for one in fresh if isinstance(one, GemmWork)]
        if products:
            times = self.timer.listed_s(products) * self.wide
            self._known.update(zip(products, times.tolist(), strict=True))
        for one in fresh:
            if isinstance(one, AttentionWork):
                self._known[one] = self._attending_s(one)

    def _attending_s(self, one: AttentionWork) -> float:
        """Return seconds of attention; unfused with dropout on the probabilities: read, written, and its mask."""
        sizes = (np.array([size]) for size in (one.heads, one.kv_heads, one.head_dim))
        alone_s = float(self.timer.attentions_s(one, *sizes)[0])
        if self.flash:
            return alone_s
        dropped_s = self.moved_s(Stream.ELEMENTWISE, 5.0 * one.batch * one.heads * float(one.keys) ** 2)
        return alone_s + dropped_s * one.share


def _distinct(groups: int, copies: int) -> float:
    """Return how many of a token's copies to `copies` experts, balanced over `groups`, go to a group of their own."""
    return groups * (1.0 - (1.0 - 1.0 / groups) ** copies) / copies
