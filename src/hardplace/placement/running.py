"""A plan together with what it runs: the file that `hardplace replan` starts from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hardplace.errors import BadInput
from hardplace.files import read, read_text
from hardplace.placement.plan import Plan, problems, read_plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A model (name or Workload file), the device and node (names of the catalogue, or TOML files) and the plan."""

    model: str
    device: str
    node: str
    plan: Plan


def read_running(path: Path, model: str | None, device: str | None, node: str | None) -> Running:
    """Return what a file says is running; a plan alone (as `estimate --plan` takes it) needs the other names beside it.

    Raises BadInput with file, field, value and what was expected, also where a name is given that is not the file's.
    """
    if path.suffix == ".toml" or '"plan"' not in read_text(path):
        if model is None or device is None:
            raise BadInput(f"{path}: a plan alone: expected --model and --device with it")
        return Running(model=model, device=device, node=node or "", plan=read_plan(path))
    found = read(path, Running)
    for option, asked, own in (
        ("model", model, found.model),
        ("device", device, found.device),
        ("node", node, found.node),
    ):
        if asked not in (None, own):
            raise BadInput(f"--{option} {asked}: {path} is a plan of {own}: expected that, or the option left out")
    for problem in problems(found.plan):
        raise BadInput(f"{path}: plan.{problem}")
    return found
