"""DLRM as a plain torch module, in the configuration that MLPerf trained on Criteo Terabyte."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from hardplace.workload.recording.models.example import Example

# Rows of the 26 tables of MLPerf Training v0.7 to v2.1: categories of Criteo Terabyte with indices modulo 40,000,000
# (`--max-ind-range=40000000`), as in github.com/mlcommons/inference recommendation/dlrm/pytorch/python/main.py.
CRITEO_TERABYTE_40M = (
    39884406, 39043, 17289, 7420, 20263, 3, 7120, 1543, 63, 38532951, 2953546, 403346, 10, 2208, 11938, 155, 4, 976, 14,
    39979771, 25641295, 39664984, 585935, 12972, 108, 36,
)  # fmt: skip
DENSE_FEATURES = 13


def _mlp(widths: tuple[int, ...]) -> list[nn.Module]:
    """Return linear layers of these widths, each with a ReLU behind it."""
    return [part for before, width in pairwise(widths) for part in (nn.Linear(before, width), nn.ReLU())]


class DLRM(nn.Module):
    """Towers from one dense and several categorical features, met in pairwise dot products, then an MLP.

    Each table is a child of `tables` and depends on the input alone; `bottom` is the dense tower.
    """

    def __init__(self, tables: tuple[int, ...], bottom: tuple[int, ...], top: tuple[int, ...]) -> None:
        super().__init__()
        width, towers = bottom[-1], len(tables) + 1
        self.bottom = nn.Sequential(*_mlp((DENSE_FEATURES, *bottom)))
        self.tables = nn.ModuleList(nn.Embedding(rows, width) for rows in tables)
        pairs = towers * (towers - 1) // 2
        self.top = nn.Sequential(*_mlp((width + pairs, *top)), nn.Linear(top[-1], 1))
        self.register_buffer("pairs", torch.tril_indices(towers, towers, offset=-1), persistent=False)

    def forward(self, dense: Tensor, sparse: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return logits (batch,) of dense (batch, 13) and sparse (batch, tables), a row number of each table.

        Labels are taken so that a step's inputs can be passed whole; only the loss reads them.
        """
        hidden = self.bottom(dense)
        features = [table(sparse[:, number]) for number, table in enumerate(self.tables)]
        stacked = torch.stack([hidden, *features], dim=1)
        products = torch.bmm(stacked, stacked.transpose(1, 2))
        lower = products[:, self.pairs[0], self.pairs[1]]
        return self.top(torch.cat([hidden, lower], dim=1)).squeeze(1)  # type: ignore[no-any-return]


def dlrm(tables: tuple[int, ...] = CRITEO_TERABYTE_40M) -> DLRM:
    """Return DLRM (Naumov et al. 2019, arXiv 1906.00091) of MLPerf Training v0.7 to v2.1: 24,036,595,969 parameters.

    187,767,399 rows of 128 are 24,034,227,072; the MLPs have 171,392 and 2,197,505 (479-1024-1024-512-256-1).
    MLPerf v3's successor (DLRM-DCNv2: other tables, a cross network for the dot products) is another model.
    """
    return DLRM(tables, bottom=(512, 256, 128), top=(1024, 1024, 512, 256))


def _click_loss(logits: Tensor, inputs: dict[str, Tensor]) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, inputs["labels"])


def dlrm_step(micro_batch: int) -> Example:
    """Return DLRM's training step with one category a feature.

    A table's gradient is recorded dense, as large as the table; a sparse update touches micro_batch rows of it.
    """
    with torch.device("meta"):
        model = dlrm()
        inputs = {
            "dense": torch.empty((micro_batch, DENSE_FEATURES)),
            "sparse": torch.empty((micro_batch, len(CRITEO_TERABYTE_40M)), dtype=torch.int64),
            "labels": torch.empty((micro_batch,)),
        }
    return Example(model, inputs, _click_loss)
