"""How far a recording is: said by the parts that run, and nothing is added to what is recorded."""

import pytest

torch = pytest.importorskip("torch")

from hardplace.workload.recording.huggingface import Options  # noqa: E402
from hardplace.workload.recording.layers import record_workload  # noqa: E402
from hardplace.workload.recording.source import step_of_returned  # noqa: E402
from hardplace.workload.recording.watch import watched  # noqa: E402


def step():
    with torch.device("meta"):
        module = torch.nn.Sequential(*(torch.nn.Linear(8, 8) for _ in range(3)))
    return step_of_returned(lambda: (module, torch.empty((2, 8), device="meta"), None), "three", "three", Options())


def test_each_part_is_told_with_a_share_that_only_grows_and_the_recording_is_the_same():
    told = []
    one = step()
    with watched(one.module, lambda text, done: told.append((text, done))):
        workload = record_workload(one)
    assert workload == record_workload(step())
    assert [text for text, _ in told[:4]] == [f"recording, pass 1: {part}" for part in ("the model", "0", "1", "2")]
    shares = [done for _, done in told]
    assert shares == sorted(shares)
    assert 0 < shares[3] < shares[4] <= shares[-1] <= 1
    assert not torch.nn.modules.module._global_forward_pre_hooks
