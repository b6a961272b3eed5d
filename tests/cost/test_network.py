"""Collectives against their textbook formulas."""

import pytest

from hardplace.cost.network import all_reduce_s, scatter_s
from hardplace.hardware.types import Cluster, NetworkLevel

FLAT = Cluster(devices=64, levels=(NetworkLevel(name="link", devices=64, bandwidth_bytes_per_s=1e9, latency_s=0.0),))
NODES = Cluster(
    devices=64,
    levels=(
        NetworkLevel(name="node", devices=8, bandwidth_bytes_per_s=8e9, latency_s=1e-6),
        NetworkLevel(name="fabric", devices=64, bandwidth_bytes_per_s=1e9, latency_s=1e-5),
    ),
)


def test_flat_all_reduce_is_two_passes() -> None:
    assert all_reduce_s(FLAT, 8, 1, 1e9) == pytest.approx(2 * 7 / 8)


def test_one_member_costs_nothing() -> None:
    assert all_reduce_s(NODES, 1, 8, 1e9) == 0.0


def test_hierarchy_sends_an_eighth_between_nodes() -> None:
    per_byte, latency_s = scatter_s(NODES, 64, 1)
    assert per_byte == pytest.approx((7 / 8) / 8e9 + (1 / 8) * (7 / 8) / 1e9)
    assert latency_s == pytest.approx(3e-6 + 3e-5)


def test_replicas_of_a_tensor_parallel_group_that_fills_the_node_meet_between_nodes() -> None:
    per_byte, _ = scatter_s(NODES, 8, 8)
    assert per_byte == pytest.approx((7 / 8) / 1e9)


def test_members_that_do_not_divide_the_node() -> None:
    per_byte, _ = scatter_s(NODES, 12, 1)  # 4 in a node, 3 nodes
    assert per_byte == pytest.approx((3 / 4) / 8e9 + (1 / 4) * (2 / 3) / 1e9)
