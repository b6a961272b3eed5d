"""What products of a training step reach of the tensor peak on GPUs, against what their power leaves.

    python benchmarks/power_limit.py

The share reached is that of the models fitted on each GPU's kernels and on published runs: products of a step of Llama
2 7B with Megatron Core. What power leaves is by `hardplace.hardware.throttle` from published TDP. Prints both and their
ratio, which is the `matrix_share` of `hardplace.hardware.settings`, and the error of each GPU by the mean ratio of the
other generations. Boards without published runs of their own (H200, B300, AMD's) tell nothing and are left out.
"""

from __future__ import annotations

import numpy as np

import hardplace as hp
from hardplace.hardware.blueprint import of_device
from hardplace.hardware.catalogue import device
from hardplace.hardware.technology import technology
from hardplace.hardware.throttle import product_power

GPUS = ("a100-80gb-sxm", "h100-sxm", "b200-sxm", "gb200", "gb300")
DEVICES, SAMPLES, TOKENS = 1024, 4, 4096
# Llama 2 7B: 32 layers of 4 h h + 3 h f, and the head; forward, and two products backward; attention is apart.
WEIGHTS = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008) + 4096 * 32000


def reached(name: str) -> float:
    """Return the share of the peak that products of a step reach by the fitted models."""
    plan = hp.Plan(global_batch=DEVICES * SAMPLES, data=DEVICES, software="megatron-core")
    shares = hp.estimate("llama2-7b", plan, name).shares
    products_s = next(one.seconds for one in shares if one.name == "matrix products")
    peak = device(name).peak_flops_per_s("bf16")
    return 6.0 * WEIGHTS * TOKENS * SAMPLES / products_s / peak


def main() -> None:
    """Print a row a GPU."""
    rows = []
    for name in GPUS:
        chip = device(name)
        power = product_power(of_device(chip), technology(chip.node_nm), chip.tdp_w)
        rows.append((name, reached(name), float(power.share[0])))
    ratio = np.array([share / left for _, share, left in rows])
    print(f"{'GPU':16}{'reached':>9}{'power leaves':>14}{'ratio':>8}{'by the others':>15}{'off':>8}")
    for index, (name, share, left) in enumerate(rows):
        # B200 and GB200 are one die.
        alike = {"b200-sxm", "gb200", "gb300"} if name in {"b200-sxm", "gb200", "gb300"} else {name}
        others = np.exp(np.mean([np.log(ratio[at]) for at, row in enumerate(rows) if row[0] not in alike]))
        left_out = others * left
        print(f"{name:16}{share:9.3f}{left:14.3f}{ratio[index]:8.3f}{left_out:15.3f}{left_out / share - 1:+8.1%}")
    print(f"mean ratio {np.exp(np.mean(np.log(ratio))):.3f}")


if __name__ == "__main__":
    main()
