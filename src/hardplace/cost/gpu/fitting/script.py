"""The script of `hardplace verify`: which kernels it times, and its text."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from hardplace.cost.layers.types import Layout
from hardplace.workload.sharding import tensor_parallel as rank_of
from hardplace.workload.types import Gradient, Layer, Operator, OperatorKind, Phase, Workload

_TEMPLATE = Path(__file__).parent / "data" / "verify_script.py.txt"
_MARK = "__PLAN__"
_LAYOUTS = {Gradient.DGRAD: Layout.NN, Gradient.WGRAD: Layout.NT}
_STREAMS = {
    OperatorKind.NORMALISATION: "norm",
    OperatorKind.SOFTMAX: "softmax",
    OperatorKind.ELEMENTWISE: "elementwise",
    OperatorKind.CROSS_ENTROPY: "cross_entropy",
    OperatorKind.EMBEDDING: "embedding",
}
_ROWS = {"cross_entropy": 32768}  # elements of a row; 4096 otherwise
_MOST_STREAMS = 3  # distinct sizes of a kind: the largest
# Leading dimensions that no public data has, and what they stand beside
_ODD = (10922, 50257, 4097, 4098, 4100, 4104, 4112, 4128, 4160, 5461, 2730, 2560 + 80, 1, 2, 4, 8, 16, 32, 64)
_EVEN = (10944, 11008, 50304, 4096, 2560, 1024)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingPlan:
    """What the script times. gemms: (batch, m, n, k, layout). attention: (batch, sequence, heads, kv heads, head
    dimension, causal). streams: (kind, elements, row). layers: one decoder layer and its optimizer step, by name:
    (batch, sequence, hidden, heads, kv heads, intermediate, gated)."""

    title: str
    gemms: tuple[tuple[int, int, int, int, str], ...]
    attention: tuple[tuple[int, int, int, int, int, int], ...]
    streams: tuple[tuple[str, int, int], ...]
    layers: dict[str, tuple[int, int, int, int, int, int, int]]


REFERENCE_LAYERS = {
    "llama2-7b": (1, 4096, 4096, 32, 32, 11008, 1),
    "gpt3-2.7b": (1, 2048, 2560, 32, 32, 10240, 0),
}


def plan_of(workload: Workload, micro_batch: int, tensor_parallel: int, *, sweep: bool) -> TimingPlan:
    """Return the distinct kernels of one rank's step; sweep: 300 more GEMMs, unaligned ones above all, attention at
    head dimensions 64 to 128, and two reference layers.
    """
    layers_ = rank_of(workload, tensor_parallel).layers
    operators = [operator for layer in layers_ for operator in layer.operators]
    gemms = {_gemm(one, micro_batch): None for one in operators if one.kind is OperatorKind.MATMUL}
    attention = {_attention(one, micro_batch): None for one in operators if one.kind is OperatorKind.ATTENTION}
    layers = dict(REFERENCE_LAYERS) if sweep else {}
    for layer in layers_:
        shape = _layer(layer, micro_batch)
        if shape is not None and tensor_parallel == 1:
            layers[workload.name] = shape
    if sweep:
        gemms |= dict.fromkeys(sweep_gemms())
        attention |= {(2, 4096, 2048 // dim, 2048 // dim, dim, 1): None for dim in (64, 80, 96, 128)}
    return TimingPlan(
        title=f"{workload.name}, micro-batch {micro_batch}, tensor parallel {tensor_parallel}",
        gemms=tuple(gemms),
        attention=tuple(attention),
        streams=_streams(operators, micro_batch),
        layers=layers,
    )


def sweep_gemms() -> tuple[tuple[int, int, int, int, str], ...]:
    """Return about 300 GEMMs: each odd and even leading dimension as n and as k, in three layouts."""
    found: dict[tuple[int, int, int, int, str], None] = {}
    for size in (*_ODD, *_EVEN):
        for layout in Layout:
            for m in (2048, 8192):
                found[1, m, size, 4096, layout.value] = None
                found[1, m, 4096, size, layout.value] = None
    return tuple(found)


def script_text(plan: TimingPlan) -> str:
    """Return a Python program that needs only torch, times the plan and writes the CSV that `calibrate` reads."""
    lines = [f"    {json.dumps(name)}: {json.dumps(value)}," for name, value in asdict(plan).items()]
    return _TEMPLATE.read_text().replace(_MARK, "{\n" + "\n".join(lines) + "\n}")


def _gemm(operator: Operator, micro_batch: int) -> tuple[int, int, int, int, str]:
    batch, m, n, k = (size.at(micro_batch) for size in operator.dims)
    return batch, m, n, k, _LAYOUTS.get(operator.gradient, Layout.TN).value


def _attention(operator: Operator, micro_batch: int) -> tuple[int, int, int, int, int, int]:
    batch, heads, kv_heads, queries, _, head_dim, _ = (size.at(micro_batch) for size in operator.dims)
    return batch, queries, heads, kv_heads, head_dim, int(operator.causal)


def _streams(operators: list[Operator], micro_batch: int) -> tuple[tuple[str, int, int], ...]:
    """Return the largest sizes of each kind that only moves bytes; row: the usual row of that kind, 0 for the rest."""
    sizes: dict[str, set[int]] = {}
    for operator in operators:
        kind = _STREAMS.get(operator.kind)
        if kind is not None and operator.phase is Phase.FORWARD:
            sizes.setdefault(kind, set()).add(operator.dims[0].at(micro_batch))
    for kind in ("norm", "softmax") if "elementwise" in sizes else ():  # recorded as their parts
        sizes.setdefault(kind, {max(sizes["elementwise"])})
    return tuple(
        (kind, elements, _ROWS.get(kind, 4096))
        for kind, found in sizes.items()
        for elements in sorted(found)[-_MOST_STREAMS:]
    )


def _layer(layer: Layer, micro_batch: int) -> tuple[int, int, int, int, int, int, int] | None:
    """Return (batch, sequence, hidden, heads, kv heads, intermediate, gated) of a decoder layer; None for others."""
    forward = [one for one in layer.operators if one.phase is Phase.FORWARD]
    kernels = [_attention(one, micro_batch) for one in forward if one.kind is OperatorKind.ATTENTION]
    gemms = [_gemm(one, micro_batch) for one in forward if one.kind is OperatorKind.MATMUL]
    if len(kernels) != 1 or not gemms:
        return None
    batch, sequence, heads, kv_heads, head_dim, _ = kernels[0]
    hidden = heads * head_dim
    widths = {k for _, _, n, k, _ in gemms if k != hidden and n == hidden}
    if len(widths) != 1:
        return None
    intermediate = widths.pop()
    gated = sum(n == intermediate and k == hidden for _, _, n, k, _ in gemms) > 1
    return batch, sequence, hidden, heads, kv_heads, intermediate, int(gated)
