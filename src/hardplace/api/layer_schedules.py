"""One layer of a model on the cores of one chip: its schedules with their lower bounds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hardplace.api.asking import Named, asked_of, names_of, word_of
from hardplace.api.sources import load

if TYPE_CHECKING:
    import os

    from hardplace.design.exact.layer_schedule import LayerScheduleResult
    from hardplace.workload.types import Workload


def schedule(
    model: str | os.PathLike[str] | Workload,
    chip: str,
    *,
    layer: str | None = None,
    phase: Named = ("forward", "backward"),
    micro_batch: int = 1,
    tensor: int = 1,
    rule: str = "exclusive",
    splits: bool = False,
    setting: str = "hbm3",
    gap: float = 0.001,
    seconds: float | None = 30.0,
) -> LayerScheduleResult:
    """Schedule one layer of a model on the cores of a chip: makespans with lower bounds, and where each kernel runs.

    Args:
        model: A catalogue name, a Workload file, a config.json, or a Workload.
        chip: Tensor cores x rows x columns, vector cores x lanes, buffer: "8x128x128-2x128-128MiB".
        layer: Name of the layer. None: the one that the model repeats most.
        phase: Passes: forward, backward, recompute (the recomputed forward pass joined to the backward pass).
        micro_batch: Samples of a micro-batch.
        tensor: Tensor-parallel degree.
        rule: exclusive: a kernel on all cores of its kind has the chip to itself; sharing: it leaves the other kind
            free.
        splits: Whether kernels may run on 2, 4, 8, ... cores, besides on one and on all.
        setting: Memory system and network.
        gap: Relative gap at which a schedule is good enough.
        seconds: Time limit of each pass in seconds. None: none.

    Returns:
        The schedules of the passes with their bounds, in seconds from the start of each pass.

    Raises:
        BadInput: For an argument that is wrong, which it names.
    """
    asked = asked_of(locals())
    from hardplace.design.exact.layer_schedule import LayerPass, LayerQuestion, layer_of, schedule_layer
    from hardplace.design.scheduling.types import SharingRule
    from hardplace.hardware.phaze import chip_of_text
    from hardplace.hardware.setting_files import setting_of as named

    passes = [word_of("phase", one, LayerPass) for one in dict.fromkeys(names_of(phase))]
    workload = load(model)
    question = LayerQuestion(
        layer=layer_of(workload, tensor, layer), tensor_parallel=tensor, micro_batch=micro_batch,
        chips=chip_of_text(chip), setting=named(setting), rule=word_of("rule", rule, SharingRule), splits=splits,
    )  # fmt: skip
    return replace(schedule_layer(question, workload.name, passes, gap=gap, limit_s=seconds), question=asked)
