"""Operators of a model on a described accelerator."""

from __future__ import annotations

import pytest

import hardplace as hp
from hardplace.cost.one_chip.described_kernels import described_chip
from hardplace.workload.types import Phase


def test_a_models_products_are_all_priced_and_none_beats_the_peak() -> None:
    found = hp.operators("vgg-16", "ultratrail")
    workload = hp.load("vgg-16")
    layers = {index: workload.layers[index] for index in set(workload.order)}
    times = {index: workload.order.count(index) for index in layers}
    flops = sum(
        times[index] * operator.flops.at(1)
        for index, layer in layers.items()
        for operator in layer.operators
        if operator.phase is Phase.FORWARD
    )
    forward = [kernel for kernel in found.kernels if kernel.phase == "forward"]
    assert sum(found.counts[kernel.layer] * kernel.flops for kernel in forward) == pytest.approx(flops, rel=1e-12)
    assert max(kernel.utilisation for kernel in found.kernels) <= 1.0
    assert found.peak_flops_per_s == 2 * 64 * 250e3
    assert found.energy_j == 0.0
    assert "energy is left out" in found.notes[3]
    assert " W;" not in str(found)


def test_peaks_are_those_of_the_descriptions() -> None:
    peaks = {
        name: described_chip(name).peak_macs_per_cycle for name in ("gemmini", "ultratrail", "plasticine", "eyeriss")
    }
    assert peaks == {"gemmini": 256, "ultratrail": 64, "plasticine": 4 * 16 * 6, "eyeriss": 168}


def test_an_operator_that_no_mapping_fits_says_what_is_short() -> None:
    with pytest.raises(hp.BadInput, match="results for the smallest tiles of softmax"):
        hp.operators("gpt2-xl", "ultratrail")
