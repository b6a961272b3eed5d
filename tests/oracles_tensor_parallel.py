"""What torch's own tensor parallelism computes on one rank: DTensor on fake tensors and a fake process group.

Nothing here knows the project's recorder or its rules: the transformers library's model class, its `tp_plan`
translated to the styles of torch.distributed.tensor.parallel, and a count of what reaches the local tensors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import torch
import torch.distributed
import transformers
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_module, distribute_tensor
from torch.distributed.tensor._sharding_prop import ShardingPropagator
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    PrepareModuleInput,
    RowwiseParallel,
    SequenceParallel,
    loss_parallel,
    parallelize_module,
)
from torch.distributed.tensor.parallel.style import ParallelStyle
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count
from transformers.models.opt.modeling_opt import OPTAttention

aten = torch.ops.aten
FLASH = aten._scaled_dot_product_flash_attention_for_cpu
FLASH_BACKWARD = aten._scaled_dot_product_flash_attention_for_cpu_backward
COLLECTIVES = {
    torch.ops._c10d_functional.all_reduce: "all_reduce",
    torch.ops._c10d_functional.all_gather_into_tensor: "all_gather",
    torch.ops._c10d_functional.reduce_scatter_tensor: "reduce_scatter",
    torch.ops._c10d_functional.all_to_all_single: "all_to_all",
}


@dataclass(slots=True)
class Rank:
    """What one rank computes, each counted as often as it occurs.

    products: (phase, kind, dimensions); flops by phase; collectives: (phase, kind, bytes of the whole tensor);
    parameters, gradients: elements of each local parameter and of its gradient.
    """

    products: Counter[tuple[str, str, tuple[int, ...]]] = field(default_factory=Counter)
    flops: Counter[str] = field(default_factory=Counter)
    collectives: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    parameters: Counter[int] = field(default_factory=Counter)
    gradients: Counter[int] = field(default_factory=Counter)


class Count(TorchDispatchMode):
    """Counts products and collectives of local tensors; not what DTensor runs at global shapes to learn them."""

    def __init__(self) -> None:
        super().__init__()
        self.rank, self.phase, self.paused = Rank(), "forward", False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if any(issubclass(one, DTensor) for one in types):
            return NotImplemented  # DTensor takes it apart, and its local operators come back here
        made = func(*args, **(kwargs or {}))
        if not self.paused:
            self.count(func._overloadpacket, args, kwargs or {}, made)
        return made

    def count(self, func, args, kwargs, made) -> None:
        if func in COLLECTIVES:
            whole = max((args[0], made), key=lambda one: one.numel())
            self.rank.collectives[self.phase, COLLECTIVES[func], whole.numel() * whole.element_size()] += 1
        elif func is FLASH:
            query, key = args[0].shape, args[1].shape
            self.product("attention", (*query[:3], key[2], query[3]), sdpa_flop_count(*(one.shape for one in args[:3])))
        elif func is FLASH_BACKWARD:
            query, key = args[1].shape, args[2].shape
            flops = sdpa_backward_flop_count(*(one.shape for one in args[:4]))
            self.product("attention", (*query[:3], key[2], query[3]), flops)
        elif func is aten._grouped_mm:
            left, right = args[0].shape, args[1].shape
            rows, width = left
            groups = right[0] if len(right) == 3 else made.shape[0]
            self.product("grouped_matmul", (groups, rows, right[-1], width), 2 * rows * width * right[-1])
        elif func in flop_registry:
            left, right = (one.shape for one in args[-2:])
            batch = left[0] if len(left) == 3 else 1
            flops = flop_registry[func](*args, **kwargs, out_val=made)
            self.product("matmul", (batch, left[-2], right[-1], left[-1]), flops)

    def product(self, kind: str, dims: tuple[int, ...], flops: int) -> None:
        self.rank.products[self.phase, kind, tuple(dims)] += 1
        self.rank.flops[self.phase] += flops

    @contextmanager
    def at_global_shapes_paused(self) -> Iterator[None]:
        """DTensor runs each new operator once at global shape; do not count that."""
        original = ShardingPropagator._propagate_tensor_meta_non_cached

        def paused(propagator, schema):
            before, self.paused = self.paused, True
            try:
                return original(propagator, schema)
            finally:
                self.paused = before

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ShardingPropagator, "_propagate_tensor_meta_non_cached", paused)
            yield


class HeadNorm(ParallelStyle):
    """A norm within each head ("replicated_with_grad_allreduce"): (batch, tokens, heads, width), whole weights."""

    def _apply(self, module, mesh):
        def whole(_, part, mesh):
            for name, weight in part.named_parameters(recurse=False):
                part.register_parameter(name, torch.nn.Parameter(distribute_tensor(weight, mesh, [Replicate()])))

        return distribute_module(
            module,
            mesh,
            whole,
            lambda _, inputs, mesh: DTensor.from_local(inputs[0], mesh, [Shard(2)], run_check=False),
            lambda _, output, mesh: output.to_local(),
        )


class Whole(ParallelStyle):
    """Weights whole on every rank, as DTensors: a router that takes its input as it lies."""

    def _apply(self, module, mesh):
        return distribute_module(module, mesh)


class Experts(ParallelStyle):
    """Experts cut within ("moe_tp_experts"): gate_up (experts, 2 x inner, width) by column, down by row.

    Hooks, not distribute_module, which would make the local weights DTensors again.
    """

    def __init__(self, *, sequence: bool = False) -> None:
        super().__init__()
        self.sequence = sequence

    def _apply(self, module, mesh):
        for name, axis in (("gate_up_proj", 1), ("down_proj", 2)):
            part = distribute_tensor(getattr(module, name), mesh, [Shard(axis)], src_data_rank=None).to_local()
            module.register_parameter(name, torch.nn.Parameter(part))

        def given(_, inputs):
            hidden, index, weights = (whole(one, mesh) for one in inputs)
            return tuple(one.to_local(grad_placements=[Partial()]) for one in (hidden, index, weights))

        def added(_, inputs, output):
            partial = DTensor.from_local(output, mesh, [Partial()], run_check=False)
            return partial.redistribute(placements=[Shard(0)]) if self.sequence else partial.full_tensor()

        module.register_forward_pre_hook(given)
        module.register_forward_hook(added)
        return module


def whole(tensor, mesh):
    """Return a tensor whole on every rank, as a DTensor."""
    if isinstance(tensor, DTensor):
        return tensor.redistribute(placements=[Replicate()])
    return DTensor.from_local(tensor, mesh, [Replicate()], run_check=False)


STYLES = {
    "colwise": ColwiseParallel,
    "rowwise": RowwiseParallel,
    "replicated_with_grad_allreduce": HeadNorm,
    "moe_tp_experts": Experts,
}


# OPT has none in the library: Megatron's.
OPT = {
    "decoder.layers.*.self_attn.q_proj": "colwise",
    "decoder.layers.*.self_attn.k_proj": "colwise",
    "decoder.layers.*.self_attn.v_proj": "colwise",
    "decoder.layers.*.self_attn.out_proj": "rowwise",
    "decoder.layers.*.fc1": "colwise",
    "decoder.layers.*.fc2": "rowwise",
}


def plan_of(config, *, merged: bool, sequence: bool) -> dict[str, ParallelStyle]:
    """Return torch's styles for the library's plan, and cut the vocabulary in embedding and head.

    merged: q, k, v take one whole DTensor, and so do gate and up, so that DTensor adds up one input gradient for
    all of them; as the library's plan is, each linear has its own. sequence: Megatron's sequence parallelism.
    """
    given = config.base_model_tp_plan or OPT
    experts = "moe_tp_experts" in given.values()
    plan = {
        f"model.{path}": STYLES[style]()
        for path, style in given.items()
        if not experts or (".experts." not in path and ".mlp." not in path) or path.endswith(".experts")
    }
    blocks = "model.layers.*" if given is not OPT else "model.decoder.layers.*"
    cut = Shard(1) if sequence else Replicate()
    plan[blocks.removesuffix("layers.*") + "embed_tokens"] = RowwiseParallel(
        input_layouts=Replicate(), output_layouts=cut, use_local_output=not sequence
    )
    plan["lm_head"] = ColwiseParallel(input_layouts=cut, output_layouts=Shard(-1), use_local_output=False)
    if merged or sequence:
        plan[f"{blocks}.self_attn"] = PrepareModuleInput(
            input_kwarg_layouts={"hidden_states": cut}, desired_input_kwarg_layouts={"hidden_states": Replicate()}
        )
    gated = f"{blocks}.mlp.gate_proj" in plan
    if gated and (merged or sequence):
        plan[f"{blocks}.mlp"] = PrepareModuleInput(input_layouts=(cut,), desired_input_layouts=(Replicate(),))
    if sequence:
        for path in ("self_attn.o_proj", *(("mlp.down_proj",) if gated else ())):
            plan[f"{blocks}.{path}"] = RowwiseParallel(output_layouts=cut, use_local_output=False)
        for path in (f"{blocks}.input_layernorm", f"{blocks}.post_attention_layernorm", "model.norm"):
            plan[path] = SequenceParallel(use_local_output=False)
    if sequence and experts:
        plan[f"{blocks}.mlp.experts"] = Experts(sequence=True)
        plan[f"{blocks}.mlp.gate"] = Whole()
    return plan


@contextmanager
def ranks(size: int) -> Iterator[DeviceMesh]:
    """Be rank 0 of a process group that is not there."""
    torch.distributed.init_process_group("fake", rank=0, world_size=size, store=FakeStore())
    try:
        yield init_device_mesh("cpu", (size,))
    finally:
        torch.distributed.destroy_process_group()


def model_of(fields) -> transformers.PreTrainedModel:
    """Return a bfloat16 model of a config's fields, built in the fake mode that is on."""
    named = {key: value for key, value in fields.items() if key not in ("model_type", "architectures")}
    config = transformers.AutoConfig.for_model(fields["model_type"], **named, use_cache=False)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        return getattr(transformers, fields["architectures"][0])(config)
    finally:
        torch.set_default_dtype(before)


def traced(fields, size: int, batch: int, length: int, *, merged: bool, sequence: bool = False) -> Rank:
    """Return what rank 0 of `size` computes in forward, loss and backward of (batch, length) tokens."""
    counter = Count()
    with ranks(size) as mesh, FakeTensorMode(allow_non_fake_inputs=True):
        model = model_of(fields)
        plan = plan_of(model.config, merged=merged, sequence=sequence)
        parallelize_module(model, mesh, plan, src_data_rank=None)
        for part in model.modules():
            if isinstance(part, OPTAttention):
                part.num_heads //= size  # what it reshapes its rank's features by
        tokens = torch.empty((batch, length), dtype=torch.int64)
        labels = DTensor.from_local(tokens.flatten(), mesh, [Replicate()], run_check=False)
        with loss_parallel(), counter.at_global_shapes_paused(), counter:
            logits = model(input_ids=tokens).logits.float().flatten(0, 1)
            loss = torch.nn.functional.cross_entropy(logits, labels)
            counter.phase = "backward"
            loss.backward()
            for weight in model.parameters():
                # As the optimizer needs it: sums of the norms' parts; of the embedding, whose whole gradient DTensor
                # computes on every rank, the rank's rows.
                if isinstance(weight, DTensor):
                    weight.grad = weight.grad.redistribute(placements=weight.placements)
    for weight in model.parameters():
        counter.rank.parameters[local(weight).numel()] += 1
        counter.rank.gradients[local(weight.grad).numel()] += 1
    return counter.rank


def local(tensor):
    """Return the rank's part."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
