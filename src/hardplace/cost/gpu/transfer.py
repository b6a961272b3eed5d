"""Carry fitted figures from one GPU to another, by what their datasheets say."""

from __future__ import annotations

from dataclasses import replace

from hardplace.cost.gpu.datasheet import flops_per_clock
from hardplace.cost.gpu.gemm import gemm_s, gemms
from hardplace.cost.gpu.types import AttentionParameters, Datasheet, GemmParameters
from hardplace.hardware.device import FASTEST_CLOCK

HOST_S = 1e-5  # a launch above this is the host's, which a queue hides
_LARGE = 8192  # sides of the product at which a measured rate holds
_HALVINGS = 30  # of the clock that a measured rate needs
_SAME = 1.5  # ratio of FLOPs a clock up to which two multiprocessors count as one design
# Mean absolute error, m >= 1024 and n, k >= 512, of figures carried to another GPU without a row of it measured, by
# whether the multiprocessors are of one design (means over the table in docs/validation-gpu.md): no bounds.
_SAME_DESIGN_ERROR, _OTHER_DESIGN_ERROR = 0.11, 0.15


def same_design(one: Datasheet, other: Datasheet) -> bool:
    """Return whether two GPUs have multiprocessors of about the same rate, of one vendor."""
    ratio = flops_per_clock(one) / flops_per_clock(other)
    return one.vendor == other.vendor and 1 / _SAME < ratio < _SAME


def expected_error(one: Datasheet, other: Datasheet, *, alike: bool = False) -> float:
    """Return the mean error to expect of figures carried between two GPUs, large GEMMs; alike: of one design."""
    return _SAME_DESIGN_ERROR if alike or same_design(one, other) else _OTHER_DESIGN_ERROR


def carried_gemm(
    figures: GemmParameters, source: Datasheet, target: Datasheet, *, alike: bool = False
) -> GemmParameters:
    """Return the GEMM figures of one GPU for another; alike: known to be of one design.

    Of one design: as they are; energy for a FLOP and a byte is physical, so another board power throttles elsewhere.
    Of another: a tile's loads and latencies keep their ratio to its tensor time, and power its share of the peaks, as
    designs are balanced anew. A launch that took the host's time (above 10 us) is cut to that.
    """
    figures = replace(figures, launch_s=min(figures.launch_s, HOST_S))
    if alike or same_design(source, target):
        return figures
    rate = flops_per_clock(target) / flops_per_clock(source)
    tile_time = 1.0 / (rate * target.clock_hz / source.clock_hz)
    watt = target.power_w / source.power_w
    flop = watt * source.tensor_flops_per_s / target.tensor_flops_per_s
    byte = watt * source.memory_bandwidth_bytes_per_s / target.memory_bandwidth_bytes_per_s
    return replace(
        figures,
        tile_bytes_per_cycle=figures.tile_bytes_per_cycle * rate,
        l2_bytes_per_cycle=figures.l2_bytes_per_cycle * rate,
        tile_start_s=figures.tile_start_s * tile_time,
        step_s=figures.step_s * tile_time,
        joule_per_flop=figures.joule_per_flop * flop,
        joule_per_byte=figures.joule_per_byte * byte,
    )


def bounded_gemm(figures: GemmParameters, target: Datasheet, reached_flops_per_s: float) -> GemmParameters:
    """Return figures with which a large product reaches this measured rate, and no more.

    Where it would pass it, the energy of a FLOP is raised so that at the board power the 4-norm of the parts gives the
    rate (docs/model-gpu.md, Other GPUs).
    """
    each = _LARGE**3 * 2.0
    free_s = float(gemm_s(gemms(_LARGE, _LARGE, _LARGE), [(target, figures)]).ravel()[0]) - figures.launch_s
    if each / free_s <= reached_flops_per_s:
        return figures
    own_s = figures.joule_per_flop * each / target.power_w
    power_s = ((each / reached_flops_per_s) ** 4 - free_s**4 + own_s**4) ** 0.25
    return replace(figures, joule_per_flop=power_s * target.power_w / each)


def under_load(figures: GemmParameters, target: Datasheet, reached_flops_per_s: float) -> Datasheet:
    """Return the datasheet at the clock with which a large product reaches this measured rate; itself where it does.

    Cards that are sold with half of the tensor rate draw less than their board power in products and run above the
    clock of their datasheet (docs/model-gpu.md, Other GPUs).
    """
    each = _LARGE**3 * 2.0

    def at(clock: float) -> Datasheet:
        return replace(target, clock_hz=clock * target.clock_hz, tensor_flops_per_s=clock * target.tensor_flops_per_s)

    def rate(sheet: Datasheet) -> float:
        return each / (float(gemm_s(gemms(_LARGE, _LARGE, _LARGE), [(sheet, figures)]).ravel()[0]) - figures.launch_s)

    if rate(target) >= reached_flops_per_s:
        return target
    low, high = 1.0, FASTEST_CLOCK
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if rate(at(middle)) < reached_flops_per_s else (low, middle)
    return at(high)


def carried_attention(figures: AttentionParameters, source: Datasheet, target: Datasheet) -> AttentionParameters:
    """Return the figures of an attention backend of one GPU for another, whose multiprocessors may be faster.

    A kernel written for slower tensor units keeps its FLOPs a clock: FA2 reaches 64 % of A100's peak and 35 % of H100's
    (Shah et al. 2024, FlashAttention-3), where the rate of a multiprocessor is twice as high.
    """
    faster = max(1.0, flops_per_clock(target) / flops_per_clock(source))
    return replace(figures, efficiency=tuple(float(f"{one / faster:.4g}") for one in figures.efficiency))
