"""One pass over a layer's operators: how each tensor lies on the ranks of a group, and what moves for it."""

from __future__ import annotations

from hardplace.workload.sharding.held import Decided, LayerShapes
from hardplace.workload.sharding.moves import Resharding
from hardplace.workload.sharding.rules import RULES
from hardplace.workload.sharding.splits import DoesNotFit, PartialSum, Split, State, sequence_split
from hardplace.workload.sharding.steps import Analysis, Fewer, KeepWhole, OperatorStep, TensorMove
from hardplace.workload.types import Group, Operator, OperatorKind, Phase, StorageRole


class Walk(Resharding):
    """One pass over the operators of a layer, by the rule of each kind.

    Raises one of `steps.KeepWhole`, `Fewer`, `Earlier` where the pass must start again with another decision.
    """

    def __init__(
        self, known: LayerShapes, group: Group, parts: int, decided: Decided, *, sequence: bool, whole_experts: bool
    ) -> None:
        super().__init__(known, group, parts, decided, sequence=sequence, whole_experts=whole_experts)
        self.seen: set[int] = set()  # tensors that operators have touched
        self._enter()

    def _enter(self) -> None:
        # Written before it was read: a view of a view of a parameter may be the parameter again.
        made: set[int] = set()
        seen: set[int] = set()
        for operator in self.layer.operators:
            seen |= set(operator.reads)
            made |= set(operator.writes) - seen
        splits = self.scatters()
        given = set(self.layer.inputs)
        images = {t for one in self.layer.operators if one.kind is OperatorKind.CONVOLUTION for t in one.reads}
        forward = {t for one in self.layer.operators if one.phase is Phase.FORWARD for t in one.reads}
        for index, tensor in enumerate(self.layer.tensors):
            role = self.layer.storages[tensor.storage].role
            if role is StorageRole.PARAMETER and index not in made:
                self.open.add(index)
            elif role is StorageRole.INPUT and splits and index not in made:
                activation = tensor.storage in given or index not in forward
                # What a convolution reads is cut by neither channel nor place.
                if index not in images and (activation or self.group is Group.CONTEXT):
                    self.states[index] = sequence_split(self.shapes[index], self.parts)

    def run(self) -> Analysis:
        """Walk over all operators and return the states, the steps and what moves at the ends of phases."""
        steps: list[OperatorStep] = []
        after: list[TensorMove] | None = None
        for number, operator in enumerate(self.layer.operators):
            if operator.phase is not Phase.FORWARD and after is None:
                after = self._hand_on()
            self.step = OperatorStep()
            if operator.kind is not OperatorKind.OPTIMIZER:
                self.operator = operator
                if number in self.early:
                    self.need(operator.reads[0], None)
                try:
                    self.apply(operator)
                except DoesNotFit as problem:
                    self._blame(problem.split, problem.size)
                self._note_copy(number, operator)
                self._in_place(operator)
            self.step.reads = tuple(self.used(index) for index in operator.reads)
            self.step.writes = tuple(self.states.get(index) for index in operator.writes)
            steps.append(self.step)
        after = self._hand_on() if after is None else after
        at_end = self._finish()
        parameters: dict[int, State] = {}
        for index, tensor in enumerate(self.layer.tensors):
            if self.layer.storages[tensor.storage].role is StorageRole.PARAMETER:
                parameters.setdefault(tensor.storage, self.states.get(index))
        return Analysis(
            group=self.group,
            parts=self.parts,
            steps=tuple(steps),
            after_forward=tuple(after),
            at_end=tuple(at_end),
            parameters=parameters,
            whole=frozenset(one for one in self.in_products if not isinstance(parameters.get(one), Split)),
        )

    def apply(self, operator: Operator) -> None:
        """Apply the rule of an operator's kind."""
        RULES[operator.kind](self, operator)

    def _note_copy(self, number: int, operator: Operator) -> None:
        copies = operator.kind is OperatorKind.VIEW or operator.name in ("_to_copy", "clone")
        if copies and len(operator.reads) == 1:
            new = [index for index in operator.writes if index not in self.seen and index != operator.reads[0]]
            self.made_of.update(dict.fromkeys(new, (operator.reads[0], number)))

    def _in_place(self, operator: Operator) -> None:
        """Let the other views of memory that is written in parts lie as what was written there."""
        self.seen |= set(operator.reads)
        for index in operator.writes:
            state = self.states.get(index)
            if operator.kind is OperatorKind.VIEW or index not in self.seen or not isinstance(state, Split):
                continue
            shape = self.shapes[index]
            for other in self.of_storage[self.layer.tensors[index].storage]:
                alike = len(self.shapes[other]) == len(shape) and self.shapes[other][state.axis] == shape[state.axis]
                if alike and self.states.get(other) is None:
                    self.states[other] = state
        self.seen |= set(operator.writes)

    def _blame(self, split: Split, size: int) -> None:
        """Say what must change so that a split goes on."""
        if not split.origin:
            raise AssertionError(f"{self.layer.name}: {self.operator.name}: a split by sequence cannot go on")
        if len(split.origin) == 1 and 1 < size < split.parts and split.parts % size == 0:
            raise Fewer(next(iter(split.origin)), size)
        raise KeepWhole(split.origin)

    def _hand_on(self) -> list[TensorMove]:
        """Return the moves that bring what the forward pass hands on into the state of a boundary."""
        moves: list[TensorMove] = []
        outputs = set(self.layer.outputs)
        last: dict[int, int] = {}
        for operator in self.layer.operators:
            if operator.phase is Phase.FORWARD and operator.kind is not OperatorKind.VIEW:
                last.update({self.layer.tensors[index].storage: index for index in operator.writes})
        for storage, index in last.items():
            if storage in outputs:
                state = self.states.get(index)
                if isinstance(state, Split) and state.origin:
                    raise KeepWhole(state.origin)
                if isinstance(state, PartialSum):
                    self.reduce(moves, index, self.resolved(index))
        return moves

    def _finish(self) -> list[TensorMove]:
        """Return the moves after the last operator: partial sums that leave the layer, gradients of parameters."""
        moves: list[TensorMove] = []
        if self.group is not Group.TENSOR:
            return moves
        read = {
            index
            for operator in self.layer.operators
            for index in operator.reads
            if operator.phase is not Phase.OPTIMIZER
        }
        read = {self.layer.tensors[index].storage for index in read}
        done: set[int] = set()
        for index in range(len(self.layer.tensors)):
            state, storage = self.states.get(index), self.layer.tensors[index].storage
            gradient = self.layer.storages[storage].role is StorageRole.GRADIENT
            if storage in done:
                continue
            if isinstance(state, PartialSum) and (gradient or storage not in read) and self.sizes[index] > 1:
                target = None if gradient else self.resolved(index)
                moves.append(TensorMove(index, state, target, "reduce_scatter" if target else "all_reduce", True))
                done.add(storage)
            elif gradient and isinstance(state, Split) and state.origin and state.parts < self.parts:
                # Ranks that hold copies of key/value heads each have a part of the gradient.
                moves.append(TensorMove(index, PartialSum(), state, "all_reduce", True))
                done.add(storage)
        return moves
