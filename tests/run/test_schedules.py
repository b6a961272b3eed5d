"""torch's own schedule tables are the definition's: every pass of every stage in the same order."""

import pytest

torch = pytest.importorskip("torch")

import torch.distributed as dist  # noqa: E402
from torch.distributed.pipelining import PipelineStage  # noqa: E402
from torch.distributed.pipelining.schedules import (  # noqa: E402
    ScheduleDualPipeV,
    ScheduleInterleaved1F1B,
    ScheduleInterleavedZeroBubble,
    ScheduleZBVZeroBubble,
    _PipelineScheduleRuntime,
)
from torch.testing._internal.distributed.fake_pg import FakeStore  # noqa: E402

from hardplace.plans.plan import PipelineSchedule  # noqa: E402
from hardplace.plans.simulate import Pass, order  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
LETTERS = {Pass.FORWARD: "F", Pass.BACKWARD: "B", Pass.WEIGHT: "W"}


@pytest.fixture
def group():
    """A process group of so many ranks, of which only this one is there."""

    def make(ranks):
        dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=ranks)

    yield make
    dist.destroy_process_group()


def stages(count, virtual):
    return [
        PipelineStage(torch.nn.Identity(), chunk * count, count * virtual, torch.device("cpu"))
        for chunk in range(virtual)
    ]


def ours(stage, count, micro_batches, virtual, schedule):
    zero_bubble = schedule is PipelineSchedule.ZERO_BUBBLE
    found = []
    for phase, micro_batch, chunk in order(stage, count, micro_batches, virtual, schedule):
        letter = "I" if zero_bubble and phase is Pass.BACKWARD else LETTERS[phase]
        found.append(f"{chunk * count + stage}{letter}{micro_batch}")
    return found


@pytest.mark.parametrize("count", [2, 3, 4, 8])
@pytest.mark.parametrize("times", [1, 2, 6])
@pytest.mark.parametrize(
    ("virtual", "schedule"),
    [(1, PipelineSchedule.ZERO_BUBBLE), (2, PipelineSchedule.ONE_F_ONE_B), (3, PipelineSchedule.ONE_F_ONE_B)],
)
def test_torch_runs_the_same_passes_in_the_same_order(group, count, times, virtual, schedule):
    group(count)
    micro_batches = count * times
    kind = ScheduleInterleavedZeroBubble if schedule is PipelineSchedule.ZERO_BUBBLE else ScheduleInterleaved1F1B
    theirs = kind(stages(count, virtual), micro_batches, loss_fn=lambda *_: None).pipeline_order
    for stage in range(count):
        passes = [str(one) for one in theirs[stage] if one is not None]
        assert passes == ours(stage, count, micro_batches, virtual, schedule), stage


@pytest.mark.parametrize("count", [2, 3, 4, 8])
@pytest.mark.parametrize("times", [1, 2, 3, 6])
@pytest.mark.parametrize(
    ("schedule", "kind"),
    [(PipelineSchedule.ZB_V, ScheduleZBVZeroBubble), (PipelineSchedule.DUALPIPE_V, ScheduleDualPipeV)],
)
def test_torch_runs_the_same_v_shaped_schedules(group, count, times, schedule, kind):
    """A full backward pass of theirs is ours with its weight gradients after it; those of two passes side by side are
    in their order."""
    group(count)
    micro_batches = count * times + (times > 2)
    if schedule is PipelineSchedule.DUALPIPE_V:
        micro_batches += count  # two for each stage at least
    both = [PipelineStage(torch.nn.Identity(), at, 2 * count, torch.device("cpu")) for at in (0, 2 * count - 1)]
    theirs = kind(both, micro_batches, loss_fn=lambda *_: None).pipeline_order
    letters = {"F": "F", "I": "B", "W": "W", "B": "BW"}
    for stage in range(count):
        passes = []
        for one in theirs[stage]:
            for part in (one.sub_actions or (one,)) if one is not None else ():
                chunk = int(part.stage_index != stage)
                passes += [(letter, part.microbatch_index, chunk) for letter in letters[part.computation_type.value]]
        own = [(LETTERS[phase], *rest) for phase, *rest in order(stage, count, micro_batches, 2, schedule)]
        assert passes == own, stage


def test_torch_takes_our_rows(group, tmp_path):
    """Its reader of schedules simulates them, and refuses a row that lacks a pass."""
    group(4)
    rows = [ours(stage, 4, 8, 1, PipelineSchedule.ZERO_BUBBLE) for stage in range(4)]
    path = tmp_path / "schedule.csv"
    path.write_text("\n".join(",".join(row) for row in rows) + "\n")
    runtime = _PipelineScheduleRuntime(stages(4, 1), 8, loss_fn=lambda *_: None)
    runtime._load_csv(str(path), "compute_only")
    assert len(runtime.pipeline_order_with_comms) == 4
    rows[1].remove("1F3")
    path.write_text("\n".join(",".join(row) for row in rows) + "\n")
    runtime = _PipelineScheduleRuntime(stages(4, 1), 8, loss_fn=lambda *_: None)
    with pytest.raises(Exception):  # noqa: B017, PT011  (it has no type of its own)
        runtime._load_csv(str(path), "compute_only")
