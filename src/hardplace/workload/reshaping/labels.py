"""The labels of one layer's axes while they are found, each checked against the recorded number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hardplace.errors import BadInput
from hardplace.workload.affine import GENERIC, Affine
from hardplace.workload.reshaping.polynomials import Polynomial, number, symbol
from hardplace.workload.types import Layer


@dataclass
class Labels:
    """The labels of one layer's tensors while they are found: by tensor, one a axis, None where it is not known yet."""

    layer: Layer
    sizes: Mapping[str, int]
    name: str
    known: list[list[Polynomial | None]] = field(init=False)
    changed: bool = True

    def __post_init__(self) -> None:
        """Start with nothing but axes of one and of the micro-batch: all sizes are 2 and more."""
        plain = {Affine(1, 0): number(1), Affine(0, 1): symbol("micro_batch")}
        self.known = [[plain.get(size) for size in one.shape] for one in self.layer.tensors]

    def put(self, tensor: int, axis: int, label: Polynomial | None) -> None:
        """Set an axis; BadInput if it is something else already, or if the recorded number says otherwise."""
        if label is None:
            return
        row = self.known[tensor]
        if row[axis] == label:
            return
        size = self.layer.tensors[tensor].shape[axis]
        if row[axis] is not None or label.affine(self.sizes) != size:
            raise BadInput(
                f"{self.name}: layer {self.layer.name}: a tensor's axis of {size.at(1)} is two sizes at once: expected "
                "a decoder whose operators tell its sizes apart (record the shape itself: hardplace trace)"
            )
        row[axis] = label
        self.changed = True

    def same(self, one: tuple[int, int], other: tuple[int, int]) -> None:
        """Say that two (tensor, axis) are one size."""
        self.put(*one, self.known[other[0]][other[1]])
        self.put(*other, self.known[one[0]][one[1]])

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Return a tensor's recorded shape at a micro-batch that no size is."""
        return tuple(size.at(GENERIC) for size in self.layer.tensors[tensor].shape)
