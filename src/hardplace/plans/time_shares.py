"""What the seconds of a piece of work are spent on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeShares:
    """Seconds of a piece of work, by what they are spent on.

    Attributes:
        products_s: Matrix products.
        attention_s: Attention.
        streams_s: Kernels that only move bytes: norms, activations, losses.
        exchange_s: Tensor, context and expert collectives that show.
        host_s: Waits for the host to launch kernels.
    """

    products_s: float = 0.0
    attention_s: float = 0.0
    streams_s: float = 0.0
    exchange_s: float = 0.0
    host_s: float = 0.0

    @property
    def total_s(self) -> float:
        """Return the sum of all shares, which run one after the other."""
        return self.products_s + self.attention_s + self.streams_s + self.exchange_s + self.host_s

    @property
    def compute_s(self) -> float:
        """Return the sum of all shares but the collectives."""
        return self.products_s + self.attention_s + self.streams_s + self.host_s

    def __add__(self, other: TimeShares) -> TimeShares:
        return TimeShares(
            products_s=self.products_s + other.products_s,
            attention_s=self.attention_s + other.attention_s,
            streams_s=self.streams_s + other.streams_s,
            exchange_s=self.exchange_s + other.exchange_s,
            host_s=self.host_s + other.host_s,
        )
