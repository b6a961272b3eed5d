"""Sizes as polynomials in what a decoder's shape is made of: exact, so a recorded number is checked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from hardplace.workload.affine import Affine

SYMBOLS = ("micro_batch", "hidden", "heads", "kv_heads", "head_dim", "ffn", "vocab")
_NONE = (0,) * len(SYMBOLS)
Powers = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Polynomial:
    """A sum of coefficient * product of SYMBOLS to powers; terms in order of their powers, no coefficient 0."""

    terms: tuple[tuple[Powers, Fraction], ...]

    def __add__(self, other: Polynomial) -> Polynomial:
        """Return the sum."""
        return _collected((*self.terms, *other.terms))

    def __sub__(self, other: Polynomial) -> Polynomial:
        """Return the difference."""
        return self + other * number(-1)

    def __mul__(self, other: Polynomial) -> Polynomial:
        """Return the product."""
        return _collected(
            (tuple(a + b for a, b in zip(one, two, strict=True)), x * y)
            for one, x in self.terms
            for two, y in other.terms
        )

    def over(self, other: Polynomial) -> Polynomial | None:
        """Return the quotient by a monomial; None if it is none, or does not divide every term."""
        if len(other.terms) != 1:
            return None
        ((powers, value),) = other.terms
        found = [(tuple(a - b for a, b in zip(one, powers, strict=True)), x / value) for one, x in self.terms]
        return _collected(found) if all(min(one) >= 0 for one, _ in found) else None

    @property
    def constant(self) -> bool:
        """Whether it depends on no size of the shape (the micro-batch may be in it)."""
        return all(not any(powers[1:]) for powers, _ in self.terms)

    def affine(self, sizes: Mapping[str, int]) -> Affine | None:
        """Return the value at these sizes, affine in the micro-batch; None if it is not whole, or not affine."""
        parts = [Fraction(0), Fraction(0)]
        for powers, value in self.terms:
            if powers[0] > 1:
                return None
            parts[powers[0]] += value * math.prod(
                sizes[name] ** power for name, power in zip(SYMBOLS[1:], powers[1:], strict=True) if power
            )
        if any(part.denominator != 1 for part in parts):
            return None
        return Affine(int(parts[0]), int(parts[1]))

    def columns(self, sizes: Mapping[str, Any]) -> Any:
        """Return the value as floats where sizes, the micro-batch among them, are arrays of one length."""
        return sum(
            float(value) * math.prod(sizes[name] ** power for name, power in zip(SYMBOLS, powers, strict=True) if power)
            for powers, value in self.terms
        )


def number(value: int | Fraction) -> Polynomial:
    """Return a constant."""
    return _collected([(_NONE, Fraction(value))])


def symbol(name: str) -> Polynomial:
    """Return one of SYMBOLS.

    >>> (symbol("heads") * symbol("head_dim")).affine({"heads": 32, "head_dim": 128})
    Affine(constant=4096, factor=0)
    """
    powers = tuple(int(one == name) for one in SYMBOLS)
    return Polynomial(((powers, Fraction(1)),))


def of_affine(size: Affine) -> Polynomial:
    """Return a number that no size of the shape is in."""
    return number(size.constant) + number(size.factor) * symbol("micro_batch")


def multiplied(parts: Sequence[Polynomial]) -> Polynomial:
    """Return the product of polynomials; 1 of none."""
    found = number(1)
    for part in parts:
        found = found * part
    return found


def _collected(terms: Iterable[tuple[Powers, Fraction]]) -> Polynomial:
    found: dict[Powers, Fraction] = {}
    for powers, value in terms:
        found[powers] = found.get(powers, Fraction(0)) + value
    return Polynomial(tuple(sorted((powers, value) for powers, value in found.items() if value)))
