"""Energy of a training sample on boxes of chips, without idle power (docs/model-search.md, "Energy")."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hardplace.design.search.kernel_work import KernelWork
from hardplace.design.search.least_work import Rates
from hardplace.hardware.bill import Energies, feed_bytes_per_mac
from hardplace.hardware.blueprint import Blueprint
from hardplace.hardware.technology import CLOCK_SHARE
from hardplace.ndtypes import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Least energy of an operation or a byte in boxes of chips, in J, arrays over boxes.

    Attributes:
        mac_j: A multiply-accumulate with its operands.
        lane_j: A cycle of a vector lane.
        fed_j: A byte through the shared buffer.
        memory_j: A byte through memory.
    """

    mac_j: Floats
    lane_j: Floats
    fed_j: Floats
    memory_j: Floats


def prices(low: Energies, high: Blueprint) -> Prices:
    """Return the least energies of boxes: those of their lowest chips, with the operand traffic of the largest
    arrays.
    """
    clocked = 1.0 + CLOCK_SHARE
    return Prices(
        mac_j=clocked * (low.mac_j + feed_bytes_per_mac(high) * low.feed_j_per_byte),
        lane_j=clocked * low.vector_j,
        fed_j=clocked * low.shared_j_per_byte,
        memory_j=clocked * low.wire_j_per_byte + low.memory_j_per_byte,
    )


def joules(
    done: KernelWork, on: Rates, each: Prices, counts: Floats, tensor_parallel: int, micro_batch: int
) -> tuple[Floats, Floats]:
    """Return a lower bound on the energy of a sample, without and with recompute.

    Args:
        done: Work of every kernel.
        on: Rates of the boxes.
        each: Energy of an operation or a byte.
        counts: How often each layer is there.
        tensor_parallel: Tensor-parallel degree.
        micro_batch: Samples of a micro-batch.

    Returns:
        J a sample, two arrays of shape (boxes,). Recompute runs the forward pass again in every layer.
    """
    own = np.searchsorted(done.own_sizes, on.own_bytes)
    kernels = (
        done.macs[:, None] * each.mac_j
        + done.lane_cycles[:, None] * each.lane_j
        + done.fed_bytes[:, own] * each.fed_j
        + done.memory_bytes[:, on.buffer] * each.memory_j
    )
    forward, backward = np.einsum("l,lpb->pb", counts, done.summed(kernels)) * (tensor_parallel / micro_batch)
    return forward + backward, 2.0 * forward + backward
