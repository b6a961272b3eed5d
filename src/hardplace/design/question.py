"""The question of a search over chips, and how it is made from names and numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hardplace.described.reading import is_description
from hardplace.design.goals import LIMITS, Combine, Goal, Objective
from hardplace.design.types import PlanChoices
from hardplace.errors import BadInput, unknown
from hardplace.hardware.chip_pricer import Preset
from hardplace.hardware.setting_files import setting_of
from hardplace.hardware.settings import as_reached
from hardplace.hardware.space import ChipSpace
from hardplace.hardware.space_files import at_process
from hardplace.hardware.space_files import space as space_named
from hardplace.hardware.types import Budget, PowerLimit, Setting
from hardplace.units import parse_quantity
from hardplace.workload.sharding.degrees import check_degrees
from hardplace.workload.types import Parallelism, Workload

_SIZES = (1, 2, 4, 8)  # micro-batches and tensor-parallel degrees to choose from


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The question of a search: models, what all candidates share, the chips and plans to choose from.

    Attributes:
        workloads: The models.
        setting: Clock, memory system, network, batch and optimizer that all candidates share.
        budget: Limits on chips and plans.
        space: The chips.
        choices: The choices of a plan.
        goal: Objectives, and how several models become one score.
    """

    workloads: tuple[Workload, ...]
    setting: Setting
    budget: Budget
    space: ChipSpace
    choices: PlanChoices
    goal: Goal


def question_of(
    workloads: tuple[Workload, ...],
    *,
    setting: str,
    space: str,
    process: str | float | None = None,
    devices: int,
    batch: int,
    limits: Mapping[str, str | float],
    memory: str | float | Sequence[str | float] = (),
    micro_batch: int | Sequence[int] = (),
    tensor: int | Sequence[int] = (),
    recompute: bool | Sequence[bool] = (),
    objectives: Sequence[str] = ("throughput",),
    combine: str | None = None,
    weights: Sequence[float] | None = None,
    fleet: int = 1,
    node: str | None = None,
    ideal: bool = True,
) -> Question:
    """Return the question that names and numbers ask; arguments as for `hardplace.search`, `frontier` and `share`.

    Chips of PHAZE's area model have ideal kernels always, as PHAZE's.

    Raises:
        BadInput: Naming the argument, for names that do not exist, for what divides nothing, for a model that cannot be
            trained, and for what does not go together.
    """
    for name, value in (("devices", devices), ("batch", batch), ("fleet", fleet)):
        if value < 1:
            raise BadInput(name, value, "a whole number from 1")
    shared = replace(setting_of(setting, devices, node), batch_samples=batch)
    degrees = _several(tensor)
    choices = _choices(shared, _several(memory), _several(micro_batch), degrees, _several(recompute))
    for workload in workloads:
        if not workload.training:
            raise BadInput(
                "model", f"{workload.name}: recorded for inference", "a training step, with its backward pass"
            )
        for width in degrees:
            check_degrees(workload, Parallelism(tensor=width))
    names = [workload.name for workload in workloads]
    if len(set(names)) < len(names):
        raise BadInput("model", f"{' '.join(names)}: one of them twice", "different ones")
    if is_description(space):
        raise BadInput(
            "space", repr(space), "a space of chips; describe searches the parameters of a described one (vary)"
        )
    chips = space_named(space) if process is None else at_process(space_named(space), process)
    if _several(memory) and chips.memories:
        raise BadInput("memory", f"the chips of space {chips.name} bring their own", "a limit on memory")
    if not ideal and chips.area_model is Preset.PARTS:
        kind = chips.memories[0].kind if chips.memories else "HBM3"
        power = PowerLimit(node_nm=chips.node_nm, dtype=chips.dtype, memory_kind=kind, clock_hz=shared.clock_hz)
        shared = as_reached(shared, power)
    return Question(
        workloads=workloads,
        setting=shared,
        budget=_budget(limits, chips),
        space=chips,
        choices=choices,
        goal=_goal(objectives, combine, weights, fleet, len(workloads), shared),
    )


def _several(value: object) -> tuple:  # type: ignore[type-arg]
    """Return one value as a tuple, several as they are."""
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,)


def _choices(
    setting: Setting,
    memory: tuple[str | float, ...],
    micro_batches: tuple[int, ...],
    degrees: tuple[int, ...],
    recompute: tuple[bool, ...],
) -> PlanChoices:
    """Return what a plan may choose; an empty one leaves its default."""
    sizes = tuple(parse_quantity(one, "B", "memory") if isinstance(one, str) else float(one) for one in memory)
    fitting = tuple(size for size in micro_batches or _SIZES if size >= 1 and setting.batch_samples % size == 0)
    if not fitting:
        said = ", ".join(map(str, micro_batches))
        raise BadInput("micro_batch", said, f"a divisor of the batch of {setting.batch_samples} samples")
    for width in degrees:
        if not 1 <= width <= setting.cluster.devices:
            raise BadInput("tensor", width, f"1 to the {setting.cluster.devices} devices")
    return PlanChoices(
        memory_bytes=tuple(sorted(sizes or setting.memory_capacities_bytes)),
        micro_batches=fitting,
        recompute=recompute or (False, True),
        tensor_parallel=tuple(width for width in degrees or _SIZES if width <= setting.cluster.devices),
    )


def _budget(limits: Mapping[str, str | float], chips: ChipSpace) -> Budget:
    """Return the limits; without one on the area, or on the TDP, that of the space."""
    found: dict[str, float] = {}
    for name, value in limits.items():
        if name not in LIMITS:
            raise unknown("limit", name, LIMITS)
        field, unit = LIMITS[name]
        if isinstance(value, str):
            found[field] = _quantity(name, value, unit)
        elif 0.0 < value < float("inf"):
            found[field] = float(value)
        else:
            raise BadInput("limits", f"{name}: {value}", f"a positive number of {unit}")
    return replace(Budget(area_mm2=chips.area_limit_mm2, tdp_w=chips.tdp_limit_w), **found)


def _quantity(name: str, text: str, unit: str) -> float:
    try:
        return parse_quantity(text, unit, name)
    except BadInput as problem:
        raise BadInput("limits", f"{name}: {problem.value}", problem.expected) from None


def _goal(
    objectives: Sequence[str],
    combine: str | None,
    weights: Sequence[float] | None,
    fleet: int,
    models: int,
    setting: Setting,
) -> Goal:
    """Return what is asked for."""
    for name in objectives:
        if name not in list(Objective):
            raise unknown("objective", name, list(Objective))
    if not 1 <= len(set(objectives)) == len(objectives) <= 3:
        raise BadInput("objectives", ", ".join(objectives), "one, or two or three different ones for a front")
    if models > 1 and len(objectives) > 1:
        raise BadInput("objectives", ", ".join(objectives), "one objective with several models")
    if models == 1 and (fleet > 1 or combine or weights):
        raise BadInput("fleet, combine, weights", None, "several models with them")
    way = combine or ("weights" if weights else "geometric")
    if way not in list(Combine):
        raise unknown("way to combine models", way, list(Combine))
    if way == "arithmetic" and setting.name != "phaze":
        raise BadInput("combine", "arithmetic: PHAZE's mean of raw throughputs", "it with the setting phaze only")
    if (way == "weights") != (weights is not None):
        raise BadInput("weights", None, "weights together with combine=weights, or neither")
    if weights is not None and (len(weights) != models or any(not 0.0 < one < float("inf") for one in weights)):
        raise BadInput("weights", ", ".join(map(str, weights)), f"a positive number for each of the {models} models")
    return Goal(
        objectives=tuple(Objective(name) for name in objectives),
        devices=setting.cluster.devices,
        combine=Combine(way),
        weights=tuple(weights) if weights is not None else (1.0,) * models,
        norms=(1.0,) * models,
        fleet=fleet,
    )
