"""What one rank of a parallel version computes: a recorded layer with the rank's shapes and its collectives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hardplace.workload.operators import dims_of, flops_of
from hardplace.workload.sharding.analysis import analyse
from hardplace.workload.sharding.splits import State, local_shape
from hardplace.workload.sharding.steps import Analysis, Move
from hardplace.workload.types import (
    ITEM_BYTES,
    Affine,
    Gradient,
    Group,
    Layer,
    Operator,
    OperatorKind,
    Parallelism,
    Phase,
    Shard,
    Storage,
    StorageRole,
    Tensor,
    Workload,
    elements,
)

_SIZES = (2, 3)  # micro-batches through which a size's line is drawn
States = tuple[State, ...]


def shard(workload: Workload, parallelism: Parallelism) -> Shard:
    """Return what one rank computes at these degrees (docs/model.md, "Parallel versions")."""
    layers, whole = [], []
    for layer in workload.layers:
        analyses = _analyses(layer, parallelism)
        layers.append(_Rank(layer, analyses).layer())
        for one in analyses:
            if one.group is Group.TENSOR:
                whole += [f"{layer.name}: {name}" for name in _modules(layer, one)]
    return Shard(parallelism=parallelism, layers=tuple(layers), whole=tuple(whole))


def tensor_parallel(workload: Workload, degree: int) -> Shard:
    """Return what one rank of a tensor-parallel group computes."""
    return shard(workload, Parallelism(tensor=degree))


def _analyses(layer: Layer, parallelism: Parallelism) -> tuple[Analysis, ...]:
    found = []
    if parallelism.tensor > 1:
        found.append(analyse(layer, Group.TENSOR, parallelism.tensor, sequence=parallelism.sequence))
    if parallelism.context > 1:
        found.append(analyse(layer, Group.CONTEXT, parallelism.context))
    if parallelism.expert > 1:
        found.append(analyse(layer, Group.EXPERT, parallelism.expert))
    return tuple(found)


def _modules(layer: Layer, analysis: Analysis) -> list[str]:
    """Return the modules whose parameters stay whole although a matrix product uses them."""
    found = dict.fromkeys(
        operator.module
        for operator in layer.operators
        if operator.gradient is Gradient.FORWARD
        and any(storage in analysis.whole for storage in _parameters_read(layer, operator))
    )
    return list(found)


def _parameters_read(layer: Layer, operator: Operator) -> list[int]:
    return [layer.tensors[index].storage for index in operator.reads]


def line(value: Callable[[int], int]) -> Affine:
    """Return constant and factor of a number that is affine in the micro-batch."""
    low, high = (value(size) for size in _SIZES)
    factor = high - low
    return Affine(low - factor * _SIZES[0], factor)


class _Rank:
    """Builds the rank's layer, operator by operator."""

    def __init__(self, layer: Layer, analyses: tuple[Analysis, ...]) -> None:
        self.old, self.analyses = layer, analyses
        self.storages: list[Storage] = []
        self.tensors: list[Tensor] = []
        self.operators: list[Operator] = []
        self.storage: dict[int, int] = {}  # storage of the recorded layer -> here
        self.tensor_at: dict[tuple[int, States], int] = {}
        self.states: list[dict[int, State]] = [{} for _ in analyses]
        self.biases: dict[int, tuple[int, Operator]] = {}  # by recorded storage of partial sums
        self.known: dict[Tensor, int] = {}
        self.gathered: dict[tuple[int, int], int] = {}  # (recorded storage, group) -> storage of the whole copy

    def layer(self) -> Layer:
        """Return the layer."""
        handed_on = False
        for place, operator in enumerate(self.old.operators):
            if operator.phase is not Phase.FORWARD and not handed_on:
                self._moves(lambda one: one.after_forward, Phase.FORWARD, "")
                handed_on = True
            if operator.kind is OperatorKind.OPTIMIZER:
                continue
            self._moves(lambda one, place=place: one.steps[place].moves, operator.phase, operator.module)  # type: ignore[misc]
            self._operator(place, operator)
        if not handed_on:
            self._moves(lambda one: one.after_forward, Phase.FORWARD, "")
        self._moves(lambda one: one.at_end, Phase.BACKWARD, "")
        self.operators += [self._optimizer(one) for one in self.old.operators if one.kind is OperatorKind.OPTIMIZER]
        return Layer(
            name=self.old.name,
            storages=tuple(self.storages),
            tensors=tuple(self.tensors),
            operators=tuple(self.operators),
            saved=tuple(dict.fromkeys(self.storage[one] for one in self.old.saved if one in self.storage)),
            inputs=tuple(self.storage[one] for one in self.old.inputs),
            outputs=tuple(self.storage[one] for one in self.old.outputs),
        )

    # Tensors

    def _now(self, index: int) -> States:
        return tuple(states.get(index) for states in self.states)

    def _elements(self, index: int, states: States, size: int) -> int:
        return elements(local_shape(self.old.tensors[index].shape, states), size)

    def _bytes(self, index: int, states: States) -> Affine:
        item = ITEM_BYTES[self.old.tensors[index].dtype]
        return line(lambda size: item * self._elements(index, states, size))

    def _new_storage(self, role: StorageRole, size: Affine, parameters: int = 0) -> int:
        self.storages.append(Storage(role=role, bytes=size, parameters=parameters))
        return len(self.storages) - 1

    def _home(self, index: int, states: States) -> int:
        """Return the storage of a tensor here, made at its first use with the rank's share of the bytes."""
        old = self.old.tensors[index].storage
        if old not in self.storage:
            whole = self.old.storages[old]
            shape = self.old.tensors[index].shape

            def share(total: int, size: int) -> int:
                return -(-total * self._elements(index, states, size) // max(1, elements(shape, size)))

            if whole.role is StorageRole.PARAMETER:
                states = tuple(one.parameters[old] for one in self.analyses)
                index = next(number for number, one in enumerate(self.old.tensors) if one.storage == old)
                shape = self.old.tensors[index].shape
            self.storage[old] = self._new_storage(
                whole.role, line(lambda size: share(whole.bytes.at(size), size)), share(whole.parameters, 1)
            )
        return self.storage[old]

    def _tensor(self, index: int, states: States, storage: int | None = None) -> int:
        """Return the number here of a recorded tensor in these states; storage: if it lies in a copy."""
        found = self.tensor_at.get((index, states))
        if found is not None and storage is None:
            return found
        old = self.old.tensors[index]
        home = self._home(index, states) if storage is None else storage
        made = Tensor(storage=home, shape=local_shape(old.shape, states), dtype=old.dtype)
        number = self.known.setdefault(made, len(self.tensors))
        if number == len(self.tensors):
            self.tensors.append(made)
        self.tensor_at[index, states] = number
        return number

    # Moves

    def _moves(self, which: Callable[[Analysis], object], phase: Phase, module: str) -> None:
        for place, one in enumerate(self.analyses):
            for move in which(one):  # type: ignore[attr-defined]
                self._move(place, move, phase, module)

    def _move(self, place: int, move: Move, phase: Phase, module: str) -> None:
        """Write down a collective; or take a slice, which costs nothing."""
        self.states[place][move.tensor] = move.source
        before = self._now(move.tensor)
        self.states[place][move.tensor] = move.target
        after = self._now(move.tensor)
        given = self._tensor(move.tensor, before)
        if not move.collective:
            gathered = (
                self.gathered.get((self.old.tensors[move.tensor].storage, place)) if move.target is None else None
            )
            if (move.tensor, after) not in self.tensor_at:
                self._tensor(move.tensor, after, self.tensors[given].storage if gathered is None else gathered)
            return
        old = self.old.tensors[move.tensor].storage
        if move.collective == "all_reduce":
            made = self._tensor(move.tensor, after, self.tensors[given].storage)
        else:
            made = self._tensor(
                move.tensor, after, self._new_storage(StorageRole.ACTIVATION, self._bytes(move.tensor, after))
            )
            if move.stays:
                self._replace(old, self.tensors[made].storage)
            else:
                self.gathered[old, place] = self.tensors[made].storage
        whole = before if move.collective == "reduce_scatter" else after
        group = self.analyses[place].group
        self._collective(move.collective, self._bytes(move.tensor, whole), given, made, phase, module, group)
        bias = self.biases.pop(old, None)
        if bias is not None:
            self._add_bias(made, *bias)

    def _replace(self, old: int, new: int) -> None:
        """Let a recorded storage lie elsewhere from now on, in the role that it had."""
        role = self.storages[self.storage[old]].role
        if role in (StorageRole.GRADIENT, StorageRole.ACTIVATION):
            self.storages[new] = replace(self.storages[new], role=role)
        self.storage[old] = new

    def _collective(
        self, name: str, size: Affine, given: int, made: int, phase: Phase, module: str, group: Group
    ) -> None:
        self.operators.append(
            Operator(
                name=name,
                module=module,
                kind=OperatorKind.COLLECTIVE,
                phase=phase,
                dims=(size,),
                flops=Affine(0, 0),
                reads=(given,),
                writes=(made,),
                group=group,
            )
        )

    def _add_bias(self, result: int, bias: int, operator: Operator) -> None:
        size = line(lambda one: elements(self.tensors[result].shape, one))
        read = self._tensor(bias, self._now(bias))
        self._plain("add", operator, (result, read), (result,), size)

    def _plain(
        self, name: str, operator: Operator, reads: tuple[int, ...], writes: tuple[int, ...], size: Affine
    ) -> None:
        self.operators.append(
            Operator(
                name=name,
                module=operator.module,
                kind=OperatorKind.ELEMENTWISE,
                phase=operator.phase,
                dims=(size,),
                flops=Affine(0, 0),
                reads=reads,
                writes=writes,
            )
        )

    # Operators

    def _operator(self, place: int, operator: Operator) -> None:
        for position, index in enumerate(operator.reads):
            for states, one in zip(self.states, self.analyses, strict=True):
                states[index] = one.steps[place].reads[position]
        allocated = operator.kind is OperatorKind.VIEW and self._unwritten(operator.reads[0])
        reads = () if allocated else tuple(self._tensor(index, self._now(index)) for index in operator.reads)
        for position, index in enumerate(operator.writes):
            for states, one in zip(self.states, self.analyses, strict=True):
                states[index] = one.steps[place].writes[position]
        if operator.kind is OperatorKind.VIEW:
            for index in operator.writes if not allocated else ():
                self._tensor(index, self._now(index), self.tensors[reads[0]].storage)
            return
        writes = tuple(self._tensor(index, self._now(index)) for index in operator.writes)
        steps = [one.steps[place] for one in self.analyses]
        if any(step.masked for step in steps):
            reads = self._masked(operator, reads)
        made = replace(operator, reads=reads, writes=writes)
        if any(step.bias_after for step in steps):
            bias = 0 if operator.kind is OperatorKind.MATMUL else 2
            old = self.old.tensors[operator.writes[0]].storage
            self.biases[old] = (operator.reads[bias], operator)
            kept = tuple(read for position, read in enumerate(reads) if position != bias)
            made = replace(made, reads=kept, name={"addmm": "mm", "baddbmm": "bmm"}.get(operator.name, operator.name))
        self.operators.append(self._sized(made) if self.analyses else made)
        for one, step in zip(self.analyses, steps, strict=True):
            for index in step.added:
                self._statistics(operator, index, one.group)

    def _unwritten(self, index: int) -> bool:
        """Return whether a view is of memory that is only allocated: what is written there says its share."""
        storage = self.old.tensors[index].storage
        return storage not in self.storage and self.old.storages[storage].role is StorageRole.ACTIVATION

    def _masked(self, operator: Operator, reads: tuple[int, ...]) -> tuple[int, ...]:
        """Tokens of other ranks' rows are masked before a look-up in a table cut by row; so are their gradients."""
        tokens = reads[1]
        size = line(lambda one: elements(self.tensors[tokens].shape, one))
        like = self.tensors[tokens]
        storage = self._new_storage(StorageRole.ACTIVATION, self.storages[like.storage].bytes)
        self.tensors.append(replace(like, storage=storage))
        self._plain("vocabulary_mask", operator, (tokens,), (len(self.tensors) - 1,), size)
        return (reads[0], len(self.tensors) - 1, *reads[2:])

    def _statistics(self, operator: Operator, index: int, group: Group) -> None:
        """An all-reduce of one 4-byte number a row, for a loss over a cut vocabulary."""
        shape = local_shape(self.old.tensors[index].shape, self._now(index))[:-1]
        size = line(lambda one: 4 * elements(shape, one))
        storage = self._new_storage(StorageRole.ACTIVATION, size)
        self.tensors.append(Tensor(storage=storage, shape=shape, dtype="float32"))
        number = len(self.tensors) - 1
        written = self.operators[-1]
        self.operators[-1] = replace(written, writes=(*written.writes, number))
        self._collective("all_reduce", size, number, number, operator.phase, operator.module, group)

    def _sized(self, operator: Operator) -> Operator:
        """Return an operator with the dimensions and FLOPs of the rank's shapes."""
        if operator.kind in (OperatorKind.SCAN, OperatorKind.OTHER):
            return operator
        at = []
        for size in _SIZES:
            shapes = [
                [tuple(one.at(size) for one in self.tensors[index].shape) for index in which]
                for which in (operator.reads, operator.writes)
            ]
            if operator.kind is OperatorKind.CONVOLUTION:
                at.append(_convolution(operator, size, *shapes))
            else:
                at.append(dims_of(operator.kind, operator.name, *shapes))
        dims = tuple(line(dict(zip(_SIZES, pair, strict=True)).__getitem__) for pair in zip(*at, strict=True))
        flops = line(
            {
                size: flops_of(operator.kind, operator.name, sizes) for size, sizes in zip(_SIZES, at, strict=True)
            }.__getitem__
        )
        return replace(operator, dims=dims, flops=flops)

    def _optimizer(self, operator: Operator) -> Operator:
        """Return the update of the rank's parameters; frozen ones are not among its writes."""
        reads = tuple(self._tensor(index, self._now(index)) for index in operator.reads)
        writes = tuple(self._tensor(index, self._now(index)) for index in operator.writes)
        held = sum(self.storages[one].parameters for one in {self.tensors[tensor].storage for tensor in writes})
        return replace(operator, reads=reads, writes=writes, dims=(Affine(held, 0),))


def _convolution(
    operator: Operator, size: int, reads: list[tuple[int, ...]], writes: list[tuple[int, ...]]
) -> tuple[int, ...]:
    """Return the dimensions of a convolution whose channels are cut."""
    given, made = {
        Gradient.DGRAD: (writes[0], reads[0]),
        Gradient.WGRAD: (reads[-1], reads[0]),
    }.get(operator.gradient, (reads[0], writes[0]))
    _, channels, _, groups, *rest = (one.at(size) for one in operator.dims)
    return (given[0], given[1], made[1], max(1, groups * given[1] // channels) if groups > 1 else 1, *rest)
