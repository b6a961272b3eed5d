"""What is known of a decoder's axes from the start: what operators mean, and what layers hand on."""

from __future__ import annotations

from hardplace.workload.operators import ATTENTION_BACKWARD
from hardplace.workload.reshaping.labels import Labels
from hardplace.workload.reshaping.polynomials import of_affine, symbol
from hardplace.workload.types import Gradient, Operator, OperatorKind, StorageRole


def seed(labels: Labels) -> None:
    """Label what layers hand on, tokens, and the tables that they look up."""
    layer, hidden = labels.layer, symbol("hidden")
    for tensor, one in enumerate(layer.tensors):
        storage = layer.storages[one.storage]
        handed = one.storage in (*layer.inputs, *layer.outputs)
        if handed and len(one.shape) == 3:
            for axis, label in enumerate((of_affine(one.shape[0]), of_affine(one.shape[1]), hidden)):
                labels.put(tensor, axis, label)
        if storage.role is StorageRole.INPUT and one.dtype.startswith("int"):
            for axis, size in enumerate(one.shape):
                labels.put(tensor, axis, of_affine(size))
    for operator in layer.operators:
        if operator.kind is OperatorKind.EMBEDDING:
            _seed_table(labels, operator)
        if operator.name in ("arange", "ones"):
            for axis, size in enumerate(layer.tensors[operator.writes[0]].shape):
                labels.put(operator.writes[0], axis, of_affine(size))


def _seed_table(labels: Labels, operator: Operator) -> None:
    """Label the rows of a table: tokens where they come from the data, else positions, which no size of a shape is."""
    backward = operator.name.endswith("_backward")
    table = operator.writes[0] if backward else operator.reads[0]
    layer, ids = labels.layer, operator.reads[1]
    given = layer.storages[layer.tensors[ids].storage].role is StorageRole.INPUT
    labels.put(table, 0, symbol("vocab") if given else of_affine(layer.tensors[table].shape[0]))
    labels.put(table, 1, symbol("hidden"))


def seed_block(labels: Labels) -> None:
    """Label attention's heads, and the width that the MLP's last product sums over."""
    for operator in labels.layer.operators:
        if operator.kind is OperatorKind.ATTENTION:
            backward = int(operator.name == ATTENTION_BACKWARD)
            for place, tensor in enumerate(operator.reads[backward : backward + 3]):
                shape = labels.layer.tensors[tensor].shape
                heads = symbol("kv_heads" if place else "heads")
                for axis, label in enumerate((of_affine(shape[0]), heads, of_affine(shape[2]), symbol("head_dim"))):
                    labels.put(tensor, axis, label)
    down = [one for one in labels.layer.operators if one.gradient is Gradient.FORWARD][-1]
    labels.put(down.reads[-2], 1, symbol("ffn"))


def seed_end(labels: Labels) -> None:
    """Label the vocabulary: the columns of the last product with weights."""
    logits = [one for one in labels.layer.operators if one.gradient is Gradient.FORWARD][-1]
    labels.put(logits.writes[0], 1, symbol("vocab"))
