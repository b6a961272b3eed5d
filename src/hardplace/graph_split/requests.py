"""Several requests in flight: the graph once for each, every operator on one device for all of them."""

from __future__ import annotations

from dataclasses import replace

from hardplace.graph_split.types import SplitProblem

MOST_REQUESTS = 64


def repeated(problem: SplitProblem, requests: int) -> SplitProblem:
    """Return the problem of so many requests that are there at the start, weights counted once.

    Copies of an operator share its device (a group, that of the operator where it has one); copy r of operator v is at
    r x operators + v.
    """
    if requests == 1:
        return problem
    count = len(problem.operators)
    operators, tensors = [], []
    for request in range(requests):
        for index, one in enumerate(problem.operators):
            group = f"operator {index}" if one.group is None else f"group {one.group}"
            operators.append(
                replace(
                    one, name=f"{one.name} of request {request}", group=group,
                    memory_bytes=0.0 if request else one.memory_bytes,
                )
            )  # fmt: skip
        for tensor in problem.tensors:
            readers = tuple(request * count + reader for reader in tensor.readers)
            tensors.append(replace(tensor, source=request * count + tensor.source, readers=readers))
    return replace(
        problem, name=f"{problem.name}, {requests} requests", operators=tuple(operators), tensors=tuple(tensors)
    )
