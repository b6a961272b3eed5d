"""The answer of `split`: a placement of a graph on devices, its schedule, and a certificate."""

from __future__ import annotations

from dataclasses import dataclass

from hardplace.answers import Answer
from hardplace.certificate import MOST_CONSIDERED, Certificate, gap_of


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRow:
    """Where one operator runs, and when for the first sample; None where only the order of devices is decided.

    way: how, where there are several: recompute.
    """

    operator: str
    device: str
    start_s: float | None = None
    end_s: float | None = None
    way: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferRow:
    """When an output moves from one device to another, for the first sample."""

    operator: str
    source: str
    target: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SplitResult(Answer):
    """A graph on unlike devices.

    objective: latency (value_s: seconds of one sample) or throughput (seconds between two). semantics: links, or
    through-host, whose file has the devices, or stages, of operators with ways. shape: of a split through the host:
    ordered, convex or any; piece for its latency. bound_s: no split has less. devices, busy_s: by device, seconds in
    use for one sample. samples: in value_s: of a batch, times requests in flight.
    methods: solvers that were tried, and the seconds each reached. candidates: splits for which the bound holds, at
    least; none: every operator on any device.
    """

    graph: str
    objective: str
    semantics: str
    shape: str
    value_s: float
    bound_s: float
    search_s: float
    devices: tuple[str, ...]
    busy_s: tuple[float, ...]
    memory_bytes: tuple[float, ...]
    placement: tuple[SplitRow, ...]
    transfers: tuple[TransferRow, ...] = ()
    methods: tuple[tuple[str, float], ...] = ()
    samples: int = 1
    notes: tuple[str, ...] = ()
    candidates: int | None = None

    ROWS = "placement"

    @property
    def certificate(self) -> Certificate | None:
        """The proof, as rates, of placements (10^18 stands for as many or more); none where the graph takes no
        time or nothing is known below its time."""
        if self.value_s <= 0.0 or self.bound_s <= 0.0:
            return None
        score, bound = self.samples / self.value_s, self.samples / self.bound_s
        stop = "proven" if gap_of(score, bound) <= 1e-9 else "the time ran out or the solvers had no more to try"
        splits = self.candidates or max(1, len(self.devices)) ** len(self.placement)
        return Certificate(
            score=score, bound=max(score, bound), unit="samples/s", stop=stop,
            considered=min(splits, MOST_CONSIDERED), seconds=self.search_s,
        )  # fmt: skip
