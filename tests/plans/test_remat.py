"""What a run on XLA says of its layers: MaxText's policies, its batch of a device, its layers in host memory."""

import csv
from pathlib import Path

import pytest

from hardplace.cost.arrays.machine import machine
from hardplace.cost.arrays.timer import ArrayTimer
from hardplace.cost.layers.software import MINIMAL, MINIMAL_WITH_CONTEXT
from hardplace.cost.layers.work import GemmWork
from hardplace.errors import BadInput
from hardplace.hardware.catalogue import device
from hardplace.plans.plan import ContextExchange
from hardplace.plans.published.remat import modules_of_policy
from hardplace.plans.published.runs import NotModelled, run_of
from hardplace.plans.published.scores import score

DATA = Path(__file__).parents[2] / "validation/training/gathered-arrays.csv"
LISTED = "selective(custom: keep/offload {})"


def row_of(name, **cells):
    with DATA.open() as text:
        return next(row for row in csv.DictReader(text) if row["id"] == name) | cells


@pytest.mark.parametrize(
    ("recompute", "note", "modules"),
    [
        (LISTED.format("out_proj+query_proj+key_proj+value_proj"), "remat_policy=custom", "context mlp moe"),
        (LISTED.format("context+query_proj+key_proj+value_proj"), "remat_policy=custom", "out_proj mlp moe"),
        (LISTED.format("mlpwo"), "", "qkv_proj context out_proj mlp moe_up"),
        ("selective", "remat_policy=custom,context=device,mlpwi=offload", "qkv_proj out_proj mlp_act"),
        ("selective(qkv_proj_offloaded)", "", "context out_proj mlp moe"),
        ("selective", "remat_policy=save_dot_except_mlp", "context mlp moe"),
    ],
)
def test_a_policy_runs_again_what_it_does_not_keep(recompute, note, modules):
    assert modules_of_policy({"recompute": recompute, "note": note}) == ("layernorm", *modules.split())


def test_policies_that_the_software_has_are_its_own():
    for name, found in (("minimal", MINIMAL), ("minimal_with_context", MINIMAL_WITH_CONTEXT)):
        assert modules_of_policy({"recompute": "selective", "note": f"remat_policy={name}"}) == found
    assert modules_of_policy({"recompute": "selective", "note": "a policy of 2029"}) is None


@pytest.mark.parametrize(("each", "tensor", "context", "found"), [("0.25", "1", "4", 1), ("1", "4", "1", 4)])
def test_a_batch_of_a_device_is_that_of_its_group(each, tensor, context, found):
    row = row_of("tpu7x-013", micro_batch=each, tp=tensor, cp=context, dp="64", global_batch="256")
    plan = run_of(row).plan
    assert (plan.micro_batch, plan.context_exchange) == (found, ContextExchange.ALL_GATHER)


def test_a_part_of_a_sequence_that_no_group_completes_is_said():
    with pytest.raises(
        NotModelled, match=r"micro_batch: 0.125 of a device times tp and cp 4: expected whole sequences"
    ):
        run_of(row_of("tpu7x-013", micro_batch="0.125"))
    with pytest.raises((NotModelled, BadInput), match="micro_batch"):
        run_of(row_of("trn-002", micro_batch="0.5"))


def test_layers_that_wait_in_host_memory_leave_the_device():
    """405B on 512 TPU v6e ran: offloaded it fits, on the device it would take twice what there is."""
    found = score(row_of("v6e-016"))
    away = row_of("v6e-016")
    assert run_of(away).plan.offload_layers == 125
    kept = score(away | {"note": "remat_policy=custom"})
    assert found.fits
    assert not kept.fits


def test_no_buffer_holds_back_the_arrays_of_a_tpu():
    """XLA reaches 1,207 of 2,307 TFLOP/s on TPU7x with a third more than it counts: H100's L2 would not feed it."""
    for name in ("tpu-v6e", "tpu-v7x"):
        chip = device(name)
        one = GemmWork(m=32768, n=28672, k=8192)
        ideal = 2.0 * one.m * one.n * one.k / chip.peak_flops_per_s("bf16")
        assert ArrayTimer(machine=machine(chip, "bf16")).listed_s([one])[0] < 1.05 * ideal


def test_a_capacity_is_read_where_maxtext_drops_tokens():
    said = row_of("v6e-017")
    assert run_of(said).shape.experts.capacity == 1.25
    assert run_of(said | {"note": "capacity_factor=-1"}).shape.experts.capacity == 0.0


@pytest.mark.parametrize(
    ("axes", "shard"),
    [
        ("ici_fsdp_parallelism=-1", 0),
        ("ici_fsdp_parallelism=1,ici_fsdp_transpose_parallelism=-1", 0),
        ("ici_data_parallelism=8,ici_fsdp_parallelism=64", 32),
        ("ici_data_parallelism=-1,ici_fsdp_parallelism=16,ici_fsdp_transpose_parallelism=4", 64),
    ],
)
def test_the_mesh_in_a_note_says_what_weights_are_sharded_over(axes, shard):
    plan = run_of(row_of("tpu7x-011", note=axes, **{"zero_stage/fsdp": "see note"})).plan
    assert (plan.zero, plan.shard) == (3, shard)


def test_a_note_without_a_mesh_is_no_plan():
    with pytest.raises(NotModelled, match="zero_stage/fsdp: 'see note'"):
        run_of(row_of("tpu7x-011", note="a mesh", **{"zero_stage/fsdp": "see note"}))
