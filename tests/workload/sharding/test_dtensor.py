"""The sharding rules against torch's own tensor parallelism (DTensor on a fake process group), model by model."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("torch.testing._internal.distributed.fake_pg")

from collections import Counter  # noqa: E402
from functools import cache  # noqa: E402

from hardplace.workload.load import published_config  # noqa: E402
from hardplace.workload.recording.huggingface import Options, step_of_config  # noqa: E402
from hardplace.workload.recording.layers import record_workload  # noqa: E402
from hardplace.workload.sharding import shard  # noqa: E402
from hardplace.workload.types import OperatorKind, Parallelism, StorageRole  # noqa: E402
from oracles_tensor_parallel import Rank, traced  # noqa: E402

LAYERS, LENGTH, BATCH = 2, 1024, 2
TOKENS = LENGTH * BATCH
ODD = "llama2-7b with a vocabulary that 8 does not divide"
DENSE = ("llama2-7b", "llama3-70b", "qwen3-8b")
# Real widths, two layers. llama2-13b: 5 heads a rank; opt-6.7b: biases, layer norms, one linear before the activation.
MODELS_AT = [
    *((name, 8) for name in (*DENSE, "mixtral-8x7b", "llama2-13b", "opt-6.7b")),
    ("qwen3-30b-a3b", 4),
    ("llama2-7b", 2),
    ("qwen3-8b", 4),
    ("llama2-7b", 16),
    (ODD, 8),
]
PRODUCTS = (OperatorKind.MATMUL, OperatorKind.GROUPED_MATMUL, OperatorKind.ATTENTION)


def fields(name):
    if name == ODD:
        return {**fields("llama2-7b"), "vocab_size": 32001}
    return {**published_config(name), "num_hidden_layers": LAYERS, "tie_word_embeddings": False}


@cache
def recorded(name):
    return record_workload(step_of_config(fields(name), name, name, Options(sequence_length=LENGTH)))


@cache
def by_dtensor(name, size, *, merged=True, sequence=False, batch=BATCH):
    return traced(fields(name), size, batch, LENGTH, merged=merged, sequence=sequence)


@cache
def by_rules(name, size, *, sequence=False, batch=BATCH):
    """Add up what the rules give one rank, over all layers."""
    workload, rank = recorded(name), Rank()
    layers = shard(workload, Parallelism(tensor=size, sequence=sequence)).layers
    for layer in (layers[index] for index in workload.order):
        for storage in layer.storages:
            if storage.role is StorageRole.PARAMETER:
                rank.parameters[storage.parameters] += 1
            if storage.role is StorageRole.GRADIENT:
                rank.gradients[storage.bytes.at(batch) // 2] += 1
        for operator in layer.operators:
            dims = tuple(size.at(batch) for size in operator.dims)
            if operator.kind is OperatorKind.COLLECTIVE:
                rank.collectives[operator.phase.value, operator.name, *dims] += 1
            if operator.kind in PRODUCTS:
                if operator.kind is OperatorKind.ATTENTION:  # DTensor's trace has the key/value heads repeated
                    dims = (*dims[:2], *dims[3:6])
                rank.products[operator.phase.value, operator.kind.value, dims] += 1
                rank.flops[operator.phase.value] += operator.flops.at(batch)
    return rank


def activation(name, batch=BATCH):
    """Return the bytes of what one layer hands to the next, whole."""
    return 2 * LENGTH * batch * fields(name)["hidden_size"]


@pytest.mark.parametrize(("name", "size"), MODELS_AT)
def test_a_rank_computes_holds_and_sends_what_dtensor_does(name, size):
    """Every product by its dimensions, FLOPs, every parameter, every collective by kind and bytes: also those of the
    vocabulary-parallel embedding and loss.
    """
    theirs, ours = by_dtensor(name, size), by_rules(name, size)
    assert ours.products == theirs.products
    assert ours.flops == theirs.flops
    assert ours.parameters == theirs.parameters
    assert ours.gradients == theirs.gradients
    assert ours.collectives == theirs.collectives


@pytest.mark.parametrize("name", DENSE)
def test_eight_ranks_compute_what_one_device_does(name):
    """The oracle itself: nothing counted twice or left out (DTensor runs operators at global shapes too)."""
    assert 8 * by_dtensor(name, 8).flops.total() == BATCH * recorded(name).flops_per_sample()


@pytest.mark.parametrize(("name", "a_layer"), [*((name, 3) for name in DENSE), ("mixtral-8x7b", 2), ("opt-6.7b", 2)])
def test_the_librarys_plan_adds_up_each_input_gradient_by_itself(name, a_layer):
    """5 all-reduces a layer in the backward pass instead of 2 (q, k, v; gate, up): the only difference."""
    theirs, ours = by_dtensor(name, 8, merged=False), by_rules(name, 8)
    assert theirs.collectives - ours.collectives == {("backward", "all_reduce", activation(name)): a_layer * LAYERS}
    assert not ours.collectives - theirs.collectives
    assert (ours.products, ours.parameters) == (theirs.products, theirs.parameters)


@pytest.mark.parametrize("name", DENSE)
def test_sequence_parallel_gathers_its_inputs_again(name):
    """DTensor keeps what it gathered; Megatron, and the rules, keep a part, and gather it again for the gradients of
    the weights (Korthikanti et al. 2022, section 4.2.2): of q, k, v; of gate and up; of the head. All else is equal.
    """
    theirs, ours = by_dtensor(name, 8, sequence=True), by_rules(name, 8, sequence=True)
    again = Counter({("backward", "all_gather", activation(name)): 2 * LAYERS + 1})
    assert ours.collectives == theirs.collectives + again
    assert (ours.products, ours.flops, ours.parameters) == (theirs.products, theirs.flops, theirs.parameters)


def experts_with_sequence_parallel(name, size):
    """One sample: DTensor does not unflatten a (batch x sequence) that is cut."""
    theirs, ours = by_dtensor(name, size, sequence=True, batch=1), by_rules(name, size, sequence=True, batch=1)
    # Gathered again for the weights: the input of q, k, v, and that of the head.
    again = Counter({("backward", "all_gather", activation(name, 1)): LAYERS + 1})
    return theirs, ours, theirs.collectives + again


EXPERTS = pytest.mark.parametrize(("name", "size"), [("mixtral-8x7b", 8), ("qwen3-30b-a3b", 4)])


@EXPERTS
def test_experts_with_sequence_parallel(name, size):
    theirs, ours, expected = experts_with_sequence_parallel(name, size)
    assert (ours.products, ours.flops, ours.parameters) == (theirs.products, theirs.flops, theirs.parameters)
    forward = {key: count for key, count in expected.items() if key[0] == "forward"}
    assert {key: count for key, count in ours.collectives.items() if key[0] == "forward"} == forward


@EXPERTS
def test_experts_with_sequence_parallel_backward(name, size):
    _, ours, expected = experts_with_sequence_parallel(name, size)
    assert ours.collectives == expected


# Tensor parallel 16 with 8 key/value heads: two ranks hold one head each. DTensor cannot; by hand.

WIDTH, INNER, HEAD, VOCABULARY = 8192, 28672 // 16, 128, 128256 // 16
KEYS = HEAD * WIDTH  # elements of a rank's key or value weight


def test_copied_key_value_heads_by_hand():
    ours = by_rules("llama3-70b", 16)
    assert ours.parameters == {
        VOCABULARY * WIDTH: 2,
        WIDTH: 2 * LAYERS + 1,
        4 * HEAD * WIDTH: 2 * LAYERS,
        KEYS: 2 * LAYERS,
        INNER * WIDTH: 3 * LAYERS,
    }
    # (in, out) of a rank's linears, and how often
    linears = {
        (WIDTH, 4 * HEAD): LAYERS,
        (WIDTH, HEAD): 2 * LAYERS,
        (4 * HEAD, WIDTH): LAYERS,
        (WIDTH, INNER): 2 * LAYERS,
        (INNER, WIDTH): LAYERS,
        (WIDTH, VOCABULARY): 1,
    }
    products = Counter()
    for (inputs, outputs), count in linears.items():
        products["forward", "matmul", (1, TOKENS, outputs, inputs)] += count
        products["backward", "matmul", (1, TOKENS, inputs, outputs)] += count
        products["backward", "matmul", (1, outputs, inputs, TOKENS)] += count
    for phase in ("forward", "backward"):
        products[phase, "attention", (BATCH, 4, LENGTH, LENGTH, HEAD)] += LAYERS
    assert ours.products == products


def collectives_of_copies():
    size = activation("llama3-70b")
    whole = {("forward", "all_reduce", size): 2 * LAYERS + 1, ("backward", "all_reduce", size): 2 * LAYERS + 1}
    return Counter(whole | {("forward", "all_reduce", 4 * TOKENS): 3})


def test_collectives_of_activations_with_copies_by_hand():
    ours = by_rules("llama3-70b", 16).collectives
    assert not collectives_of_copies() - ours
    assert (ours - collectives_of_copies()).total() == 2 * LAYERS  # gradients of the copies


def test_gradients_of_copies_by_hand():
    ours = by_rules("llama3-70b", 16).collectives
    assert ours - collectives_of_copies() == {("backward", "all_reduce", 2 * KEYS): 2 * LAYERS}
