"""Experts of grouped products cut by expert; tokens are sent to them and back."""

from __future__ import annotations

from hardplace.workload.sharding.splits import Sent, Split
from hardplace.workload.sharding.steps import TensorMove
from hardplace.workload.sharding.walk import Walk
from hardplace.workload.types import Operator, OperatorKind


class ExpertWalk(Walk):
    """Experts of grouped products cut by expert; tokens are sent to them and back."""

    def apply(self, operator: Operator) -> None:
        """Send rows to their experts before a grouped product, and back before anything that mixes them with others."""
        sent = [index for index in dict.fromkeys(operator.reads) if isinstance(self.used(index), Sent)]
        if operator.kind is OperatorKind.GROUPED_MATMUL:
            self.grouped(operator)
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

    def _send(self, *indices: int) -> None:
        for index in indices:
            if not isinstance(self.used(index), Sent):
                self.step.moves.append(TensorMove(index, self.used(index), Sent(), "all_to_all", True))
                for other in self.of_storage[self.layer.tensors[index].storage]:
                    self.states[other] = Sent()
