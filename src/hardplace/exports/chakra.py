"""A step of a plan as Chakra execution traces, a file a rank, for ASTRA-sim: passes as compute nodes with the predicted
microseconds, exchanges as collectives and sends with their bytes (mlc-chakra 1.0.0)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hardplace.cost.layers.work import CollectiveWork, LayerWork
from hardplace.cost.types import Collective
from hardplace.errors import BadInput
from hardplace.exports.planned import PlannedRun
from hardplace.plans.chain import of_workload, stage_work, stages_of
from hardplace.plans.chunks import chunks_of
from hardplace.plans.fleet import fleet_of
from hardplace.plans.folding import as_run
from hardplace.plans.passes import PassTimes, pass_times
from hardplace.plans.plan import GRADIENT_BYTES, Dimension, Plan
from hardplace.plans.simulate import Pass, order
from hardplace.version import __version__
from hardplace.workload.types import Group

MOST_NODES = 5_000_000
_KINDS = {
    Collective.ALL_REDUCE: "ALL_REDUCE",
    Collective.ALL_GATHER: "ALL_GATHER",
    Collective.REDUCE_SCATTER: "REDUCE_SCATTER",
    Collective.ALL_TO_ALL: "ALL_TO_ALL",
}
_WEIGHT_BYTES = 2  # of a 16-bit weight, as it is gathered
Exchanges = tuple[tuple[Group, Collective, int], ...]  # in a pass: over which ranks, what, bytes of the whole tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkTrace:
    """A chunk of a stage: seconds and exchanges of each pass, parameters of a rank."""

    times: dict[Pass, PassTimes]
    exchanges: dict[Pass, Exchanges]
    parameters: int


def chakra_traces(run: PlannedRun) -> Iterator[tuple[str, bytes]]:
    """Yield the name and content of each rank's trace, then comm_groups.json, which says the ranks of each group.

    Raises BadInput without the package mlc-chakra, or for more than five million nodes in all.
    """
    plan = run.plan
    passes = plan.micro_batches * plan.virtual * 2
    if plan.devices * passes * 4 > MOST_NODES:
        raise BadInput(f"chakra: {plan.devices:,} ranks of {passes:,} passes: expected {MOST_NODES:,} nodes at most")
    chain, fleet = as_run(of_workload(run.workload, plan), plan), fleet_of(run.parts, plan)
    places = stages_of(chain, plan)
    stages, times = stage_work(chain, plan, places), pass_times(chain, plan, fleet)
    chunks = [
        [
            ChunkTrace(times=took, exchanges=_exchanges(layers), parameters=sum(layer.parameters for layer in layers))
            for layers, took in zip(chunks_of(stage, index, chain, plan), times[index], strict=True)
        ]
        for index, stage in enumerate(stages)
    ]
    boundary = int(chain.crossing_bytes(places)) if plan.pipeline > 1 else 0
    groups: dict[tuple[int, ...], str] = {}
    for rank in range(plan.devices):
        stage = rank // plan.stride(Dimension.PIPELINE) % plan.pipeline
        yield f"rank.{rank}.et", _RankTrace(plan, rank, stage, boundary, groups).written(chunks[stage])
    yield "comm_groups.json", json.dumps({name: list(ranks) for ranks, name in groups.items()}).encode()


def _exchanges(layers: Sequence[LayerWork]) -> dict[Pass, Exchanges]:
    """Return the exchanges of each pass through a chunk, equal kinds over equal ranks as one."""
    found: dict[Pass, Counter[tuple[Group, Collective]]] = {one: Counter() for one in Pass}
    for layer in layers:
        for phase, works in ((Pass.FORWARD, layer.forward), (Pass.BACKWARD, (*layer.again, *layer.backward))):
            for work in works:
                if isinstance(work, CollectiveWork):
                    found[phase][work.group, work.collective] += int(work.bytes)
    return {phase: tuple((*key, size) for key, size in sums.items()) for phase, sums in found.items()}


class _RankTrace:
    """Writes one rank's nodes, each after those before it: ids from 0."""

    def __init__(self, plan: Plan, rank: int, stage: int, boundary: int, groups: dict[tuple[int, ...], str]) -> None:
        try:
            from chakra.schema.protobuf import et_def_pb2
            from chakra.src.third_party.utils.protolib import encodeMessage
        except ImportError as problem:
            raise BadInput(f"chakra needs a package ({problem}): pip install --no-deps mlc-chakra protobuf") from None
        self._nouns, self._encode = et_def_pb2, encodeMessage
        self._plan, self._rank, self._stage = plan, rank, stage
        self._boundary, self._groups = boundary, groups
        self._count, self._last = 0, -1
        self._messages: list[Any] = [et_def_pb2.GlobalMetadata(version=f"hardplace {__version__}")]

    def written(self, chunks: Sequence[ChunkTrace]) -> bytes:
        """Return the trace of a step."""
        from io import BytesIO

        plan = self._plan
        for phase, micro_batch, chunk in order(
            self._stage, plan.pipeline, plan.micro_batches, plan.virtual, plan.schedule
        ):
            self._pass(phase, micro_batch, chunk, chunks[chunk])
        self._end(sum(one.parameters for one in chunks))
        stream = BytesIO()
        for message in self._messages:
            self._encode(stream, message)
        return stream.getvalue()

    def _pass(self, phase: Pass, micro_batch: int, chunk: int, made: ChunkTrace) -> None:
        plan = self._plan
        back, size = phase is not Pass.FORWARD, plan.pipeline * plan.virtual
        place = self._place(self._stage, chunk)
        step = -1 if back else 1
        whole = made.parameters * _WEIGHT_BYTES
        # Weight gradients that run apart neither take nor give anything of another stage.
        if phase is not Pass.WEIGHT and 0 <= place - step < size and self._at(place - step) != self._stage:
            self._point("RECV", place - step, micro_batch, back, place)
        if plan.zero == 3:
            self._collective("data", Collective.ALL_GATHER, whole)
        took = made.times[phase]
        extra_s = 0.0
        if phase is Pass.BACKWARD and not plan.schedule.apart:
            extra_s = made.times[Pass.WEIGHT].work.compute_s
        self._compute(f"{phase.value} {micro_batch} chunk {chunk}", took.work.compute_s + extra_s)
        for group, kind, exchanged in made.exchanges[phase]:
            self._collective(group.value, kind, exchanged)
        if phase is Pass.BACKWARD and plan.zero >= 2 and (plan.zero == 3 or micro_batch < plan.micro_batches - 1):
            self._collective("data", Collective.REDUCE_SCATTER, made.parameters * GRADIENT_BYTES[plan.gradient])
        if phase is not Pass.WEIGHT and 0 <= place + step < size and self._at(place + step) != self._stage:
            self._point("SEND", place + step, micro_batch, back, place)

    def _place(self, stage: int, chunk: int) -> int:
        """Return the place of a stage's chunk in the model."""
        plan = self._plan
        if plan.schedule.folds and chunk:
            return 2 * plan.pipeline - 1 - stage
        return chunk * plan.pipeline + stage

    def _at(self, place: int) -> int:
        """Return the stage that has a place in the model."""
        plan = self._plan
        if plan.schedule.folds:
            return min(place, 2 * plan.pipeline - 1 - place)
        return place % plan.pipeline

    def _end(self, parameters: int) -> None:
        """Write the reduction of gradients and the gather of weights at the end of the step."""
        plan = self._plan
        gradients = parameters * GRADIENT_BYTES[plan.gradient]
        if plan.zero == 0:
            self._collective("data", Collective.ALL_REDUCE, gradients)
        elif plan.zero < 3:
            self._collective("data", Collective.REDUCE_SCATTER, gradients)
            self._collective("data", Collective.ALL_GATHER, parameters * _WEIGHT_BYTES)

    def _node(self, name: str, kind: str, **attributes: Any) -> None:
        node = self._nouns.Node(id=self._count, name=name, type=getattr(self._nouns, kind))
        if self._last >= 0:
            node.data_deps.append(self._last)
        for key, value in {"is_cpu_op": False, **attributes}.items():
            field = "bool_val" if isinstance(value, bool) else "string_val" if isinstance(value, str) else "int64_val"
            node.attr.append(self._nouns.AttributeProto(name=key, **{field: value}))
        self._messages.append(node)
        self._last, self._count = self._count, self._count + 1

    def _compute(self, name: str, seconds: float) -> None:
        self._node(name, "COMP_NODE", num_ops=0, tensor_size=0)
        self._messages[-1].duration_micros = round(seconds * 1e6)

    def _collective(self, group: str, kind: Collective, size: int) -> None:
        ranks = self._ranks(group)
        if len(ranks) > 1 and size:
            name = self._groups.setdefault(ranks, str(len(self._groups) + 1))
            comm = getattr(self._nouns, _KINDS[kind])
            self._node(f"{group} {kind}", "COMM_COLL_NODE", comm_type=comm, comm_size=size, pg_name=name)

    def _point(self, kind: str, other: int, micro_batch: int, back: bool, place: int) -> None:
        """Write a send to, or a receive from, the rank of the same replica at another place of the pipeline."""
        plan = self._plan
        peer = self._rank + (self._at(other) - self._stage) * plan.stride(Dimension.PIPELINE)
        at = min(place, other)  # the boundary
        tag = (micro_batch * plan.pipeline * plan.virtual + at) * 2 + int(back)
        ends = (self._rank, peer) if kind == "SEND" else (peer, self._rank)
        self._node(
            f"{kind.lower()} {micro_batch}",
            f"COMM_{kind}_NODE",
            comm_size=self._boundary,
            comm_src=ends[0],
            comm_dst=ends[1],
            comm_tag=tag,
        )

    def _ranks(self, group: str) -> tuple[int, ...]:
        """Return the ranks of one of the rank's groups."""
        plan = self._plan
        size, stride = {
            "tensor": (plan.tensor, plan.stride(Dimension.TENSOR)),
            "context": (plan.context, plan.stride(Dimension.CONTEXT)),
            "expert": (plan.expert, plan.stage_stride),
            "data": (plan.replicas, plan.replica_stride),
        }[group]
        first = self._rank - self._rank // stride % size * stride
        return tuple(first + index * stride for index in range(size))
