"""A CPU's cost model: rooflines by class of operator, fitted on measured operators (docs/model-split.md, "CPU")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from hardplace.cost.cpu.types import CpuOperator
from hardplace.cost.gpu.fitting.optimise import fit
from hardplace.errors import BadInput
from hardplace.ndtypes import Floats

_FEWEST = 3  # distinct operators that make a class of their own
_HELD = 3  # of an estimate of the error, every so many operators are held back
_PRODUCT = {"start_s": 5e-6, "flops_per_s": 1e11, "m": 10.0, "n": 5.0, "k": 20.0, "bytes_per_s": 2e10}
_PRODUCT_RANGES = {
    "start_s": (1e-7, 2e-4),
    "flops_per_s": (1e9, 4e12),
    "m": (0.01, 300.0),
    "n": (0.01, 300.0),
    "k": (0.01, 1000.0),
    "bytes_per_s": (1e9, 4e11),
}
_STREAM = {"start_s": 8e-6, "near_bytes_per_s": 3e10, "far_bytes_per_s": 1e10}
_STREAM_RANGES = {"start_s": (1e-7, 2e-4), "near_bytes_per_s": (1e8, 4e11), "far_bytes_per_s": (1e8, 2e11)}
_NEAR_BYTES = 2.0**25  # what a last-level cache holds, about


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuModel:
    """Figures by class: the kind of a product, the name or the kind of a stream, or of all products or streams.

    held_out_error: by class, mean |predicted / measured - 1| of operators that a fit on the others had not seen.
    """

    name: str
    figures: Mapping[str, Mapping[str, float]]
    held_out_error: Mapping[str, float]

    def seconds(self, operator: CpuOperator) -> float:
        """Return the seconds of an operator on one thread."""
        figures = self.figures[self.class_of(operator)]
        return float(_predicted([operator], dict(figures))[0])

    def class_of(self, operator: CpuOperator) -> str:
        """Return the class whose figures price an operator."""
        return next(one for one in _classes(operator) if one in self.figures)


def fitted(name: str, operators: Sequence[CpuOperator]) -> CpuModel:
    """Return the model of measured operators, each distinct one once."""
    classes: dict[str, list[CpuOperator]] = {}
    for one in operators:
        for each in _classes(one):
            classes.setdefault(each, []).append(one)
    figures, errors = {}, {}
    for each, members in classes.items():
        if len(members) < _FEWEST and each not in ("streams", "products"):
            continue
        figures[each] = _fitted(members)
        if len(members) >= 2 * _HELD:
            errors[each] = _held_out_error(members)
    for each in ("streams", "products"):
        if each not in figures:
            raise BadInput(name, None, f"measured {each}: matrix products, and operators that move bytes alone")
    return CpuModel(name=name, figures=figures, held_out_error=errors)


def _classes(operator: CpuOperator) -> tuple[str, ...]:
    """Return the classes that may price an operator, the finest first."""
    if operator.flops:
        grouped = operator.kind == "convolution" and operator.batch > 1
        return (*(["convolution in groups"] if grouped else []), operator.kind, "products")
    return (f"{operator.kind} {operator.name}", operator.kind, "streams")


def _held_out_error(operators: Sequence[CpuOperator]) -> float:
    """Return the mean error of every third operator by fits without it."""
    errors = []
    for part in range(_HELD):
        held = operators[part::_HELD]
        seen = [one for index, one in enumerate(operators) if index % _HELD != part]
        measured = np.array([one.seconds for one in held])
        errors += np.abs(_predicted(held, _fitted(seen)) / measured - 1).tolist()
    return float(np.mean(errors))


def _fitted(operators: Sequence[CpuOperator]) -> dict[str, float]:
    measured = np.array([one.seconds for one in operators])
    product = operators[0].flops > 0
    return fit(
        partial(_predicted, operators), _PRODUCT if product else _STREAM,
        _PRODUCT_RANGES if product else _STREAM_RANGES, measured, np.ones(len(operators)),
    )  # fmt: skip


def _predicted(operators: Sequence[CpuOperator], figures: dict[str, float]) -> Floats:
    """Return the seconds of operators of one class."""
    moved = np.array([one.moved_bytes for one in operators])
    if "flops_per_s" not in figures:
        near = np.minimum(moved, _NEAR_BYTES) / figures["near_bytes_per_s"]
        return np.asarray(figures["start_s"] + near + np.maximum(moved - _NEAR_BYTES, 0) / figures["far_bytes_per_s"])
    sizes = np.array([[one.m, one.n, one.k] for one in operators], dtype=np.float64)
    small = np.array([figures["m"], figures["n"], figures["k"]])
    full = (sizes / (sizes + small)).prod(axis=1)
    work = np.array([one.flops for one in operators]) / (figures["flops_per_s"] * full)
    return np.asarray(figures["start_s"] + np.maximum(work, moved / figures["bytes_per_s"]))
