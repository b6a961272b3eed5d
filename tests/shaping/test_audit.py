"""Audits: GEMMs against the recorded graph, tiles against the model of GEMMs, rules against re-pricing."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardplace.cost.gpu.gemm import gemm_s, gemms
from hardplace.cost.gpu.models import shipped
from hardplace.cost.gpu.tiles import tiling
from hardplace.cost.layers.types import Layout
from hardplace.errors import BadInput
from hardplace.files import dumps
from hardplace.shaping.audit import Audit, audited
from hardplace.shaping.price import step_s
from hardplace.shaping.rule import CodesignRule, Verdict
from hardplace.shaping.sources import ShapeSource, model_named, target
from hardplace.shaping.types import StepConditions, columns
from hardplace.shaping.validation import GPT3
from hardplace.workload.decoder import Experts
from hardplace.workload.load import load
from hardplace.workload.types import OperatorKind


def audit(name: str, device: str, conditions: StepConditions | None = None) -> Audit:
    where = conditions or StepConditions()
    return audited(model_named(name, None), target(device, where), where)


def rule(found: Audit, name: str) -> CodesignRule:
    return next(one for one in found.rules if one.name.startswith(name))


@pytest.mark.parametrize("name", ["llama2-7b", "gpt3-2.7b", "qwen3-8b", "mixtral-8x7b", "t5-large", "deepseek-v3"])
def test_the_gemms_are_all_of_the_recorded_model(name: str) -> None:
    found, workload = audit(name, "h100-sxm"), load(name)
    kinds = (OperatorKind.MATMUL, OperatorKind.GROUPED_MATMUL)
    recorded = sum(
        one.flops.at(1) for index in workload.order for one in workload.layers[index].operators if one.kind in kinds
    )
    assert sum(2 * row.count * row.batch * row.m * row.n * row.k for row in found.gemms) == recorded
    assert sum(share for _, share in found.shares) == pytest.approx(1)
    products = dict(found.shares)["matrix products"]
    assert sum(row.share for row in found.gemms) == pytest.approx(products)
    for row in found.gemms:
        assert row.seconds * row.count == pytest.approx(row.share * found.step_s)
        assert row.flops_per_s == pytest.approx(2 * row.batch * row.m * row.n * row.k / row.seconds)


def test_the_step_is_that_of_the_ranking() -> None:
    conditions = StepConditions(micro_batch=2, tensor=4, sequence=True)
    there = target("h100-sxm", conditions)
    found = audited(ShapeSource(name="gpt3", shape=GPT3, workload=None), there, conditions)
    assert found.step_s == pytest.approx(step_s(columns([GPT3]), conditions, there.timer)[0])


def test_forward_and_gradients_have_their_names_and_alignments() -> None:
    found = audit("gpt3-2.7b", "a100-80gb-sxm", StepConditions(micro_batch=4))
    rows = {what: row for row in found.gemms for what in row.what}
    for name in ("QKV", "attention out", "MLP up", "MLP down", "logits"):
        forward, dgrad, wgrad = (rows[f"{name} {what}"] for what in ("forward", "dgrad", "wgrad"))
        assert (forward.layout, dgrad.layout, wgrad.layout) == ("TN", "NN", "NT")
        assert (dgrad.m, dgrad.n, dgrad.k) == (forward.m, forward.k, forward.n)
        assert (wgrad.m, wgrad.n, wgrad.k) == (forward.n, forward.k, forward.m)
        assert forward.count == (1 if name == "logits" else 32)
    logits = rows["logits forward"]
    assert (logits.m, logits.n, logits.k) == (8192, 50257, 2560)
    assert logits.alignment_bytes == (128, 128, 2), "50257 is odd"
    assert rows["logits wgrad"].alignment_bytes == (2, 128, 128)


def test_unfused_attention_is_gemms_too_and_flash_is_none() -> None:
    unfused = audit("gpt3-2.7b", "a100-80gb-sxm", StepConditions(micro_batch=4, attention="unfused"))
    (scores,) = [row for row in unfused.gemms if "attention scores forward" in row.what]
    assert (scores.m, scores.n, scores.k, scores.batch, scores.count) == (2048, 2048, 80, 128, 96)
    assert scores.alignment_bytes == (32, 32, 128), "80 elements are 160 bytes"
    flash = audit("gpt3-2.7b", "a100-80gb-sxm", StepConditions(micro_batch=4))
    assert not [row for row in flash.gemms if row.what[0].startswith("attention s")]


# Tiles


@given(m=st.integers(1, 9000), n=st.integers(1, 9000), k=st.integers(1, 9000), batch=st.integers(1, 64),
       layout=st.sampled_from(list(Layout)), name=st.sampled_from(["h100-sxm", "a100-80gb-sxm"]))  # fmt: skip
def test_the_tile_is_the_one_with_the_least_time(m: int, n: int, k: int, batch: int, layout: Layout, name: str) -> None:
    model, shapes = shipped(name), gemms(m, n, k, batch=batch, layout=layout)
    found, device = tiling(shapes, model.datasheet, model.gemm), [(model.datasheet, model.gemm)]
    rows, wide, split = (int(column[0]) for column in (found.rows, found.columns, found.split))
    alone = gemm_s(shapes, device, ((rows, wide, tuple(dict.fromkeys((1, split)))),))
    assert alone[0, 0] == pytest.approx(gemm_s(shapes, device)[0, 0], rel=1e-12)
    assert found.tiles[0] == batch * math.ceil(m / rows) * math.ceil(n / wide) * split
    assert found.waves[0] == math.ceil(found.tiles[0] / model.datasheet.multiprocessors)
    assert 0 < found.wave_efficiency[0] <= 1
    assert 0 < found.edge_efficiency[0] <= 1


def test_a_full_wave_and_one_tile_more() -> None:
    model = shipped("a100-80gb-sxm")
    count = model.datasheet.multiprocessors
    found = tiling(gemms([256 * count, 256 * count + 1], 128, 4096), model.datasheet, model.gemm)
    assert (found.rows[0], found.columns[0], found.waves[0], found.wave_efficiency[0]) == (256, 128, 1, 1.0)
    assert found.waves[1] > 1
    assert found.wave_efficiency[1] == pytest.approx(found.tiles[1] / (found.waves[1] * count))
    assert found.wave_efficiency[1] < 0.7


# Rules


def test_what_breaking_a_rule_costs_is_what_the_fix_saves() -> None:
    conditions = StepConditions(micro_batch=4, attention="unfused")
    there = target("a100-80gb-sxm", conditions)
    found = audit("gpt3-2.7b", "a100-80gb-sxm", conditions)
    vocabulary, heads = rule(found, "vocabulary"), rule(found, "h / a a multiple")
    padded, split = replace(GPT3, vocab=50304), replace(GPT3, heads=20, kv_heads=20, head_dim=128)
    base, other, few = step_s(columns([GPT3, padded, split]), conditions, there.timer)
    assert vocabulary.verdict is heads.verdict is Verdict.FAIL
    assert vocabulary.cost == pytest.approx(1 - other / base)
    assert vocabulary.fix == "pad the vocabulary to 50304"
    assert heads.cost == pytest.approx(1 - few / base)
    assert heads.fix == "20 heads of 128"
    (fixed,) = [rule(audited(ShapeSource(name="x", shape=padded, workload=None), there, conditions), "vocabulary")]
    assert fixed.verdict is Verdict.PASS
    assert fixed.fix == ""


def test_flash_attention_makes_rules_void() -> None:
    found = audit("gpt3-2.7b", "h100-sxm")
    assert rule(found, "h / a a multiple").verdict is Verdict.VOID
    assert rule(found, "(b a) / t").verdict is Verdict.VOID
    assert rule(audit("gpt3-2.7b", "a100-80gb-sxm"), "h / a as large").verdict is Verdict.WARN
    assert rule(found, "h / a as large").verdict is Verdict.PASS  # there FA2's heads of 80 lose less than a hundredth
    assert audit("llama2-7b", "h100-sxm").rules


def test_odd_swiglu_widths_fail_and_are_mended() -> None:
    shape = replace(
        GPT3, gated=True, positions=False, hidden=4096, heads=32, kv_heads=32, head_dim=128, ffn=10922, vocab=32000
    )
    conditions = StepConditions(micro_batch=4)
    there = target("h100-sxm", conditions)
    found = rule(audited(ShapeSource(name="x", shape=shape, workload=None), there, conditions), "MLP width")
    assert found.verdict is Verdict.FAIL
    assert found.fix == "MLP width 10944"
    assert found.cost is not None
    assert found.cost > 0.15


MIXTURE = replace(GPT3, gated=True, positions=False, ffn=0, vocab=32000, experts=Experts(count=8, chosen=2, ffn=5472))


@pytest.mark.parametrize(
    ("changed", "name", "fix"),
    [
        ({"experts": Experts(count=8, chosen=2, ffn=5461)}, "MLP width", "MLP width 5504"),
        ({"hidden": 2600}, "h / t", "hidden size 2624 with the heads as they are, or 2560"),
        ({"heads": 40, "kv_heads": 40, "head_dim": 64}, "h / a as large", "20 heads of 128"),
    ],
)
def test_rules_of_a_mixture_of_experts_are_priced(changed: dict[str, Any], name: str, fix: str) -> None:
    conditions = StepConditions(micro_batch=4)
    there = target("h100-sxm", conditions)
    found = rule(
        audited(ShapeSource(name="x", shape=replace(MIXTURE, **changed), workload=None), there, conditions), name
    )
    assert found.fix == fix
    assert found.cost is not None
    assert found.cost > 0.005


def test_a_mixture_beside_tensor_parallelism_needs_sequences_divided() -> None:
    with pytest.raises(BadInput, match="sequence_parallel: not given: expected"):
        audit("mixtral-8x7b", "h100-sxm", StepConditions(tensor=2))


def test_stages_and_ranks() -> None:
    found = audit("llama3-70b", "h100-sxm", StepConditions(tensor=8, pipeline=3))
    layers = rule(found, "layers")
    assert layers.verdict is Verdict.FAIL
    assert layers.cost == pytest.approx(1 - 80 / 81)
    assert rule(found, "t as small").verdict is Verdict.WARN
    assert rule(audit("llama3-70b", "h100-sxm", StepConditions(tensor=16)), "KV heads").verdict is Verdict.WARN


def test_arrays_have_rules_of_their_own_width() -> None:
    found = audit("gpt3-2.7b", "tpu-v4")
    assert any("multiple of 128" in one.name for one in found.rules)
    assert all(row.waves is None for row in found.gemms)
    assert all(0 < (row.edge_efficiency or 0) <= 1 for row in found.gemms)


def test_others_have_gemms_and_no_rules() -> None:
    found = audit("resnet-50", "h100-sxm", StepConditions(micro_batch=32))
    assert found.rules == ()
    assert any("no rules" in note for note in found.notes)
    assert json.loads(dumps(found))["gemms"]


def test_bad_conditions_are_one_line() -> None:
    for conditions, words in (
        (StepConditions(tensor=5), "expected a divisor"),
        (StepConditions(micro_batch=10**6), "expected at most 1048576"),
        (StepConditions(attention="fa7"), "unknown attention backend"),
    ):
        with pytest.raises(BadInput, match=words):
            audit("llama2-7b", "h100-sxm", conditions)
    with pytest.raises(BadInput, match="has no figures of backends"):
        audit("llama2-7b", "tpu-v4", StepConditions(attention="fa3"))


def test_leading_dimensions_decide_the_alignment() -> None:
    found = audit("gpt2-xl", "h100-sxm")
    sizes = np.array([[*row.leading] for row in found.gemms])
    bytes_ = np.array([[*row.alignment_bytes] for row in found.gemms])
    assert (np.minimum(128, 2 * (sizes & -sizes)) == bytes_).all()
