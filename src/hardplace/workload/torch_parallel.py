"""One rank of tensor parallelism: a module with the rank's shapes and Megatron-LM's all-reduces in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from hardplace.workload.torch_models import Model
from hardplace.workload.torch_record import Place, Recorder


class _Enter(torch.autograd.Function):
    """f of Megatron-LM: identity forward, all-reduce of the gradient backward."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, recorder: Recorder, place: Place) -> torch.Tensor:
        ctx.recorder, ctx.place = recorder, place
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        ctx.recorder.collective("all_reduce", gradient, ctx.place)
        return gradient, None, None


class _Leave(torch.autograd.Function):
    """g of Megatron-LM: all-reduce of partial sums forward, identity backward."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, recorder: Recorder) -> torch.Tensor:
        recorder.collective("all_reduce", tensor, recorder.place())
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        return gradient, None


class _CrossEntropy(torch.autograd.Function):
    """Loss over logits that are cut by vocabulary, as Megatron-LM's vocab_parallel_cross_entropy does it."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, target: torch.Tensor, recorder: Recorder) -> torch.Tensor:
        def reduce(tensor: torch.Tensor) -> None:
            recorder.collective("all_reduce", tensor, recorder.place())

        values = logits.float()
        largest = values.amax(dim=-1)
        reduce(largest)
        shifted = values - largest.unsqueeze(-1)
        outside = (target < 0) | (target >= logits.shape[-1])
        inside = target.masked_fill(outside, 0).unsqueeze(-1)
        predicted = shifted.gather(-1, inside).squeeze(-1).masked_fill_(outside, 0.0)
        reduce(predicted)
        exponentials = shifted.exp_()
        total = exponentials.sum(dim=-1)
        reduce(total)
        loss = total.log() - predicted
        ctx.save_for_backward(exponentials.div_(total.unsqueeze(-1)), outside, inside)
        ctx.dtype = logits.dtype
        return loss

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        softmax, outside, inside = ctx.saved_tensors
        softmax.scatter_add_(-1, inside, (outside.float() - 1.0).unsqueeze(-1))
        return softmax.mul_(gradient.unsqueeze(-1)).to(ctx.dtype), None, None


def vocabulary_loss(recorder: Recorder) -> Callable[..., torch.Tensor]:
    """Return a stand-in for torch's cross_entropy whose logits are one rank's share of the vocabulary."""

    def loss(input: torch.Tensor, target: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        return _CrossEntropy.apply(input, target, recorder).mean()  # type: ignore[no-any-return]

    return loss


def _ends(path: str, names: tuple[str, ...]) -> bool:
    return any(path == name or path.endswith(f".{name}") for name in names)


class Cut:
    """How one rank of a tensor-parallel group holds a model: shapes of parameters, modules with collectives.

    Attention stays whole on every rank where the degree does not divide the heads; a vocabulary that does not
    divide is padded up.
    """

    def __init__(self, model: Model, module: torch.nn.Module, degree: int) -> None:
        self._degree = degree
        plan = model.plan
        whole_heads = model.heads % degree == 0
        self._modules = dict(module.named_modules())
        # Asked by name, as BERT's attention.output.dense ends in the MLP's output.dense.
        kept = () if whole_heads else plan.attention_row + plan.attention_column
        able = [path for path in self._modules if not _ends(path, kept)]
        self.columns = [path for path in able if _ends(path, plan.column + plan.attention_column)]
        self.rows = [path for path in able if _ends(path, plan.row + plan.attention_row)]
        self.embedding, self.head = plan.embedding, plan.head
        self._divided = plan.divided if whole_heads else ()
        self.vocabulary = -(-model.vocabulary // degree)
        self.shapes = self._shapes()

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the rank's shape of every parameter that is cut, by path."""
        shapes: dict[str, tuple[int, ...]] = {}
        for path in self.columns + self.rows:
            part = self._modules[path]
            # Conv1D holds (in, out), Linear (out, in).
            by_output = path in self.columns
            axis = int(isinstance(part, Conv1D)) if by_output else 1 - int(isinstance(part, Conv1D))
            shapes[f"{path}.weight"] = self._share(part.weight, axis)
            if by_output and part.bias is not None:
                shapes[f"{path}.bias"] = self._share(part.bias, 0)
        for path in (self.embedding, self.head):
            part = self._modules[path]
            shapes[f"{path}.weight"] = (self.vocabulary, *part.weight.shape[1:])
            if getattr(part, "bias", None) is not None:
                shapes[f"{path}.bias"] = (self.vocabulary,)
        return shapes

    def _share(self, weight: Any, axis: int) -> tuple[int, ...]:
        shape = list(weight.shape)
        if shape[axis] % self._degree:
            raise ValueError(f"{tuple(shape)} does not divide by {self._degree} on axis {axis}")
        shape[axis] //= self._degree
        return tuple(shape)

    def apply(self, module: Any, recorder: Recorder) -> None:
        """Put the collectives into a module whose parameters have the rank's shapes already."""
        for path, part in self._modules.items():
            for owner, attribute in self._divided:
                if _ends(path, (owner,)):
                    setattr(part, attribute, getattr(part, attribute) // self._degree)
        entered: dict[str, torch.Tensor] = {}
        for path in [*self.columns, self.head]:
            _enter(self._modules[path], recorder, entered)
        for path in self.rows:
            _leave(self._modules[path], recorder)
        _look_up(self._modules[self.embedding], self.vocabulary, recorder)
        module.config.vocab_size = self.vocabulary


def _enter(part: Any, recorder: Recorder, entered: dict[str, torch.Tensor]) -> None:
    """Let a column-cut linear take its input through f; those with one input share it (q, k, v; gate, up)."""
    inner = part.forward
    if isinstance(part, Conv1D):
        part.nf = part.weight.shape[1]

    def forward(tensor: torch.Tensor) -> torch.Tensor:
        if entered.get("given") is not tensor:
            entered.update(given=tensor, taken=_Enter.apply(tensor, recorder, recorder.place()))
        return inner(entered["taken"])  # type: ignore[no-any-return]

    part.forward = forward


def _leave(part: Any, recorder: Recorder) -> None:
    """Let a row-cut linear sum its partial results through g before the bias, which every rank holds."""

    def forward(tensor: torch.Tensor) -> torch.Tensor:
        weight = part.weight if isinstance(part, Conv1D) else part.weight.t()
        result = _Leave.apply(tensor @ weight, recorder)
        return result if part.bias is None else result + part.bias  # type: ignore[no-any-return]

    part.forward = forward


def _look_up(part: Any, rows: int, recorder: Recorder) -> None:
    """Let an embedding look up its own share of the vocabulary and sum over the ranks."""
    inner = part.forward

    def forward(tokens: torch.Tensor) -> torch.Tensor:
        outside = (tokens < 0) | (tokens >= rows)
        result = inner(tokens.masked_fill(outside, 0)).masked_fill_(outside.unsqueeze(-1), 0.0)
        return _Leave.apply(result, recorder)  # type: ignore[no-any-return]

    part.forward = forward
