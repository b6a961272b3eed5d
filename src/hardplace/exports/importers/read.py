"""Which trainer a file is of, and the plan that it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hardplace.errors import BadInput
from hardplace.exports.architecture import Architecture, parse_config
from hardplace.exports.importers.accelerate import from_accelerate
from hardplace.exports.importers.deepspeed import from_deepspeed
from hardplace.exports.importers.found import Answers, ImportedPlan
from hardplace.exports.importers.megatron import from_megatron
from hardplace.exports.importers.torchtitan import from_torchtitan
from hardplace.exports.targets import Target
from hardplace.workload.load import catalogue, published_config

_IMPORTERS: dict[Target, Callable[[Path, Answers], ImportedPlan]] = {
    Target.MEGATRON: from_megatron,
    Target.TORCHTITAN: from_torchtitan,
    Target.DEEPSPEED: from_deepspeed,
    Target.ACCELERATE: from_accelerate,
}
_BY_SUFFIX = {
    ".toml": Target.TORCHTITAN,
    ".py": Target.TORCHTITAN,
    ".json": Target.DEEPSPEED,
    ".yaml": Target.ACCELERATE,
    ".yml": Target.ACCELERATE,
}


def trainer_of(path: Path) -> Target:
    """Return the trainer that a file is of by its name: TOML or Python, JSON, YAML; anything else are flags."""
    return _BY_SUFFIX.get(path.suffix, Target.MEGATRON)


def imported_plan(path: Path, target: Target, answers: Answers) -> ImportedPlan:
    """Return the plan of a trainer's file. Raises BadInput, one line, for what is none, and for what it leaves open."""
    if target not in _IMPORTERS:
        raise BadInput(f"{path}: {target}: expected a file of {', '.join(_IMPORTERS)}")
    return _IMPORTERS[target](path, answers)


def model_of_sizes(layers: int, hidden: int, heads: int) -> str:
    """Return the one model of the catalogue of these sizes; "" where there is none, or several."""

    def sizes(one: Architecture) -> tuple[int, int, int]:
        return one.layers, one.hidden, one.heads

    found = []
    for name in catalogue():
        config = published_config(name)
        try:
            if config and sizes(parse_config(config, name)) == (layers, hidden, heads):
                found.append(name)
        except BadInput:  # no transformer that exports describe
            continue
    return found[0] if len(found) == 1 else ""
