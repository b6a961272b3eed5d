"""Large products of GPUs as they were measured: far below the peak by the board power, or above their datasheet's."""

from pathlib import Path

import numpy as np
import pytest

import hardplace.hardware
from hardplace.cost.gpu.datasheet import datasheet
from hardplace.cost.gpu.gemm import gemm_s, gemms
from hardplace.cost.gpu.models import gpu_model
from hardplace.errors import BadInput
from hardplace.hardware.catalogue import device, read_device

DEVICES = Path(hardplace.hardware.__file__).parent / "devices"
# alfredyu24/amd-mi350-benchmarks@fde8824, benchmark_results.md: bf16, TFLOP/s.
MI350X = {
    (8192, 8192, 8192): 1104, (16384, 8192, 7168): 1095, (16384, 16384, 16384): 1059, (16384, 3584, 8192): 1038,
    (16384, 1024, 8192): 1023, (4096, 4096, 4096): 969, (16384, 8192, 1280): 901,
}  # fmt: skip


def rates(name: str, shapes: list[tuple[int, int, int]]) -> np.ndarray:
    model = gpu_model(name)
    m, n, k = np.array(shapes).T
    return 2.0 * m * n * k / gemm_s(gemms(m, n, k), [(model.datasheet, model.gemm)]).ravel()


@pytest.mark.parametrize("name", ["mi300x", "mi325x", "rtx-4090", "rtx-5090"])
def test_a_large_product_reaches_the_measured_rate(name):
    found = rates(name, [(8192, 8192, 8192)])[0]
    assert found == pytest.approx(device(name).engine.matmul_flops_per_s, rel=0.01)


def test_products_of_mi350x_are_near_those_measured():
    """Before its power was known by a measured rate they were 75 % too fast, by H100's share of the peak."""
    errors = np.abs(rates("mi350x", list(MI350X)) / 1e12 / np.array(list(MI350X.values())) - 1.0)
    assert errors.mean() < 0.06
    assert errors.max() < 0.15


def test_a_board_of_the_same_design_with_more_power_is_faster_by_what_was_measured():
    slower, faster = (rates(name, [(8192, 8192, 8192)])[0] for name in ("mi350x", "mi355x"))
    assert slower < faster <= 1.5 * slower


def test_a_card_sold_with_half_of_the_tensor_rate_runs_above_the_clock_of_its_datasheet():
    """They were 147 and 188 TFLOP/s by the share of the peak of L40S and RTX PRO 6000, whose power bounds them."""
    for name, ratio in (("rtx-4090", 1.1), ("rtx-5090", 1.2)):
        found, sheet = gpu_model(name).datasheet, datasheet(device(name))
        assert found.clock_hz / sheet.clock_hz == pytest.approx(ratio, abs=0.03)
        assert found.tensor_flops_per_s / sheet.tensor_flops_per_s == found.clock_hz / sheet.clock_hz
        assert device(name).peak_flops_per_s("bf16") == sheet.tensor_flops_per_s  # MFU is of the datasheet's peak
    assert gpu_model("mi300x").datasheet == datasheet(device("mi300x"))


def test_products_in_fp8_on_blackwell_cards_run_at_the_whole_rate_of_their_tensor_cores():
    """cuBLASLt's best in e4m3, TFLOP/s: 773.5 on 5090, 905 on RTX PRO 6000, 354 on 4090 (xzwgit/gpu-flops-bench)."""
    for name, best in (("rtx-5090", 773.5e12), ("rtx-pro-6000", 905.3e12)):
        assert best / 1.1 < device(name).peak_flops_per_s("fp8") < 1.1 * best
    assert device("rtx-4090").peak_flops_per_s("fp8") == pytest.approx(2 * 165.2e12, rel=0.01)


def test_a_measured_rate_of_products_far_above_the_peak_is_refused(tmp_path):
    shipped = (DEVICES / "mi300x.toml").read_text()
    path = tmp_path / "mine.toml"
    path.write_text(shipped.replace('matmul = ["614 TFLOP/s"', 'matmul = ["1700 TFLOP/s"'))
    assert path.read_text() != shipped
    with pytest.raises(BadInput, match=r"gpu\.matmul: 1\.7e\+15: expected at most 1\.25 times the peak, 1\.634e\+15"):
        read_device(path)


def test_a_device_without_a_measured_rate_keeps_the_figures_of_its_relative():
    assert device("mi250x-gcd").engine.matmul_flops_per_s is None
    assert gpu_model("mi250x-gcd").gemm.joule_per_flop == gpu_model("mi210").gemm.joule_per_flop
