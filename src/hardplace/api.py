"""What a Python user calls: every question of the command line, with its defaults, by the field's names.

`import hardplace as hp` gives these functions. Each takes names or files, and returns a frozen answer
(`answers.Answer`) or an `Infeasible`, which is an answer too: what is short, and what would mend it. Bad input is a
`BadInput`, a ValueError that names the argument, its value and what was expected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import hardplace.report.register  # noqa: F401  (how answers look as text and as a page)
from hardplace.errors import BadInput, unknown

if TYPE_CHECKING:
    import os

    from hardplace.answers import Answer, Infeasible
    from hardplace.branch_and_bound.types import Progress, StoppingRule
    from hardplace.cost.one_chip.estimate import OperatorEstimate
    from hardplace.design.exact.evaluator import ChipEvaluator
    from hardplace.design.question import Question
    from hardplace.design.strategies.types import Comparison
    from hardplace.design.types import DesignResult, ParetoResult, SharedResult
    from hardplace.exports.job import Exported
    from hardplace.graph_split.answer import SplitResult
    from hardplace.graph_split.table_answer import TablesResult
    from hardplace.plans.estimate import PlanEstimate
    from hardplace.plans.infeasible import PlanInfeasible
    from hardplace.plans.placement.search import PlacementResult
    from hardplace.plans.plan import Plan, PlanFile
    from hardplace.plans.replanning.replan import ReplanResult
    from hardplace.shaping.audit import Audit
    from hardplace.shaping.joint.types import ShapeDesignResult
    from hardplace.shaping.rank import ShapeQuery
    from hardplace.shaping.types import Ranking, StepConditions
    from hardplace.workload.types import Workload

Named = str | Sequence[str]  # one name or several
Watch = Callable[[int, int, float, float], None]


def models() -> tuple[str, ...]:
    """Return the names of the models that ship with the package."""
    from hardplace.workload.load import catalogue

    return catalogue()


def devices() -> tuple[str, ...]:
    """Return the names of the accelerators of the catalogue."""
    from hardplace.hardware.catalogue import device_names

    return device_names()


def load(model: str | os.PathLike[str] | Workload) -> Workload:
    """Return the training graph of a model.

    model: a name of `models()`, a Workload file (`.json`, `.json.gz`), a Hugging Face config.json or its folder (which
    is recorded; needs the extra `torch`), or a Workload, which is returned as it is.

    Raises BadInput for an unknown name, with the nearest ones, and for a file that is none of these.
    """
    from hardplace.workload.configs import config_of
    from hardplace.workload.load import catalogue
    from hardplace.workload.load import load as load_workload
    from hardplace.workload.types import Workload

    if isinstance(model, Workload):
        return model
    path = Path(model)
    if str(model) not in catalogue():
        if (path / "config.json").is_file():
            return trace(path)
        if path.suffix == ".json" and path.is_file() and "model_type" in (config_of(path) or {}):
            return trace(path)
    return load_workload(model)


def trace(
    source: Any,
    inputs: Any = None,
    *,
    loss: Callable[..., Any] | None = None,
    name: str | None = None,
    sequence_length: int | None = None,
    dtype: str = "bf16",
    autocast: str | None = None,
    attention: str = "fused",
    size: Mapping[str, int] | None = None,
    trust_code: bool = False,
    freeze: Named = (),
) -> Workload:
    """Record one training step of a model as a Workload, without weights.

    source: a torch module, with its example inputs (a tensor, a tuple or a dict); or a config.json or its folder,
    `package.module:function`, or an .onnx file. loss: a function of the module's output and the inputs; None: the
    output's own `loss`, or its sum. size: values of an ONNX file's dynamic dimensions. trust_code: run the Python
    files beside a config of custom code. freeze: patterns of the names of parameters that are not trained.

    Raises BadInput without the extra `torch`, and for a model that cannot be recorded.
    """
    from hardplace.workload.recording.choose import record_module, recorded, step_of

    if isinstance(source, str | Path):
        return recorded(
            step_of(
                str(source), name=name, sequence_length=sequence_length, dtype=dtype, autocast=autocast,
                attention=attention, size=size, trust_code=trust_code, freeze=_names(freeze),
            )
        )  # fmt: skip
    return record_module(
        source,
        inputs,
        loss=loss,
        name=name or type(source).__name__,
        dtype=dtype,
        autocast=autocast,
        freeze=_names(freeze),
    )


def search(
    model: str | os.PathLike[str] | Workload,
    *,
    setting: str = "hbm3",
    space: str = "phaze",
    objective: str = "throughput",
    limits: Mapping[str, str | float] | None = None,
    devices: int = 1024,
    batch: int = 4096,
    memory: str | float | Sequence[str | float] = (),
    micro_batch: int | Sequence[int] = (),
    tensor: int | Sequence[int] = (),
    recompute: bool | Sequence[bool] = (),
    gap: float = 0.01,
    seconds: float | None = None,
    evaluations: int | None = None,
    exhaustive: bool = False,
    evaluator: ChipEvaluator | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> DesignResult | Infeasible:
    """Search the chip and the plan that train a model fastest, or do best at another objective, with a certificate.

    setting: memory system, network and optimizer, `hbm3` or `phaze`. space: the chips, `phaze`, `open` or a TOML file.
    limits: at most, by name, such as {"area": "60 mm2", "tdp": "300 W"}; of area, tdp, price, memory, step.
    devices, batch: accelerators, and samples of a global batch. memory, micro_batch, tensor, recompute: what a plan may
    choose; empty: the defaults. gap, seconds, evaluations: when to stop. evaluator: where exact evaluations are done.

    Raises BadInput, naming the argument. An interrupt ends the search with the best answer so far.
    """
    asked = _asked(locals())
    from hardplace.branch_and_bound.types import StoppingRule
    from hardplace.design.question import question_of

    question = question_of(
        (load(model),), setting=setting, space=space, devices=devices, batch=batch, limits=limits or {},
        memory=memory, micro_batch=micro_batch, tensor=tensor, recompute=recompute, objectives=(objective,),
    )  # fmt: skip
    ends = StoppingRule(gap=gap, limit_s=seconds, evaluations=evaluations, exhaustive=exhaustive)
    found = answered(question, ends, asked, evaluator=evaluator, progress=progress)
    return cast("DesignResult | Infeasible", found)


def frontier(
    model: str | os.PathLike[str] | Workload,
    objectives: Sequence[str] = ("throughput", "tdp"),
    *,
    setting: str = "hbm3",
    space: str = "phaze",
    limits: Mapping[str, str | float] | None = None,
    devices: int = 1024,
    batch: int = 4096,
    memory: str | float | Sequence[str | float] = (),
    micro_batch: int | Sequence[int] = (),
    tensor: int | Sequence[int] = (),
    recompute: bool | Sequence[bool] = (),
    gap: float = 0.01,
    seconds: float | None = None,
    evaluator: ChipEvaluator | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> ParetoResult | Infeasible:
    """Search the Pareto front of chips and plans over two or three objectives; other arguments as for `search`."""
    asked = _asked(locals())
    from hardplace.branch_and_bound.types import StoppingRule
    from hardplace.design.question import question_of

    question = question_of(
        (load(model),), setting=setting, space=space, devices=devices, batch=batch, limits=limits or {},
        memory=memory, micro_batch=micro_batch, tensor=tensor, recompute=recompute, objectives=tuple(objectives),
    )  # fmt: skip
    ends = StoppingRule(gap=gap, limit_s=seconds)
    found = answered(question, ends, asked, evaluator=evaluator, progress=progress)
    return cast("ParetoResult | Infeasible", found)


def share(
    models: Sequence[str | os.PathLike[str] | Workload],
    *,
    fleet: int = 1,
    combine: str | None = None,
    weights: Sequence[float] | None = None,
    setting: str = "hbm3",
    space: str = "phaze",
    objective: str = "throughput",
    limits: Mapping[str, str | float] | None = None,
    devices: int = 1024,
    batch: int = 4096,
    memory: str | float | Sequence[str | float] = (),
    micro_batch: int | Sequence[int] = (),
    tensor: int | Sequence[int] = (),
    recompute: bool | Sequence[bool] = (),
    gap: float = 0.01,
    seconds: float | None = None,
    evaluator: ChipEvaluator | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> SharedResult | Infeasible:
    """Search one chip for several models, or the best `fleet` of chips; other arguments as for `search`.

    combine: geometric (the default), worst, weights (the default where there are weights), or arithmetic (with the
    setting `phaze` only), of each model's score over that of its own best chip.
    """
    asked = _asked(locals())
    from hardplace.branch_and_bound.types import StoppingRule
    from hardplace.design.question import question_of

    question = question_of(
        tuple(load(model) for model in models), setting=setting, space=space, devices=devices, batch=batch,
        limits=limits or {}, memory=memory, micro_batch=micro_batch, tensor=tensor, recompute=recompute,
        objectives=(objective,), combine=combine, weights=weights, fleet=fleet,
    )  # fmt: skip
    ends = StoppingRule(gap=gap, limit_s=seconds)
    found = answered(question, ends, asked, evaluator=evaluator, progress=progress)
    return cast("SharedResult | Infeasible", found)


def answered(
    question: Question,
    ends: StoppingRule,
    asked: Mapping[str, Any],
    *,
    evaluator: ChipEvaluator | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> DesignResult | ParetoResult | SharedResult | Infeasible:
    """Search what a question asks: one model, a Pareto front, or several models.

    For callers that have made a `Question`, such as to keep a journal of it. asked: the question as plain values, which
    the answer carries.
    """
    from hardplace.design.answer import answer, frontier
    from hardplace.design.several_models import together

    if len(question.workloads) > 1:
        return replace(together(question, ends, report=progress, evaluator=evaluator), question=asked)
    if len(question.goal.objectives) > 1:
        return replace(frontier(question, ends, report=progress, evaluator=evaluator), question=asked)
    return replace(answer(question, ends, report=progress, evaluator=evaluator), question=asked)


def compare(
    model: str | os.PathLike[str] | Workload,
    strategies: Named = (),
    *,
    setting: str = "hbm3",
    limits: Mapping[str, str | float] | None = None,
    devices: int = 1024,
    batch: int = 4096,
    gap: float = 0.001,
    seconds: float | None = None,
    evaluations: int | None = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Comparison | Infeasible:
    """Search the space of chips with other strategies from scratch, and with the certified search beside them.

    strategies: phaze, wham, bayesian, random; none: all. seconds, evaluations: of each strategy; neither: 30 s. gap: of
    the certified search, which runs to its proof. seed: of the strategies that draw. progress: called with the name of
    what begins. Others as for `search`.
    """
    asked = _asked(locals())
    from hardplace.branch_and_bound.types import StoppingRule
    from hardplace.design.question import question_of
    from hardplace.design.strategies.compare import STRATEGIES
    from hardplace.design.strategies.compare import compare as compared

    names = _names(strategies)
    for name in names:
        if name not in STRATEGIES:
            raise unknown("strategy", name, STRATEGIES)
    question = question_of(
        (load(model),), setting=setting, space="phaze", devices=devices, batch=batch, limits=limits or {}
    )
    if seconds is None and evaluations is None:
        seconds = 30.0
    ends = StoppingRule(gap=gap, limit_s=seconds, evaluations=evaluations)
    found = compared(question, names or tuple(STRATEGIES), ends, seed=seed, report=progress)
    return replace(found, question=asked)


def place(
    model: str | os.PathLike[str] | Workload,
    device: Named,
    devices: int | None = None,
    *,
    batch: int,
    node: Named = (),
    fixed: Mapping[str, Any] | None = None,
    top: int = 10,
    gap: float = 0.0,
    seconds: float | None = None,
    trainer: str | None = None,
    watch: Watch | None = None,
) -> PlacementResult | PlanInfeasible:
    """Find the best plans of a model on devices that exist, with a certificate; or say what is short.

    device: a name of `devices()` or a TOML file; several kinds as ("a100-80gb-sxm:8", "h100-sxm:8"). devices: how many
    of one kind. batch: samples a step. node: names or TOML files of nodes; none: each device's usual. fixed: dimensions
    that are held, to a value or one of several: {"tensor": (1, 2), "zero": 3}. top: how many plans. gap, seconds: when
    to stop early. trainer: only plans that it runs, as `export` names it. watch: called with plans considered,
    plans left, best seconds and bound.

    Raises BadInput for dimensions that suit neither the model nor the devices.
    """
    asked = _asked(locals())
    from hardplace.plans.fleet import even_cluster
    from hardplace.plans.inventory import inventory_of, inventory_title
    from hardplace.plans.placement.search import PlacementResult, PlanSearch
    from hardplace.plans.placement.shortage import placed_or_short
    from hardplace.plans.placement.space import PlanSpace, fixed_of

    workload = _trained(model)
    parts = inventory_of(_names(device), devices, _names(node))
    held = fixed_of(fixed or {})
    space = PlanSpace(global_batch=batch, fixed=held)
    if trainer is not None:
        from hardplace.exports.trainer_space import space_of_trainer

        space = space_of_trainer(trainer, _name(model), workload, batch, held, [chip.vendor for chip, _, _ in parts])
    search = PlanSearch(workload, parts, space, watch, most=top, gap=gap, seconds=seconds)
    title = f"{_name(model)} on {inventory_title(parts)}" + (f", for {space.within.title}" if space.within else "")
    found = placed_or_short(workload, parts, space, search)
    if isinstance(found, PlacementResult):
        title += f", {batch:,} sample{'s' if batch != 1 else ''} a step"
        _, where, count = parts[0]
        node_devices = even_cluster(where, count).levels[0].devices
        return replace(found, question=asked, title=title, model=workload.name, node_devices=node_devices)
    return replace(found, question=asked, title=title)


def plan_file(result: PlacementResult, number: int = 0) -> PlanFile:
    """Return a plan of an answer with its model and devices by name, as `estimate` and `replan` read it.

    number: of the plan among the best, from 0.
    """
    from hardplace.plans.inventory import inventory_of, plan_file_of

    asked = result.question
    parts = inventory_of(_names(asked["device"]), asked.get("devices"), _names(asked.get("node", ())))
    return plan_file_of(
        result.best[number].plan, str(asked["model"]), _names(asked["device"]), parts, _names(asked["node"])
    )


def estimate(
    model: str | os.PathLike[str] | Workload,
    plan: Plan | str | os.PathLike[str],
    device: Named = (),
    *,
    node: Named = (),
) -> PlanEstimate:
    """Price a plan on devices that exist: seconds of a step, where they go, and the memory of each stage.

    plan: a `Plan`, or a file that `place` wrote. device, node: as `place` takes them, without a number as many as the
    plan has; none: those of the plan's file.

    Raises BadInput for a plan of another model, and for degrees that suit neither the model nor the devices.
    """
    asked = _asked(locals())
    from hardplace.plans.chain import of_workload
    from hardplace.plans.estimate import estimate_plan
    from hardplace.plans.fleet import fleet_of
    from hardplace.plans.inventory import inventory_of, inventory_title
    from hardplace.plans.plan import Plan, PlanFile, read_plan

    file = plan if isinstance(plan, Plan) else read_plan(Path(plan))
    where = "plan" if isinstance(plan, Plan) else str(plan)
    names, nodes = _names(device), _names(node)
    lots = file.on if isinstance(file, PlanFile) else ()
    if not names and not lots:
        raise BadInput("device", f"{where} names none", "a device, or a file that `place` wrote")
    if not names:
        names = tuple(f"{lot.device}:{lot.count}" for lot in lots)
        nodes = nodes or tuple(dict.fromkeys(lot.node for lot in lots))
    counted = any(":" in one for one in names)
    parts = inventory_of(names, None if counted else file.devices, nodes)
    workload = load(model)
    if isinstance(file, PlanFile):
        _check_model(where, file.model, model, workload)
    bare = Plan(**{one.name: getattr(file, one.name) for one in fields(Plan)})
    try:
        found = estimate_plan(of_workload(workload, bare), bare, fleet_of(parts, bare))
    except BadInput as problem:
        raise BadInput(f"{where}: {problem}") from None
    return replace(found, question=asked, title=f"{workload.name} on {inventory_title(parts, nodes=True)}")


def export(
    plan: Plan | str | os.PathLike[str],
    to: str,
    *,
    model: str | None = None,
    device: Named = (),
    node: Named = (),
    config: str | os.PathLike[str] | None = None,
    nearest: bool = False,
) -> Exported:
    """Write a plan as the files of a trainer, with the command that launches it (`docs/exports.md`).

    plan: a `Plan`, or a file that `place` wrote. to: megatron, megatron-bridge, torchtitan, deepspeed, accelerate or
    maxtext. model, device, node: names, where the plan's file does not say them. config: the model's config.json, where
    neither the catalogue nor its recording says it. nearest: export the nearest plan that the trainer runs.

    Raises BadInput for what the trainer cannot run of the plan, and for a plan that does not fit.
    """
    from hardplace.exports.export import exported, nearest_job
    from hardplace.exports.planned import job_of, planned_of
    from hardplace.exports.targets import target_of

    run = planned_of(plan, model, _names(device), _names(node), load)
    job = job_of(run, target_of(to, "to"), run.plan, None if config is None else Path(config))
    job = nearest_job(job, run.priced) if nearest else job
    if not job.estimate.fits:
        raise BadInput(f"{run.place}: expected a plan whose stages fit their devices")
    return exported(job)


def operators(
    model: str | os.PathLike[str] | Workload,
    device: str,
    *,
    micro_batch: int = 1,
    tensor: int = 1,
    dtype: str = "bf16",
) -> OperatorEstimate:
    """Price every kernel of a model on one chip: mapping, time, bound, traffic, energy.

    device: a name of `devices()`, a TOML file, or a chip as `search` names it (8x128x128-2x128-128MiB).
    micro_batch: samples. tensor: tensor-parallel degree; collectives are left out. dtype: of the operands of products.
    """
    asked = _asked(locals())
    from hardplace.cost.one_chip.estimate import estimated, priced_on
    from hardplace.hardware.sheet import find

    return replace(estimated(load(model), priced_on(find(device), dtype), micro_batch, tensor), question=asked)


def replan(
    plan: str | os.PathLike[str],
    *,
    lost: Iterable[int] | str | None = None,
    devices: int | None = None,
    cluster: str | None = None,
    horizon_s: float = 4 * 3600.0,
    restart_s: float = 60.0,
    store_bytes_per_s: float = 125e6,
    model: str | None = None,
    device: str | None = None,
    node: str | None = None,
) -> ReplanResult | PlanInfeasible:
    """Find the plans that do most work until the next change when devices of a running plan or links change.

    plan: a file that `place` wrote. lost: ranks, as numbers or as a text such as "16-23,40"; None: the last, where
    `devices` is fewer. devices: at hand; None: those not lost. cluster: the node with its links as they are now.
    horizon_s: until the next change. restart_s: of a stop without any transfer. store_bytes_per_s: at which checkpoints
    are read, of a device. model, device, node: of a plan's file that does not name them.

    Raises BadInput for a change that does not suit the plan.
    """
    asked = _asked(locals())
    from hardplace.hardware.catalogue import device as device_named
    from hardplace.hardware.catalogue import node as node_named
    from hardplace.plans.fleet import node_of
    from hardplace.plans.replanning.replan import Change
    from hardplace.plans.replanning.replan import replan as replanned
    from hardplace.plans.replanning.running import lost_of, read_running

    running = read_running(Path(plan), model, device, node)
    chip = device_named(running.device)
    before = node_named(running.node) if running.node else node_of(chip.name)
    if before.device != chip.name:
        raise BadInput(f"{plan}: node", f"{before.name}: has {before.device}", f"a node of {chip.name}")
    gone, left = lost_of(running.plan.devices, lost, devices)
    change = Change(
        devices=left, lost=gone, node=node_named(cluster) if cluster else before,
        horizon_s=horizon_s, restart_s=restart_s, store_bytes_per_s=store_bytes_per_s,
    )  # fmt: skip
    title = f"{running.model}: {running.plan.devices} {chip.title} until now, {left} in {change.node.title} at hand"
    return replace(replanned(load(running.model), chip, running.plan, before, change), question=asked, title=title)


def audit(
    model: str | os.PathLike[str],
    device: str,
    *,
    micro_batch: int = 1,
    tensor: int = 1,
    sequence_parallel: bool = False,
    pipeline: int = 1,
    sequence: int | None = None,
    attention: str = "default",
) -> Audit:
    """List every GEMM of one step with what decides its speed, and the rules of shapes that the model breaks, priced.

    model: a name of `models()`, a Workload file or a config.json. device: a name of `devices()`, a TOML file, a
    calibrated GPU's JSON, or a chip as `search` names it. sequence: tokens instead of the model's own. attention:
    default (PyTorch's flash), unfused, or the name of a backend.
    """
    asked = _asked(locals())
    from hardplace.shaping.audit import audited
    from hardplace.shaping.sources import model_named, target

    where = _conditions(micro_batch, tensor, sequence_parallel, pipeline, attention)
    return replace(audited(model_named(str(model), sequence), target(device, where), where), question=asked)


def shapes(
    model: str | os.PathLike[str],
    device: Named,
    *,
    within: float = 0.02,
    freeze: Named = (),
    ranges: Mapping[str, str | Sequence[int]] | None = None,
    top: int = 10,
    micro_batch: int = 1,
    tensor: int = 1,
    sequence_parallel: bool = False,
    pipeline: int = 1,
    sequence: int | None = None,
    attention: str = "default",
) -> Ranking:
    """Rank shapes with about as many parameters as a model by how fast they train on one device or several.

    within: how far the parameters may be off, as a share. freeze: fields that stay: layers, hidden, heads, kv_heads,
    head_dim, ffn, vocab. ranges: values of a field. top: alternatives of each tier. Others as for `audit`.
    """
    asked = _asked(locals())
    from hardplace.shaping.rank import ranked
    from hardplace.shaping.sources import model_named, target

    where = _conditions(micro_batch, tensor, sequence_parallel, pipeline, attention)
    query = _query(within, _names(freeze), ranges or {}, top)
    priced = [target(name, where) for name in dict.fromkeys(_names(device))]
    return replace(ranked(model_named(str(model), sequence), priced, where, query), question=asked)


def codesign(
    model: str | os.PathLike[str],
    *,
    within: float = 0.02,
    freeze: Named = (),
    ranges: Mapping[str, str | Sequence[int]] | None = None,
    raw: bool = False,
    setting: str = "hbm3",
    space: str = "phaze",
    limits: Mapping[str, str | float] | None = None,
    devices: int = 1024,
    batch: int = 4096,
    memory: str | float | Sequence[str | float] = (),
    micro_batch: int | Sequence[int] = (),
    tensor: int | Sequence[int] = (),
    recompute: bool | Sequence[bool] = (),
    gap: float = 0.01,
    seconds: float | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> ShapeDesignResult | Infeasible:
    """Search model shape, chip and plan together, with one certificate.

    within, freeze, ranges: of the shapes, as for `shapes`. raw: by samples a second, not times the parameters. Others
    as for `search`.
    """
    asked = _asked(locals())
    from hardplace.branch_and_bound.types import StoppingRule
    from hardplace.design.question import question_of
    from hardplace.shaping.joint.answer import jointly
    from hardplace.shaping.sources import model_named

    question = question_of(
        (load(model),), setting=setting, space=space, devices=devices, batch=batch, limits=limits or {},
        memory=memory, micro_batch=micro_batch, tensor=tensor, recompute=recompute, objectives=("throughput",),
    )  # fmt: skip
    query = _query(within, _names(freeze), ranges or {}, 10)
    ends = StoppingRule(gap=gap, limit_s=seconds)
    found = jointly(model_named(str(model), None), question, query, ends, raw=raw, report=progress)
    return replace(found, question=asked)


def split(
    graph: str | os.PathLike[str],
    device: Named = (),
    *,
    objective: str = "latency",
    bandwidth: str | float = "16 GB/s",
    latency: str | float = "10 us",
    link: Named = (),
    queued: bool = True,
    shape: str = "any",
    gap: float = 0.0,
    seconds: float = 10.0,
) -> SplitResult | Infeasible:
    """Split a graph of operators over unlike devices: placement, schedule, bound.

    graph: a file of operators with seconds by kind of device (docs/formats.md, "Operator graph"), or a
    converted file of
    dnn-partitioning, which has its devices. device: kinds, with a memory such as "gpu:24GiB"; the same again
    for another
    one. objective: latency (of one sample) or throughput (of a pipeline: the busiest of devices and links). bandwidth,
    latency: of every pair of devices; link: of one, such as "cpu-gpu=16GB/s,10us". queued: a link moves one tensor at a
    time. shape: of a file of dnn-partitioning: ordered, convex, any. gap, seconds: when to stop.

    Raises BadInput for circles, operators that no device supports, costs below 0, unknown links, groups without a
    device in common.
    """
    asked = _asked(locals())
    from hardplace.graph_split.ask import asked_split
    from hardplace.graph_split.graph_file import LinkChoice
    from hardplace.units import parse_quantity

    speed = parse_quantity(bandwidth, "B/s", "bandwidth") if isinstance(bandwidth, str) else float(bandwidth)
    delay_s = parse_quantity(latency, "s", "latency") if isinstance(latency, str) else float(latency)
    links = LinkChoice(bytes_per_s=speed, latency_s=delay_s, queued=queued, named=_names(link))
    found = asked_split(graph, _names(device), links, objective=objective, shape=shape, limit_s=seconds, gap=gap)
    return replace(found, question=asked)


def tables(file: str | os.PathLike[str], *, sharding: Named = (), seconds: float = 10.0) -> TablesResult | Infeasible:
    """Shard embedding tables over equal devices so that the busiest takes least, with a bound.

    file: tables, devices and batch (docs/formats.md, "Embedding tables"). sharding: the ways that are allowed:
    table_wise, column_wise, row_wise, table_row_wise; none: the file's, or all. Prices are those of TorchRec's planner.

    Raises BadInput for a file that names none of these, with the field.
    """
    asked = _asked(locals())
    from hardplace.graph_split.table_answer import asked_tables

    return replace(asked_tables(file, _names(sharding), seconds), question=asked)


def read(path: str | os.PathLike[str]) -> Answer:
    """Return a saved answer, equal to the one that was saved.

    Raises BadInput for a file that is none, and for one that another version wrote, which it names.
    """
    from hardplace.answers import Infeasible, read_answer
    from hardplace.cost.one_chip.estimate import OperatorEstimate
    from hardplace.design.strategies.types import Comparison
    from hardplace.design.types import DesignResult, ParetoResult, SharedResult
    from hardplace.graph_split.answer import SplitResult
    from hardplace.graph_split.table_answer import TablesResult
    from hardplace.plans.estimate import PlanEstimate
    from hardplace.plans.infeasible import PlanInfeasible
    from hardplace.plans.placement.search import PlacementResult
    from hardplace.plans.replanning.replan import ReplanResult
    from hardplace.shaping.audit import Audit
    from hardplace.shaping.joint.types import ShapeDesignResult
    from hardplace.shaping.types import Ranking

    kinds = (
        Audit, Comparison, DesignResult, Infeasible, OperatorEstimate, ParetoResult, PlacementResult, PlanEstimate,
        PlanInfeasible, Ranking, ReplanResult, ShapeDesignResult, SharedResult, SplitResult,
        TablesResult,
    )  # fmt: skip

    return read_answer(Path(path), {kind.__name__: kind for kind in kinds})


def _asked(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a function's arguments, its local names at its start, as plain values of JSON."""
    return {name: plain(value) for name, value in arguments.items() if name not in _UNASKED}


_UNASKED = ("evaluator", "progress", "watch")


def plain(value: Any) -> Any:
    """Return a value as JSON has it; a Workload by its name."""
    if value is None or isinstance(value, bool | int | float | str):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list | set | frozenset | range):
        return [plain(one) for one in value]
    return getattr(value, "name", None) if is_dataclass(value) and hasattr(value, "name") else str(value)


def _names(text: Named) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else tuple(text)


def _name(model: str | os.PathLike[str] | Workload) -> str:
    return str(getattr(model, "name", model)) if is_dataclass(model) else str(model)


def _trained(model: str | os.PathLike[str] | Workload) -> Workload:
    workload = load(model)
    if not workload.training:
        raise BadInput("model", f"{_name(model)}: recorded for inference", "a training step, with its backward pass")
    return workload


def _check_model(where: str, named: str, model: str | os.PathLike[str] | Workload, workload: Workload) -> None:
    """Raise BadInput for a plan's file that was made for another model; a Workload file may have moved since."""
    from hardplace.workload.load import load as load_workload

    if named in ("", _name(model)):
        return
    try:
        same = load_workload(named).name == workload.name
    except BadInput:
        same = Path(named).name == Path(_name(model)).name
    if not same:
        raise BadInput(f"{where}: model", repr(named), f"{_name(model)!r}, the model asked for, or no model")


def _conditions(
    micro_batch: int, tensor: int, sequence_parallel: bool, pipeline: int, attention: str
) -> StepConditions:
    from hardplace.shaping.types import StepConditions

    return StepConditions(
        micro_batch=micro_batch, tensor=tensor, sequence=sequence_parallel, pipeline=pipeline, attention=attention
    )


def _query(within: float, freeze: tuple[str, ...], ranges: Mapping[str, Any], top: int) -> ShapeQuery:
    from hardplace.shaping.ranges import parse_range
    from hardplace.shaping.rank import ShapeQuery

    if not 0.0 < within <= 0.5:
        raise BadInput("within", within, "a share above 0, up to 0.5")
    values = dict(
        parse_range(f"{name}={one if isinstance(one, str) else ','.join(map(str, one))}")
        for name, one in ranges.items()
    )
    return ShapeQuery(share=within, frozen=freeze, ranges=values, top=top)
