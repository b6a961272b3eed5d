"""What the loop of branch and bound asks of a search, of what does its refinements, and of exact evaluations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from hardplace.branch_and_bound.front import Front, Scores

C = TypeVar("C")  # a candidate
J = TypeVar("J")  # an exact evaluation that is asked for
J_co = TypeVar("J_co", covariant=True)
R_co = TypeVar("R_co", covariant=True)  # its outcome
R_contra = TypeVar("R_contra", contravariant=True)


class Evaluator(Protocol[J, R_co]):
    """Does exact evaluations; jobs and outcomes are plain data, and an outcome depends on its job alone."""

    def evaluate(self, job: J) -> R_co:
        """Evaluate a job exactly and return its outcome."""

    def steps(self, problem: Refinable[C, J, Any]) -> Steps[C, J, R_co]:
        """Return where the refinements of a problem are done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refined(Generic[C]):
    """What a refinement makes of a candidate.

    Attributes:
        left: Candidates that it leaves, with their scores; None in place of one: no more can be learned.
        offers: Points reached, for the front.
        tally: Counts that it made.
    """

    left: tuple[tuple[Scores, C | None], ...]
    offers: tuple[tuple[Scores, Any], ...]
    tally: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Done(Generic[C, J_co, R_co]):
    """A refinement that was done, here or on a worker.

    Attributes:
        refined: What it makes of its candidate.
        job: Exact evaluation that it needed, if any.
        outcome: Outcome of that.
    """

    refined: Refined[C]
    job: J_co | None
    outcome: R_co | None


class Steps(Protocol[C, J_co, R_co]):
    """Does refinements, here or on workers: the interface of the loop to processes and clusters.

    The loop starts up to `loop.AHEAD` refinements, each with what was reached when it started, and takes their results
    in the order in which it started them. So what it does next depends on results alone, never on which was ready
    first, and the answer is the same to the last bit wherever they are done.
    """

    def start(self, number: int, candidate: C, reached: tuple[Scores, ...]) -> None:
        """Begin a refinement, or keep it until its result is asked for.

        Args:
            number: Number by which its result is asked for.
            candidate: What to refine.
            reached: Scores of the front at this moment.
        """

    def finish(self, number: int) -> Done[C, J_co, R_co]:
        """Wait for a refinement and return its result."""

    def drop(self, number: int) -> None:
        """Drop a refinement whose result is not needed."""


class Refinable(Protocol[C, J_co, R_contra]):
    """How candidates are refined, wherever that is done."""

    def job(self, candidate: C) -> J_co | None:
        """Return the exact evaluation that refining a candidate needs, if any."""

    def refine(self, candidate: C, outcome: R_contra | None, front: Front[Any]) -> Refined[C]:
        """Refine a candidate; nothing but the result says what was found and counted.

        Args:
            candidate: What to refine.
            outcome: Outcome of its job, if it has one.
            front: Scores that were reached, to prune against; a copy, which takes what is reached here.
        """


class Problem(Refinable[C, J_co, R_contra], Protocol[C, J_co, R_contra]):
    """What is searched: roots, and how candidates are refined.

    Scores of what `refine` returns need not be below the candidate's own: the loop cuts them.
    """

    def roots(self) -> Iterable[tuple[Scores, C]]:
        """Return candidates that together hold everything, with their scores."""

    def discard(self, candidate: C) -> None:
        """Count a candidate that is pruned without being refined."""

    def add(self, tally: Any) -> None:
        """Add the counts that a refinement made."""
