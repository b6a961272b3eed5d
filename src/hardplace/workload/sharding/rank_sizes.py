"""Sizes of a recorded layer's tensors, storages and operators on one rank, each worked out once for all degrees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from hardplace.workload.affine import Affine, elements, line, product
from hardplace.workload.item_sizes import ITEM_BYTES
from hardplace.workload.operators import sized
from hardplace.workload.sharding.splits import State, local_shape
from hardplace.workload.types import Layer, Operator, Tensor

States = tuple[State, ...]  # one of each group
Shape = tuple[Affine, ...]


class StorageShare(NamedTuple):
    """A rank's share of a recorded storage.

    Attributes:
        bytes: Its bytes.
        parameters: Parameters that it holds.
    """

    bytes: Affine
    parameters: int


class RankSizes:
    """What a rank's sizes are in a recorded layer, whichever degrees divide it.

    Degrees that divide other tensors leave an operator as it is, so of hundreds of ways to divide a layer few give it
    another size.

    Args:
        layer: The recorded layer; `recorded` numbers are its own.
    """

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self._shapes: dict[tuple[int, States], Shape] = {}
        self._shares: dict[tuple[int, int, States], StorageShare] = {}
        self._operators: dict[tuple[object, ...], Operator] = {}

    def shape(self, index: int, states: States) -> Shape:
        """Return the rank's shape of a recorded tensor in these states."""
        key = (index, states)
        found = self._shapes.get(key)
        if found is None:
            found = self._shapes[key] = local_shape(self.layer.tensors[index].shape, states)
        return found

    def bytes_of(self, index: int, states: States) -> Affine:
        """Return the rank's bytes of a recorded tensor in these states."""
        item = Affine(ITEM_BYTES[self.layer.tensors[index].dtype], 0)
        return product((item, *self.shape(index, states)))

    def share(self, storage: int, index: int, states: States) -> StorageShare:
        """Return the rank's share of a recorded storage: that of a tensor on it in these states, rounded up."""
        key = (storage, index, states)
        found = self._shares.get(key)
        if found is None:
            whole = self.layer.storages[storage]
            shape, mine = self.layer.tensors[index].shape, self.shape(index, states)

            def part(total: int, size: int) -> int:
                return -(-total * elements(mine, size) // max(1, elements(shape, size)))

            size = line(lambda one: part(whole.bytes.at(one), one))
            found = self._shares[key] = StorageShare(size, part(whole.parameters, 1))
        return found

    def operator(
        self, place: int, name: str, reads: tuple[int, ...], writes: tuple[int, ...], tensors: Sequence[Tensor]
    ) -> Operator:
        """Return a recorded operator on the rank, with the sizes that its tensors there give.

        Args:
            place: Its index in the recorded layer.
            name: Its name on the rank.
            reads: Tensors of the rank.
            writes: Tensors of the rank.
            tensors: All tensors of the rank.
        """
        key = (place, name, reads, writes, tuple([tensors[index].shape for index in (*reads, *writes)]))
        found = self._operators.get(key)
        if found is None:
            made = replace(self.layer.operators[place], name=name, reads=reads, writes=writes)
            found = self._operators[key] = sized(made, tensors)
        return found
