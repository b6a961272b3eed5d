"""The families of examples/: each from its module through trace, search, place and split."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

import hardplace as hp

PATH = Path(__file__).parents[1] / "examples/model_families.py"


@pytest.fixture(scope="module")
def families() -> ModuleType:
    spec = importlib.util.spec_from_file_location("model_families", PATH)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.mark.parametrize(
    "name",
    ["weather_unet", "shared_transformer", "repvgg_training", "repvgg_inference", "skeleton_transformer", "defect_cnn"],
)
def test_each_family_goes_all_the_way(families: ModuleType, name: str) -> None:
    module, inputs = getattr(families, name)()
    workload = hp.trace(module, inputs, name=name)
    assert workload.parameters == sum(one.numel() for one in module.parameters())  # shared ones once
    split = hp.split(workload, ["cpu", "h100-sxm"], seconds=1)
    assert not isinstance(split, hp.Infeasible)
    assert split.bound_s <= split.value_s
    placed = hp.place(workload, "h100-sxm", 2, batch=16, fixed={"tensor": 1})
    assert not isinstance(placed, hp.Infeasible)
    searched = hp.search(
        workload,
        space="phaze",
        limits={"area": "30 mm2"},
        devices=2,
        batch=16,
        micro_batch=8,
        tensor=1,
        gap=0.3,
    )
    assert not isinstance(searched, hp.Infeasible)
    assert searched.certificate is not None
    if name == "shared_transformer":  # its gradients are summed: one optimizer step for each weight
        layers = [workload.layers[number] for number in workload.order]
        assert sum(layer.parameters for layer in layers) == workload.parameters


def test_the_form_of_inference_is_the_same_function(families: ModuleType) -> None:
    torch.manual_seed(0)
    trained = families.RepVGG().eval()
    for module in trained.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    images = torch.randn(1, 3, 32, 32)
    hidden, merged = images, images
    with torch.no_grad():
        for block in trained.blocks:
            hidden, merged = block(hidden), block.merge()(merged)
    torch.testing.assert_close(merged, hidden, rtol=1e-4, atol=1e-4)
