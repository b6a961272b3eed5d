"""Layers as an accelerator sees them: an operation with extents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hardplace.described.types import CONVOLUTION, DEPTHWISE, DIMS, ELEMENTWISE, INPUT, POOL, SOFTMAX, WEIGHT
from hardplace.errors import BadInput

_MOST_EXTENT = 2**31
# Dimensions that choose another element of an operand; c, r and s of the rest are sums.
_TOUCHES = {
    CONVOLUTION: {INPUT: "ngcpqrs", WEIGHT: "gkcrs", "output": "ngkpq"},
    DEPTHWISE: {INPUT: "ngcpqrs", WEIGHT: "gkcrs", "output": "ngkpq"},
    POOL: {INPUT: "ngpqrs", WEIGHT: "", "output": "ngpq"},
    ELEMENTWISE: {INPUT: "p", WEIGHT: "", "output": "p"},
    SOFTMAX: {INPUT: "pc", WEIGHT: "", "output": "pc"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerShape:
    """A layer: output[n, g, k, p, q] is a sum over c, r, s of input times weight.

    A matrix product of batch x (m x k)(k x n) has g = batch, p = m, c = k, k = n. Of a depthwise convolution g is the
    number of channels. Element-wise: p elements of `operands` inputs. Softmax: p rows of c columns.

    Attributes:
        name: Name, for a reader.
        operation: Convolution, depthwise, pool, elementwise or softmax.
        extents: Extent of each of n, g, k, c, p, q, r, s.
        stride: Of a window, in both directions.
        operands: Inputs of an element-wise layer.
    """

    name: str
    operation: str
    extents: Mapping[str, int]
    stride: int = 1
    operands: int = 1

    def touches(self, operand: str) -> str:
        """Return the dimensions that choose another element of an operand."""
        return _TOUCHES[self.operation][operand]

    @property
    def reductions(self) -> str:
        """Return the dimensions that are summed over."""
        return "".join(dim for dim in "crs" if dim not in self.touches("output"))

    @property
    def macs(self) -> int:
        """Return the multiply-accumulates; 0 for a layer without weights."""
        return 0 if not self.touches(WEIGHT) else _product(self.extents[dim] for dim in DIMS)

    def elements(self, operand: str, extents: Mapping[str, int], skips: bool = True) -> int:
        """Return the elements of an operand that a tile of these extents touches; of whole windows unless it skips."""
        return _product(self.sizes(operand, extents, skips))

    def rows(
        self, operand: str, extents: Mapping[str, int], merged: bool = True, skips: bool = True
    ) -> tuple[int, int, int]:
        """Return the contiguous rows of a tile of an operand, the elements of each, and those from row to row.

        Channels are innermost, as in NHWC; a tile that is whole along a dimension is contiguous along it too, but
        where rows are not merged none is longer than the channels of one pixel.
        """
        sizes, whole = (self.sizes(operand, size, skips)[::-1] for size in (extents, self.extents))
        channels = 2 if len(sizes) == 5 and operand != WEIGHT else 1  # of all groups
        longest = len(sizes) if merged else channels
        spans = next((place for place in range(1, longest) if sizes[place - 1] != whole[place - 1]), longest)
        along = next((place for place in range(spans, len(sizes)) if sizes[place] > 1), len(sizes))
        return _product(sizes[spans:]), _product(sizes[:spans]), _product(whole[:along])

    def sizes(self, operand: str, extents: Mapping[str, int], skips: bool = True) -> tuple[int, ...]:
        """Return the sizes of a tile of an operand, the contiguous dimension last."""
        e = extents
        if self.operation == ELEMENTWISE:
            return (self.operands if operand == INPUT else 1, e["p"])
        if self.operation == SOFTMAX:
            return (e["p"], e["c"])
        if operand == WEIGHT:
            return (e["g"], e["r"], e["s"], e["c"], e["k"])
        if operand == INPUT:
            high, wide = (self._window(e[outputs], e[taps], skips) for outputs, taps in ("pr", "qs"))
            return (e["n"], high, wide, e["g"], e["c"])
        return (e["n"], e["p"], e["q"], e["g"], e["k"])

    def _window(self, outputs: int, taps: int, skips: bool) -> int:
        """Return the inputs that some outputs in a row touch, or that are brought for them."""
        if not skips:
            return outputs * self.stride + taps - 1
        return min((outputs - 1) * self.stride + taps, outputs * taps)


def _product(values: object) -> int:
    result = 1
    for value in values:  # type: ignore[attr-defined]
        result *= value
    return result


def _shape(name: str, operation: str, stride: int = 1, operands: int = 1, **extents: int) -> LayerShape:
    for dim, size in extents.items():
        if not 1 <= size < _MOST_EXTENT:
            raise BadInput(f"{name}: {dim}", size, f"a whole number from 1 to {_MOST_EXTENT - 1:,}")
    full = {dim: extents.get(dim, 1) for dim in DIMS}
    return LayerShape(name=name, operation=operation, extents=full, stride=stride, operands=operands)


def product(name: str, m: int, n: int, k: int, batch: int = 1) -> LayerShape:
    """Return a matrix product, batch x (m x k)(k x n)."""
    return _shape(name, CONVOLUTION, g=batch, p=m, k=n, c=k)


def convolution(
    name: str,
    channels: int,
    filters: int,
    size: tuple[int, int],
    window: tuple[int, int] = (1, 1),
    stride: int = 1,
    padding: tuple[int, int] | None = None,
    groups: int = 1,
    batch: int = 1,
) -> LayerShape:
    """Return a convolution.

    Args:
        name: Name, for a reader.
        channels: Channels of the input.
        filters: Channels of the output.
        size: Height and width of the input.
        window: Height and width of a filter.
        stride: In both directions.
        padding: On each side, by direction. None: half the window, rounded down.
        groups: Groups; as many as channels is a depthwise convolution.
        batch: Samples.

    Raises:
        BadInput: For groups that do not divide the channels, and a window that is larger than the padded input.
    """
    pads = padding if padding is not None else (window[0] // 2, window[1] // 2)
    outputs = [
        (full + 2 * pad - taps) // max(1, stride) + 1 for full, pad, taps in zip(size, pads, window, strict=True)
    ]
    if stride < 1 or groups < 1 or channels % groups or filters % groups:
        raise BadInput(f"{name}: groups", groups, f"a divisor of {channels} and {filters}, with a stride from 1")
    made = _shape(
        name, CONVOLUTION, stride, n=batch, g=groups, k=filters // groups, c=channels // groups,
        p=outputs[0], q=outputs[1], r=window[0], s=window[1],
    )  # fmt: skip
    depthwise = groups > 1 and made.extents["k"] == made.extents["c"] == 1
    return replace(made, operation=DEPTHWISE) if depthwise else made


def pool(
    name: str, channels: int, size: tuple[int, int], window: tuple[int, int], stride: int, batch: int = 1
) -> LayerShape:
    """Return a pooling layer without padding: maximum or mean of a window of each channel."""
    outputs = [(full - taps) // stride + 1 for full, taps in zip(size, window, strict=True)]
    return _shape(name, POOL, stride, n=batch, g=channels, p=outputs[0], q=outputs[1], r=window[0], s=window[1])


def elementwise(name: str, elements: int, operands: int = 1) -> LayerShape:
    """Return a layer that computes each of `elements` from one element of each operand."""
    return _shape(name, ELEMENTWISE, operands=operands, p=elements)


def softmax(name: str, rows: int, columns: int) -> LayerShape:
    """Return a softmax over the columns of each row."""
    return _shape(name, SOFTMAX, p=rows, c=columns)
