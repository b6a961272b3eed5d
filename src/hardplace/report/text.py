"""Chips, plans, numbers and the certificate in words, for people to read."""

from __future__ import annotations

import math

from hardplace.branch_and_bound.types import Stop
from hardplace.certificate import at_most, percent_at_most
from hardplace.design.results import DesignResult
from hardplace.design.types import Evaluation
from hardplace.hardware.types import Accelerator, Budget
from hardplace.units import GIB, MIB, format_quantity, percent


def number(value: float, digits: int = 3) -> str:
    """Return a number with `digits` significant digits, in thousands where it is large.

    >>> number(1234.5), number(0.012345), number(7.25e6)
    ('1,234', '0.0123', '7.25 million')
    """
    if not math.isfinite(value):
        return f"{value}"
    for scale, name in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if abs(value) >= scale:
            return f"{value / scale:,.2f} {name}"
    if abs(value) >= 1000 or value == 0:
        return f"{value:,.0f}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def count(value: int) -> str:
    """Return a count with three digits, in words where it is large.

    >>> count(369_172_480), count(1_990), count(24_034_227_072)
    ('369 million', '1,990', '24.0 billion')
    """
    for scale, name in ((10**12, "trillion"), (10**9, "billion"), (10**6, "million")):
        if value >= scale:
            return f"{number(value / scale)} {name}"
    return f"{value:,}"


def parameters(count: int, decimals: int = 2) -> str:
    """Return the size of a model with its unit, B or M, small ones to the last parameter.

    >>> parameters(6_738_415_616), parameters(331_196_416, 3), parameters(139_584)
    ('6.74 B parameters', '331.196 M parameters', '139,584 parameters')
    """
    for scale, unit in ((10**9, "B"), (10**6, "M")):
        if count >= scale:
            return f"{count / scale:.{decimals}f} {unit} parameters"
    return f"{count:,} parameters"


def area(value_mm2: float) -> str:
    r"""Return an area in square millimetres.

    >>> area(278.834)
    '278.8\xa0mm²'
    """
    return f"{value_mm2:.1f}\u00a0mm²"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun.

    >>> plural(1, "tensor core"), plural(4096, "tensor core"), plural(8, "micro-batch")
    ('1 tensor core', '4,096 tensor cores', '8 micro-batches')
    """
    return f"{count:,} {noun}{'' if count == 1 else 'es' if noun.endswith('ch') else 's'}"


def size(value_bytes: float) -> str:
    """Return a size in GiB, and in bytes beside it.

    >>> size(67_827_982_213.0)
    '63.17 GiB (67,827,982,213 bytes)'
    """
    return f"{value_bytes / GIB:.2f} GiB ({value_bytes:,.0f} bytes)"


def gib(value_bytes: float) -> str:
    """Return a size of memory in GiB with three digits, or whole.

    >>> gib(65_587_982_213.0), gib(80 * 2.0**30)
    ('61.1 GiB', '80 GiB')
    """
    return f"{value_bytes / GIB:.3g} GiB" if value_bytes < 1000 * GIB else f"{value_bytes / GIB:,.0f} GiB"


def chip(one: Accelerator) -> str:
    """Return a chip in words."""
    return (
        f"{plural(one.tensor_cores, 'tensor core')} of {one.array_rows}×{one.array_columns}, "
        f"{plural(one.vector_cores, 'vector core')} of {plural(one.vector_lanes, 'lane')}, "
        f"{one.buffer_bytes / MIB:g} MiB buffer"
    )


def plan(evaluation: Evaluation) -> str:
    """Return a plan in words."""
    placement, family = evaluation.placement, evaluation.family
    recompute = "recompute" if family.recompute else "no recompute"
    return (
        f"tensor {placement.tensor_parallel} × pipeline {len(placement.stages)} "
        f"× data {placement.data_parallel}, "
        f"micro-batch {family.micro_batch}, {recompute}, {family.memory_bytes / GIB:g} GiB memory"
    )


def wanted(exploration: DesignResult) -> str:
    """Return what was searched for, and within what."""
    fast = exploration.objective == "throughput"
    what = "the fastest chip and plan" if fast else f"the chip and plan with the best {exploration.objective}"
    return f"{what} within {within(exploration.budget)}"


def within(budget: Budget) -> str:
    """Return the limits in words."""
    limits = [area(budget.area_mm2)]
    limits += [] if budget.tdp_w is None else [f"{number(budget.tdp_w)} W"]
    limits += [] if budget.usd is None else [f"{number(budget.usd)} USD"]
    limits += [] if budget.memory_bytes is None else [f"{gib(budget.memory_bytes)} of memory"]
    limits += [] if budget.step_s is None else [f"{format_quantity(budget.step_s, 's')} a step"]
    return ", ".join(limits)


def limits(exploration: DesignResult) -> str:
    """Return each limit beside the area, with what the answer takes of it; empty where there is none."""
    budget, best = exploration.budget, exploration.best
    rows = (
        ("TDP", exploration.tdp_w, budget.tdp_w, "W"),
        ("price of making", exploration.usd, budget.usd, "USD"),
        ("memory", best.family.memory_bytes, budget.memory_bytes, "B"),
        ("step", best.placement.batch_s, budget.step_s, "s"),
    )
    said = [
        f"{name} {_taken(value, unit)} of at most {_taken(limit, unit)}"
        for name, value, limit, unit in rows
        if value is not None and limit is not None
    ]
    return ", ".join(said)


def _taken(value: float, unit: str) -> str:
    if unit == "B":
        return gib(value)
    return format_quantity(value, unit, 4) if unit == "s" else f"{value:,.5g} {unit}"


def objective(exploration: DesignResult, score: float | None) -> str:
    """Return a score as people read it, in the objective's unit; "-" where there is none."""
    return "-" if not score else f"{1.0 / score if exploration.inverse else score:,.5g}"


def certificate(exploration: DesignResult) -> str:
    """Return in one sentence how far from the best of the space the answer can be at most."""
    above = exploration.gap
    better = "faster" if exploration.objective == "throughput" else "better"
    what = f"of the {exploration.candidates:,} candidates (a chip with a plan family each)"
    if exploration.stop is Stop.OPTIMAL and above <= 1e-9:
        return f"None {what} can be {better} than this one."
    return f"No chip and plan {what} can be more than {percent_at_most(above)} {better} than this one."


def bound(exploration: DesignResult) -> str:
    """Return the bound on the objective, beside what was reached where that is not the speed."""
    if exploration.objective == "throughput":
        proven = exploration.gap <= 1e-9  # the bound is the answer, in as many digits
        return f"bound {f'{exploration.bound:,.1f}' if proven else at_most(exploration.bound, 5)} samples/s"
    value, limit = exploration.score, exploration.bound
    if exploration.inverse:
        value, limit = 1.0 / value, 1.0 / limit
    return f"{exploration.objective} {value:,.5g} {exploration.unit}, bound {limit:,.5g} {exploration.unit}"


def remedy(text: str) -> str:
    """Return a remedy as a sentence's end: without a full stop of its own."""
    return text.strip().rstrip(".")


def total(model: float, published: float | None, is_bound: bool, unit: str, interval: tuple[float, float]) -> str:
    """Return in words what a total is published as and what the parts add up to, with its 80 % interval."""
    low, high = interval
    parts = f"the parts add up to {number(model)} {unit}, 80 % interval {number(low)} to {number(high)}"
    if published is None:
        return f"not published; {parts}"
    known = f"{'at most ' if is_bound else ''}{number(published)} {unit} published"
    return f"{known}; {parts} ({percent(model / published - 1, 0, sign=True)})"


def rounded_down(value_s: float) -> str:
    """Return a lower bound with four digits, rounded down, so that it stays one."""
    places = 3 - math.floor(math.log10(value_s)) if value_s > 0.0 else 0
    return f"{math.floor(value_s * 10.0**places) / 10.0**places:#.4g}"
