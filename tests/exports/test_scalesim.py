"""Files for SCALE-Sim: every product of a model once; and SCALE-Sim itself on them, where it is installed (peers)."""

import csv
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import hardplace.cli  # noqa: F401  (joins the verbs)
from hardplace.cli.app import app
from hardplace.cost.arrays.tensor import array_cycles
from hardplace.cost.types import Dataflow, Matmul
from hardplace.errors import BadInput
from hardplace.exports.scalesim import matrix_products, scalesim_files
from hardplace.hardware.catalogue import device
from hardplace.hardware.sheet import find
from hardplace.workload.affine import Affine
from hardplace.workload.load import load
from hardplace.workload.types import Layer, Operator, OperatorKind, Phase, Workload


def small(*sizes: tuple[int, int, int]) -> Workload:
    """A model that is these products alone."""
    operators = tuple(
        Operator(
            name="mm",
            module="",
            kind=OperatorKind.MATMUL,
            phase=Phase.FORWARD,
            dims=tuple(Affine(size, 0) for size in (1, *one)),
            flops=Affine(1, 0),
            reads=(),
            writes=(),
        )
        for one in sizes
    )
    layer = Layer(name="block", storages=(), tensors=(), operators=operators, saved=(), inputs=(), outputs=())
    return Workload(
        name="small", source="", command="", sequence_length=1, dtype="bfloat16", training=True, parameters=1,
        order=(0,), edges=(), layers=(layer,),
    )  # fmt: skip


def test_every_product_comes_once():
    workload = load("bert-base")
    found = matrix_products(workload.layers, 2)
    sizes = {
        tuple(size.at(2) for size in operator.dims[1:])
        for layer in workload.layers
        for operator in layer.operators
        if operator.kind is OperatorKind.MATMUL
    }
    assert set(found.values()) == sizes
    assert len(found) == len(sizes)
    config, topology, layout = scalesim_files(device("tpu-v4"), workload)
    assert "ArrayHeight: 128\nArrayWidth: 128\n" in config.text
    assert len(topology.text.splitlines()) > 5
    assert layout.text == "Layer,\n"
    with pytest.raises(BadInput, match="expected a chip with systolic arrays"):
        scalesim_files(device("h100-sxm"), workload)


def test_the_command_line_writes_them(tmp_path):
    words = ["export", "bert-base", "--to", "scalesim", "--device", "tpu-v4", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert {path.name for path in tmp_path.iterdir()} >= {"config.cfg", "topology.csv", "layout.csv"}
    done = CliRunner().invoke(app, ["export", "bert-base", "--to", "scalesim"])
    assert "expected MODEL in place of PLAN" in str(done.exception)


@pytest.mark.filterwarnings("ignore")
def test_scale_sim_takes_the_cycles_that_we_predict(tmp_path: Path):
    simulator = pytest.importorskip("scalesim.scale_sim", reason="scalesim is not installed: the extra peers")
    sizes = [(40, 70, 50), (1, 33, 5), (64, 16, 32)]
    paths = {}
    for file in scalesim_files(find("1x16x16-1x16-1MiB"), small(*sizes)):
        paths[file.name] = tmp_path / file.name
        paths[file.name].write_text(file.text)
    run = simulator.scalesim(
        save_disk_space=True,
        verbose=False,
        config=str(paths["config.cfg"]),
        topology=str(paths["topology.csv"]),
        layout=str(paths["layout.csv"]),
        input_type_gemm=True,
    )
    run.run_scale(top_path=str(tmp_path / "out"))
    (report,) = (tmp_path / "out").rglob("COMPUTE_REPORT.csv")
    rows = [{key.strip(): value for key, value in row.items() if key} for row in csv.DictReader(report.open())]
    assert len(rows) == len(sizes)
    chip = (np.array([1]), np.array([16]), np.array([16]))
    for row, (m, n, k) in zip(rows, sizes, strict=True):
        theirs = float(row["Total Cycles"]) - float(row["Stall Cycles"])
        product = (Matmul(batch=1, m=m, n=n, k=k),)
        ours = array_cycles(product, *chip, dataflows=(Dataflow.WEIGHT,), double_buffered=False)[0, 0] - 1
        assert ours == theirs
