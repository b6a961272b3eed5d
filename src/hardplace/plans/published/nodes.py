"""The devices of the tables of published runs, and the node that a run's ran in."""

from __future__ import annotations

import re
from dataclasses import replace

from hardplace.hardware.catalogue import node
from hardplace.hardware.device import Node
from hardplace.plans.efficiencies import fitted

# device of the table: (device, node) of the catalogue
DEVICES = {
    "A100-80GB": ("a100-80gb-sxm", "dgx-a100"),
    "A100-40GB": ("a100-40gb-sxm", "dgx-a100-320gb"),
    "H100-80GB": ("h100-sxm", "dgx-h100"),
    "A800-80GB": ("a800-80gb-sxm", "hgx-a800"),
    "H800": ("h800-sxm", "hgx-h800"),
    "H100-96GB": ("h100-96gb-sxm", "torchtitan-h100"),
    "GH200": ("gh200", "alps-gh200"),
    "V100-32GB": ("v100-sxm2", "dgx-v100"),
    "B200": ("b200-sxm", "dgx-b200"),
    "B300": ("b300-sxm", "dgx-b300"),
    "GB300": ("gb300", "gb300-nvl72"),
    "V100-16GB": ("v100-16gb-sxm2", "dgx-v100-128gb"),
    "GB200": ("gb200", "gb200-nvl72"),
    "TPUv3": ("tpu-v3", "tpu-v3-1024"),
    "TPUv4": ("tpu-v4", "tpu-v4-4096"),
    "TPUv5e": ("tpu-v5e", "tpu-v5e-256"),
    "TPUv5p": ("tpu-v5p", "tpu-v5p-8960"),
    "Trainium1-chip": ("trainium1", "trn1"),
    "Gaudi2": ("gaudi2", "hls-gaudi2"),
    "Gaudi3": ("gaudi3", "hls-gaudi3"),
    "H200": ("h200-sxm", "dgx-h200"),
    "TPUv6e": ("tpu-v6e", "tpu-v6e-256"),
    "MI250X": ("mi250x-gcd", "lumi-g"),  # a rank is a die, whatever a source calls it
    "MI250X-GCD": ("mi250x-gcd", "lumi-g"),
    "MI300X": ("mi300x", "hgx-mi300x"),
    "MI325X": ("mi325x", "hgx-mi325x"),
    "MI350X": ("mi350x", "hgx-mi350x"),
    "MI355X": ("mi355x", "hgx-mi355x"),
    "TPU7x": ("tpu-v7x", "tpu-v7x-9216"),
    "L40S": ("l40s", "pcie-l40s"),
    "RTX4090": ("rtx-4090", "pcie-rtx-4090"),
    "RTX5090": ("rtx-5090", "pcie-rtx-5090"),
    "Trainium2-chip": ("trainium2", "trn2"),
}
FABRICS = ("Omni-Path",)  # that reach less than their rate
_RATE = re.compile(r"(?:(\d+)x)?(\d+) ?G([bB])/s")


def node_of_run(name: str, devices: int, fabric: str, slices: int, *, switched: bool) -> Node:
    """Return a node with the row's fabric as the bandwidth of a device between nodes, or slices of a torus; switched:
    inside by a switch, where the catalogue's is a mesh."""
    found = node(name)
    inside, *others = found.levels
    if slices > 1:
        return replace(found, levels=(replace(inside, devices=devices // slices), *others))
    if switched:
        inside = replace(inside, meshed=False)
    match = _RATE.search(fabric)
    if match is not None and others:
        times, size, unit = match.groups()
        rate = int(times or 1) * int(size) * 1e9 / (8 if unit == "b" else 1)
        if "node" in fabric or "VM" in fabric:
            rate /= inside.devices or 1
        share = next((fitted().fabrics[one] for one in FABRICS if one in fabric), others[-1].efficiency)
        others[-1] = replace(others[-1], bandwidth_bytes_per_s=rate, efficiency=share)
    return replace(found, levels=(inside, *others))
