"""One training step of a catalogue model on fake tensors, on one rank of a tensor-parallel group."""

from __future__ import annotations

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from hardplace.workload.torch_functions import DeviceFunctions, without_mask_tensors
from hardplace.workload.torch_models import Model
from hardplace.workload.torch_parallel import Cut, vocabulary_loss
from hardplace.workload.torch_record import Recorder, Trace, record

DTYPE = torch.bfloat16


def fake(module: torch.nn.Module, shapes: dict[str, tuple[int, ...]], mode: FakeTensorMode) -> None:
    """Give a module on the meta device fake bf16 parameters, in place, of other shapes where `shapes` says.

    Shared parameters stay shared. Fake CPU tensors, not meta ones: those decompose attention.
    """
    made: dict[int, torch.nn.Parameter] = {}
    for path, weight in list(module.named_parameters(remove_duplicate=False)):
        owner, _, name = path.rpartition(".")
        if id(weight) not in made:
            made[id(weight)] = torch.nn.Parameter(_empty(shapes.get(path, tuple(weight.shape)), DTYPE, mode))
        setattr(module.get_submodule(owner), name, made[id(weight)])
    for path, buffer in list(module.named_buffers()):
        owner, _, name = path.rpartition(".")
        setattr(module.get_submodule(owner), name, _empty(tuple(buffer.shape), buffer.dtype, mode))


def _empty(shape: tuple[int, ...], dtype: torch.dtype, mode: FakeTensorMode) -> torch.Tensor:
    with mode:
        return torch.empty(shape, dtype=dtype, device="cpu")


def parameters_of(model: Model) -> int:
    """Return the number of a model's parameters, tied ones once."""
    with torch.device("meta"):
        return sum(weight.numel() for weight in model.build(True).parameters())


def trace(model: Model, micro_batch: int, tensor_parallel: int = 1) -> Trace:
    """Return what one rank computes for one micro-batch (samples): forward, loss, backward.

    Tied weights are recorded as two, since the first and the last pipeline stage hold one each.
    """
    with torch.device("meta"):
        module = model.build(False)
    cut = Cut(model, module, tensor_parallel) if tensor_parallel > 1 else None
    mode = FakeTensorMode()
    fake(module, cut.shapes if cut else {}, mode)
    module.train()
    with mode:
        tokens = torch.empty((micro_batch, model.sequence_length), dtype=torch.int64)
        labels = torch.empty_like(tokens)
    recorder = Recorder(module, {"input_ids": tokens, "labels": labels})
    if cut:
        cut.apply(module, recorder)
    functions = DeviceFunctions(vocabulary_loss(recorder) if cut else None)

    def step() -> torch.Tensor:
        with functions, without_mask_tensors():
            return module(input_ids=tokens, labels=labels).loss  # type: ignore[no-any-return]

    with mode:
        return record(recorder, step)
