"""Collectives against the closed forms of the literature, and against measured machines."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardplace.cost.collectives import algorithms, collective_s
from hardplace.cost.types import Algorithm, Calibration, Collective
from hardplace.hardware.catalogue import node
from hardplace.hardware.types import Cluster, NetworkLevel

NODE = NetworkLevel(name="node", devices=8, bandwidth_bytes_per_s=450e9, latency_s=3e-6)
FABRIC = NetworkLevel(name="fabric", devices=1024, bandwidth_bytes_per_s=50e9, latency_s=14e-6)
FLAT = Cluster(devices=8, levels=(NODE,))
DGX = Cluster(devices=1024, levels=(NODE, FABRIC))
GIGABYTE = 1e9


def costs(cluster: Cluster, collective: Collective, group: int, volume: float) -> dict[str, float]:
    found = algorithms(cluster, collective, group, 1, volume)
    return {name: cost.seconds(Calibration()) for name, cost in found.items()}


def test_all_reduce_on_a_switch_by_hand() -> None:
    found = costs(FLAT, Collective.ALL_REDUCE, 8, GIGABYTE)
    once = GIGABYTE / 450e9
    assert found[Algorithm.RING] == pytest.approx(14 * 3e-6 + 2 * 7 / 8 * once)
    assert found[Algorithm.HALVING] == pytest.approx(6 * 3e-6 + 2 * 7 / 8 * once)
    assert found[Algorithm.DOUBLING] == pytest.approx(3 * (3e-6 + once))
    assert found[Algorithm.TREE] == pytest.approx(6 * 3e-6 + 2 * once)
    assert Algorithm.IN_NETWORK not in found


def test_small_tensors_take_few_steps() -> None:
    found = costs(FLAT, Collective.ALL_REDUCE, 8, 8.0)
    assert min(found, key=lambda name: found[name]) == Algorithm.DOUBLING


def test_reduction_in_the_network_halves_the_bytes_of_a_large_group() -> None:
    switch = Cluster(devices=8, levels=(replace(NODE, in_network=1.0),))
    with_switch, without = (collective_s(one, Collective.ALL_REDUCE, 8, 1, GIGABYTE) for one in (switch, FLAT))
    assert with_switch == pytest.approx(2 * 3e-6 + 9 / 8 * GIGABYTE / 450e9)
    assert with_switch < 0.65 * without


def test_rings_over_all_rails_use_every_device_of_a_node() -> None:
    # 32 devices: 8 x 50 GB/s out of a node is slower than 450 GB/s inside it.
    found = costs(DGX, Collective.ALL_REDUCE, 32, GIGABYTE)
    rings = found["rings over all rails"] - 2 * (4 * 7 * 3e-6 + 3 * 14e-6)
    assert rings == pytest.approx(2 * 31 / 32 * GIGABYTE / 400e9)
    layered = next(seconds for name, seconds in found.items() if "node" in name)
    assert layered == pytest.approx(
        2 * (7 / 8 * GIGABYTE / 450e9 + 3 / 4 * GIGABYTE / 8 / 50e9) + 2 * (3 * 3e-6 + 2 * 14e-6), rel=1e-2
    )


def test_an_all_to_all_between_nodes_waits_for_the_network() -> None:
    seconds = collective_s(DGX, Collective.ALL_TO_ALL, 64, 1, GIGABYTE)
    assert seconds >= (1 - 8 / 64) * GIGABYTE / 50e9


@pytest.mark.parametrize("collective", list(Collective))
def test_a_group_of_one_does_nothing(collective: Collective) -> None:
    assert collective_s(DGX, collective, 1, 1, GIGABYTE) == 0.0


def torus(*axes: int) -> Cluster:
    devices = math.prod(axes)
    level = NetworkLevel(
        name="ICI", devices=devices, bandwidth_bytes_per_s=90e9 * 2 * len(axes), latency_s=1e-6, axes=axes
    )
    return Cluster(devices=devices, levels=(level,))


def test_a_torus_gathers_over_all_its_axes() -> None:
    # scaling-book, "TPUs": V / (W x axes), W both directions of a link pair; all-to-all on a ring is V_total / (4 W).
    ring, square = torus(16), torus(16, 16)
    seconds = collective_s(ring, Collective.ALL_GATHER, 16, 1, GIGABYTE)
    assert seconds == pytest.approx(15 / 16 * GIGABYTE / 180e9 + 8e-6)
    seconds = collective_s(square, Collective.ALL_GATHER, 256, 1, GIGABYTE)
    assert seconds == pytest.approx(255 / 256 * GIGABYTE / 360e9 + 16e-6)
    seconds = collective_s(ring, Collective.ALL_TO_ALL, 16, 1, GIGABYTE / 16)
    assert seconds == pytest.approx(GIGABYTE / (4 * 180e9) + 8e-6)


def test_tpu_v6e_all_reduce_as_published() -> None:
    # tpu-recipes: 606 MB on a 16 x 16 slice at "235.76 GB/s" (bytes / time); 100 GB/s a link one way (scaling-book).
    level = NetworkLevel(name="ICI", devices=256, bandwidth_bytes_per_s=400e9, latency_s=1e-6, axes=(16, 16))
    seconds = collective_s(Cluster(devices=256, levels=(level,)), Collective.ALL_REDUCE, 256, 1, 606e6)
    assert seconds == pytest.approx(606e6 / 235.76e9, rel=0.25)


def test_a_mesh_of_direct_links_gives_a_pair_one_link() -> None:
    # MI300X: 7 links of 64 GB/s; 4.29 GB between two took 90.1 ms at 48 GB/s (stas00/ml-engineering).
    level = NetworkLevel(
        name="xGMI", devices=8, bandwidth_bytes_per_s=448e9, latency_s=0.0, meshed=True, efficiency=0.75
    )
    seconds = collective_s(Cluster(devices=8, levels=(level,)), Collective.ALL_REDUCE, 2, 1, 4294967296)
    assert seconds == pytest.approx(90.1e-3, rel=0.02)


@pytest.mark.parametrize(
    ("level", "group", "volume", "measured_s"),
    [
        # A100 and H200 nodes, nccl-tests (stas00/ml-engineering, Azure); numbers as benchmarks/collectives.py fits.
        (replace(NODE, bandwidth_bytes_per_s=300e9, efficiency=0.8), 8, 2147483648, 16.32e-3),
        (replace(NODE, efficiency=0.84), 8, 8589934592, 41.1e-3),
        (replace(NODE, efficiency=0.84), 4, 8589934592, 35.5e-3),
        (replace(NODE, efficiency=0.84, in_network=0.85), 8, 8589934592, 31.5e-3),
    ],
)
def test_large_all_reduces_as_measured(level: NetworkLevel, group: int, volume: float, measured_s: float) -> None:
    calibration = Calibration(launch_s=20e-6, fill_s=5e-6)
    cluster = Cluster(devices=8, levels=(level,))
    assert collective_s(cluster, Collective.ALL_REDUCE, group, 1, volume, calibration) == pytest.approx(
        measured_s, rel=0.06
    )


@pytest.mark.parametrize(("volume", "measured_s"), [(1 << 26, 3.963e-3), (1 << 28, 11.954e-3), (1 << 30, 41.806e-3)])
def test_all_reduces_of_trainium_over_two_instances_as_measured(volume: float, measured_s: float) -> None:
    # nccom-test, 64 NeuronCores of 32 chips (aws-neuron/aws-neuron-sdk@0f75c1e, nccom-test.rst). By the links' 192 GB/s
    # they were twice as fast and more.
    seconds = collective_s(node("trn1").cluster(32), Collective.ALL_REDUCE, 32, 1, volume)
    assert seconds == pytest.approx(measured_s, rel=0.3)


def test_a_small_all_gather_of_an_instance_of_trainium_as_measured() -> None:
    seconds = collective_s(node("trn1").cluster(16), Collective.ALL_GATHER, 16, 1, 8192.0)
    assert 40e-6 < seconds < 200e-6  # 149 us over 32 NeuronCores; fewer steps than a ring's are taken here


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(list(Collective)),
    st.sampled_from([2, 4, 6, 8, 16, 48, 64]),
    st.floats(1, 1e10),
    st.sampled_from([DGX, torus(8, 8)]),
    st.floats(1, 5),
)
def test_more_bandwidth_is_never_slower_and_bytes_that_must_move_bound_the_time(
    collective: Collective, group: int, volume: float, cluster: Cluster, factor: float
) -> None:
    levels = tuple(
        replace(level, bandwidth_bytes_per_s=factor * level.bandwidth_bytes_per_s) for level in cluster.levels
    )
    seconds = collective_s(cluster, collective, group, 1, volume)
    assert collective_s(replace(cluster, levels=levels), collective, group, 1, volume) <= seconds * (1 + 1e-12)
    fastest = max(level.bandwidth_bytes_per_s for level in cluster.levels)
    assert seconds >= (group - 1) / group * volume / fastest
