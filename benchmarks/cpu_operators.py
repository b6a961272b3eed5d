"""Whole models on this CPU, one thread, against the CPU's model: `cpu_operators.py NAME[:BATCH] ... [--cpu NAME]`.

Times one inference (least processor seconds of repeats) and prints what the model of operators says of it.
"""

from __future__ import annotations

import argparse

from hardplace.api import load
from hardplace.cost.cpu.operators import cpu_operator
from hardplace.cost.cpu.table import cpu_named
from hardplace.graph_split.inference import inference_graph
from hardplace.run.cpu_times import step_named, timed


def main() -> None:
    """Print a line for each model and the mean error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--cpu", default="epyc-1-thread")
    parser.add_argument("--repeats", type=int, default=4)
    given = parser.parse_args()
    model, errors = cpu_named(given.cpu), []
    for text in given.models:
        name, _, batch = text.partition(":")
        run = timed(step_named(name), int(batch or 1), given.repeats)
        graph = inference_graph(load(name), int(batch or 1))
        by_kind = [
            sum(model.seconds(cpu_operator(layer, one, int(batch or 1))) for one in layer.operators)
            for layer in graph.kinds
        ]
        predicted_s = sum(by_kind[node.kind] for node in graph.nodes)
        within_s = sum(one.seconds for one in run.operators)
        errors.append(predicted_s / run.whole_s - 1)
        print(
            f"{text}: measured {run.whole_s * 1e3:.1f} ms (operators {within_s * 1e3:.1f}), "
            f"predicted {predicted_s * 1e3:.1f} ms, {errors[-1]:+.1%}",
            flush=True,
        )
    print(f"mean {sum(map(abs, errors)) / len(errors):.1%}")


if __name__ == "__main__":
    main()
