"""The models that ship with the package at a glance, without reading their graphs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hardplace.files import read
from hardplace.workload.types import Workload

LISTING = Path(__file__).parent / "catalogue" / "listing.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueModel:
    """What is said of a model in a list.

    Attributes:
        name: Name.
        parameters: Number of parameters.
        sequence_length: Tokens of a sample.
        flops_per_sample: Forward and backward FLOPs of a sample, without recompute.
        layers: Number of layers.
        distinct_layers: Number of layers that differ.
        source: Where the graph is from.
    """

    name: str
    parameters: int
    sequence_length: int
    flops_per_sample: int
    layers: int
    distinct_layers: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueModels:
    """The list, as a file holds it.

    Attributes:
        models: In alphabetical order.
    """

    models: tuple[CatalogueModel, ...]


def listing_of(workloads: Iterable[Workload]) -> CatalogueModels:
    """Return the list of some models, in alphabetical order."""
    found = [
        CatalogueModel(
            name=one.name,
            parameters=one.parameters,
            sequence_length=one.sequence_length,
            flops_per_sample=one.flops_per_sample(),
            layers=len(one.order),
            distinct_layers=len(one.layers),
            source=one.source,
        )
        for one in workloads
    ]
    return CatalogueModels(models=tuple(sorted(found, key=lambda one: one.name)))


def listed() -> tuple[CatalogueModel, ...]:
    """Return the models that ship with the package, in alphabetical order."""
    return read(LISTING, CatalogueModels).models
