"""Processor seconds, memory and gap of `place` as the devices grow from 64 to 131,072, one process for each question.

    python benchmarks/many_devices.py                                   # the table of docs/model-placement.md
    python benchmarks/many_devices.py llama3-405b:h100-sxm --most 16384

As many samples a step as devices, 512 at the least. A model is a catalogue name or a file; what is recorded first
(`hardplace trace`) is read in a moment. Seconds are of the whole process with its imports.
"""

import argparse
import multiprocessing
import resource
import time

MODELS = ("llama3-405b:h100-sxm", "deepseek-v3:h100-sxm", "llama3-405b:gb200", "deepseek-v3:gb200")
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
    asked = options.parse_args()
    spawn = multiprocessing.get_context("spawn")
    print("| model | device | devices | CPU s | peak memory, GB | step, gap, plans, degrees |")
    print("|---|---|---:|---:|---:|---|")
    for one in asked.models:
        model, _, device = one.rpartition(":")
        for devices in (count for count in DEVICES if count <= asked.most):
            answers = spawn.Queue()
            child = spawn.Process(target=placed, args=(model, device, devices, answers))
            child.start()
            seconds, held, said = answers.get()
            child.join()
            print(f"| {model} | {device} | {devices:,} | {seconds:.1f} | {held:.2f} | {said} |", flush=True)


if __name__ == "__main__":
    main()
