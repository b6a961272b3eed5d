"""Inputs whose values shapes follow from: towers of images of any size, masks, what stays fp32 within a bf16 model."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402

from hardplace.workload.recording.attention import library_attention  # noqa: E402
from hardplace.workload.recording.counter import counted_flops  # noqa: E402
from hardplace.workload.recording.functions import DeviceFunctions  # noqa: E402
from hardplace.workload.recording.huggingface import Options, step_of_config  # noqa: E402
from hardplace.workload.recording.known_values import KnownValues  # noqa: E402
from hardplace.workload.recording.layers import record_workload  # noqa: E402
from hardplace.workload.recording.scan import fused_scan  # noqa: E402
from hardplace.workload.recording.step import trace  # noqa: E402
from hardplace.workload.types import OperatorKind, Phase  # noqa: E402

TOWER = {
    "model_type": "qwen2_5_vl_vision", "hidden_size": 64, "intermediate_size": 96, "num_heads": 4, "depth": 2,
    "fullatt_block_indexes": [1], "window_size": 56, "patch_size": 14, "spatial_merge_size": 2, "out_hidden_size": 48,
    "temporal_patch_size": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def tower():
    return step_of_config(TOWER, "config.json", "tower", Options())


def test_a_tower_of_packed_images_attends_within_windows_and_images(tower):
    """448 pixels: 32 x 32 patches, 64 windows of 4 x 4 in the first block, one of 1,024 patches in the second."""
    workload = record_workload(tower)
    forward = [
        one
        for layer in workload.layers
        for one in layer.operators
        if one.kind is OperatorKind.ATTENTION and one.phase is Phase.FORWARD
    ]
    assert [one.flops.at(1) for one in forward] == [4 * tokens * 1024 * 64 for tokens in (16, 1024)]
    assert workload.flops_per_sample() == counted_flops(tower, 1)


def test_what_follows_from_known_values_is_no_operator_of_the_step(tower):
    """Positions and the order of windows are the data loader's: an image each, so the graph would grow with them."""
    assert [len(trace(tower, rows).events) for rows in (2, 3)] == [len(trace(tower, 5).events)] * 2


def test_a_known_mask_picks_as_many_as_it_names():
    mask = torch.tensor([[True, False, True], [False, False, True]])
    with FakeTensorMode(allow_non_fake_inputs=True), KnownValues():
        x = torch.empty(2, 3, 5)
        assert x[mask].shape == (3, 5)
        assert torch.arange(3).tolist() == [0, 1, 2]
        assert type(x + 1).__name__ == "FakeTensor"


def test_sequences_of_several_lengths_one_after_another_are_refused_by_their_lengths():
    x = torch.empty((1, 2, 10, 8), device="meta")
    with pytest.raises(NotImplementedError, match="3, 7 tokens"):
        library_attention(torch.nn.Module(), x, x, x, None, cu_seq_lens_q=torch.tensor([0, 3, 10]))


def test_a_step_in_which_all_is_finite_goes_on():
    with FakeTensorMode(), DeviceFunctions():
        x = torch.empty(3)
        assert torch.isfinite(x).all()
        assert not torch.isnan(x).any()
        assert not torch.isinf(x).any()


def test_a_convolution_whose_weight_stays_fp32_gives_what_the_model_goes_on_in():
    from transformers.models.kimi_linear import modeling_kimi_linear as library

    with FakeTensorMode(), fused_scan():
        output = library.causal_conv1d_fn(torch.empty(2, 8, 16, dtype=torch.bfloat16), torch.empty(8, 4), None, "silu")
        assert (output.dtype, output.shape) == (torch.bfloat16, (2, 8, 16))


def test_a_loss_a_sample_is_summed_up():
    step = step_of_config(
        {"model_type": "dac", "encoder_hidden_size": 8, "decoder_hidden_size": 64, "downsampling_ratios": [2, 2],
         "upsampling_ratios": [2, 2], "n_codebooks": 2, "codebook_size": 16, "codebook_dim": 4, "hidden_size": 32},
        "config.json", "dac", Options(dtype=torch.float32),
    )  # fmt: skip
    workload = record_workload(step)
    assert workload.training
    assert counted_flops(step, 1) == workload.flops_per_sample()
