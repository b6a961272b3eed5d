"""Refinements, done here or on a pool of workers: the same function of the same data on both."""

from __future__ import annotations

import pickle
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from hardplace.branch_and_bound.front import Front, Scores
from hardplace.branch_and_bound.problem import C, Done, Evaluator, J, Refinable
from hardplace.errors import BadInput

LOSSES = 5  # workers lost in a row on one refinement before the search gives up


class RefinementRequest(NamedTuple):
    """One refinement to do.

    Attributes:
        candidate: What to refine.
        reached: Scores of the front when it was chosen.
        known: Outcome of its job, if that is known.
    """

    candidate: Any
    reached: tuple[Scores, ...]
    known: Any


R = TypeVar("R")  # the outcome of a job
J_contra = TypeVar("J_contra", contravariant=True)


def step(problem: Refinable[C, J, R], evaluator: Evaluator[J, R], asked: RefinementRequest) -> Done[C, J, R]:
    """Refine a candidate; the result depends on the request alone."""
    job = problem.job(asked.candidate)
    outcome = None if job is None else asked.known or evaluator.evaluate(job)
    front = Front[Any]([(scores, None) for scores in asked.reached])
    return Done(refined=problem.refine(asked.candidate, outcome, front), job=job, outcome=outcome)


class Here(Generic[C, J, R]):
    """Refinements in this process (`problem.Steps`), each done when its result is asked for; dropped ones are never
    done.
    """

    def __init__(self, problem: Refinable[C, J, R], evaluator: Evaluator[J, R]) -> None:
        self._problem, self._evaluator = problem, evaluator
        self._begun: dict[int, RefinementRequest] = {}

    def start(self, number: int, candidate: C, reached: tuple[Scores, ...]) -> None:
        """Keep a refinement until its result is asked for."""
        self._begun[number] = RefinementRequest(candidate, reached, None)

    def finish(self, number: int) -> Done[C, J, R]:
        """Do a refinement and return its result."""
        done: Done[C, J, R] = step(self._problem, self._evaluator, self._begun[number])
        self._begun.pop(number, None)
        return done

    def drop(self, number: int) -> None:
        """Drop a refinement."""
        self._begun.pop(number, None)


class Handle(Protocol):
    """A refinement that was submitted."""

    def cancel(self) -> object:
        """Cancel it unless it has begun."""


H = TypeVar("H", bound=Handle)


class Pool(Protocol[H]):
    """A pool of workers; the refinement of a lost worker is done by another."""

    def take(self, work: bytes) -> None:
        """Give every worker, also those that come later, the pickled (problem, evaluator) of a search."""

    def submit(self, asked: RefinementRequest) -> H:
        """Submit a refinement."""

    def result(self, handle: H) -> Done[Any, Any, Any] | None:
        """Wait for a refinement and return its result; None: its worker was lost, submit it again.

        Raises:
            BadInput: Where there are no workers any more.
        """


class Outcomes(Protocol[J_contra, R]):
    """A store of outcomes of exact evaluations, such as a journal."""

    def get(self, job: J_contra) -> R | None:
        """Return the outcome of a job if it is there."""

    def put(self, job: J_contra, outcome: R) -> None:
        """Store the outcome of a job."""


class Elsewhere(Generic[C, J, R, H]):
    """Refinements on a pool (`problem.Steps`); outcomes of jobs are stored here, as soon as they come."""

    def __init__(
        self, problem: Refinable[C, J, R], evaluator: Evaluator[J, R], pool: Pool[H], kept: Outcomes[J, R]
    ) -> None:
        self._problem, self._pool, self._kept = problem, pool, kept
        self._out: dict[int, tuple[RefinementRequest, H]] = {}
        pool.take(pickle.dumps((problem, evaluator)))

    def start(self, number: int, candidate: C, reached: tuple[Scores, ...]) -> None:
        """Submit a refinement."""
        job = self._problem.job(candidate)
        asked = RefinementRequest(candidate, reached, None if job is None else self._kept.get(job))
        self._out[number] = asked, self._pool.submit(asked)

    def finish(self, number: int) -> Done[C, J, R]:
        """Wait for a refinement, submitting it again while its workers are lost, and return its result."""
        for _ in range(LOSSES):
            asked, handle = self._out[number]
            done = self._pool.result(handle)
            if done is not None:
                del self._out[number]
                if done.job is not None and done.outcome is not None and asked.known is None:
                    self._kept.put(done.job, done.outcome)
                return done
            self._out[number] = asked, self._pool.submit(asked)
        raise BadInput(
            f"{LOSSES} workers in a row were lost in one refinement: expected workers with enough memory; what the "
            "journal holds is safe, start again with the same command"
        )

    def drop(self, number: int) -> None:
        """Cancel a refinement."""
        _, handle = self._out.pop(number, (None, None))
        if handle is not None:  # an interrupt may have come before it was handed out
            handle.cancel()
