"""A described accelerator where plans name a device: placed, estimated again, its kernels those of the description."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hardplace as hp
from hardplace.cost.layers.types import Layout, Stream
from hardplace.cost.layers.work import AttentionWork, GemmWork, StreamWork
from hardplace.cost.one_chip.described_timer import DescribedTimer, described_device
from hardplace.errors import BadInput
from hardplace.plans.plan_files import DeviceCount, PlanFile

EXAMPLES = Path(__file__).parents[2] / "examples"
DEVICE, NODE = str(EXAMPLES / "training-array.toml"), str(EXAMPLES / "training-array-node.toml")
FIXED = {"micro_batch": 1, "tensor": (1, 2), "zero": 1, "recompute": "none"}


def cycles(layer: str) -> int:
    return hp.describe(DEVICE, layers=layer).cycles


def test_a_plan_on_a_described_accelerator() -> None:
    placed = hp.place("opt-350m", DEVICE, 4, node=NODE, batch=8, fixed=FIXED)
    assert placed.certificate.proven
    best = placed.best[0]
    again = hp.estimate("opt-350m", best.plan, DEVICE, node=NODE)
    assert again.step_s == best.step_s
    assert any("generated model" in note for note in again.notes)
    # No faster than its products alone at the peak of 128 x 128 multiply-accumulates a cycle.
    assert best.step_s > 6 * 0.3e9 * 2048 * 8 / 4 / (2 * 128 * 128 * 1e9)


def test_kernels_are_those_of_the_description() -> None:
    timer = DescribedTimer(chip=described_device(DEVICE).chip)
    sizes = (np.array([size], dtype=np.int64) for size in (256, 384, 512))
    like = GemmWork(batch=2, m=1, n=1, k=1, layout=Layout.TN)
    assert timer.products_s(like, *sizes)[0] * 1e9 == pytest.approx(cycles("product:256,384,512,2"))
    work = AttentionWork(batch=1, heads=1, kv_heads=1, queries=128, keys=256, head_dim=64, causal=True, backward=False)
    heads, dim = np.array([4], dtype=np.int64), np.array([64], dtype=np.int64)
    parts = cycles("product:128,256,64,4") + cycles("product:128,64,256,4") + cycles("softmax:512,256")
    assert timer.attentions_s(work, heads, heads, dim)[0] * 1e9 == pytest.approx(parts)
    moved = timer.moved_s(StreamWork(kind=Stream.NORM, bytes=1.0), np.array([4e6]), np.array([0], dtype=np.int64))
    assert moved[0] * 1e9 == pytest.approx(cycles("elementwise:1000000"))


@pytest.mark.parametrize(
    ("device", "said"),
    [("systolic", "systolic: device_memory: expected the capacity"), ("ultratrail", "ultratrail: device_memory")],
)
def test_what_is_missing_is_said(device: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        hp.place("opt-350m", device, 4, batch=8)


def test_elements_of_another_size_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bytes.toml"
    wide, narrow = ("{ " + f"input = {size}, weight = {size}, output = {size}" + " }" for size in (2, 1))
    path.write_text(Path(DEVICE).read_text().replace(wide, narrow))
    node = tmp_path / "node.toml"
    node.write_text(Path(NODE).read_text().replace("training-array.toml", "bytes.toml"))
    with pytest.raises(BadInput, match="precision: bf16: training-array has 8-bit operands: expected elements of 2"):
        hp.place("opt-350m", str(path), 4, node=str(node), batch=8, fixed=FIXED)


def test_a_running_plan_on_a_described_accelerator_goes_on_with_one_device_less() -> None:
    lot = DeviceCount(device=DEVICE, count=2, node=NODE)
    running = PlanFile(global_batch=2, data=2, micro_batch=1, model="opt-350m", on=(lot,))
    found = hp.replan(running, lost=(1,))
    best = found.options[0].estimate
    assert best.plan.devices == 1
    assert best.step_s == hp.estimate("opt-350m", best.plan, DEVICE, node=NODE).step_s
    with pytest.raises(BadInput, match="expected nodes as the running plan has them"):
        hp.replan(running, lost=(1,), cluster="dgx-h100")
