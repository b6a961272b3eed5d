"""Our prices of embedding tables: by hand, and plans against every plan of small cases."""

from __future__ import annotations

import itertools
import math
import random
from pathlib import Path

import pytest

import hardplace as hp
from hardplace.files import read_json, write
from hardplace.graph_split.table_plans import TableShortage
from hardplace.graph_split.table_step import (
    StepSystem,
    distinct_rows,
    step_options,
    step_time,
    tail_share,
)
from hardplace.graph_split.table_steps import plan_step
from hardplace.graph_split.tables import EVERYWHERE, EmbeddingTable, TableSharding, TableSystem
from oracles_tables import contradiction, random_tables

EXAMPLE = Path(__file__).parents[2] / "examples/split/dlrm-small.json"


def test_rows_that_draws_touch() -> None:
    assert distinct_rows(1000, 500, 0.0) == pytest.approx(1000 * (1 - (1 - 1 / 1000) ** 500), rel=1e-9)
    share = [rank**-1.2 for rank in range(1, 101)]
    exact = sum(1 - (1 - one / sum(share)) ** 300 for one in share)
    assert distinct_rows(100, 300, 1.2) == pytest.approx(exact, rel=1e-9)
    assert tail_share(100, 10, 1.2) == pytest.approx(sum(share[10:]) / sum(share), rel=1e-9)
    assert tail_share(10**7, 10**6, 0.0) == pytest.approx(0.9, rel=1e-9)
    large = [rank**-1.05 for rank in range(1, 200_001)]  # bins of ranks against every rank
    assert tail_share(200_000, 20_000, 1.05) == pytest.approx(sum(large[20_000:]) / sum(large), rel=0.02)


def test_a_table_by_hand() -> None:
    system = TableSystem(
        devices=4, devices_per_node=2, hbm_bytes=1e9, batch_per_device=100, hbm_bytes_per_s=1e12,
        node_bytes_per_s=1e11, network_bytes_per_s=1e10,
    )  # fmt: skip
    step = StepSystem(bottom=(4, 8), top=(8, 1), flops_per_s=1e12)
    ways = [TableSharding.TABLE_WISE, TableSharding.DATA_PARALLEL]
    whole, copies = step_options(EmbeddingTable(name="a", rows=10, width=8, pooling=3.0), system, step, ways)
    (shard,) = whole.shards
    indices, output = 4 * 100 * 3, 4 * 4 * 100 * 8  # all samples' on one device; fp32
    assert shard.forward_s == pytest.approx((8 * indices + 32 * indices + output) / 1e12)
    assert shard.backward_s == pytest.approx((128 * indices + output + 10 * 2 * (32 + 4)) / 1e12, rel=1e-6)
    assert shard.forward_exchange_s == pytest.approx(output * 2 / 4 / 1e10)  # half of it to the other node
    assert shard.hbm_bytes == math.ceil(10 * (32 + 4) + 8 * indices + 2 * output)
    assert len(copies.shards) == 4
    assert copies.shards[0].forward_s == pytest.approx(shard.forward_s / 4)
    assert copies.shards[0].forward_exchange_s == 0.0
    assert copies.shards[0].backward_exchange_s == pytest.approx(2 * 4 * 10 * 8 * 2 / 4 / 1e10)
    dense = step_time(system, step)
    assert dense.always_s == pytest.approx(3 * 2 * 100 * (32 + 8) / 1e12)
    assert dense.seconds([1.0, 2.0], [5.0, 1.0]) == pytest.approx(dense.always_s + 6.0 - dense.hidden_s)


def test_rows_that_are_not_there_are_not_looked_up() -> None:
    """Of three rows over four devices one has none: the others have a third of the indices each."""
    system = TableSystem(devices=4, devices_per_node=4, hbm_bytes=1e9, batch_per_device=100, hbm_bytes_per_s=1e12)
    step = StepSystem(bottom=(4, 8), top=(8, 1), flops_per_s=1e12)
    table = EmbeddingTable(name="a", rows=3, width=8, pooling=3.0)
    for way in (TableSharding.ROW_WISE, TableSharding.TABLE_ROW_WISE):
        (option,) = step_options(table, system, step, [way])
        output = 4 * 4 * 100 * 8
        looked_up = [shard.forward_s * 1e12 - output for shard in option.shards]  # 8 bytes of an index, 32 of a row
        assert looked_up == pytest.approx([400 * 40 * 3 / 3] * 3 + [0.0])


def test_a_plan_that_just_fits_small_devices_is_found(tmp_path: Path) -> None:
    """Memory is counted finely enough that what CP-SAT takes for fitting does fit, here to the byte."""
    path = tmp_path / "tables.json"
    step = {"bottom": [16, 8], "top": [64, 1], "flops_per_s": 1e13, "skew": 0.6, "host_bytes_per_s": 1e9}
    tables = [["a", 120, 48, 6], ["b", 12, 64, 5], ["c", 12, 16, 5]]
    write(path, {"devices": 1, "devices_per_node": 1, "hbm_bytes": 34728, "batch_per_device": 8, "tables": tables,
                 "sharding_types": ["table_wise", "column_wise", "host_cached"], "step": step})  # fmt: skip
    found = hp.tables(path, prices="step", seconds=1)
    assert not isinstance(found, hp.Infeasible)
    assert found.device_bytes[0] <= 34728


@pytest.mark.parametrize("seed", range(6))
def test_the_best_of_every_plan(seed: int) -> None:
    draw = random.Random(seed)
    system = TableSystem(
        devices=2, devices_per_node=2, hbm_bytes=draw.choice([6e5, 3e6]), batch_per_device=64,
        hbm_bytes_per_s=1e12, node_bytes_per_s=draw.choice([2e10, 1e11]),
    )  # fmt: skip
    step = StepSystem(
        bottom=(16, draw.choice([64, 1024])), top=(64, 1), flops_per_s=1e13, skew=draw.choice([0.0, 1.1]),
        host_bytes_per_s=2e10,
    )  # fmt: skip
    tables = [
        EmbeddingTable(
            name=str(one), rows=draw.choice([50, 1000, 8000]), width=draw.choice([16, 64]), pooling=draw.randint(1, 9)
        )
        for one in range(3)
    ]
    ways = [one for one in TableSharding if one is not TableSharding.TABLE_ROW_WISE]
    options = [step_options(one, system, step, ways) for one in tables]
    placed = [
        [
            (option, where)
            for option in own
            for where in (
                [(0, 1)]
                if option.sharding in EVERYWHERE
                else [
                    where
                    for where in itertools.product(range(2), repeat=len(option.shards))
                    if len(option.shards) > 2 or len(set(where)) == len(where)
                ]
            )
        ]
        for own in options
    ]
    dense, best = step_time(system, step), math.inf
    for plan in itertools.product(*placed):
        local, moved, held = [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]
        for option, where in plan:
            for shard, device in zip(option.shards, where, strict=True):
                local[device] += shard.forward_s + shard.backward_s
                moved[device] += shard.forward_exchange_s + shard.backward_exchange_s
                held[device] += shard.hbm_bytes
        if max(held) <= system.hbm_bytes:
            best = min(best, dense.seconds(local, moved))
    found = plan_step(tables, system, step, ways, 2.0)
    if isinstance(found, TableShortage):
        assert best == math.inf
        return
    assert found.bound_s <= best * (1 + 1e-6)
    assert best * (1 - 1e-9) <= found.value_s <= best * 1.03


@pytest.mark.parametrize("first", range(0, 40, 20))
def test_no_answer_contradicts_every_plan_priced_from_the_document(first: int, tmp_path: Path) -> None:
    for number in range(first, first + 20):
        asked = random_tables(random.Random(f"1:{number}"))
        assert not contradiction(asked, tmp_path / "tables.json"), number


def test_batches_and_devices_are_searched() -> None:
    found = hp.tables(EXAMPLE, prices="step", batch=[512, 4096], devices=[8, 16], seconds=2)
    assert not isinstance(found, hp.Infeasible)
    assert len(found.choices) == 4
    assert found.samples_per_s == max(one.samples_per_s for one in found.choices)
    assert all(one.bound_s <= one.step_s for one in found.choices)
    assert found.batch_per_device * len(found.device_s) / found.busiest_s == found.samples_per_s
    assert found.certificate is not None
    assert (found.certificate.score, found.certificate.unit) == (found.samples_per_s, "samples/s")
    assert all(one.batch_per_device * one.devices / one.bound_s <= found.certificate.bound for one in found.choices)


def test_what_fits_nowhere_of_several_is_said(tmp_path: Path) -> None:
    write(tmp_path / "tables.json", read_json(EXAMPLE) | {"sharding_types": ["table_wise"], "hbm_bytes": 22e9})
    found = hp.tables(tmp_path / "tables.json", prices="step", devices=[1, 8], seconds=1)
    assert not isinstance(found, hp.Infeasible)
    assert "no plan was found, and nothing is claimed, for 1 x 1,024" in found.notes[-1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"step": None}, "step: expected an object with bottom, top and flops_per_s"),
        ({"step": {"bottom": [13], "top": [4, 1], "flops_per_s": 1e12}}, "bottom: .13.: expected two widths"),
        ({"step": {"bottom": [13, 4], "top": [4, 1], "flops_per_s": -1}}, "flops_per_s: -1: expected a number from 1"),
        ({"sharding_types": ["diagonal"]}, "sharding 'diagonal'"),
        ({"hbm_bytes_per_s": 0}, "hbm_bytes_per_s: 0: expected a number from 1"),
    ],
)
def test_faults_of_a_file_are_one_line(tmp_path: Path, change: dict[str, object], said: str) -> None:
    path = tmp_path / "tables.json"
    write(path, {**read_json(EXAMPLE), **change})
    with pytest.raises(hp.BadInput, match=said):
        hp.tables(path, prices="step", seconds=1)
