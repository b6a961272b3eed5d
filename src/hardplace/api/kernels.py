"""One step on one device: its kernels, its products and the rules of shapes, shapes that train faster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardplace.api.asking import Named, asked_of, names_of
from hardplace.api.sources import load
from hardplace.errors import BadInput

if TYPE_CHECKING:
    import os

    from hardplace.cost.one_chip.estimate import OperatorEstimate
    from hardplace.shaping.audit import Audit
    from hardplace.shaping.rank import ShapeQuery
    from hardplace.shaping.types import Ranking, StepConditions
    from hardplace.workload.types import Workload


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
        device: A name of `devices()`, a TOML file, a chip as `search` names it (8x128x128-2x128-128MiB), or a described
            accelerator's name or file (`describe`).
        micro_batch: Samples that go through the layers together.
        tensor: Tensor-parallel degree; collectives are left out.
        dtype: Type of the operands of matrix products; a description has its own.

    Returns:
        A row for each kernel of each distinct layer.

    Raises:
        BadInput: For an unknown device, or a degree that does not divide the model.
    """
    asked = asked_of(locals())
    from hardplace.cost.one_chip.estimate import chip_named, estimated

    return replace(estimated(load(model), chip_named(device, dtype), micro_batch, tensor), question=asked)


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
    asked = asked_of(locals())
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
    calibrated: str | os.PathLike[str] | None = None,
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
        calibrated: File that `anchor` wrote from measured steps of one's own system, of the one device asked about.

    Returns:
        The model's own shape, and alternatives of a safe and a reshaped tier with speed-up and its uncertainty.

    Raises:
        BadInput: For a model that is no decoder, and for arguments that are wrong.
    """
    asked = asked_of(locals())
    from hardplace.api.anchored_plans import naming, read_anchor
    from hardplace.shaping.rank import ranked
    from hardplace.shaping.sources import model_named, target

    where = _conditions(micro_batch, tensor, sequence_parallel, pipeline, attention)
    if calibrated is not None:
        where = replace(where, anchor=read_anchor(Path(calibrated)))
    query = query_of(within, names_of(freeze), ranges or {}, top)
    with naming(None, Path(calibrated) if calibrated is not None else None):
        priced = [target(name, where) for name in dict.fromkeys(names_of(device))]
        found = ranked(model_named(str(model), sequence), priced, where, query)
    return replace(found, question=asked)


def _conditions(
    micro_batch: int, tensor: int, sequence_parallel: bool, pipeline: int, attention: str
) -> StepConditions:
    from hardplace.shaping.types import StepConditions

    return StepConditions(
        micro_batch=micro_batch, tensor=tensor, sequence=sequence_parallel, pipeline=pipeline, attention=attention
    )


def query_of(within: float, freeze: tuple[str, ...], ranges: Mapping[str, Any], top: int) -> ShapeQuery:
    """Return which shapes are searched; BadInput for a share or a range of another form."""
    from hardplace.shaping.ranges import parse_range
    from hardplace.shaping.rank import ShapeQuery

    if not 0.0 < within <= 0.5:
        raise BadInput("within", within, "a share above 0, up to 0.5")
    values = dict(
        parse_range(f"{name}={one if isinstance(one, str) else ','.join(map(str, one))}")
        for name, one in ranges.items()
    )
    return ShapeQuery(share=within, frozen=freeze, ranges=values, top=top)
