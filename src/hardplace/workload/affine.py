"""Sizes that are affine in the micro-batch: sums, products, and the elements of a shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple


class Affine(NamedTuple):
    """A whole number that is affine in the micro-batch size b: constant + factor * b."""

    constant: int
    factor: int

    def at(self, micro_batch: int) -> int:
        """Return the number at one micro-batch size (samples)."""
        return self.constant + self.factor * micro_batch


# Sizes are compared at this micro-batch: a large prime, so that it is never mistaken for, nor divides, another size.
GENERIC = 1_000_003


def total(sizes: Iterable[Affine]) -> Affine:
    """Return the sum of sizes."""
    constant = factor = 0
    for size in sizes:
        constant += size[0]
        factor += size[1]
    return Affine(constant, factor)


def product(sizes: Iterable[Affine]) -> Affine:
    """Return the product of sizes; ValueError if more than one of them depends on the micro-batch."""
    constant, factor = 1, 0
    for size in sizes:
        if factor and size[1]:
            raise ValueError("a product of two sizes that both depend on the micro-batch is not affine in it")
        constant, factor = constant * size[0], factor * size[0] + constant * size[1]
    return Affine(constant, factor)


def line(value: Callable[[int], int]) -> Affine:
    """Return a number that is affine in the micro-batch by what it is at two sizes of it."""
    return between(value(2), value(3))


def between(low: int, high: int) -> Affine:
    """Return a number that is affine in the micro-batch by what it is at two samples and at three."""
    factor = high - low
    return Affine(low - 2 * factor, factor)


def elements(shape: tuple[Affine, ...], micro_batch: int) -> int:
    """Return the number of elements of a shape at one micro-batch size."""
    return math.prod(size.at(micro_batch) for size in shape)
