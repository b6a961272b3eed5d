"""Reads maxtext.yml of folders with MaxText's own pyconfig; prints JSON."""

import json
import os
import sys
from pathlib import Path

words = sys.argv[1:]
os.environ.setdefault("JAX_PLATFORMS", "cpu")


def read(folder: Path, devices: int) -> dict:
    import jax
    from jax.extend.backend import clear_backends
    from maxtext.configs import pyconfig

    clear_backends()
    jax.config.update("jax_num_cpu_devices", devices)

    # As many devices as the job has, on this CPU: the parser counts them.
    own = ("run_name=r", "base_output_directory=/tmp/none", "skip_jax_distributed_system=true")
    config = pyconfig.initialize(["x", str(folder / "maxtext.yml"), *own, "enable_checkpointing=false"])
    names = ("data", "fsdp", "tensor", "tensor_sequence", "context", "expert", "pipeline")
    sizes = {name: getattr(config, f"ici_{name}_parallelism") for name in names}
    product = 1
    for value in sizes.values():
        product *= value
    return sizes | {
        "devices": product,
        "per_device_batch_size": config.per_device_batch_size,
        "accumulation": config.gradient_accumulation_steps,
        "layers": config.base_num_decoder_layers,
        "hidden": config.base_emb_dim,
        "heads": config.base_num_query_heads,
        "kv_heads": config.base_num_kv_heads,
        "experts": config.num_experts,
        "remat": config.remat_policy,
        "shard_optimizer": config.shard_optimizer_over_data,
        "stage_layers": config.num_layers_per_pipeline_stage,
        "pipeline_micro_batches": config.num_pipeline_microbatches,
        "quantization": config.quantization,
        "sequence": config.max_target_length,
        "exchange": config.context_parallel_strategy,
    }


found = []
for word in words:
    folder, _, devices = word.rpartition(":")
    try:
        found.append(read(Path(folder), int(devices)))
    except BaseException as problem:
        found.append({"error": f"{type(problem).__name__}: {problem}"})
Path(os.environ["READ_BACK"]).write_text(json.dumps(found, default=str))
