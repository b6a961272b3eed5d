"""Reads ds_config.json of folders with DeepSpeed's own configuration class; prints JSON."""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

words, sys.argv = sys.argv[1:], sys.argv[:1]


def read(folder: Path, devices: int) -> dict:
    import deepspeed.runtime.config as module

    text = json.loads((folder / "ds_config.json").read_text())
    tensor = text.get("tensor_parallel", {}).get("autotp_size", 1)
    module.dist.get_rank = lambda *args, **kwargs: 0  # without a process group the world would be one device
    mpu = SimpleNamespace(get_data_parallel_world_size=lambda: devices // tensor)
    one = module.DeepSpeedConfig(text, mpu=mpu)
    zero = one.zero_config
    offload = zero.offload_optimizer
    return {
        "data": one.world_size,
        "tensor": one.tensor_parallel_config.autotp_size or 1,
        "micro_batch": one.train_micro_batch_size_per_gpu,
        "micro_batches": one.gradient_accumulation_steps,
        "global_batch": one.train_batch_size,
        "zero": int(one.zero_optimization_stage),
        "overlap": zero.overlap_comm,
        "hpz": zero.zero_hpz_partition_size,
        "offload": None if offload is None else str(offload.device),
        "bf16": one.bfloat16_config.enabled,
        "fp16": one.float16_config.enabled,
        "gradient": one.grad_accum_dtype,
        "optimizer": one.optimizer_name,
        "expert": getattr(one.expert_parallel_config, "autoep_size", 1),
    }


found = []
for word in words:
    folder, _, devices = word.rpartition(":")
    try:
        found.append(read(Path(folder), int(devices)))
    except BaseException as problem:
        found.append({"error": f"{type(problem).__name__}: {problem}"})
Path(os.environ["READ_BACK"]).write_text(json.dumps(found, default=str))
