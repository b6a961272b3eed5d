"""An audit in the terminal and as a page: every GEMM of a step, every rule with what breaking it costs."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from hardplace.report import style
from hardplace.report import text as words
from hardplace.report.console import headed, screen
from hardplace.report.rendering import rendered
from hardplace.report.reproduce import reproduction
from hardplace.shaping.audit import Audit
from hardplace.shaping.gemms import GemmRow
from hardplace.shaping.rule import CodesignRule, Verdict
from hardplace.units import format_quantity, percent

_SHOWN = 24  # GEMMs in the terminal; the page has all
_INKS = {Verdict.PASS: "green", Verdict.WARN: "yellow", Verdict.FAIL: "red", Verdict.VOID: "dim"}
_COLOURS = {Verdict.PASS: style.GREEN, Verdict.WARN: style.ORANGE, Verdict.FAIL: style.RED, Verdict.VOID: style.GREY}
_LOW = ((0.5, style.RED), (0.7, style.ORANGE))  # share of the best GEMM's rate, below which a bar is so coloured
GEMM_HEADS = ("GEMM", "count", "m x n x k", "batch", "layout", "aligned, bytes", "tile", "waves", "wave eff.", "edges",
              "TFLOP/s", "of step")  # fmt: skip


def show_audit(audit: Audit) -> None:
    """Print the step, its GEMMs and the rules."""
    console = screen()
    console.print(headed(audit.model, f" on {audit.device} ({audit.title}): {conditions(audit)}"))
    shares = ", ".join(f"{name} {percent(share)}" for name, share in audit.shares)
    console.print(f"forward and backward of a micro-batch: {format_quantity(audit.step_s, 's')}: {shares}\n")
    if audit.rules:
        console.print(worst(audit))
        console.print()
        rules = Table("rule (arXiv 2401.14489)", "value", "verdict", "costs", "smallest fix", box=None)
        order = (Verdict.FAIL, Verdict.WARN, Verdict.PASS, Verdict.VOID)
        for rule in sorted(audit.rules, key=lambda rule: (order.index(rule.verdict), -(rule.cost or 0.0))):
            rules.add_row(
                rule.name, rule.value, Text(rule.verdict.value, _INKS[rule.verdict]), cost(rule), rule.fix or "-"
            )
        console.print(rules)
        console.print()
    table = Table(*GEMM_HEADS, box=None)
    for row in audit.gemms[:_SHOWN]:
        table.add_row(*gemm_cells(row))
    console.print(table)
    if len(audit.gemms) > _SHOWN:
        left = sum(row.share for row in audit.gemms[_SHOWN:])
        console.print(
            f"and {len(audit.gemms) - _SHOWN} more sizes, {percent(left)} of the step (the JSON and the page have them)"
        )
    for note in audit.notes:
        console.print(f"note: {note}")


def worst(audit: Audit) -> str:
    """Return how many rules are broken, and the fix that saves most."""
    broken = [rule for rule in audit.rules if rule.verdict is Verdict.FAIL]
    if not broken:
        return "no rule fails"
    most = max(broken, key=lambda rule: rule.cost or 0.0)
    fix = f"; largest: {most.name}, {cost(most)} of the step, mended by: {most.fix}" if most.cost and most.fix else ""
    return f"{words.plural(len(broken), 'rule')} of {len(audit.rules)} {'fails' if len(broken) == 1 else 'fail'}{fix}"


def conditions(audit: Audit) -> str:
    """Return what the audit's step runs in, in words."""
    one = audit.conditions
    parts = [f"micro-batch {one.micro_batch}", f"tensor parallel {one.tensor}", f"attention {one.attention}"]
    if one.sequence:
        parts.insert(2, "sequence parallel")
    if one.pipeline > 1:
        parts.append(f"{one.pipeline} pipeline stages")
    if audit.shape is not None:
        parts.append(f"{audit.shape.sequence} tokens")
    return ", ".join(parts)


def gemm_cells(row: GemmRow) -> tuple[str, ...]:
    """Return a GEMM's cells, in the order of GEMM_HEADS."""
    what = ", ".join(row.what[:2]) + (f" and {len(row.what) - 2} more" if len(row.what) > 2 else "")
    return (
        what,
        str(row.count),
        f"{row.m} x {row.n} x {row.k}",
        str(row.batch),
        row.layout,
        "/".join(map(str, row.alignment_bytes)),
        row.tile,
        "-" if row.waves is None else str(row.waves),
        "-" if row.wave_efficiency is None else f"{percent(row.wave_efficiency, 0)}",
        "-" if row.edge_efficiency is None else f"{percent(row.edge_efficiency, 0)}",
        f"{row.flops_per_s / 1e12:.0f}",
        f"{percent(row.share)}",
    )


def cost(rule: CodesignRule) -> str:
    """Return what a rule's breach costs as a share of the step."""
    if rule.cost is None:
        return "-"
    return f"{percent(rule.cost)}" if rule.cost >= 0.0005 else "nothing"


def page(audit: Audit, command: str = "") -> str:
    """Return the HTML page: rules, GEMMs by share and rate, and the table.

    Args:
        audit: The audit.
        command: The command that asked for it, if one did.
    """
    best = max((row.flops_per_s for row in audit.gemms), default=1.0)
    return rendered(
        "audit.html",
        audit=audit,
        conditions=conditions(audit),
        worst=worst(audit) if audit.rules else "No rules for this model",
        reproduction=reproduction(audit, command),
        rules=[(rule, _COLOURS[rule.verdict], cost(rule)) for rule in audit.rules],
        counts=[(verdict.value, sum(rule.verdict is verdict for rule in audit.rules)) for verdict in Verdict],
        heads=GEMM_HEADS,
        cells=[gemm_cells(row) for row in audit.gemms],
        bars=_bars(audit, best),
        best=format_quantity(best, "FLOP/s"),
    )


def _bars(audit: Audit, best: float) -> list[tuple[float, float, float, float, str, str]]:
    """Return x, width, y, height, colour and title of each GEMM: width is its share of the GEMMs' time, height its
    rate over the best one's."""
    total = sum(row.share for row in audit.gemms)
    found, x = [], 60.0
    for row in audit.gemms:
        width, rate = 640.0 * row.share / total, row.flops_per_s / best
        colour = next((ink for below, ink in _LOW if rate < below), style.BLUE)
        what = f"{', '.join(row.what)}: {row.m} x {row.n} x {row.k}"
        title = f"{what}, {row.flops_per_s / 1e12:.0f} TFLOP/s, {percent(row.share)} of the step"
        found.append((x, max(0.5, width - 0.8), 200.0 - 180.0 * rate, 180.0 * rate, colour, title))
        x += width
    return found
