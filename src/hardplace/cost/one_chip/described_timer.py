"""A described accelerator as a device of a plan: read from its file, and a Timer of its kernels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hardplace.answers import Infeasible
from hardplace.cost.layers.timer import Timer
from hardplace.cost.layers.work import AttentionWork, CollectiveWork, GemmWork, StreamWork
from hardplace.cost.one_chip.described_device import DescribedDevice
from hardplace.cost.one_chip.described_kernels import DescribedChip, described_chip
from hardplace.described.layers import LayerShape, elementwise, product, softmax
from hardplace.described.tiling import tiled
from hardplace.described.types import INPUT, OUTPUT
from hardplace.errors import BadInput
from hardplace.ndtypes import Floats, Ints

_BACKWARD = 2  # products of a backward pass for each of the forward's
_MOST_ELEMENTS = 2**30  # of one element-wise layer


def described_device(name: str) -> DescribedDevice:
    """Return a described accelerator, by its name or file, as a device.

    Raises:
        BadInput: For a fault in the description, and for one that does not say its memory's capacity.
    """
    chip = described_chip(name)
    on = chip.description
    if on.device_memory_bytes is None:
        raise BadInput(f"{name}: device_memory", None, 'the capacity of its memory for plans, such as "32 GiB"')
    return DescribedDevice(
        name=on.name, title=on.title, vendor="described", chip=chip, memory_bytes=on.device_memory_bytes
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedTimer(Timer):
    """Seconds by the generated model with the search of mappings; collectives are left out.

    flash: attention as one kernel is not known: scores, softmax and values are three, each to and from memory.
    """

    chip: DescribedChip

    def products_s(self, like: GemmWork, m: Ints, n: Ints, k: Ints) -> Floats:
        """See Timer."""
        return np.array(
            [
                self._seconds(product("product", a, b, c, like.batch))
                for a, b, c in zip(m.tolist(), n.tolist(), k.tolist(), strict=True)
            ]
        )

    def attentions_s(self, like: AttentionWork, heads: Ints, kv_heads: Ints, head_dim: Ints) -> Floats:
        """See Timer: scores, softmax, values over all keys (nothing is skipped by a mask)."""
        keys = min(like.keys, like.window) if like.window else like.keys
        times, found = (_BACKWARD if like.backward else 1), []
        for count, dim in zip(heads.tolist(), head_dim.tolist(), strict=True):
            scores = self._seconds(product("scores", like.queries, keys, dim, like.batch * count))
            values = self._seconds(product("values", like.queries, dim, keys, like.batch * count))
            weights = self._seconds(softmax("softmax", like.batch * count * like.queries, keys))
            again = scores if like.backward else 0.0
            found.append(times * (scores + values) + weights + again)
        return np.array(found)

    def moved_s(self, like: StreamWork, moved_bytes: Floats, row: Ints) -> Floats:
        """See Timer: as element-wise work that reads and writes so many bytes."""
        held = self.chip.description.backing.element_bytes
        each = held[INPUT] + held[OUTPUT]
        found = []
        for moved in moved_bytes.tolist():
            parts = max(1, math.ceil(moved / each / _MOST_ELEMENTS))
            found.append(parts * self._seconds(elementwise("stream", max(1, round(moved / each / parts)))))
        return np.array(found)

    def exchanged_s(self, like: CollectiveWork, moved_bytes: Floats) -> Floats:
        """See Timer: left out, a chip alone has no network."""
        return np.zeros_like(moved_bytes)

    def _seconds(self, layer: LayerShape) -> float:
        on = self.chip.description
        found = tiled(on, layer)
        if isinstance(found, Infeasible):
            raise BadInput(f"{on.name}: {found.what}", f"{found.available:,.0f} {found.unit}", f"{found.needed:,.0f}")
        return found.time.cycles / on.clock_hz
