"""What formats Megatron's flags say that a job computes and keeps its states in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hardplace.cost.layers.low_precision import Fp8Recipe
from hardplace.errors import BadInput
from hardplace.plans.plan import Format, OptimizerKind


def numerics(flags: Mapping[str, str], place: str, zero: int) -> dict[str, Any]:
    """Return a plan's optimizer, precision, gradients and recipe of fp8, as Megatron's flags have them.

    Raises:
        BadInput: For a recipe of fp8 that is none of its.
    """
    kinds = {"sgd": OptimizerKind.SGD, "muon": OptimizerKind.MUON}
    optimizer = kinds.get(flags.get("--optimizer", "adam"), OptimizerKind.ADAMW)
    if flags.get("--exp-avg-dtype") == "fp8":
        optimizer = OptimizerKind.ADAMW_8BIT
    elif flags.get("--exp-avg-dtype") == "bf16":
        optimizer = OptimizerKind.ADAMW_BF16_MOMENTS
    elif (
        optimizer is OptimizerKind.ADAMW
        and {"--use-precision-aware-optimizer", "--bf16"} <= set(flags)
        and "--optimizer-cpu-offload" not in flags
        and zero < 3  # else fp32 masters are all that is kept
    ):
        optimizer = OptimizerKind.ADAMW_REMAINDERS  # store_param_remainders, its default
    precision = Format.BF16 if "--bf16" in flags else Format.FP16 if "--fp16" in flags else Format.FP32
    if "--fp4-format" in flags:
        precision = Format.FP4
    elif "--fp8-format" in flags:
        precision = Format.FP8
    found: dict[str, Any] = {}
    if precision is Format.FP8:
        found = {"fp8_recipe": _recipe(flags.get("--fp8-recipe", "delayed"), place)}  # its default
        found["fp8_gather"] = "--fp8-param-gather" in flags
    short = "--grad-reduce-in-bf16" in flags or (
        precision is Format.FP16 and "--accumulate-allreduce-grads-in-fp32" not in flags
    )
    return {"optimizer": optimizer, "precision": precision, "gradient": "bf16" if short else "fp32", **found}


def _recipe(word: str, place: str) -> Fp8Recipe:
    able = [one for one in Fp8Recipe if one is not Fp8Recipe.NVFP4]
    if word not in able:
        raise BadInput(f"{place}: --fp8-recipe: {word!r}: expected {' or '.join(able)}")
    return Fp8Recipe(word)
