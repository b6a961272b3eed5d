"""`hardplace split`: a graph of operators on different kinds of device."""

from __future__ import annotations

from pathlib import Path

import click

from hardplace.cli import folders, options
from hardplace.cli.app import app
from hardplace.cli.printing import end_infeasible, give_answer, say_written


@app.command()
@click.argument("graph", metavar="GRAPH")
@click.option("--device", multiple=True, metavar="KIND[:MEMORY]", help="A device; repeat the option for more.")
@click.option(
    "--objective",
    type=click.Choice(["latency", "throughput"]),
    default="latency",
    show_default=True,
    help="Latency of one sample, or throughput of a pipeline of samples.",
)
@click.option("--bandwidth", default="16 GB/s", show_default=True, help="Of the link of every pair of devices.")
@click.option("--latency", default="10 us", show_default=True, help="Of the link of every pair of devices.")
@click.option(
    "--link",
    multiple=True,
    metavar="A-B=BANDWIDTH[,LATENCY]",
    help="Bandwidth and latency of the link of one pair of devices.",
)
@click.option("--queued/--not-queued", default=True, show_default=True, help="A link moves one tensor at a time.")
@click.option(
    "--shape",
    type=click.Choice(["ordered", "convex", "any"]),
    default="any",
    show_default=True,
    help="What a device may hold, for a GRAPH with devices around a host.",
)
@click.option("--batch", type=click.IntRange(min=1), help="Samples of one inference, for a model.  [default: 1]")
@click.option(
    "--requests", type=click.IntRange(min=1), default=1, show_default=True, help="Requests in flight at once."
)
@click.option(
    "--coarsen",
    type=click.Choice(["none", "hsdag"]),
    default="none",
    show_default=True,
    help="Operators that share a device: by HSDAG's groups, which may lose.",
)
@click.option("--devices", type=click.IntRange(min=1), help="Number of equal devices, for a GRAPH with alternatives.")
@click.option("--memory", help="Memory of each of --devices, such as 8GiB.")
@click.option(
    "--micro-batches", type=click.IntRange(min=1), help="Of a step, for a GRAPH with alternatives.  [default: its own]"
)
@click.option(
    "--without",
    type=click.Choice(["data", "tensor", "recompute"]),
    multiple=True,
    help="What is forbidden, for a GRAPH with alternatives.",
)
@options.gap("Stop when no split can be better by more than this share.", 0.0)
@options.seconds("Stop after about this many seconds.", 10.0)
@options.folder("Folder for split.json, page.html and trace.json.  [default: hardplace-out/GRAPH-split]")
@options.as_json
def split(
    graph: str,
    device: tuple[str, ...],
    objective: str,
    bandwidth: str,
    latency: str,
    link: tuple[str, ...],
    queued: bool,
    shape: str,
    batch: int | None,
    requests: int,
    coarsen: str,
    devices: int | None,
    memory: str | None,
    micro_batches: int | None,
    without: tuple[str, ...],
    gap: float,
    limit_s: float,
    out: Path | None,
) -> None:
    """Split GRAPH over unlike devices: placement, schedule, a bound that no split beats, Gantt page and trace.

    GRAPH is a model (a name, a Workload, a config, .onnx, the .xml of an OpenVINO IR), whose operators are priced on
    each DEVICE by its model (names of `chips`, descriptions, cpu or a file of `verify --cpu`), a file of operators
    with seconds by kind of device (docs/formats.md, "Operator graph"), a file of dnn-partitioning, which has its own
    devices, or one of Piper, whose operators have alternatives (data and tensor degrees, recompute).

    \b
    hardplace split resnet-50 --device cpu --device h100-sxm --batch 8
    hardplace split examples/split/inception-block.json --device cpu --device gpu:8GiB
    hardplace split graph.json --device cpu --device gpu --device gpu --link gpu0-gpu1=50GB/s,5us --objective throughput
    """
    from hardplace import api
    from hardplace.answers import Infeasible
    from hardplace.files import dumps, write_text
    from hardplace.report.split import page, show_split, trace
    from hardplace.report.terminal import show_infeasible

    folders.check_writable(out)
    found = api.split(
        graph, device, objective=objective, bandwidth=bandwidth, latency=latency, link=link, queued=queued,
        shape=shape, batch=batch, requests=requests, coarsen=coarsen, devices=devices, memory=memory,
        micro_batches=micro_batches, without=without, gap=gap, seconds=limit_s,
    )  # fmt: skip
    if isinstance(found, Infeasible):
        end_infeasible(found, show_infeasible)
    drawn, traced = page(found, folders.command()), dumps(trace(found), compact=True)

    def keep() -> None:
        folder = folders.folder_of(f"{Path(graph).name.split('.')[0]}-split", out)
        found.save(folder / "split.json")
        write_text(folder / "page.html", drawn)
        write_text(folder / "trace.json", traced)
        say_written(f"{folder}/split.json, page.html, trace.json (opens in ui.perfetto.dev)")

    give_answer(found, show_split, keep)
