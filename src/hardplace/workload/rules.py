"""Sharding rules: how each tensor of a recorded layer lies on the ranks of one group, and what moves for it.

docs/model.md, "Parallel versions". Splits enter at parameters (tensor parallel: a linear of a whole input is cut by
output features, of a cut input by input features) or at the layer's inputs (sequence and context parallel), and go
on from operator to operator. Partial sums are added up as late as they can be: where something other than a sum
reads them. Where a split cannot go on, the parameter that caused it stays whole, and the layer starts again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from hardplace.workload.splits import (
    GENERIC,
    DoesNotFit,
    Partial,
    Sent,
    Shape,
    Split,
    State,
    moved,
    reshaped,
    sequence_split,
)
from hardplace.workload.types import ITEM_BYTES, Group, Layer, Operator, OperatorKind, Phase, StorageRole, elements

_VOCABULARY = 8192  # rows from which a table is cut by row, and outputs that may be padded up to a multiple
_JOINS = ("add", "sub")


@dataclass(frozen=True, slots=True)
class Move:
    """A tensor on its way from one state to another before an operator; stays: for all that follows as well."""

    tensor: int
    source: State
    target: State
    collective: str  # "" for a slice of what is there
    stays: bool


@dataclass(slots=True)
class Step:
    """What one group does at one operator: moves before it, states of what it reads and writes, added collectives.

    added: all-reduces of (rows,) 4-byte numbers within the operator (loss over a cut vocabulary). masked: looks up
    only its own rows. bias_after: the bias is added once the partial sums are added up.
    """

    moves: list[Move] = field(default_factory=list)
    reads: tuple[State, ...] = ()
    writes: tuple[State, ...] = ()
    added: list[int] = field(default_factory=list)
    masked: bool = False
    bias_after: bool = False


class _KeepWhole(Exception):
    """These parameters cannot be cut."""

    def __init__(self, parameters: Iterable[int]) -> None:
        self.parameters = frozenset(parameters)


class _Fewer(Exception):
    """A parameter can be cut into fewer parts only, with copies (key/value heads)."""

    def __init__(self, parameter: int, parts: int) -> None:
        self.parameter, self.parts = parameter, parts


class _Earlier(Exception):
    """A tensor is gathered before this operator copies or widens it, which takes fewer bytes."""

    def __init__(self, number: int) -> None:
        self.number = number


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """Steps of all operators of a layer for one group, the moves at the end of the forward pass and of the layer.

    whole: parameters (storages) of matrix products that stay whole although the group is larger than one.
    """

    group: Group
    parts: int
    steps: tuple[Step, ...]
    after_forward: tuple[Move, ...]
    at_end: tuple[Move, ...]
    parameters: dict[int, State]
    whole: frozenset[int]


def analyse(layer: Layer, group: Group, parts: int, *, sequence: bool = False) -> Analysis:
    """Return what one group of `parts` ranks does to a layer. sequence: Megatron's, with tensor parallelism."""
    whole: frozenset[int] = frozenset()
    fewer: dict[int, int] = {}
    early: set[int] = set()
    while True:
        try:
            walk = _Experts if group is Group.EXPERT else _Walk
            return walk(layer, group, parts, sequence, (whole, fewer, early)).run()
        except _KeepWhole as cause:
            if cause.parameters <= whole:
                raise AssertionError(f"{layer.name}: {sorted(whole)} are whole already") from None
            whole |= cause.parameters
        except _Fewer as cause:
            fewer[cause.parameter] = cause.parts
        except _Earlier as cause:
            if cause.number in early:
                raise AssertionError(f"{layer.name}: operator {cause.number} is early already") from None
            early.add(cause.number)


class _Walk:
    """One pass over a layer's operators."""

    def __init__(
        self,
        layer: Layer,
        group: Group,
        parts: int,
        sequence: bool,
        decided: tuple[frozenset[int], dict[int, int], set[int]],
    ) -> None:
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

    # What lies where before the first operator

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
            self.step.reads = tuple(self._used(index) for index in operator.reads)
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
        getattr(self, _RULES[operator.kind])(operator)

    def _note_copy(self, number: int, operator: Operator) -> None:
        copies = operator.kind is OperatorKind.VIEW or operator.name in ("_to_copy", "clone")
        if copies and len(operator.reads) == 1:
            new = [index for index in operator.writes if index not in self.seen and index != operator.reads[0]]
            self.made_of.update(dict.fromkeys(new, (operator.reads[0], number)))

    def _bytes(self, index: int) -> int:
        return self.sizes[index] * ITEM_BYTES[self.layer.tensors[index].dtype]

    def _check_earlier(self, index: int) -> None:
        """Raise _Earlier if what a tensor was copied from is smaller, and is split as well."""
        least, place, now = self._bytes(index), None, index
        while now in self.made_of:
            now, number = self.made_of[now]
            state = self.states.get(now)
            inside = self.layer.operators[number].phase is self.operator.phase
            if not inside or not isinstance(state, Split) or state.origin:
                break
            if self._bytes(now) < least:
                least, place = self._bytes(now), number
        if place is not None:
            raise _Earlier(place)

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

    def _used(self, index: int) -> State:
        """Return the state in which the current operator reads a tensor."""
        for move in reversed(self.step.moves):
            if move.tensor == index:
                return move.target
        return self.states.get(index)

    # Moves

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
        self.move(self.step.moves, index, self._used(index), target)

    def move(self, moves: list[Move], index: int, source: State, target: State) -> None:
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
            raise _KeepWhole(source.origin)
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
                    raise _KeepWhole(state.origin)
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

    # Parameters

    def parameter(self, index: int) -> int:
        return self.layer.tensors[index].storage

    def may_cut(self, index: int) -> bool:
        return self.group is Group.TENSOR and self.parameter(index) not in self.whole

    def cuts_into(self, index: int) -> int:
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
        raise _KeepWhole([self.parameter(result)])

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
            raise _Fewer(next(iter(split.origin)), size)
        raise _KeepWhole(split.origin)

    # Views

    def view(self, operator: Operator) -> None:
        origin = operator.reads[0]
        if origin in self.open:
            for index in operator.writes:
                if index not in self.open:
                    self.open.add(index)
                    self.views[index] = (origin, operator)
            return
        state = self._used(origin)
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

    # Element by element

    def pointwise(self, operator: Operator) -> None:
        if not operator.writes:
            return
        shape = self.shapes[operator.writes[0]]
        reads = [index for index in dict.fromkeys(operator.reads) if self.sizes[index] > 1]
        if self._carried(operator, reads):
            return
        for index in reads:
            if isinstance(self._used(index), Partial):
                self.need(index, self.resolved(index))
        target = self._common(reads, len(shape))
        if target is None:
            self.settle(*reads)
        else:
            self._align(reads, target, shape)
        for index in operator.writes:
            rank = len(self.shapes[index])
            inside = target is not None and self.sizes[index] > 1
            self.states[index] = moved(target, target.axis + rank - len(shape)) if inside and target else None

    def _carried(self, operator: Operator, reads: list[int]) -> bool:
        """Leave partial sums as they are where the operator is linear in them."""
        partial = [index for index in reads if isinstance(self._used(index), Partial)]
        if not partial:
            return False
        states = [self._used(index) for index in partial]
        routed = all(isinstance(state, Partial) and state.routed for state in states)
        # Gradients of one tensor are added up one by one: what is whole counts on one rank, so one sum is enough.
        backward = operator.phase is Phase.BACKWARD and operator.name == "add" and not self.open & set(reads)
        sums = operator.name in _JOINS and (len(partial) == len(reads) or backward)
        scaled = routed and len(partial) == 1 and operator.name in ("mul", "div", "masked_fill")
        scaled |= len(reads) == 1 and operator.name in ("_to_copy", "clone") and self._no_wider(operator)
        if not sums and not scaled:
            return False
        split = [state for state in map(self._used, reads) if isinstance(state, Split)]
        if any(state.origin for state in split) or (split and not sums):
            return False
        self.settle(*reads)
        onto = next((state.onto for state in states if isinstance(state, Partial)), None)
        for index in operator.writes:
            self.states[index] = Partial(routed, onto)
        return True

    def _no_wider(self, operator: Operator) -> bool:
        """Return whether a copy has no more bytes an element than what it copies."""
        old, new = (ITEM_BYTES[self.layer.tensors[one[0]].dtype] for one in (operator.reads, operator.writes))
        return new <= old

    def _common(self, reads: list[int], rank: int) -> Split | None:
        """Return the split of the result: that of the inputs, the finest where they differ in parts only."""
        found: list[tuple[int, Split]] = []
        for index in reads:
            state = self._used(index)
            if isinstance(state, Split):
                found.append((self.sizes[index], moved(state, state.axis + rank - len(self.shapes[index]))))
        if not found:
            return None
        places = {(split.axis, split.before) for _, split in found}
        if len(places) > 1:
            # Features before sequence: what is split by sequence can be gathered.
            found = [max(found, key=lambda one: (bool(one[1].origin), one[0]))]
        best = max((split for _, split in found), key=lambda split: split.parts)
        origin = frozenset().union(*(split.origin for _, split in found))
        return Split(best.axis, best.parts, best.before, origin)

    def _align(self, reads: list[int], target: Split, shape: Shape) -> None:
        """Bring all that an operator reads into the split of its result."""
        for index in reads:
            axis = target.axis + len(self.shapes[index]) - len(shape)
            spans = axis >= 0 and self.shapes[index][axis] != 1
            mine = moved(target, axis) if spans else None
            if index in self.open:
                cut = (
                    mine
                    if target.origin and self.may_cut(index) and self.shapes[index][axis] % target.parts == 0
                    else None
                )
                self.decide(index, cut)
            state = self._used(index)
            if isinstance(state, Split) and (mine is None or (state.axis, state.before) != (mine.axis, mine.before)):
                self.need(index, None)
            self.need(index, mine)

    # Matrix products

    def matmul(self, operator: Operator) -> None:
        left, right = operator.reads[-2:]
        bias = operator.reads[0] if operator.name.startswith("add") or operator.name == "baddbmm" else None
        for index in (left, right):
            if isinstance(self._used(index), Partial):
                self.need(index, self.resolved(index))
        self._note(left, right)
        if len(self.shapes[left]) < 2 or len(self.shapes[right]) < 2:
            self.alone(operator)
            return
        if right in self.open and left not in self.open:
            self._cut_weight(left, right)
        self.settle(left, right)
        state = self._product(left, right)
        self.states[operator.writes[0]] = state
        if bias is not None:
            self._bias(bias, state, self.shapes[operator.writes[0]])

    def _note(self, *operands: int) -> None:
        self.in_products |= {self.parameter(index) for index in operands if index in self.open}

    def _cut_weight(self, left: int, right: int) -> None:
        """Cut a weight by output features, or by input features where its input is cut so."""
        state, rank = self._used(left), len(self.shapes[right])
        inner = len(self.shapes[left]) - 1
        rows, width = self.shapes[right][-2:]
        logits = width >= max(_VOCABULARY, 3 * rows)
        if isinstance(state, Split) and state.axis == inner:
            if logits and state.origin and self.may_cut(right):
                raise _KeepWhole(state.origin)  # rather than to add up logits
            cut = self.may_cut(right) and state.before == 1
            self.decide(right, Split(rank - 2, state.parts, 1, frozenset([self.parameter(right)])) if cut else None)
            return
        parts = self.cuts_into(right)
        if self.may_cut(right) and (width % parts == 0 or logits):
            self.decide(right, Split(rank - 1, parts, 1, frozenset([self.parameter(right)])))
        else:
            self.decide(right, None)

    def _product(self, left: int, right: int) -> State:
        """Return the state of a product of two operands whose states are known, after the moves that it takes."""
        places = {"left": ("m", "k"), "right": ("k", "n")}

        def place(index: int, side: str) -> str:
            state, rank = self._used(index), len(self.shapes[index])
            if not isinstance(state, Split):
                return ""
            return places[side][state.axis - rank + 2] if state.axis >= rank - 2 else "batch"

        one, other = place(left, "left"), place(right, "right")
        if one and other and (one, other) not in (("k", "k"), ("batch", "batch")):
            mine, theirs = self._used(left), self._used(right)
            assert isinstance(mine, Split)
            assert isinstance(theirs, Split)
            if mine.origin and theirs.origin:
                raise _KeepWhole(theirs.origin - self.whole or mine.origin)
            if theirs.origin:
                self.need(left, None)
            else:
                self.need(right, None)
            one, other = place(left, "left"), place(right, "right")
        if one in ("k", "batch") and not other:
            self._mirror(left, right, one)
            other = one
        elif other in ("k", "batch") and not one:
            self._mirror(right, left, other)
            one = other
        mine, theirs = self._used(left), self._used(right)
        if one == other and isinstance(mine, Split) and isinstance(theirs, Split) and mine.parts != theirs.parts:
            parts = max(mine.parts, theirs.parts)
            self.need(left, Split(mine.axis, parts, mine.before, mine.origin))
            self.need(right, Split(theirs.axis, parts, theirs.before, theirs.origin))
        mine, theirs = self._used(left), self._used(right)
        if one == "k":
            return Partial()
        if one in ("m", "batch"):
            assert isinstance(mine, Split)
            origin = mine.origin | (theirs.origin if isinstance(theirs, Split) else frozenset())
            return Split(mine.axis, mine.parts, mine.before, origin)
        return theirs if other == "n" else None

    def _mirror(self, split: int, whole: int, place: str) -> None:
        """Cut the other operand of a product as this one is cut."""
        state = self._used(split)
        assert isinstance(state, Split)
        rank = len(self.shapes[whole])
        last = state.axis == len(self.shapes[split]) - 1
        axis = state.axis if place == "batch" else rank - 2 if last else rank - 1
        self.need(whole, Split(axis, state.parts, state.before, state.origin))

    def _bias(self, bias: int, state: State, shape: Shape) -> None:
        if isinstance(state, Partial):
            self.settle(bias)
            self.step.bias_after = True
        elif isinstance(state, Split) and state.axis == len(shape) - 1:
            mine = moved(state, len(self.shapes[bias]) - 1)
            if bias in self.open:
                self.decide(bias, mine)
            self.need(bias, mine)
        else:
            self.settle(bias)

    def grouped(self, operator: Operator) -> None:
        left, right = operator.reads[:2]
        for index in (left, right):
            if isinstance(self._used(index), Partial):
                self.need(index, None)
        self._note(left, right)
        if right in self.open:
            state = self._used(left)
            if isinstance(state, Split) and state.axis == 0 and self.may_cut(right):
                self.need(left, None)
            self._cut_weight(left, right)
        self.settle(left, right)
        if len(self.shapes[right]) == 3:
            result = self._product(left, right)
            if isinstance(result, Split) and result.axis == 2:
                result = moved(result, 1)
        else:
            result = self._outer(left, right)
        self.states[operator.writes[0]] = Partial(routed=True) if isinstance(result, Partial) else result

    def _outer(self, left: int, right: int) -> State:
        """Return the state of the gradient of grouped weights: (groups, rows of the left, columns of the right)."""
        mine, theirs = self._used(left), self._used(right)
        if isinstance(mine, Split) and isinstance(theirs, Split):
            if (mine.axis, theirs.axis) == (1, 0):
                return Partial()
            self.need(right, None)
            theirs = None
        if isinstance(mine, Split):
            return Partial() if mine.axis == 1 else moved(mine, 1)
        if isinstance(theirs, Split):
            return Partial() if theirs.axis == 0 else moved(theirs, 2)
        return None

    def attention(self, operator: Operator) -> None:
        backward = operator.phase is Phase.BACKWARD
        query, key, value = operator.reads[backward : backward + 3]
        for index in operator.reads:
            if isinstance(self._used(index), Partial):
                self.need(index, self.resolved(index))
        self.settle(*operator.reads)
        state = self._used(query)
        if isinstance(state, Split) and state.axis == 3:
            raise DoesNotFit(state, 1)
        if not isinstance(state, Split):
            for index in operator.reads:
                self.need(index, None)
        by_sequence = isinstance(state, Split) and state.axis == 2
        for index in (key, value):
            if by_sequence:
                self.need(index, None)
        for index in operator.reads:
            if isinstance(state, Split) and index not in (query, key, value) and len(self.shapes[index]) >= 3:
                spans = self.shapes[index][state.axis] != 1
                self.need(index, moved(state, state.axis) if spans else None)
        writes = operator.writes
        for index in writes[:1] if backward else writes:
            self.states[index] = state
        for index, of in zip(writes[1:], (key, value), strict=False) if backward else ():
            alike = isinstance(self._used(of), Split) or state is None
            # By heads, a whole key has a gradient from each rank's queries; by sequence, a gathered one.
            onto = Split(2, state.parts) if isinstance(state, Split) and by_sequence else None
            self.states[index] = self._used(of) if alike else Partial(onto=onto)
        for index in writes[3:] if backward else ():
            self.states[index] = state

    def convolution(self, operator: Operator) -> None:
        """Cut a convolution by channels: of its output where the input is whole, of its input where that is cut."""
        for index in operator.reads:
            state = self._used(index)
            if isinstance(state, Partial):
                self.need(index, self.resolved(index))
            elif isinstance(state, Split) and not state.origin:
                self.need(index, None)
        if operator.name != "convolution" and operator.name != "convolution_backward":
            self.alone(operator)
            return
        groups = operator.dims[3].constant
        if operator.phase is Phase.FORWARD:
            self._convolve(operator, groups)
            return
        gradient, other = operator.reads
        mine, theirs = self._used(gradient), self._used(other)
        if operator.gradient.value == "dgrad":
            # other: the weight (out, in / groups, ...).
            if isinstance(theirs, Split) and theirs.axis == 0:
                self.need(gradient, Split(1, theirs.parts, 1, theirs.origin))
                self.states[operator.writes[0]] = Partial() if groups == 1 else Split(1, theirs.parts, 1, theirs.origin)
            elif isinstance(theirs, Split):
                self.need(gradient, None)
                self.states[operator.writes[0]] = Split(1, theirs.parts, 1, theirs.origin)
            else:
                self.need(gradient, None)
                self.states[operator.writes[0]] = None
            return
        cut_out = isinstance(mine, Split)
        cut_in = isinstance(theirs, Split)
        if cut_out and cut_in and groups == 1:
            raise _KeepWhole(mine.origin)  # type: ignore[union-attr]
        if cut_out:
            self.states[operator.writes[0]] = moved(mine, 0)  # type: ignore[arg-type]
        elif cut_in:
            self.states[operator.writes[0]] = moved(theirs, 1 if groups == 1 else 0)  # type: ignore[arg-type]
        else:
            self.states[operator.writes[0]] = None

    def _convolve(self, operator: Operator, groups: int) -> None:
        given, weight, *bias = operator.reads
        state = self._used(given)
        origin = frozenset([self.parameter(weight)])
        self._note(weight)
        result: State = None
        if weight in self.open:
            outs, ins = self.shapes[weight][:2]
            able = self.may_cut(weight)
            if isinstance(state, Split) and groups > 1:
                if not able or groups % state.parts:
                    raise _KeepWhole(state.origin)
                self.decide(weight, Split(0, state.parts, 1, origin))
                result = Split(1, state.parts, 1, origin | state.origin)
            elif isinstance(state, Split):
                if not able:
                    raise _KeepWhole(state.origin)
                self.decide(weight, Split(1, state.parts, 1, origin))
                result = Partial()
            elif able and groups == 1 and outs % self.parts == 0 and ins * groups > 0:
                self.decide(weight, Split(0, self.parts, 1, origin))
                result = Split(1, self.parts, 1, origin)
            else:
                self.decide(weight, None)
        elif isinstance(state, Split):
            raise _KeepWhole(state.origin)
        self.states[operator.writes[0]] = result
        for one in bias:
            if isinstance(result, Partial):
                self.settle(one)
                self.step.bias_after = True
            elif isinstance(result, Split):
                if one in self.open:
                    self.decide(one, moved(result, 0))
            else:
                self.settle(one)

    # Along axes

    def normalisation(self, operator: Operator) -> None:
        batch = "batch_norm" in operator.name
        axes = (
            tuple(axis for axis in range(len(self.shapes[operator.reads[0]])) if axis != 1) if batch else operator.axes
        )
        full = [
            index for index in dict.fromkeys(operator.reads) if self.shapes[index] == self.shapes[operator.reads[0]]
        ]
        for index in full:
            if isinstance(self._used(index), Partial):
                self.need(index, self.resolved(index))
        target = self._common(full, len(self.shapes[full[0]]))
        if target is not None and (target.axis in axes or not axes):
            if target.origin:
                raise _KeepWhole(target.origin)
            target = None
        for index in full:
            self.need(index, target)
        small = [index for index in dict.fromkeys(operator.reads) if index not in full]
        for index in small:
            if batch and target is not None and len(self.shapes[index]) == 1:
                if index in self.open:
                    self.decide(index, moved(target, 0))
                self.need(index, moved(target, 0))
            else:
                self.settle(index)
                if isinstance(self._used(index), Split) and target is None:
                    self.need(index, None)
        for index in operator.writes:
            self.states[index] = self._normalised(index, full[0], target, batch)

    def _normalised(self, index: int, given: int, target: Split | None, batch: bool) -> State:
        if target is None:
            return None
        if len(self.shapes[index]) == len(self.shapes[given]):
            return target
        if batch:
            return moved(target, 0) if self.shapes[index] else None
        return Partial()  # gradients of weight and bias

    def softmax(self, operator: Operator) -> None:
        for index in operator.reads:
            if isinstance(self._used(index), Partial):
                self.need(index, self.resolved(index))
        target = self._common(list(operator.reads), len(self.shapes[operator.reads[0]]))
        if target is not None and target.axis in operator.axes:
            if operator.name not in ("_log_softmax", "_log_softmax_backward_data"):
                raise DoesNotFit(target, 1)
            if operator.phase is Phase.FORWARD:
                self.step.added = [operator.reads[0]] * 2  # the largest, and the sum of exponentials
        self.settle(*operator.reads)
        for index in operator.reads:
            self.need(index, target)
        for index in operator.writes:
            self.states[index] = target

    def cross_entropy(self, operator: Operator) -> None:
        if not operator.name.startswith("nll_loss"):
            if operator.writes and self.sizes[operator.writes[0]] > 1:
                self.pointwise(operator)
            else:
                self.alone(operator)
            return
        values = operator.reads[operator.phase is Phase.BACKWARD]
        state = self._used(values)
        by_class = isinstance(state, Split) and state.axis == 1
        for index in operator.reads:
            if index != values and self.sizes[index] > 1:
                split = moved(state, 0) if isinstance(state, Split) and not by_class else None
                self.need(index, split)
        if operator.phase is Phase.BACKWARD:
            self.states[operator.writes[0]] = state
            return
        if by_class:
            self.step.added = [values]  # the target's logarithm
        for index in operator.writes:
            self.states[index] = Partial() if isinstance(state, Split) and not by_class else None

    def reduction(self, operator: Operator) -> None:
        given = operator.reads[0]
        state = self._used(given)
        if isinstance(state, Partial) and state.routed and operator.name == "sum":
            # Once the experts' results of a token are added up, it is back; a sum over its width is still routed.
            width = operator.axes == (len(self.shapes[given]) - 1,)
            for index in operator.writes:
                self.states[index] = Partial(routed=width)
            return
        if isinstance(state, Partial):
            self.need(given, self.resolved(given))
            state = self._used(given)
        if "pool" in operator.name:
            if isinstance(state, Split) and state.axis == 1:
                self.pointwise_like(operator, state)
            else:
                self.alone(operator)
            return
        self.settle(*operator.reads)
        if not isinstance(state, Split):
            self.alone(operator)
            return
        inside = state.axis in operator.axes
        if inside and (operator.name not in ("sum", "mean") or (state.origin and operator.phase is Phase.FORWARD)):
            if state.origin:
                raise _KeepWhole(state.origin)
            self.alone(operator)
            return
        for index in operator.writes:
            kept = len(self.shapes[index]) == len(self.shapes[given])
            axis = state.axis if kept else state.axis - sum(axis < state.axis for axis in operator.axes)
            self.states[index] = Partial() if inside else moved(state, axis)

    def pointwise_like(self, operator: Operator, state: Split) -> None:
        """Let all of the input's rank that an operator reads and writes be split as its input is."""
        rank = len(self.shapes[operator.reads[0]])
        for index in operator.reads:
            if len(self.shapes[index]) == rank:
                self.need(index, state)
        for index in operator.writes:
            self.states[index] = state if len(self.shapes[index]) == rank else None

    def embedding(self, operator: Operator) -> None:
        if operator.name not in ("embedding", "embedding_dense_backward"):
            self.alone(operator)
            return
        one, tokens = operator.reads[:2]
        if operator.name == "embedding_dense_backward":
            self._embedding_gradient(operator, one, tokens)
            return
        shape = self.shapes[one]
        if one in self.open and self.may_cut(one) and shape[0] >= _VOCABULARY:
            self.decide(one, Split(0, self.cuts_into(one), 1, frozenset([self.parameter(one)])))
            self.tables.add(shape)
        self.settle(one)
        state = self._used(one)
        if isinstance(state, Split) and state.axis == 0:
            self.need(tokens, None)
            self.step.masked = True
            self.states[operator.writes[0]] = Partial()
            return
        self.states[operator.writes[0]] = self._used(tokens)

    def _embedding_gradient(self, operator: Operator, gradient: int, tokens: int) -> None:
        result = operator.writes[0]
        if isinstance(self._used(gradient), Partial):
            self.need(gradient, self.resolved(gradient))
        if self.shapes[result] in self.tables:
            self.need(gradient, None)
            self.need(tokens, None)
            self.step.masked = True
            self.states[result] = Split(0, self.parts)
            return
        state = self._used(gradient)
        if isinstance(state, Split) and state.axis < len(self.shapes[tokens]):
            self.need(tokens, moved(state, state.axis))
            self.states[result] = Partial()
        elif isinstance(state, Split):
            self.states[result] = moved(state, 1)
        else:
            self.need(tokens, None)
            self.states[result] = None

    def gather(self, operator: Operator) -> None:
        given = operator.reads[0]
        state = self._used(given)
        values = operator.reads[-1]
        if operator.name not in ("gather", "scatter", "scatter_add") and self._local(operator):
            return
        if operator.name in ("index_put", "_index_put_impl", "_unsafe_index_put", "index_add"):
            moving = self._used(values)
            if isinstance(moving, Partial) and moving.routed:
                self.states[operator.writes[0]] = Partial()
                return
            self.alone(operator)
            return
        if operator.name == "index" and operator.axes == (0,) and len(operator.reads) == 2:
            if isinstance(state, Partial) and state.routed:
                self.states[operator.writes[0]] = state
                return
            if isinstance(state, Split) and state.axis > 0:
                self.states[operator.writes[0]] = moved(state, state.axis - 1 + len(self.shapes[values]))
                self.need(values, None)
                return
            if state is None and isinstance(self._used(values), Split):
                self.settle(given)
                self.states[operator.writes[0]] = self._used(values)
                return
        if operator.name in ("gather", "scatter", "scatter_add") and not isinstance(state, Partial):
            states = [self._used(index) for index in operator.reads]
            if not any(isinstance(one, Split) and one.axis in operator.axes for one in states):
                self.pointwise(operator)
                return
        self.alone(operator)

    def _local(self, operator: Operator) -> bool:
        """Let each rank of a context-parallel group route and permute its own tokens."""
        if self.group is not Group.CONTEXT:
            return False
        found = [state for state in map(self._used, operator.reads) if isinstance(state, Split)]
        if not found or any(state.axis != 0 or state.origin for state in found):
            return False
        self.settle(*operator.reads)
        rows = {self.shapes[index][0] for index in operator.reads if isinstance(self._used(index), Split)}
        for index in operator.writes:
            shape = self.shapes[index]
            tokens = bool(shape) and (shape[0] in rows or shape[0] % GENERIC == 0)
            self.states[index] = moved(found[0], 0) if tokens else None
        return True

    def routing(self, operator: Operator) -> None:
        if self._local(operator):
            return
        state = self._used(operator.reads[0]) if operator.reads else None
        if isinstance(state, Split) and operator.axes and state.axis not in operator.axes and operator.name != "histc":
            self.pointwise_like(operator, state)
        else:
            self.alone(operator)

    def copy(self, operator: Operator) -> None:
        name = operator.name
        if name in ("cat", "stack") and operator.reads:
            self._joined(operator)
        elif name in ("slice_backward", "select_backward"):
            given, result = operator.reads[0], operator.writes[0]
            state = self._used(given)
            if isinstance(state, Split) and name == "select_backward":
                state = moved(state, state.axis + (operator.axes[0] <= state.axis))
            self.states[result] = state
        elif name == "constant_pad_nd" and operator.reads:
            self.states[operator.writes[0]] = None
            state = self._used(operator.reads[0])
            if isinstance(state, Partial):
                self.need(operator.reads[0], self.resolved(operator.reads[0]))
            if isinstance(self._used(operator.reads[0]), Split):
                self.states[operator.writes[0]] = self._used(operator.reads[0])
        elif name.startswith("upsample") and isinstance(self._used(operator.reads[0]), Split):
            self.pointwise_like(operator, self._used(operator.reads[0]))  # type: ignore[arg-type]
        elif name in ("repeat", "flip", "roll", "slice_scatter", "select_scatter"):
            self.alone(operator)
        else:
            self.pointwise(operator)

    def _joined(self, operator: Operator) -> None:
        """Tensors one after the other along an axis."""
        reads = list(dict.fromkeys(operator.reads))
        states = [self._used(index) for index in reads]
        result, axis = operator.writes[0], operator.axes[0]
        if all(isinstance(state, Partial) for state in states):
            self.states[result] = states[0]
            return
        for index in reads:
            if isinstance(self._used(index), Partial):
                self.need(index, self.resolved(index))
        target = self._common(reads, len(self.shapes[reads[0]]))
        along = target is not None and operator.name == "cat" and target.axis == axis
        if along and not all(self._used(index) == target for index in reads):
            self.alone(operator)
            return
        if target is not None and not along:
            self._align(reads, target, self.shapes[reads[0]])
        self.settle(*reads)
        shift = operator.name == "stack" and target is not None and axis <= target.axis
        self.states[result] = moved(target, target.axis + shift) if target is not None else None

    def alone(self, operator: Operator) -> None:
        """Compute whole on every rank."""
        for index in dict.fromkeys(operator.reads):
            if index in self.open:
                self.decide(index, None)
            state = self._used(index)
            if isinstance(state, Partial):
                self.need(index, self.resolved(index))
            if isinstance(self._used(index), Split):
                self.need(index, None)
        for index in operator.writes:
            self.states[index] = None


class _Experts(_Walk):
    """Experts of grouped products cut by expert; tokens are sent to them and back."""

    def apply(self, operator: Operator) -> None:
        sent = [index for index in dict.fromkeys(operator.reads) if isinstance(self._used(index), Sent)]
        if not sent or operator.kind is OperatorKind.GROUPED_MATMUL:
            super().apply(operator)
            return
        rows = [index for index in operator.reads if self.sizes[index] > 1 and index not in self.open]
        follows = operator.kind in (OperatorKind.VIEW, OperatorKind.ELEMENTWISE, OperatorKind.COPY)
        if follows and all(index in sent for index in rows):
            self.settle(*operator.reads)
            self.states.update(dict.fromkeys(operator.writes, Sent()))
            return
        for index in sent:
            self.step.moves.append(Move(index, Sent(), None, "all_to_all", True))
            for other in self.of_storage[self.layer.tensors[index].storage]:
                if isinstance(self.states.get(other), Sent):
                    self.states[other] = None
        super().apply(operator)

    def grouped(self, operator: Operator) -> None:
        left, right = operator.reads[:2]
        if right in self.open:
            able = self.shapes[right][0] % self.parts == 0
            self.decide(right, Split(0, self.parts, 1, frozenset([self.parameter(right)])) if able else None)
        self.settle(left)
        weights = isinstance(self._used(right), Split)
        outer = len(self.shapes[right]) == 2 and any(isinstance(self._used(one), Sent) for one in (left, right))
        if weights or outer:
            self._send(left, *((right,) if outer else ()))
            self.states[operator.writes[0]] = Split(0, self.parts) if outer else Sent()
        else:
            self.states[operator.writes[0]] = None

    def _send(self, *indices: int) -> None:
        for index in indices:
            if not isinstance(self._used(index), Sent):
                self.step.moves.append(Move(index, self._used(index), Sent(), "all_to_all", True))
                for other in self.of_storage[self.layer.tensors[index].storage]:
                    self.states[other] = Sent()


_RULES = {
    OperatorKind.VIEW: "view",
    OperatorKind.MATMUL: "matmul",
    OperatorKind.GROUPED_MATMUL: "grouped",
    OperatorKind.ATTENTION: "attention",
    OperatorKind.CONVOLUTION: "convolution",
    OperatorKind.NORMALISATION: "normalisation",
    OperatorKind.SOFTMAX: "softmax",
    OperatorKind.CROSS_ENTROPY: "cross_entropy",
    OperatorKind.REDUCTION: "reduction",
    OperatorKind.EMBEDDING: "embedding",
    OperatorKind.GATHER: "gather",
    OperatorKind.ROUTING: "routing",
    OperatorKind.COPY: "copy",
    OperatorKind.ELEMENTWISE: "pointwise",
    OperatorKind.SCAN: "alone",
    OperatorKind.OTHER: "alone",
}
