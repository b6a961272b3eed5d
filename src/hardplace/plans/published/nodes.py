"""The devices of the tables of published runs, and the node that a run's ran in: the catalogue's, with what a row says
of its size and of its links."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from hardplace.hardware.catalogue import node
from hardplace.hardware.device import Node
from hardplace.plans.efficiencies import fitted
from hardplace.plans.published.rows import NotModelled

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
    "A100-80GB-PCIe": ("a100-80gb-pcie", "pcie-a100-80gb-pcie"),
    "A100-40GB-PCIe": ("a100-40gb-pcie", "pcie-a100-40gb-pcie"),
    "H100-PCIe": ("h100-pcie", "pcie-h100-pcie"),
    "L40S": ("l40s", "pcie-l40s"),
    "RTX4090": ("rtx-4090", "pcie-rtx-4090"),
    "RTX5090": ("rtx-5090", "pcie-rtx-5090"),
    "RTX-PRO-6000": ("rtx-pro-6000", "pcie-rtx-pro-6000"),
    "Trainium2-chip": ("trainium2", "trn2"),
}
FABRICS = ("Omni-Path",)  # that reach less than their rate
# Number of links, rate, its prefix and unit: 4x100 Gb/s, 3200 Gbps, 3.2 Tb/s, 8x400G (of links: bits).
_RATE = re.compile(r"(?:(\d+) ?x ?)?(\d+(?:\.\d+)?) ?([GTgt])([bB])?(?:yte|it|E)?(?:/s|ps)?\b")
_OF_A_NODE = re.compile(r"node|VM\b|server|host|machine|instance", re.IGNORECASE)
_OF_A_DEVICE = re.compile(r"(?:/|\bper |\ba )(?:GPU|device|chip|card|accelerator)", re.IGNORECASE)
_MOST = 100e9  # bytes/s of a device: 800 Gb/s, the fastest adapter; more than that is a node's
_SLICES = re.compile(r"(\d+) (?:slice|pod)")  # of a torus, joined by the data-centre network
_SAID = re.compile(r"inter-node fabric[^;]*?(\d+ Gb/s)")  # fms-fsdp's, in the note, of a node
_BOX = 16  # devices that one box has at most; more are a rack or a torus, whatever its boards hold


def slices_of(row: Mapping[str, str]) -> int:
    """Return how many slices of a torus the run has; 1 where the source speaks of none."""
    said = _SLICES.match(row["inter_bw"])
    return int(said[1]) if said else 1


def node_of_run(row: Mapping[str, str], name: str, devices: int) -> Node:
    """Return the node of a run.

    Its size is the row's where both are boxes; inside, a switch where the row says NVSwitch and the catalogue has a
    mesh; between nodes, or slices of a torus, the row's rate. A rate of several links, or beyond any adapter's, is a
    node's unless it says that it is a device's.

    Args:
        row: The row.
        name: The device's node in the catalogue.
        devices: Devices of the run.

    Raises:
        NotModelled: For links that are not the node's, and for a rate that cannot be read.
    """
    found, slices = node(name), slices_of(row)
    inside, *others = found.levels
    if slices > 1:
        return replace(found, levels=(replace(inside, devices=devices // slices), *others))
    said = row["intra_bw"]
    if "pcie" in said.lower() and "nvlink" not in said.lower() and "NVLink" in inside.name:
        raise NotModelled(f"intra_bw: {said}: expected {inside.name}, the links of {found.title}")
    each = int(float(row.get("devices_per_node", "").strip() or 0))
    if each and devices > each and devices % each:
        raise NotModelled(f"devices_per_node: {each}: expected a divisor of the {devices} devices")
    if each and inside.devices and max(each, inside.devices) <= _BOX:
        inside = replace(inside, devices=each)
    if "NVSwitch" in said:
        inside = replace(inside, meshed=False)
    noted = _SAID.search(row.get("note", ""))
    rate = _rate(row["inter_bw"] or (f"{noted[1]} per node" if noted else ""), inside.devices or 1)
    if others and rate:
        share = next((fitted().fabrics[one] for one in FABRICS if one in row["inter_bw"]), others[-1].efficiency)
        others[-1] = replace(others[-1], bandwidth_bytes_per_s=rate, efficiency=share)
    elif others and devices > (inside.devices or devices) and re.search(r"\d ?[GT]", row["inter_bw"]):
        raise NotModelled(f"inter_bw: {row['inter_bw']!r}: expected a rate such as 400 Gb/s/GPU or 8x200 Gb/s per node")
    return replace(found, levels=(inside, *others))


def _rate(text: str, devices: int) -> float:
    """Return the bytes/s of a device that a text says, 0 where it says none; devices: of a node."""
    match = _RATE.search(text)
    if match is None:
        return 0.0
    rate = int(match[1] or 1) * float(match[2]) * (1e12 if match[3] in "Tt" else 1e9) / (1 if match[4] == "B" else 8)
    several = match[1] is not None or rate > _MOST
    return rate / devices if _OF_A_NODE.search(text) or (several and not _OF_A_DEVICE.search(text)) else rate
