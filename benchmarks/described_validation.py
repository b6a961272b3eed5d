"""Described accelerators against RTL, SCALE-Sim and published totals: the tables of docs/validation-described.md.

`described_validation.py`: Gemmini's RTL rows with the worst ten, SCALE-Sim's products, NVDLA's and Eyeriss's totals,
then for each description and network cycles, instructions evaluated and stood for, processor seconds.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, median
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

# In, 1x1, 3x3 reduced, 3x3, 5x5 reduced, 5x5, after the pool, size (Szegedy et al., CVPR 2015, table 1).
INCEPTIONS = (
    (192, 64, 96, 128, 16, 32, 32, 28), (256, 128, 128, 192, 32, 96, 64, 28), (480, 192, 96, 208, 16, 48, 64, 14),
    (512, 160, 112, 224, 24, 64, 64, 14), (512, 128, 128, 256, 24, 64, 64, 14), (512, 112, 144, 288, 32, 64, 64, 14),
    (528, 256, 160, 320, 32, 128, 128, 14), (832, 256, 160, 320, 32, 128, 128, 7),
    (832, 384, 192, 384, 48, 128, 128, 7),
)  # fmt: skip


def main() -> None:
    """Print all tables."""
    rtl: Any = importlib.import_module("described_rtl")
    rows = [(index, row, cycles) for index, row, cycles in rtl.gemmini_rows()]
    scored = [(cycles / int(row["rtl_cycles"]) - 1, index, row, cycles) for index, row, cycles in rows]
    kept = [one for one in scored if one[2]["accumulator_rows_each_column"] not in rtl.FITTED]
    fitted = [abs(one[0]) for one in scored if one[2]["accumulator_rows_each_column"] in rtl.FITTED]
    errors = sorted(abs(error) for error, *_ in kept)
    theirs = [abs(int(row["dosa_analytic_cycles"]) / int(row["rtl_cycles"]) - 1) for _, _, row, _ in kept]
    print(
        f"Gemmini RTL, {len(kept)} rows: mean {mean(errors):.1%}, median {median(errors):.1%}, worst {errors[-1]:.1%}, "
    )
    print(f"  within 8 %: {sum(one <= 0.08 for one in errors)}, 25 %: {sum(one <= 0.25 for one in errors)}; ")
    print(f"  DOSA's analytic model: mean {mean(theirs):.1%}, median {median(theirs):.1%}, worst {max(theirs):.1%}")
    print(f"  {len(fitted)} rows that set the fitted figures: mean {mean(fitted):.1%}, median {median(fitted):.1%}")
    for error, _, row, cycles in sorted(kept, key=lambda one: -abs(one[0]))[:10]:
        shape = " ".join(row[dim] for dim in "ckpqrs")
        print(f"| {shape} / {row['stride_h']} | {row['mapping']} | {row['rtl_cycles']} | {cycles} | {error:+.1%} |")
    for row, cycles in rtl.scalesim_rows():
        print("SCALE-Sim", *row.values(), cycles)
    totals()
    networks()


def totals() -> None:
    """Print the published totals of NVDLA and Eyeriss beside ours."""
    from hardplace.described.layers import convolution, product
    from hardplace.described.networks import network
    from hardplace.described.parameters import layers_bound
    from hardplace.described.reading import read_description

    def longest(layers: Sequence[Any], classes: Sequence[Any]) -> float:
        """Return milliseconds by the sheet's own rule: a layer takes the longest of its memory and its units."""
        return (layers_bound(nvdla, layers) + layers_bound(nvdla, classes) / 16) / nvdla.clock_hz * 1e3

    nvdla = read_description(str(ROOT / "validation/described/nvdla-large.toml"))
    alexnet = (
        convolution("conv1", 3, 96, (227, 227), (11, 11), 4, (0, 0)),
        convolution("conv2", 96, 256, (27, 27), (5, 5), groups=2),
        convolution("conv3", 256, 384, (13, 13), (3, 3)),
        convolution("conv4", 384, 384, (13, 13), (3, 3), groups=2),
        convolution("conv5", 384, 256, (13, 13), (3, 3), groups=2),
    )
    classes = tuple(product(f"fc{k}", 16, n, k) for n, k in ((4096, 9216), (4096, 4096), (1000, 4096)))
    resnet = network("resnet-50")
    sums = [layer for layer in resnet if layer.operation == "elementwise"]
    convolutions = [layer for layer in resnet if layer.macs and layer.name != "classes"]
    found = seconds(nvdla, alexnet) + seconds(nvdla, classes) / 16
    line("NVDLA AlexNet", found * 1e3, 0.8954, "ms")
    line("  the longest of memory and units", longest(alexnet, classes), 0.8954, "ms")
    google = (convolution("1", 3, 64, (224, 224), (7, 7), 2), convolution("2r", 64, 64, (56, 56)),
              convolution("2", 64, 192, (56, 56), (3, 3)), *inception())  # fmt: skip
    found = seconds(nvdla, google) + seconds(nvdla, (product("fc", 16, 1000, 1024),)) / 16
    line("NVDLA GoogLeNet", found * 1e3, 1.2221, "ms")
    line("  the longest of memory and units", longest(google, (product("fc", 16, 1000, 1024),)), 1.2221, "ms")
    found = seconds(nvdla, convolutions) + seconds(nvdla, (product("fc", 16, 1000, 2048),)) / 16
    line("NVDLA ResNet-50", (found + seconds(nvdla, sums) / 3) * 1e3, 7.1137, "ms")  # a sum reads one operand more
    line("  the longest of memory and units", longest(resnet[:-1], (product("fc", 16, 1000, 2048),)), 7.1137, "ms")
    eyeriss = read_description("eyeriss")
    four = [replace(layer, extents={**layer.extents, "n": 4}) for layer in alexnet]
    line("Eyeriss AlexNet, batch 4", 4 / seconds(eyeriss, four), 35.0, "frames/s")
    vgg, channels, size = [], 3, 224
    for filters, times in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(times):
            vgg.append(convolution("vgg", channels, filters, (size, size), (3, 3), batch=3))
            channels = filters
        size //= 2
    line("Eyeriss VGG-16, batch 3", 3 / seconds(eyeriss, vgg), 0.7, "frames/s")


def inception() -> list[Any]:
    """Return the convolutions of GoogLeNet's nine inception blocks.

    The three of 1 x 1 that read a block's input are one: NVDLA can keep the input in its buffer for the next layer
    (register D_MISC_CFG, DATA_REUSE and SKIP_DATA_RLS).
    """
    from hardplace.described.layers import convolution

    return [
        convolution("inception", inputs, outputs, (size, size), (taps, taps))
        for given, one, three_r, three, five_r, five, pooled, size in INCEPTIONS
        for inputs, outputs, taps in (
            (given, one + three_r + five_r, 1), (three_r, three, 3), (five_r, five, 5), (given, pooled, 1),
        )
    ]  # fmt: skip


def seconds(on: Any, layers: Sequence[Any]) -> float:
    """Return the seconds of layers, one after the other."""
    from hardplace.described.answer import DescribedAccelerator, described_accelerator

    found = described_accelerator(on, layers)
    assert isinstance(found, DescribedAccelerator)
    return found.seconds


def line(name: str, ours: float, published: float, unit: str) -> None:
    """Print a total beside what was published."""
    print(f"{name}: {ours:.3f}, published {published:.3f} {unit}, {ours / published - 1:+.1%}")


def networks() -> None:
    """Print what each network takes on each description, and what it took to say so."""
    from hardplace.described.answer import DescribedAccelerator, described_accelerator
    from hardplace.described.networks import network, network_names
    from hardplace.described.reading import description_names, read_description

    for name in description_names():
        on = read_description(name)
        for model in network_names():
            begin = time.process_time()
            found = described_accelerator(on, network(model), model)
            spent = time.process_time() - begin
            if not isinstance(found, DescribedAccelerator):
                print(f"| {name} | {model} | {found.what} |")
                continue
            evaluated = sum(row.evaluated for row in found.layers)
            stood = sum(row.count * row.instructions for row in found.layers)
            exact = all(row.exact for row in found.layers)
            print(f"| {name} | {model} | {found.cycles:,} | {evaluated:,} | {stood:,} | {exact} | {spent:.2f} |")


if __name__ == "__main__":
    main()
