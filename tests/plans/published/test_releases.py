"""The release of a published run's software, and the attention kernels that it had."""

import pytest

from hardplace.cost.gpu.cudnn import CUDNN_HOPPER
from hardplace.plans.published.releases import attention_of, is_nemo_1, release_of


def row(source: str = "", *, device: str = "H100-80GB", flash: str = "1", **cells: str) -> dict[str, str]:
    return {"source": source, "device": device, "flash_attention": flash} | cells


@pytest.mark.parametrize(
    ("cells", "release"),
    [
        ({"source": "github.com/x/y@8cfedd7 docs/performance_long_sequence.md (NeMo 24.03, H100)"}, (2024, 3)),
        ({"source": "README (24.09 recipes, DGX H100)"}, (2024, 9)),
        (
            {"source": "github.com/mlcommons/training_results_v4.0@62f111b x/eos_n64_ngc24.04_nemo/gpt3/r.txt"},
            (2024, 4),
        ),
        ({"source": "github.com/mlcommons/training_results_v5.1 Dell/results/1xXE9680Lx8B200/r.txt"}, (2025, 9)),
        ({"source": "docs", "note": "26.04.01 NeMo Container; LLAMA3"}, (2026, 4)),
        ({"source": "docs", "note": "Paxml container 23.10; 42.24 sequences a second"}, (2023, 10)),
        ({"source": "x", "software": "NeMo 24.07", "note": "step 25.11 s"}, (2024, 7)),
        ({"source": "x", "year": "2024"}, (2024, 7)),
        ({"source": "github.com/x/y benchmarks/llama3_h100_202412_x.md"}, (2024, 7)),
        ({"source": "arXiv:2412.19437 DeepSeek-V3"}, (2024, 12)),
        ({"source": "github.com/x/y", "note": "took 24.05 s, 25.11 TFLOP"}, None),
    ],
)
def test_the_release_is_what_container_round_year_or_paper_say(
    cells: dict[str, str], release: tuple[int, int] | None
) -> None:
    assert release_of(row(**cells)) == release


@pytest.mark.parametrize(
    ("device", "year_and_month", "kernels"),
    [
        ("H100-80GB", "23.10", "fa2"),
        ("H100-80GB", "24.03", CUDNN_HOPPER),
        ("H200", "24.09", CUDNN_HOPPER),
        ("H100-80GB", "24.12", ""),
        ("GB200", "25.09", ""),
        ("A100-80GB", "23.10", ""),
    ],
)
def test_software_that_runs_cudnn_has_that_of_its_release(device: str, year_and_month: str, kernels: str) -> None:
    assert attention_of(row(f"(NeMo {year_and_month})", device=device), "megatron-core") == kernels


def test_others_and_runs_without_the_kernel_are_as_they_were() -> None:
    assert attention_of(row("(NeMo 24.03)", flash="0"), "megatron-core") == ""
    assert attention_of(row("(NeMo 24.03)"), "fsdp-eager") == ""
    assert attention_of(row("x"), "megatron-core") == ""
    assert attention_of(row("x", year="2024"), "torchtitan") == "default"


@pytest.mark.parametrize(
    ("source", "device", "first"),
    [
        ("NVIDIA NeMo Framework docs 24.07 performance summary", "H100-80GB", True),
        ("docs.nvidia.com/nemo-framework/user-guide/24.12 (NeMo 24.12)", "H100-80GB", False),
        ("NVIDIA NeMo Framework docs 24.07 performance summary", "A100-80GB", False),
        ("github.com/x/y (24.03 container)", "H100-80GB", False),
    ],
)
def test_nemo_before_its_second_kept_remainders_of_weights(source: str, device: str, first: bool) -> None:
    assert is_nemo_1(row(source, device=device)) is first
