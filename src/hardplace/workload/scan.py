"""Floating-point operations of the state-space scan of Mamba-2."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanFlops:
    """Floating-point operations of the matrix products of one scan."""

    forward: int
    backward: int


def scan_flops(*, batch: int, length: int, heads: int, head_dim: int, groups: int, state: int, chunk: int) -> ScanFlops:
    """Return the FLOPs of Mamba-2's scan by blocks (Dao & Gu 2024, arXiv 2405.21060, section 6).

    With chunks of Q steps, N states, P channels a head, the paper's four steps are products for each chunk of
      scores C B'        2 Q Q N  a group (diagonal blocks, section 6.1)
      scores times x     2 Q Q P  a head
      state B' x         2 Q N P  a head (right factors)
      C times the state  2 Q N P  a head (left factors)
    and a recurrence over chunks that is no matrix product (section 6.2, centre). The masked half of the scores
    counts, as in attention, and so does the rest of a last chunk that is not full.

    Backward is what the kernel multiplies, recomputation included (state-spaces/mamba, ops/triton/ssd_combined.py,
    _mamba_chunk_scan_combined_bwd): scores again and their two gradients (3 of the first kind); x's, the scores' and
    the decay's gradient (3 of the second); the state again, its gradient, x's, B's and C's (5 of the last two).
    """
    chunks = batch * -(-length // chunk)
    scores = 2 * chunks * groups * chunk * chunk * state
    mixed = 2 * chunks * heads * chunk * chunk * head_dim
    states = 2 * chunks * heads * chunk * state * head_dim
    return ScanFlops(forward=scores + mixed + 2 * states, backward=3 * scores + 3 * mixed + 5 * states)
