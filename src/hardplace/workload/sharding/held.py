"""States of the tensors of a layer on the ranks of a process group, and which of its parameters are cut."""

from __future__ import annotations

import math
from itertools import pairwise

from hardplace.workload.affine import GENERIC
from hardplace.workload.sharding.splits import Shape, Split, State, moved, reshaped, through
from hardplace.workload.sharding.steps import KeepWhole
from hardplace.workload.types import Group, Layer, Operator

# From earlier walks: parameters that stay whole, those cut into fewer parts, operators that read what is gathered.
Decided = tuple[frozenset[int], dict[int, int], set[int]]


class LayerShapes:
    """Shapes of a layer's tensors, whatever group divides it.

    Attributes:
        layer: The recorded layer.
        shapes: Shape of each tensor at the generic micro-batch.
        sizes: Elements of each tensor.
        of_storage: Tensors on each storage.
    """

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.shapes: list[Shape] = [tuple([size.at(GENERIC) for size in one.shape]) for one in layer.tensors]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self.of_storage: dict[int, list[int]] = {}
        for index, tensor in enumerate(layer.tensors):
            self.of_storage.setdefault(tensor.storage, []).append(index)


class TensorSplits:
    """The states of a layer's tensors on the ranks of one process group.

    Parameters are open until a product decides whether they are cut; then all views of them follow.

    Attributes:
        layer: The recorded layer.
        group: The process group.
        parts: Its ranks.
        shapes: Shape of each tensor at the generic micro-batch.
        states: State of each tensor that is known so far, by index.
        open: Parameters and views of them that are neither cut nor kept whole yet.
        tables: Shapes of embedding tables that are cut by row.
        in_products: Parameters (storages) that matrix products use.
    """

    def __init__(self, known: LayerShapes, group: Group, parts: int, decided: Decided) -> None:
        self.layer, self.group, self.parts = known.layer, group, parts
        self.whole, self.fewer, self.early = decided
        self.shapes, self.sizes, self.of_storage = known.shapes, known.sizes, known.of_storage
        self.states: dict[int, State] = {}
        self.open: set[int] = set()  # parameters, and views of them, not yet cut or kept whole
        self.views: dict[int, tuple[int, Operator]] = {}  # of open tensors
        self.tables: set[Shape] = set()  # shapes of tables cut by row
        self.in_products: set[int] = set()

    def parameter(self, index: int) -> int:
        """Return the storage of a parameter."""
        return self.layer.tensors[index].storage

    def may_cut(self, index: int) -> bool:
        """Return whether a parameter may be cut by this group."""
        return self.group is Group.TENSOR and self.parameter(index) not in self.whole

    def cuts_into(self, index: int) -> int:
        """Return the parts that a parameter is cut into: the ranks, or fewer with copies (key and value heads)."""
        return self.fewer.get(self.parameter(index), self.parts)

    def decide(self, index: int, state: State) -> None:
        """Cut an open parameter or keep it whole, with all views of it.

        Args:
            index: A view of the parameter, or itself.
            state: State that this view shall have.

        Raises:
            KeepWhole: Where no cut of the parameter gives the view that state.
        """
        chain = [index]
        while chain[-1] in self.views:
            chain.append(self.views[chain[-1]][0])
        found = state
        for view, origin in pairwise(chain):
            self.states[view] = found
            found = self._before_view(found, self.views[view][1], origin, view)
        self.states[chain[-1]] = found
        storage = self.parameter(index)
        for other in self.of_storage[storage]:
            if other in self.open:
                self.open.discard(other)
                if other not in chain:
                    self._again(other, chain[-1], found)

    def _again(self, view: int, origin: int, state: State) -> None:
        """Give another view of a parameter, made before it was cut, its state."""
        if view in self.views and isinstance(state, Split):
            self.states[view] = through(state, self.views[view][1], self.shapes[origin], self.shapes[view])
        else:
            self.states[view] = state if self.shapes[view] == self.shapes[origin] else None

    def _before_view(self, state: State, view: Operator, origin: int, result: int) -> State:
        if not isinstance(state, Split):
            return state
        if view.name == "permute":
            return moved(state, view.axes[state.axis])
        if view.name in ("reshape", "alias"):
            return reshaped(state, self.shapes[result], self.shapes[origin])
        raise KeepWhole([self.parameter(result)])

    def settle(self, *indices: int) -> None:
        """Keep open parameters among these whole."""
        for index in indices:
            if index in self.open:
                self.decide(index, None)
