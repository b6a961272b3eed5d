"""Resharding of tensors so that an operator can read them: slices, gathers, and sums of partial sums."""

from __future__ import annotations

from hardplace.workload.affine import GENERIC
from hardplace.workload.item_sizes import ITEM_BYTES
from hardplace.workload.sharding.held import Decided, LayerShapes, TensorSplits
from hardplace.workload.sharding.splits import PartialSum, Split, State, sequence_split
from hardplace.workload.sharding.steps import Earlier, KeepWhole, OperatorStep, TensorMove
from hardplace.workload.types import Group, Operator, Phase


class Resharding(TensorSplits):
    """Resharding of tensors for the operator that runs: what the rules of operators work on.

    Attributes:
        operator: The operator that runs.
        sequence: Whether what enters and leaves the layer is split by sequence (Megatron-LM's, with tensor
            parallelism).
        own_tokens: Whether each rank routes its own tokens: of a context group, and of a tensor group where experts
            are whole.
        step: What the group does at that operator, so far.
    """

    operator: Operator  # the one that runs

    def __init__(
        self, known: LayerShapes, group: Group, parts: int, decided: Decided, *, sequence: bool, whole_experts: bool
    ) -> None:
        super().__init__(known, group, parts, decided)
        self.sequence = sequence
        self.own_tokens = whole_experts or group is Group.CONTEXT
        self.step = OperatorStep()  # of that operator
        self.made_of: dict[int, tuple[int, int]] = {}  # what a view or copy was made of, and by which operator
        self.copies: dict[tuple[str, int], Phase] = {}  # what was gathered in a phase

    def used(self, index: int) -> State:
        """Return the state in which the current operator reads a tensor."""
        for move in reversed(self.step.moves):
            if move.tensor == index:
                return move.target
        return self.states.get(index)

    def resolved(self, index: int) -> State:
        """Return what partial sums become: whole, or split by sequence."""
        state = self.states.get(index)
        if isinstance(state, PartialSum) and state.onto is not None:
            return state.onto
        return sequence_split(self.shapes[index], self.parts) if self.scatters() else None

    def scatters(self) -> bool:
        """Return whether boundaries are split by sequence."""
        return self.sequence or self.group is Group.CONTEXT

    def need(self, index: int, target: State) -> None:
        """Reshard a tensor for the current operator alone; later ones read it as it was.

        Args:
            index: The tensor.
            target: State in which the operator reads it.
        """
        self.move(self.step.moves, index, self.used(index), target)

    def move(self, moves: list[TensorMove], index: int, source: State, target: State) -> None:
        """Reshard a tensor from one state into another.

        Whole to split is a slice, which moves nothing; split to whole an all-gather, unless the tensor was gathered
        in this phase already; a partial sum is reduced first.

        Args:
            moves: Where the move is noted.
            index: The tensor.
            source: State now.
            target: State that it shall have.

        Raises:
            KeepWhole: Where a cut parameter is the reason of the split: it stays whole instead.
            Earlier: Where what the tensor was copied from is smaller and split as well: that is gathered instead.
        """
        if source == target:
            return
        if isinstance(source, PartialSum):
            self.reduce(moves, index, target)
            return
        if isinstance(source, Split) and isinstance(target, Split):
            if (source.axis, source.before) == (target.axis, target.before) and target.parts % source.parts == 0:
                moves.append(TensorMove(index, source, target, "", False))
                return
            self.move(moves, index, source, None)
            source = None
        if source is None:
            moves.append(TensorMove(index, source, target, "", False))
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
        moves.append(TensorMove(index, source, target, "" if known else "all_gather", False))
        self.copies[place] = self.operator.phase

    def reduce(self, moves: list[TensorMove], index: int, target: State) -> None:
        """Add up partial sums, for this operator and all that follow: an all-reduce, or a reduce-scatter by sequence.

        Args:
            moves: Where the move is noted.
            index: The tensor, of partial sums.
            target: State in which the operator reads the sum.
        """
        state = self.resolved(index)
        name = "all_reduce" if state is None else "reduce_scatter"
        moves.append(TensorMove(index, self.states[index], state, name, True))
        others = [one for one in self.of_storage[self.layer.tensors[index].storage] if one != index]
        for other in others:
            if isinstance(self.states.get(other), PartialSum):
                self.states[other] = self.resolved(other)
        self.states[index] = state
        if state != target:
            self.move(moves, index, state, target)

    def _bytes(self, index: int) -> int:
        """Return the bytes of a tensor, whole."""
        return self.sizes[index] * ITEM_BYTES[self.layer.tensors[index].dtype]

    def _check_earlier(self, index: int) -> None:
        """Raise Earlier if what a tensor was copied from is smaller, and is split as well."""
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
            raise Earlier(place)
