"""Attention as one kernel (flash attention) or as products and softmax (docs/model-cost.md, "Kernels")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hardplace.cost.types import Engine, Kernel, Matmul, Reuse
from hardplace.workload.types import Operator, Phase

_CAUSAL_BLOCK = 128  # rows of queries that skip the masked keys together (flash attention's tile)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Extents:
    """An attention's sizes; width of queries and keys, value width of values and results."""

    batch: int
    heads: int
    kv_heads: int
    queries: int
    keys: int
    width: int
    value_width: int


def _extents(operator: Operator, micro_batch: int) -> _Extents:
    """Return the sizes; recordings that give one width mean it for queries, keys and values."""
    batch, heads, kv_heads, queries, keys, width, *value = (dim.at(micro_batch) for dim in operator.dims)
    return _Extents(
        batch=batch,
        heads=heads,
        kv_heads=kv_heads,
        queries=queries,
        keys=keys,
        width=width,
        value_width=value[0] if value else width,
    )


def seen_keys(queries: int, keys: int, *, causal: bool, window: int) -> int:
    """Return the keys that a query looks at on average, where blocks of 128 queries skip together.

    causal: the last query sees all keys, each one before it one less; window: at most so many (0: no limit).

    >>> seen_keys(4096, 4096, causal=True, window=0), seen_keys(4096, 4096, causal=True, window=256)
    (2112, 375)
    """
    if not causal:
        return min(keys, window + _CAUSAL_BLOCK - 1) if window else keys
    most = min(window or keys, keys)
    first = max(0, keys - queries)  # keys before the first query's own
    short = min(max(most - first, 0), queries)  # queries that see fewer than `most`
    total = short * first + short * (short + 1) / 2 + (queries - short) * most
    edges = 2 if most < keys else 1  # a block reads whole blocks of keys at either edge
    return min(keys, int(total / queries + edges * (_CAUSAL_BLOCK - 1) / 2))


def flash_attention(operator: Operator, cycles: Mapping[str, int], micro_batch: int) -> tuple[Kernel]:
    """Return one kernel: two matmuls forward, five backward (Dao 2023), softmax on the vector cores."""
    one = _extents(operator, micro_batch)
    seen = seen_keys(one.queries, one.keys, causal=operator.causal, window=operator.window)
    batch = one.batch * one.heads
    scores = Matmul(batch=batch, m=one.queries, n=seen, k=one.width)
    values = Matmul(batch=batch, m=one.queries, n=one.value_width, k=seen)
    backward = (
        scores,
        Matmul(batch=batch, m=one.queries, n=seen, k=one.value_width),  # dP
        Matmul(batch=batch, m=seen, n=one.value_width, k=one.queries),  # dV
        Matmul(batch=batch, m=one.queries, n=one.width, k=seen),  # dQ
        Matmul(batch=batch, m=seen, n=one.width, k=one.queries),  # dK
    )
    is_backward = operator.phase is Phase.BACKWARD
    rows = 2 if is_backward else 1  # dK and dV stay beside K and V
    widths = one.width + one.value_width
    return (
        Kernel(
            name=operator.module or operator.name,
            engine=Engine.BOTH,
            matmuls=backward if is_backward else (scores, values),
            # Scale, maximum, difference, exp, sum forward; recomputed probabilities, dP - D, product, scale backward.
            lane_cycles=batch * one.queries * seen * (cycles.get("exp", cycles["other"]) + 4),
            reductions=2,
            reuse=Reuse(
                heads=one.batch * one.kv_heads,
                queries=one.queries * one.heads // one.kv_heads,
                # forward: q in bf16, sums in fp32; backward: q, dq and those of the values; row statistics
                row_bytes=(6 * widths if is_backward else 2 * one.width + 4 * one.value_width) + 8,
                resident_bytes=rows * one.keys * widths * 2,
            ),
        ),
    )


def plain_attention(operator: Operator, cycles: Mapping[str, int], micro_batch: int) -> tuple[Kernel, ...]:
    """Return products and softmax as kernels of their own: scores in bf16 pass through memory, masked ones too.

    Forward: scores, softmax, values. Backward, from saved probabilities: dV, dP, softmax backward, dQ, dK.
    """
    one = _extents(operator, micro_batch)
    rows = one.queries * one.heads // one.kv_heads  # queries that share a head of keys
    batch = one.batch * one.kv_heads
    elements = batch * rows * one.keys
    name = operator.module or operator.name

    def product(what: str, m: int, n: int, k: int, *before: int) -> Kernel:
        matmuls = (Matmul(batch=batch, m=m, n=n, k=k),)
        return Kernel(name=f"{name} {what}", engine=Engine.TENSOR, matmuls=matmuls, tiled=True, predecessors=before)

    def softmax(what: str, function: str, passes: int, *before: int) -> Kernel:
        return Kernel(
            name=f"{name} {what}",
            engine=Engine.VECTOR,
            lane_cycles=elements * cycles.get(function, cycles["other"]),
            reductions=2,
            stream_bytes=passes * elements * 2,
            predecessors=before,
        )

    if operator.phase is Phase.FORWARD:
        return (
            product("scores", rows, one.keys, one.width),
            softmax("softmax", "softmax", 2, 0),
            product("values", rows, one.value_width, one.keys, 1),
        )
    return (
        product("dV", one.keys, one.value_width, rows),
        product("dP", rows, one.keys, one.value_width),
        softmax("softmax backward", "softmax_backward_data", 3, 1),
        product("dQ", rows, one.width, one.keys, 2),
        product("dK", one.keys, one.width, rows, 2),
    )
