"""The figure of one layer's kernels on the cores of a chip."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hardplace.cost.types import Engine
from hardplace.design.exact.layer_schedule import cores_taken
from hardplace.design.scheduling.types import Assignment
from hardplace.design.types import Evaluation, LayerSchedule, PhaseSchedule
from hardplace.hardware.types import Accelerator
from hardplace.report import style
from hardplace.report import text as words
from hardplace.report.charts import Chart, ChartAxis, ChartBar, Panel, row_bar
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


def figure(evaluation: Evaluation) -> Chart:
    """Return forward and backward of the most repeated layer, one above the other on one scale of time."""
    layer, _ = most_repeated(evaluation)
    return passes_figure(tuple(zip(NAMES, (layer.forward, layer.backward), strict=True)), evaluation.chip)


def passes_figure(passes: tuple[tuple[str, PhaseSchedule], ...], chip: Accelerator) -> Chart:
    """Return the named schedules on one chip, one above the other on one scale of time."""
    longest_s = max(phase.schedule.makespan_s for _, phase in passes)
    scale, unit = style.seconds_scale(longest_s)
    panels = []
    for name, phase in passes:
        names, drawn = _folded(phase, chip)
        makespan, bound = (format_quantity(one, "s") for one in (phase.schedule.makespan_s, phase.schedule.bound_s))
        panels.append(
            Panel(
                x=ChartAxis(title=f"time from the start of the {name} pass, {unit}", high=1.01 * longest_s / scale),
                y=ChartAxis(names=names),
                height=22.0 * max(2, len(names)),
                title=f"{name}: {makespan} (no schedule takes less than {bound})",
                bars=tuple(_bar(phase, bar, row, chip, scale) for row, bar in drawn),
            )
        )
    return Chart(label="kernels of one layer on the cores of the chip over time", panels=tuple(panels))


def _folded(phase: PhaseSchedule, chip: Accelerator) -> tuple[tuple[str, ...], list[tuple[int, GanttBar]]]:
    """Return the rows, cores that do the same at the same time as one, and the bars with the number of their row."""
    of: dict[str, list[GanttBar]] = {row: [] for row in rows(phase, chip)}
    for bar in bars(phase, chip):
        of[bar.row].append(bar)
    kept: list[list[str]] = []
    for row, own in of.items():
        same = kept and [(one.task, one.start_s) for one in of[kept[-1][0]]] == [(one.task, one.start_s) for one in own]
        if same and _kind(row) == _kind(kept[-1][0]):
            kept[-1].append(row)
        else:
            kept.append([row])
    names = tuple(f"{one[0]} to {one[-1].rpartition(' ')[2]}" if len(one) > 1 else one[0] for one in kept)
    names = tuple(name.replace(" core ", " cores ", 1) if " to " in name else name for name in names)
    return names, [(number, bar) for number, one in enumerate(kept) for bar in of[one[0]]]


def _kind(row: str) -> str:
    return row.rpartition(" ")[0]


def _bar(phase: PhaseSchedule, bar: GanttBar, row: int, chip: Accelerator, scale: float) -> ChartBar:
    colour, name = COLOURS[phase.engines[bar.task]]
    start, end = bar.start_s / scale, (bar.start_s + bar.duration_s) / scale
    return row_bar(
        row, start, end, colour, name=name, label=_label(phase.kernels[bar.task]), title=_hover(phase, bar, chip)
    )


def _label(name: str) -> str:
    """Return a kernel's name ("path.of.module what +fused") without the path."""
    module, _, what = name.partition(" ")
    return f"{module.rpartition('.')[2]} {what}".strip()


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
        f"{phase.kernels[bar.task]}: starts {format_quantity(bar.start_s, 's')}, "
        f"takes {format_quantity(bar.duration_s, 's')}, {where}"
    )
