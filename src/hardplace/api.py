"""The Python interface: every question of the command line as a function, with the same defaults and the same answer.

`import hardplace as hp` gives these functions. Each takes names or files and returns a frozen answer (`answers.Answer`)
or an `Infeasible`, which is an answer too: it says what is short and what would mend it. Bad input raises `BadInput`, a
ValueError of one line that names the argument, its value and what was expected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    """Return the names of the models that ship with the package.

    Returns:
        Names in alphabetical order, as every argument `model` takes them.
    """
    from hardplace.workload.load import catalogue

    return catalogue()


def devices() -> tuple[str, ...]:
    """Return the names of the accelerators in the catalogue.

    Returns:
        Names in alphabetical order, as every argument `device` takes them.
    """
    from hardplace.hardware.catalogue import device_names

    return device_names()


def load(model: str | os.PathLike[str] | Workload) -> Workload:
    """Return the training graph of a model.

    Args:
        model: A name of `models()`, a Workload file (`.json`, `.json.gz`), a Hugging Face config.json or its folder
            (which is recorded; needs the extra `torch`), or a Workload, which is returned as it is.

    Returns:
        One training step as a graph of operators, on one device.

    Raises:
        BadInput: For an unknown name, with the nearest ones, and for a file that is none of these.
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
    """Record one training step of a model as a Workload, without allocating its weights.

    Args:
        source: A torch module, a config.json or its folder, `package.module:function`, or an .onnx file.
        inputs: Example inputs of a module: a tensor, a tuple or a dict. Only for a module.
        loss: Function of the module's output and the inputs. None: the output's own `loss`, or its sum.
        name: Name of the Workload. None: that of the source.
        sequence_length: Tokens of a sample, where the source leaves them open.
        dtype: Type of weights and activations, such as bf16 or fp32.
        autocast: Type of torch.autocast within which the step runs. None: no autocast.
        attention: `fused` (one kernel) or the other implementation that the model's library offers.
        size: Values of an ONNX file's dynamic dimensions, by name.
        trust_code: Run the Python files beside a config of custom code.
        freeze: Patterns of the names of parameters that are not trained.

    Returns:
        The recorded training step, its micro-batch symbolic.

    Raises:
        BadInput: Without the extra `torch`, and for a model that cannot be recorded.
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

    Args:
        model: A catalogue name, a Workload file, a config.json, or a Workload.
        setting: Memory system, network and optimizer that all chips share: `hbm3` or `phaze`.
        space: The chips to search: `phaze`, `open`, or a TOML file.
        objective: throughput, throughput-per-watt, throughput-per-dollar, energy, carbon, tdp, price or area.
        limits: Upper limits by name (area, tdp, price, memory, step), as texts with units or numbers in mm2, W, USD,
            bytes and seconds: {"area": "60 mm2", "tdp": "300 W"}. Without a limit on the area, that of the space holds.
        devices: Accelerators that train the model together.
        batch: Samples of the global batch, which is one optimizer step.
        memory: Memory capacities of a chip to choose from, in bytes or as texts. Empty: those of the setting.
        micro_batch: Samples of a micro-batch to choose from. Empty: 1, 2, 4, 8.
        tensor: Tensor-parallel degrees to choose from. Empty: 1, 2, 4, 8.
        recompute: Whether stages recompute their activations. Empty: both.
        gap: Relative gap, bound / score - 1, at which the search stops.
        seconds: Time limit in seconds. None: none.
        evaluations: Limit on exact evaluations. None: none.
        exhaustive: Evaluate every candidate instead of branch and bound; for small spaces.
        evaluator: Where exact evaluations are done (processes, a cluster). None: here.
        progress: Called with the state of the search as it goes.

    Returns:
        The best chip and plan with the certificate, or what is short where no candidate fits.

    Raises:
        BadInput: For an argument that is wrong, which it names.

    An interrupt (Ctrl-C) ends the search with the best answer so far and its gap.
    """
    asked = _asked(locals())
    from hardplace.branch_and_bound.types import StoppingRule
    from hardplace.design.answer import answer as design_answer
    from hardplace.design.question import question_of

    question = question_of(
        (load(model),), setting=setting, space=space, devices=devices, batch=batch, limits=limits or {},
        memory=memory, micro_batch=micro_batch, tensor=tensor, recompute=recompute, objectives=(objective,),
    )  # fmt: skip
    ends = StoppingRule(gap=gap, limit_s=seconds, evaluations=evaluations, exhaustive=exhaustive)
    return replace(design_answer(question, ends, report=progress, evaluator=evaluator), question=asked)


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
    """Search the Pareto front of chips and plans over two or three objectives, with a certificate.

    Args:
        model: A catalogue name, a Workload file, a config.json, or a Workload.
        objectives: Two or three different ones of those that `search` takes.
        setting: As for `search`.
        space: As for `search`.
        limits: As for `search`.
        devices: As for `search`.
        batch: As for `search`.
        memory: As for `search`.
        micro_batch: As for `search`.
        tensor: As for `search`.
        recompute: As for `search`.
        gap: Relative gap at which the search stops: no candidate beats every point of the front by more.
        seconds: Time limit in seconds. None: none.
        evaluator: As for `search`.
        progress: As for `search`.

    Returns:
        The points of the front, none of which another one beats in every objective; or what is short.

    Raises:
        BadInput: For an argument that is wrong, which it names.
    """
    asked = _asked(locals())
    from hardplace.branch_and_bound.types import StoppingRule
    from hardplace.design.answer import frontier as design_frontier
    from hardplace.design.question import question_of

    question = question_of(
        (load(model),), setting=setting, space=space, devices=devices, batch=batch, limits=limits or {},
        memory=memory, micro_batch=micro_batch, tensor=tensor, recompute=recompute, objectives=tuple(objectives),
    )  # fmt: skip
    ends = StoppingRule(gap=gap, limit_s=seconds)
    return replace(design_frontier(question, ends, report=progress, evaluator=evaluator), question=asked)


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
    """Search one chip for several models, or the best set of a few chips, with a certificate.

    Args:
        models: Two or more models, each as `search` takes it.
        fleet: Number of different chips; each model runs on the one that is best for it.
        combine: How the models' scores, each over that of its own best chip, become one: geometric (the default),
            worst, weights (the default where there are weights), or arithmetic (with the setting `phaze` only).
        weights: A positive weight for each model.
        setting: As for `search`.
        space: As for `search`.
        objective: As for `search`.
        limits: As for `search`.
        devices: As for `search`, for each model.
        batch: As for `search`, for each model.
        memory: As for `search`.
        micro_batch: As for `search`.
        tensor: As for `search`.
        recompute: As for `search`.
        gap: As for `search`, of the combined score.
        seconds: Time limit in seconds, shared by the searches of all models. None: none.
        evaluator: As for `search`.
        progress: As for `search`.

    Returns:
        The chips, and which model runs on which with which plan; or what is short.

    Raises:
        BadInput: For an argument that is wrong, which it names.
    """
    asked = _asked(locals())
    from hardplace.branch_and_bound.types import StoppingRule
    from hardplace.design.question import question_of
    from hardplace.design.several_models import together

    question = question_of(
        tuple(load(model) for model in models), setting=setting, space=space, devices=devices, batch=batch,
        limits=limits or {}, memory=memory, micro_batch=micro_batch, tensor=tensor, recompute=recompute,
        objectives=(objective,), combine=combine, weights=weights, fleet=fleet,
    )  # fmt: skip
    ends = StoppingRule(gap=gap, limit_s=seconds)
    return replace(together(question, ends, report=progress, evaluator=evaluator), question=asked)


def answered(
    question: Question,
    ends: StoppingRule,
    asked: Mapping[str, Any],
    *,
    evaluator: ChipEvaluator | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> DesignResult | ParetoResult | SharedResult | Infeasible:
    """Search what a question asks: one model, a Pareto front, or several models.

    For callers that have made a `Question` themselves, such as to keep a journal of it.

    Args:
        question: Models, setting, limits, space of chips, choices of a plan, and goal.
        ends: When to stop.
        asked: The question as plain values, which the answer carries.
        evaluator: Where exact evaluations are done. None: here.
        progress: Called with the state of the search as it goes.

    Returns:
        The answer of the kind that the question asks for; or what is short.
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
    """Compare other search strategies on the same space with the certified search.

    Args:
        model: A catalogue name, a Workload file, a config.json, or a Workload.
        strategies: Names among phaze, wham, bayesian, random. Empty: all.
        setting: As for `search`.
        limits: As for `search`.
        devices: As for `search`.
        batch: As for `search`.
        gap: Relative gap of the certified search, which runs to its proof.
        seconds: Time limit in seconds of each strategy. None with no `evaluations`: 30 s.
        evaluations: Limit on exact evaluations of each strategy. None: none.
        seed: Seed of the strategies that draw at random.
        progress: Called with the name of the strategy that begins.

    Returns:
        For each strategy its best, its evaluations and its improvements over time; or what is short.

    Raises:
        BadInput: For an unknown strategy or an argument that is wrong.
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
    """Search the best plans of a model on devices that exist, with a certificate.

    Args:
        model: A catalogue name, a Workload file, a config.json, or a Workload.
        device: A name of `devices()`, a TOML file, or a calibrated GPU's JSON; several kinds with their numbers as
            ("a100-80gb-sxm:8", "h100-sxm:8").
        devices: Number of devices, with one kind.
        batch: Samples of the global batch, which is one optimizer step.
        node: Names or TOML files of nodes. Empty: each device's usual node.
        fixed: Dimensions that are held to a value, or to one of several: {"tensor": (1, 2), "zero": 3}. Their names are
            the fields of `Plan`.
        top: Number of plans to return, fastest first.
        gap: Relative gap at which the search stops. 0: proven optimal.
        seconds: Time limit in seconds. None: none.
        trainer: Search only plans that this trainer runs, by its name in `export`.
        watch: Called with the numbers of plans considered and left, the best seconds of a step and the lower bound.

    Returns:
        The best plans with their estimates and the certificate, or which stage is short of how many bytes, with
        remedies.

    Raises:
        BadInput: For dimensions that suit neither the model nor the devices.
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
    """Return a plan of an answer with its model and devices by name, as `estimate`, `replan` and `export` read it.

    Args:
        result: Answer of `place`.
        number: Index of the plan among the best, from 0.

    Returns:
        The plan as a file holds it; `files.write(path, it)` saves it.
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

    Args:
        model: A catalogue name, a Workload file, a config.json, or a Workload.
        plan: A `Plan`, or a file that `place` wrote.
        device: As for `place`; without a number, as many as the plan has. Empty: the devices that the plan's file
            names.
        node: As for `place`.

    Returns:
        Seconds, memory by stage, MFU; `fits` says whether every stage fits its device.

    Raises:
        BadInput: For a plan of another model, and for degrees that suit neither the model nor the devices.
    """
    asked = _asked(locals())
    from hardplace.plans.chain import of_workload
    from hardplace.plans.estimate import estimate_plan
    from hardplace.plans.fleet import fleet_of
    from hardplace.plans.inventory import inventory_of_plan, inventory_title
    from hardplace.plans.plan import Plan, PlanFile, read_plan

    file = plan if isinstance(plan, Plan) else read_plan(Path(plan))
    where = "plan" if isinstance(plan, Plan) else str(plan)
    parts = inventory_of_plan(where, file, _names(device), _names(node))
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

    Args:
        plan: A `Plan`, or a file that `place` wrote.
        to: megatron, megatron-bridge, torchtitan, deepspeed, accelerate or maxtext.
        model: Catalogue name or file, where the plan's file does not say it.
        device: As for `estimate`, where the plan's file does not say it.
        node: As for `estimate`.
        config: The model's config.json, where neither the catalogue nor its recording says what the trainer must know.
        nearest: Export the nearest plan that the trainer can run, where it cannot run this one.

    Returns:
        Files by name, the launch command, and warnings.

    Raises:
        BadInput: For what the trainer cannot run of the plan, and for a plan that does not fit.
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
    """Price every kernel of a model on one chip: mapping, time, what bounds it, traffic, energy.

    Args:
        model: A catalogue name, a Workload file, a config.json, or a Workload.
        device: A name of `devices()`, a TOML file, or a chip as `search` names it (8x128x128-2x128-128MiB).
        micro_batch: Samples that go through the layers together.
        tensor: Tensor-parallel degree; collectives are left out.
        dtype: Type of the operands of matrix products.

    Returns:
        A row for each kernel of each distinct layer.

    Raises:
        BadInput: For an unknown device, or a degree that does not divide the model.
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
    """Search the plans that do most work until the next change when devices or links of a running plan change.

    Args:
        plan: A file that `place` wrote.
        lost: Ranks that are lost, as numbers or as a text such as "16-23,40". None: the last, where `devices` is fewer.
        devices: Devices at hand. None: those that are not lost.
        cluster: The node with its links as they are now. None: as before.
        horizon_s: Seconds until the next change, over which work is counted.
        restart_s: Seconds of a stop and restart without any transfer.
        store_bytes_per_s: Rate at which a device reads checkpoints, in bytes a second.
        model: Model of a plan's file that does not name it.
        device: Device of a plan's file that does not name it.
        node: Node of a plan's file that does not name it.

    Returns:
        Plans, most work first, each with the bytes that move and the pause; or why none goes on in time.

    Raises:
        BadInput: For a change that does not suit the plan.
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
    """Audit the shape of a decoder on a device: every GEMM of a step, and the rules of co-design that it breaks,
    priced.

    Args:
        model: A name of `models()`, a Workload file or a config.json.
        device: A name of `devices()`, a TOML file, a calibrated GPU's JSON, or a chip as `search` names it.
        micro_batch: Samples that go through the layers together.
        tensor: Tensor-parallel degree.
        sequence_parallel: Whether activations between products are split along the sequence.
        pipeline: Pipeline stages, which the layers should divide into.
        sequence: Tokens of a sample. None: the model's own.
        attention: `default` (PyTorch's flash attention), `unfused`, or the name of a backend.

    Returns:
        GEMMs with alignment, tile, waves, rate and share of the step, and each rule with verdict, cost and fix.

    Raises:
        BadInput: For an unknown model, device or backend.
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

    Args:
        model: A name of `models()`, a Workload file or a config.json of a decoder.
        device: One device or several, each as for `audit`.
        within: Relative difference of the number of parameters, up to 0.5.
        freeze: Fields that stay: layers, hidden, heads, kv_heads, head_dim, ffn, vocab.
        ranges: Values of a field to choose from, as numbers or as a text: {"layers": "44:52:4"}.
        top: Number of alternatives of each tier.
        micro_batch: As for `audit`.
        tensor: As for `audit`.
        sequence_parallel: As for `audit`.
        pipeline: As for `audit`.
        sequence: As for `audit`.
        attention: As for `audit`.

    Returns:
        The model's own shape, and alternatives of a safe and a reshaped tier with speed-up and its uncertainty.

    Raises:
        BadInput: For a model that is no decoder, and for arguments that are wrong.
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

    Args:
        model: A name of `models()`, a Workload file or a config.json of a decoder.
        within: As for `shapes`.
        freeze: As for `shapes`.
        ranges: As for `shapes`.
        raw: Score by samples a second alone. False: times the shape's trained parameters over the model's own.
        setting: As for `search`.
        space: As for `search`.
        limits: As for `search`.
        devices: As for `search`.
        batch: As for `search`.
        memory: As for `search`.
        micro_batch: As for `search`.
        tensor: As for `search`.
        recompute: As for `search`.
        gap: As for `search`.
        seconds: As for `search`.
        progress: As for `search`.

    Returns:
        The best shape, chip and plan, beside the model's own shape on its best chip; or what is short.

    Raises:
        BadInput: For an argument that is wrong, which it names.
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
    """Split a graph of operators over unlike devices: placement and schedule, with a certificate.

    Args:
        graph: A file of operators with seconds by kind of device (docs/formats.md, "Operator graph"), or a converted
            file of dnn-partitioning, which has its devices.
        device: Kinds, with a memory such as "gpu:24GiB"; the same again for another device of that kind.
        objective: latency (of one sample) or throughput (of a pipeline: the busiest of devices and links).
        bandwidth: Bandwidth between every pair of devices, as a text with its unit or in bytes a second.
        latency: Latency between every pair of devices, as a text with its unit or in seconds.
        link: Bandwidth and latency of one pair, such as "cpu-gpu=16GB/s,10us".
        queued: Whether a link moves one tensor at a time.
        shape: Of a file of dnn-partitioning: ordered, convex, any.
        gap: Relative gap at which the search stops. 0: proven optimal.
        seconds: Time limit in seconds.

    Returns:
        The device and the times of each operator, with the certificate; or what is short.

    Raises:
        BadInput: For circles, operators that no device supports, costs below 0, unknown links, groups without a device
            in common.
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
    """Shard embedding tables over equal devices so that the busiest takes least, with a certificate.

    Prices are those of TorchRec's planner.

    Args:
        file: Tables, devices and batch (docs/formats.md, "Embedding tables").
        sharding: Ways that are allowed: table_wise, column_wise, row_wise, table_row_wise. Empty: the file's, or all.
        seconds: Time limit in seconds.

    Returns:
        The devices and the way of each table, with the certificate; or what is short.

    Raises:
        BadInput: For a file that names none of these, with the field.
    """
    asked = _asked(locals())
    from hardplace.graph_split.table_answer import asked_tables

    return replace(asked_tables(file, _names(sharding), seconds), question=asked)


def read(path: str | os.PathLike[str]) -> Answer:
    """Return a saved answer, equal to the one that was saved.

    Args:
        path: A file that `Answer.save` or a command wrote.

    Returns:
        The answer, of the class that the file names.

    Raises:
        BadInput: For a file that is no answer, and for one that another version wrote, which it names.
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
