"""Measured steps of one's own system: rows of a table of runs, or of plans' files with what they took."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hardplace.cost.layers.software import SOFTWARE
from hardplace.csv_table import Table
from hardplace.errors import BadInput, unknown
from hardplace.plans.anchoring import Measured
from hardplace.plans.chain import LayerChain, of_shape, of_workload
from hardplace.plans.estimate import PlanEstimate, estimate_plan
from hardplace.plans.fleet import Fleet, Pricers, fleet_of
from hardplace.plans.inventory import inventory_of_plan
from hardplace.plans.plan import Plan
from hardplace.plans.plan_files import bare, read_plan
from hardplace.plans.plan_problems import problems
from hardplace.plans.published.counted import as_counted, fullest_bytes
from hardplace.plans.published.rows import NotModelled, measured_s, published_bytes
from hardplace.plans.published.runs import PublishedRun, run_of, spelled
from hardplace.plans.published.scores import fleet_of_run, settled
from hardplace.plans.published.ways import software_of
from hardplace.units import GIB
from hardplace.workload.load import load
from hardplace.workload.types import Recompute

_PLANNED = ("id", "plan", "target_iter_s", "model", "device", "node", "memory_gb", "note")  # of a table of plans
_MOST = 1e9  # seconds, GiB


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRun:
    """A measured step before it is priced.

    Attributes:
        name: Its name.
        key: What makes it the run that it is: equal of repeats.
        seconds: Measured.
        plan: The plan.
        chain: Layers of its model under a plan.
        fleet: Its devices under a plan.
        memory: Measured bytes of the fullest stage over those of an estimate, without the reserve; 0: not measured.
    """

    name: str
    key: object
    seconds: float
    plan: Plan
    chain: Callable[[Plan], LayerChain]
    fleet: Callable[[Plan], Fleet]
    memory: Callable[[PlanEstimate], float]


def own_runs(rows: Sequence[Mapping[str, str]], place: str) -> list[OwnRun]:
    """Return the rows of a table of runs as measured steps.

    Raises:
        BadInput: Naming the row, for one without a time or that is not modelled.
    """
    found = []
    known: Pricers = {}
    for row in rows:
        if (seconds := measured_s(row)) is None:
            cells = "target_iter_s, iter_s, tokens_per_s_per_device: none above 0"
            raise BadInput(f"{place}: {row['id']}: {cells}: expected the measured seconds of a step")
        try:
            run = settled(run_of(row), known)
        except (NotModelled, BadInput) as problem:
            raise BadInput(f"{place}: {row['id']}: {problem}") from None
        found.append(_of_row(spelled(row), run, seconds, known))
    if not found:
        raise BadInput(f"{place}: no rows: expected one measured step or more")
    return found


def unknown_software(rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """Yield which rows name a software that is read as none, with the nearest names."""
    for row in rows:
        said = row.get("software", "").strip()
        if not said or software_of(spelled(row)):
            continue
        near = difflib.get_close_matches(said.lower(), SOFTWARE, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        yield f"{row['id']}: software: {said!r}: no software of published runs: taken as none named{hint}"


def _of_row(row: Mapping[str, str], run: PublishedRun, seconds: float, known: Pricers) -> OwnRun:
    def memory(estimate: PlanEstimate) -> float:
        reserve = max(as_counted(row, one) - one.reserved_bytes for one in estimate.memory)
        return _over(published_bytes(row) - max(0.0, reserve), fullest_bytes(row, estimate.memory) - max(0.0, reserve))

    return OwnRun(
        name=row["id"],
        key=(run.shape, run.plan, run.device, run.node),
        seconds=seconds,
        plan=run.plan,
        chain=lambda plan: of_shape(run.shape, plan),
        fleet=lambda plan: fleet_of_run(replace(run, plan=plan), known),
        memory=memory,
    )


def planned_runs(table: Table) -> list[OwnRun]:
    """Return the rows of a table of plans as measured steps.

    Args:
        table: Columns plan (a file, beside the table or from here) and target_iter_s; where the plan's file does not
            say them, model, device and node; id, memory_gb (GiB of the fullest device) and note where there are any.

    Raises:
        BadInput: With the line, the column and what was expected.
    """
    for name in ("plan", "target_iter_s"):
        if name not in table.columns:
            raise BadInput(f"{table.place}: column {name}: missing; expected {', '.join(_PLANNED)}")
    for name in table.columns:
        if name not in _PLANNED:
            raise BadInput(f"{table.place}: {unknown('column', name, _PLANNED)}")
    found = []
    for index, cells in enumerate(table.rows):
        row = dict.fromkeys(_PLANNED, "") | dict(zip(table.columns, map(str.strip, cells), strict=True))
        found.append(_of_plan(row, index, table))
    return found


def _of_plan(row: Mapping[str, str], index: int, table: Table) -> OwnRun:
    def number(column: str) -> float:
        try:
            value = float(row[column] or 0.0)
        except ValueError:
            value = math.nan
        if not 0.0 <= value < _MOST or (column == "target_iter_s" and not value):
            expected = "measured seconds" if column == "target_iter_s" else "GiB, or an empty cell"
            raise BadInput(f"{table.where(index, column)}: {row[column]!r}: expected {expected}")
        return value

    beside = Path(table.place).parent / row["plan"]
    path = beside if beside.is_file() else Path(row["plan"])
    seconds, bytes_held, file = number("target_iter_s"), number("memory_gb") * GIB, read_plan(path)
    model = row["model"] or file.model
    if not model:
        raise BadInput(f"{table.where(index, 'model')}: '': expected a model, which {path} does not say")
    try:
        workload, plan = load(model), bare(file)
        names, nodes = [row["device"]] * bool(row["device"]), [row["node"]] * bool(row["node"])
        parts = inventory_of_plan(str(path), file, names, nodes)
        of_workload(workload, plan)
    except BadInput as problem:
        raise BadInput(f"{table.where(index, 'plan')}: {problem}") from None

    def memory(estimate: PlanEstimate) -> float:
        fullest = max(estimate.memory, key=lambda one: one.total_bytes)
        return _over(bytes_held - fullest.reserve_bytes, fullest.reserved_bytes) if bytes_held else 0.0

    return OwnRun(
        name=row["id"] or f"line {table.lines[index]}",
        key=(workload.name, plan, tuple((chip.name, node, count) for chip, node, count in parts)),
        seconds=seconds,
        plan=plan,
        chain=lambda other: of_workload(workload, other),
        fleet=lambda other: fleet_of(parts, other),
        memory=memory,
    )


def _over(measured: float, predicted: float) -> float:
    return measured / predicted if measured > 0.0 < predicted else 0.0


def measured_runs(runs: Sequence[OwnRun]) -> list[Measured]:
    """Return the steps as they are learned from: repeats of one run together, by their geometric mean."""
    alike: dict[object, list[OwnRun]] = {}
    for run in runs:
        alike.setdefault(run.key, []).append(run)
    return [_measured(same) for same in alike.values()]


def _measured(same: Sequence[OwnRun]) -> Measured:
    run, times = same[0], [one.seconds for one in same]
    chain, fleet = run.chain(run.plan), run.fleet(run.plan)
    estimate = estimate_plan(chain, run.plan, fleet)
    ratios = [math.log(ratio) for one in same if (ratio := one.memory(estimate))]
    return Measured(
        name=", ".join(sorted(one.name for one in same)),
        chain=chain,
        plan=run.plan,
        fleet=fleet,
        seconds=float(f"{math.exp(math.fsum(map(math.log, times)) / len(times)):.12g}"),
        repeated=max(times) / min(times),
        memory=math.exp(math.fsum(ratios) / len(ratios)) if ratios else 0.0,
    )


def next_runs(runs: Sequence[OwnRun]) -> list[Measured]:
    """Return runs that could be measured next: of the model of the longest step on as many devices, one or two choices
    changed, without those that were measured.

    Returns:
        Runs that fit their devices, named by what they change, with predicted seconds.
    """
    run = max(runs, key=lambda one: (one.seconds, one.name))
    found = []
    for name, plan in _changed(run.plan):
        if any(plan == one.plan for one in runs):
            continue
        try:
            one = Measured(name=name, chain=run.chain(plan), plan=plan, fleet=run.fleet(plan), seconds=0.0)
            priced = estimate_plan(one.chain, plan, one.fleet)
        except BadInput:
            continue
        if priced.fits:
            found.append(replace(one, seconds=priced.step_s))
    return found


def _changed(plan: Plan) -> Iterator[tuple[str, Plan]]:
    """Yield plans with one choice changed, or two, with what it is in words."""
    for tensor in (1, 2, 4, 8):
        data, left = divmod(plan.tensor * plan.data, tensor)
        for micro_batch in (1, 2, 4, 8):
            for recompute in (Recompute.NONE, Recompute.FULL):
                one = replace(
                    plan, tensor=tensor, data=data, sequence=tensor > 1, micro_batch=micro_batch, recompute=recompute,
                    recompute_layers=0, recompute_modules=(), stages=(), assignment=(), shard=0,
                )  # fmt: skip
                if left or not data or next(problems(one), None) is not None:
                    continue
                yield f"tensor {tensor} x data {data}, micro-batch {micro_batch}, recompute {recompute}", one
