"""The generated model: the dependency graph of a program, evaluated until it repeats (docs/model-described.md)."""

from __future__ import annotations

from dataclasses import dataclass

from hardplace.described.program import Block, Instruction, NextTile, Repeat, TileRing, totals
from hardplace.described.types import Description, ProgramTime

_MOST_STATES = 4096  # iterations of one loop after which its mean advance stands for the rest


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    """An instruction by the places of its times in the state.

    Attributes:
        fetch: Place of its stage's next issue.
        interval: Cycles between issues.
        decode: Cycles from issue to start.
        queue: Place of the start of the instruction whose start frees a place in the queue.
        queue_end: Place after the last of them.
        flight: Place of the result of the instruction that must be there before this one begins.
        flight_end: Place after the last of them.
        waits: Places of times that its start is not before.
        unit: Place of the time from which its unit is free.
        busy: Cycles that it keeps the unit.
        latency: Further cycles to its result.
        ports: Place of the time from which each port is free, and the cycles that this one holds it.
        frees: Places of the times until which the tiles that it reads are read.
        fills: Places of the times from which the tiles that it writes are there.
    """

    fetch: int
    interval: int
    decode: int
    queue: int
    queue_end: int
    flight: int
    flight_end: int
    waits: tuple[int, ...]
    unit: int
    busy: int
    latency: int
    ports: tuple[tuple[int, int], ...]
    frees: tuple[int, ...]
    fills: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """A ring's next place becomes the present one: the places of its times."""

    place: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _LoopTimes:
    """The places of times that a loop's body asks for.

    Attributes:
        stages: Next issues of the stages that issue in it.
        given: All that it gives a new value.
        turns: Rings that it turns, first place and place after the last.
        written: `given`, and what comes to those places by turns: new every few iterations.
        turned: What only changes places by turns.
        asked: What it asks for and leaves as it is.
    """

    stages: frozenset[int]
    given: frozenset[int]
    turns: frozenset[tuple[int, int]]
    written: tuple[int, ...]
    turned: tuple[int, ...]
    asked: tuple[int, ...]


class GeneratedModel:
    """The dependency graph of one program on one accelerator, and its state while it is evaluated.

    The state is a list of times: the end of the last result, the next issue of each stage, from when each unit and
    port is free, for each place of a tile when it was filled (by anyone; by units that do not accumulate) and last
    read, starts in each queue, results in flight. All transitions are sums and maxima: adding a constant to every
    time adds it to every later time.
    """

    def __init__(self, on: Description, program: Block):
        """Lay out the state; every time is 0."""
        self._on, self._program = on, program
        self._state = [0]
        self._places: dict[tuple[str, str], int] = {}
        self._rings: dict[TileRing, int] = {}
        self._nodes: dict[Instruction, _Node] = {}
        self._steps: dict[Block, list[_Node | _Turn | Block | Repeat]] = {}
        self._scopes: dict[Block, _LoopTimes] = {}
        self._known: dict[tuple[Repeat, tuple[int, ...]], tuple[tuple[int, ...], int, bool]] = {}
        self.exact, self.evaluated, self.iterations = True, 0, 0
        for name in on.fetches:
            self._place("fetch", name)
        for name in on.units:
            self._place("unit", name)
        for name in on.ports:
            self._place("port", name)
        for name, unit in on.units.items():
            self._place("queue", name, unit.queue)
            self._place("flight", name, unit.outstanding)
        self._prepare(program)

    def time(self) -> ProgramTime:
        """Evaluate the program."""
        self._block(self._program)
        instructions, held = totals(self._program)
        bound_by = max(held, key=lambda name: held[name])
        return ProgramTime(
            cycles=self._state[0],
            exact=self.exact,
            evaluated=self.evaluated,
            instructions=instructions,
            iterations=self.iterations,
            bound_cycles=held[bound_by],
            bound_by=bound_by,
        )

    def _place(self, kind: str, name: str, count: int = 1) -> int:
        key = (kind, name)
        if key not in self._places:
            self._places[key] = len(self._state)
            self._state += [0] * count
        return self._places[key]

    def _prepare(self, block: Block) -> None:
        """Lay out the rings and make the nodes of all instructions."""
        if block in self._steps:
            return
        steps: list[_Node | _Turn | Block | Repeat] = []
        self._steps[block] = steps
        for step in block.steps:
            if isinstance(step, Instruction):
                if step not in self._nodes:
                    self._nodes[step] = self._node(step)
                steps.append(self._nodes[step])
            elif isinstance(step, NextTile):
                place = self._ring(step.ring)
                steps.append(_Turn(place=place, end=place + 3 * step.ring.buffers))
            else:
                steps.append(step)
                self._prepare(step.body if isinstance(step, Repeat) else step)

    def _ring(self, ring: TileRing) -> int:
        """Return the place of a ring's present tile: filled, filled by units that do not accumulate, last read."""
        if ring not in self._rings:
            self._rings[ring] = len(self._state)
            self._state += [0] * (3 * ring.buffers)
        return self._rings[ring]

    def _node(self, one: Instruction) -> _Node:
        unit, places = self._on.units[one.unit], self._places
        stage = self._on.fetches[unit.fetch]
        ports = tuple((places["port", name], cycles) for name, cycles in one.ports)
        read, written = [self._ring(ring) for ring in one.reads], [self._ring(ring) for ring in one.writes]
        filled = [place + 1 if unit.forwards else place for place in written]
        queue, flight, own = places["queue", one.unit], places["flight", one.unit], places["unit", one.unit]
        return _Node(
            fetch=places["fetch", unit.fetch],
            interval=stage.interval_cycles,
            decode=stage.decode_cycles,
            queue=queue,
            queue_end=queue + unit.queue - 1,
            flight=flight,
            flight_end=flight + unit.outstanding - 1,
            waits=(own, flight, *(place for place, _ in ports), *read, *filled, *(place + 2 for place in written)),
            unit=own,
            busy=one.busy_cycles,
            latency=one.latency_cycles,
            ports=ports,
            frees=tuple(place + 2 for place in read),
            fills=(*written, *(() if unit.forwards else (place + 1 for place in written))),
        )

    def _block(self, block: Block) -> None:
        state = self._state
        for step in self._steps[block]:
            if isinstance(step, _Node):
                self._evaluate(step)
            elif isinstance(step, _Turn):
                place, end = step.place, step.end
                state[place:end] = state[place + 3 : end] + state[place : place + 3]
            elif isinstance(step, Repeat):
                self._repeat(step)
            else:
                self._block(step)

    def _evaluate(self, node: _Node) -> None:
        """Give an instruction its times: the latest of what it depends on."""
        x = self._state
        issue = max(x[node.fetch], x[node.queue])
        x[node.fetch] = issue + node.interval
        start = issue + node.decode
        for place in node.waits:
            if x[place] > start:
                start = x[place]
        end = start + node.busy
        done = end + node.latency
        x[node.unit] = end
        for place, cycles in node.ports:
            x[place] = start + cycles
        for place in node.frees:
            if x[place] < end:
                x[place] = end
        for place in node.fills:
            if x[place] < done:
                x[place] = done
        x.insert(node.queue_end + 1, start)
        del x[node.queue]
        x.insert(node.flight_end + 1, done)
        del x[node.flight]
        if x[0] < done:
            x[0] = done
        self.evaluated += 1

    def _scope(self, block: Block) -> _LoopTimes:
        """Return the places of times that a block asks for and writes."""
        if block in self._scopes:
            return self._scopes[block]
        stages, given, asked = set[int](), set[int](), set[int]()
        turns = set[tuple[int, int]]()
        for step in self._steps[block]:
            if isinstance(step, _Node):
                stages.add(step.fetch)
                asked.update(step.waits)
                given.update(range(step.queue, step.queue_end + 1), range(step.flight, step.flight_end + 1))
                given.update((step.fetch, step.unit), (place for place, _ in step.ports), step.frees, step.fills)
            elif isinstance(step, _Turn):
                turns.add((step.place, step.end))
            else:
                inner = self._scope(step.body if isinstance(step, Repeat) else step)
                stages.update(inner.stages)
                given.update(inner.given)
                turns.update(inner.turns)
                asked.update(inner.asked)
        written, turned = set(given), set[int]()
        for place, end in turns:
            for column in range(3):
                kept = written if place + column in given else turned
                kept.update(range(place + column, end, 3))
        scope = _LoopTimes(
            stages=frozenset(stages),
            given=frozenset(given),
            turns=frozenset(turns),
            written=tuple(sorted(written)),
            turned=tuple(sorted(turned)),
            asked=tuple(sorted(asked - written - turned)),
        )
        self._scopes[block] = scope
        return scope

    def _relative(self, scope: _LoopTimes) -> tuple[tuple[int, ...], int]:
        """Return the times of a loop relative to its next issue, and that.

        What it asks for and leaves matters only where it is after the next issue; what turns stays as it is.
        """
        x = self._state
        base = min([x[place] for place in scope.stages])
        written = [x[place] - base for place in scope.written]
        asked = [x[place] - base if x[place] > base else 0 for place in scope.asked]
        return (x[0] - base, *written, *[x[place] for place in scope.turned], *asked), base

    def _resume(self, scope: _LoopTimes, relative: tuple[int, ...], base: int) -> None:
        """Give all that a loop writes the times that they had relative to another next issue."""
        x = self._state
        x[0] = relative[0] + base
        count = len(scope.written) + 1
        for place, time in zip(scope.written, relative[1:count], strict=True):
            x[place] = time + base
        for place, time in zip(scope.turned, relative[count:], strict=False):
            x[place] = time

    def _repeat(self, loop: Repeat) -> None:
        """Do a loop: iterations until its times come back, then as many periods at once as there are."""
        ended = self._state[0]
        self._state[0] = 0  # of this loop alone; a result from before it may be later than all of its own
        self._iterate(loop)
        self._state[0] = max(ended, self._state[0])

    def _iterate(self, loop: Repeat) -> None:
        scope = self._scope(loop.body)
        before, start = self._relative(scope)
        key = (loop, before[1:])
        if key in self._known:
            after, advance, exact = self._known[key]
            self.exact &= exact
            self._resume(scope, after, start + advance)
            return
        was_exact, self.exact = self.exact, True
        seen, bases, halfway = {before: 0}, [start], self._state
        done = 0
        while done < loop.count:
            self._block(loop.body)
            self.iterations += 1
            done += 1
            if done == loop.count or len(bases) > _MOST_STATES:
                continue
            relative, base = self._relative(scope)
            bases.append(base)
            if relative in seen:
                period = done - seen[relative]
                times = (loop.count - done) // period
                self._resume(scope, relative, base + times * (base - bases[done - period]))
                done += times * period
                self._finish(loop, done)
                break
            seen[relative] = done
            if done == _MOST_STATES // 2:
                halfway = list(self._state)
            elif len(bases) > _MOST_STATES:  # each time goes on at its own mean rate
                times, left = divmod(loop.count - done, done - _MOST_STATES // 2)
                state = self._state
                state[:] = [now + times * (now - then) for now, then in zip(state, halfway, strict=True)]
                done = loop.count - left
                self.exact = False
        after, end = self._relative(scope)
        self._known[key] = after, end - start, self.exact
        self.exact &= was_exact

    def _finish(self, loop: Repeat, done: int) -> None:
        """Do the iterations of a loop that are left when no whole period is."""
        for _ in range(done, loop.count):
            self._block(loop.body)
            self.iterations += 1


def program_time(on: Description, program: Block) -> ProgramTime:
    """Return the cycles of a program by its dependency graph, with what was evaluated and a bound."""
    return GeneratedModel(on, program).time()
