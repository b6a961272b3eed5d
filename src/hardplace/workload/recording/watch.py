"""How far a recording is, told by the modules that run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

_FORWARD = 0.4  # share of a recording: the first forward pass; its backward pass takes longer
_SHORT = 0.85  # where the short passes at other micro-batch sizes begin


@contextmanager
def watched(module: torch.nn.Module, show: Callable[[str, float], None]) -> Iterator[None]:
    """Call show with what runs and the share that is done, at each call of a part of the module.

    It follows forward passes from outside and adds nothing to the graph: a backward pass is silent.
    """
    paths = {part: path for path, part in module.named_modules()}
    passes, calls = 0, 0

    def enter(part: torch.nn.Module, _: Any) -> None:
        nonlocal passes, calls
        path = paths.get(part)
        if path is None:
            return
        calls += 1
        if part is module:
            passes, calls = passes + 1, 0
        done = _FORWARD * min(1.0, calls / len(paths)) if passes < 2 else min(1.0, _SHORT + 0.05 * (passes - 2))
        show(f"recording, pass {passes}: {path or 'the model'}", done)

    hook = torch.nn.modules.module.register_module_forward_pre_hook(enter)
    try:
        yield
    finally:
        hook.remove()
