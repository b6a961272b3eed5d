"""Kernels of AMD's GPUs since CDNA 3 that are not carried from a relative: AITER's attention in 16 bit, and the
permutation of tokens to experts, from their makers' measurements.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from hardplace.cost.gpu.datasheet import flops_per_clock
from hardplace.cost.gpu.types import GpuModel
from hardplace.cost.layers.types import Stream

AITER = "aiter"
_CDNA3, _CDNA4 = 2048.0, 4096.0  # tensor FLOPs a clock of a compute unit


@dataclass(frozen=True, slots=True, kw_only=True)
class AmdFigures:
    """What differs from FA2's figures of attention (`AttentionParameters`), and the share of the memory bandwidth that
    a permutation of tokens reaches with its bytes as they are counted here (docs/model-gpu.md, AMD's kernels)."""

    head_dims: tuple[int, ...]
    efficiency: tuple[float, ...]
    backward_of: tuple[float, ...]
    exponentials_per_cycle: float
    causal: float
    launch_s: float
    block_start_s: float
    dram_efficiency: float
    dispatch: float


# benchmarks/aiter_attention.py on AMD-AGI/Primus-Turbo@221d75f (MI300X, both passes), ROCm/aiter#3390 (MI355X,
# forward) and #815 (MI355X, backward, heads of 128). 160: the mean of DeepSeek-V3's 192 and 128. dispatch: MI300X
# Primus-Turbo@932b9e7, MI355X AMD-AGI/Primus@fb0603b.
_FIGURES = {
    _CDNA3: AmdFigures(
        head_dims=(64, 128, 160),
        efficiency=(0.336, 0.418, 0.396),
        backward_of=(2.71, 3.15, 9.62),
        exponentials_per_cycle=17.0,
        causal=0.0795,
        launch_s=2.75e-6,
        block_start_s=8.02e-6,
        dram_efficiency=0.692,
        dispatch=0.51,
    ),
    _CDNA4: AmdFigures(
        head_dims=(128, 160),
        efficiency=(0.542, 0.544),
        backward_of=(2.97, 2.97),
        exponentials_per_cycle=17.0,
        causal=0.0626,
        launch_s=4.08e-6,
        block_start_s=3.65e-7,
        dram_efficiency=0.701,
        dispatch=0.64,
    ),
}
# The clock is what the board power leaves: rates of attention at another power over those of the board measured, at
# equal clocks. MI325X as AMD's max-achievable FLOPs (843 and 708 TFLOP/s); MI350X as Composable Kernel's forward pass
# there and on MI355X (0.77: Vivicai1005/HipKittens@e4102ff, analysis/attn/fwd/plot.py), over the ratio of the clocks.
_OTHER_POWER = {(_CDNA3, 1000.0): 843 / 708, (_CDNA4, 1000.0): 0.77 * 2400 / 2200}


def with_amd(model: GpuModel) -> GpuModel:
    """Return a GPU's model with what AMD's kernels take, on its GPUs that were measured; others as they are."""
    sheet, base = model.datasheet, model.attention.get("fa2")
    figures = _FIGURES.get(flops_per_clock(sheet))
    if sheet.vendor != "AMD" or figures is None or base is None:
        return model
    faster = _OTHER_POWER.get((flops_per_clock(sheet), sheet.power_w), 1.0)
    own = asdict(figures)
    dispatch = replace(model.streams[Stream.DISPATCH.value], efficiency=own.pop("dispatch"))
    attention = replace(
        base,
        **own
        | {
            "efficiency": tuple(float(f"{one * faster:.4g}") for one in figures.efficiency),
            "exponentials_per_cycle": figures.exponentials_per_cycle * faster,
        },
    )
    # No kernel there is known to reach what AITER's do not: a relative's share of the peak is held to theirs.
    held = attention if max(base.efficiency) > max(attention.efficiency) else base
    attentions = {AITER: attention, **model.attention, "fa2": held}
    return replace(model, attention=attentions, streams={**model.streams, Stream.DISPATCH.value: dispatch})
