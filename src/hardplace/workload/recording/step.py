"""One training step of a module on fake tensors: what a user points at, and its trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    UnsupportedFakeTensorException,
)
from torch.utils._pytree import tree_leaves, tree_map_only

from hardplace.errors import BadInput
from hardplace.workload.recording.functions import DeviceFunctions, device_choices
from hardplace.workload.recording.held_buffers import held_buffers
from hardplace.workload.recording.known_values import KnownValues
from hardplace.workload.recording.library import library_stand_ins
from hardplace.workload.recording.memory import RecordedMemory
from hardplace.workload.recording.record import Recorder, record
from hardplace.workload.recording.routing import BalancedRouting
from hardplace.workload.recording.trace import Trace

Inputs = dict[str, Any]
_OF_VALUES = (DataDependentOutputException, DynamicOutputShapeException, UnsupportedFakeTensorException)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingStep:
    """A step to record. module: without values (on the meta device). inputs: keyword arguments of the module for a
    micro-batch (samples), tensors on the meta device, or on the CPU where their values are known. loss: from what the
    module returns and its inputs; None where there is no backward pass. dtype: of parameters and float buffers, but
    those of own_types, by their paths. autocast: dtype of mixed precision, or None. positional: the inputs that go
    before the named ones, in order. balanced: whether choices of experts are known, each in turn. notes: what is not
    as the model would have it. others: what to try, in turn, where this does not run.
    """

    name: str
    source: str
    command: str
    sequence_length: int
    module: torch.nn.Module
    inputs: Callable[[int], Inputs]
    loss: Callable[[Any, Inputs], torch.Tensor] | None
    dtype: torch.dtype = torch.bfloat16
    autocast: torch.dtype | None = None
    own_types: frozenset[str] = frozenset()
    positional: tuple[str, ...] = ()
    balanced: bool = False
    notes: tuple[str, ...] = ()
    others: tuple[TrainingStep, ...] = ()


def is_packed(dtype: torch.dtype) -> bool:
    """Return whether weights of a type are quantised, so that they keep it whatever the others are recorded in."""
    return not (dtype.is_floating_point or dtype.is_complex) or dtype.itemsize == 1


def parameters_of(module: torch.nn.Module) -> int:
    """Return the number of a module's parameters, shared ones once."""
    return sum(weight.numel() for weight in module.parameters())


def fake(
    module: torch.nn.Module, dtype: torch.dtype, mode: FakeTensorMode, own_types: frozenset[str] = frozenset()
) -> dict[str, tuple[Any, Any]]:
    """Give a module fake parameters and buffers of these shapes, in place; return (module, old ones) to put back.

    Floats are cast to dtype, as module.to(dtype) does, but for those of own_types (paths).

    Each module gets its own, so that tied weights are two: the first and the last pipeline stage hold one each.
    Fake CPU tensors, not meta ones: those decompose attention, and models that look at their device go astray.
    """
    kept = {}
    for path, part in module.named_modules():
        kept[path] = (dict(part._parameters), dict(part._buffers))
        for name, weight in part._parameters.items():
            if weight is not None:
                made = _empty(weight, _dtype_of(weight, dtype, f"{path}.{name}".lstrip("."), own_types), mode)
                part._parameters[name] = torch.nn.Parameter(made, requires_grad=weight.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                wanted = _dtype_of(buffer, dtype, f"{path}.{name}".lstrip("."), own_types)
                part._buffers[name] = _empty(buffer, wanted, mode)
    return kept


def _dtype_of(tensor: torch.Tensor, dtype: torch.dtype, path: str, own_types: frozenset[str]) -> torch.dtype:
    return tensor.dtype if is_packed(tensor.dtype) or path in own_types else dtype


def _empty(like: torch.Tensor, dtype: torch.dtype, mode: FakeTensorMode) -> torch.Tensor:
    with mode:
        return torch.empty(tuple(like.shape), dtype=dtype, device="cpu")


def _copies(module: torch.nn.Module, kept: dict[str, tuple[Any, Any]], memory: RecordedMemory) -> dict[int, int]:
    """Return the storage of every fake parameter of which there are several -> that of the first of them.

    kept: the parameters that the fake ones stand for.
    """
    same: dict[int, list[int]] = {}
    for path, part in module.named_modules():
        for name, weight in part._parameters.items():
            if weight is not None:
                same.setdefault(id(kept[path][0][name]), []).append(memory.storage(weight))
    return {number: numbers[0] for numbers in same.values() if len(numbers) > 1 for number in numbers}


@contextmanager
def _faked(step: TrainingStep, mode: FakeTensorMode) -> Iterator[dict[str, tuple[Any, Any]]]:
    kept = fake(step.module, step.dtype, mode, step.own_types)
    parts = dict(step.module.named_modules())
    try:
        yield kept
    finally:
        for path, (parameters, buffers) in kept.items():
            parts[path]._parameters.update(parameters)
            parts[path]._buffers.update(buffers)


def _stand_ins() -> Any:
    """Return the context in which Hugging Face models run; nothing where that library is not installed."""
    try:
        return library_stand_ins()
    except ImportError:
        return ExitStack()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyStep:
    """A step on fake tensors. inputs: fake, or with their values. run: forward pass and loss. backward: of the loss.
    kept: what each module held before (parameters, buffers), by its path."""

    inputs: Inputs
    run: Callable[[], torch.Tensor]
    backward: Callable[[torch.Tensor], None]
    kept: dict[str, tuple[Any, Any]]


@contextmanager
def ready(step: TrainingStep, micro_batch: int) -> Iterator[ReadyStep]:
    """Give a step on fake tensors for a micro-batch (samples), as a device would run it.

    The backward pass belongs inside too: checkpointed parts run forward again in it.
    """
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    step.module.train(step.loss is not None)
    with _faked(step, mode) as kept:
        given = step.inputs(micro_batch)
        inputs = tree_map_only(torch.Tensor, lambda one: _empty(one, one.dtype, mode) if one.is_meta else one, given)
        known = any(isinstance(one, torch.Tensor) and not one.is_meta for one in tree_leaves(given)) or step.balanced

        def values() -> Any:
            return KnownValues() if known else nullcontext()

        def run() -> torch.Tensor:
            with ExitStack() as stack:
                stack.enter_context(values())
                if step.balanced:
                    stack.enter_context(BalancedRouting(micro_batch))
                if step.autocast is not None:
                    stack.enter_context(torch.autocast("cpu", dtype=step.autocast))
                first = [inputs[name] for name in step.positional]
                output = step.module(*first, **{key: one for key, one in inputs.items() if key not in step.positional})
                return output if step.loss is None else step.loss(output, inputs)

        def backward(loss: torch.Tensor) -> None:
            with values():  # places that a known mask names
                loss.backward()

        with (
            mode,
            DeviceFunctions(),
            device_choices(),
            _stand_ins(),
            torch.set_grad_enabled(step.loss is not None),
            torch._dynamo.config.patch(disable=True),  # compiled parts run as they are written
        ):
            yield ReadyStep(inputs=inputs, run=run, backward=backward, kept=kept)


def trace(step: TrainingStep, micro_batch: int) -> Trace:
    """Return what one device computes for one micro-batch (samples): forward, loss, backward.

    Raises BadInput, with the module's path and the operator, where the model needs values that do not exist.
    """
    with ready(step, micro_batch) as here:
        given = [one for one in tree_leaves(here.inputs) if isinstance(one, torch.Tensor)]
        recorder = Recorder(step.module, given)
        recorder.trace.copies = _copies(step.module, here.kept, recorder.memory)
        try:
            found = record(recorder, here.run, None if step.loss is None else here.backward)
        except _OF_VALUES as problem:
            raise BadInput(_needs_values(step, recorder, problem)) from problem
        except BadInput as problem:
            said = str(problem)
            raise BadInput(said if said.startswith(f"{step.source}: ") else f"{step.source}: {said}") from problem
        except (Exception, SystemExit) as problem:  # whatever the model's own code raises
            raise BadInput(_fails(step, recorder, problem)) from problem
    found.parameters |= dict.fromkeys(held_buffers(found), 0)
    return found


def first_that_runs(step: TrainingStep, micro_batch: int) -> tuple[TrainingStep, Trace]:
    """Return the first of a step and its others that runs, and its trace; BadInput of the first if none does.

    Those that ask for values are tried again, at the end, with balanced routing.
    """
    problems: list[tuple[TrainingStep, BadInput]] = []
    for one in (step, *step.others):
        try:
            return one, trace(one, micro_batch)
        except BadInput as problem:
            problems.append((one, problem))
    for one, failed in problems:
        if isinstance(failed.__cause__, _OF_VALUES):
            try:
                return (balanced := replace(one, balanced=True)), trace(balanced, micro_batch)
            except BadInput:
                continue
    raise problems[0][1]


def _needs_values(step: TrainingStep, recorder: Recorder, problem: Exception) -> str:
    func = getattr(problem, "func", None)
    return (
        f"{step.source}: module {recorder.where or '(the model itself)'}: operator {func or problem}: its result "
        "depends on the values of a tensor, which do not exist here; expected a forward pass whose shapes follow "
        "from shapes. Go on by giving the model a branch without it (an option of its configuration, or a wrapper "
        "given as package.module:function)"
    )


def _fails(step: TrainingStep, recorder: Recorder, problem: BaseException) -> str:
    said = " ".join(str(problem).split())[:300]
    if "does not require grad" in said:
        return (
            f"{step.source}: the loss depends on no parameter with requires_grad: there is no backward pass to record; "
            "expected at least one parameter that is trained"
        )
    return (
        f"{step.source}: module {recorder.where or '(the model itself)'}: {type(problem).__name__}: {said}; "
        "expected a model that runs on tensors without values"
    )


def tokens_of(inputs: Inputs) -> int:
    """Return the tokens of a sample: the second dimension of the first whole-number matrix; 1 if there is none."""
    for one in tree_leaves(inputs):
        if isinstance(one, torch.Tensor) and not one.is_floating_point() and one.dim() == 2:
            return int(one.shape[1])
    return 1


def first_floats(values: Sequence[Any]) -> list[torch.Tensor]:
    """Return the floating-point tensors among values that may be nested."""
    return [one for one in tree_leaves(values) if isinstance(one, torch.Tensor) and one.is_floating_point()]
