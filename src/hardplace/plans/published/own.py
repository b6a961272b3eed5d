"""Measured steps of one's own system, in a table with the columns of published runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from hardplace.errors import BadInput
from hardplace.plans.anchoring import Measured
from hardplace.plans.chain import of_shape
from hardplace.plans.estimate import estimate_plan
from hardplace.plans.fleet import Pricers
from hardplace.plans.plan import Plan
from hardplace.plans.plan_problems import problems
from hardplace.plans.published.rows import NotModelled
from hardplace.plans.published.runs import PublishedRun, run_of
from hardplace.plans.published.scores import fleet_of_run, settled
from hardplace.workload.types import Recompute


def measured_runs(rows: Sequence[Mapping[str, str]], place: str) -> list[Measured]:
    """Return the rows as measured steps.

    Raises:
        BadInput: Naming the row, for one without a time or that is not modelled.
    """
    found = []
    known: Pricers = {}
    for row in rows:
        if not row["target_iter_s"].strip():
            raise BadInput(f"{place}: {row['id']}: target_iter_s: '': expected the measured seconds of a step")
        try:
            run = settled(run_of(row), known)
        except (NotModelled, BadInput) as problem:
            raise BadInput(f"{place}: {row['id']}: {problem}") from None
        found.append(_measured(row["id"], run, float(row["target_iter_s"]), known))
    if not found:
        raise BadInput(f"{place}: no rows: expected one measured step or more")
    return found


def _measured(name: str, run: PublishedRun, seconds: float, known: Pricers) -> Measured:
    chain, fleet = of_shape(run.shape, run.plan), fleet_of_run(run, known)
    return Measured(name=name, chain=chain, plan=run.plan, fleet=fleet, seconds=seconds)


def next_runs(rows: Sequence[Mapping[str, str]]) -> list[Measured]:
    """Return runs that could be measured next: of the first row's model on as many devices, one or two choices changed.

    Args:
        rows: Rows that `measured_runs` takes.

    Returns:
        Runs that fit their devices, named by what they change, with predicted seconds.
    """
    known: Pricers = {}
    run = settled(run_of(rows[0]), known)
    found = []
    for name, plan in _changed(run.plan):
        try:
            one = _measured(name, replace(run, plan=plan), 0.0, known)
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
