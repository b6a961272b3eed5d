"""Reads megatron.args of folders with Megatron-LM's own parser; prints what it understood, as JSON."""

import json
import os
import shlex
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")


def flags_of(folder: Path) -> list[str]:
    text = (folder / "megatron.args").read_text()
    return shlex.split(text.partition("MEGATRON_ARGS=(")[2].rpartition(")")[0], comments=True)


def read(arguments, folder: Path, devices: int) -> dict:
    os.environ["WORLD_SIZE"], os.environ["RANK"] = str(devices), "0"
    for line in (folder / "torchrun.sh").read_text().splitlines():
        if line.startswith("export CUDA_DEVICE_MAX_CONNECTIONS="):
            os.environ["CUDA_DEVICE_MAX_CONNECTIONS"] = line.rpartition("=")[2]
        elif line.startswith("unset CUDA_DEVICE_MAX_CONNECTIONS"):
            os.environ.pop("CUDA_DEVICE_MAX_CONNECTIONS", None)
    # What asks for Transformer Engine or a GPU is the test's to leave out, not the export's.
    sys.argv = ["pretrain.py", *flags_of(folder), "--no-rope-fusion"]
    args = arguments.parse_args()
    arguments.validate_args(args)
    config = arguments.core_transformer_config_from_args(args)
    from megatron.core.num_microbatches_calculator import ConstantNumMicroBatchesCalculator

    calculator = ConstantNumMicroBatchesCalculator(
        args.global_batch_size, args.micro_batch_size, args.data_parallel_size, False, 0
    )
    layout = None
    if config.pipeline_model_parallel_layout is not None:
        layout = [
            [sum(one.name == "decoder" for one in chunk) for chunk in rank]
            for rank in config.pipeline_model_parallel_layout.layout
        ]
    return {
        "tensor": args.tensor_model_parallel_size,
        "pipeline": args.pipeline_model_parallel_size,
        "context": args.context_parallel_size,
        "data": args.data_parallel_size,
        "expert": args.expert_model_parallel_size,
        "expert_tensor": args.expert_tensor_parallel_size,
        "sequence": args.sequence_parallel,
        "micro_batches": calculator.get(),
        "global_batch": args.global_batch_size,
        "layout": layout,
        "distributed_optimizer": args.use_distributed_optimizer,
        "fsdp": args.use_megatron_fsdp,
        "sharding": args.data_parallel_sharding_strategy,
        "instances": args.num_distributed_optimizer_instances,
        "recompute": [args.recompute_granularity, args.recompute_method, args.recompute_num_layers],
        "precision": [args.bf16, args.fp16, args.fp8, args.fp8_recipe],
        "gradient_fp32": not args.grad_reduce_in_bf16,
        "cp_comm_type": config.cp_comm_type if args.context_parallel_size > 1 else None,
        "layers": config.num_layers,
        "hidden": config.hidden_size,
        "ffn": config.ffn_hidden_size,
        "heads": config.num_attention_heads,
        "kv_heads": config.num_query_groups,
        "experts": config.num_moe_experts,
        "overlap": [args.overlap_grad_reduce, args.overlap_param_gather],
        "dispatcher": [args.moe_token_dispatcher_type, args.moe_flex_dispatcher_backend],
        "beside": [args.tp_comm_overlap, args.overlap_moe_expert_parallel_comm],
        "graphs": args.cuda_graph_impl,
        "order": "tp-cp-ep-pp-dp" if args.use_tp_pp_dp_mapping else "tp-cp-ep-dp-pp",
    }


def groups(order: str, sizes: dict, world: int) -> dict:
    """Ranks of the first groups by Megatron's own generator."""
    from megatron.core.parallel_state import RankGenerator

    made = RankGenerator(
        tp=sizes["tensor"], ep=1, dp=sizes["data"], pp=sizes["pipeline"], cp=sizes["context"], order=order
    )
    names = {"tensor": "tp", "context": "cp", "data": "dp", "pipeline": "pp"}
    return {name: made.get_ranks(token)[0] for name, token in names.items()}


def main() -> None:
    from megatron.training import arguments

    arguments.get_device_arch_version = lambda: 9  # it asks CUDA
    found = []
    for word in sys.argv[1:]:
        folder, _, devices = word.rpartition(":")
        try:
            one = read(arguments, Path(folder), int(devices))
            one["groups"] = groups(one["order"], one, int(devices))
        except BaseException as problem:  # parse_args exits
            one = {"error": f"{type(problem).__name__}: {problem}"}
        found.append(one)
    Path(os.environ["READ_BACK"]).write_text(json.dumps(found, default=str))


main()
