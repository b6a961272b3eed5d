"""The schedules of a layer as a Perfetto trace: a process a pass, a track a row of the Gantt chart (extra trace)."""

from __future__ import annotations

from typing import Any

from hardplace.design.exact.layer_schedule import LayerScheduleResult
from hardplace.errors import BadInput
from hardplace.report import gantt

_SEQUENCE = 1  # all packets are of one writer
_TRACKS = 2**17  # of a pass at most: cores of both kinds


def layer_trace(result: LayerScheduleResult) -> bytes:
    """Return the schedules of a layer's passes in Perfetto's binary format.

    A kernel is a slice on every row that it fills, in nanoseconds from the start of its pass.

    Raises:
        BadInput: Without the package perfetto.
    """
    try:
        from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import TrackEvent
        from perfetto.trace_builder.proto_builder import TraceProtoBuilder
    except ImportError as problem:
        raise BadInput(f"a trace needs the package perfetto ({problem}): pip install 'hardplace[trace]'") from None
    builder: Any = TraceProtoBuilder()
    for process, one in enumerate(result.passes, start=1):
        own = process * _TRACKS
        packet = builder.add_packet()
        packet.track_descriptor.uuid = own
        packet.track_descriptor.process.pid = process
        packet.track_descriptor.process.process_name = f"{result.model} {result.layer} {one.name}"
        rows = gantt.rows(one.phase, result.chip)
        for row, name in enumerate(rows, start=1):
            packet = builder.add_packet()
            packet.track_descriptor.uuid = own + row
            packet.track_descriptor.parent_uuid = own
            packet.track_descriptor.thread.pid = process
            packet.track_descriptor.thread.tid = own + row
            packet.track_descriptor.thread.thread_name = name
        number = {name: own + row for row, name in enumerate(rows, start=1)}
        for bar in sorted(gantt.bars(one.phase, result.chip), key=lambda bar: bar.start_s):
            end_s = bar.start_s + bar.duration_s
            for kind, at_s in ((TrackEvent.TYPE_SLICE_BEGIN, bar.start_s), (TrackEvent.TYPE_SLICE_END, end_s)):
                packet = builder.add_packet()
                packet.timestamp = round(at_s * 1e9)
                packet.trusted_packet_sequence_id = _SEQUENCE
                packet.track_event.type = kind
                packet.track_event.track_uuid = number[bar.row]
                if kind == TrackEvent.TYPE_SLICE_BEGIN:
                    packet.track_event.name = one.phase.kernels[bar.task]
    return bytes(builder.serialize())
