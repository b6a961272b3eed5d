"""When the software of a published run was released, and whose attention kernels it had.

Containers say it (NVIDIA's are named by year and month), MLPerf's rounds, the year of a row, or its paper. cuDNN 9.0 of
February 2024 is up to 1.5 times as fast on Hopper as 8.9.7, 9.4 of September 2024 1.05 to 1.3 times as 9.3 (their
release notes). Not on Blackwell, whose runs had cuDNN newer than their containers' (docs/decisions/0019).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from hardplace.cost.gpu.cudnn import CUDNN_HOPPER
from hardplace.cost.layers.software import SOFTWARE, TORCHTITAN, TORCHTITAN_EAGER

TITANS = (TORCHTITAN, TORCHTITAN_EAGER)
_HOPPER = ("H100", "H200", "H800", "H20", "GH200")
# Of a container: "NeMo 24.03", "ngc24.04", "26.08 NeMo Container", "(24.09 recipes", "user-guide/24.12".
_CONTAINER = re.compile(
    r"(?:nemo[-a-z]*|ngc|container|pytorch|docs|user-guide|hbm3?e?_n\d+)[ _/]{0,2}(2\d)\.(0\d|1[0-2])(?!\d)|"
    r"(?<![\d.])(2\d)\.(0\d|1[0-2])(?:\.\d\d)?(?: |_)(?:nemo|recipes|container)",
    re.IGNORECASE,
)
_ROUND = re.compile(r"training_results_v(\d)\.(\d)")
_ROUNDS = {"3.0": (2023, 5), "3.1": (2023, 10), "4.0": (2024, 4), "4.1": (2024, 9), "5.0": (2025, 4), "5.1": (2025, 9)}
_PAPER = re.compile(r"arXiv:(\d\d)(\d\d)\.\d")
_YEAR = re.compile(r"(?<![0-9a-f])(20[12]\d)(?:[01]\d)?(?![0-9a-f])")
_MIDDLE = 7  # month of a run that says its year alone
# PyTorch's scaled_dot_product_attention took FA2 before cuDNN on Hopper, until the releases that follow 2.8 (August
# 2025; aten/src/ATen/native/transformers/cuda/sdp_utils.cpp, check_prefer_cudnn_attention: asked for at first, since
# then unless TORCH_CUDNN_SDPA_PREFERRED=0); the year is judged.
_SDPA, _FA2_UNTIL = ("fsdp-compiled", *TITANS), 2025
_NEMO_2 = (2024, 9)  # its first release
# The first release of software that has cuDNN's kernels of today, the first that has 9.0's; before it FA2.
_TODAY, _NINE = (2024, 10), (2024, 2)


def year_of(row: Mapping[str, str]) -> int:
    """Return the year that a row's column or the path of its source says; 0: neither does."""
    if text := row.get("year", "").strip():
        return int(float(text))
    said = _YEAR.search(row["source"].partition(" ")[2])
    return int(said[1]) if said else 0


def release_of(row: Mapping[str, str]) -> tuple[int, int] | None:
    """Return year and month of the release of a row's software, as far as it says: of its container, its round of
    MLPerf, its year (the middle), at the latest of its paper; None: it says none."""
    for name in ("software", "source", "note"):
        if said := _CONTAINER.search(row.get(name, "")):
            year, month = (one for one in said.groups() if one)
            return 2000 + int(year), int(month)
    if (said := _ROUND.search(row["source"])) and f"{said[1]}.{said[2]}" in _ROUNDS:
        return _ROUNDS[f"{said[1]}.{said[2]}"]
    if year := year_of(row):
        return year, _MIDDLE
    paper = _PAPER.search(row["source"])
    return (2000 + int(paper[1]), int(paper[2])) if paper else None


def is_nemo_1(row: Mapping[str, str]) -> bool:
    """Return whether a row is of NeMo before NeMo 2 (24.09), on the GPUs on which its configurations take apex's
    distributed_fused_adam with store_param_remainders (megatron_base_model.py, setup_optimization)."""
    release = release_of(row)
    named = any("nemo" in row.get(name, "").lower() for name in ("software", "source"))
    return named and release is not None and release < _NEMO_2 and row["device"].startswith(_HOPPER)


def attention_of(row: Mapping[str, str], software: str) -> str:
    """Return whose attention kernels a row's software ran on Hopper for its release; "": those that it runs today, or
    no kernel. Where it runs cuDNN's, Transformer Engine took FA2 before 9.0, since then cuDNN wherever it can."""
    release = release_of(row)
    if release is None or row["flash_attention"].strip() == "0" or not row["device"].startswith(_HOPPER):
        return ""
    if software in _SDPA and release[0] <= _FA2_UNTIL:
        return "default"
    if software not in SOFTWARE or SOFTWARE[software].attention != "cudnn" or release >= _TODAY:
        return ""
    return CUDNN_HOPPER if release >= _NINE else "fa2"
