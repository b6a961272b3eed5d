"""Random small questions of `place` that hold what changes numerics and how plans are run, several values of it at
once, or allow some of the plans only, beside what `oracles_plans.random_question` draws."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from dataclasses import replace

from hardplace.cost.layers.low_precision import Fp8Recipe
from hardplace.cost.layers.software import Dispatcher, Graphs
from hardplace.hardware.catalogue import device, node
from hardplace.plans.placement.space import PlanFilter
from hardplace.plans.plan import ContextExchange, Format, OptimizerKind, PipelineSchedule, Plan
from hardplace.workload.types import Recompute, Workload
from oracles_plans import KINDS, Asked, random_question, short_model, with_shared

Values = tuple[object, ...]
_PLAIN, _FOLDED = ([way for way in PipelineSchedule if way.folds == folds] for folds in (False, True))
_GPUS = ("h100-sxm", "a100-80gb-sxm", "v100-sxm2")
_SOFTWARE = ("", "megatron-core", "fsdp-eager", "torchtitan", "megatron-2021", "megatron-deepspeed", "fsdp-compiled")
_ANYWHERE: dict[str, Callable[[random.Random], Values]] = {
    "gradient": lambda rng: tuple(rng.sample(("fp32", "bf16", "bf16+fp32"), 2)),
    "optimizer": lambda rng: tuple(rng.sample(list(OptimizerKind), 2)),
    "overlap": lambda rng: rng.choice(((False,), (True, False))),
    "offload": lambda rng: rng.choice(((True,), (False, True))),
    "offload_layers": lambda rng: rng.choice(((0, 1), (1, 2), (0, 2))),
    "flash": lambda rng: rng.choice(((True, False), (False,))),
    "fragmentation": lambda rng: rng.choice(((0.0,), (0.2,), (0.0, 0.3))),
    "fused_loss": lambda rng: rng.choice(((True,), (True, False), (None, True))),
    "recompute": lambda rng: rng.choice(((Recompute.SELECTIVE,), (Recompute.NONE, Recompute.SELECTIVE), (*Recompute,))),
    "schedule": lambda rng: tuple(rng.sample(_PLAIN, rng.choice((1, 2)))),
    "sequence": lambda rng: rng.choice(((True,), (False,), (True, False))),
    "data": lambda rng: rng.choice(((1,), (1, 2), (2, 4))),
    "zero": lambda rng: rng.choice(((3,), (0, 3), (2, 3), (1, 2, 3))),
    "micro_batch": lambda rng: rng.choice(((3,), (1, 3), (6, 2))),
}
_ON_GPUS: dict[str, Callable[[random.Random], Values]] = {
    "software": lambda rng: tuple(rng.sample(_SOFTWARE, rng.choice((1, 2)))),
    "graphs": lambda rng: tuple(rng.sample(list(Graphs), rng.choice((1, 2)))),
    "tensor_overlap": lambda rng: rng.choice(((True,), (False, True))),
    "dispatcher": lambda rng: tuple(rng.sample(list(Dispatcher), 2)),
    "expert_overlap": lambda rng: rng.choice(((True,), (False, True))),
    "precision": lambda rng: rng.choice(((Format.FP32,), (Format.BF16, Format.FP32))),
}
_FILTERED = (
    ("schedule", "recompute"), ("recompute_layers",), ("tensor", "zero", "virtual"), ("shard", "zero", "sequence"),
    ("micro_batch", "pipeline", "recompute_layers", "schedule"), ("virtual", "recompute"),
)  # fmt: skip


def wider_question(rng: random.Random) -> Asked:
    """Return a random small question with up to three of: fields held, layers that share weights, a third kind of
    device, plans that are not allowed."""
    asked = random_question(rng)
    fixed, names = dict(asked.fixed), {chip.name for chip, _, _ in asked.inventory}
    fields = _ANYWHERE | (_ON_GPUS if "tpu-v4" not in names else {})
    if "context" in fixed:
        fields = {**fields, "context_exchange": lambda rng: rng.choice(((ContextExchange.RING,), (*ContextExchange,)))}
    for pick in rng.sample((*fields, "share", "kinds", "within", "within "), rng.choice((1, 2, 3))):
        if pick in fields:
            fixed[pick] = fields[pick](rng)
        elif pick.strip() == "within":
            asked = replace(asked, within=some_plans(rng))
        elif pick == "kinds" and len(names) == 2 and names < set(_GPUS):
            (third,) = set(_GPUS) - names
            count = asked.inventory[0][2]
            devices = sum(each for _, _, each in asked.inventory)
            inventory = [*asked.inventory, (device(third), node(KINDS[third]), count)]
            asked = replace(asked, inventory=inventory, batch=asked.batch // devices * (devices + count))
        elif pick == "share" and _repeats(asked.workload):
            asked = replace(asked, workload=with_shared(asked.workload, rng))
    return replace(asked, fixed=fixed)


def folded_question(rng: random.Random) -> Asked:
    """Return a random small question of a chain whose schedules are V-shaped, alone or beside another one."""
    name = rng.choice(("llama2-7b", "opt-350m", "bert-base", "mixtral-8x7b", "deepseek-v3"))
    asked = random_question(rng)
    while any(edge.target != edge.source + 1 for edge in asked.workload.edges):
        asked = random_question(rng)
    few = 5 if name in ("mixtral-8x7b", "deepseek-v3") else 8
    workload = short_model(name, rng.randint(3, few), rng.choice((0, 2)) if name == "deepseek-v3" else 0)
    if rng.random() < 0.3:
        workload = with_shared(workload, rng)
    ways = (*rng.sample(_FOLDED, rng.choice((1, 2, 4))), *rng.sample(_PLAIN, rng.choice((0, 0, 1))))
    held = ("zero", "shard", "micro_batch", "flash")
    fixed = {one: asked.fixed[one] for one in held if one in asked.fixed}
    devices = sum(count for _, _, count in asked.inventory)
    fixed |= {"schedule": ways, "micro_batch": (1,), "tensor": (1, 2)}
    fixed["pipeline"] = rng.choice(((2,), (1, 2), (2, 4), (3, 4)))
    batch = rng.choice((1, 2, 3, 5, 12, 40)) * devices
    return replace(asked, workload=workload, fixed=fixed, batch=batch)


def context_question(rng: random.Random) -> Asked:
    """Return a random small question with context parallelism: heads of keys that divide, are shared, are latent or are
    none, by software that exchanges heads and software that does not."""
    asked = random_question(rng)
    while any(edge.target != edge.source + 1 for edge in asked.workload.edges):
        asked = random_question(rng)
    name, layers = rng.choice(
        (("llama2-7b", 5), ("llama3-8b", 5), ("mixtral-8x7b", 3), ("deepseek-v3", 3), ("mamba2-2.7b", 3))
    )
    workload = short_model(name, rng.randint(2, layers))
    names = {chip.name for chip, _, _ in asked.inventory}
    kept = ("micro_batch", "zero", "shard", "flash", "virtual", "order")
    fixed = {one: asked.fixed[one] for one in kept if one in asked.fixed}
    fixed["context"] = rng.choice(((2,), (1, 2), (4,), (2, 4), (8, 2), (1, 8)))
    if name in ("mixtral-8x7b", "deepseek-v3"):
        fixed["expert"] = rng.choice(((1,), (1, 2), (2, 4)))
    if rng.random() < 0.5:
        each = tuple(rng.sample(list(ContextExchange), rng.choice((1, 2))))
        fixed["context_exchange"] = each
    if rng.random() < 0.5 and "tpu-v4" not in names:
        fixed["software"] = tuple(rng.sample((*_SOFTWARE, "deepspeed"), rng.choice((1, 2))))
    if rng.random() < 0.3:
        fixed["recompute"] = rng.choice(((Recompute.NONE,), (*Recompute,)))
    return replace(asked, workload=workload, fixed=fixed)


def low_question(rng: random.Random) -> Asked:
    """Return a random small question of several ways to multiply in fp8, of a chain that may share and freeze weights,
    with pipelines whose software may keep what stages send."""
    workload = short_model(rng.choice(("llama2-7b", "opt-350m", "bert-base")), rng.randint(2, 6))
    if _repeats(workload) and rng.random() < 0.6:
        workload = with_shared(workload, rng)
    count = rng.choice((2, 4, 8))
    fixed: dict[str, Values] = {
        "precision": (Format.FP8,),
        "micro_batch": rng.choice(((1,), (1, 2))),
        "zero": rng.choice(((1,), (1, 2), (1, 3))),
        "software": tuple(rng.sample(("", "megatron-core", "torchtitan", "fsdp-eager"), rng.choice((1, 2)))),
        "fp8_gather": rng.choice(((True,), (False, True), (True, False))),
        "fp8_recipe": rng.choice(((None,), (Fp8Recipe.DELAYED,), (Fp8Recipe.BLOCKWISE, Fp8Recipe.TENSORWISE))),
        "data": rng.choice(((2,), (1, 2, 4))),
    }
    batch = rng.choice((1, 2, 4)) * count
    name, where = rng.choice((("h100-sxm", "dgx-h100"), ("b200-sxm", "dgx-b200")))
    return Asked(workload=workload, inventory=[(device(name), node(where), count)], batch=batch, fixed=fixed)


def _repeats(workload: Workload) -> bool:
    """Return whether a workload is a chain in which some layer comes twice."""
    chain = all(edge.target == edge.source + 1 for edge in workload.edges)
    return chain and len(set(workload.order)) < len(workload.order)


def some_plans(rng: random.Random) -> PlanFilter:
    """Return a filter that allows a half or two thirds of the values of some fields together."""
    salt, most, names = rng.randrange(10**6), rng.choice((2, 3)), rng.choice(_FILTERED)

    def allows(plan: Plan) -> bool:
        text = f"{salt} {[str(getattr(plan, name)) for name in names]}"
        return zlib.crc32(text.encode()) % most > 0

    return PlanFilter(title="some plans", allows=allows)
