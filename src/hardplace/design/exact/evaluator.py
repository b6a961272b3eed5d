"""Evaluator of jobs: schedules, partition and throughput of one model on one chip with one plan family, exactly.

Read `InProcess.evaluate` first: the whole walk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from hardplace.branch_and_bound.loop import Deadline
from hardplace.branch_and_bound.problem import C, Evaluator, Refinable, Steps
from hardplace.branch_and_bound.steps import Here
from hardplace.design.exact.evaluate import evaluate
from hardplace.design.exact.layer_kernels import LayerKernels, kernels_of
from hardplace.design.exact.partition_problem import replications
from hardplace.design.question import Question
from hardplace.design.scheduling.exact import schedule
from hardplace.design.scheduling.types import Schedule, ScheduleProblem
from hardplace.design.types import Job, LayerSchedule, Outcome
from hardplace.hardware.phaze import chips_of
from hardplace.hardware.types import Accelerator, NetworkLevel, Setting
from hardplace.workload.sharding import tensor_parallel
from hardplace.workload.types import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a model's jobs share.

    Attributes:
        workload: The model.
        setting: What all chips share.
    """

    workload: Workload
    setting: Setting


class ChipEvaluator(Evaluator[Job, Outcome], Protocol):
    """Evaluates jobs of the models that it has tasks of."""

    def of(self, tasks: Mapping[str, Task]) -> ChipEvaluator:
        """Return one that evaluates in the same place jobs of other models, by their names."""


@dataclass
class InProcess:
    """An evaluator that does each job in this process when it is asked for. Plain data goes in and out.

    Attributes:
        tasks: Model and setting, by the model's name.
        gap: Relative gap to which schedules are solved.
        work: Effort on each schedule (`scheduling.exact.schedule`); 0: list schedules with their bound in closed form.
        deadline: At which TimeUp is raised, in a schedule too.
    """

    tasks: Mapping[str, Task]
    gap: float
    work: float = 1.0
    deadline: Deadline | None = None
    _kernels: dict[tuple[str, int, int], LayerKernels] = field(default_factory=dict, init=False)
    _schedules: dict[tuple[str, Accelerator, int, int], tuple[LayerSchedule, ...]] = field(
        default_factory=dict, init=False
    )

    def steps(self, problem: Refinable[C, Job, Outcome]) -> Steps[C, Job, Outcome]:
        """Return refinements in this process."""
        return Here(problem, self)

    def of(self, tasks: Mapping[str, Task]) -> InProcess:
        """Return an evaluator in this process of other models."""
        return replace(self, tasks=tasks)

    def evaluate(self, job: Job) -> Outcome:
        """Return the best plan of the job's family on its chip, or what every plan lacks."""
        task, family = self.tasks[job.model], job.family
        setting, kernels, layers = on_chip(task.setting, job.chip), self._laid_out(job), self.schedules(job)
        choices = replications(setting, family.tensor_parallel, setting.batch_samples // family.micro_batch)
        return evaluate(task.workload, setting, kernels.shard, job.chip, family, layers, choices, job.max_stages)

    def schedules(self, job: Job) -> tuple[LayerSchedule, ...]:
        """Return the schedules of the distinct layers on the job's chip, whatever plan of its family they are in."""
        # Families that differ in memory or recompute share schedules: 20 s of 45 s on a chip that is compared with.
        family = job.family
        key = (job.model, replace(job.chip, memory_bytes=0.0), family.micro_batch, family.tensor_parallel)
        if key not in self._schedules:
            setting = on_chip(self.tasks[job.model].setting, job.chip)
            self._schedules[key] = self._laid_out(job).schedules(chips_of(job.chip), setting, self._solve)
        return self._schedules[key]

    def _laid_out(self, job: Job) -> LayerKernels:
        """Return the kernels of the job's model at the micro-batch and tensor-parallel degree of its family."""
        task, family = self.tasks[job.model], job.family
        group = (job.model, family.micro_batch, family.tensor_parallel)
        if group not in self._kernels:
            shard = tensor_parallel(task.workload, family.tensor_parallel)
            self._kernels[group] = kernels_of(shard, family.micro_batch, task.setting)
        return self._kernels[group]

    def _solve(self, problem: ScheduleProblem) -> Schedule:
        limit_s = None if self.work else 0.0
        if self.deadline is None:
            return schedule(problem, gap=self.gap, work=self.work, limit_s=limit_s)
        self.deadline.check()
        found = schedule(problem, gap=self.gap, work=self.work, limit_s=limit_s, ends_s=self.deadline.ends_s)
        self.deadline.check()  # one that was cut short depends on the clock
        return found

    def __getstate__(self) -> dict[str, Any]:
        """Leave here what only this machine's clock can tell."""
        return {**self.__dict__, "deadline": None}


def in_process(question: Question, gap: float, *, work: float = 1.0, deadline: Deadline | None = None) -> InProcess:
    """Return the evaluator of a search to a relative gap, a quarter of which its schedules may leave."""
    tasks = {one.name: Task(workload=one, setting=question.setting) for one in question.workloads}
    return InProcess(tasks=tasks, gap=gap / 4, work=work, deadline=deadline)


def on_chip(setting: Setting, chip: Accelerator) -> Setting:
    """Return the setting with what the chip itself brings: clock, memory bandwidth, links of the innermost level."""
    levels = setting.cluster.levels
    if chip.link_bandwidth_bytes_per_s is not None:
        first: NetworkLevel = replace(levels[0], bandwidth_bytes_per_s=chip.link_bandwidth_bytes_per_s)
        levels = (first, *levels[1:])
    return replace(
        setting,
        clock_hz=chip.clock_hz,
        memory_bandwidth_bytes_per_s=chip.memory_bandwidth_bytes_per_s,
        buffer_bandwidth_bytes_per_s=chip.buffer_bandwidth_bytes_per_s,
        cluster=replace(setting.cluster, levels=levels),
    )
