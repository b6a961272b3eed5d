"""A workload in words: its facts, warnings, and the rows of its tables, for the terminal and the page."""

from __future__ import annotations

from hardplace.report import text as words
from hardplace.units import format_quantity, percent
from hardplace.workload.summary import KindFacts, LayerFacts, OperatorFacts, Summary
from hardplace.workload.types import Gradient, OperatorKind

_HEAVIEST = 10  # operators of a table of the heaviest
_DIMS = {
    OperatorKind.MATMUL: ("batch", "m", "n", "k"),
    OperatorKind.GROUPED_MATMUL: ("groups", "m", "n", "k"),
    OperatorKind.SCAN: ("batch", "length", "heads", "d", "groups", "state", "chunk"),
}


def dims_text(operator: OperatorFacts) -> str:
    """Return an operator's dimensions in words."""
    dims = operator.dims
    if operator.kind is OperatorKind.CONVOLUTION:
        batch, channels, filters, groups = dims[:4]
        spatial = (len(dims) - 4) // 3
        before, after, kernel = (
            "x".join(map(str, dims[4 + part * spatial : 4 + (part + 1) * spatial])) for part in range(3)
        )
        grouped = f", {groups} groups" if groups > 1 else ""
        return f"{_batch(batch)}{channels} to {filters} channels, {before} to {after}, kernel {kernel}{grouped}"
    if operator.kind is OperatorKind.ATTENTION:
        batch, heads, kv_heads, queries, keys, width, value_width = dims
        kv = "" if kv_heads == heads else f" ({kv_heads} kv)"
        values = "" if value_width == width else f" (v {value_width})"
        return f"{_batch(batch)}heads {heads}{kv}, {queries:,} x {keys:,}, d {width}{values}"
    if operator.kind in _DIMS:
        named = list(zip(_DIMS[operator.kind], dims, strict=True))
        if operator.kind in (OperatorKind.MATMUL, OperatorKind.SCAN) and dims[0] == 1:
            named = named[1:]
        return ", ".join(f"{name} {size:,}" for name, size in named)
    if operator.kind is OperatorKind.COLLECTIVE:
        return f"{format_quantity(dims[0], 'B')}, {operator.group} group"
    return ", ".join(f"{size:,} elements" for size in dims)


def _batch(size: int) -> str:
    return f"batch {size}, " if size > 1 else ""


def _flops(value: int) -> str:
    return format_quantity(value, "FLOP") if value else "-"


def what(operator: OperatorFacts) -> str:
    """Return what an operator is: its name and phase, or which of the three products of a linear layer."""
    which = operator.gradient if operator.gradient is not Gradient.NONE else operator.phase
    return operator.name if operator.name.endswith(f"_{which}") else f"{operator.name} {which}"


def heaviest(summary: Summary, by: str) -> tuple[OperatorFacts, ...]:
    """Return the operators that cost most over the whole model by "flops" or "moved_bytes", the heaviest first."""
    costly = [one for one in summary.operators if getattr(one, by)]
    return tuple(sorted(costly, key=lambda one: -one.count * getattr(one, by))[:_HEAVIEST])


def facts(summary: Summary) -> str:
    """Return the line of facts."""
    held = ""
    if summary.parallelism == type(summary.parallelism)() and summary.held_parameters != summary.parameters:
        held = f" ({summary.held_parameters:,} of them take part)"
    if summary.training and summary.trained_parameters < summary.held_parameters:
        held += f" ({summary.trained_parameters:,} trained)"
    forward, backward = summary.forward_flops_per_sample, summary.backward_flops_per_sample
    pass_ = f" forward, {format_quantity(backward, 'FLOP')} backward" if summary.training else ""
    return (
        f"{summary.parameters:,} parameters{held}, {summary.dtype}, {format_quantity(summary.held_bytes, 'B')}"
        f"{' on a rank' if parallel(summary) else ''}; sequence {summary.sequence_length:,}; a sample: "
        f"{format_quantity(forward, 'FLOP')}{pass_}; {'training' if summary.training else 'inference'}"
    )


def kept(summary: Summary) -> str:
    """Return what all layers keep for the backward pass, nothing of inference."""
    if not summary.training:
        return ""
    several = summary.saved_bytes < sum(one.count * one.saved_bytes for one in summary.layers)
    once = ", what several layers keep once" if several else ""
    return f", {format_quantity(summary.saved_bytes, 'B')} kept for the backward pass{once}"


def parallel(summary: Summary) -> str:
    """Return the degrees of what is parallel in words, nothing if nothing is."""
    one = summary.parallelism
    parts = [
        f"{name} {degree}"
        for name, degree in (("tensor", one.tensor), ("context", one.context), ("expert", one.expert))
        if degree > 1
    ]
    return ", ".join(parts) + (", sequence parallel" if one.sequence else "")


def notes(summary: Summary) -> tuple[str, ...]:
    """Return warnings: operators without a model of their own, parameters that stay whole."""
    found = []
    for kind in summary.kinds:
        if kind.kind is OperatorKind.OTHER:
            found.append(
                f"without a model of their own: {', '.join(summary.unmodelled)} ({kind.operators:,} operators, "
                f"{percent(kind.flops_share, 2)} of the FLOPs, {percent(kind.bytes_share, 2)} of the bytes)"
            )
    if summary.whole:
        layers: dict[str, list[str]] = {}
        for text in summary.whole:
            layer, _, module = text.partition(": ")
            layers.setdefault(layer, []).append(module)
        alike: dict[tuple[str, ...], list[str]] = {}
        for layer, modules in layers.items():
            alike.setdefault(tuple(modules), []).append(layer)
        places = [f"{', '.join(names)}: {', '.join(modules)}".removesuffix(": ") for modules, names in alike.items()]
        found.append(f"whole on every tensor-parallel rank: {'; '.join(places)}")
    return tuple(found)


LAYER_COLUMNS = ("layer", "count", "parameters", "forward", "backward", "moved", "saved", "outputs", "operators")


COLLECTIVE_COLUMNS = ("collectives", "their bytes")


HEAVY_COLUMNS = ("share", "each", "operator", "where", "dimensions")


OPERATOR_COLUMNS = (
    "module",
    "operator",
    "kind",
    "phase",
    "gradient",
    "layout",
    "dimensions",
    "FLOPs",
    "read",
    "written",
)


def layer_cells(layer: LayerFacts, collectives: bool) -> tuple[str, ...]:
    """Return the row of a layer."""
    cells = (
        layer.name,
        f"{layer.count:,}",
        words.count(layer.parameters),
        _flops(layer.forward_flops),
        _flops(layer.backward_flops),
        format_quantity(layer.moved_bytes, "B"),
        format_quantity(layer.saved_bytes, "B"),
        format_quantity(layer.output_bytes, "B") if layer.output_bytes else "-",
        f"{layer.operators:,}",
    )
    if not collectives:
        return cells
    return (*cells, f"{layer.collectives}", format_quantity(layer.collective_bytes, "B"))


def kind_cells(kind: KindFacts) -> tuple[str, ...]:
    """Return the row of a kind."""
    moved = "-" if kind.kind is OperatorKind.COLLECTIVE else percent(kind.bytes_share)
    return (
        kind.kind.value,
        f"{kind.operators:,}",
        _flops(kind.flops),
        percent(kind.flops_share) if kind.flops else "-",
        format_quantity(kind.moved_bytes, "B") if kind.moved_bytes else "-",
        moved,
    )


def heavy_cells(operator: OperatorFacts, by: str, unit: str, total: int) -> tuple[str, ...]:
    """Return the row of a heavy operator."""
    value = operator.count * getattr(operator, by)
    where = f"{operator.layer} {operator.module}".strip()
    times = f"{operator.count} x " if operator.count > 1 else ""
    return (
        percent(value / total),
        f"{times}{format_quantity(getattr(operator, by), unit)}",
        what(operator),
        where,
        dims_text(operator),
    )


def operator_cells(operator: OperatorFacts) -> tuple[str, ...]:
    """Return the row of an operator in the list of its layer."""
    return (
        operator.module or "-",
        operator.name,
        operator.kind.value,
        operator.phase.value,
        "" if operator.gradient is Gradient.NONE else operator.gradient.value,
        operator.layout,
        dims_text(operator),
        _flops(operator.flops),
        format_quantity(operator.read_bytes, "B"),
        format_quantity(operator.written_bytes, "B"),
    )
