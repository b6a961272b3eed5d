"""Print the tables of docs/validation-shape.md: how well shapes are ranked, published facts, seconds of a search.

python benchmarks/shape_validation.py
"""

import time
from collections import defaultdict
from itertools import combinations
from math import log
from pathlib import Path

from hardplace.cost.gpu.decoder import DecoderShape
from hardplace.cost.gpu.measured import read_gemms
from hardplace.cost.gpu.models import shipped
from hardplace.cost.gpu.table import parse
from hardplace.files import read_text
from hardplace.search.shapes import validation
from hardplace.search.shapes.price import parameter_counts, step_s
from hardplace.search.shapes.ranges import parse_range
from hardplace.search.shapes.rank import Asked, ranked
from hardplace.search.shapes.sources import model_named, target
from hardplace.search.shapes.types import Conditions, columns

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
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    print("\n| steps | pairs | right, s | pairs | right, s a parameter |\n|---|--:|--:|--:|--:|")
    for said, most_tensor, least_batch in (("all", 8, 1), ("tensor at most 2, micro-batch from 4", 2, 4)):
        groups = defaultdict(list)
        for row in rows:
            kept = row["pp"] == "1" and not row["flag"] and row["target_iter_s"]
            if kept and int(row["tp"]) <= most_tensor and int(row["micro_batch"]) >= least_batch:
                groups[tuple(row[name] for name in ("tp", "dp", "micro_batch", "global_batch"))].append(row)
        tally = [0, 0, 0, 0]
        for (tensor, _, micro_batch, _), same in groups.items():
            shapes = columns([_small_gpt(row) for row in same])
            where = Conditions(micro_batch=int(micro_batch), tensor=int(tensor), attention="unfused")
            ours = step_s(shapes, where, target("a100-80gb-sxm", where).timer)
            for one, other in combinations(range(len(same)), 2):
                real = log(float(same[one]["target_iter_s"]) / float(same[other]["target_iter_s"]))
                size = log(parameter_counts(shapes)[one] / parameter_counts(shapes)[other])
                found = log(ours[one] / ours[other])
                for place, less in ((0, 0.0), (2, size)):
                    if abs(real - less) > log(1.05):
                        tally[place] += (real > less) == (found > less)
                        tally[place + 1] += 1
        right = (tally[0] / tally[1], tally[2] / tally[3])
        print(f"| {said} | {tally[1]} | {right[0]:.1%} | {tally[3]} | {right[1]:.1%} |")


def _small_gpt(row: dict[str, str]) -> DecoderShape:
    sizes = {name: int(row[name]) for name in ("layers", "hidden", "heads", "kv_heads", "ffn", "vocab")}
    head_dim = sizes["hidden"] // sizes["heads"]
    return DecoderShape(**sizes, head_dim=head_dim, sequence=int(row["seq"]), gated=False, positions=True, tied=True)


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
        conditions = Conditions()
        model, targets = model_named("llama2-7b", None), [target(name, conditions) for name in names]
        start = time.perf_counter()
        found = ranked(model, targets, conditions, Asked(share=0.15, ranges=ranges))
        print(f"| {' and '.join(names)} | {found.candidates} | {time.perf_counter() - start:.1f} |")


if __name__ == "__main__":
    rankings()
    other_sources()
    whole_steps()
    facts()
    seconds()
