"""From measured rows to the model of one GPU: checks, fits, and the parts that a relative must stand in for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from hardplace.cost.gpu.fitting.fit import GEMM_START, MANY_ROWS, fit_attention, fit_gemm
from hardplace.cost.gpu.fitting.overhead import fit_overhead, fit_stream, read_steps, read_streams
from hardplace.cost.gpu.measured import AttentionRows, GemmRows, read_attention, read_gemms
from hardplace.cost.gpu.transfer import carried_attention, carried_gemm, expected_error
from hardplace.cost.gpu.types import AttentionParameters, Datasheet, Fit, GpuModel, StepOverhead, StreamParameters
from hardplace.cost.layers.types import Stream
from hardplace.errors import BadInput
from hardplace.ndtypes import Floats

_SURE_S = 2e-5  # GEMMs whose least time is above this are not bound by launches
_UNITS = {1e-9: "nanoseconds", 1e-6: "microseconds", 1e-3: "milliseconds", 1.0: "seconds"}
NO_OVERHEAD = StepOverhead(gap_s=0.0, framework=0.0, constant_s=0.0)


def calibrate(sheet: Datasheet, files: Sequence[tuple[str, str]], relative: GpuModel | None, source: str) -> GpuModel:
    """Return the model of a GPU from CSV texts (place, text); what they do not hold is the relative's.

    Raises BadInput for columns, cells or units that cannot be right, and if there is nothing to fit.
    """
    gemms, attention = read_gemms(files), read_attention(files)
    streams, steps = read_streams(files), read_steps(files)
    if gemms is None and attention is None and not streams and steps is None:
        raise BadInput(
            f"{files[0][0]}: no rows of a kind that can be fitted: expected GEMMs, attention, streams, steps"
        )
    fits: list[Fit] = []
    same = relative is not None and relative.datasheet == sheet
    trees = relative.residual if relative is not None and same else None
    figures = carried_gemm(relative.gemm, relative.datasheet, sheet) if relative else GEMM_START
    if gemms is not None:
        check_units(gemms.time_s, least_s(gemms, sheet), sheet, files[0][0], gemms.unit_s)
        start = GEMM_START if len(gemms.time_s) >= 2 * MANY_ROWS else figures
        before = (figures, trees) if trees is not None else None
        figures, trees, note = fit_gemm(sheet, gemms, start, source, before, _whose(relative, sheet))
        fits.append(note)
    else:
        fits.append(_stand_in("gemm", relative))
    backends, notes = _backends(sheet, attention, relative, source, files[0][0])
    fits += notes
    kinds = default_streams(figures.launch_s) | (dict(relative.streams) if relative else {})
    for rows in streams:
        kinds[rows.kind.value], note = fit_stream(sheet, rows, figures.launch_s, source)
        fits.append(note)
    missing = [kind.value for kind in Stream if kind not in {rows.kind for rows in streams}]
    if missing:
        fits.append(_stand_in(", ".join(missing), relative))
    overhead = relative.overhead if relative else NO_OVERHEAD
    if steps is not None:
        overhead = fit_overhead(steps)
        fits.append(replace(_stand_in("step overhead", None), method="fitted", source=source, rows=len(steps.time_s)))
    else:
        fits.append(_stand_in("step overhead", relative))
    return GpuModel(
        datasheet=sheet,
        gemm=figures,
        residual=trees,
        attention=backends,
        streams=kinds,
        overhead=overhead,
        fits=tuple(fits),
    )


def _backends(
    sheet: Datasheet, rows: AttentionRows | None, relative: GpuModel | None, source: str, place: str
) -> tuple[Mapping[str, AttentionParameters], tuple[Fit, ...]]:
    known = (
        {name: carried_attention(figures, relative.datasheet, sheet) for name, figures in relative.attention.items()}
        if relative
        else {}
    )
    if rows is None:
        return known, (_stand_in("attention", relative),)
    check_units(rows.time_s, attention_least_s(rows, sheet), sheet, place)
    found, notes = fit_attention(sheet, rows, source)
    absent = sorted(set(known) - set(found))
    return known | found, (*notes, *([_stand_in(f"attention {', '.join(absent)}", relative)] if absent else []))


def _whose(relative: GpuModel | None, sheet: Datasheet) -> str:
    """Return in words whom figures that are not fitted are of, and the error to expect where that is another GPU."""
    if relative is None:
        return "the defaults"
    if relative.datasheet == sheet:
        return f"{sheet.name} as shipped"
    name = relative.datasheet.name
    return f"{name}, its nearest relative; error to expect about {expected_error(sheet, relative.datasheet):.0%}"


def _stand_in(part: str, relative: GpuModel | None) -> Fit:
    """Return the provenance of a part that no row was given for."""
    name = relative.datasheet.name if relative else ""
    return Fit(
        part=part,
        method=f"not measured: figures of {name}" if relative else "not measured: defaults",
        source=f"model of {name}" if relative else "docs/model-gpu.md",
        rows=0,
        held_out_rows=0,
        held_out_error=None,
        held_out_error_large=None,
        noise=None,
    )


def default_streams(launch_s: float) -> dict[str, StreamParameters]:
    """Return the figures of each kind of stream before any is measured (docs/model-gpu.md, Streams)."""
    efficiency = {
        Stream.ELEMENTWISE: 0.75,
        Stream.NORM: 0.75,
        Stream.SOFTMAX: 0.55,
        Stream.EMBEDDING: 0.75,
        Stream.EMBEDDING_BACKWARD: 0.3,
        Stream.CROSS_ENTROPY: 0.67,
        Stream.OPTIMIZER: 0.75,
        Stream.DISPATCH: 0.16,
    }
    return {
        kind.value: StreamParameters(efficiency=share, wide_row=0.0, launch_s=launch_s)
        for kind, share in efficiency.items()
    }


def least_s(rows: GemmRows, sheet: Datasheet) -> Floats:
    """Return the least time that the datasheet allows each GEMM: tensor peak or memory bandwidth."""
    m, n, k, batch = (
        np.asarray(s, dtype=np.float64) for s in (rows.shapes.m, rows.shapes.n, rows.shapes.k, rows.shapes.batch)
    )
    compute = 2.0 * batch * m * n * k / sheet.tensor_flops_per_s
    memory = 2.0 * batch * (m * k + n * k + m * n) / sheet.memory_bandwidth_bytes_per_s
    return np.maximum(compute, memory)


def attention_least_s(rows: AttentionRows, sheet: Datasheet) -> Floats:
    """Return the time of the two products of each attention kernel at the tensor peak, half of it if causal."""
    batch, heads, length, dim = (
        np.asarray(one, dtype=np.float64) for one in (rows.batch, rows.heads, rows.sequence, rows.head_dim)
    )
    return np.asarray(4.0 * batch * heads * length**2 * dim / sheet.tensor_flops_per_s / (1 + rows.causal))


def check_units(time_s: Floats, least: Floats, sheet: Datasheet, place: str, unit_s: float = 1e-6) -> None:
    """Raise BadInput if times are off the least possible ones by a factor that a slip of units would explain.

    unit_s: seconds in the unit that the file names.
    """
    sure = least >= _SURE_S
    if not sure.any():
        sure = least >= least.max() / 2
    ratio = float(np.median(time_s[sure] / least[sure]))
    if 0.3 <= ratio <= 100:
        return
    off = f"{1 / ratio:.3g} times faster" if ratio < 1 else f"{ratio:.3g} times slower"
    meant = _UNITS[unit_s]
    for other_s, unit in _UNITS.items():
        if 0.3 <= ratio * other_s / unit_s <= 30:
            raise BadInput(
                f"{place}: latencies are {off} than {sheet.name} can be: they look like {unit}; expected {meant}"
            )
    raise BadInput(f"{place}: latencies are {off} than {sheet.name} can be: expected {meant} on this device")
