"""A joint search of shape, chip and plan in the terminal: the answer, its certificate, and each choice on its own."""

from __future__ import annotations

from rich.table import Table

from hardplace.branch_and_bound.types import Stop
from hardplace.certificate import at_most, percent_at_most
from hardplace.report import text as words
from hardplace.report.console import headed, screen
from hardplace.shaping.joint.types import Fitted, ShapeDesignResult
from hardplace.shaping.types import FIELDS
from hardplace.units import format_quantity, percent


def show(found: ShapeDesignResult) -> None:
    """Print the answer, what it wins over each choice on its own, and the certificate."""
    console = screen()
    frozen = f", {', '.join(found.frozen)} frozen" if found.frozen else ""
    console.print(
        headed(
            found.model,
            f": {words.parameters(found.parameters, 3)} +-{percent(found.share)}{frozen}, sequence "
            f"{found.sequence_length}, batch {found.batch_samples}, {found.devices} devices, setting {found.setting}",
        )
    )
    best, speed = found.best, found.best.evaluation
    answer = Table.grid(padding=(0, 2))
    answer.add_row("shape", f"{sizes(best)}, {words.parameters(best.parameters, 3)}, {best.divides}")
    answer.add_row("changes", ", ".join(best.changes) or "none: the model's own shape")
    answer.add_row("chip", f"{words.chip(speed.chip)}, {words.area(speed.chip.area_mm2)}")
    answer.add_row("plan", words.plan(speed))
    answer.add_row(
        "speed",
        f"{speed.samples_per_s:,.1f} samples/s, step {format_quantity(speed.placement.batch_s, 's')}, "
        f"MFU {percent(speed.model_flops_utilisation)}; {scored(found)}",
    )
    answer.add_row("certificate", certificate(found))
    answer.add_row("discarded", account(found))
    if best.risks:
        answer.add_row("caveats", f"{best.tier.value}: {'; '.join(best.risks)}; quality is not predicted")
    console.print(answer)
    console.print(comparison(found))
    for note in found.notes:
        console.print(f"note: {note}")


def sizes(one: Fitted) -> str:
    """Return a shape's fields in words."""
    shape = one.shape
    kv = f" ({shape.kv_heads} KV)" if shape.kv_heads != shape.heads else ""
    return (
        f"{shape.layers} layers of {shape.hidden}, {shape.heads} heads{kv} of {shape.head_dim}, MLP {shape.ffn}, "
        f"vocabulary {shape.vocab}"
    )


def scored(found: ShapeDesignResult) -> str:
    """Return what the score is, and the answer's over the model's own shape on its best chip."""
    what = "raw" if found.raw else "for each parameter"
    return f"{found.score / found.base.score:.3f} times the model's own shape on its best chip ({what})"


def certificate(found: ShapeDesignResult) -> str:
    """Return the certificate in a sentence."""
    what = f"{found.candidates:,} candidates ({found.shapes:,} shapes x {found.chips:,} chips x plans)"
    unit = "samples/s" if found.raw else "samples/s at the model's parameters"
    left = (
        f"faster than this one by more than {percent_at_most(found.gap)}" if found.gap > 0 else "faster than this one"
    )
    return f"None of the {what} can be {left}: score {found.score:,.1f}, bound {at_most(found.bound, 5)} {unit}."


def account(found: ShapeDesignResult) -> str:
    """Return what discarded the candidates, and why the search stopped."""
    levels = ", ".join(f"{level.discarded:,} by {level.name}" for level in found.levels if level.discarded)
    why = "optimal" if found.stop is Stop.OPTIMAL else found.stop.value
    return f"{levels}; {found.opened} shapes laid out; {why} after {found.seconds:.1f} s"


def choices(found: ShapeDesignResult) -> tuple[tuple[str, Fitted], ...]:
    """Return what is compared: the chip chosen alone, then the shape for it, and all together."""
    return (
        ("chip alone (own shape)", found.base),
        ("then shape (that chip)", found.then_shape),
        ("shape, chip and plan together", found.best),
    )


def comparison(found: ShapeDesignResult) -> Table:
    """Return the answer beside the model's own shape on its best chip, and the best shape for that chip."""
    table = Table("", "score", "gain", "shape", "chip", "plan", box=None)
    for label, one in choices(found):
        shape = one.shape
        table.add_row(
            label,
            f"{one.score:,.1f}",
            f"{one.score / found.base.score:.3f}",
            " ".join(str(getattr(shape, name)) for name in FIELDS),
            one.evaluation.chip.name,
            words.plan(one.evaluation),
        )
    return table
