"""Orders of passes of V-shaped pipeline schedules: stage i runs the i-th chunk from the front of the model and, on the
way back, the i-th from its end (docs/model-training.md, section 3).

They do not depend on seconds: built for passes of equal length, as published, and run as soon as inputs are there.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from hardplace.plans.plan import PipelineSchedule

FORWARD, BACKWARD, WEIGHT = range(3)
VItem = tuple[int, int, int]  # a pass by number, its micro-batch and its chunk
_PERIOD = 6  # passes of a micro-batch on a stage: forward, backward and weight gradients of two chunks
_LONG = 8  # groups of `stages` micro-batches after which passes repeat themselves
# The passes of a building block, in the order in which a micro-batch takes them.
_BLOCK = ((FORWARD, 0), (FORWARD, 1), (BACKWARD, 1), (BACKWARD, 0))


class VTurns(NamedTuple):
    """What of a stage's order bounds and memory ask for; pairs are of the first and the second chunk.

    Attributes:
        forwards_left: Forward passes after the first backward pass.
        weights_left: Weight gradients after the last backward pass.
        held: Chunks in flight, from their forward pass to their weight gradients, where they are most.
        waiting: The same with those of them that wait for their weight gradients: pairs of both, one after the other.
        apart: Micro-batches from one to the first whose forward pass through the first chunk comes after its backward
            pass there.
        turns: The same of the way on from the stage alone, forward and backward: micro-batches from one to the first
            whose first pass comes after its second one.
    """

    forwards_left: tuple[int, int]
    weights_left: tuple[int, int]
    held: tuple[tuple[int, ...], ...]
    waiting: tuple[tuple[int, ...], ...]
    apart: int
    turns: tuple[int, int]


@lru_cache(maxsize=64)
def v_orders(stages: int, micro_batches: int, schedule: PipelineSchedule) -> tuple[tuple[VItem, ...], ...]:
    """Return the passes of every stage in the order in which a V-shaped schedule runs them.

    ZB-V: Qi et al. 2024 (arXiv 2401.10241), section 6, as PyTorch's ScheduleZBVZeroBubble has it. V-Half and V-Min: Qi
    et al. 2024 (arXiv 2405.15362). DualPipeV: DeepSeek's DualPipe, as PyTorch's ScheduleDualPipeV has it, with the two
    passes that it runs beside each other one after the other, forward first.

    Args:
        stages: Number of stages.
        micro_batches: Micro-batches of one replica; DualPipeV: 2 stages at least.
        schedule: The schedule.
    """
    match schedule:
        case PipelineSchedule.ZB_V:
            return tuple(tuple(_zb_v(stage, stages, micro_batches)) for stage in range(stages))
        case PipelineSchedule.DUALPIPE_V:
            return tuple(tuple(_dualpipe_v(stage, stages, micro_batches)) for stage in range(stages))
    return _repeated(stages, micro_batches, schedule)


class _Passes:
    """Passes of a stage, each the next micro-batch of its kind."""

    def __init__(self) -> None:
        self.items: list[VItem] = []
        self._next = [[0, 0], [0, 0], [0, 0]]
        self._waiting: list[tuple[int, int]] = []

    def run(self, phase: int, chunk: int) -> None:
        """Run the next micro-batch's pass; of a backward pass the weight gradients wait."""
        which = self._next[phase][chunk]
        self._next[phase][chunk] = which + 1
        self.items.append((phase, which, chunk))
        if phase == BACKWARD:
            self._waiting.append((which, chunk))

    def weight(self, chunk: int | None = None) -> None:
        """Run the weight gradients that wait longest, of all or of a chunk; nothing where none wait."""
        found = [one for one in self._waiting if chunk in (None, one[1])]
        if found:
            self._waiting.remove(found[0])
            self.items.append((WEIGHT, *found[0]))

    def whole(self, chunk: int) -> None:
        """Run the next backward pass with its weight gradients."""
        self.run(BACKWARD, chunk)
        self._waiting.pop()
        self.items.append((WEIGHT, self._next[BACKWARD][chunk] - 1, chunk))

    @property
    def waiting(self) -> int:
        """Return how many weight gradients wait."""
        return len(self._waiting)


def _zb_v(stage: int, stages: int, micro_batches: int) -> Iterator[VItem]:
    """Yield a stage's passes of ZB-V: of fewer micro-batches than fill the pipeline, those of a full one."""
    passes, count, below = _Passes(), max(micro_batches, 2 * stages - 1), stages - stage
    for _ in range(2 * below - 1):
        passes.run(FORWARD, 0)
    for _ in range(stage):
        passes.run(FORWARD, 1)
        passes.run(FORWARD, 0)
    for _ in range(below):
        passes.run(FORWARD, 1)
        passes.whole(1)
    for index in range(count - stages):
        if index < count - (2 * stages - stage - 1):
            passes.run(FORWARD, 0)
        passes.whole(0)
        passes.run(FORWARD, 1)
        passes.whole(1)
    for _ in range(stage):
        passes.run(BACKWARD, 0)
        passes.run(BACKWARD, 1)
    for _ in range(below):
        passes.run(BACKWARD, 0)
        passes.weight(0)
    for chunk in (1, 0):
        for _ in range(passes.waiting):
            passes.weight(chunk)
    yield from (one for one in passes.items if one[1] < micro_batches)


def _dualpipe_v(stage: int, stages: int, micro_batches: int) -> Iterator[VItem]:
    """Yield a stage's passes of DualPipeV, in its eight steps."""
    passes, below = _Passes(), stages - stage - 1
    for _ in range(2 * below):
        passes.run(FORWARD, 0)
    for _ in range(stage + 1):
        passes.run(FORWARD, 0)
        passes.run(FORWARD, 1)
    for _ in range(below):
        passes.run(BACKWARD, 1)
        passes.weight()
        passes.run(FORWARD, 1)
    for _ in range(micro_batches - 2 * stages + stage + 1):
        passes.run(FORWARD, 0)
        passes.whole(1)
        passes.run(FORWARD, 1)
        passes.whole(0)
    for _ in range(below):
        passes.whole(1)
        passes.run(FORWARD, 1)
        passes.whole(0)
    for index in range(2 * (stage + 1)):
        if index <= stage:
            passes.whole(1 - index % 2)
        else:  # weight gradients fill the waits that follow
            passes.run(BACKWARD, 1 - index % 2)
    for _ in range(below):
        passes.weight()
        passes.run(BACKWARD, 0)
    for _ in range(passes.waiting):
        passes.weight()
    yield from passes.items


def _block(stage: int, stages: int, schedule: PipelineSchedule) -> tuple[int, int, int, int]:
    """Return when a stage runs the four passes of the first micro-batch in the repeated building block, in passes."""
    if schedule is PipelineSchedule.V_MIN:
        gap = 2 if stages % 3 == 0 else 0  # else passes of two micro-batches would meet
        return stage, 2 * stages - 1 - stage, 2 * stages + gap + stage, 4 * stages + gap - 1 - stage
    gap = 3 if stages % 2 == 0 else 0
    up = 3 * stages + gap
    return 2 * stage, 3 * stages - 2 - stage, up - 1 + 2 * stage, up + 3 * stages - 2 - stage


def most_held(stages: int, schedule: PipelineSchedule) -> int:
    """Return how many chunks a stage of V-Half or V-Min holds at most, as published: (p + 2) // 2 and (p + 4) // 3
    micro-batches of two chunks."""
    return 2 * ((stages + 4) // 3 if schedule is PipelineSchedule.V_MIN else (stages + 2) // 2)


def _repeated(stages: int, micro_batches: int, schedule: PipelineSchedule) -> tuple[tuple[VItem, ...], ...]:
    """Return the passes of V-Half or V-Min: the building block of a micro-batch, repeated every six passes.

    Forward and backward passes stay in that order and move up to where their inputs are there (squeezed); weight
    gradients, the oldest first, run where a stage would wait, and before a forward pass for which it has no room.
    """
    last, most = stages - 1, most_held(stages, schedule)
    waits: list[list[tuple[int, int, int]]] = []  # (pass of the block, micro-batch), the last one first
    for stage in range(stages):
        starts = enumerate(_block(stage, stages, schedule))
        order = sorted((at + _PERIOD * index, which, index) for which, at in starts for index in range(micro_batches))
        waits.append(order[::-1])
    ended: list[list[list[int]]] = [[[] for _ in _BLOCK] for _ in range(stages)]  # by stage and pass, in micro-batches
    late: list[list[tuple[int, int]]] = [[] for _ in range(stages)]
    held, found = [0] * stages, [list[VItem]() for _ in range(stages)]
    now, left = 0, _PERIOD * micro_batches * stages
    while left:
        now += 1
        for stage in range(stages):
            if waits[stage]:
                _, which, index = waits[stage][-1]
                # the first pass goes down, the second up, and back
                source = (stage - 1 if which in (0, 2) else stage + 1), which
                if not 0 <= source[0] <= last:
                    source = stage, which - 1
                ends = ended[source[0]][source[1]] if source[1] >= 0 else None
                ready = ends is None or (len(ends) > index and ends[index] < now)
                room = which > 1 or held[stage] < most or not late[stage]
                if ready and room:
                    waits[stage].pop()
                    ended[stage][which].append(now)
                    phase, chunk = _BLOCK[which]
                    found[stage].append((phase, index, chunk))
                    left -= 1
                    if phase == FORWARD:
                        held[stage] += 1
                    else:
                        late[stage].append((index, chunk))
                    continue
            if late[stage]:
                found[stage].append((WEIGHT, *late[stage].pop(0)))
                held[stage] -= 1
                left -= 1
    return tuple(map(tuple, found))


def v_turns(stages: int, micro_batches: int, schedule: PipelineSchedule) -> tuple[VTurns, ...]:
    """Return, of every stage, what bounds and memory ask of its order; arguments as for `v_orders`.

    Beyond nine groups of `stages` micro-batches those of eight, with as many more forward passes left.
    """
    groups, rest = divmod(micro_batches, stages)
    some = micro_batches if groups <= _LONG + 1 else _LONG * stages + rest
    found, more = _turns(stages, some, schedule), micro_batches - some
    if not more:
        return found
    return tuple(
        one._replace(forwards_left=(one.forwards_left[0] + more, one.forwards_left[1] + more)) for one in found
    )


@lru_cache(maxsize=1024)
def _turns(stages: int, micro_batches: int, schedule: PipelineSchedule) -> tuple[VTurns, ...]:
    return tuple(_turns_of(order) for order in v_orders(stages, micro_batches, schedule))


def _turns_of(order: tuple[VItem, ...]) -> VTurns:
    backs = [place for place, (phase, _, _) in enumerate(order) if phase == BACKWARD]
    after, ended = order[backs[0] :], order[backs[-1] :]
    held, late, seen = [0, 0], [0, 0], set[tuple[int, ...]]()
    for phase, _, chunk in order:
        held[chunk] += (1, 0, -1)[phase]
        late[chunk] += (0, 1, -1)[phase]
        seen.add((*held, *late))
    return VTurns(
        forwards_left=(_count(after, FORWARD, 0), _count(after, FORWARD, 1)),
        weights_left=(_count(ended, WEIGHT, 0), _count(ended, WEIGHT, 1)),
        held=_most({one[:2] for one in seen}),
        waiting=_most(seen),
        apart=_apart(order, (FORWARD, 0), (BACKWARD, 0)),
        turns=(_apart(order, (FORWARD, 0), (FORWARD, 1)), _apart(order, (BACKWARD, 1), (BACKWARD, 0))),
    )


def _most(seen: set[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
    """Return the tuples of which no other has as much of everything."""
    return tuple(
        sorted(
            one
            for one in seen
            if not any(one != two and all(a <= b for a, b in zip(one, two, strict=True)) for two in seen)
        )
    )


def _apart(order: tuple[VItem, ...], first: tuple[int, int], second: tuple[int, int]) -> int:
    """Return the micro-batches from one to the first whose first pass (phase, chunk) comes after its second one."""
    begun, found = 0, 1
    for phase, index, chunk in order:
        if (phase, chunk) == first:
            begun += 1
        elif (phase, chunk) == second:
            found = max(found, begun - index)
    return found


def _count(items: tuple[VItem, ...], phase: int, chunk: int) -> int:
    return sum(1 for one in items if one[0] == phase and one[2] == chunk)
