"""One rank of a run: its stages divided, steps taken, gradients held against the single process's."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.pipelining import PipelineStage
from torch.distributed.pipelining.schedules import get_schedule_class
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import loss_parallel
from torch.nn.functional import cross_entropy

from hardplace.plans.plan import Dimension, PipelineSchedule, Plan
from hardplace.run.count import CollectiveCounter, gradients_of, states_of, weights_of
from hardplace.run.divide import RankGroups, divide
from hardplace.run.saved import SavedCounter
from hardplace.run.stages import ModelStage, StageParts, WholeModel
from hardplace.run.types import RankCounts, RankResult

LEARNING_RATE = 1e-3
_SCHEDULES = {
    PipelineSchedule.ONE_F_ONE_B: "1F1B",
    PipelineSchedule.GPIPE: "GPipe",
    PipelineSchedule.ZERO_BUBBLE: "InterleavedZeroBubble",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInput:
    """What every rank starts with: the model, a batch (samples first), and the single process's losses and first
    gradients. chunks: layers by stage and chunk."""

    plan: Plan
    model: nn.Module
    parts: StageParts | None
    batch: Mapping[str, torch.Tensor]
    losses: tuple[float, ...]
    gradients: Mapping[str, torch.Tensor]
    chunks: tuple[tuple[int, ...], ...]
    steps: int


@dataclass(slots=True)
class _Fullest:
    """Bytes of weights and gradients at the fullest moment that a hook saw."""

    weights: float = 0.0
    gradients: float = 0.0

    def look(self, stages: list[nn.Module]) -> None:
        self.weights = max(self.weights, sum(map(weights_of, stages)))
        self.gradients = max(self.gradients, sum(map(gradients_of, stages)))


def run_rank(given: RunInput, device: str) -> RankResult:
    """Run a rank's part of the steps; torch.distributed is up, of the plan's devices."""
    plan, groups = given.plan, RankGroups(given.plan, device)
    index = groups.index(Dimension.PIPELINE)
    stages, names = _stages(given, groups, index)
    optimizer = torch.optim.AdamW([w for stage in stages for w in stage.parameters()], lr=LEARNING_RATE, foreach=False)
    fullest = _Fullest()
    for stage in stages:
        stage.register_forward_hook(lambda *_: _watch(_[-1], fullest, stages))
    step = _pipelined(given, groups, stages, index) if plan.pipeline > 1 else _plain(given, groups, stages[0])
    losses, seconds, error, worst = [], [], 0.0, ""
    counter, saved = CollectiveCounter(groups.members), SavedCounter(stages)
    for number in range(given.steps):
        optimizer.zero_grad()
        start_s = _now_s(device)
        last = number == given.steps - 1
        with counter if last else nullcontext():
            with saved.watching() if last else nullcontext():
                loss = step()
            _reduced(stages, plan, groups)
        if number == 0:
            fullest.gradients = max(fullest.gradients, sum(map(gradients_of, stages)))
            error, worst = _compared(stages, names, given, groups)
        optimizer.step()
        seconds.append(_now_s(device) - start_s)
        losses.append(_mean_loss(loss, plan, groups))
    at_rest = sum(map(weights_of, stages))
    counted = RankCounts(
        weights_bytes=at_rest if plan.zero == 3 and plan.replicas > 1 else max(at_rest, fullest.weights),
        gradients_bytes=sum(map(gradients_of, stages)) if plan.zero > 1 and plan.replicas > 1 else fullest.gradients,
        states_bytes=states_of(optimizer),
        saved_bytes=saved.most_bytes,
        traffic=counter.traffic,
    )
    return RankResult(
        rank=groups.rank,
        stage=index,
        losses=tuple(losses),
        gradient_error=error,
        worst=worst,
        counted=counted,
        seconds=tuple(seconds),
    )


def _now_s(device: str) -> float:
    """Return the time at which all that was launched on the device is done."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _watch(output: torch.Tensor, fullest: _Fullest, stages: list[nn.Module]) -> None:
    """Look at what a stage holds after its forward pass, and as its backward pass begins."""
    fullest.look(stages)
    if output.requires_grad:
        output.register_hook(lambda _: fullest.look(stages))


def _stages(given: RunInput, groups: RankGroups, index: int) -> tuple[list[nn.Module], list[dict[str, str]]]:
    """Return the rank's chunks, divided, and for each the names of its parameters in the whole model."""
    plan, parts = given.plan, given.parts
    whole = list(given.model.named_parameters())
    stages: list[nn.Module] = []
    names, left = [], plan.recompute_layers or 10**6
    starts = _starts(given.chunks)
    for chunk in range(plan.virtual):
        if parts is None:
            stage: nn.Module = WholeModel(given.model)
        else:
            start, size = starts[index][chunk], given.chunks[index][chunk]
            first = index == 0 and chunk == 0
            last = index == plan.pipeline - 1 and chunk == plan.virtual - 1
            stage = ModelStage(parts, range(start, start + size), first, last)
            tokens = next(iter(given.batch.values())).shape[1] // plan.context
            stage.length, stage.offset = tokens, tokens * groups.index(Dimension.CONTEXT)
        names.append(
            {name: next(key for key, other in whole if other is weight) for name, weight in stage.named_parameters()}
        )
        size = sum(given.chunks[index]) if parts is None else given.chunks[index][chunk]
        stages.append(divide(stage, plan, groups, min(left, size)))
        left = max(0, left - size)
    return stages, names


def _starts(chunks: tuple[tuple[int, ...], ...]) -> list[list[int]]:
    """Return the number of the first layer of each stage and chunk: chunk after chunk, stage after stage."""
    found = [[0] * len(chunks[0]) for _ in chunks]
    at = 0
    for chunk in range(len(chunks[0])):
        for stage in range(len(chunks)):
            found[stage][chunk] = at
            at += chunks[stage][chunk]
    return found


def _mine(given: RunInput, groups: RankGroups) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Return the rank's samples, and their labels as the loss takes them; with context its part of each sequence."""
    plan = given.plan
    each = plan.global_batch // plan.data
    at = groups.index(Dimension.DATA) * each
    inputs = {name: one[at : at + each] for name, one in given.batch.items()}
    labels = inputs["labels"]
    if given.parts is not None and given.parts.shift:
        labels = nn.functional.pad(labels[:, 1:], (0, 1), value=-100)
    if plan.context > 1:
        index = groups.index(Dimension.CONTEXT)
        inputs = {name: one.chunk(plan.context, dim=1)[index].contiguous() for name, one in inputs.items()}
        labels = labels.chunk(plan.context, dim=1)[index]
    return inputs, labels.contiguous()


def _loss(given: RunInput) -> Callable[[Any, torch.Tensor], torch.Tensor]:
    """Return the loss of a micro-batch: of all its tokens, over how many a whole sequence has, so that the parts of
    context ranks add up."""
    plan, parts = given.plan, given.parts
    tokens = given.batch["labels"].shape[1] - (parts.shift if parts is not None else 0)

    def found(logits: Any, labels: torch.Tensor) -> torch.Tensor:
        total = cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum", ignore_index=-100)
        return total * (plan.context / (plan.micro_batch * tokens))

    return found


def _plain(given: RunInput, groups: RankGroups, stage: nn.Module) -> Callable[[], torch.Tensor]:
    plan, loss = given.plan, _loss(given)
    inputs, labels = _mine(given, groups)
    count = plan.micro_batches

    def step() -> torch.Tensor:
        total = torch.zeros(())
        for index in range(count):
            part = slice(index * plan.micro_batch, (index + 1) * plan.micro_batch)
            last = index == count - 1
            if isinstance(stage, FSDPModule):
                if plan.zero == 1:
                    stage.set_requires_gradient_sync(last)
                if plan.zero < 3:
                    stage.set_reshard_after_backward(last)
            with loss_parallel() if plan.tensor > 1 else nullcontext():
                here: Any = inputs["input_ids"][part] if given.parts else {k: v[part] for k, v in inputs.items()}
                one = loss(stage(here), labels[part])
                (one / count).backward()
            total += _plain_value(one) / count
        return total

    return step


def _plain_value(one: torch.Tensor) -> torch.Tensor:
    whole = one.full_tensor() if isinstance(one, DTensor) else one
    return whole.detach().cpu()


def _pipelined(given: RunInput, groups: RankGroups, stages: list[nn.Module], index: int) -> Callable[[], Any]:
    plan, loss = given.plan, _loss(given)
    inputs, labels = _mine(given, groups)
    group = groups.mesh["pipeline"].get_group()
    device = inputs["input_ids"].device
    made = [
        PipelineStage(stage, chunk * plan.pipeline + index, plan.pipeline * plan.virtual, device, group=group)
        for chunk, stage in enumerate(stages)
    ]
    name = "Interleaved1F1B" if plan.virtual > 1 else _SCHEDULES[plan.schedule]
    kind: Any = get_schedule_class(name)
    several = plan.virtual > 1 or plan.schedule is PipelineSchedule.ZERO_BUBBLE
    schedule = kind(made if several else made[0], plan.micro_batches, loss_fn=loss)
    first, last = index == 0, index == plan.pipeline - 1

    def step() -> Any:
        losses: list[torch.Tensor] = []
        given_here = (inputs["input_ids"],) if first else ()
        with loss_parallel() if plan.tensor > 1 else nullcontext():
            if last:
                schedule.step(*given_here, target=labels, losses=losses)
            else:
                schedule.step(*given_here)
        return torch.stack([_plain_value(one) for one in losses]).mean() if last else None

    return step


def _reduced(stages: list[nn.Module], plan: Plan, groups: RankGroups) -> None:
    """Add up what FSDP2 does not: all gradients without ZeRO, experts' over the ranks that share them.

    An expert's gradient has come from all ranks of its group already, so it is over as many replicas all the same.
    """
    for stage in stages:
        for name, weight in stage.named_parameters():
            if weight.grad is None:
                continue
            expert = plan.expert > 1 and ".experts." in name
            if not expert and (plan.zero or plan.replicas == 1):
                continue
            grad = weight.grad.to_local() if isinstance(weight.grad, DTensor) else weight.grad
            group = "expert replicas" if expert else "data"
            if len(groups.members.get(group, ())) > 1:
                dist.all_reduce(grad, group=groups.groups[group])
            grad /= plan.replicas


def _compared(
    stages: list[nn.Module], names: list[dict[str, str]], given: RunInput, groups: RankGroups
) -> tuple[float, str]:
    """Return the largest error of a gradient of the rank relative to that gradient's largest entry, and whose.

    A gradient that is all rounding (of a bias that softmax cancels) counts against a hundredth of the largest of all.
    """
    floor = 1e-2 * max(float(one.abs().max()) for one in given.gradients.values())
    worst, where = 0.0, ""
    for stage, known in zip(stages, names, strict=True):
        for name, weight in stage.named_parameters():
            key = known.get(name.replace("_checkpoint_wrapped_module.", ""), "")
            right, grad = given.gradients.get(key), weight.grad
            if right is None and grad is None:  # a weight that the loss does not reach
                continue
            assert right is not None, f"{key} has a gradient, and none in one process"
            assert grad is not None, f"{key} has no gradient, and one in one process"
            whole = grad.full_tensor() if isinstance(grad, DTensor) else grad
            if whole.shape != right.shape:  # a rank's experts
                start = dist.get_rank(groups.groups["expert"]) * whole.shape[0]
                right = right[start : start + whole.shape[0]]
            error = float((whole - right).abs().max() / max(float(right.abs().max()), floor))
            if error >= worst:
                worst, where = error, key
    return worst, where


def _mean_loss(loss: Any, plan: Plan, groups: RankGroups) -> float | None:
    """Return the loss of the whole batch; None of a rank whose stage is not the last."""
    value = torch.zeros(()) if loss is None else torch.as_tensor(loss).clone()
    if plan.replicas > 1:
        dist.all_reduce(value, group=groups.groups["data"])
    return None if loss is None else float(value) / plan.replicas
