"""Writers of traces that Perfetto opens: its binary format (extra trace), and the Trace Event Format as JSON.

Both have processes, tracks of them, and slices on tracks; times are seconds from the start of what is traced.
"""

from __future__ import annotations

from typing import Any, Protocol

from hardplace.errors import BadInput
from hardplace.version import __version__

_SEQUENCE = 1  # all packets are of one writer
_BYTES = 3  # CounterDescriptor.UNIT_SIZE_BYTES


class TraceWriter(Protocol):
    """What a trace is written to, whatever its format."""

    def process(self, name: str) -> int:
        """Add a process and return its number."""

    def track(self, process: int, name: str) -> int:
        """Add a track of a process, below those that it has, and return its number."""

    def slice(
        self, track: int, name: str, start_s: float, end_s: float, *, category: str = "", cores: str = ""
    ) -> None:
        """Write what runs on a track from start to end, in seconds; cores: which ones, in words."""


class PerfettoWriter:
    """A writer of Perfetto's binary format (https://perfetto.dev/docs/reference/synthetic-track-event).

    Slices of a track nest: what begins later and ends earlier stands below. Times are rounded to nanoseconds.

    Raises:
        BadInput: Without the package perfetto.
    """

    def __init__(self) -> None:
        try:
            from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import TrackEvent
            from perfetto.trace_builder.proto_builder import TraceProtoBuilder
        except ImportError as problem:
            raise BadInput(f"a trace needs the package perfetto ({problem}): pip install 'hardplace[trace]'") from None
        self._builder: Any = TraceProtoBuilder()
        self._kinds: Any = TrackEvent
        self._processes: list[int] = []  # number of each one's own track
        self._tracks = 0

    def bytes(self) -> bytes:
        """Return the trace."""
        return bytes(self._builder.serialize())

    def process(self, name: str) -> int:
        """Add a process and return its number, from 1."""
        track = self._described()
        self._processes.append(track.uuid)
        track.process.pid = len(self._processes)
        track.process.process_name = name
        return len(self._processes)

    def track(self, process: int, name: str) -> int:
        """Add a track of slices and return its number."""
        track = self._described(process)
        track.thread.pid = process
        track.thread.tid = track.uuid
        track.thread.thread_name = name
        return int(track.uuid)

    def counter(self, process: int, name: str) -> int:
        """Add a track of bytes held and return its number."""
        track = self._described(process)
        track.name = name
        track.counter.unit = _BYTES
        return int(track.uuid)

    def slice(
        self, track: int, name: str, start_s: float, end_s: float, *, category: str = "", cores: str = ""
    ) -> None:
        """Write a slice."""
        self.begin(track, name, start_s, category=category, cores=cores)
        self.end(track, end_s)

    def begin(
        self, track: int, name: str, at_s: float, *, sends: int = 0, takes: int = 0, category: str = "", cores: str = ""
    ) -> None:
        """Begin a slice; sends, takes: number of an arrow that leaves it or ends at it, 0: none."""
        event = self._event(track, at_s, self._kinds.TYPE_SLICE_BEGIN)
        event.name = name
        if category:
            event.categories.append(category)
        if cores:
            note = event.debug_annotations.add()
            note.name, note.string_value = "cores", cores
        if sends:
            event.flow_ids.append(sends)
        if takes:
            event.terminating_flow_ids.append(takes)

    def end(self, track: int, at_s: float) -> None:
        """End the slice that is open on a track."""
        self._event(track, at_s, self._kinds.TYPE_SLICE_END)

    def count(self, track: int, at_s: float, size_bytes: float) -> None:
        """Write what a counter is from a moment on."""
        self._event(track, at_s, self._kinds.TYPE_COUNTER).counter_value = round(size_bytes)

    def _described(self, process: int = 0) -> Any:
        """Return the descriptor of a new track, of a process where one is given."""
        self._tracks += 1
        track = self._builder.add_packet().track_descriptor
        track.uuid = self._tracks
        if process:
            track.parent_uuid = self._processes[process - 1]
        return track

    def _event(self, track: int, at_s: float, kind: Any) -> Any:
        packet = self._builder.add_packet()
        packet.timestamp = round(at_s * 1e9)
        packet.trusted_packet_sequence_id = _SEQUENCE
        packet.track_event.type = kind
        packet.track_event.track_uuid = track
        return packet.track_event


class TraceEventWriter:
    """A writer of the Trace Event Format (JSON object form), which Perfetto and chrome://tracing open.

    A slice is a complete event ("X"), in microseconds.
    """

    def __init__(self) -> None:
        self._events: list[dict[str, object]] = []
        self._processes = 0
        self._tracks: list[tuple[int, int]] = []  # process and thread of each

    def json(self) -> dict[str, object]:
        """Return the trace as values of JSON."""
        other = {"version": f"hardplace {__version__}"}
        return {"traceEvents": self._events, "displayTimeUnit": "ns", "otherData": other}

    def process(self, name: str) -> int:
        """Add a process and return its number, from 1."""
        self._processes += 1
        self._named(self._processes, 0, "process_name", {"name": name})
        return self._processes

    def track(self, process: int, name: str) -> int:
        """Add a thread of a process and return its number in the trace, from 0."""
        thread = 1 + sum(one == process for one, _ in self._tracks)
        self._tracks.append((process, thread))
        self._named(process, thread, "thread_name", {"name": name})
        self._named(process, thread, "thread_sort_index", {"sort_index": thread})
        return len(self._tracks) - 1

    def slice(
        self, track: int, name: str, start_s: float, end_s: float, *, category: str = "", cores: str = ""
    ) -> None:
        """Write a slice."""
        process, thread = self._tracks[track]
        event = {"ph": "X", "pid": process, "tid": thread, "name": name, "ts": 1e6 * start_s}
        more = {"cat": category, "args": {"cores": cores}} if category or cores else {}
        self._events.append({**event, "dur": 1e6 * (end_s - start_s), **more})

    def _named(self, process: int, thread: int, what: str, value: dict[str, object]) -> None:
        self._events.append({"ph": "M", "pid": process, "tid": thread, "name": what, "args": value})
