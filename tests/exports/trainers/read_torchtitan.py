"""Reads job.py (0.3.0) or job.toml (0.2.2) of folders with torchtitan's own classes and meshes; prints JSON."""

import importlib
import json
import os
import sys
import types
from pathlib import Path

# torchtitan imports kernels of triton, which CPU builds of torch lack; no configuration needs them.
for name in ("torchtitan.distributed.minimal_async_ep.kernels", "torchtitan.models.moe.kernels"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__getattr__ = lambda attribute: None


def meshes(dims, world: int) -> dict:
    """Ranks of the first group of each mesh dimension."""
    import torch.distributed as dist
    from torch.testing._internal.distributed.fake_pg import FakeStore

    if dist.is_initialized():
        dist.destroy_process_group()
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=world)
    made = dims.build_mesh() if not hasattr(dims, "world_mesh") else dims.world_mesh
    found = {}
    for name in ("tp", "cp", "pp", "dp_shard", "fsdp", "dp_replicate", "ep"):
        try:
            mesh = dims.get_mesh(name) if hasattr(dims, "get_mesh") else made[name]
            found[name] = dist.get_process_group_ranks(mesh.get_group())
        except Exception:
            continue
    return found


def read_python(folder: Path, world: int) -> dict:
    """The configuration function of 0.3.0 through its manager."""
    from torchtitan.config import ConfigManager

    if (folder / "job.py").read_text().count("Float8"):
        from torchtitan.components.quantization import float8

        float8.has_cuda_capability = lambda *version: True  # it asks the GPU, which the job has
    sys.path.insert(0, str(folder))
    sys.modules.pop("job", None)
    importlib.invalidate_caches()
    config = ConfigManager().parse_args(["--module", "job", "--config", "job"])
    sys.path.remove(str(folder))
    model = config.model_spec.model
    return common(config, world) | {
        "sequence": config.parallelism.enable_sequence_parallel,
        "layers": len(model.layers),
        "hidden": model.dim,
        "vocab": model.vocab_size,
        "recompute": type(config.activation_checkpoint).__qualname__,
        "compile": config.compile.enable,
    }


def read_toml(folder: Path, world: int) -> dict:
    """The job of 0.2.2 through its manager, with the model's arguments."""
    from torchtitan.config import ConfigManager
    from torchtitan.protocols.train_spec import get_train_spec

    config = ConfigManager().parse_args(["--job.config_file", str(folder / "job.toml")])
    if config.experimental.custom_import:
        sys.path.insert(0, str(folder))
        sys.modules.pop(config.experimental.custom_import, None)
        importlib.import_module(config.experimental.custom_import)
        sys.path.remove(str(folder))
    model = get_train_spec(config.model.name).model_args[config.model.flavor]
    return common(config, world) | {
        "layers": model.n_layers,
        "hidden": model.dim,
        "vocab": model.vocab_size,
        "recompute": config.activation_checkpoint.mode,
        "expert_tensor": config.parallelism.expert_tensor_parallel_degree,
    }


def common(config, world: int) -> dict:
    from torch.distributed.pipelining.schedules import get_schedule_class
    from torchtitan.distributed import ParallelDims

    one, batch = config.parallelism, config.training
    if hasattr(ParallelDims, "from_config"):
        dims = ParallelDims.from_config(one, world)
    else:
        dims = ParallelDims(
            dp_replicate=one.data_parallel_replicate_degree,
            dp_shard=one.data_parallel_shard_degree,
            cp=one.context_parallel_degree,
            tp=one.tensor_parallel_degree,
            pp=one.pipeline_parallel_degree,
            ep=one.expert_parallel_degree,
            etp=one.expert_tensor_parallel_degree,
            world_size=world,
        )
    pipelined = one.pipeline_parallel_degree > 1
    data = one.data_parallel_replicate_degree * one.data_parallel_shard_degree
    parts = one.module_fqns_per_model_part or []
    micro = one.pipeline_parallel_microbatch_size if pipelined else batch.local_batch_size
    return {
        "tensor": one.tensor_parallel_degree,
        "pipeline": one.pipeline_parallel_degree,
        "context": one.context_parallel_degree,
        "data": data,
        "expert": one.expert_parallel_degree,
        "shard": one.data_parallel_shard_degree,
        "reshard": one.fsdp_reshard_after_forward,
        "micro_batch": micro,
        "micro_batches": batch.global_batch_size // (data * micro),
        "accumulation": batch.global_batch_size // (data * batch.local_batch_size),
        "schedule": get_schedule_class(one.pipeline_parallel_schedule).__name__ if pipelined else None,
        "parts": [sum(name.startswith("layers.") for name in part) for part in parts],
        "sequence_length": batch.seq_len,
        "groups": meshes(dims, world),
    }


def main() -> None:
    read = read_toml if os.environ.get("TORCHTITAN") == "0.2.2" else read_python
    found = []
    for word in sys.argv[1:]:
        folder, _, devices = word.rpartition(":")
        os.environ["WORLD_SIZE"] = devices
        try:
            found.append(read(Path(folder), int(devices)))
        except BaseException as problem:
            found.append({"error": f"{type(problem).__name__}: {problem}"})
    Path(os.environ["READ_BACK"]).write_text(json.dumps(found, default=str))


if __name__ == "__main__":
    main()
