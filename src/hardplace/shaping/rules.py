"""The rules of "The Case for Co-Designing Model Architectures with Hardware" (arXiv 2401.14489), priced.

Each rule is a value, a verdict, the smallest change that mends it, and the share of the step that this change saves in
the model of the device. Sources and forms: docs/model-shape.md, "Rules".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from hardplace.cost.gpu.timer import GpuTimer
from hardplace.shaping.gemms import GemmRow
from hardplace.shaping.price import step_s
from hardplace.shaping.rule import CodesignRule, RuleCase, Verdict, advice, held_bytes, requirement, rounded_up
from hardplace.shaping.sources import PricedDevice, target
from hardplace.shaping.types import StepConditions, columns
from hardplace.units import GIB, percent
from hardplace.workload.decoder import LARGEST, DecoderShape

_WIDE_HEAD, _BATCHES = 128, 4


def rules(
    shape: DecoderShape, conditions: StepConditions, target: PricedDevice, gemms: Sequence[GemmRow]
) -> tuple[CodesignRule, ...]:
    """Return every rule for a decoder on a device, in the paper's order and then those of tiles, waves and stages."""
    seconds = float(step_s(columns([shape]), conditions, target.timer)[0])
    case = RuleCase(shape=shape, conditions=conditions, target=target, step_s=seconds, gemms=gemms)
    found = [_vocabulary(case), _micro_batch(case), _tokens(case), _hidden(case), _mlp(case), _head_dim(case)]
    found += [_large_heads(case), _batched_heads(case), _kv_heads(case), _tensor(case), _layers(case)]
    if isinstance(target.timer, GpuTimer):
        found += [_waves(case)]
    return (*found, _edges(case))


def _vocabulary(case: RuleCase) -> CodesignRule:
    step, vocab, t = case.rank_width, case.shape.vocab, case.conditions.tensor
    padded = rounded_up(vocab, step * t)
    return requirement(
        f"vocabulary / t a multiple of {step}",
        f"{vocab} / {t}",
        broken=padded != vocab,
        cost=case.saved(replace(case.shape, vocab=padded)),
        fix=f"pad the vocabulary to {padded}",
        why="the logits are the largest GEMM outside the layers; a misaligned width takes slow kernels",
    )


def _micro_batch(case: RuleCase) -> CodesignRule:
    b = case.conditions.micro_batch
    twice = replace(case.conditions, micro_batch=2 * b)
    if 2 * b * case.shape.sequence > LARGEST:
        twice = case.conditions
    per_sample = float(step_s(columns([case.shape]), twice, case.target.timer)[0]) / twice.micro_batch
    cost = 1.0 - per_sample / (case.step_s / b)
    need, has = held_bytes(case.shape, twice), case.target.memory_bytes
    room = f"{need / GIB:.0f} of {has / GIB:.0f} GiB" if math.isfinite(has) else f"{need / GIB:.0f} GiB"
    fits = "fits without sharding" if need <= has else "only with states sharded, recompute, or more ranks"
    return advice(
        "micro-batch as large as fits",
        f"{b}",
        cost=cost,
        fix=f"micro-batch {2 * b} ({room}: {fits})",
        why="more rows fill waves of tiles and spread launches and weights' traffic",
    )


def _tokens(case: RuleCase) -> CodesignRule:
    step, b, s = case.rank_width, case.conditions.micro_batch, case.shape.sequence
    padded = next((length for length in range(s, s + step + 1) if not b * length % step), s)
    return requirement(
        f"b s a multiple of {step}",
        f"{b} x {s} = {b * s}",
        broken=bool(b * s % step),
        cost=case.saved(replace(case.shape, sequence=padded)),
        fix=f"sequence {padded}",
        why="rows of every GEMM, and the leading dimension of weight gradients",
    )


def _hidden(case: RuleCase) -> CodesignRule:
    step, h, t = case.rank_width, case.shape.hidden, case.conditions.tensor
    wider = rounded_up(h, step * t)
    return requirement(
        f"h / t a multiple of {step}",
        f"{h} / {t}",
        broken=wider != h,
        cost=case.saved(replace(case.shape, hidden=wider), alike=True),
        fix=f"hidden size {wider} with the heads as they are, or {wider - step * t}",
        why="width or depth of every GEMM of a layer",
    )


def _mlp(case: RuleCase) -> CodesignRule:
    step, t, experts = case.rank_width, case.conditions.tensor, case.shape.experts
    width = experts.ffn if experts else case.shape.ffn
    cut = 1 if experts else t
    padded = rounded_up(width, step * cut)
    changed = {"experts": replace(experts, ffn=padded)} if experts else {"ffn": padded}
    ratio = "8/3 h is no aim of its own: search near it" if case.shape.gated else "4 h as a rule"
    return requirement(
        f"MLP width / t a multiple of {step}",
        f"{width} / {cut} = {width / cut:g} ({width / case.shape.hidden:.3f} h)",
        broken=padded != width,
        cost=case.saved(replace(case.shape, **changed), alike=True),
        fix=f"MLP width {padded}",
        why=f"the MLP is most of a layer; {ratio}",
    )


def _split(case: RuleCase, width: int) -> DecoderShape | None:
    """Return the same projections with heads of another dimension; None where they do not divide."""
    shape = case.shape
    all_, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    heads, kv_heads = all_ // width, kv // width
    t = case.conditions.tensor
    if all_ % width or kv % width or heads % kv_heads or heads % t or (kv_heads % t and t % kv_heads):
        return None
    return replace(shape, heads=heads, kv_heads=kv_heads, head_dim=width)


def _heads(split: DecoderShape | None) -> str:
    return f"{split.heads} heads of {split.head_dim}" if split is not None else ""


def _head_dim(case: RuleCase) -> CodesignRule:
    width, step = case.shape.head_dim, 64
    name, why = f"h / a a multiple of {step}", "depth of the score GEMM and width of the value GEMM"
    if case.conditions.flash:
        return CodesignRule(
            name=name,
            value=str(width),
            verdict=Verdict.VOID,
            cost=None,
            fix="",
            why="flash attention has no score GEMM: its kernels pad the head dimension themselves; see the next rule",
        )
    split = min(
        (one for one in (_split(case, size) for size in (64, 128, 256)) if one is not None),
        key=lambda one: abs(one.head_dim - width) if one.head_dim > width else 1000,
        default=None,
    )
    return requirement(
        name,
        str(width),
        broken=bool(width % step),
        cost=case.saved(split) if split is not None else None,
        fix=_heads(split),
        why=why,
    )


def _large_heads(case: RuleCase) -> CodesignRule:
    split = _split(case, _WIDE_HEAD) if case.shape.head_dim < _WIDE_HEAD else None
    return advice(
        "h / a as large as quality allows",
        f"{case.shape.head_dim} ({case.shape.heads} heads)",
        cost=case.saved(split) if split is not None else None,
        fix=_heads(split),
        why="fewer scores for the same products; exponentials bound small heads",
    )


def _batched_heads(case: RuleCase) -> CodesignRule:
    b, a, t = case.conditions.micro_batch, case.shape.heads, case.conditions.tensor
    if case.conditions.flash:
        verdict, why = Verdict.VOID, "flash attention has no batched GEMMs; heads / t must still be whole"
    else:
        verdict, why = Verdict.PASS, "matrices of the batched score and value GEMMs"
    return CodesignRule(name="(b a) / t whole", value=f"{b} x {a} / {t}", verdict=verdict, cost=None, fix="", why=why)


def _kv_heads(case: RuleCase) -> CodesignRule:
    kv, t = case.shape.kv_heads, case.conditions.tensor
    copies = max(1, t // kv)
    return CodesignRule(
        name="KV heads a multiple of t",
        value=f"{kv} / {t}",
        verdict=Verdict.PASS if copies == 1 else Verdict.WARN,
        cost=None,
        fix=f"tensor parallel {kv}" if copies > 1 else "",
        why="fewer KV heads than ranks are computed and kept once on each rank" if copies > 1 else "cut by heads",
    )


def _tensor(case: RuleCase) -> CodesignRule:
    t = case.conditions.tensor
    name, why = "t as small as memory allows", "narrower GEMMs, and collectives that nothing hides"
    if t == 1:
        return CodesignRule(name=name, value="1", verdict=Verdict.PASS, cost=None, fix="", why=why)
    half = replace(case.conditions, tensor=t // 2, sequence=case.conditions.sequence and t > 2)
    timer = target(case.target.name, half).timer if isinstance(case.target.timer, GpuTimer) else case.target.timer
    other = float(step_s(columns([case.shape]), half, timer)[0])
    cost = 1.0 - other * (t // 2) / (case.step_s * t)
    need = held_bytes(case.shape, half)
    return advice(
        name,
        str(t),
        cost=cost,
        fix=f"tensor parallel {t // 2} ({need / GIB:.0f} GiB a rank without sharding)",
        why=why,
    )


def _layers(case: RuleCase) -> CodesignRule:
    layers, stages = case.shape.layers, case.conditions.pipeline
    fullest = -(-layers // stages)
    return requirement(
        "layers a multiple of the pipeline's stages",
        f"{layers} / {stages}",
        broken=bool(layers % stages),
        cost=1.0 - layers / (fullest * stages),
        fix=f"{fullest * stages} or {(fullest - 1) * stages} layers",
        why="the fullest stage sets the pace",
    )


def _weighted(case: RuleCase, name: str) -> tuple[float, str]:
    """Return the mean efficiency over the GEMMs by their time, and in words the one that loses most, if any does."""
    known = [(row, float(getattr(row, name))) for row in case.gemms if getattr(row, name) is not None]
    total = sum(row.share for row, _ in known)
    if not total:
        return 1.0, ""
    mean = sum(row.share * one for row, one in known) / total
    row, least = max(known, key=lambda pair: pair[0].share * (1.0 - pair[1]))
    return mean, f", worst {', '.join(row.what[:2])} {percent(least, 0)}" if mean < 0.995 else ""


def _waves(case: RuleCase) -> CodesignRule:
    mean, said = _weighted(case, "wave_efficiency")
    b = case.conditions.micro_batch
    per_sample = {}
    for size in range(b, b + _BATCHES + 1):
        if size > b and size * case.shape.sequence > LARGEST:
            break
        there = replace(case.conditions, micro_batch=size)
        per_sample[size] = float(step_s(columns([case.shape]), there, case.target.timer)[0]) / size
    best = min(per_sample, key=lambda size: per_sample[size])
    return advice(
        "whole waves of tiles",
        f"{percent(mean)} of the multiprocessors on average{said}",
        cost=1.0 - per_sample[best] / per_sample[b],
        fix=f"micro-batch {best}",
        why="a last, partial wave leaves multiprocessors idle; other micro-batches up to 4 more are tried",
    )


def _edges(case: RuleCase) -> CodesignRule:
    mean, said = _weighted(case, "edge_efficiency")
    lost = sum(row.share * (1.0 - row.edge_efficiency) for row in case.gemms if row.edge_efficiency is not None)
    what = "tiles" if isinstance(case.target.timer, GpuTimer) else "arrays"
    return advice(
        f"whole {what}",
        f"{percent(mean)} of the {what}' work is the model's{said}",
        cost=lost,
        fix="hardplace shape: widths that fill them",
        why="edges are computed and thrown away; the cost is the share of the step that they take at most",
    )
