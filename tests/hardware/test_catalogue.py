"""The catalogue: every device agrees with itself and with published peaks; bad files are one line."""

import json
from pathlib import Path

import pytest

from hardplace import hardware
from hardplace.errors import BadInput
from hardplace.hardware.catalogue import device, device_names, node, node_names, read_device, read_node
from hardplace.hardware.device import Trust

ASKED = [
    "v100-sxm2",
    "a100-40gb-sxm",
    "a100-80gb-sxm",
    "a100-40gb-pcie",
    "a100-80gb-pcie",
    "h100-pcie",
    "h100-sxm",
    "h200-sxm",
    "b200-sxm",
    "gb200",
    "mi210",
    "mi250x",
    "mi300x",
    "l40s",
    "rtx-pro-6000",
    "t4",
    "tpu-v3",
    "tpu-v4",
    "tpu-v5e",
    "tpu-v5p",
    "tpu-v6e",
    "trainium1",
    "trainium2",
    "gaudi2",
    "gaudi3",
]
NODES = [
    "dgx-a100",
    "dgx-h100",
    "gb200-nvl72",
    "p4d",
    "p5",
    "tpu-v4-64",
    "tpu-v4-4096",
    "tpu-v5e-256",
    "tpu-v5p-8960",
    "tpu-v6e-256",
]
# Dense bf16 (fp16 on V100, T4) TFLOP/s as the vendors print them, halved where they print sparsity.
PEAKS = {
    "v100-sxm2": 125, "t4": 65, "a100-80gb-sxm": 312, "h100-sxm": 989.4, "h100-pcie": 756, "h200-sxm": 989.4,
    "b200-sxm": 2250, "gb200": 2500, "l40s": 362, "mi210": 181, "mi250x": 383, "mi300x": 1307.4,
    "tpu-v3": 123, "tpu-v4": 275, "tpu-v5e": 197, "tpu-v5p": 459, "tpu-v6e": 918,
    "h800-sxm": 989, "a800-80gb-sxm": 312, "gh200": 989, "mi325x": 1307.4, "mi350x": 2300, "mi355x": 2500,
    "rtx-4090": 165.2, "rtx-5090": 209.5, "tpu-v7x": 2307,
    "trainium1": 190, "trainium2": 667, "gaudi2": 432, "gaudi3": 1677,
}  # fmt: skip


def test_what_was_asked_for_is_there() -> None:
    assert not set(ASKED) - set(device_names())
    assert not set(NODES) - set(node_names())


@pytest.mark.parametrize(("name", "tflops"), PEAKS.items())
def test_peaks_are_dense_and_those_that_vendors_print(name: str, tflops: float) -> None:
    one = device(name)
    dtype = "bf16" if "bf16" in one.dtypes else "fp16"
    assert one.peak_flops_per_s(dtype) / 1e12 == pytest.approx(tflops, rel=0.01)


@pytest.mark.parametrize("name", device_names())
def test_every_figure_has_a_source_and_a_trust_and_is_plausible(name: str) -> None:
    one = device(name)
    assert one.name == name
    assert one.provenance
    assert all(item.source and item.trust is not Trust.OWN for item in one.provenance)
    assert 45 >= one.node_nm >= 3
    assert 4 <= one.memory_bytes / 1e9 <= 310
    assert 0.2 <= one.memory_bandwidth_bytes_per_s / 1e12 <= 8.1
    # All links one way are less than memory; the vendors' figures for both directions would not always be.
    assert (one.link_bandwidth_bytes_per_s or 0) < one.memory_bandwidth_bytes_per_s
    for dtype in one.dtypes:
        assert 10 < one.ridge_flops_per_byte(dtype) < 2000


@pytest.mark.parametrize("name", node_names())
def test_nodes_get_slower_outwards_and_never_faster_than_the_device(name: str) -> None:
    one = node(name)
    rates = [level.bandwidth_bytes_per_s for level in one.levels]
    assert rates == sorted(rates, reverse=True)
    chip = device(one.device)  # without links of its own a device speaks through the host
    assert rates[0] <= max(chip.link_bandwidth_bytes_per_s or 0, chip.host_bandwidth_bytes_per_s or 0)
    inner = one.levels[0].devices or 0
    assert len(one.cluster(inner).levels) == 1
    assert one.cluster(inner * 2).levels[-1].devices == inner * 2


def test_a_type_that_a_chip_lacks_falls_back_to_one_that_holds_it_or_is_refused() -> None:
    assert device("h100-sxm").supports("fp8") == ("fp8", "")
    used, words = device("a100-80gb-sxm").supports("fp8")
    assert used == "fp16"
    assert "a100-80gb-sxm has no fp8" in words
    with pytest.raises(BadInput, match="v100-sxm2: operands of bf16: its matrix engines take only fp16"):
        device("v100-sxm2").supports("bf16")
    with pytest.raises(BadInput, match="v100-sxm2: operands of int8: its matrix engines take only fp16"):
        device("v100-sxm2").supports("int8")
    with pytest.raises(BadInput, match="operand type 'fp12'"):
        device("v100-sxm2").supports("fp12")


OWN = """
name = "mine"
title = "My chip"
vendor = "me"
[chip]
process = "N5"
node = "5 nm"
clock = "1.2 GHz"
[array]
arrays = 4
rows = 128
columns = 128
vector_cores = 2
vector_lanes = 128
[array.macs_per_clock]
bf16 = 1
[buffer]
size = "64 MiB"
[memory]
kind = "HBM3"
size = "80 GB"
bandwidth = "3.2 TB/s"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def test_an_own_device_needs_no_sources(tmp_path: Path) -> None:
    one = device(str(write(tmp_path, OWN)))
    assert one.peak_flops_per_s("bf16") == 2 * 4 * 128 * 128 * 1.2e9
    assert {item.trust for item in one.provenance} == {Trust.OWN}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("arrays = 4", "arays = 4", ["array.arrays: missing"]),
        ("arrays = 4", "arrays = 4\nsides = 2", ["array.sides: unknown field", "expected", "rows"]),
        ('size = "80 GB"', 'size = "80 GB"\nsise = 3', ["memory.sise: unknown field; did you mean size?"]),
        ('size = "80 GB"', 'size = "80 GB/s"', ["memory.size", "'80 GB/s'", "in B"]),
        ('size = "80 GB"', "size = 80", ["memory.size", "80", "with its unit"]),
        ('size = "80 GB"', 'size = "80"', ["memory.size", "'80'", "with its unit"]),
        ('clock = "1.2 GHz"', 'clock = "1.2 ns"', ["chip.clock", "'1.2 ns'", "in Hz"]),
        ('clock = "1.2 GHz"', 'clock = "0 GHz"', ["chip.clock", "'0 GHz'", "positive"]),
        ("rows = 128", "rows = 0", ["array.rows: 0", "1 or more"]),
        ("rows = 128", "rows = 12.5", ["array.rows: 12.5", "whole number"]),
        ("rows = 128", "rows = true", ["array.rows: True", "whole number"]),
        ('size = "64 MiB"', 'size = "32 KiB"', ["buffer.size: 32768 B", "one tile of a 128 x 128 array, 33536 B"]),
        ('kind = "HBM3"', 'kind = "HBM9"', ["memory.kind", "'HBM9'", "HBM3e"]),
        ("bf16 = 1", "fp12 = 1", ["array.macs_per_clock.fp12", "bf16"]),
        ("bf16 = 1", "bf16 = 0", ["array.macs_per_clock.bf16: 0", "positive"]),
        ("rows = 128", 'rows = [128, "x", "A"]', ["array.rows", "source 'x'", "[sources]"]),
        ("[buffer]", "[gpu]\n[buffer]", ["[gpu] and [array]"]),
        ("[memory]", '[peak]\nbf16 = "400 TFLOP/s"\n[memory]', ["peak.bf16", "400", "157.3", "dense"]),
        ("rows = 128", "rows = ", ["expected TOML"]),
    ],
)
def test_a_bad_device_file_is_one_line_with_field_value_and_what_was_expected(
    old: str, new: str, words: list[str], tmp_path: Path
) -> None:
    path = write(tmp_path, OWN.replace(old, new, 1))
    with pytest.raises(BadInput) as caught:
        read_device(path)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    for word in words:
        assert word in text


def test_unknown_names_give_the_nearest() -> None:
    with pytest.raises(BadInput, match=r"unknown device 'h100'; did you mean h100-"):
        device("h100")
    with pytest.raises(BadInput, match=r"unknown node 'dgx-h10'; did you mean dgx-h100"):
        node("dgx-h10")
    with pytest.raises(BadInput, match="cannot be read"):
        device("nowhere/mine.toml")


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ('[[levels]]\nname="a"\nbandwidth="1 GB/s"\n', "levels[0].latency: missing"),
        ('[[levels]]\nname="a"\nbandwidth="1 GB/s"\nlatency="1 us"\naxes=[4,4]\ndevices=8\n', "axes"),
        (
            '[[levels]]\nname="a"\nbandwidth="1 GB/s"\nlatency="1 us"\ndevices=8\n'
            '[[levels]]\nname="b"\nbandwidth="1 GB/s"\nlatency="1 us"\ndevices=8\n',
            "levels[1].devices: 8: expected more",
        ),
        ("", "levels: missing"),
    ],
)
def test_a_bad_node_file_is_one_line(levels: str, words: str, tmp_path: Path) -> None:
    path = write(tmp_path, f'name="n"\ntitle="N"\ndevice="h100-sxm"\n{levels}')
    with pytest.raises(BadInput) as caught:
        read_node(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_more_devices_than_a_node_s_outermost_level_are_refused(tmp_path: Path) -> None:
    level = '[[levels]]\nname="a"\nbandwidth="1 GB/s"\nlatency="1 us"\ndevices=8\n'
    one = read_node(write(tmp_path, f'name="n"\ntitle="N"\ndevice="h100-sxm"\n{level}'))
    with pytest.raises(BadInput, match="n: 9 devices: expected at most 8"):
        one.cluster(9)


ODD = [
    "",
    "x",
    "-1 GB",
    "nan GB",
    "1e999 GB",
    0,
    -1,
    2.5,
    True,
    [],
    [1],
    ["1 GB", "x"],
    {},
    {"a": 1},
    float("nan"),
    "\u0000",
]


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_whatever_stands_in_a_field_is_refused_in_one_line(odd: object, tmp_path: Path) -> None:
    lines = OWN.strip().split("\n")
    fields = [index for index, line in enumerate(lines) if " = " in line]
    value = {"nan": "nan"}.get(str(odd), json.dumps(odd)) if not isinstance(odd, dict) else "{a = 1}" if odd else "{}"
    for index in fields:
        key = lines[index].split(" = ")[0]
        if isinstance(odd, str) and odd and key in ("name", "title", "vendor", "process"):
            continue  # any text will do
        if odd == 2.5 and key == "bf16":
            continue  # a rate need not be whole
        path = write(tmp_path, "\n".join([*lines[:index], f"{key} = {value}", *lines[index + 1 :]]))
        with pytest.raises(BadInput) as caught:
            read_device(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"a = 1", b"[chip]\nchip = 1", b"chip = 3", b"sources = 1"])
def test_a_file_that_is_no_device_at_all_is_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(BadInput) as caught:
        read_device(path)
    assert "\n" not in str(caught.value)


def test_levels_carry_what_collectives_need() -> None:
    switch = node("dgx-h100").cluster(16).levels
    assert switch[0].in_network == 0.85
    assert 0.5 < switch[0].efficiency < 1
    assert not switch[1].in_network
    assert node("tpu-v4-64").cluster(64).levels[0].axes == (4, 4, 4)
    mesh = node("hgx-mi300x").cluster(4).levels[0]
    assert mesh.meshed
    assert mesh.devices == 8, "a mesh has a link to each of its devices, used or not"


def test_the_examples_are_a_device_and_a_node_of_it() -> None:
    folder = Path(__file__).parents[2] / "examples"
    one = device(str(folder / "my-chip.toml"))
    assert one.peak_flops_per_s("bf16") == 2 * 8 * 128 * 128 * 1.2e9
    assert node(str(folder / "my-node.toml")).cluster(64).levels[0].devices == 16


def test_a_die_has_at_least_what_is_in_use_of_it(tmp_path: Path) -> None:
    text = (Path(hardware.__file__).parent / "devices/h100-sxm.toml").read_text()
    own = tmp_path / "own.toml"
    own.write_text(text.replace("multiprocessors = [144", "multiprocessors = [100"))
    with pytest.raises(BadInput, match=r"own\.toml: die\.multiprocessors: 100: expected at least what is in use, 132"):
        read_device(own)
    own.write_text(text.replace('node = ["4 nm"', 'outer_node = "6 nm"\nnode = ["4 nm"'))
    with pytest.raises(BadInput, match=r"own\.toml: chip\.outer_node: 6 nm: expected one of 45"):
        read_device(own)
