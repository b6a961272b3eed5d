"""Nouns of the cost step: kernels, the engines that run them, and their times."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hardplace.ndtypes import Floats
from hardplace.workload.types import Phase


class Engine(StrEnum):
    """What runs a kernel: tensor cores, vector cores, both together (a fused kernel), the network, the copy engine."""

    TENSOR = "tensor"
    VECTOR = "vector"
    BOTH = "both"
    NETWORK = "network"
    COPY = "copy"


class Dataflow(StrEnum):
    """Which operand of a matmul an array holds while the others stream: weights (right), inputs (left) or outputs."""

    WEIGHT = "weight"
    INPUT = "input"
    OUTPUT = "output"


class Collective(StrEnum):
    """What a group does with a tensor of x bytes.

    all-reduce: each member has x, each gets their sum. reduce-scatter: each has x, gets 1/g of the sum. all-gather:
    each has x/g, gets all x. all-to-all: each has x, sends 1/g of it to every member. point to point: x to another.
    """

    ALL_REDUCE = "all_reduce"
    ALL_GATHER = "all_gather"
    REDUCE_SCATTER = "reduce_scatter"
    ALL_TO_ALL = "all_to_all"
    POINT_TO_POINT = "p2p"


class Algorithm(StrEnum):
    """How a collective goes over the network (docs/model-cost.md, "Collectives")."""

    DIRECT = "direct"
    RING = "ring"
    HALVING = "recursive halving and doubling"
    DOUBLING = "recursive doubling"
    TREE = "tree"
    IN_NETWORK = "in network"
    TORUS = "torus"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What a communication library adds to the links.

    A transfer of t seconds takes (sqrt(t) + sqrt(fill_s))^2: the best chunk of a pipeline with fill_s of latency.

    Attributes:
        launch_s: Seconds of a call before anything moves.
        fill_s: Seconds that its pipeline takes to fill.
    """

    launch_s: float = 0.0
    fill_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Matmul:
    """A batch of independent products of an (m x k) and a (k x n) matrix.

    Attributes:
        batch: Number of products.
        m: Rows of the result.
        n: Columns of the result.
        k: Depth of the sum.
        left_words: Distinct words of one left operand in memory where it is not m k (an unfolded convolution); 0: m k.
    """

    batch: int
    m: int
    n: int
    k: int
    left_words: int = 0

    @property
    def macs(self) -> int:
        """Return the multiply-accumulates."""
        return self.batch * self.m * self.n * self.k


@dataclass(frozen=True, slots=True, kw_only=True)
class Fusion:
    """Rules of which operators run as one kernel.

    Attributes:
        name: Name of the rules.
        chains: Vector operators joined by dataflow are one kernel.
        epilogues: A product and the element-wise chain that alone reads it are one kernel.
        flash: Attention is one kernel with nothing quadratic in memory, else products and softmax apart.
        only_successor: PHAZE's rules instead of chains and epilogues: an operator with its only successor.
    """

    name: str
    chains: bool
    epilogues: bool
    flash: bool
    only_successor: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reuse:
    """What an attention kernel streams again and again: the keys and values of each head.

    While the bytes of one head fit the buffer they are read once; otherwise once for each block of queries that fits.

    Attributes:
        heads: batch x heads.
        queries: Queries of a head.
        row_bytes: Bytes in the buffer of a query.
        resident_bytes: Keys and values of one head.
    """

    heads: int
    queries: int
    row_bytes: int
    resident_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """Operators that run as one kernel: matmuls on tensor cores, lane-cycles on vector cores, bytes from and to memory.

    Attributes:
        name: Name of the kernel.
        engine: What runs it.
        matmuls: Matrix products.
        tiled: Whether operands of the matmuls go through memory as the buffer's tiling has it; stream_bytes is then
            what comes on top, otherwise it is all (for attention, with keys and values read once, see reuse).
        reuse: Keys and values that are streamed again.
        lane_cycles: Cycles of vector lanes.
        reductions: Steps of the chain that reduce over elements; each ends with a tree over the lanes of a core.
        stream_bytes: Bytes read from and written to memory.
        collective: What the tensor-parallel group does.
        collective_bytes: Bytes of the whole tensor of that (`Collective`).
        predecessors: Kernels that it waits for.
        operators: Which of the layer's recorded operators it runs.
    """

    name: str
    engine: Engine
    matmuls: tuple[Matmul, ...] = ()
    tiled: bool = False
    reuse: Reuse | None = None
    lane_cycles: int = 0
    reductions: int = 0
    stream_bytes: int = 0
    collective: Collective = Collective.ALL_REDUCE
    collective_bytes: int = 0
    predecessors: tuple[int, ...] = ()
    operators: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelGraph:
    """The kernels of one phase of one layer at one micro-batch size, in topological order."""

    layer: str
    phase: Phase
    kernels: tuple[Kernel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTimes:
    """Seconds of each kernel on each chip, shape (kernels, chips).

    Attributes:
        single_s: On one core of its kind.
        whole_s: On all cores of the chip.
    """

    single_s: Floats
    whole_s: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelLevels:
    """What bounds each kernel on each whole chip, shape (kernels, chips).

    Attributes:
        array_s: Seconds of the arrays.
        lane_s: Seconds of the vector lanes.
        memory_s: Seconds of the memory.
        buffer_s: Seconds of the shared buffer.
        memory_bytes: Bytes through memory.
        buffer_bytes: Bytes out of the shared buffer.
    """

    array_s: Floats
    lane_s: Floats
    memory_s: Floats
    buffer_s: Floats
    memory_bytes: Floats
    buffer_bytes: Floats
