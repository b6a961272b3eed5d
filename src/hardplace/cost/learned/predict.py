"""Seconds of fp32 kernels on a GPU: its own figures, its relatives', or those of all, by how near its sheet is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from hardplace.cost.learned.features import features
from hardplace.cost.learned.packed import trees_sum
from hardplace.cost.learned.products import product_s
from hardplace.cost.learned.rows_passes import pass_s
from hardplace.cost.learned.types import PRODUCTS, FamilyModel, VectorKernels, VectorModel, VectorSheet
from hardplace.files import read
from hardplace.ndtypes import Floats

LIMIT = 0.5  # of the residual either way, in log(time)
FAR_LIMIT = 0.25  # the same of the median residual beyond the reach
FAR_FAMILIES = ("bmm",)  # that have it, by devices left out of the fit: docs/learned.md
_DATA = Path(__file__).parent / "data" / "fp32.json.gz"


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorTimes:
    """Predicted times of kernels of one family on one device.

    Attributes:
        seconds: Of each kernel.
        equation_s: The same by the equation alone, without learned residual.
        how: Whose figures: own, relatives or all.
        distance: From the device's sheet to the nearest that was measured; 0 for itself.
    """

    seconds: Floats
    equation_s: Floats
    how: str
    distance: float


@cache
def shipped_vector_model() -> VectorModel:
    """Return the model that ships with the package."""
    return read(_DATA, VectorModel)


def equation_s(kernels: VectorKernels, sheet: VectorSheet, figures: dict[str, float], family: str) -> Floats:
    """Return the equation's seconds of kernels of one family on one device."""
    if family in PRODUCTS:
        return product_s(kernels, sheet, figures)
    return pass_s(kernels, sheet, figures, family)


def sheet_distance(one: VectorSheet, other: VectorSheet) -> float:
    """Return how far apart two sheets are: doublings of what decides a kernel's time, each as one dimension.

    FLOPs a byte, L2 and bandwidth of a multiprocessor, FLOPs of a multiprocessor and clock, FLOPs a watt.
    """

    def point(sheet: VectorSheet) -> Floats:
        count, flops = sheet.multiprocessors, sheet.fp32_flops_per_s
        bandwidth = sheet.memory_bandwidth_bytes_per_s
        ratios = (
            flops / bandwidth, sheet.l2_bytes / count, bandwidth / count, flops / count / sheet.clock_hz,
            flops / sheet.power_w,
        )  # fmt: skip
        return np.asarray(np.log2(np.array(ratios)))

    return float(np.linalg.norm(point(one) - point(other)))


def vector_times(kernels: VectorKernels, sheet: VectorSheet, family: str, model: VectorModel) -> VectorTimes:
    """Return the predicted times of kernels of one family.

    A device that was measured has its own figures. One that is no further from its nearest relative than `reach` has
    the geometric mean of its relatives', weighted by distance. Another has those fitted on all; of batched products
    the median of all devices' residuals, within narrower limits, of the others none: beyond what was measured a learned
    correction is not trusted.
    """
    of = model.families[family]
    known = model.sheets.get(sheet.name)
    if known is not None and replace(sheet, power_w=known.power_w) == known:
        sheet = known  # its published power, where the sheet at hand has an estimate
    if sheet == known and sheet.name in of.devices:
        return VectorTimes(
            seconds=_of_device(kernels, sheet, family, of, sheet.name, learned=True),
            equation_s=_of_device(kernels, sheet, family, of, sheet.name, learned=False), how="own", distance=0.0,
        )  # fmt: skip
    others = [name for name in of.devices if name != sheet.name]
    apart = np.array([sheet_distance(model.sheets[name], sheet) for name in others])
    nearest = float(apart.min())
    pooled = equation_s(kernels, sheet, dict(of.pooled), family)
    if nearest > model.reach:
        return VectorTimes(
            seconds=pooled * _far_residual(kernels, sheet, family, of, pooled), equation_s=pooled, how="all",
            distance=nearest,
        )  # fmt: skip
    weight = np.exp(-0.5 * (apart**2 - nearest**2) / model.width**2)
    weight /= weight.sum()
    with_trees, without = (
        np.exp(
            sum(
                share * np.log(_of_device(kernels, sheet, family, of, name, learned=learned))
                for share, name in zip(weight, others, strict=True)
            )
        )
        for learned in (True, False)
    )
    return VectorTimes(seconds=with_trees, equation_s=without, how="relatives", distance=nearest)


def _of_device(
    kernels: VectorKernels, sheet: VectorSheet, family: str, of: FamilyModel, name: str, *, learned: bool
) -> Floats:
    """Return seconds on a sheet with the figures, and where asked the residual, of a measured device."""
    plain = equation_s(kernels, sheet, dict(of.devices[name]), family)
    if not learned or name not in of.residual:
        return plain
    change = trees_sum(of.residual[name], features(kernels, sheet, plain, family))
    return np.asarray(plain * np.exp(np.clip(change, -LIMIT, LIMIT)))


def _far_residual(
    kernels: VectorKernels, sheet: VectorSheet, family: str, of: FamilyModel, pooled: Floats
) -> Floats | float:
    """Return the factor on pooled seconds beyond the reach: the median of all devices' residuals, or 1."""
    if family not in FAR_FAMILIES or not of.residual:
        return 1.0
    columns = features(kernels, sheet, pooled, family)
    change = np.median([trees_sum(trees, columns) for trees in of.residual.values()], axis=0)
    return np.asarray(np.exp(np.clip(change, -FAR_LIMIT, FAR_LIMIT)))
