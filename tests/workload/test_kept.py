"""Activations that several layers keep, held once a device."""

import pytest

import hardplace as hp
from hardplace.workload.kept import kept_parts, kept_twice, shared_kept
from hardplace.workload.types import Recompute, Workload

torch = pytest.importorskip("torch")
ROWS, WIDE, DEEP = 2, 16, 4


class Reads(torch.nn.Module):
    """A block that adds a weight's product with the encoder's output, as cross-attention does."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.read = torch.nn.Linear(WIDE, WIDE), torch.nn.Linear(WIDE, WIDE)

    def forward(self, state, seen):  # type: ignore[no-untyped-def]
        return state + torch.sigmoid(self.own(state)) * self.read(seen)


class Crossed(torch.nn.Module):
    """An encoder whose output every block of a decoder reads."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = torch.nn.Linear(WIDE, WIDE)
        self.blocks = torch.nn.ModuleList(Reads() for _ in range(DEEP))
        self.head = torch.nn.Linear(WIDE, 1)

    def forward(self, x):  # type: ignore[no-untyped-def]
        seen = torch.relu(self.encoder(x))
        state = seen + 1.0
        for block in self.blocks:
            state = block(state, seen)
        return self.head(state)


def kept_by_torch(module: torch.nn.Module, x: torch.Tensor) -> int:
    """Return the bytes of storages that autograd keeps, less parameters."""
    own = {one.untyped_storage().data_ptr() for one in module.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(one: torch.Tensor) -> torch.Tensor:
        kept[one.untyped_storage().data_ptr()] = one.untyped_storage()
        return one

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda one: one):
        loss = module(x).sum()
    assert loss.requires_grad
    return sum(one.nbytes() for address, one in kept.items() if address not in own)


@pytest.fixture(scope="module")
def crossed() -> Workload:
    return hp.trace(Crossed(), (torch.empty(ROWS, WIDE),), name="crossed", dtype="fp32")


def test_what_several_layers_keep_is_autograds_once(crossed: Workload) -> None:
    shared = shared_kept(crossed, crossed.layers, Recompute.NONE, ROWS)
    # relu keeps its output, and each of the four blocks keeps it as its input.
    assert [(one.bytes, len(one.layers)) for one in shared] == [(ROWS * WIDE * 4, DEEP + 1)]
    counted = sum(crossed.layers[index].saved_bytes.at(ROWS) for index in crossed.order)
    once = counted - kept_twice(shared, range(len(crossed.order)))
    assert once == kept_by_torch(Crossed(), torch.rand(ROWS, WIDE))
    assert kept_twice(shared, shared[0].layers[:1]) == 0.0
    assert sum(kept_parts(shared, len(crossed.order))) == (DEEP + 1) * ROWS * WIDE * 4
