"""Brute force for `search`, from docs/model.md, docs/model-cost.md and docs/model-search.md: every chip with every plan
of random small models (`small_models`), priced by `oracles_chip`, `oracles_scheduling` and `oracles_placement`.

Of the package it takes what a chip costs (area, power, price, carbon, energies of an operation: `hardware`, held
against published chips elsewhere) and the nouns of a question. The search must reach no more than the oracle's best,
and its bound must not be below it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from hardplace.answers import Infeasible
from hardplace.branch_and_bound.types import StoppingRule
from hardplace.design.answer import explored
from hardplace.design.goals import Combine, Goal, Objective
from hardplace.design.partition.types import (
    Boundary,
    Charge,
    LayerLoad,
    PartitionProblem,
    Replication,
    SharedLoad,
    Variant,
)
from hardplace.design.question import Question
from hardplace.design.search.explore import DesignSearch
from hardplace.design.types import PlanChoices
from hardplace.errors import BadInput
from hardplace.hardware.chip_pricer import ChipPricer, Preset
from hardplace.hardware.settings import HBM3, with_devices
from hardplace.hardware.space import ChipSpace, MemoryChoice
from hardplace.hardware.types import Budget, Chips, Setting
from hardplace.units import MIB
from oracles_chip import Chip, Work, kernel_s, over_levels, phase_j, phase_s
from oracles_placement import best_s
from small_models import Block, Model, random_model

YEARS_S, WALL_J, USD_KWH, KG_KWH = 4 * 365.25 * 86400.0, 1.1 / 3.6e6, 0.08, 0.38
Costs = dict[str, float]
Rows = list[list[tuple[float, ...]]]  # by model, by family: a score for each objective


def chips(space: ChipSpace, setting: Setting) -> Iterator[tuple[Chip, Costs]]:
    """Yield every chip of a space that brings its memories, and what it costs."""
    link = setting.cluster.levels[0].bandwidth_bytes_per_s
    for memory, link_bytes_per_s in product(space.memories, space.links_bytes_per_s or (link,)):
        levels = (replace(setting.cluster.levels[0], bandwidth_bytes_per_s=link_bytes_per_s),)
        shared = replace(
            setting,
            memory_bandwidth_bytes_per_s=memory.bandwidth_bytes_per_s,
            memory_capacities_bytes=(memory.bytes,),
            cluster=replace(setting.cluster, levels=(*levels, *setting.cluster.levels[1:])),
        )
        pricer = ChipPricer(
            setting=shared, preset=space.area_model, node_nm=space.node_nm, dtype=space.dtype, memory_kind=memory.kind,
            stacks=float(memory.stacks),
        )  # fmt: skip
        for arrays, rows, columns, cores, lanes, buffer, clock in product(
            space.tensor_cores, space.array_rows, space.array_columns, space.vector_cores, space.vector_lanes or (0,),
            space.buffer_bytes, space.clock_hz or (setting.clock_hz,),
        ):  # fmt: skip
            lanes = lanes or columns
            sizes = {"tensor_cores": arrays, "array_rows": rows, "array_columns": columns, "vector_cores": cores,
                     "vector_lanes": lanes, "buffer_bytes": buffer}  # fmt: skip
            column = Chips(
                **{name: np.array([value]) for name, value in sizes.items()},
                area_mm2=np.array([math.nan]),
                clock_hz=np.array([clock]) if space.clock_hz else None,
            )
            bill, cost, energies = pricer.bill(column)
            area = bill.die_mm2 if space.area_model is Preset.PARTS else pricer.area_mm2(column)
            taken = {"area": area, "tdp": bill.tdp_w, "usd": cost.usd, "kg": cost.embodied_kg, "idle": energies.idle_w}
            chip = Chip(
                arrays=arrays, rows=rows, columns=columns, vector_cores=cores, lanes=lanes, buffer_bytes=buffer,
                clock_hz=clock, memory_bytes=memory.bytes, memory_bytes_per_s=memory.bandwidth_bytes_per_s,
                link_bytes_per_s=link_bytes_per_s, energies=energies,
            )  # fmt: skip
            yield chip, {name: float(np.asarray(value).reshape(-1)[0]) for name, value in taken.items()}


def problem(
    model: Model, chip: Chip, setting: Setting, micro_batch: int, tensor: int, *, recompute: bool
) -> PartitionProblem:
    """Return the partition of a model's layers on a chip by docs/model.md, section 6, as numbers."""
    each, rows = setting.optimizer, micro_batch * model.tokens
    step = 10 * 1 + 15 + 10  # lane-cycles a parameter of AdamW: ten products and sums, a root, a division

    def updated_s(parameters: float) -> float:
        update = Work(lane_cycles=round(parameters) * step, stream_bytes=round(parameters) * each.step_bytes)
        return kernel_s(update, chip, setting, 1)[1]

    def load(block: Block) -> LayerLoad:
        held = block.held(tensor)
        return LayerLoad(
            name="", forward_s=phase_s(block.forward(rows, tensor), chip, setting, tensor),
            backward_s=phase_s(block.backward(rows, tensor), chip, setting, tensor),
            gradient_bytes=6.0 * held, state_bytes=6.0 * held, sharded_state_bytes=12.0 * held,
            activation_bytes=float(block.saved_bytes(rows, tensor)), optimizer_s=updated_s(held),
            tensor_parallel=tensor > 1,
        )  # fmt: skip

    loads = [load(block) for block in model.blocks]
    layers = tuple(loads[index] for index in model.order)
    first = model.blocks[model.order[model.tied[0]]] if model.tied else model.blocks[0]
    size = first.hidden * (first.inner or first.hidden) / tensor
    share = size / first.held(tensor) * loads[model.order[model.tied[0]] if model.tied else 0].optimizer_s
    shared = SharedLoad(
        layers=model.tied, gradient_bytes=6.0 * size, added_bytes=4.0 * size, state_bytes=6.0 * size,
        sharded_state_bytes=12.0 * size, optimizer_s=share,
    )  # fmt: skip
    outer = setting.cluster.levels[-1]
    bandwidth = outer.bandwidth_bytes_per_s if len(setting.cluster.levels) > 1 else chip.link_bytes_per_s
    batches = setting.batch_samples // micro_batch
    choices = []
    for degree in range(1, setting.cluster.devices // tensor + 1):
        if batches % degree == 0:
            per_byte, latency_s = over_levels(setting, chip.link_bytes_per_s, degree, tensor)
            choices.append(
                Replication(
                    data_parallel=degree,
                    reduction_s_per_byte=per_byte,
                    reduction_latency_s=2.0 * latency_s,
                    boundary_s_per_byte=1.0 / bandwidth,
                    boundary_latency_s=outer.latency_s,
                    optimizer_shards=degree,
                )
            )
    handed = tuple(
        Boundary(source=source, target=target, bytes=2.0 * rows * model.blocks[0].hidden)
        for source, target in model.handed
    )
    variant = Variant(tensor_parallel=tensor, layers=layers, boundaries=handed, replications=tuple(choices),
                      shared=(shared,) if model.tied else ())  # fmt: skip
    return PartitionProblem(
        variants=(variant,), devices=setting.cluster.devices, memory_bytes=chip.memory_bytes, micro_batches=batches,
        recompute=recompute, charge=Charge.SLOWEST_STAGE, divisible=True,
    )  # fmt: skip


def joules(model: Model, chip: Chip, micro_batch: int, tensor: int, *, recompute: bool) -> float:
    """Return joules of a sample on the kernels."""
    rows = micro_batch * model.tokens
    total = 0.0
    for index in model.order:
        forward, backward = (
            phase_j(phase(rows, tensor), chip) for phase in (model.blocks[index].forward, model.blocks[index].backward)
        )
        total += forward * (2.0 if recompute else 1.0) + backward
    return total * tensor / micro_batch


def score(objective: Objective, x: float, energy: float, costs: Costs, devices: int) -> float:
    """Return the score of X samples a second (docs/model-search.md, "Scores")."""
    usd_j, kg_j = WALL_J * USD_KWH, WALL_J * KG_KWH
    if x <= 0.0:
        return 0.0
    below = {
        Objective.THROUGHPUT: 1.0,
        Objective.PER_WATT: devices * costs["tdp"],
        Objective.PER_DOLLAR: devices * (costs["usd"] / YEARS_S + costs["idle"] * usd_j) + x * energy * usd_j,
        Objective.ENERGY: devices * costs["idle"] + x * energy,
        Objective.CARBON: devices * (costs["kg"] / YEARS_S + costs["idle"] * kg_j) + x * energy * kg_j,
        Objective.TDP: x * costs["tdp"],
        Objective.PRICE: x * costs["usd"],
        Objective.AREA: x * costs["area"],
    }
    return x / below[objective]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question, and its models by hand."""

    question: Question
    models: tuple[Model, ...]


def every_chip(asked: Asked) -> list[Rows]:
    """Return the scores of every chip within the limits on it."""
    question = asked.question
    setting, budget, goal, choices = question.setting, question.budget, question.goal, question.choices
    found = []
    for chip, costs in chips(question.space, setting):
        limits = ((costs["area"], budget.area_mm2), (costs["tdp"], budget.tdp_w), (costs["usd"], budget.usd),
                  (chip.memory_bytes, budget.memory_bytes))  # fmt: skip
        if any(limit is not None and taken > limit for taken, limit in limits):
            continue
        rows: Rows = []
        for model in asked.models:
            mine: list[tuple[float, ...]] = []
            for size, again, tensor in product(choices.micro_batches, choices.recompute, choices.tensor_parallel):
                if setting.batch_samples % size:
                    continue
                batch_s = best_s(problem(model, chip, setting, size, tensor, recompute=again))
                slow = budget.step_s is not None and batch_s > budget.step_s
                x = 0.0 if slow or batch_s == math.inf else setting.batch_samples / batch_s
                energy = joules(model, chip, size, tensor, recompute=again)
                mine.append(tuple(score(one, x, energy, costs, goal.devices) for one in goal.objectives))
            rows.append(mine)
        found.append(rows)
    return found


def combined(goal: Goal, scores: tuple[float, ...], models: tuple[int, ...]) -> float:
    """Return the combined score of models, each over its own best; 0 where one does not run."""
    values = [scores[one] / goal.norms[one] for one in models]
    if min(values) <= 0.0:
        return 0.0
    if goal.combine is Combine.WORST:
        return min(values)
    weights = [goal.weights[one] for one in models]
    return math.exp(sum(math.log(v) * w for v, w in zip(values, weights, strict=True)) / sum(weights))


def best_score(asked: Asked, rows: list[Rows]) -> float:
    """Return the best score of one chip, or of a fleet: any chip for each model, at most so many kinds."""
    goal = asked.question.goal
    tops = [tuple(max((one[0] for one in mine), default=0.0) for mine in each) for each in rows]
    every = tuple(range(len(asked.models)))
    if len(every) == 1:
        return max((one[0] for one in tops), default=0.0)
    best = 0.0
    for chosen in product(range(len(tops)), repeat=min(goal.fleet, len(every))):
        for places in product(chosen, repeat=len(every)):
            best = max(best, combined(goal, tuple(tops[place][model] for model, place in enumerate(places)), every))
    return best


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What is wrong with an answer ("": nothing), and whether any chip runs all models."""

    wrong: str
    feasible: bool


def compared(asked: Asked, gap: float) -> Compared:
    """Return what is wrong with the search's answer to a question."""
    rows = every_chip(asked)
    feasible = any(all(any(min(one) > 0.0 for one in mine) for mine in each) for each in rows)
    return Compared(wrong=_wrong(asked, rows, gap), feasible=feasible)


def _wrong(asked: Asked, rows: list[Rows], gap: float) -> str:
    goal = asked.question.goal
    try:
        found = explored(DesignSearch(question=asked.question, ends=StoppingRule(gap=gap)))
    except BadInput as refused:
        return "" if "not ruled out" in str(refused) or "below" in str(refused) else f"BadInput: {refused}"
    if len(goal.objectives) > 1:
        points = [one for each in rows for one in each[0] if min(one) > 0.0]
        if isinstance(found, Infeasible):
            return f"infeasible, but {points[0]} is reached" if points else ""
        over = max(min(max(a / b for a, b in zip(one, p, strict=True)) for p in found.scores) for one in points) - 1.0
        ahead = [p for p in found.scores if not any(all(a >= b * (1 - 1e-9) for a, b in zip(one, p, strict=True))
                                                   for one in points)]  # fmt: skip
        if ahead:
            return f"{ahead[0]} is claimed, which no chip with any plan reaches"
        return f"{over:.4%} beyond the frontier, gap {found.excess:.4%}" if over > found.excess + 1e-9 else ""
    best = best_score(asked, rows)
    if isinstance(found, Infeasible):
        return f"infeasible, but {best:g} is reached" if best > 0.0 else ""
    if goal.shared:
        tops = [tuple(point) for point in found.scores]
        scores = [[[(value * norm,)] for value, norm in zip(one, goal.norms, strict=True)] for one in tops]
        reached = best_score(asked, scores)  # type: ignore[arg-type]
    else:
        reached = max(one[0] for one in found.scores)
    bound = reached * (1.0 + found.excess)
    if reached > best * (1.0 + 1e-9):
        return f"{reached:.9g} is claimed, {best:.9g} is the best of all"
    return f"{best:.9g} is reached, bound {bound:.9g}" if best > bound * (1.0 + 1e-9) else ""


def random_asked(rng: random.Random) -> Asked:
    """Return a random question about a handful of chips and one to three models of a few layers."""

    def some(*values: float, most: int = 2) -> tuple[Any, ...]:
        return tuple(sorted(rng.sample(values, rng.randint(1, most))))

    wide = rng.random() < 0.4
    models = tuple(random_model(rng, f"m{number}", wide=wide) for number in range(rng.choice((1, 1, 1, 2, 3))))
    batch = rng.choice((8, 16, 24))
    devices = rng.choice((1, 2, 3, 4, 8, 16)) if batch == 16 else rng.choice((1, 2, 4, 6))
    setting = replace(with_devices(HBM3, devices), batch_samples=batch)
    need = max(
        18 * one.workload.parameters + sum(one.blocks[kind].saved_bytes(one.tokens, 1) for kind in one.order)
        for one in models
    )
    memories = tuple(
        MemoryChoice(
            kind=rng.choice(("HBM2e", "HBM3")),
            stacks=stacks,
            bytes=float(round(need * rng.uniform(0.4, 3))),
            bandwidth_bytes_per_s=stacks * rng.choice((20e9, 200e9, 670e9)),
        )
        for stacks in some(1, 2, 4)
    )
    preset = rng.choice(list(Preset))
    tabled = preset is Preset.PHAZE  # whose areas are a table
    space = ChipSpace(
        name="small", description="", tensor_cores=some(1, 2, 3, 8, 24),
        array_rows=some(8, 16, 32 if tabled else 48, most=1), array_columns=some(8, 16, 64 if tabled else 40),
        vector_cores=some(1, 2, 6), vector_lanes=rng.choice(((), (16,), (8, 64))),
        buffer_bytes=some(*(2 * MIB, 4 * MIB) if tabled else (MIB // 16, MIB // 4, 2 * MIB), most=1),
        clock_hz=rng.choice(((), (0.9e9,), (0.7e9, 1.4e9))), memories=memories,
        links_bytes_per_s=rng.choice(((), (20e9,), (5e9, 450e9))), area_model=preset, node_nm=7.0,
        dtype="bf16", area_limit_mm2=1e4,
    )  # fmt: skip
    count = 1 if len(models) > 1 or rng.random() < 0.7 else 2
    single = [one for one in Objective if one not in (Objective.TDP, Objective.PRICE, Objective.AREA)]
    objectives = tuple(rng.sample(list(Objective) if count > 1 else single, count))
    combine = rng.choice((Combine.GEOMETRIC, Combine.WORST, Combine.WEIGHTS))
    goal = Goal(
        objectives=objectives, devices=devices, combine=combine,
        weights=tuple(rng.choice((1.0, 2.0)) if combine is Combine.WEIGHTS else 1.0 for _ in models),
        norms=(1.0,) * len(models), fleet=rng.choice((1, 2)) if len(models) > 1 else 1,
    )  # fmt: skip
    sizes = tuple(size for size in some(1, 2, 4) if batch % size == 0) or (1,)
    choices = PlanChoices(
        memory_bytes=(1.0,), micro_batches=sizes, recompute=rng.choice(((False,), (True,), (False, True))),
        tensor_parallel=(1, 2) if wide and devices > 1 else (1,),
    )  # fmt: skip
    asked = Asked(
        question=Question(
            workloads=tuple(one.workload for one in models), setting=setting, budget=Budget(area_mm2=1e4), space=space,
            choices=choices, goal=goal,
        ),
        models=models,
    )  # fmt: skip
    return _limited(asked, rng)


def _limited(asked: Asked, rng: random.Random) -> Asked:
    """Return a question with limits between what its chips take, and norms that are its models' own bests."""
    question = asked.question
    taken = [costs for _, costs in chips(question.space, question.setting)]
    budget = question.budget
    for name, limit in (("area", "area_mm2"), ("tdp", "tdp_w"), ("usd", "usd")):
        if rng.random() < 0.25:
            least, most = min(one[name] for one in taken), max(one[name] for one in taken)
            budget = replace(budget, **{limit: rng.uniform(0.98 * least, most)})
    if rng.random() < 0.3:
        plain = replace(question.goal, objectives=(Objective.THROUGHPUT,))
        rows = every_chip(replace(asked, question=replace(question, goal=plain, budget=budget)))
        speeds = [max((one[0] for one in mine), default=0.0) for each in rows for mine in each]
        if speeds and max(speeds) > 0.0:
            step_s = question.setting.batch_samples / rng.uniform(min(speeds) + 1e-9, 1.02 * max(speeds))
            budget = replace(budget, step_s=step_s)
    asked = replace(asked, question=replace(question, budget=budget))
    if len(asked.models) == 1:
        return asked
    rows = every_chip(asked)
    norms = tuple(
        max([one[0] for each in rows for one in each[model]] or [0.0]) or 1.0 for model in range(len(asked.models))
    )
    return replace(asked, question=replace(asked.question, goal=replace(question.goal, norms=norms)))
