"""The answer as tables in the terminal."""

from __future__ import annotations

from rich.table import Table

from hardplace.answers import Infeasible
from hardplace.branch_and_bound.types import LIMITS
from hardplace.design.results import DesignResult
from hardplace.design.types import Baseline, Evaluation
from hardplace.hardware.phaze import name, tpuv4
from hardplace.hardware.types import Budget, Chips, Setting
from hardplace.report import text as words
from hardplace.report.console import headed, screen
from hardplace.report.existing import existing_rows, over_existing
from hardplace.report.plan import folded
from hardplace.report.tornado import moves
from hardplace.units import GIB, MIB, format_quantity, percent


def infeasible_line(short: Infeasible) -> str:
    """Return what is short, by how much, and what would mend it."""
    amounts = (short.needed, short.available)
    if short.unit == "bytes":
        needed, available = (words.gib(one) for one in amounts)
        if needed == available:
            needed, available = (words.size(one) for one in amounts)
    else:
        needed, available = (format_quantity(one, short.unit) for one in amounts)
    return f"{short.what}: needs {needed}, has {available}; {short.remedy}"


def show_infeasible(short: Infeasible) -> None:
    """Print what is short, by how much, and what would mend it."""
    verdict = "infeasible" if short.proven else "no plan found, not proven infeasible"
    screen(soft_wrap=True).print(f"{verdict}: {infeasible_line(short)}")


def show(exploration: DesignResult) -> None:
    """Print the answer, the stages, the plans to compare with, and the certificate."""
    console = screen()
    best = exploration.best
    tokens = best.samples_per_s * exploration.sequence_length
    console.print(
        headed(
            exploration.model,
            f": {words.parameters(exploration.parameters)}, sequence "
            f"{exploration.sequence_length}, batch {exploration.batch_samples}, {exploration.cluster.devices} devices, "
            f"at most {exploration.budget.area_mm2:.2f} mm² a chip, setting {exploration.setting}, "
            f"{exploration.optimizer}",
        )
    )
    answer = Table.grid(padding=(0, 2))
    answer.add_row("chip", f"{words.chip(best.chip)}, {words.area(best.chip.area_mm2)}")
    answer.add_row("plan", words.plan(best))
    answer.add_row(
        "speed",
        f"{best.samples_per_s:,.1f} samples/s, {tokens:,.0f} tokens/s, "
        f"step {format_quantity(best.placement.batch_s, 's')}, "
        f"MFU {percent(best.model_flops_utilisation)} of {format_quantity(best.chip.peak_flops_per_s, 'FLOP/s')}",
    )
    over = over_existing(exploration)
    if over:
        answer.add_row("", over)
    limits = words.limits(exploration)
    if limits:
        answer.add_row("limits", limits)
    answer.add_row("certificate", words.certificate(exploration))
    answer.add_row("", words.bound(exploration))
    moved = moves(exploration)
    if moved:
        answer.add_row("moved", moved)
    console.print(answer)
    console.print(_stages(best))
    if exploration.existing:
        console.print(_existing(exploration))
    console.print(_comparison(exploration))
    for note in exploration.notes:
        console.print(f"note: {note}")
    console.print(f"pruned: {_account(exploration)}")


def _account(exploration: DesignResult) -> str:
    """Return what discarded the candidates, and why the search stopped."""
    levels = ", ".join(f"{level.discarded:,} by {level.name}" for level in exploration.levels if level.discarded)
    left = "; the others are open" if exploration.stop in LIMITS else ""
    return f"{levels or 'none'}{left}; {exploration.stop.value} after {exploration.seconds:.1f} s"


def _stages(best: Evaluation) -> Table:
    table = Table(
        "stage",
        "layers",
        "time per micro-batch",
        "memory, GiB",
        "of, GiB",
        "weights and states, GiB",
        "activations, GiB",
        title="pipeline stages",
    )
    rows = [
        (
            str(len(stage.layers)),
            format_quantity(stage.load_s, "s"),
            f"{stage.memory_bytes / GIB:.1f}",
            f"{best.family.memory_bytes / GIB:g}",
            f"{stage.state_bytes / GIB:.1f}",
            f"{stage.activation_bytes / GIB:.1f}",
        )
        for stage in best.placement.stages
    ]
    for stages, cells in folded(rows, first=1):
        table.add_row(stages, *cells)
    return table


def _existing(exploration: DesignResult) -> Table:
    """Return the answer beside chips that exist, in the same model and setting."""
    table = Table(
        "", "samples/s", "speed-up", "per W", "per USD", "fitted model", "takes", "beyond the limits",
        title="chips that exist, in the same model and setting (~: by the model; USD of making)",
    )  # fmt: skip
    for row in existing_rows(exploration):
        table.add_row(
            row.name, row.samples, row.speed_up, row.per_watt, row.per_dollar, row.fitted, row.takes, row.beyond
        )
    return table


def _comparison(exploration: DesignResult) -> Table:
    other = () if exploration.objective == "throughput" else (exploration.unit,)
    table = Table("", *other, "samples/s", "speed-up", "MFU", "plan", title="comparison")
    best = exploration.best.samples_per_s
    answer = Baseline(name="answer", evaluation=exploration.best, infeasible=None, score=exploration.score)
    for line in (answer, *exploration.baselines):
        evaluation, short = line.evaluation, line.infeasible
        value = (words.objective(exploration, line.score),) if other else ()
        if evaluation is not None:
            table.add_row(
                line.name,
                *value,
                f"{evaluation.samples_per_s:,.1f}",
                f"{best / evaluation.samples_per_s:.3f}",
                percent(evaluation.model_flops_utilisation),
                words.plan(evaluation),
            )
        else:
            table.add_row(
                line.name, *value, "-", "-", "-", f"infeasible: {infeasible_line(short)}" if short else "infeasible"
            )
    return table


def chip_columns(chips: Chips, budget: Budget) -> dict[str, object]:
    """Return the chips of a space as columns of plain values, with the chip to compare with."""
    columns = (
        "tensor_cores", "array_rows", "array_columns", "vector_cores", "vector_lanes", "buffer_bytes", "area_mm2",
    )  # fmt: skip
    peer = tpuv4()
    table = {column: getattr(chips, column).tolist() for column in columns}
    named = {"tpuv4": {column: getattr(peer, column)[0].item() for column in columns}}
    return {"budget_mm2": budget.area_mm2, "named": named, "space": table}


def show_chips(chips: Chips, budget: Budget, settings: tuple[Setting, ...]) -> None:
    """Print the extent of the space, the chips to compare with and the settings."""
    peer, console = tpuv4(), screen()
    console.print(
        f"space phaze: {len(chips):,} chips within {budget.area_mm2:.2f} mm², "
        f"{chips.area_mm2.min():.2f} to {chips.area_mm2.max():.2f} mm²"
    )
    for label, column in (
        ("tensor cores", chips.tensor_cores),
        ("array rows", chips.array_rows),
        ("array columns = vector lanes", chips.array_columns),
        ("vector cores", chips.vector_cores),
        ("buffer, MiB", chips.buffer_bytes // MIB),
    ):
        console.print(f"  {label}: {', '.join(str(value) for value in sorted(set(column.tolist())))}")
    console.print(f"tpuv4: {name(peer, 0)} (PHAZE's TPUv4-like chip), {peer.area_mm2[0]:.2f} mm²")
    for setting in settings:
        console.print(f"setting {setting.name}: {setting.description}")
