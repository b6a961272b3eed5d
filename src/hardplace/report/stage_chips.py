"""Chips of their own for the stages of a pipeline: the table in the terminal, and the page."""

from __future__ import annotations

from hardplace.branch_and_bound.types import LIMITS
from hardplace.certificate import at_most, gap_of, percent_at_most
from hardplace.design.results import StageOnChip, StagesResult
from hardplace.report import style
from hardplace.report import text as words
from hardplace.report.charts import Chart, ChartAxis, ChartBar, Panel
from hardplace.report.frontier_and_fleet import TextTable, sheet_page, show_sheet
from hardplace.units import format_quantity, percent


def show_stages(found: StagesResult) -> None:
    """Print the chips and their stages."""
    show_sheet(stages_sheet(found))


def stages_page(found: StagesResult, command: str = "", beside: str = "result.json") -> str:
    """Return the self-contained page; command: the one that asked, if one did."""
    return sheet_page(found, stages_sheet(found), stages_figure(found), command, beside)


def stages_sheet(found: StagesResult) -> TextTable:
    """Return the stages as a table, neighbours that are alike in a row."""
    rows = tuple(
        (
            _numbers(group),
            str(group[0].chip + 1),
            str(group[0].layers),
            format_quantity(group[0].load_s, "s", 3),
            _span([words.gib(one.memory_bytes) for one in (group[0], group[-1])]),
            words.gib(group[0].capacity_bytes),
        )
        for group in _alike(found.stages)
    )
    chips = "; ".join(_chip(found, index) for index in range(len(found.chips)))
    placement, family = found.placement, found.family
    recompute = "recompute" if family.recompute else "no recompute"
    return TextTable(
        title=f"{found.model}: {words.plural(len(found.chips), 'kind')} of chip for "
        f"{words.plural(len(found.stages), 'stage')}",
        question=f"Which chips for the stages of {found.model}, each of its own?",
        about=f"{chips}. Plan: tensor {placement.tensor_parallel} × pipeline {len(found.stages)} × data "
        f"{placement.data_parallel}, micro-batch {family.micro_batch}, {recompute}; "
        f"{words.number(found.samples_per_s, 4)} samples/s, step {format_quantity(placement.batch_s, 's', 3)}. "
        f"{words.count(found.chips_in_space)} chips of space {found.space}, setting {found.setting}, "
        f"{found.devices:,} devices; each chip within {words.within(found.budget)}; "
        f"{found.stop.value} after {found.seconds:.1f} s",
        certificate=f"{_gain(found)} No plan with any chip on any stage has more than {at_most(found.bound, 5)} "
        f"{found.unit}, {percent_at_most(found.gap)} above{_of_one(found)}.",
        headings=("stages", "chip", "layers", "time per micro-batch", "memory", "of"),
        rows=rows,
        notes=found.notes,
    )


def _gain(found: StagesResult) -> str:
    score, one = (f"{value:,.5g}" for value in (found.score, found.one_kind_score))
    if len(found.chips) == 1 and found.gain <= 0.0:
        pairs = words.plural(found.pairs_tried, "pair")
        tried = (
            f"two kinds gain nothing in the {pairs} that were tried" if found.pairs_tried else "no two kinds were tried"
        )
        return f"One kind of chip: {score} {found.unit}; {tried}."
    return (
        f"{words.plural(len(found.chips), 'kind')} of chip: {score} {found.unit}, {percent(found.gain, 2)} more than "
        f"the best single one ({one}: {words.chip(found.one_kind.chip)})."
    )


def _of_one(found: StagesResult) -> str:
    """Return the bound on plans on one kind of chip, where that on any kinds was ended early and says less."""
    if found.stop not in LIMITS or found.one_kind_bound >= found.bound:
        return ""
    gap = gap_of(found.one_kind_score, found.one_kind_bound)
    return (
        f"; none on one kind of chip more than {at_most(found.one_kind_bound, 5)} {found.unit}, "
        f"{percent_at_most(gap)} above the best of those"
    )


def _chip(found: StagesResult, index: int) -> str:
    chip = found.chips[index]
    held = sum(one.chip == index for one in found.stages)
    tdp = f", {words.number(found.tdp_w[index])} W" if found.tdp_w else ""
    return (
        f"chip {index + 1} for {words.plural(held, 'stage')}: {words.chip(chip)}, {words.gib(chip.memory_bytes)}, "
        f"{words.area(chip.area_mm2)}{tdp}"
    )


def _alike(stages: tuple[StageOnChip, ...]) -> list[tuple[StageOnChip, ...]]:
    """Return neighbours on one chip with as many layers and as long a load, together."""
    groups: list[tuple[StageOnChip, ...]] = []
    for one in stages:
        last = groups[-1][-1] if groups else None
        same = last is not None and (last.chip, last.layers) == (one.chip, one.layers)
        if same and last is not None and abs(last.load_s - one.load_s) <= 1e-6 * one.load_s:
            groups[-1] = (*groups[-1], one)
        else:
            groups.append((one,))
    return groups


def _numbers(group: tuple[StageOnChip, ...]) -> str:
    return _span([str(one.stage) for one in (group[0], group[-1])])


def _span(ends: list[str]) -> str:
    return ends[0] if ends[0] == ends[-1] else f"{ends[0]} to {ends[-1]}"


def stages_figure(found: StagesResult) -> Chart:
    """Return the time of a micro-batch on each stage, a bar each, by chip."""
    bars = tuple(
        ChartBar(
            name=f"chip {one.chip + 1}",
            colour=style.PALETTE[one.chip % len(style.PALETTE)],
            left=place - 0.4,
            right=place + 0.4,
            low=0.0,
            high=1e3 * one.load_s,
            label=str(one.chip + 1),
            title=f"stage {one.stage} on chip {one.chip + 1}: {one.layers} layers, "
            f"{format_quantity(one.load_s, 's', 3)}, {words.gib(one.memory_bytes)} of {words.gib(one.capacity_bytes)}",
        )
        for place, one in enumerate(found.stages)
    )
    panel = Panel(
        x=ChartAxis(names=tuple(str(one.stage) for one in found.stages)),
        y=ChartAxis(title="time of a micro-batch, ms", high=1.1e3 * max(one.load_s for one in found.stages)),
        height=280.0,
        bars=bars,
    )
    return Chart(label="time of a micro-batch on each stage, with the number of its chip", panels=(panel,))
