"""cuDNN's attention kernels on Hopper and Blackwell, by release, in 16 bit and in fp8, from measurements of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from hardplace.cost.gpu.datasheet import flops_per_clock
from hardplace.cost.gpu.types import AttentionParameters, Datasheet

CUDNN, CUDNN_FP8 = "cudnn", "cudnn-fp8"
# 16-bit kernels of releases before: 9.0 to 9.3 on Hopper, 9.10 to 9.13 on Blackwell, where 9.7 was the first.
CUDNN_HOPPER, CUDNN_BLACKWELL = "cudnn-9.0", "cudnn-9.10"
HEAD_DIMS = (128, 160)  # of Llama 3.1, and the mean of DeepSeek-V3's 192 and 128
_HOPPER, _BLACKWELL = 4096.0, 8192.0  # tensor FLOPs a clock of a multiprocessor


@dataclass(frozen=True, slots=True, kw_only=True)
class CudnnFigures:
    """What differs from trtllm's figures; efficiencies above 1 are of kernels in fp8, over the peak in 16 bit."""

    head_dims: tuple[int, ...] = HEAD_DIMS
    efficiency: tuple[float, ...]
    exponentials_per_cycle: float
    backward: float
    causal: float
    launch_s: float
    block_start_s: float
    dram_efficiency: float
    heat: float = 0.0
    heat_s: float = 0.05


# benchmarks/cudnn_attention.py, by generation and whether it is the Ultra one, whose exponentials are twice as fast:
# NVIDIA/cudnn-frontend's benchmark of attention (cuDNN 9.17 to 9.27; 9.10 and 9.13) on H200, GB200, GB300 and B200, and
# on Hopper before 9.4, H100 in Shah et al. 2024 (arXiv 2407.08608, Fig. 5 and 6).
_FIGURES: dict[tuple[float, bool], dict[str, CudnnFigures]] = {
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
            exponentials_per_cycle=17.8,
            backward=5.61,
            causal=0.0189,
            launch_s=5.34e-6,
            block_start_s=8.23e-7,
            dram_efficiency=0.688,
        ),
        CUDNN_HOPPER: CudnnFigures(
            head_dims=(64, 128, 256),
            efficiency=(0.462, 0.637, 0.596),
            exponentials_per_cycle=16.8,
            backward=2.93,
            causal=0.113,
            launch_s=2.8e-6,
            block_start_s=1.3e-6,
            dram_efficiency=0.904,
        ),
    },
    (_BLACKWELL, False): {
        CUDNN: CudnnFigures(
            efficiency=(0.822, 0.755),
            exponentials_per_cycle=17.1,
            backward=3.12,
            causal=0.00715,
            launch_s=2.67e-6,
            block_start_s=3.53e-6,
            dram_efficiency=0.374,
            heat=0.293,
            heat_s=0.052,
        ),
        CUDNN_FP8: CudnnFigures(
            efficiency=(1.1, 1.13),
            exponentials_per_cycle=24.1,
            backward=3.59,
            causal=0.0173,
            launch_s=2.56e-6,
            block_start_s=3.19e-6,
            dram_efficiency=0.802,
        ),
        CUDNN_BLACKWELL: CudnnFigures(
            efficiency=(0.846, 0.777),
            exponentials_per_cycle=17.5,
            backward=3.06,
            causal=0.02,
            launch_s=2.8e-6,
            block_start_s=1.07e-5,
            dram_efficiency=0.698,
            heat=0.313,
            heat_s=0.115,
        ),
    },
    (_BLACKWELL, True): {
        CUDNN: CudnnFigures(
            efficiency=(1.03, 0.88),
            exponentials_per_cycle=20.8,
            backward=3.55,
            causal=0.0114,
            launch_s=3.0e-6,
            block_start_s=2.66e-6,
            dram_efficiency=0.355,
            heat=0.334,
            heat_s=0.141,
        ),
        CUDNN_FP8: CudnnFigures(
            efficiency=(1.48, 1.49),
            exponentials_per_cycle=37.8,
            backward=4.23,
            causal=0.00379,
            launch_s=2.92e-6,
            block_start_s=2.51e-6,
            dram_efficiency=0.501,
        ),
        CUDNN_BLACKWELL: CudnnFigures(
            efficiency=(0.923, 0.789),
            exponentials_per_cycle=18.7,
            backward=3.25,
            causal=0.02,
            launch_s=2.8e-6,
            block_start_s=7.06e-6,
            dram_efficiency=0.697,
            heat=0.217,
            heat_s=0.0692,
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
    made = {name: replace(base, **asdict(one)) for name, one in figures.items()}
    return made | dict(known)
