"""Every kernel of a model on one chip: a table in the terminal, a page with a roofline."""

from __future__ import annotations

from dataclasses import dataclass

from rich.table import Table

from hardplace.cost.one_chip.array_kernels import KernelCost
from hardplace.cost.one_chip.estimate import OperatorEstimate
from hardplace.report import style
from hardplace.report import text as words
from hardplace.report.console import headed, screen
from hardplace.report.rendering import rendered
from hardplace.report.reproduce import reproduction
from hardplace.report.roofline import RooflineAxes, roofline_axes
from hardplace.units import format_quantity, percent

_COLOURS = {
    "arrays": style.BLUE,
    "lanes": style.GREEN,
    "memory": style.PINK,
    "buffer": style.PURPLE,
    "power": style.ORANGE,
    "launch": style.GREY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """A kernel on the roofline; radius by its share of the seconds."""

    x: float
    y: float
    radius: float
    colour: str
    title: str


def show_estimate(estimate: OperatorEstimate) -> None:
    """Print every kernel and the totals."""
    console = screen()
    console.print(
        headed(
            estimate.model,
            f" on {estimate.chip} ({estimate.title}): {estimate.dtype}, micro-batch "
            f"{estimate.micro_batch}, tensor parallel {estimate.tensor_parallel}",
        )
    )
    shares = ", ".join(f"{name} {percent(share, 0)}" for name, share in estimate.bound_shares)
    joules = estimate.energy_j  # 0: not known
    energy = f", {format_quantity(joules, 'J')}, {joules / estimate.seconds:.0f} W" if joules else ""
    console.print(
        f"all kernels, one after the other on the whole chip: {format_quantity(estimate.seconds, 's')}{energy}; "
        f"bound by {shares}"
    )
    headings = ("kernel", "on", "mapping", "time", "bound by", "of peak", "memory traffic", "FLOPs a byte", "energy")
    for layer, count in estimate.counts.items():
        table = Table(*headings, title=f"{layer}, {count} of them", title_justify="left", box=None)
        for kernel in estimate.kernels:
            if kernel.layer == layer:
                table.add_row(*_cells(kernel))
        console.print(table)
    for note in estimate.notes:
        console.print(f"note: {note}")


def _cells(kernel: KernelCost) -> tuple[str, ...]:
    return (
        f"{kernel.phase} {kernel.name}",
        kernel.engine,
        kernel.mapping or "-",
        format_quantity(kernel.seconds, "s"),
        kernel.bound_by,
        f"{percent(kernel.utilisation, 0)}" if kernel.utilisation else "-",
        format_quantity(kernel.memory_bytes, "B"),
        words.number(kernel.flops / kernel.memory_bytes) if kernel.memory_bytes else "-",
        format_quantity(kernel.energy_j, "J") if kernel.energy_j else "-",
    )


def page(estimate: OperatorEstimate, command: str = "") -> str:
    """Return the HTML page: the roofline with every kernel, and the table.

    Args:
        estimate: The kernels.
        command: The command that asked for them, if one did.
    """
    bandwidth, peak = estimate.memory_bandwidth_bytes_per_s, estimate.peak_flops_per_s
    axes = _axes(estimate, bandwidth, peak)
    return rendered(
        "operators.html",
        estimate=estimate,
        dots=dots(estimate, axes),
        axes=axes,
        slope=axes.slope(bandwidth, peak),
        peak=f"{estimate.dtype}, {format_quantity(peak, 'FLOP/s')}",
        memory=f"{estimate.memory_kind}, {format_quantity(bandwidth, 'B/s')}",
        ridge=words.number(peak / bandwidth),
        colours={name: _COLOURS[name] for name in _COLOURS if name in dict(estimate.bound_shares)},
        cells=[(kernel.layer, *_cells(kernel)) for kernel in estimate.kernels],
        reproduction=reproduction(estimate, command),
    )


def _axes(estimate: OperatorEstimate, bandwidth: float, peak: float) -> RooflineAxes:
    drawn = [kernel for kernel in estimate.kernels if kernel.flops and kernel.memory_bytes]
    rates = [kernel.flops / kernel.seconds for kernel in drawn]
    intensities = [kernel.flops / kernel.memory_bytes for kernel in drawn]
    low = min([0.1, *(value / 1.5 for value in intensities)])
    return roofline_axes(
        intensities=(low, max([10 * peak / bandwidth, *(1.5 * value for value in intensities)])),
        rates=(min([low * bandwidth, *(rate / 1.5 for rate in rates)]), 2 * peak),
        bottom=340.0,
    )


def dots(estimate: OperatorEstimate, axes: RooflineAxes) -> tuple[Dot, ...]:
    """Return a dot for every kernel that computes and moves something; the largest first, so that none is hidden."""
    found = []
    for kernel in estimate.kernels:
        if kernel.flops and kernel.memory_bytes:
            share = kernel.seconds * estimate.counts[kernel.layer] / estimate.seconds
            found.append(
                Dot(
                    x=axes.x.at(kernel.flops / kernel.memory_bytes),
                    y=axes.y.at(kernel.flops / kernel.seconds),
                    radius=2.5 + 22.0 * share**0.5,
                    colour=_COLOURS[kernel.bound_by],
                    title=f"{kernel.layer} {' '.join(_cells(kernel)[:1])}: {format_quantity(kernel.seconds, 's')}, "
                    f"{percent(share)} of the time, bound by {kernel.bound_by}",
                )
            )
    return tuple(sorted(found, key=lambda dot: -dot.radius))
