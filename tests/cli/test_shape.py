"""`hardplace audit` and `hardplace shape` as a user meets them: exit codes, streams, pages, no torch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from commands import Ended, command

NO_TORCH = "import sys; sys.modules['torch'] = sys.modules['transformers'] = None; import hardplace.cli as c; c.main()"
EXAMPLE = str(Path(__file__).parents[2] / "examples/llama-3.2-1b/config.json")


def hardplace(*arguments: str, folder: Path, without_torch: bool = False) -> Ended:
    """In this process, or in one that has no torch."""
    if not without_torch:
        return command(*arguments, folder=folder)
    words = [sys.executable, "-c", NO_TORCH, *arguments]
    done = subprocess.run(words, capture_output=True, text=True, cwd=folder, timeout=120)
    return Ended(done.returncode, done.stdout, done.stderr)


def test_audit_prints_and_draws_without_torch(tmp_path: Path) -> None:
    done = hardplace("audit", EXAMPLE, "--device", "h100-sxm", folder=tmp_path, without_torch=True)
    assert done.code == 0, done.err
    for word in ("MLP gate and up forward", "128/128/128", "wave eff.", "void", "h / a as large", "written:"):
        assert word in done.out
    page = (tmp_path / "hardplace-out/llama-3.2-1b/audit.html").read_text()
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "logits wgrad" in page


def test_audit_json_is_all_of_standard_output(tmp_path: Path) -> None:
    arguments = ("audit", "gpt3-2.7b", "--device", "a100-80gb-sxm", "--attention", "unfused", "--json")
    done = hardplace(*arguments, folder=tmp_path)
    found = json.loads(done.out)["answer"]
    assert found["conditions"]["attention"] == "unfused"
    assert {"fail", "pass"} <= {rule["verdict"] for rule in found["rules"]}
    assert not list(tmp_path.iterdir())


def test_shape_prints_and_draws_without_torch(tmp_path: Path) -> None:
    done = hardplace(
        "shape", "gpt3-2.7b", "--device", "a100-80gb-sxm", "--params", "±2%", folder=tmp_path, without_torch=True
    )
    assert done.code == 0, done.err
    for word in ("Safe:", "Reshaped:", "vocabulary 50257 -> 50304", "20*", "TP 1/2/4", "activations, GiB", "beyond"):
        assert word in done.out
    assert "<svg" in (tmp_path / "hardplace-out/gpt3-2.7b/shape.html").read_text()


def test_shape_on_several_devices_and_a_chip(tmp_path: Path) -> None:
    arguments = (
        "shape",
        EXAMPLE,
        "--device",
        "h100-sxm",
        "--on",
        "tpu-v4",
        "--freeze",
        "vocab",
        "--json",
        "--top",
        "3",
    )
    found = json.loads(hardplace(*arguments, folder=tmp_path).out)["answer"]
    assert [one["device"] for one in found["base"]["devices"]] == ["h100-sxm", "tpu-v4"]
    for one in (*found["safe"], *found["reshaped"]):
        assert one["shape"]["vocab"] == 128256
        assert all(on["per_parameter"] > 1 for on in one["devices"])
    assert len(found["reshaped"]) <= 3


def test_shape_on_a_chip_of_the_search(tmp_path: Path) -> None:
    done = hardplace("shape", "llama2-7b", "--on", "8x128x128-2x128-128MiB", folder=tmp_path)
    assert done.code == 0, done.err
    assert "closed forms of a chip with arrays" in done.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("audit", "llama2-7b"), "expected one of --device and --on"),
        (("audit", "llama2-7b", "--device", "h100-sxm", "--on", "tpu-v4"), "expected one of --device and --on"),
        (("audit", "lama2-7b", "--device", "h100-sxm"), "did you mean llama2-7b"),
        (("audit", "llama2-7b", "--device", "h100"), "did you mean h100"),
        (("audit", "gpt2-xl", "--device", "h100-sxm", "--tensor-parallel", "2"), "heads, 25"),
        (("audit", "t5-large", "--device", "h100-sxm", "--sequence", "77"), "expected 512 tokens"),
        (("shape", "llama2-7b"), "expected --device or --on"),
        (("shape", "llama2-7b", "--device", "h100-sxm", "--params", "none"), "--params: 'none': expected a share"),
        (("shape", "llama2-7b", "--device", "h100-sxm", "--range", "hidden=9"), "no heads, layers and widths"),
        (("shape", "u-net", "--device", "h100-sxm"), "expected a decoder"),
        (
            (
                "shape",
                "llama2-7b",
                "--device",
                "h100-sxm",
                "--freeze",
                "hidden",
                "--freeze",
                "layers",
                "--range",
                "ffn=64",
            ),
            "nearest that can be reached",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_2(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    done = hardplace(*arguments, folder=tmp_path)
    assert done.code == 2
    assert words in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not done.out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("m,n,k,us\n128,128,128,nan\n", "line 2: us: 'nan': expected a positive latency"),
        ("m,n,us\n128,128,5\n", "expected m, n, k and latencies"),
        ("m,n,k\n128,128,5\n", "expected latencies"),
    ],
)
def test_bad_measurements_are_one_line_and_exit_2(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(text)
    for arguments in (
        ("calibrate", "x.csv", "--device", "h100-sxm"),
        ("validate", "gemm", "x.csv", "--device", "h100-sxm"),
    ):
        done = hardplace(*arguments, folder=tmp_path)
        assert done.code == 2
        assert words in done.err
        assert len(done.err.strip().splitlines()) == 1
