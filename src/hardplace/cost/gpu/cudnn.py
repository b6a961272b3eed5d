"""cuDNN's attention kernels on Hopper and Blackwell, in 16 bit and in fp8, from NVIDIA's own measurements of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hardplace.cost.gpu.datasheet import flops_per_clock
from hardplace.cost.gpu.types import AttentionParameters, Datasheet

CUDNN, CUDNN_FP8 = "cudnn", "cudnn-fp8"
HEAD_DIMS = (128, 160)  # of Llama 3.1, and the mean of DeepSeek-V3's 192 and 128
_HOPPER, _BLACKWELL = 4096.0, 8192.0  # tensor FLOPs a clock of a multiprocessor


@dataclass(frozen=True, slots=True, kw_only=True)
class CudnnFigures:
    """What differs from trtllm's figures; efficiencies above 1 are of kernels in fp8, over the peak in 16 bit."""

    efficiency: tuple[float, float]
    exponentials_per_cycle: float
    backward: float
    causal: float
    launch_s: float
    block_start_s: float
    dram_efficiency: float


# benchmarks/makers_attention.py on NVIDIA/cudnn-frontend's benchmark/sdpa_benchmark_training (cuDNN 9.19 on H200,
# GB200, GB300): by generation and whether it is the Ultra one, whose exponentials are twice as fast.
_FIGURES = {
    (_HOPPER, False): {
        CUDNN: CudnnFigures(
            efficiency=(0.811, 0.724),
            exponentials_per_cycle=17.0,
            backward=3.26,
            causal=0.0202,
            launch_s=2.67e-6,
            block_start_s=5.54e-6,
            dram_efficiency=0.695,
        ),
        CUDNN_FP8: CudnnFigures(
            efficiency=(1.09, 0.80),
            exponentials_per_cycle=17.5,
            backward=5.61,
            causal=0.0188,
            launch_s=5.32e-6,
            block_start_s=7.95e-7,
            dram_efficiency=0.701,
        ),
    },
    (_BLACKWELL, False): {
        CUDNN: CudnnFigures(
            efficiency=(0.868, 0.739),
            exponentials_per_cycle=17.4,
            backward=3.17,
            causal=0.0199,
            launch_s=2.76e-6,
            block_start_s=3.69e-6,
            dram_efficiency=0.49,
        ),
        CUDNN_FP8: CudnnFigures(
            efficiency=(1.12, 1.13),
            exponentials_per_cycle=23.2,
            backward=3.59,
            causal=0.017,
            launch_s=2.57e-6,
            block_start_s=3.2e-6,
            dram_efficiency=0.811,
        ),
    },
    (_BLACKWELL, True): {
        CUDNN: CudnnFigures(
            efficiency=(1.02, 0.838),
            exponentials_per_cycle=19.6,
            backward=3.48,
            causal=0.0189,
            launch_s=2.51e-6,
            block_start_s=2.69e-6,
            dram_efficiency=0.379,
        ),
        CUDNN_FP8: CudnnFigures(
            efficiency=(1.48, 1.49),
            exponentials_per_cycle=37.6,
            backward=4.23,
            causal=0.0029,
            launch_s=2.79e-6,
            block_start_s=2.54e-6,
            dram_efficiency=0.497,
        ),
    },
}


def with_cudnn(
    known: Mapping[str, AttentionParameters], sheet: Datasheet, *, ultra: bool
) -> dict[str, AttentionParameters]:
    """Return figures by backend with cuDNN's on NVIDIA's GPUs since Hopper; ultra: exponentials as of Blackwell Ultra.

    A GPU that has figures of its own for one of them keeps those.
    """
    rate, base = flops_per_clock(sheet), known.get("trtllm")
    if sheet.vendor != "NVIDIA" or rate < _HOPPER or base is None:
        return dict(known)
    newer = rate >= _BLACKWELL
    figures = _FIGURES[_BLACKWELL if newer else _HOPPER, newer and ultra]
    made = {
        name: replace(
            base,
            head_dims=HEAD_DIMS,
            efficiency=one.efficiency,
            exponentials_per_cycle=one.exponentials_per_cycle,
            backward=one.backward,
            causal=one.causal,
            launch_s=one.launch_s,
            block_start_s=one.block_start_s,
            dram_efficiency=one.dram_efficiency,
        )
        for name, one in figures.items()
    }
    return made | dict(known)
