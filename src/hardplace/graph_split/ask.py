"""What `split` asks, from texts: a file, devices, links, an objective; and the answer or what is short."""

from __future__ import annotations

import math
from dataclasses import replace
from os import PathLike
from pathlib import Path

from hardplace import units
from hardplace.answers import Infeasible
from hardplace.branch_and_bound.types import check_gap
from hardplace.errors import BadInput, unknown
from hardplace.files import read_json
from hardplace.graph_split.answer import SplitResult, SplitRow, TransferRow
from hardplace.graph_split.coarsen import held_together
from hardplace.graph_split.graph_file import LinkChoice, read_graph
from hardplace.graph_split.inference import scales
from hardplace.graph_split.kernel_prices import priced_graph
from hardplace.graph_split.latency_model import least_latency
from hardplace.graph_split.load_model import LoadShortage, least_load
from hardplace.graph_split.requests import MOST_REQUESTS, repeated
from hardplace.graph_split.split import MemoryShortage, SplitOutcome, split_latency, split_pipeline
from hardplace.graph_split.stage_answer import StageChoice, staged_plan
from hardplace.graph_split.staged import HOST, SplitShape, StagedProblem, read_staged
from hardplace.graph_split.types import SplitProblem
from hardplace.workload.types import Workload

MOST_BATCH = 1024
COARSENINGS = ("none", "hsdag")
OBJECTIVES = ("latency", "throughput")


def asked_model(
    workload: Workload,
    devices: tuple[str, ...],
    links: LinkChoice,
    *,
    batch: int,
    requests: int,
    objective: str,
    limit_s: float,
    gap: float,
    coarsen: str,
) -> SplitResult | Infeasible:
    """Return the split of one inference of a model, whose operators' seconds come from the models of the devices."""
    _check(objective, limit_s, gap)
    if not 1 <= batch <= MOST_BATCH:
        raise BadInput("batch", batch, f"1 to {MOST_BATCH} samples")
    if batch > 1 and not scales(workload):
        raise BadInput("batch", batch, f"none: {workload.source} has a batch of its own")
    priced = priced_graph(workload, devices, links, batch)
    found = _solved(priced.problem, objective, limit_s, gap, requests, coarsen, priced.notes)
    return found if isinstance(found, Infeasible) else replace(found, samples=batch * requests)


def asked_split(
    path: str | PathLike[str],
    devices: tuple[str, ...],
    links: LinkChoice,
    *,
    objective: str,
    shape: str,
    limit_s: float,
    gap: float,
    stages: StageChoice | None = None,
    requests: int = 1,
    coarsen: str = "none",
) -> SplitResult | Infeasible:
    """Return the split of a graph's file; those of dnn-partitioning and of Piper have semantics of their own."""
    _check(objective, limit_s, gap)
    data = read_json(Path(path))
    if isinstance(data, dict) and "way_columns" in data:
        if objective != "throughput":
            raise BadInput("objective", objective, f"throughput: {path} has operators with ways, cut into stages")
        _only_of_links(path, links, requests, coarsen)
        if shape != "any":
            raise BadInput("shape", shape, f"any: the stages of {path} are in a line")
        return staged_plan(path, stages or StageChoice(), devices, limit_s=limit_s, gap=gap)
    if stages is not None:
        raise BadInput("devices", stages.devices, f"none: {path} has no ways of its operators; name each device")
    if isinstance(data, dict) and "node_columns" in data:
        if devices:
            raise BadInput("device", ", ".join(devices), f"none: {path} has its own devices")
        _only_of_links(path, links, requests, coarsen)
        return _through_host(read_staged(path), objective, shape, limit_s, gap)
    if shape != "any":
        raise BadInput("shape", shape, "any; other shapes are of files with devices around a host")
    return _solved(read_graph(path, devices, links), objective, limit_s, gap, requests, coarsen)


def _only_of_links(path: str | PathLike[str], links: LinkChoice, requests: int, coarsen: str) -> None:
    """Refuse what is asked of devices that exchange over links, for a file whose devices do not."""
    if links.named:
        raise BadInput("link", ", ".join(links.named), f"none: {path} says how its devices exchange")
    if requests != 1:
        raise BadInput("requests", requests, f"1: {path} has no devices with links")
    if coarsen != "none":
        raise BadInput("coarsen", coarsen, f"none: {path} has no devices with links")


def _check(objective: str, limit_s: float, gap: float) -> None:
    check_gap(gap)
    if objective not in OBJECTIVES:
        raise unknown("objective", objective, OBJECTIVES)
    if not limit_s > 0 or not math.isfinite(limit_s):
        raise BadInput("seconds", limit_s, "a number above 0")


def _solved(
    problem: SplitProblem,
    objective: str,
    limit_s: float,
    gap: float,
    requests: int,
    coarsen: str,
    notes: tuple[str, ...] = (),
) -> SplitResult | Infeasible:
    """Return the split of a problem for so many requests in flight."""
    if not 1 <= requests <= MOST_REQUESTS:
        raise BadInput("requests", requests, f"1 to {MOST_REQUESTS} in flight")
    if requests > 1 and objective != "latency":
        raise BadInput("requests", requests, "1 with throughput, whose pipeline has as many in flight as it holds")
    if coarsen not in COARSENINGS:
        raise unknown("coarsen", coarsen, COARSENINGS)
    if coarsen == "hsdag":
        problem = held_together(problem)
        kept = f"{len(problem.groups)} groups of {len(problem.operators)} operators, by HSDAG's rule"
        notes = (f"{kept}; the bound is of splits that keep them", *notes)
    whole = repeated(problem, requests)
    solve = split_latency if objective == "latency" else split_pipeline
    found = solve(whole, limit_s=limit_s, gap=gap)
    if isinstance(found, MemoryShortage):
        return _short(whole, found)
    if requests > 1:
        rate = units.format_quantity(found.value_s / requests, "s", 4)
        notes = (f"all {requests} requests are there at the start and end after this time: {rate} each", *notes)
    return replace(_answer(whole, found, objective, notes), samples=requests)


def _answer(problem: SplitProblem, found: SplitOutcome, objective: str, notes: tuple[str, ...]) -> SplitResult:
    names = [device.name for device in problem.devices]
    runs = found.schedule.runs
    busy = [0.0] * len(names)
    held = [0.0] * len(names)
    for run in runs:
        busy[run.device] += run.end_s - run.start_s
        held[run.device] += problem.operators[run.operator].memory_bytes
    return SplitResult(
        graph=problem.name,
        objective=objective,
        semantics="links",
        shape="any",
        value_s=found.value_s,
        bound_s=found.bound_s,
        search_s=found.seconds,
        devices=tuple(names),
        busy_s=tuple(busy),
        memory_bytes=tuple(held),
        placement=tuple(
            SplitRow(
                operator=problem.operators[run.operator].name, device=names[run.device], start_s=run.start_s,
                end_s=run.end_s,
            )
            for run in runs
        ),
        transfers=tuple(
            TransferRow(
                operator=problem.operators[problem.tensors[move.tensor].source].name, source=names[move.source],
                target=names[move.target], start_s=move.start_s, end_s=move.end_s,
            )
            for move in found.schedule.transfers
        ),
        methods=found.methods,
        notes=notes,
    )  # fmt: skip


def _through_host(
    problem: StagedProblem, objective: str, shape: str, limit_s: float, gap: float
) -> SplitResult | Infeasible:
    if shape not in tuple(SplitShape):
        raise unknown("shape", shape, tuple(SplitShape))
    names = [f"accelerator{one}" for one in range(problem.accelerators)]
    notes: tuple[str, ...]
    if objective == "latency":
        names.append("host")
        best = least_latency(problem, limit_s=limit_s, gap=gap)
        devices = [problem.accelerators if one == HOST else one for one in best.devices]
        value_s, bound_s, seconds, shape = best.latency, best.bound, best.seconds, "piece"
        notes = ("one call an accelerator; the host's cores are not limited",)
    else:
        names += [f"core{one}" for one in range(problem.cpu_cores)]
        split = least_load(problem, SplitShape(shape), limit_s=limit_s, gap=gap)
        if isinstance(split, LoadShortage):
            needs = sum(node.memory_bytes for node in problem.nodes if node.on_accelerator)
            return Infeasible(
                title=problem.name, what="memory of the accelerators", needed=needs,
                available=problem.accelerators * problem.accelerator_memory_bytes, unit="B",
                remedy="more accelerators, more memory, or a core for what does not fit: no split of this shape "
                + ("fits" if split.proven else "was found in this time"),
                proven=split.proven,
            )  # fmt: skip
        devices = list(split.devices)
        value_s, bound_s, seconds = split.load, split.bound, split.seconds
        notes = ("times are in the file's unit, called seconds here",)
    busy, held = [], []
    for device in range(len(names)):
        members = [one for one, where in enumerate(devices) if where == device]
        on_accelerator = device < problem.accelerators
        busy.append(problem.load(members, accelerator=on_accelerator) if members else 0.0)
        held.append(sum(problem.nodes[one].memory_bytes for one in members))
    return SplitResult(
        graph=problem.name, objective=objective, semantics="through-host", shape=shape, value_s=value_s,
        bound_s=bound_s, search_s=seconds, devices=tuple(names), busy_s=tuple(busy), memory_bytes=tuple(held),
        placement=tuple(
            SplitRow(operator=node.name, device=names[device])
            for node, device in zip(problem.nodes, devices, strict=True)
        ),
        notes=notes,
    )  # fmt: skip


def _short(problem: SplitProblem, found: MemoryShortage) -> Infeasible:
    title = f"{problem.name} on {', '.join(device.name for device in problem.devices)}"
    if found.operator_bytes > found.largest_bytes:
        return Infeasible(
            title=title, what=f"memory for {found.operator} and its group", needed=found.operator_bytes,
            available=found.largest_bytes, unit="B", remedy="a device with as much memory, or a smaller group",
        )  # fmt: skip
    remedy = "more memory, another device, or smaller groups"
    if not found.proven:
        remedy = f"more seconds, {remedy}: no placement was found within these memories"
    elif found.needed_bytes <= found.available_bytes:
        remedy = f"{remedy}: no placement keeps within each device's memory"
    return Infeasible(
        title=title, what="memory of the devices that support the operators", needed=found.needed_bytes,
        available=found.available_bytes, unit="B", remedy=remedy, proven=found.proven,
    )  # fmt: skip
