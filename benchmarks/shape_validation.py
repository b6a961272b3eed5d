"""Print the tables of docs/validation-shape.md: how well shapes are ranked, published facts, seconds of a search.

python benchmarks/shape_validation.py
"""

import time
from pathlib import Path

from hardplace.cost.gpu.measured import read_gemms
from hardplace.cost.gpu.models import shipped
from hardplace.csv_table import parse
from hardplace.files import read_text
from hardplace.shaping import validation
from hardplace.shaping.ranges import parse_range
from hardplace.shaping.rank import ShapeQuery, ranked
from hardplace.shaping.sources import model_named, target
from hardplace.shaping.types import StepConditions

DATA = Path(__file__).parent.parent / "validation/gpu"
DEVICES = ("a100-80gb-sxm", "h100-sxm", "b200-sxm", "h200-sxm", "gb200", "l40s", "rtx-pro-6000")
RANGES = ("hidden=2560:5632:16", "layers=16:48")


def rankings() -> None:
    """Print the share of pairs ranked right by device."""
    heading = (
        "| device | products | layers | pairs | right, s a FLOP | alike pairs | right, s | in the band | mean error |"
    )
    print(heading + "\n|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for name in DEVICES:
        path = DATA / f"gemm_{name}.csv.gz"
        rows = read_gemms([(str(path), read_text(path))])
        assert rows is not None
        for whole in (False, True):
            one = validation.score(name, rows, whole=whole)
            print(
                f"| {name} | {4 if whole else 2} | {one.layers} | {one.pairs} | {one.per_flop:.1%} | "
                f"{one.alike_pairs} | {one.alike:.1%} | {one.covered:.1%} | {one.mean_error:.1%} |"
            )


def other_sources() -> None:
    """Print the same for linear layers of another source, whose machines are no part of any fit of these models."""
    print("\n| rows | layers | pairs | right, s a FLOP | alike pairs | right, s | in the band | mean error |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for name, file in (("b200-sxm", "gemm_b200-sxm_simumax.csv"), ("a100-80gb-pcie", "gemm_a100-80gb-pcie.csv")):
        rows = read_gemms([(file, read_text(DATA / file))])
        assert rows is not None
        one = validation.ranking_of(name, [validation.linear_layers(rows, shipped(name))])
        print(
            f"| {file} | {one.layers} | {one.pairs} | {one.per_flop:.1%} | {one.alike_pairs} | {one.alike:.1%} | "
            f"{one.covered:.1%} | {one.mean_error:.1%} |"
        )


def whole_steps() -> None:
    """Print pairs of whole measured steps (vTrain, A100, small GPTs, one pipeline stage) at equal degrees and batch."""
    path = DATA.parent / "training/training_single_node.csv.gz"
    table = parse(read_text(path), str(path))
    print("\n| steps | pairs | right, s | pairs | right, s a parameter |\n|---|--:|--:|--:|--:|")
    for said, tensor, batch in (("all", 8, 1), ("tensor at most 2, micro-batch from 4", 2, 4)):
        one = validation.steps_ranked(table, most_tensor=tensor, least_micro_batch=batch)
        print(f"| {said} | {one.pairs} | {one.right:.1%} | {one.parameter_pairs} | {one.parameter_right:.1%} |")


def facts() -> None:
    """Print published facts and what the model has."""
    print("\n| fact | conditions | published | model |\n|---|---|--:|--:|")
    for tokens in (2048, 8192, 32768):
        print(
            f"| SwiGLU 10922 over 11008, rate | H100, {tokens} tokens | 0.69 | {validation.swiglu_ratio(tokens):.3f} |"
        )
    for device in ("a100-80gb-sxm", "h100-sxm", "b200-sxm"):
        for attention in ("unfused", "default"):
            share = validation.vocabulary_share(device, attention, 4)
            print(f"| vocabulary 50257 to 50304, share | {device}, {attention} attention | 3-6 % | {share:.1%} |")
    for attention in ("unfused", "default"):
        for micro_batch in (1, 4, 8):
            found = validation.heads_speedup("a100-80gb-sxm", attention, micro_batch)
            said = "1.17" if attention == "unfused" else ""
            print(
                f"| 20 over 32 heads | A100, {attention} attention, micro-batch {micro_batch} | {said} | {found:.3f} |"
            )
    path = DATA / "gpt3_layer_a100-80gb-sxm.csv"
    ours, real = validation.measured_layer(parse(read_text(path), str(path)))
    said = f"{1e3 * real:.2f} ms | {1e3 * ours:.2f} ms ({ours / real - 1:+.1%})"
    print(f"| GPT-3 layer, LLMCompass | A100, tensor parallel 4 | {said} |")


def seconds() -> None:
    """Print how long a search over many shapes takes."""
    print("\n| device | candidates | seconds |\n|---|--:|--:|")
    ranges = dict(parse_range(one) for one in RANGES)
    for names in (("h100-sxm",), ("h100-sxm", "b200-sxm"), ("tpu-v4",)):
        conditions = StepConditions()
        model, targets = model_named("llama2-7b", None), [target(name, conditions) for name in names]
        start = time.perf_counter()
        found = ranked(model, targets, conditions, ShapeQuery(share=0.15, ranges=ranges))
        print(f"| {' and '.join(names)} | {found.candidates} | {time.perf_counter() - start:.1f} |")


if __name__ == "__main__":
    rankings()
    other_sources()
    whole_steps()
    facts()
    seconds()
