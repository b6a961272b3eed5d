"""One pass over a layer's operators: how each tensor lies on the ranks of a group, and what moves for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

from hardplace.workload.sharding.splits import (
    GENERIC,
    DoesNotFit,
    Partial,
    Shape,
    Split,
    State,
    moved,
    reshaped,
    sequence_split,
)
from hardplace.workload.sharding.steps import Analysis, Earlier, Fewer, KeepWhole, Move, Step
from hardplace.workload.types import ITEM_BYTES, Group, Layer, Operator, OperatorKind, Phase, StorageRole, elements


class Walk:
    """One pass; rules: what each kind of operator does, given the walk and the operator."""

    def __init__(
        self,
        layer: Layer,
        group: Group,
        parts: int,
        sequence: bool,
        decided: tuple[frozenset[int], dict[int, int], set[int]],
        rules: Mapping[OperatorKind, Callable[[Walk, Operator], None]],
    ) -> None:
        self.rules = rules
        self.layer, self.group, self.parts, self.sequence = layer, group, parts, sequence
        self.whole, self.fewer, self.early = decided
        self.made_of: dict[int, tuple[int, int]] = {}  # what a view or copy was made of, and by which operator
        self.shapes: list[Shape] = [tuple(size.at(GENERIC) for size in one.shape) for one in layer.tensors]
        self.sizes = [elements(one.shape, GENERIC) for one in layer.tensors]
        self.states: dict[int, State] = {}
        self.open: set[int] = set()  # parameters, and views of them, not yet cut or kept whole
        self.views: dict[int, tuple[int, Operator]] = {}  # of open tensors
        self.of_storage: dict[int, list[int]] = {}
        for index, tensor in enumerate(layer.tensors):
            self.of_storage.setdefault(tensor.storage, []).append(index)
        self.tables: set[Shape] = set()  # shapes of tables cut by row
        self.in_products: set[int] = set()
        self.copies: dict[tuple[str, int], Phase] = {}  # what was gathered in a phase
        self.seen: set[int] = set()
        self.step = Step()
        self._enter()

    def _enter(self) -> None:
        # Written before it was read: a view of a view of a parameter may be the parameter again.
        made: set[int] = set()
        seen: set[int] = set()
        for operator in self.layer.operators:
            seen |= set(operator.reads)
            made |= set(operator.writes) - seen
        splits = self.sequence or self.group is Group.CONTEXT
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
        """Walk over all operators."""
        steps: list[Step] = []
        after: list[Move] | None = None
        for number, operator in enumerate(self.layer.operators):
            if operator.phase is not Phase.FORWARD and after is None:
                after = self._hand_on()
            self.step = Step()
            if operator.kind is not OperatorKind.OPTIMIZER:
                self.operator, self.phase = operator, operator.phase
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
        self.rules[operator.kind](self, operator)

    def _note_copy(self, number: int, operator: Operator) -> None:
        copies = operator.kind is OperatorKind.VIEW or operator.name in ("_to_copy", "clone")
        if copies and len(operator.reads) == 1:
            new = [index for index in operator.writes if index not in self.seen and index != operator.reads[0]]
            self.made_of.update(dict.fromkeys(new, (operator.reads[0], number)))

    def bytes_of(self, index: int) -> int:
        """Return the bytes of a tensor, whole."""
        return self.sizes[index] * ITEM_BYTES[self.layer.tensors[index].dtype]

    def _check_earlier(self, index: int) -> None:
        """Raise Earlier if what a tensor was copied from is smaller, and is split as well."""
        least, place, now = self.bytes_of(index), None, index
        while now in self.made_of:
            now, number = self.made_of[now]
            state = self.states.get(now)
            inside = self.layer.operators[number].phase is self.operator.phase
            if not inside or not isinstance(state, Split) or state.origin:
                break
            if self.bytes_of(now) < least:
                least, place = self.bytes_of(now), number
        if place is not None:
            raise Earlier(place)

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

    def used(self, index: int) -> State:
        """Return the state in which the current operator reads a tensor."""
        for move in reversed(self.step.moves):
            if move.tensor == index:
                return move.target
        return self.states.get(index)

    def resolved(self, index: int) -> State:
        """Return what partial sums become: whole, or split by sequence."""
        state = self.states.get(index)
        if isinstance(state, Partial) and state.onto is not None:
            return state.onto
        return sequence_split(self.shapes[index], self.parts) if self._scatters() else None

    def _scatters(self) -> bool:
        return self.sequence or self.group is Group.CONTEXT

    def need(self, index: int, target: State) -> None:
        """Let the current operator read a tensor in another state."""
        self.move(self.step.moves, index, self.used(index), target)

    def move(self, moves: list[Move], index: int, source: State, target: State) -> None:
        """Bring a tensor from one state into another, by a collective if it takes one."""
        if source == target:
            return
        if isinstance(source, Partial):
            self._reduce(moves, index, target)
            return
        if isinstance(source, Split) and isinstance(target, Split):
            if (source.axis, source.before) == (target.axis, target.before) and target.parts % source.parts == 0:
                moves.append(Move(index, source, target, "", False))
                return
            self.move(moves, index, source, None)
            source = None
        if source is None:
            moves.append(Move(index, source, target, "", False))
            return
        assert isinstance(source, Split)
        if source.origin:
            raise KeepWhole(source.origin)
        # What was gathered in this phase is still there, also as another view of the same memory.
        tensor = self.layer.tensors[index]
        spans = self.sizes[index] * ITEM_BYTES[tensor.dtype] == self.layer.storages[tensor.storage].bytes.at(GENERIC)
        place = ("storage", tensor.storage) if spans else ("tensor", index)
        known = self.copies.get(place) is self.operator.phase
        if not known:
            self._check_earlier(index)
        moves.append(Move(index, source, target, "" if known else "all_gather", False))
        self.copies[place] = self.operator.phase

    def _reduce(self, moves: list[Move], index: int, target: State) -> None:
        """Add up partial sums, for this operator and all that follow."""
        state = self.resolved(index)
        name = "all_reduce" if state is None else "reduce_scatter"
        moves.append(Move(index, self.states[index], state, name, True))
        others = [one for one in self.of_storage[self.layer.tensors[index].storage] if one != index]
        for other in others:
            if isinstance(self.states.get(other), Partial):
                self.states[other] = self.resolved(other)
        self.states[index] = state
        if state != target:
            self.move(moves, index, state, target)

    def _hand_on(self) -> list[Move]:
        """Return the moves that bring what the forward pass hands on into the state of a boundary."""
        moves: list[Move] = []
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
                if isinstance(state, Partial):
                    self._reduce(moves, index, self.resolved(index))
        return moves

    def _finish(self) -> list[Move]:
        """Return the moves after the last operator: partial sums that leave the layer, gradients of parameters."""
        moves: list[Move] = []
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
            if isinstance(state, Partial) and (gradient or storage not in read) and self.sizes[index] > 1:
                target = None if gradient else self.resolved(index)
                moves.append(Move(index, state, target, "reduce_scatter" if target else "all_reduce", True))
                done.add(storage)
            elif gradient and isinstance(state, Split) and state.origin and state.parts < self.parts:
                # Ranks that hold copies of key/value heads each have a part of the gradient.
                moves.append(Move(index, Partial(), state, "all_reduce", True))
                done.add(storage)
        return moves

    def parameter(self, index: int) -> int:
        """Return the storage of a parameter."""
        return self.layer.tensors[index].storage

    def may_cut(self, index: int) -> bool:
        """Return whether a parameter may be cut by this group."""
        return self.group is Group.TENSOR and self.parameter(index) not in self.whole

    def cuts_into(self, index: int) -> int:
        """Return the parts that a parameter is cut into."""
        return self.fewer.get(self.parameter(index), self.parts)

    def decide(self, index: int, state: State) -> None:
        """Cut an open parameter, or keep it whole, by the state that one of its views shall have."""
        chain = [index]
        while chain[-1] in self.views:
            chain.append(self.views[chain[-1]][0])
        found = state
        for view, origin in pairwise(chain):
            self.states[view] = found
            found = self._before_view(found, self.views[view][1], origin, view)
        self.states[chain[-1]] = found
        storage = self.parameter(index)
        for other in self.of_storage[storage]:
            if other in self.open:
                self.open.discard(other)
                if other not in chain:
                    self._again(other, chain[-1], found)

    def _again(self, view: int, origin: int, state: State) -> None:
        """Give another view of a parameter, made before it was cut, its state."""
        if view in self.views and isinstance(state, Split):
            self.states[view] = self._through(state, self.views[view][1], self.shapes[origin], self.shapes[view])
        else:
            self.states[view] = state if self.shapes[view] == self.shapes[origin] else None

    def _before_view(self, state: State, view: Operator, origin: int, result: int) -> State:
        if not isinstance(state, Split):
            return state
        if view.name == "permute":
            return moved(state, view.axes[state.axis])
        if view.name in ("reshape", "alias"):
            return reshaped(state, self.shapes[result], self.shapes[origin])
        raise KeepWhole([self.parameter(result)])

    def settle(self, *indices: int) -> None:
        """Keep open parameters among these whole."""
        for index in indices:
            if index in self.open:
                self.decide(index, None)

    def _blame(self, split: Split, size: int) -> None:
        """Say what must change so that a split goes on."""
        if not split.origin:
            raise AssertionError(f"{self.layer.name}: {self.operator.name}: a split by sequence cannot go on")
        if len(split.origin) == 1 and 1 < size < split.parts and split.parts % size == 0:
            raise Fewer(next(iter(split.origin)), size)
        raise KeepWhole(split.origin)

    def view(self, operator: Operator) -> None:
        """What a view does to a split; views of open parameters stay open."""
        origin = operator.reads[0]
        if origin in self.open:
            for index in operator.writes:
                if index not in self.open:
                    self.open.add(index)
                    self.views[index] = (origin, operator)
            return
        state = self.used(origin)
        for index in operator.writes:
            if isinstance(state, Split):
                try:
                    self.states[index] = self._through(state, operator, self.shapes[origin], self.shapes[index])
                except DoesNotFit as problem:
                    if problem.split.origin:
                        raise
                    self.need(origin, None)
                    self.states[index] = None
            elif isinstance(state, Partial) and state.onto is not None:
                onto = self._through(state.onto, operator, self.shapes[origin], self.shapes[index])
                self.states[index] = Partial(state.routed, onto)
            elif index != origin:
                self.states[index] = state

    def _through(self, split: Split, operator: Operator, old: Shape, new: Shape) -> Split:
        """Return a split after a view."""
        name, axes = operator.name, operator.axes
        if name == "alias":
            return split
        if name == "permute":
            return moved(split, axes.index(split.axis))
        if name == "reshape":
            return reshaped(split, old, new)
        if name == "expand":
            return moved(split, split.axis + len(new) - len(old))
        if name in ("select", "unbind"):
            if axes[0] == split.axis:
                raise DoesNotFit(split, 1)
            return moved(split, split.axis - (axes[0] < split.axis))
        if name in ("slice", "split"):
            # A part of a fused parameter is cut as the whole is (its rows interleave); a shift of the sequence too.
            if new[split.axis] % split.parts and split.origin:
                raise DoesNotFit(split, new[split.axis])
            return split
        raise DoesNotFit(split, 1)
