"""The page of one search: self-contained HTML that opens from disk, without a network."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from hardplace.certificate import percent_at_most
from hardplace.design.goals import LIMITS
from hardplace.design.results import DesignResult
from hardplace.design.types import Evaluation, LayerSchedule
from hardplace.hardware.settings import settings
from hardplace.report import breakdown as shares
from hardplace.report import cloud, gantt, pipeline
from hardplace.report import text as words
from hardplace.report.existing import existing_rows, over_existing
from hardplace.report.floorplan import floor
from hardplace.report.limits import frontier_rows, limit_costs, shadow_prices
from hardplace.report.rendering import rendered
from hardplace.report.reproduce import reproduction
from hardplace.report.tornado import tornado
from hardplace.units import GIB, format_quantity, percent


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineRow:
    """One plan of the comparison, its numbers as text; `short` says what an infeasible one lacks."""

    name: str
    chip: str = ""
    plan: str = ""
    value: str = ""
    samples: str = ""
    tokens: str = ""
    step: str = ""
    utilisation: str = ""
    memory: str = ""
    speed_up: str = ""
    short: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRow:
    """One distinct layer of the model and its makespans as text."""

    layer: str
    count: int
    forward: str
    backward: str
    above: str


def page(exploration: DesignResult, asked: str = "") -> str:
    """Return the HTML page of a search.

    Args:
        exploration: The answer.
        asked: The command that asked, if one did.
    """
    best = exploration.best
    repeated, count = gantt.most_repeated(best)
    shown = pipeline.timeline(best)
    # What a file of one's own holds is in no option: then there is none but the command that was given.
    whole = asked or (command(exploration) if exploration.setting in {one.name for one in settings()} else "")
    return rendered(
        "page.html",
        exploration=exploration,
        best=best,
        chip=words.chip(best.chip),
        plan=words.plan(best),
        floor=floor(exploration),
        limit_costs=limit_costs(exploration),
        shadow=shadow_prices(exploration),
        frontier=frontier_rows(exploration),
        wanted=words.wanted(exploration),
        certificate=words.certificate(exploration),
        bound=words.bound(exploration),
        limits=words.limits(exploration),
        over=over_existing(exploration),
        existing=existing_rows(exploration),
        tornado=tornado(exploration),
        rows=comparison(exploration),
        layers=layer_rows(best),
        repeated=repeated,
        repeated_count=count,
        timeline=shown,
        drawn=len(cloud.drawn(exploration)),
        decimated=len(cloud.drawn(exploration)) < len(exploration.cloud.label),
        tokens_per_s=best.samples_per_s * exploration.sequence_length,
        memory_bytes=max(stage.memory_bytes for stage in best.placement.stages),
        reproduction=reproduction(exploration, whole, "result.json"),
        figures={
            "cloud": cloud.figure(exploration),
            "gantt": gantt.figure(best),
            "pipeline": pipeline.figure(best, shown),
            "time": shares.time_figure(exploration),
            "memory": shares.memory_figure(best),
            "search": shares.search_figure(exploration),
        },
    )


def comparison(exploration: DesignResult) -> tuple[BaselineRow, ...]:
    """Return the answer and the baselines as rows."""
    rows = [_row("the answer", exploration.best, exploration, exploration.score)]
    for baseline in exploration.baselines:
        if baseline.evaluation is not None:
            rows.append(_row(baseline.name, baseline.evaluation, exploration, baseline.score))
        elif baseline.infeasible is not None:
            lack = baseline.infeasible
            needed, available = (
                words.gib(value) if lack.unit == "bytes" else format_quantity(value, lack.unit)
                for value in (lack.needed, lack.available)
            )
            lacks = f"{lack.what} needs {needed}, {available} available"
            short = f"does not fit: {lacks}; {words.remedy(lack.remedy)}"
            rows.append(BaselineRow(name=baseline.name, short=short))
        else:
            rows.append(BaselineRow(name=baseline.name, short="not a plan of this search"))
    return tuple(rows)


def layer_rows(evaluation: Evaluation) -> tuple[LayerRow, ...]:
    """Return the distinct layers that the model has, in the order of their first appearance."""
    return tuple(
        LayerRow(
            layer=evaluation.layers[index].layer,
            count=evaluation.order.count(index),
            forward=format_quantity(evaluation.layers[index].forward.schedule.makespan_s, "s"),
            backward=format_quantity(evaluation.layers[index].backward.schedule.makespan_s, "s"),
            above=percent_at_most(_above(evaluation.layers[index])),
        )
        for index in dict.fromkeys(evaluation.order)
    )


def _above(layer: LayerSchedule) -> float:
    """Return how far the worse of a layer's schedules can be above the best possible, relative to that."""
    schedules = (layer.forward.schedule, layer.backward.schedule)
    return max(one.makespan_s / one.bound_s - 1.0 if one.bound_s > 0 else 0.0 for one in schedules)


def command(exploration: DesignResult) -> str:
    """Return the command that asks the same question; a model or space of one's own by its name, not its file."""
    choices, budget = exploration.choices, exploration.budget
    words_ = ["hardplace", "search", exploration.model, "--setting", exploration.setting]
    space, _, node = exploration.space.partition(" at ")
    words_ += ["--space", space]
    words_ += ["--ideal"] if exploration.ideal and space != "phaze" else []  # PHAZE's are ideal always
    words_ += ["--process", node.replace(" ", "")] if node else []
    words_ += ["--area", repr(budget.area_mm2), "--devices", str(exploration.cluster.devices)]
    words_ += ["--batch", str(exploration.batch_samples), "--gap", str(exploration.target_gap)]
    words_ += ["--objective", exploration.objective] if exploration.objective != "throughput" else []
    words_ += [] if exploration.limit_s is None else ["--seconds", str(exploration.limit_s)]
    given = {name: (getattr(budget, field), unit) for name, (field, unit) in LIMITS.items() if name != "area"}
    # Where the chips bring their own memory, the choices are the setting's, and there is no --memory.
    shipped = {one.name: one.memory_capacities_bytes for one in settings()}
    own = choices.memory_bytes != shipped.get(exploration.setting)
    for option, values in (
        ("--limit", [f"{name}={value!r}{unit}" for name, (value, unit) in given.items() if value is not None]),
        ("--memory", [_size(size) for size in choices.memory_bytes] if own else ()),
        ("--micro-batch", choices.micro_batches),
        ("--tensor-parallel", choices.tensor_parallel),
        ("--recompute", ["full" if full else "none" for full in choices.recompute]),
    ):
        for value in values:
            words_ += [option, str(value)]
    return shlex.join(words_)


def _size(size_bytes: float) -> str:
    """Return a size as an option takes it, exactly."""
    text = f"{size_bytes / GIB:g}"
    return f"{text}GiB" if float(text) * GIB == size_bytes else f"{size_bytes!r}B"


def _row(name: str, evaluation: Evaluation, exploration: DesignResult, score: float | None) -> BaselineRow:
    memory = max(stage.memory_bytes for stage in evaluation.placement.stages)
    return BaselineRow(
        name=name,
        chip=f"{words.chip(evaluation.chip)}, {words.area(evaluation.chip.area_mm2)}",
        plan=words.plan(evaluation),
        value=words.objective(exploration, score),
        samples=words.number(evaluation.samples_per_s, 4),
        tokens=words.number(evaluation.samples_per_s * exploration.sequence_length),
        step=format_quantity(evaluation.placement.batch_s, "s"),
        utilisation=percent(evaluation.model_flops_utilisation),
        memory=words.gib(memory),
        speed_up=f"{exploration.best.samples_per_s / evaluation.samples_per_s:.2f}×",
    )
