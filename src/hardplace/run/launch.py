"""Processes of a run: forked here over gloo, or those that torchrun started; the single process before them."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from hardplace.errors import BadInput
from hardplace.plans.plan import Plan
from hardplace.run.rank import LEARNING_RATE, RunInput, run_rank
from hardplace.run.stages import check_untied, parts_of
from hardplace.run.types import RankResult

SEED = 7


class RankFailed(Exception):
    """A rank of a run that ended by itself: its text is the rank's own error, told once."""


def prepared(function: Callable[[], Any], plan: Plan, chunks: tuple[tuple[int, ...], ...], steps: int) -> RunInput:
    """Return what every rank starts with: the function's module with weights, a batch drawn for the plan, and what a
    single process makes of it. Raises BadInput for what does not build or cannot be divided."""
    torch.manual_seed(SEED)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    try:
        made = function()
    except Exception as problem:
        raise BadInput(f"model: failed to build: {' '.join(str(problem).split())[:200]}") from problem
    if not isinstance(made, tuple) or len(made) < 2 or not isinstance(made[0], nn.Module):
        raise BadInput("model: expected a function that returns (torch.nn.Module, inputs)")
    model, example = made[0].float(), dict(made[1])
    parts = parts_of(model)
    if "labels" not in example or "input_ids" not in example:
        raise BadInput(f"model: inputs {', '.join(example)}: expected input_ids and labels among them")
    if parts is None and (plan.pipeline > 1 or plan.tensor > 1 or plan.context > 1):
        kind = type(model).__name__
        raise BadInput(f"model: {kind}: expected pipeline, tensor and context 1: how it is cut is not known here")
    check_untied(model, plan.pipeline > 1 or plan.tensor > 1)
    model.eval()  # no dropout: a single process draws other numbers
    batch = _drawn(example, plan.global_batch)
    losses, gradients = _single(model, batch, steps)
    return RunInput(
        plan=plan,
        model=model,
        parts=parts,
        batch=batch,
        losses=losses,
        gradients=gradients,
        chunks=chunks,
        steps=steps,
    )


def _drawn(example: Mapping[str, torch.Tensor], samples: int) -> dict[str, torch.Tensor]:
    """Return so many samples of the example's shapes: token numbers up to its largest, anew."""
    generator = torch.Generator().manual_seed(SEED)
    found = {}
    for name, one in example.items():
        shape = (samples, *one.shape[1:])
        if one.is_floating_point():
            found[name] = torch.randn(shape, generator=generator)
        else:
            found[name] = torch.randint(0, int(one.max()) + 1, shape, generator=generator)
    return found


def _single(
    model: nn.Module, batch: Mapping[str, torch.Tensor], steps: int
) -> tuple[tuple[float, ...], dict[str, torch.Tensor]]:
    """Return the losses of a single process and its gradients in the first step; the weights stay as they were."""
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, foreach=False)
    losses: list[float] = []
    gradients: dict[str, torch.Tensor] = {}
    for number in range(steps):
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        if number == 0:
            gradients = {
                name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None
            }
        optimizer.step()
        losses.append(float(loss.detach()))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(before[name])
            weight.grad = None
    return tuple(losses), gradients


def launched() -> int | None:
    """Return the processes that torchrun started around this one; None without it."""
    return int(os.environ["WORLD_SIZE"]) if "WORLD_SIZE" in os.environ and "RANK" in os.environ else None


def run_under_torchrun(given: RunInput) -> tuple[RankResult, ...]:
    """Run this process's rank among those that torchrun started, on its GPU where there is one; rank 0 returns all
    results, the others none."""
    _quiet()
    gpu = torch.cuda.is_available()
    device = "cuda" if gpu else "cpu"
    if gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if gpu else "gloo")
    try:
        result = run_rank(_on(given, device), device)
        found: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(found, result)
    finally:
        dist.destroy_process_group()
    return tuple(found) if result.rank == 0 else ()


def _on(given: RunInput, device: str) -> RunInput:
    if device == "cpu":
        return given
    return replace(
        given,
        model=given.model.to(device),
        batch={name: one.to(device) for name, one in given.batch.items()},
        gradients={name: one.to(device) for name, one in given.gradients.items()},
    )


def run_forked(given: RunInput) -> tuple[RankResult, ...]:
    """Run all ranks as processes forked from this one, with the model and its gradients in shared memory pages; when
    one fails the others are ended. Raises RankFailed with the first one's own error."""
    context = multiprocessing.get_context("fork")
    with TemporaryDirectory(prefix="hardplace-run-") as folder:
        workers = [
            context.Process(target=_forked, args=(given, rank, folder), daemon=True)
            for rank in range(given.plan.devices)
        ]
        for worker in workers:
            worker.start()
        try:
            _await(workers, Path(folder))
        finally:
            for worker in workers:
                if worker.is_alive():
                    worker.kill()
                worker.join()
        return tuple(_read(Path(folder) / f"{rank}.result") for rank in range(given.plan.devices))


def _await(workers: list[Any], folder: Path) -> None:
    """Wait until all processes have ended well; raise RankFailed when one has not."""
    while any(worker.is_alive() for worker in workers):
        failed = [rank for rank, worker in enumerate(workers) if worker.exitcode not in (None, 0)]
        if failed:
            raise RankFailed(_first_error(failed, folder, workers))
        time.sleep(0.02)
    failed = [rank for rank, worker in enumerate(workers) if worker.exitcode]
    if failed:
        raise RankFailed(_first_error(failed, folder, workers))


def _first_error(failed: list[int], folder: Path, workers: list[Any]) -> str:
    """Return the error that came first: others fail because a neighbour is gone."""
    told = sorted((path.stat().st_mtime_ns, path) for path in folder.glob("*.error"))
    if told:
        path = told[0][1]
        return f"rank {path.stem}: {path.read_text()}"
    return f"rank {failed[0]}: ended with exit code {workers[failed[0]].exitcode}"


def _quiet() -> None:
    """Keep torch from advising on what is meant: gradients gathered to be compared, views that nothing changes."""
    logging.getLogger("torch.distributed").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module")


def _forked(given: RunInput, rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    _quiet()
    try:
        dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=given.plan.devices)
        result = run_rank(given, "cpu")
        (Path(folder) / f"{rank}.result").write_bytes(pickle.dumps(result))
        dist.barrier()
        dist.destroy_process_group()
    except BaseException as problem:
        words = str(problem) if isinstance(problem, BadInput) else _words(problem)
        (Path(folder) / f"{rank}.error").write_text(words)
        os._exit(2 if isinstance(problem, BadInput) else 1)
    os._exit(0)


def _words(problem: BaseException) -> str:
    where = traceback.extract_tb(problem.__traceback__)[-1]
    text = " ".join(str(problem).split())[:300]
    return f"{type(problem).__name__}: {text} ({Path(where.filename).name}:{where.lineno})"


def _read(path: Path) -> RankResult:
    found = pickle.loads(path.read_bytes())
    assert isinstance(found, RankResult)
    return found
