"""Fit each part of a GPU model on measured rows, and judge it on the rows that no fit sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace

import numpy as np

from hardplace.cost.gpu.attention import attention_s
from hardplace.cost.gpu.fitting.optimise import fit
from hardplace.cost.gpu.gemm import LAYOUTS, alignment_bits
from hardplace.cost.gpu.measured import AttentionRows, GemmRows
from hardplace.cost.gpu.residual import corrected_gemm_s, features
from hardplace.cost.gpu.trees import boost
from hardplace.cost.gpu.types import AttentionParameters, Datasheet, Fit, GemmParameters, Trees
from hardplace.ndtypes import Bools, Floats

FEW_ROWS = 10  # below, nothing is fitted
MANY_ROWS = 300  # from here on, all figures of the GEMM model are
RESIDUAL_ROWS = 2000
_FACTOR_ROWS = 5  # from here on, the factor of a layout or an alignment is fitted
_SAMPLE = 3000  # large and other GEMMs that the figures are fitted on
_OTHER_WEIGHT = 0.4  # of GEMMs that are not large
_SHORT_WEIGHT = 0.4  # of attention below 1024
_ALIGNED = 5  # log2 of 32: from here on a GEMM counts as aligned
SOME_ROWS = 60  # from here on, what makes up a tile's time is fitted too
_SCALARS = ("tensor_efficiency", "dram_efficiency", "launch_s")
_MIDDLE = (*_SCALARS, "tile_bytes_per_cycle", "tile_start_s", "wave_rounding", "joule_per_flop", "split_s")
GEMM_RANGES = {
    "tensor_efficiency": (0.3, 1.0),
    "tile_bytes_per_cycle": (8.0, 256.0),
    "l2_bytes_per_cycle": (4.0, 256.0),
    "dram_efficiency": (0.3, 1.0),
    "reread": (0.0, 1.0),
    "warm": (0.0, 1.0),
    "launch_s": (2e-7, 1e-4),
    "tile_start_s": (1e-7, 2e-5),
    "step_s": (5e-10, 1e-7),
    "wave_rounding": (0.0, 1.0),
    "joule_per_flop": (5e-14, 4e-12),
    "joule_per_byte": (5e-12, 2e-10),
    "split_s": (1e-7, 1e-5),
    "split_bandwidth": (0.3, 10.0),
}
# Score GEMMs on A100 run at 95, 152, 152, 205, 207, 213, 215 TFLOP/s for 1 ... 64 as the largest power of two in h/a
# (arXiv 2401.14489). These factors make the model's A100 do so at h/a about 640, s = 2048, where it has 215 itself.
ALIGNMENT = (2.644, 1.549, 1.549, 1.067, 1.053, 1.013, 1.0)
LAYOUT = (1.0, 0.985, 1.04)
GEMM_START = GemmParameters(
    tensor_efficiency=0.85,
    tile_bytes_per_cycle=60.0,
    l2_bytes_per_cycle=40.0,
    dram_efficiency=0.85,
    reread=0.3,
    warm=0.3,
    launch_s=2e-6,
    tile_start_s=1.5e-6,
    step_s=1e-8,
    wave_rounding=0.5,
    joule_per_flop=4e-13,
    joule_per_byte=3e-11,
    split_s=1e-6,
    split_bandwidth=1.5,
    alignment=ALIGNMENT,
    layout=LAYOUT,
)
ATTENTION_RANGES = {
    "exponentials_per_cycle": (2.0, 128.0),
    "causal": (0.0, 1.0),
    "wave_rounding": (0.0, 1.0),
    "block_start_s": (1e-7, 2e-5),
    "lone": (0.2, 2.0),
    "dram_efficiency": (0.2, 1.0),
    "l2_bytes_per_cycle": (8.0, 256.0),
    "launch_s": (1e-6, 4e-5),
    "cache_bytes": (0.0, 20.0),
}
_ATTENTION_START = {
    "exponentials_per_cycle": 16.0,
    "causal": 0.05,
    "wave_rounding": 0.5,
    "block_start_s": 1e-6,
    "lone": 1.0,
    "dram_efficiency": 0.7,
    "l2_bytes_per_cycle": 60.0,
    "launch_s": 4e-6,
    "cache_bytes": 1.0,
}
_EFFICIENCY, _EFFICIENCY_START = (0.03, 1.0), 0.6
BACKWARD = 3.0  # SimuMax, A100 and B200: 2.9-3.3 times the forward's time where launches do not count


Corrected = tuple[GemmParameters, Trees]  # figures, and the residual that was fitted on them


def large(rows: GemmRows) -> Bools:
    """Return which GEMMs are large: m >= 1024 and n, k >= 512."""
    return np.asarray((rows.shapes.m >= 1024) & (rows.shapes.n >= 512) & (rows.shapes.k >= 512))


def fit_gemm(
    sheet: Datasheet,
    rows: GemmRows,
    start: GemmParameters,
    source: str,
    before: Corrected | None = None,
    whose: str = "the defaults",
) -> tuple[GemmParameters, Trees | None, Fit]:
    """Return the figures and the correction that fit the rows outside the held-out (n, k), and how well they do.

    With few rows only three figures are fitted, from those of the nearest relative (`start`); with fewer still, none.
    before: the figures and correction fitted earlier for the same device. Rows too few for a correction of their own
    keep it, on figures fitted anew beneath it, unless new figures without it meet these rows better. whose: in words,
    whom the figures to start from are of.
    """
    seen = rows.take(np.flatnonzero(~rows.held_out))
    figures, method = _figures(sheet, seen, start, whose)
    trees = _correction(sheet, seen, figures) if len(seen.time_s) >= RESIDUAL_ROWS else None
    if trees is None and before is not None:
        figures, trees, method = _better_of(sheet, seen, (figures, method), before, whose)
    held = rows.take(np.flatnonzero(rows.held_out))
    error = np.abs(corrected_gemm_s(held.shapes, sheet, figures, trees) / held.time_s - 1.0)
    return figures, trees, _report("gemm", method, source, len(seen.time_s), error, error[large(held)], rows.spread)


def fit_every_row(sheet: Datasheet, rows: GemmRows, start: GemmParameters) -> Corrected:
    """Return figures and correction fitted on all rows given, for a study with splits of its own."""
    figures, _ = _figures(sheet, rows, start, "the defaults")
    return figures, _correction(sheet, rows, figures)


def _better_of(
    sheet: Datasheet, seen: GemmRows, fitted: tuple[GemmParameters, str], before: Corrected, whose: str
) -> tuple[GemmParameters, Trees | None, str]:
    """Return the figures without a correction, or with the earlier one, whichever meets the rows better."""
    earlier, trees = before
    beneath, method = _figures(sheet, seen, earlier, whose, trees)

    def error(figures: GemmParameters, correction: Trees | None) -> float:
        return float(np.abs(np.log(corrected_gemm_s(seen.shapes, sheet, figures, correction) / seen.time_s)).mean())

    if len(seen.time_s) >= FEW_ROWS and error(fitted[0], None) < error(beneath, trees):
        return fitted[0], None, f"{fitted[1]}; no residual"
    return beneath, trees, f"{method}; residual of the model before"


def _report(part: str, method: str, source: str, rows: int, error: Floats, most: Floats, spread: Floats) -> Fit:
    known = spread[np.isfinite(spread)]
    return Fit(
        part=part,
        method=method,
        source=source,
        rows=rows,
        held_out_rows=len(error),
        held_out_error=round(float(error.mean()), 4) if len(error) else None,
        held_out_error_large=round(float(most.mean()), 4) if len(most) else None,
        noise=round(float(known.mean()), 4) if len(known) else None,
    )


def _figures(
    sheet: Datasheet, seen: GemmRows, start: GemmParameters, whose: str, trees: Trees | None = None
) -> tuple[GemmParameters, str]:
    """Return the figures that fit the rows best, beneath a correction if one is given, and which were fitted."""
    if len(seen.time_s) < FEW_ROWS:
        return start, f"too few rows to fit ({len(seen.time_s)} of {FEW_ROWS}): those of {whose}"
    aligned = alignment_bits(seen.shapes) >= _ALIGNED
    plain = aligned & (seen.shapes.layout == 0)
    chosen = np.flatnonzero(plain if plain.sum() >= MANY_ROWS else aligned)
    usual = seen.take(chosen) if len(chosen) >= FEW_ROWS else seen
    names = tuple(GEMM_RANGES) if len(usual.time_s) >= MANY_ROWS else _SCALARS
    if len(usual.time_s) < MANY_ROWS and len(seen.time_s) >= SOME_ROWS:
        names = _MIDDLE
    rows, weight = _sample(usual)

    def predict_s(changed: dict[str, float]) -> Floats:
        return corrected_gemm_s(rows.shapes, sheet, changed_figures(start, changed), trees)

    found = fit(
        predict_s,
        {name: float(getattr(start, name)) for name in names},
        {name: GEMM_RANGES[name] for name in names},
        rows.time_s,
        weight,
    )
    figures = changed_figures(start, {name: _digits(value) for name, value in found.items()})
    how = "all figures" if len(names) == len(GEMM_RANGES) else f"{', '.join(names)}; the rest of {whose}"
    return _factors(sheet, seen, figures, trees), f"fitted: {how}"


def changed_figures(start: GemmParameters, changed: Mapping[str, float]) -> GemmParameters:
    """Return the figures with some of them changed, by name."""
    return GemmParameters(**(asdict(start) | dict(changed)))


def _digits(value: float) -> float:
    return float(f"{value:.5g}")


def _sample(rows: GemmRows) -> tuple[GemmRows, Floats]:
    """Return as many large GEMMs as others, and their weights."""
    random = np.random.default_rng(0)
    is_large = large(rows)
    parts = [random.permutation(np.flatnonzero(chosen))[:_SAMPLE] for chosen in (is_large, ~is_large)]
    weight = np.concatenate([np.full(len(parts[0]), 1.0), np.full(len(parts[1]), _OTHER_WEIGHT)])
    return rows.take(np.concatenate(parts)), weight


def _factors(sheet: Datasheet, seen: GemmRows, figures: GemmParameters, trees: Trees | None) -> GemmParameters:
    """Return the figures with the factors of layouts and alignments that have rows enough; the rest keep theirs."""
    aligned = alignment_bits(seen.shapes)
    layout = list(figures.layout)
    for code in range(1, len(LAYOUTS)):
        chosen = np.flatnonzero((seen.shapes.layout == code) & (aligned >= _ALIGNED))
        if len(chosen) >= _FACTOR_ROWS:
            rows = seen.take(chosen)
            layout[code] *= float(np.median(rows.time_s / corrected_gemm_s(rows.shapes, sheet, figures, trees)))
    figures = replace(figures, layout=tuple(_digits(one) for one in layout))
    alignment = list(figures.alignment)
    for power in range(_ALIGNED):
        chosen = np.flatnonzero(aligned == power)
        if len(chosen) >= _FACTOR_ROWS:
            alignment[power] = _alignment_factor(sheet, seen.take(chosen), figures, trees, power)
    # a better alignment is never slower
    alignment = np.maximum.accumulate(alignment[::-1])[::-1].tolist()
    return replace(figures, alignment=tuple(_digits(one) for one in alignment))


def _alignment_factor(
    sheet: Datasheet, rows: GemmRows, figures: GemmParameters, trees: Trees | None, power: int
) -> float:
    """Return the factor on the tile time, of a fine grid, that fits these rows best."""

    def error(factor: float) -> float:
        alignment = (*figures.alignment[:power], factor, *figures.alignment[power + 1 :])
        predicted = corrected_gemm_s(rows.shapes, sheet, replace(figures, alignment=alignment), trees)
        return float(np.abs(np.log(predicted / rows.time_s)).mean())

    grid: list[float] = np.geomspace(1.0, 8.0, 105).tolist()
    return min(grid, key=error)


def _correction(sheet: Datasheet, seen: GemmRows, figures: GemmParameters) -> Trees:
    rows = seen.take(np.flatnonzero(seen.shapes.batch == 1))
    model_s = corrected_gemm_s(rows.shapes, sheet, figures, None)
    columns, growing = features(rows.shapes, sheet, model_s)
    weight = np.where(large(rows), 1.0, 0.5)
    return boost(columns, growing, np.log(model_s), np.log(rows.time_s), weight)


def fit_attention(
    sheet: Datasheet, rows: AttentionRows, source: str
) -> tuple[dict[str, AttentionParameters], tuple[Fit, ...]]:
    """Return the figures of each backend that has rows enough, and how well they do on held-out shapes."""
    found, fits = {}, []
    names = np.array(rows.backend)
    for backend in sorted(set(rows.backend)):
        of = rows.take(np.flatnonzero(names == backend))
        seen = of.take(np.flatnonzero(~of.held_out))
        if len(seen.time_s) < MANY_ROWS:
            continue
        figures = found[backend] = attention_figures(sheet, seen)
        held = of.take(np.flatnonzero(of.held_out))
        error = np.abs(attention_s(held, sheet, figures) / held.time_s - 1.0)
        long = error[held.sequence >= 1024]
        part = f"attention {backend}"
        fits.append(_report(part, "fitted: all figures", source, len(seen.time_s), error, long, of.spread))
    return found, tuple(fits)


def attention_figures(sheet: Datasheet, seen: AttentionRows) -> AttentionParameters:
    """Return the figures of one backend that fit rows best: long sequences count most; backward is one ratio."""
    forward = seen.take(np.flatnonzero(seen.backward == 0))
    rows = forward.take(np.random.default_rng(0).permutation(len(forward.time_s))[: 2 * _SAMPLE])
    dims = tuple(sorted(set(rows.head_dim.tolist())))

    def figures(values: dict[str, float]) -> AttentionParameters:
        efficiency = tuple(_digits(values[f"head_dim {dim}"]) for dim in dims)
        rest = {name: _digits(value) for name, value in values.items() if not name.startswith("head_dim ")}
        return AttentionParameters(head_dims=dims, efficiency=efficiency, backward=BACKWARD, backward_of=(), **rest)

    start = {f"head_dim {dim}": _EFFICIENCY_START for dim in dims} | _ATTENTION_START
    ranges = {f"head_dim {dim}": _EFFICIENCY for dim in dims} | ATTENTION_RANGES
    weight = np.where(rows.sequence >= 1024, 1.0, _SHORT_WEIGHT)
    found = figures(fit(lambda values: attention_s(rows, sheet, figures(values)), start, ranges, rows.time_s, weight))
    back = seen.take(np.flatnonzero(seen.backward == 1))
    if len(back.time_s) < FEW_ROWS:
        return found
    once = attention_s(back, sheet, replace(found, backward=1.0)) - found.launch_s
    ratio = float(np.median((back.time_s - found.launch_s) / once))
    return replace(found, backward=_digits(max(1.0, ratio)))
