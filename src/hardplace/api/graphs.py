"""Operator graphs on unlike devices, and embedding tables on many."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hardplace.api.asking import Named, asked_of, names_of

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from hardplace.answers import Infeasible
    from hardplace.graph_split.answer import SplitResult
    from hardplace.graph_split.table_answer import TablesResult
    from hardplace.workload.types import Workload


def split(
    graph: str | os.PathLike[str] | Workload,
    device: Named = (),
    *,
    objective: str = "latency",
    bandwidth: str | float = "16 GB/s",
    latency: str | float = "10 us",
    link: Named = (),
    queued: bool = True,
    batch: int | None = None,
    requests: int = 1,
    coarsen: str = "none",
    shape: str = "any",
    devices: int | None = None,
    memory: str | None = None,
    micro_batches: int | None = None,
    without: Named = (),
    gap: float = 0.0,
    seconds: float = 10.0,
) -> SplitResult | Infeasible:
    """Split a graph of operators over unlike devices: placement and schedule, with a certificate.

    Args:
        graph: A model (a name of `models()`, a Workload or its file, a config.json, an .onnx file, the .xml of an
            OpenVINO IR), whose operators are priced on
            `device` by the models of this package. Or a file of operators with seconds by kind of device
            (docs/formats.md, "Operator graph"), a converted file of dnn-partitioning, which has its devices, or one of
            Piper, whose operators have ways.
        device: Kinds, with a memory such as "gpu:24GiB"; the same again for another device of that kind. For a model:
            names of `devices()`, descriptions, and CPUs: "cpu" or a file of `hardplace verify MODEL --cpu`; the data
            are on the first one.
        objective: latency (of one sample) or throughput (of a pipeline: the busiest of devices and links).
        bandwidth: Bandwidth between every pair of devices, as a text with its unit or in bytes a second.
        latency: Latency between every pair of devices, as a text with its unit or in seconds.
        link: Bandwidth and latency of one pair, such as "cpu-gpu=16GB/s,10us".
        queued: Whether a link moves one tensor at a time.
        batch: Of a model: samples of one inference. None: 1.
        requests: In flight at the same time, all there at the start; latency is then of all of them.
        coarsen: hsdag: operators share a device by the groups of HSDAG's release, which may lose; none.
        shape: Of a file of dnn-partitioning: ordered, convex, any.
        devices: Of a file of Piper: number of equal devices.
        memory: Of a file of Piper: memory of each device, such as "8 GiB".
        micro_batches: Of a file of Piper: in a step. None: the file's own number.
        without: Of a file of Piper, what is forbidden: data, tensor, recompute.
        gap: Relative gap at which the search stops. 0: proven optimal.
        seconds: Time limit in seconds.

    Returns:
        The device and the times of each operator, with the certificate; or what is short.

    Raises:
        BadInput: For circles, operators that no device supports, costs below 0, unknown links, groups without a device
            in common.
    """
    asked = asked_of(locals())
    from hardplace.api.sources import load, trace
    from hardplace.errors import BadInput
    from hardplace.graph_split.ask import asked_model, asked_split
    from hardplace.graph_split.graph_file import LinkChoice
    from hardplace.graph_split.stage_answer import StageChoice
    from hardplace.units import parse_quantity
    from hardplace.workload.types import Workload

    speed = parse_quantity(bandwidth, "B/s", "bandwidth") if isinstance(bandwidth, str) else float(bandwidth)
    delay_s = parse_quantity(latency, "s", "latency") if isinstance(latency, str) else float(latency)
    links = LinkChoice(bytes_per_s=speed, latency_s=delay_s, queued=queued, named=names_of(link))
    stages = StageChoice(devices=devices, memory=memory, micro_batches=micro_batches, without=names_of(without))
    if _is_model(graph):
        for name, given in (
            ("devices", devices), ("memory", memory), ("micro_batches", micro_batches), ("without", without),
        ):  # fmt: skip
            if given not in (None, ()):
                raise BadInput(name, given, "none for a model, whose devices are named one by one")
        if shape != "any":
            raise BadInput("shape", shape, "any; other shapes are of files with devices around a host")
        answer = asked_model(
            trace(graph) if str(graph).endswith(".onnx") else load(graph), names_of(device), links,
            batch=1 if batch is None else batch, requests=requests,
            objective=objective, limit_s=seconds, gap=gap, coarsen=coarsen,
        )  # fmt: skip
        return replace(answer, question=asked)
    assert not isinstance(graph, Workload)
    if batch is not None:
        raise BadInput("batch", batch, "a model; the times of a file are of its own batch")
    found = asked_split(
        graph, names_of(device), links, objective=objective, shape=shape, limit_s=seconds, gap=gap,
        stages=None if stages == StageChoice() else stages, requests=requests, coarsen=coarsen,
    )  # fmt: skip
    return replace(found, question=asked)


def _is_model(graph: str | os.PathLike[str] | Workload) -> bool:
    """Return whether a graph is a model: a Workload, its name or file, or a config."""
    from hardplace.files import read_json
    from hardplace.workload.load import catalogue
    from hardplace.workload.types import Workload

    if isinstance(graph, Workload) or str(graph) in catalogue():
        return True
    path = Path(graph)
    if (path / "config.json").is_file() or str(graph).endswith((".onnx", ".xml", ".xml.gz")):
        return True
    if not path.suffix and not path.exists():
        return True  # a name: the catalogue says which are near
    data = read_json(path)
    return isinstance(data, dict) and ("layers" in data or "model_type" in data)


def tables(
    file: str | os.PathLike[str],
    *,
    sharding: Named = (),
    prices: str = "torchrec",
    batch: Sequence[int] = (),
    devices: Sequence[int] = (),
    seconds: float = 10.0,
) -> TablesResult | Infeasible:
    """Shard embedding tables over equal devices so that the busiest takes least, with a certificate.

    Args:
        file: Tables, devices and batch (docs/formats.md, "Embedding tables").
        sharding: Ways that are allowed: table_wise, column_wise, row_wise, table_row_wise; with
            our prices data_parallel and host_cached too. Empty: the file's, or all.
        prices: torchrec: those of TorchRec's planner, the busiest device; step: ours, the whole step (the file says
            the MLPs).
        batch: Samples of a device, several to search for the most samples a second. Empty: the file's.
        devices: Numbers of devices, likewise.
        seconds: Time limit in seconds.

    Returns:
        The devices and the way of each table, with the certificate; or what is short.

    Raises:
        BadInput: For a file that names none of these, with the field.
    """
    asked = asked_of(locals())
    from hardplace.graph_split.table_answer import TableQuestion, asked_tables

    question = TableQuestion(allowed=names_of(sharding), prices=prices, batches=tuple(batch), devices=tuple(devices))
    return replace(asked_tables(file, question, seconds), question=asked)
