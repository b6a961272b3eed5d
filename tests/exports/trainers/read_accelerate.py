"""Reads accelerate.yaml of folders with Accelerate's own loader, plugin and device mesh; prints JSON."""

import json
import os
import sys
from pathlib import Path

words = sys.argv[1:]


def read(folder: Path, devices: int) -> dict:
    import torch.distributed as dist
    from accelerate import ParallelismConfig
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.utils import FullyShardedDataParallelPlugin
    from torch.testing._internal.distributed.fake_pg import FakeStore

    config = load_config_from_file(str(folder / "accelerate.yaml"))
    found = {
        "type": str(config.distributed_type),
        "processes": config.num_processes,
        "machines": config.num_machines,
        "mixed_precision": config.mixed_precision,
    }
    if config.fsdp_config:
        plugin = FullyShardedDataParallelPlugin(
            fsdp_version=config.fsdp_config["fsdp_version"],
            reshard_after_forward=config.fsdp_config["fsdp_reshard_after_forward"],
        )
        found["reshard"] = plugin.reshard_after_forward
    if config.parallelism_config:
        prefix = "parallelism_config_"
        values = {name.removeprefix(prefix): value for name, value in config.parallelism_config.items()}
        comm = values.pop("cp_comm_strategy", None)
        one = ParallelismConfig(**values)
        dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=devices)
        mesh = one.build_device_mesh("cpu")
        found |= {
            "tensor": one.tp_size,
            "context": one.cp_size,
            "shard": one.dp_shard_size,
            "replicate": one.dp_replicate_size,
            "exchange": comm,
            "groups": {name: dist.get_process_group_ranks(mesh[name].get_group()) for name in mesh.mesh_dim_names},
        }
        dist.destroy_process_group()
    # The part of the training script, as far as it goes without a GPU.
    scope = {}
    exec(compile((folder / "accelerate_setup.py").read_text(), "accelerate_setup.py", "exec"), scope)
    found |= {"micro_batch": scope["MICRO_BATCH"], "micro_batches": scope["MICRO_BATCHES"]}
    made = scope["accelerator"]()
    found["accumulation"] = made.gradient_accumulation_steps
    return found


found = []
for word in words:
    folder, _, devices = word.rpartition(":")
    try:
        found.append(read(Path(folder), int(devices)))
    except BaseException as problem:
        found.append({"error": f"{type(problem).__name__}: {problem}"})
Path(os.environ["READ_BACK"]).write_text(json.dumps(found, default=str))
