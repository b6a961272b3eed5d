"""Measured steps of one's own system, in a table with the columns of published runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hardplace.errors import BadInput
from hardplace.plans.anchoring import Measured
from hardplace.plans.chain import of_shape
from hardplace.plans.fleet import Pricers
from hardplace.plans.published.runs import NotModelled, run_of
from hardplace.plans.published.scores import fleet_of_run, settled


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
        except NotModelled as problem:
            raise BadInput(f"{place}: {row['id']}: {problem}") from None
        found.append(
            Measured(
                name=row["id"],
                chain=of_shape(run.shape, run.plan),
                plan=run.plan,
                fleet=fleet_of_run(run, known),
                seconds=float(row["target_iter_s"]),
            )
        )
    if not found:
        raise BadInput(f"{place}: no rows: expected one measured step or more")
    return found
