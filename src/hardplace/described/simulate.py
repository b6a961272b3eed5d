"""The oracle: a described accelerator simulated cycle by cycle (docs/model-described.md, "The machine")."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from hardplace.described.program import Block, Instruction, TileRing, flat
from hardplace.described.types import Description


@dataclass(slots=True, kw_only=True, eq=False)
class _Running:
    """An instruction, its number among its unit's, the very places that it reads and writes, and when it began."""

    what: Instruction
    ordinal: int
    reads: tuple[tuple[TileRing, int], ...]
    writes: tuple[tuple[TileRing, int], ...]
    issued: int | None = None
    began: int | None = None

    def released(self, now: int) -> bool:
        """Return whether it has left its unit and no longer reads its tiles."""
        return self.began is not None and now >= self.began + self.what.busy_cycles

    def complete(self, now: int) -> bool:
        """Return whether its results can be read."""
        return self.began is not None and now >= self.began + self.what.busy_cycles + self.what.latency_cycles

    def holds(self, port: str, now: int) -> bool:
        """Return whether it uses a port or path that it has not let go of."""
        held = dict(self.what.ports).get(port)
        return held is not None and (self.began is None or now < self.began + held)


@dataclass(slots=True, kw_only=True)
class _Clock:
    now: int = 0
    younger: Iterator[_Running]
    active: deque[_Running] = field(default_factory=deque)  # not complete, in the order of the program


def _placed(program: Block) -> Iterator[_Running]:
    """Return the instructions in order with the places of their tiles."""
    present: dict[TileRing, int] = {}
    count: Counter[str] = Counter()
    for step in flat(program):
        if isinstance(step, Instruction):
            count[step.unit] += 1
            yield _Running(
                what=step,
                ordinal=count[step.unit],
                reads=tuple((ring, present.get(ring, 0)) for ring in step.reads),
                writes=tuple((ring, present.get(ring, 0)) for ring in step.writes),
            )
        else:
            present[step.ring] = (present.get(step.ring, 0) + 1) % step.ring.buffers


def simulate(on: Description, program: Block, most_cycles: int = 10**8) -> int:
    """Return the cycles of a program, from the first issue until the last result is there.

    Every cycle each unit looks whether its oldest waiting instruction may begin, then each fetch stage whether it may
    issue its next one. Slow, and meant to be read.

    Args:
        on: The accelerator.
        program: Its program.
        most_cycles: Cycles after which it gives up, as an assertion.
    """
    clock = _Clock(younger=_placed(program))
    fetched = dict.fromkeys(on.fetches, 0)  # cycle from which each stage may issue
    last = 0
    _look_ahead(clock, on)
    while clock.active:
        now = clock.now
        for unit in on.units:
            mine = [one for one in clock.active if one.what.unit == unit]
            waiting = [one for one in mine if one.issued is not None and one.began is None]
            if waiting and _may_begin(on, clock, waiting[0], mine):
                waiting[0].began = now
                last = max(last, now + waiting[0].what.busy_cycles + waiting[0].what.latency_cycles)
        for stage in on.fetches.values():
            following = next(
                (one for one in clock.active if _issues(on, one) == stage.name and one.issued is None), None
            )
            if following is not None and now >= fetched[stage.name] and _has_room(on, clock, following):
                following.issued = now
                fetched[stage.name] = now + stage.interval_cycles
        clock.now += 1
        assert clock.now < most_cycles, "the simulation does not end"
        clock.active = deque(one for one in clock.active if not one.complete(clock.now))
        _look_ahead(clock, on)
    return last


def _issues(on: Description, one: _Running) -> str:
    return on.units[one.what.unit].fetch


def _look_ahead(clock: _Clock, on: Description) -> None:
    """Keep the next instruction of every fetch stage in view, with all that is older."""
    need = set(on.fetches)
    need -= {_issues(on, one) for one in clock.active if one.issued is None}
    while need:
        one = next(clock.younger, None)
        if one is None:
            return
        clock.active.append(one)
        need.discard(_issues(on, one))


def _has_room(on: Description, clock: _Clock, one: _Running) -> bool:
    """Return whether the queue of an instruction's unit has room for it."""
    unit = one.what.unit
    waiting = sum(
        other.what.unit == unit and other.issued is not None and other.began is None for other in clock.active
    )
    return waiting < on.units[unit].queue


def _may_begin(on: Description, clock: _Clock, one: _Running, mine: list[_Running]) -> bool:
    """Return whether an instruction may begin now: decoded, unit and ports free, tiles there, places free."""
    now, unit = clock.now, on.units[one.what.unit]
    assert one.issued is not None
    if now < one.issued + on.fetches[unit.fetch].decode_cycles:
        return False
    if one.ordinal - mine[0].ordinal >= unit.outstanding:  # results leave a unit in order
        return False
    for older in clock.active:
        if older is one:
            return True
        if older.what.unit == one.what.unit and not older.released(now):
            return False
        if any(older.holds(port, now) for port, _ in one.what.ports):
            return False
        if any(place in older.writes for place in one.reads):  # a true dependency; older is not complete
            return False
        if any(place in older.reads for place in one.writes) and not older.released(now):
            return False
        accumulates = unit.forwards and on.units[older.what.unit].forwards
        if any(place in older.writes for place in one.writes) and not accumulates:
            return False
    raise AssertionError("an instruction that is not in view cannot begin")
