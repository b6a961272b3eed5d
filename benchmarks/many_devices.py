"""Processor seconds, memory and gap of `place` as the devices grow from 64 to 131,072, one process for each question.

    python benchmarks/many_devices.py --write                           # the table of docs/performance.md
    python benchmarks/many_devices.py llama3-405b:h100-sxm --most 16384

As many samples a step as devices, 512 at the least. A model is a catalogue name or a file; what is recorded first
(`hardplace trace`) is read in a moment. Seconds are of the whole process with its imports. The mixture of 10 trillion
parameters is recorded first (extra `torch`, 15 s): `hardplace trace examples/mixture-10t/config.json`, here.
"""

import argparse
import multiprocessing
import os
import resource
import time
from datetime import date
from pathlib import Path

NAMES = ("llama3-405b", "deepseek-v3", "mixture-10t.json.gz")
MODELS = tuple(f"{name}:{device}" for name in NAMES for device in ("h100-sxm", "gb200"))
DOCUMENT = Path(__file__).parents[1] / "docs" / "performance.md"
MARKS = ("<!-- many devices: benchmarks/many_devices.py --write -->", "<!-- /many devices -->")
DEVICES = (64, 512, 2048, 16384, 65536, 131072)


def placed(model: str, device: str, devices: int, answers: "multiprocessing.Queue[tuple[object, ...]]") -> None:
    """Place a model, and send what came of it: seconds of a step, gap, plans considered, the degrees of the best."""
    import hardplace as hp

    found = hp.place(model, device, devices, batch=max(512, devices))
    seconds, held = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    if isinstance(found, hp.Infeasible):
        answers.put((seconds, held, f"short by {found.short_bytes / 2**30:.1f} GiB"))
        return
    best = found.best[0].plan
    degrees = f"t{best.tensor} p{best.pipeline} d{best.data} e{best.expert}"
    answers.put((seconds, held, f"{found.best[0].step_s:.4g} s, {found.gap:.2%}, {found.considered:,}, {degrees}"))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("models", nargs="*", default=MODELS, metavar="MODEL:DEVICE")
    options.add_argument("--most", type=int, default=DEVICES[-1], help="devices at the most")
    options.add_argument("--write", action="store_true", help="the table into docs/performance.md")
    asked = options.parse_args()
    spawn = multiprocessing.get_context("spawn")
    lines = [
        "| model | device | devices | CPU s | peak memory, GB | step, gap, plans, degrees |",
        "|---|---|--:|--:|--:|---|",
    ]
    for one in asked.models:
        model, _, device = one.rpartition(":")
        for devices in (count for count in DEVICES if count <= asked.most):
            answers = spawn.Queue()
            child = spawn.Process(target=placed, args=(model, device, devices, answers))
            child.start()
            seconds, held, said = answers.get()
            child.join()
            name = model.removesuffix(".json.gz")
            lines.append(f"| {name} | {device} | {devices:,} | {seconds:.1f} | {held:.2f} | {said} |")
            print(lines[-1], flush=True)
    lines += ["", f"{date.today()}, load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores."]
    if asked.write:
        written(lines)


def written(lines: list[str]) -> None:
    """Put the table between its marks."""
    text = DOCUMENT.read_text()
    begin, end = text.index(MARKS[0]) + len(MARKS[0]), text.index(MARKS[1])
    DOCUMENT.write_text(f"{text[:begin]}\n" + "\n".join(lines) + f"\n{text[end:]}")


if __name__ == "__main__":
    main()
