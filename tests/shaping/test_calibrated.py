"""Shapes priced with what measured steps say of one's own system."""

import pytest

import hardplace as hp
from hardplace.errors import BadInput
from hardplace.files import write
from hardplace.plans.anchors import VERSION, Anchor, Factor

KEPT = ["layers", "hidden", "heads", "kv_heads", "head_dim", "vocab"]


def anchor(tmp_path, device="h100-sxm", **factors):
    listed = tuple(Factor(figure=name, value=value) for name, value in factors.items())
    file = tmp_path / "own.json"
    write(file, Anchor(version=VERSION, device=device, software="fsdp-eager", runs=3, factors=listed, half=0.1))
    return file


def own_s(file):
    found = hp.shapes("llama2-7b", "h100-sxm", freeze=KEPT, top=1, calibrated=file)
    return found.base.devices[0].step_s


def test_a_system_with_slower_products_takes_longer(tmp_path):
    as_shipped, slower = own_s(anchor(tmp_path)), own_s(anchor(tmp_path, products=1.2))
    assert 1.1 < slower / as_shipped < 1.2
    assert own_s(anchor(tmp_path, sync_s=2.0)) == as_shipped  # no tensor parallelism: nobody waits


@pytest.mark.parametrize(
    ("devices", "words"),
    [
        (["b200-sxm"], "own.json: h100-sxm with fsdp-eager: expected b200-sxm"),
        (["h100-sxm", "a100-80gb-sxm"], "expected a100-80gb-sxm"),
        (["tpu-v4"], "calibrated: tpu-v4: expected a GPU with a fitted model"),
    ],
)
def test_an_anchor_of_another_device_is_refused(tmp_path, devices, words):
    with pytest.raises(BadInput, match=words):
        hp.shapes("llama2-7b", devices, freeze=KEPT, calibrated=anchor(tmp_path))
