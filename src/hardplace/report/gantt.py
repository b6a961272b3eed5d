"""The figure of one layer's kernels on the cores of a chip."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hardplace.cost.types import Engine
from hardplace.design.exact.layer_schedule import cores_taken
from hardplace.design.scheduling.types import Assignment
from hardplace.design.types import Evaluation, LayerSchedule, PhaseSchedule
from hardplace.hardware.types import Accelerator
from hardplace.report import style
from hardplace.report import text as words
from hardplace.units import format_quantity

MOST_ROWS = 16  # of one kind; beyond that only cores that run a kernel of their own get a row

NAMES = ("forward", "backward")

COLOURS = {
    Engine.TENSOR: (style.BLUE, "tensor cores"),
    Engine.VECTOR: (style.GREEN, "vector cores"),
    Engine.BOTH: (style.PURPLE, "both (fused)"),
    Engine.NETWORK: (style.ORANGE, "network"),
    Engine.COPY: (style.TEAL, "copy engine"),
}

_OFF_CHIP = {Engine.NETWORK: "network", Engine.COPY: "copy engine"}  # rows of engines that are no cores


@dataclass(frozen=True, slots=True, kw_only=True)
class GanttBar:
    """A stretch of one kernel on one row."""

    row: str
    task: int
    start_s: float
    duration_s: float


def most_repeated(evaluation: Evaluation) -> tuple[LayerSchedule, int]:
    """Return the layer that the model repeats most, and how often."""
    index, count = Counter(evaluation.order).most_common(1)[0]
    return evaluation.layers[index], count


def rows(phase: PhaseSchedule, chip: Accelerator) -> tuple[str, ...]:
    """Return the rows of a phase from top to bottom."""
    kinds = (
        ("tensor", chip.tensor_cores, [core for item in phase.schedule.assignments for core in item.tensor_cores]),
        ("vector", chip.vector_cores, [core for item in phase.schedule.assignments for core in item.vector_cores]),
    )
    found: list[str] = []
    for kind, count, used in kinds:
        if count <= MOST_ROWS:
            found += [_core(kind, index) for index in range(count)]
        else:
            found.append(_all(kind, count))
            found += [_core(kind, index) for index in sorted(set(used))]
    found += [name for engine, name in _OFF_CHIP.items() if engine in phase.engines]
    return tuple(found)


def bars(phase: PhaseSchedule, chip: Accelerator) -> tuple[GanttBar, ...]:
    """Return a bar for every row that a kernel occupies."""
    return tuple(
        GanttBar(row=row, task=item.task, start_s=item.start_s, duration_s=item.end_s - item.start_s)
        for item in phase.schedule.assignments
        for row in _rows_of(item, phase.engines[item.task], chip)
    )


def _core(kind: str, index: int) -> str:
    return f"{kind} core {index}"


def _all(kind: str, count: int) -> str:
    return f"all {count:,} {kind} cores"


def _rows_of(item: Assignment, engine: Engine, chip: Accelerator) -> list[str]:
    if engine in _OFF_CHIP:
        return [_OFF_CHIP[engine]]
    kinds = []
    if engine in (Engine.TENSOR, Engine.BOTH):
        kinds.append(("tensor", chip.tensor_cores, item.tensor_cores))
    if engine in (Engine.VECTOR, Engine.BOTH):
        kinds.append(("vector", chip.vector_cores, item.vector_cores))
    found: list[str] = []
    for kind, count, cores in kinds:
        if not item.whole:
            found += [_core(kind, core) for core in cores]
        elif count > MOST_ROWS:
            found.append(_all(kind, count))
        else:
            found += [_core(kind, index) for index in range(count)]
    return found


def figure(evaluation: Evaluation) -> go.Figure:
    """Return forward and backward of the most repeated layer, one above the other on one scale of time."""
    layer, _ = most_repeated(evaluation)
    return passes_figure(tuple(zip(NAMES, (layer.forward, layer.backward), strict=True)), evaluation.chip)


def passes_figure(passes: tuple[tuple[str, PhaseSchedule], ...], chip: Accelerator) -> go.Figure:
    """Return the named schedules on one chip, one above the other on one scale of time."""
    longest_s = max(phase.schedule.makespan_s for _, phase in passes)
    scale, unit = style.seconds_scale(longest_s)
    heights = [max(2, len(rows(phase, chip))) for _, phase in passes]
    titles = [
        f"{name}: {format_quantity(phase.schedule.makespan_s, 's')} "
        f"(no schedule takes less than {format_quantity(phase.schedule.bound_s, 's')})"
        for name, phase in passes
    ]
    height = 24 * sum(heights) + 90 * len(passes)
    chart = make_subplots(
        rows=len(passes), cols=1, row_heights=heights, vertical_spacing=76 / (height - 92), subplot_titles=titles
    )
    seen: set[Engine] = set()
    for position, (name, phase) in enumerate(passes, start=1):
        _draw(chart, position, phase, chip, longest_s, seen)
        names = rows(phase, chip)
        chart.update_yaxes(
            row=position, categoryorder="array", categoryarray=names[::-1], range=[-0.5, len(names) - 0.5],
            showgrid=False,
        )  # fmt: skip
        chart.update_xaxes(
            row=position, title_text=f"time from the start of the {name} pass ({unit})",
            range=[0, longest_s / scale * 1.01],
        )  # fmt: skip
    chart.update_layout(barmode="overlay", bargap=0.12)
    chart.update_annotations(x=0, xanchor="left", font={"size": 12})
    chart = style.styled(chart, height)
    return chart.update_layout(legend=style.legend(1 + 26 / (height - 92)), margin={"t": 64})


def _draw(
    chart: go.Figure,
    position: int,
    phase: PhaseSchedule,
    chip: Accelerator,
    longest_s: float,
    seen: set[Engine],
) -> None:
    scale, _ = style.seconds_scale(longest_s)
    drawn = bars(phase, chip)
    for engine, (colour, name) in COLOURS.items():
        own = [bar for bar in drawn if phase.engines[bar.task] is engine]
        if not own:
            continue
        chart.add_bar(
            row=position,
            col=1,
            name=name,
            legendgroup=name,
            showlegend=engine not in seen,
            orientation="h",
            y=[bar.row for bar in own],
            base=[bar.start_s / scale for bar in own],
            x=[bar.duration_s / scale for bar in own],
            text=[_label(phase.kernels[bar.task], bar.duration_s / longest_s) for bar in own],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            insidetextfont={"color": "white"},
            marker={"color": colour, "line": {"color": "white", "width": 0.6}},
            customdata=[_hover(phase, bar, chip) for bar in own],
            hovertemplate="%{customdata}<extra></extra>",
        )
        seen.add(engine)


def _label(name: str, share: float) -> str:
    """Return as much of a kernel's name ("path.of.module what +fused") as fits, without the path."""
    module, _, what = name.partition(" ")
    nearest = module.rpartition(".")[2]
    return style.fitting(f"{nearest} {what}".strip(), share) or style.fitting(nearest, share)


def _hover(phase: PhaseSchedule, bar: GanttBar, chip: Accelerator) -> str:
    item, engine = phase.schedule.assignments[bar.task], phase.engines[bar.task]
    kinds = {
        Engine.TENSOR: words.plural(chip.tensor_cores, "tensor core"),
        Engine.VECTOR: words.plural(chip.vector_cores, "vector core"),
        Engine.BOTH: f"{words.plural(chip.tensor_cores, 'tensor core')} and "
        + words.plural(chip.vector_cores, "vector core"),
    }
    count = cores_taken(item)
    some = "on one core" if count == 1 else f"on {count} cores{' of each kind' if engine is Engine.BOTH else ''}"
    where = _OFF_CHIP[engine] if engine in _OFF_CHIP else f"on all: {kinds[engine]}" if item.whole else some
    return (
        f"<b>{style.safe(phase.kernels[bar.task])}</b><br>starts {format_quantity(bar.start_s, 's')}, "
        f"takes {format_quantity(bar.duration_s, 's')}<br>{where}"
    )
