"""What prices plans on devices of every kind: arrays by hand, every node of the catalogue, published runs, own files,
bad input."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hardplace
from hardplace.cost.collectives import Ring, collective_s
from hardplace.cost.layers.low_precision import Fp8Recipe
from hardplace.cost.layers.software import SOFTWARE, Graphs
from hardplace.cost.layers.types import Layout, Stream
from hardplace.cost.layers.ways import ways
from hardplace.cost.layers.work import AttentionWork, CollectiveWork, GemmWork, StreamWork
from hardplace.cost.types import Collective
from hardplace.errors import BadInput
from hardplace.hardware.catalogue import device, node, node_names
from hardplace.plans.chain import of_shape, of_workload
from hardplace.plans.efficiencies import efficiencies, fitted
from hardplace.plans.estimate import estimate_plan
from hardplace.plans.fleet import Pricers, fleet_of
from hardplace.plans.plan import Format, Plan
from hardplace.plans.plan_problems import problems
from hardplace.plans.pricer import Efficiencies
from hardplace.plans.pricing import pricer_of, recipe_of
from hardplace.plans.published.row_shapes import shape_of_row
from hardplace.plans.published.runs import run_of
from hardplace.plans.published.scores import estimated, score, settled
from hardplace.workload.load import load
from hardplace.workload.types import Group, Recompute

ROOT = Path(__file__).parents[2]
PLAN = Plan(global_batch=8)


def alone(name: str, plan: Plan = PLAN):
    return replace(pricer_of(device(name), plan), efficiencies=Efficiencies())


def seconds(pricer, *work):
    return pricer.seconds(work, None, {}).total_s


def test_a_pricer_with_another_field_has_prices_of_its_own():
    pricer = replace(alone("h100-sxm"), timer=pricer_of(device("a100-80gb-sxm"), PLAN).timer)
    product = GemmWork(m=4096, n=4096, k=4096)
    assert seconds(pricer, product) > 0.0
    other = replace(pricer, timer=alone("h100-sxm").timer)
    assert seconds(other, product) == seconds(alone("h100-sxm"), product) < seconds(pricer, product)


def test_products_on_arrays_by_hand():
    # TPU v4: 8 arrays of 128 x 128 at 1.05 GHz. Whole tiles: all of the peak, but for filling and draining.
    pricer, big = alone("tpu-v4"), GemmWork(m=16384, n=8192, k=8192)
    peak = 8 * 128 * 128 * 2 * 1.05e9
    assert pricer.peak_flops_per_s == pytest.approx(peak)
    assert big.flops / peak <= seconds(pricer, big) <= 1.02 * big.flops / peak
    # A row and a column more than 40 tiles of the operand that is held leave two edges of 127 idle.
    odd = GemmWork(m=5121, n=5121, k=5121)
    assert seconds(pricer, odd) == pytest.approx(odd.flops / peak * (5248 / 5121) ** 2, rel=0.02)
    # A product of one row reads its weights: memory bound, at 1,200 GB/s.
    assert seconds(pricer, GemmWork(m=1, n=8192, k=8192)) == pytest.approx(2 * 8192 * 8192 / 1.2e12, rel=0.01)


@pytest.mark.parametrize("name", ["tpu-v5p", "h100-sxm"])
def test_a_list_of_products_costs_what_each_costs(name):
    timer = alone(name).timer
    listed = [
        GemmWork(m=m, n=512, k=1024, batch=batch, layout=layout, output_bytes=size)
        for m in (64, 4096)
        for batch in (1, 16)
        for layout in Layout
        for size in (2.0, 4.0)
    ]
    each = [timer.products_s(one, *(np.array([size]) for size in (one.m, one.n, one.k)))[0] for one in listed]
    assert timer.listed_s(listed).tolist() == each


@pytest.mark.parametrize("name", ["tpu-v5p", "h100-sxm"])
def test_a_rank_of_queries_does_its_share(name):
    whole = AttentionWork(
        batch=1, heads=16, kv_heads=4, queries=8192, keys=8192, head_dim=128, causal=True, backward=False
    )
    pricer = alone(name)
    assert seconds(pricer, replace(whole, queries=2048)) == pytest.approx(seconds(pricer, whole) / 4)
    assert seconds(pricer, replace(whole, window=1024)) < seconds(pricer, whole)


def test_tensor_traffic_beside_products_shows_its_first_chunk():
    # longer than the products: they hide seven eighths of themselves in it; shorter: an eighth of it shows
    cluster = node("dgx-h100").cluster(8)
    groups = {Group.TENSOR: Ring(members=8, stride=1)}
    product = GemmWork(m=4096, n=4096, k=4096)
    apart, beside = (replace(alone("h100-sxm"), tensor_overlap=overlapped) for overlapped in (False, True))
    for size in (1e6, 1e8, 1e10):
        traffic = CollectiveWork(collective=Collective.ALL_GATHER, bytes=size, group=Group.TENSOR)
        work_s = apart.seconds([product], cluster, groups).total_s
        traffic_s = apart.seconds([traffic], cluster, groups).total_s
        assert apart.seconds([product, traffic], cluster, groups).total_s == pytest.approx(work_s + traffic_s)
        both_s = max(work_s, traffic_s) + min(work_s, traffic_s) / 8
        assert beside.seconds([product, traffic], cluster, groups).total_s == pytest.approx(both_s)
        experts = replace(product, batch=2, grouped=True)
        alone_s = apart.seconds([experts, traffic], cluster, groups).total_s
        assert beside.seconds([experts, traffic], cluster, groups).total_s == pytest.approx(alone_s)


def test_a_sum_over_tensor_parallel_ranks_waits_for_its_product():
    """Only gathers and scatters are cut into chunks beside products: Megatron-LM's tp_comm_overlap asks for sequence
    parallelism, and an all-reduce is what there is without it."""
    cluster = node("dgx-h100").cluster(8)
    groups = {Group.TENSOR: Ring(members=8, stride=1)}
    product = GemmWork(m=4096, n=4096, k=4096)
    pricer = replace(alone("h100-sxm"), tensor_overlap=True)
    total, gather = (
        CollectiveWork(collective=one, bytes=1e8, group=Group.TENSOR)
        for one in (Collective.ALL_REDUCE, Collective.ALL_GATHER)
    )
    apart = [pricer.seconds(each, cluster, groups).total_s for each in ([product], [total], [product, gather])]
    assert pricer.seconds([product, total], cluster, groups).total_s == pytest.approx(apart[0] + apart[1])
    assert pricer.seconds([product, gather, total], cluster, groups).total_s == pytest.approx(apart[2] + apart[1])


def test_graphs_of_parts_of_a_layer_leave_the_launches_of_experts():
    works = [GemmWork(m=16, n=16, k=16), GemmWork(m=16, n=16, k=16, batch=8, grouped=True)]
    parts = alone("h100-sxm").parts(works, None, {})
    assert (parts.launches, parts.expert_launches) == (1, 8)
    for graphs, launched in (("none", 9.0), ("partial", 0.5 + 8.0), ("full", 0.05 * 9)):
        pricer = pricer_of(device("h100-sxm"), Plan(global_batch=8, graphs=Graphs(graphs)))
        held = replace(pricer, efficiencies=Efficiencies(launch_s=1.0))
        assert held.seconds(works, None, {}).total_s == pytest.approx(launched)


@pytest.mark.parametrize(("name", "ratio"), [("b200-sxm", 4.0), ("gb200", 4.0), ("b300-sxm", 6.0), ("gb300", 6.0)])
def test_four_bits_are_as_much_faster_as_the_datasheet_says(name, ratio):
    found = pricer_of(device(name), replace(PLAN, precision=Format.FP4)).efficiencies
    assert found.fp4_rate == pytest.approx(0.8 * ratio, rel=0.01)


def test_bf16_on_a_gpu_without_it_is_said():
    for precision, lacks in ((Format.BF16, True), (Format.FP16, False)):
        notes = pricer_of(device("v100-sxm2"), replace(PLAN, precision=precision)).notes
        assert any("has no bf16" in note for note in notes) is lacks


def test_precisions_of_arrays():
    wide = GemmWork(m=8192, n=8192, k=8192)
    whole_s, half_s = (
        seconds(alone("gaudi2", replace(PLAN, precision=one)), wide) for one in (Format.BF16, Format.FP8)
    )
    fast = pricer_of(device("gaudi2"), replace(PLAN, precision=Format.FP8))
    assert fast.efficiencies.low_rate == 2.0
    assert half_s < whole_s
    for one in (Format.FP8, Format.FP32, Format.FP16):
        with pytest.raises(BadInput, match=rf"^precision: {one}: tpu-v4 does not multiply in it: expected bf16$"):
            pricer_of(device("tpu-v4"), replace(PLAN, precision=one))


@pytest.mark.parametrize("name", node_names())
def test_plans_are_priced_on_every_node(name):
    """A step on two devices takes longer than products at the peak, and says what its figures are worth."""
    where = node(name)
    chip = device(where.device)
    plan = Plan(global_batch=8, tensor=2, sequence=True, precision=Format.BF16)
    workload = load("llama2-7b")
    found = estimate_plan(of_workload(workload, plan), plan, fleet_of([(chip, where, 2)], plan))
    assert 0.0 < found.mfu < 1.0
    assert sum(one.seconds for one in found.shares) == pytest.approx(found.step_s)
    assert set(pricer_of(chip, plan).notes) <= set(found.notes)


def test_a_slice_of_a_torus_is_as_equal_as_it_can_be():
    pod = node("tpu-v5p-8960")
    assert pod.cluster(8960).levels[0].axes == (16, 20, 28)
    assert pod.cluster(512).levels[0].axes == (8, 8, 8)
    assert pod.cluster(96).levels[0].axes == (4, 4, 6)
    assert node("tpu-v5e-256").cluster(64).levels[0].axes == (8, 8)


def test_states_divided_over_a_part_of_the_replicas_are_read():
    with (ROOT / "validation/training/runs-2026b.csv").open() as source:
        rows = {row["id"]: row for row in csv.DictReader(source)}
    for name, shard in (("internevo-008", 0), ("internevo-016", 8), ("internevo-028", 4), ("internevo-009", 0)):
        plan = run_of(rows[name]).plan  # -009: 8 replicas, so 8 are all
        assert (plan.zero, plan.shard, plan.gradient) == (1, shard, "bf16"), name


def test_virtual_stages_that_a_source_leaves_out_are_searched():
    with (ROOT / "validation/training/training.csv").open() as source:
        rows = {row["id"]: row for row in csv.DictReader(source)}
    row = rows["nemo2407-014"]  # Megatron Core, no virtual stages stated: 20 layers a stage
    found = settled(run_of(row)).plan.virtual
    assert row["vpp"] == ""
    assert found in (2, 4, 5, 10, 20)
    assert settled(run_of(row | {"vpp": "1"})).plan.virtual == 1
    assert "vpp" not in run_of(rows["mlm_jan21-006"]).open  # Megatron-LM of January 2021 had none


@pytest.mark.parametrize(("backward", "times"), [(False, 1.35), (True, 1.67)])
def test_attention_in_triton_takes_longer_than_fa2_and_more_so_backward(backward, times):
    long = AttentionWork(
        batch=1, heads=32, kv_heads=32, queries=65536, keys=65536, head_dim=128, causal=True, backward=backward
    )
    old, new = (seconds(alone("a100-80gb-sxm", replace(PLAN, backend=name)), long) for name in ("triton", "fa2"))
    assert old / new == pytest.approx(times, rel=0.02)


def test_heads_that_8_does_not_divide_are_slow_in_software_of_2022():
    """BLOOM's prototypes with heads of 108 take 1.38 times the step of those of 144, published (bloom-094, -095)."""
    with (ROOT / "validation/training/training.csv").open() as source:
        rows = {row["id"]: row for row in csv.DictReader(source)}
    few, many = (score(rows[name]) for name in ("bloom-094", "bloom-095"))
    assert many.predicted_s / few.predicted_s == pytest.approx(many.measured_s / few.measured_s, rel=0.08)

    def attention_s(chip: str, software: str, dim: int) -> float:
        work = AttentionWork(
            batch=2, heads=32, kv_heads=32, queries=2048, keys=2048, head_dim=dim, causal=True, backward=False
        )
        plan = replace(PLAN, software=software, flash=False, precision=Format.FP16)
        return seconds(alone(chip, plan), work)

    def ratio(chip: str, software: str) -> float:
        return attention_s(chip, software, 108) / attention_s(chip, software, 104)

    assert ratio("a100-80gb-sxm", "megatron-2021") > 2.5
    assert ratio("a100-80gb-sxm", "megatron-core") < 1.3  # cuBLAS has kernels for them since CUDA 11.7
    assert ratio("mi250x", "megatron-2021") < 1.3  # no cuBLAS


def test_software_of_megatron_pads_the_vocabulary_of_each_rank():
    """BLOOM's 250,680 words over 8 ranks: 31,360 rows on each (pad-vocab-size-to 250880), not 31,335, which is odd."""
    with (ROOT / "validation/training/training.csv").open() as source:
        run = run_of(next(row for row in csv.DictReader(source) if row["id"] == "bloom-037"))

    def rows(software: str) -> int:
        last = of_shape(run.shape, replace(run.plan, software=software)).after[0]
        return next(one.n for one in last.forward if isinstance(one, GemmWork))

    assert run.shape.vocab == 250680
    assert rows("megatron-deepspeed") == rows("megatron-core") == 31360
    assert rows("fsdp-eager") == 31335


def test_launches_show_where_the_host_waits_for_every_kernel(monkeypatch):
    """200B on 80 A100 reach 91.04 TFLOP/s with CUDA_LAUNCH_BLOCKING, 97.20 without (BLOOM, 512 samples)."""
    with (ROOT / "validation/training/training.csv").open() as source:
        row = next(row for row in csv.DictReader(source) if row["id"] == "bloom-002")
    run = run_of(row | {"global_batch": "512"})
    blocked = estimated(run).step_s
    usual = SOFTWARE["megatron-deepspeed"]
    monkeypatch.setitem(SOFTWARE, "megatron-deepspeed", replace(usual, blocked_s=0.0))
    assert blocked / estimated(run).step_s == pytest.approx(97.20 / 91.04, rel=0.02)


def test_heads_that_do_not_divide_a_row_are_as_wide_as_kernels_take():
    with (ROOT / "validation/training/training.csv").open() as source:
        row = next(row for row in csv.DictReader(source) if row["id"] == "bloom-031")
    assert shape_of_row(row).head_dim == 224  # 64 heads, as its source says of all its tables up to 02-23
    assert shape_of_row(row | {"heads": "96", "kv_heads": "96"}).head_dim == 152


@pytest.mark.parametrize(
    ("name", "software", "stated", "recipe"),
    [
        ("h100-sxm", "megatron-core", None, "tensorwise"),
        ("b200-sxm", "megatron-core", None, "mxfp8"),
        ("b200-sxm", "", None, "mxfp8"),
        ("b200-sxm", "torchtitan", None, "tensorwise"),
        ("mi355x", "megatron-core", None, "tensorwise"),
        ("h100-sxm", "xla", None, "delayed"),
        ("b200-sxm", "megatron-core", Fp8Recipe.DELAYED, "delayed"),
    ],
)
def test_recipe_of_scaling_by_software_and_device(name, software, stated, recipe):
    plan = replace(PLAN, precision=Format.FP8, software=software, fp8_recipe=stated)
    assert str(recipe_of(device(name), plan)) == recipe
    assert recipe_of(device(name), replace(plan, precision=Format.BF16, fp8_recipe=None)) is None


def test_current_scaling_takes_longer_than_delayed_and_both_longer_than_their_products():
    """By hand, of a forward product of 8,192 tokens, 8,192 wide: 2 bytes an element, read once more at four fifths of
    the datasheet's bandwidth."""
    product = GemmWork(m=8192, n=8192, k=8192)
    plain = alone("h100-sxm", replace(PLAN, precision=Format.FP8))
    delayed, current = (
        alone("h100-sxm", replace(PLAN, precision=Format.FP8, fp8_recipe=one))
        for one in (Fp8Recipe.DELAYED, Fp8Recipe.TENSORWISE)
    )
    less = seconds(current, product) - seconds(delayed, product)
    assert less == pytest.approx(2.0 * 8192 * 8192 / (0.8 * 3.35e12), rel=0.1)
    assert seconds(plain, product) == seconds(current, product)
    products_s = current.parts([product], None, {}).low_s / current.efficiencies.low_rate
    assert seconds(delayed, product) > products_s


def test_what_tensor_ranks_gather_goes_in_fp8_where_software_casts_it_first():
    cluster, groups = node("dgx-h100").cluster(8), {Group.TENSOR: Ring(members=8, stride=1)}
    gather = CollectiveWork(collective=Collective.ALL_GATHER, bytes=1e9, group=Group.TENSOR, directions=1)
    whole = replace(gather, directions=0)
    for software, times in (("megatron-core", 0.5), ("torchtitan", 0.5), ("xla", 1.0)):
        plan = replace(PLAN, precision=Format.FP8, software=software, fp8_recipe=Fp8Recipe.DELAYED)
        pricer = alone("h100-sxm", plan)
        short_s, long_s = (pricer.parts([one], cluster, groups).tensor_s for one in (gather, whole))
        assert short_s == pytest.approx(times * long_s, rel=0.02)
        in_16_bit = alone("h100-sxm", replace(PLAN, software=software))
        assert in_16_bit.parts([gather], cluster, groups).tensor_s == long_s


def test_attention_in_fp8_needs_low_precision():
    assert [*problems(replace(PLAN, backend="cudnn-fp8"))] == [
        "backend: cudnn-fp8: expected precision fp8 or fp4 with it, not bf16"
    ]
    assert not [*problems(replace(PLAN, backend="cudnn-fp8", precision=Format.FP8))]


def test_a_plan_that_names_software_is_not_held_to_the_best_published_run():
    """V100: runs of 2019 to 2021 are all there are. None ran attention as one kernel, which is what passes them: with
    products and a softmax, as they ran, a plan of software unknown is held by less."""

    def products(software: str, *, flash: bool) -> float:
        return pricer_of(device("v100-sxm2"), replace(PLAN, software=software, flash=flash)).efficiencies.products

    assert products("", flash=True) > 1.4 * products("megatron-2021", flash=True)
    assert products("", flash=False) < 1.2 * products("megatron-2021", flash=False)
    assert products("megatron-2021", flash=True) >= 0.95


def test_software_that_no_fitted_run_has_is_held_to_the_best_published_run():
    unnamed, unseen = (
        pricer_of(device("v100-sxm2"), replace(PLAN, software=name)).efficiencies for name in ("", "internevo")
    )
    assert unseen.products == unnamed.products


def test_eager_modules_are_held_to_the_best_published_run_by_less():
    """They fall short of it by what their kernels move: held by the factor of fused ones they would be slowed twice."""
    kind = "nvidia-2048-400"
    known = replace(fitted(), unnamed={kind: {"products": 1.5}, f"{kind} eager": {"products": 1.2}})
    centre, fused, eager = (
        efficiencies(kind, ways(name), replace(known, unnamed=held), named=True).products
        for name, held in (("torchtitan", {}), ("torchtitan", known.unnamed), ("torchtitan-eager", known.unnamed))
    )
    assert fused == pytest.approx(1.5 * centre)
    assert eager == pytest.approx(1.2 * centre)
    alone = replace(known, unnamed={kind: {"products": 1.5}})  # as fitted before
    assert efficiencies(kind, ways("torchtitan-eager"), alone, named=True).products == fused


def test_internevo_is_faster_with_states_divided_within_the_node_as_published():
    """Over all ranks each owner broadcasts its weights, one after another: 0.94 as fast on 64 GPUs, 0.63 on 1,024."""
    with (ROOT / "validation/training/runs-2026b.csv").open() as source:
        rows = {row["id"]: row for row in csv.DictReader(source)}
    known: Pricers = {}
    for whole, inside in (("002", "010"), ("004", "012"), ("008", "016"), ("024", "032")):
        both = [score(rows[f"internevo-{name}"], known) for name in (whole, inside)]
        measured, predicted = ([getattr(one, name) for one in both] for name in ("measured_s", "predicted_s"))
        assert predicted[0] > predicted[1], whole
        assert predicted[0] / predicted[1] == pytest.approx(measured[0] / measured[1], rel=0.16), whole


def test_published_runs_on_arrays_are_read_as_their_sources_count():
    with (ROOT / "validation/training/training.csv").open() as source:
        rows = {row["id"]: row for row in csv.DictReader(source)}
    # 8 slices of 256 TPU v5e, FSDP 16 x TP 16 in each: a sample a device is 16 of a tensor-parallel group.
    run = run_of(rows["maxtext-016"])
    assert (run.plan.tensor, run.plan.data, run.plan.zero, run.plan.shard) == (16, 128, 3, 16)
    assert (run.plan.micro_batch, run.plan.sequence, run.plan.micro_batches) == (16, True, 1)
    assert [level.devices for level in run.node.cluster(2048).levels] == [256, 2048]
    assert run.node.cluster(2048).levels[0].axes == (16, 16)
    # TP 32 counts NeuronCores, two a Trainium.
    run = run_of(rows["trn1-003"])
    assert (run.plan.tensor, run.plan.pipeline, run.plan.data, run.plan.devices) == (16, 8, 4, 512)
    # Neuron's scripts of these runs: selective recompute, attention not yet one kernel (gpt_175b.sh; 0.6.0 of 07/2024).
    assert (run.plan.recompute, run.plan.flash) == (Recompute.SELECTIVE, False)
    assert run_of(rows["trn1-003"] | {"recompute": "full", "flash_attention": "1"}).plan.flash
    assert run_of(rows["maxtext-016"]).plan.gradient == "bf16"  # XLA reduces what a product in bf16 gives


def test_a_gpu_and_a_node_of_ones_own(tmp_path):
    folder = Path(hardplace.__path__[0]) / "hardware"
    chip = (folder / "devices/h100-sxm.toml").read_text().replace('name = "h100-sxm"', 'name = "mine"', 1)
    where = (folder / "nodes/dgx-h100.toml").read_text().replace('"h100-sxm"', '"mine.toml"', 1)
    (tmp_path / "mine.toml").write_text(chip)
    (tmp_path / "box.toml").write_text(where)
    own, box = device(str(tmp_path / "mine.toml")), node(str(tmp_path / "box.toml"))
    assert box.device == own.name == "mine"
    plan = Plan(global_batch=8, tensor=2, sequence=True)
    work = of_workload(load("llama2-7b"), plan)
    steps = [
        estimate_plan(work, plan, fleet_of([one], plan)).step_s
        for one in ((own, box, 2), (device("h100-sxm"), node("dgx-h100"), 2))
    ]
    assert steps[0] == pytest.approx(steps[1], rel=0.1)  # by transfer from its nearest kin


def test_an_fp32_step_moves_twice_the_bytes():
    work = StreamWork(kind=Stream.NORM, bytes=1e9, row=4096)
    for precision, times in ((Format.BF16, 1), (Format.FP32, 2)):
        pricer = alone("h100-sxm", replace(PLAN, precision=precision))
        assert pricer.parts([work], None, {}).streams_s == pricer.moved_s(Stream.NORM, times * 1e9, 4096)


def test_a_token_goes_once_to_a_rank_and_once_to_a_node():
    """Eight copies over g equal groups reach g (1 - (1 - 1/g)^8) of them; the slower of both levels counts."""
    cluster = fleet_of([(device("h100-sxm"), node("dgx-h100"), 16)], PLAN).sites[0].cluster
    plain, once = alone("h100-sxm"), replace(alone("h100-sxm"), deduplicates=True)

    def share(groups):
        return groups * (1 - (1 - 1 / groups) ** 8) / 8

    def all_to_all_s(members, size):
        return collective_s(cluster, Collective.ALL_TO_ALL, members, 1, size)

    def found_s(pricer, members):
        work = CollectiveWork(collective=Collective.ALL_TO_ALL, bytes=8e8, group=Group.EXPERT, copies=8)
        return pricer.parts([work], cluster, {Group.EXPERT: Ring(members=members, stride=1)}).expert_s

    for members in (8, 16):
        assert found_s(plain, members) == pytest.approx(all_to_all_s(members, 8e8))
    assert found_s(once, 8) == pytest.approx(all_to_all_s(8, 8e8 * share(8)))
    expected_s = max(all_to_all_s(8, 8e8 * share(16)), all_to_all_s(16, 8e8 * share(2)))
    assert found_s(once, 16) == pytest.approx(expected_s)


def test_calls_of_tensor_parallelism_are_counted_each_once():
    cluster = fleet_of([(device("h100-sxm"), node("dgx-h100"), 8)], PLAN).sites[0].cluster
    rings = {Group.TENSOR: Ring(members=4, stride=1), Group.EXPERT: Ring(members=8, stride=1)}
    work = [
        CollectiveWork(collective=Collective.ALL_GATHER, bytes=1e8, group=group)
        for group in (Group.TENSOR, Group.TENSOR, Group.EXPERT)
    ]
    found = alone("h100-sxm").parts(work, cluster, rings)
    assert (found.tensor_calls, found.launches) == (2, 3)
    one_s = collective_s(cluster, Collective.ALL_GATHER, 4, 1, 1e8)
    assert found.tensor_s == pytest.approx(2 * one_s)
    assert alone("h100-sxm").parts(work, cluster, rings | {Group.TENSOR: Ring(members=1, stride=1)}).tensor_calls == 0
