"""What a run on processes is compared with: bytes at the end of a step."""

from dataclasses import replace

from hardplace.plans.plan import Plan
from hardplace.run.predicted import in_fp32, predicted_counts
from hardplace.workload.load import load


def test_gradients_are_those_at_the_end_of_the_step_whatever_the_loop_drops_before():
    workload = load("gpt2-xl")
    plan = in_fp32(Plan(global_batch=32, data=2, zero=0, micro_batch=16))
    found = [
        {one.gradients_bytes for one in predicted_counts(workload, workload, replace(plan, software=name), ((0,),))}
        for name in ("", "fsdp-eager", "atorch")
    ]
    assert found[0] == found[1] == found[2]
    assert min(found[0]) > 4e9
