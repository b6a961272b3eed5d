"""Nouns of the fp32 kernel models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from hardplace.ndtypes import Bools, Floats, Ints

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "bmm": ("bmm",),
    "linear": ("linear",),
    "elementwise": ("add", "div", "mul", "pow", "addu", "divu", "mulu", "powu", "gelu", "relu", "tanh"),
    "softmax": ("softmax",),
    "layer_norm": ("ln",),
}
TWO_OPERANDS = ("add", "div", "mul", "pow")
PRODUCTS = ("bmm", "linear")
REDUCTIONS = ("softmax", "layer_norm")


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorSheet:
    """What a GPU's sheet says of its lanes and memory.

    Attributes:
        name: Name.
        multiprocessors: Number of them.
        clock_hz: Clock, boost.
        fp32_flops_per_s: Peak of the lanes.
        memory_bandwidth_bytes_per_s: Of memory.
        l2_bytes: L2 cache.
        power_w: Board power.
    """

    name: str
    multiprocessors: int
    clock_hz: float
    fp32_flops_per_s: float
    memory_bandwidth_bytes_per_s: float
    l2_bytes: float
    power_w: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorKernels:
    """Kernels of one family as arrays of one length.

    Attributes:
        op: Name of each operation.
        b: Products of a batch, or rows.
        m: Rows of a product.
        n: Columns of a product.
        k: Depth of a product.
        h: Elements of a row; 1 for products, as m, n, k are 1 for the others.
    """

    op: tuple[str, ...]
    b: Ints
    m: Ints
    n: Ints
    k: Ints
    h: Ints

    def __len__(self) -> int:
        return len(self.op)

    def take(self, rows: Ints | Bools) -> VectorKernels:
        """Return these rows."""
        names = np.array(self.op)[rows]
        arrays = {field.name: getattr(self, field.name)[rows] for field in fields(self)[1:]}
        return VectorKernels(op=tuple(names.tolist()), **arrays)

    @property
    def operands(self) -> Floats:
        """Tensors that an element-wise operation reads and writes."""
        return np.where(np.isin(np.array(self.op), TWO_OPERANDS), 3.0, 2.0)

    @property
    def work(self) -> Floats:
        """Multiply-accumulates of products, elements of the others: only to put sizes in order."""
        b, m, n, k, h = (np.asarray(one, dtype=np.float64) for one in (self.b, self.m, self.n, self.k, self.h))
        return np.asarray(b * m * n * k * h)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedTrees:
    """Regression trees as one array of nodes; a leaf leads to itself.

    Attributes:
        feature: Feature asked, by node.
        threshold: A row goes left where its feature, a whole number, is at most this.
        left: Node to the left.
        right: Node to the right.
        value: Of a leaf, in millionths.
        roots: First node of each tree.
        depth: Most questions from a root to a leaf.
    """

    feature: tuple[int, ...]
    threshold: tuple[int, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    value: tuple[int, ...]
    roots: tuple[int, ...]
    depth: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyModel:
    """The model of one family of kernels.

    Attributes:
        pooled: Figures of the equation, fitted on all devices that were measured.
        devices: Figures fitted on each device.
        residual: Trees of each device; empty where calibration found that they do not help.
        choice: What calibration compared, in words.
    """

    pooled: Mapping[str, float]
    devices: Mapping[str, Mapping[str, float]]
    residual: Mapping[str, PackedTrees]
    choice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorModel:
    """The models of all families, with what they were fitted on.

    Attributes:
        families: By name.
        sheets: Sheets of the devices measured, by name.
        reach: Distance between sheets up to which figures of relatives serve a device that was not measured.
        width: Distance at which a relative's weight has fallen to exp(-1/2).
        source: Data, licence, and the command that made the file.
    """

    families: Mapping[str, FamilyModel]
    sheets: Mapping[str, VectorSheet]
    reach: float
    width: float
    source: str
