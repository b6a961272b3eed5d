"""Numbers for the storages and tensors of a recording: one for each place in memory, seen in one way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from hardplace.workload.recording.trace import Trace, View


class RecordedMemory:
    """Numbers storages and tensors as they are met, and writes them into a trace."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._numbers: dict[int, int] = {}  # of storages, by address
        self._tensors: dict[View, int] = {}
        self._alive: list[torch.UntypedStorage] = []  # addresses must not be used again

    def storage(self, tensor: torch.Tensor) -> int:
        """Return the number of a tensor's storage."""
        storage = tensor.untyped_storage()
        number = self._numbers.get(storage._cdata)
        if number is None:
            number = self._numbers[storage._cdata] = len(self._trace.storage_bytes)
            self._trace.storage_bytes.append(storage.nbytes())
            self._alive.append(storage)
        return number

    def tensor(self, tensor: torch.Tensor) -> int:
        """Return the number of a tensor: the same for the same place in memory seen in the same way."""
        view = View(
            self.storage(tensor),
            tuple(tensor.shape),
            tuple(tensor.stride()),
            int(tensor.storage_offset()),
            str(tensor.dtype).removeprefix("torch."),
        )
        number = self._tensors.setdefault(view, len(self._trace.views))
        if number == len(self._trace.views):
            self._trace.views.append(view)
        return number

    def alias(self, view: torch.Tensor, origin: torch.Tensor) -> None:
        """Let two storages be one."""
        number = self.storage(origin)
        storage = view.untyped_storage()
        self._numbers[storage._cdata] = number
        self._alive.append(storage)


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """Give the tensors in what an operator takes or returns: lists at most, so that torch's pytree is not needed."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)
