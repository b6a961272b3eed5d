"""What a function that gives a model to record returns: a module, example inputs and a loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch


class Example(NamedTuple):
    """One training step: loss(module(**inputs), inputs) is a scalar.

    Module and inputs are on the meta device: shapes and dtypes without values. Whoever runs the step swaps both
    for fake tensors, and gives floating-point inputs the dtype of the parameters.
    """

    module: torch.nn.Module
    inputs: dict[str, torch.Tensor]
    loss: Callable[[Any, dict[str, torch.Tensor]], torch.Tensor]
