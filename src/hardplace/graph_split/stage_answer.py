"""The answer of `split` for operators with ways: stages with data and tensor degrees, from texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from hardplace.answers import Infeasible
from hardplace.certificate import MOST_CONSIDERED
from hardplace.errors import BadInput, unknown
from hardplace.graph_split.answer import SplitResult, SplitRow
from hardplace.graph_split.stage_programme import StageShortage, best_stages
from hardplace.graph_split.stage_ways import StageDimension, read_ways, stage_bytes, stage_s
from hardplace.units import parse_quantity

_MOST_DEVICES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class StageChoice:
    """What is asked of operators with ways: equal devices, the memory of each, micro-batches, what is forbidden."""

    devices: int | None = None
    memory: str | None = None
    micro_batches: int | None = None
    without: tuple[str, ...] = ()


def staged_plan(
    path: str | PathLike[str], choice: StageChoice, named: Sequence[str] = (), *, limit_s: float, gap: float
) -> SplitResult | Infeasible:
    """Return the best plan of a converted file of Piper that was found in about so many seconds, or within a gap of the
    best; or the memory that is short."""
    if named:
        raise BadInput("device", ", ".join(named), f"none: {path} is of equal devices; say devices and memory")
    if choice.devices is None or not 1 <= choice.devices <= _MOST_DEVICES:
        raise BadInput("devices", choice.devices, f"1 to {_MOST_DEVICES} equal devices")
    if choice.memory is None:
        raise BadInput("memory", None, "the memory of each device, such as '8 GiB'")
    if choice.micro_batches is not None and choice.micro_batches < 1:
        raise BadInput("micro_batches", choice.micro_batches, "a whole number from 1")
    for one in choice.without:
        if one not in tuple(StageDimension):
            raise unknown("without", one, tuple(StageDimension))
    problem = read_ways(
        Path(path), devices=choice.devices, memory_bytes=parse_quantity(choice.memory, "B", "memory"),
        micro_batches=choice.micro_batches, without=frozenset(StageDimension(one) for one in choice.without),
    )  # fmt: skip
    found = best_stages(problem, limit_s=limit_s, gap=gap)
    if isinstance(found, StageShortage):
        return Infeasible(
            title=f"{problem.name} on {problem.devices} devices", what="memory of each device",
            needed=found.needed_bytes, available=problem.memory_bytes, unit="B",
            remedy="more memory, more devices, or nothing forbidden",
        )  # fmt: skip
    names = [f"stage{number}: data {one.data} x tensor {one.tensor}" for number, one in enumerate(found.stages)]
    where = {
        operator: (number, "recompute" if problem.ways[operator][way].recompute else None)
        for number, stage in enumerate(found.stages)
        for operator, way in zip(stage.operators, stage.ways, strict=True)
    }
    used = sum(one.data * one.tensor for one in found.stages)
    return SplitResult(
        graph=problem.name, objective="throughput", semantics="stages", shape="ordered", value_s=found.value_s,
        bound_s=found.bound_s, search_s=found.seconds, devices=tuple(names),
        busy_s=tuple(stage_s(problem, one) for one in found.stages),
        memory_bytes=tuple(stage_bytes(problem, found.stages, number) for number in range(len(names))),
        placement=tuple(
            SplitRow(operator=name, device=names[where[one][0]], way=where[one][1])
            for one, name in enumerate(problem.operators)
        ),
        notes=(
            f"{used} of {problem.devices} devices, {problem.micro_batches} micro-batches; busy: seconds of a sample, "
            "memory: of each device of the stage",
            f"recompute: {sum(way is not None for _, way in where.values())} of {len(where)} operators",
        ),
        candidates=min(problem.one_stage_plans, MOST_CONSIDERED) or None,
    )  # fmt: skip
