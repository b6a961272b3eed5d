"""Experts of grouped products cut by expert; tokens are sent to them and back."""

from __future__ import annotations

from hardplace.workload.sharding.held import Decided, LayerShapes
from hardplace.workload.sharding.splits import Sent, Split
from hardplace.workload.sharding.steps import TensorMove
from hardplace.workload.sharding.walk import Walk
from hardplace.workload.types import Group, Operator, OperatorKind
from hardplace.workload.weights import expert_lookups

# Gradients of look-ups, with where they read the looked-up rows and of which rows they are.
_GRADIENTS = {
    "index_put": (2, 1),
    "_index_put_impl": (2, 1),
    "_unsafe_index_put": (2, 1),
    "index_add": (2, 1),
    "embedding_dense_backward": (0, 1),
}


class ExpertWalk(Walk):
    """Experts of grouped products cut by expert; tokens are sent to them and back.

    What experts have beside those products' weights (biases, scales) is cut with them, and looked up where they lie.
    """

    def __init__(
        self, known: LayerShapes, group: Group, parts: int, decided: Decided, *, sequence: bool, whole_experts: bool
    ) -> None:
        super().__init__(known, group, parts, decided, sequence=sequence, whole_experts=whole_experts)
        self.lookups = [one for one in expert_lookups(known.layer) if self.shapes[one.reads[0]][0] % parts == 0]
        # by the rows that are looked up and the shape of the table: its gradient
        self.tables_by_rows = {(one.reads[1], self.shapes[one.reads[0]]) for one in self.lookups}

    def apply(self, operator: Operator) -> None:
        """Send rows to their experts before a grouped product, and back before anything that mixes them with others."""
        sent = [index for index in dict.fromkeys(operator.reads) if isinstance(self.used(index), Sent)]
        if operator.kind is OperatorKind.GROUPED_MATMUL:
            self.grouped(operator)
            return
        if any(operator is one for one in self.lookups):
            self._looked_up(operator)
            return
        values, rows_of = _GRADIENTS.get(operator.name, (0, 0))
        if rows_of and (operator.reads[rows_of], self.shapes[operator.writes[0]]) in self.tables_by_rows:
            self._send(operator.reads[values])
            self.states[operator.writes[0]] = Split(0, self.parts)
            return
        if not sent:
            super().apply(operator)
            return
        rows = [index for index in operator.reads if self.sizes[index] > 1 and index not in self.open]
        follows = operator.kind in (OperatorKind.VIEW, OperatorKind.ELEMENTWISE, OperatorKind.COPY)
        if follows and all(index in sent for index in rows):
            self.settle(*operator.reads)
            self.states.update(dict.fromkeys(operator.writes, Sent()))
            return
        for index in sent:
            self.step.moves.append(TensorMove(index, Sent(), None, "all_to_all", True))
            for other in self.of_storage[self.layer.tensors[index].storage]:
                if isinstance(self.states.get(other), Sent):
                    self.states[other] = None
        super().apply(operator)

    def grouped(self, operator: Operator) -> None:
        """A grouped product with the experts of this rank."""
        left, right = operator.reads[:2]
        if right in self.open:
            able = self.shapes[right][0] % self.parts == 0
            self.decide(right, Split(0, self.parts, 1, frozenset([self.parameter(right)])) if able else None)
        self.settle(left)
        weights = isinstance(self.used(right), Split)
        outer = len(self.shapes[right]) == 2 and any(isinstance(self.used(one), Sent) for one in (left, right))
        if weights or outer:
            self._send(left, *((right,) if outer else ()))
            self.states[operator.writes[0]] = Split(0, self.parts) if outer else Sent()
        else:
            self.states[operator.writes[0]] = None

    def _looked_up(self, operator: Operator) -> None:
        """Rows of what a rank's experts have, for the tokens that are sent to them."""
        table = operator.reads[0]
        if table in self.open:
            self.decide(table, Split(0, self.parts, 1, frozenset([self.parameter(table)])))
        self.states[operator.writes[0]] = Sent()

    def _send(self, *indices: int) -> None:
        for index in indices:
            if not isinstance(self.used(index), Sent):
                self.step.moves.append(TensorMove(index, self.used(index), Sent(), "all_to_all", True))
                for other in self.of_storage[self.layer.tensors[index].storage]:
                    self.states[other] = Sent()
