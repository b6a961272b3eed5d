"""Settings of one's own: what is in the file is searched with; faults are named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import hardplace as hp
from hardplace.errors import BadInput
from hardplace.hardware.setting_files import setting_of
from hardplace.hardware.settings import ADAMW, HBM3, LINKS_SHARE, as_reached
from hardplace.starters import starter
from hardplace.units import parse_quantity

SAME = """
name = "same"
description = "hbm3 by another name"
[memory]
bandwidth = "3.35 TB/s"
capacities = ["80 GiB", "32 GiB", "64 GiB"]
[[levels]]
name = "node"
devices = 8
bandwidth = "450 GB/s"
latency = "3.4 us"
[[levels]]
name = "between nodes"
bandwidth = "400 Gb/s"
latency = "14 us"
"""


def file_of(folder: Path, text: str) -> str:
    path = folder / "setting.toml"
    path.write_text(text)
    return str(path)


def test_the_same_setting_gives_the_same_answer(tmp_path: Path) -> None:
    asked = {"space": "phaze", "limits": {"area": 20.0}, "devices": 16, "batch": 64, "micro_batch": 1, "tensor": 1}
    own, shipped = (hp.search("opt-350m", setting=name, **asked) for name in (file_of(tmp_path, SAME), "hbm3"))
    assert own.best.samples_per_s == shipped.best.samples_per_s
    assert (own.setting, shipped.setting) == ("same", "hbm3")
    assert own.bound == shipped.bound


def test_figures_of_a_file_are_those() -> None:
    assert parse_quantity("400 Gb/s", "B/s", "link") == parse_quantity("400 Gbit/s", "B/s", "link") == 50e9
    assert parse_quantity("400 GB/s", "B/s", "link") == 400e9


def test_a_template_has_its_optimizer_and_network(tmp_path: Path) -> None:
    found = setting_of(file_of(tmp_path, starter("setting")), devices=64)
    assert (found.optimizer.name, found.optimizer.state_bytes) == ("8-bit adamw", 6)
    assert found.optimizer.gradient_bytes == ADAMW.gradient_bytes
    assert [level.devices for level in found.cluster.levels] == [8, 64]
    assert found.cluster.levels[1].bandwidth_bytes_per_s == 25e9
    assert found.function_cycles == HBM3.function_cycles


def test_a_node_takes_the_place_of_the_network(tmp_path: Path) -> None:
    found = setting_of("hbm3", 64, "dgx-h200")
    assert found.name == "hbm3 on dgx-h200"
    assert found.cluster.devices == 64
    assert found.memory_bandwidth_bytes_per_s == HBM3.memory_bandwidth_bytes_per_s
    small = tmp_path / "node.toml"
    small.write_text(starter("node").replace('name = "Ethernet"', 'devices = 64\nname = "Ethernet"'))
    with pytest.raises(BadInput, match="128 devices: expected at most 64"):
        setting_of("hbm3", 128, str(small))


def test_what_collectives_reach_of_a_link_is_taken_once() -> None:
    """The node of H100 states the 0.84 of its NVLink itself, that of B200 0.7; of the others nothing is known."""
    for name, share in (("dgx-h100", 0.84), ("dgx-b200", 0.7)):
        reached = as_reached(setting_of("hbm3", 64, name)).cluster.levels
        assert [level.efficiency for level in reached] == [share, LINKS_SHARE]
    assert {level.efficiency for level in as_reached(HBM3).cluster.levels} == {LINKS_SHARE}
    ends = replace(HBM3, cluster=replace(HBM3.cluster, levels=(replace(HBM3.cluster.levels[-1], efficiency=1.0),)))
    assert [level.efficiency for level in as_reached(ends).cluster.levels] == [1.0], "stated"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (SAME.replace('"same"', '"hbm3"'), "name: 'hbm3': expected a name of its own"),
        (SAME.replace("3.35 TB/s", "3.35"), "memory.bandwidth: '3.35': expected a number with its unit"),
        (SAME.replace('["80 GiB", "32 GiB", "64 GiB"]', "[]"), "capacities: .*: expected a list of sizes"),
        (SAME.replace("[[levels]]", "[[level]]"), "expected one of `node`"),
        (SAME + '[optimizer]\nlike = "lion"\n', "optimizer.like: 'lion': expected one of adamw, sgd"),
        (SAME + '[optimizer]\nlike = "sgd"\nstate_bytes = -1\n', "state_bytes: -1: expected a whole number"),
        (SAME + '[optimizer]\nlike = "sgd"\nsharded = 1\n', "sharded: 1: expected true or false"),
        (SAME + "more = 1\n", "unknown field"),
    ],
)
def test_a_fault_is_named(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=told):
        setting_of(file_of(tmp_path, text))
