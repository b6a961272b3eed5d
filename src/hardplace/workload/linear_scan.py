"""Matrix products of linear attention in chunks, with or without the delta rule, as kernels run them."""

from __future__ import annotations

from typing import NamedTuple

DELTA = ("gated_delta_scan", "kimi_delta_scan")
LINEAR = "linear_attention_scan"
RECURRENCE = "recurrence_scan"  # of channels alone: no products
CHUNK = 64  # steps (flash-linear-attention, ops/gated_delta_rule/chunk.py and ops/simple_gla/chunk.py)
_BLOCK = 16  # the inverse of a chunk's triangle is put together from blocks of this size (ops/utils/solve_tril.py)


class ScanProduct(NamedTuple):
    """A batch of products (m, k) times (k, n)."""

    batch: int
    m: int
    n: int
    k: int


def scan_products(name: str, dims: tuple[int, ...], *, backward: bool) -> tuple[ScanProduct, ...]:
    """Return the matrix products of one scan of (batch, length, heads, V, key heads, K, chunk Q), all a head of values.

    Gated delta rule (Yang et al. 2024, arXiv 2412.06464, section 3.3), forward: the keys' products K K' (Q Q K), the
    inverse of their triangle, w = T (b k) and u = T (b v) (Q K Q, Q V Q), the state's part w S (Q V K), the state
    k' u (K V Q), and the output q S + (q k') u (Q V K, Q Q K, Q V Q). Backward is what the kernels multiply,
    recomputation included (flash-linear-attention, ops/gated_delta_rule/chunk.py, chunk_gated_delta_rule_bwd; its
    parts in wy_fast.py, common/chunk_delta_h.py, common/chunk_o.py): ten of Q Q K, five of Q Q V, eight of Q K V, two
    of Q Q Q.

    Linear attention (ops/simple_gla/chunk.py), forward: q k', (q k') v, q S, k' v. Backward: the state again and its
    gradient, q k' again, the gradient of the scores; two products for each gradient of q, k and v.
    """
    batch, length, heads, value, _, key, chunk = dims
    times = batch * heads * -(-length // chunk)

    def of(m: int, n: int, k: int, count: int = 1) -> ScanProduct:
        return ScanProduct(times * count, m, n, k)

    if name.startswith(DELTA):
        if backward:
            return (
                of(chunk, chunk, key, 10),
                of(chunk, chunk, value, 5),
                of(chunk, value, key, 8),
                of(chunk, chunk, chunk, 2),
            )
        blocks = chunk // _BLOCK
        merges = sum((blocks - step) * (step + 1) for step in range(1, blocks))
        inverse = (of(_BLOCK, _BLOCK, _BLOCK, merges),) if merges else ()
        return (*inverse, of(chunk, chunk, key, 3), of(chunk, value, chunk, 2), of(chunk, value, key, 3))
    if name.startswith(LINEAR):
        if backward:
            return of(chunk, chunk, key, 3), of(chunk, chunk, value, 2), of(chunk, value, key, 5)
        return of(chunk, chunk, key), of(chunk, value, chunk), of(chunk, value, key, 2)
    return ()


def scan_product_flops(name: str, dims: tuple[int, ...], *, backward: bool) -> int:
    """Return the FLOPs of a scan's products."""
    return sum(2 * one.batch * one.m * one.n * one.k for one in scan_products(name, dims, backward=backward))
