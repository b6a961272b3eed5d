"""The layer of one rank: a recorded one's operators with the rank's sizes, and its collectives as operators."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from hardplace.workload.affine import Affine, product
from hardplace.workload.sharding.rank_sizes import RankSizes
from hardplace.workload.sharding.rank_tensors import RankTensors
from hardplace.workload.sharding.steps import Analysis, TensorMove
from hardplace.workload.types import Group, Layer, Operator, OperatorKind, Phase, StorageRole, Tensor


class RankLayer:
    """Writes the rank's layer, operator by operator, by what each group does there."""

    def __init__(self, sizes: RankSizes, analyses: tuple[Analysis, ...]) -> None:
        self.sizes, self.old, self.analyses = sizes, sizes.layer, analyses
        self.held = RankTensors(sizes, analyses)
        self.operators: list[Operator] = []
        self.biases: dict[int, tuple[int, Operator]] = {}  # by recorded storage of partial sums
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
        home = self.held.home
        return Layer(
            name=self.old.name,
            storages=tuple(self.held.storages),
            tensors=tuple(self.held.tensors),
            operators=tuple(self.operators),
            saved=tuple(dict.fromkeys(home[one] for one in self.old.saved if one in home)),
            inputs=tuple(home[one] for one in self.old.inputs),
            outputs=tuple(home[one] for one in self.old.outputs),
        )

    # Moves

    def _moves(self, which: Callable[[Analysis], Iterable[TensorMove]], phase: Phase, module: str) -> None:
        for place, one in enumerate(self.analyses):
            for move in which(one):
                self._move(place, move, phase, module)

    def _move(self, place: int, move: TensorMove, phase: Phase, module: str) -> None:
        """Write down a collective; or take a slice, which costs nothing."""
        held, index = self.held, move.tensor
        held.states[place][index] = move.source
        before = held.now(index)
        held.states[place][index] = move.target
        after = held.now(index)
        given = held.tensor(index, before)
        here, old = held.tensors[given].storage, self.old.tensors[index].storage
        if not move.collective:
            copy = self.gathered.get((old, place), here) if move.target is None else here
            if (index, after) not in held.number_of:
                held.tensor(index, after, copy)
            return
        if move.collective != "all_reduce":
            here = held.new_storage(StorageRole.ACTIVATION, self.sizes.bytes_of(index, after))
            if move.stays:
                held.replace(old, here)
            else:
                self.gathered[old, place] = here
        made = held.tensor(index, after, here)
        size = self.sizes.bytes_of(index, before if move.collective == "reduce_scatter" else after)
        self._collective(move.collective, size, given, made, phase, module, self.analyses[place].group)
        bias = self.biases.pop(old, None)
        if bias is not None:
            self._add_bias(made, *bias)

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

    # Operators

    def _operator(self, place: int, operator: Operator) -> None:
        held = self.held
        steps = [one.steps[place] for one in self.analyses]
        for states, step in zip(held.states, steps, strict=True):
            states.update(zip(operator.reads, step.reads, strict=True))
        allocated = operator.kind is OperatorKind.VIEW and held.unwritten(operator.reads[0])
        reads = () if allocated else tuple([held.tensor(index, held.now(index)) for index in operator.reads])
        for states, step in zip(held.states, steps, strict=True):
            states.update(zip(operator.writes, step.writes, strict=True))
        if operator.kind is OperatorKind.VIEW:
            for index in operator.writes if not allocated else ():
                held.tensor(index, held.now(index), held.tensors[reads[0]].storage)
            return
        writes, name = tuple([held.tensor(index, held.now(index)) for index in operator.writes]), operator.name
        if any(step.masked for step in steps):
            reads = self._masked(operator, reads)
        if any(step.bias_after for step in steps):
            reads, name = self._without_bias(operator, reads)
        if self.analyses:
            self.operators.append(self.sizes.operator(place, name, reads, writes, held.tensors))
        else:
            self.operators.append(replace(operator, reads=reads, writes=writes))
        for one, step in zip(self.analyses, steps, strict=True):
            for index in step.added:
                self._statistics(operator, index, one.group)

    def _without_bias(self, operator: Operator, reads: tuple[int, ...]) -> tuple[tuple[int, ...], str]:
        """Return what an operator reads, and its name, without its bias, which is added once the partial sums are added
        up."""
        bias = 0 if operator.kind is OperatorKind.MATMUL else 2
        self.biases[self.old.tensors[operator.writes[0]].storage] = (operator.reads[bias], operator)
        kept = tuple(read for position, read in enumerate(reads) if position != bias)
        return kept, {"addmm": "mm", "baddbmm": "bmm"}.get(operator.name, operator.name)

    def _add_bias(self, result: int, bias: int, operator: Operator) -> None:
        size = product(self.held.tensors[result].shape)
        read = self.held.tensor(bias, self.held.now(bias))
        self._plain("add", operator, (result, read), (result,), size)

    def _masked(self, operator: Operator, reads: tuple[int, ...]) -> tuple[int, ...]:
        """Tokens of other ranks' rows are masked before a look-up in a table cut by row; so are their gradients."""
        like = self.held.tensors[reads[1]]
        storage = self.held.new_storage(StorageRole.ACTIVATION, self.held.storages[like.storage].bytes)
        masked = self.held.added(replace(like, storage=storage))
        self._plain("vocabulary_mask", operator, (reads[1],), (masked,), product(like.shape))
        return (reads[0], masked, *reads[2:])

    def _plain(
        self, name: str, operator: Operator, reads: tuple[int, ...], writes: tuple[int, ...], size: Affine
    ) -> None:
        """Write down an elementwise operator in the place of another."""
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

    def _statistics(self, operator: Operator, index: int, group: Group) -> None:
        """An all-reduce of one 4-byte number a row, for a loss over a cut vocabulary."""
        shape = self.sizes.shape(index, self.held.now(index))[:-1]
        size = product((Affine(4, 0), *shape))
        storage = self.held.new_storage(StorageRole.ACTIVATION, size)
        number = self.held.added(Tensor(storage=storage, shape=shape, dtype="float32"))
        written = self.operators[-1]
        self.operators[-1] = replace(written, writes=(*written.writes, number))
        self._collective("all_reduce", size, number, number, operator.phase, operator.module, group)

    def _optimizer(self, operator: Operator) -> Operator:
        """Return the update of the rank's parameters; frozen ones are not among its writes."""
        held = self.held
        reads, writes = (
            tuple(held.tensor(index, held.now(index)) for index in which) for which in (operator.reads, operator.writes)
        )
        count = sum(held.storages[one].parameters for one in {held.tensors[tensor].storage for tensor in writes})
        return replace(operator, reads=reads, writes=writes, dims=(Affine(count, 0),))
