"""What Megatron-Bridge's recipes set of its published runs of mixtures, by the recipe whose layout a row has.

The containers of a release ran the recipes of their day. Recipes change from release to release together with the
layout (pipeline, virtual stages, expert degree, micro-batch), so a row's own layout says which one it ran where the
release alone does not. Facts of NVIDIA-NeMo/Megatron-Bridge (Apache-2.0), scripts/performance/configs and
src/megatron/bridge/perf_recipes, at the commits named; what lies between two of them is the nearest before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hardplace.cost.gpu.cudnn import CUDNN_FP8
from hardplace.cost.layers.software import Dispatcher, Graphs

_RELEASE = re.compile(r"^(\d\d)\.(\d\d)(?:\.(\d\d))?")  # of a NeMo container
_FIRST, _LAST = (0, 0, 0), (99, 0, 0)
_BLACKWELL = ("B200", "B300", "GB200", "GB300")
_RACKS = ("GB200", "GB300")
_FINE = ("mxfp8", "nvfp4")  # scaling with which experts may run a fused kernel


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What the recipes of some runs set.

    Attributes:
        model: Pattern of the model.
        devices: Devices; (): any.
        fine: Whether products scale by blocks (mxfp8, nvfp4): with fused experts from 26.06; None: either.
        since: First release.
        before: First release that is not meant.
        layout: Columns of the layout with the values that the recipe has.
        dispatcher: How tokens reach their experts.
        expert_overlap: Exchange of experts runs beside another micro-batch's compute.
        graphs: What CUDA graphs launch at once.
        fused_experts: Experts' products with activation and casts are one kernel.
        tensor_overlap: Tensor-parallel collectives run beside products; None: the software's habit.
        fp8_attention: Attention multiplies in fp8 (fp8_dot_product_attention).
        modules: Modules that are computed again, where a row leaves them to the recipe.
    """

    model: str
    devices: tuple[str, ...] = ()
    fine: bool | None = None
    since: tuple[int, int, int] = _FIRST
    before: tuple[int, int, int] = _LAST
    layout: Mapping[str, int] = field(default_factory=dict)
    dispatcher: Dispatcher = Dispatcher.HYBRIDEP
    expert_overlap: bool = False
    graphs: Graphs = Graphs.PARTIAL
    fused_experts: bool = False
    tensor_overlap: bool | None = None
    fp8_attention: bool = False
    modules: tuple[str, ...] = ("mla_up_proj",)

    def of(self, model: str, row: Mapping[str, str], release: tuple[int, int, int]) -> bool:
        """Return whether a row ran it."""
        return (
            re.search(self.model, model) is not None
            and (not self.devices or row["device"] in self.devices)
            and (self.fine is None or self.fine is (row.get("fp8_recipe", "") in _FINE))
            and self.since <= release < self.before
            and all(int(float(row[name] or 1)) == value for name, value in self.layout.items())
        )

    @property
    def fields(self) -> dict[str, Any]:
        """Return the fields of a plan that it sets."""
        found: dict[str, Any] = {
            "dispatcher": self.dispatcher,
            "expert_overlap": self.expert_overlap,
            "graphs": self.graphs,
            "fused_experts": self.fused_experts,
        }
        if self.tensor_overlap is not None:
            found["tensor_overlap"] = self.tensor_overlap
        return found | {"backend": CUDNN_FP8} if self.fp8_attention else found


_EAGER = Graphs.NONE
_ALL = Dispatcher.ALL_TO_ALL
# The first that a row is of.
RECIPES = (
    # 25.09 drops tokens, so shapes do not change and a whole pass is captured where a recipe asks for it (@4054233,
    # @27dfb3d: Qwen3 on GB200, 30B on B200); the others, and DeepSeek, run eager
    Recipe(model="30B", devices=_BLACKWELL, before=(25, 11, 0), dispatcher=_ALL, graphs=Graphs.FULL),
    Recipe(model="235B", devices=_RACKS, before=(25, 11, 0), dispatcher=_ALL, graphs=Graphs.FULL),
    Recipe(model="", before=(25, 11, 0), dispatcher=_ALL, graphs=_EAGER),
    # Qwen3-235B: @0fa501a (virtual stages 2), a fork's @2effdfa, @f29a269 (4: overlapped), @01b2977 (none: not)
    Recipe(
        model="235B",
        devices=("H100-80GB",),
        dispatcher=_ALL,
        expert_overlap=True,
        graphs=_EAGER,
        tensor_overlap=False,  # @826618b, qwen3_llm_pretrain.py
    ),
    Recipe(
        model="235B",
        devices=("B200", "B300"),
        layout={"vpp": 4},
        dispatcher=_ALL,
        expert_overlap=True,
        graphs=_EAGER,
    ),
    Recipe(model="235B", devices=("B200", "B300"), dispatcher=_ALL, graphs=_EAGER),
    # Qwen3-30B on H100, eager in fp8: two stages, overlapped (@2effdfa); then expert 16, HybridEP (@f29a269)
    Recipe(
        model="30B",
        devices=("H100-80GB",),
        layout={"pp": 2},
        dispatcher=Dispatcher.DEEPEP,
        expert_overlap=True,
        graphs=_EAGER,
    ),
    Recipe(model="30B", devices=("H100-80GB",), graphs=_EAGER),
    # one sample a micro-batch on B200: no flexible dispatcher (@f29a269)
    Recipe(model="30B", devices=("B200",), layout={"micro_batch": 1}, dispatcher=_ALL),
    # from 26.06 on racks and B300: whole passes captured, overlapped, experts fused (qwen/common.py,
    # _enable_hybridep_full_iteration_mxfp8, @134e903)
    Recipe(
        model="30B|235B",
        devices=_BLACKWELL,
        fine=True,
        since=(26, 6, 0),
        expert_overlap=True,
        graphs=Graphs.FULL,
        fused_experts=True,
        fp8_attention=True,
    ),
    # DeepSeek-V3: @0426418 (V2 on B200: two virtual stages; one sample a micro-batch on racks: whole passes), @f0e2c37
    Recipe(
        model="DeepSeek",
        devices=("B200",),
        fine=True,
        layout={"pp": 8, "vpp": 2, "ep": 32},
        dispatcher=Dispatcher.DEEPEP,
        expert_overlap=True,
        modules=("mla_up_proj", "mlp"),
    ),
    Recipe(model="DeepSeek", devices=("B200", "B300"), layout={"pp": 16}, graphs=_EAGER),
    Recipe(model="DeepSeek", devices=("GB300",), layout={"micro_batch": 2}, graphs=_EAGER),
    Recipe(
        model="DeepSeek",
        devices=("GB300",),
        fine=True,
        since=(26, 6, 0),
        expert_overlap=True,
        graphs=Graphs.FULL,
        fused_experts=True,
        fp8_attention=True,  # @267f756; not on GB200
        modules=(),
    ),
    Recipe(
        model="DeepSeek",
        devices=("GB200",),
        fine=True,
        since=(26, 6, 0),
        expert_overlap=True,
        graphs=Graphs.FULL,
        fused_experts=True,
    ),
    # Kimi-K2 on GB300: two samples a micro-batch, nothing captured (@013180a)
    Recipe(model="Kimi", devices=("GB300",), layout={"micro_batch": 2}, graphs=_EAGER),
    # GPT OSS 120B in mxfp8 (@07eea52, V2)
    Recipe(
        model="OSS",
        devices=_RACKS,
        fine=True,
        expert_overlap=True,
        graphs=Graphs.FULL,
        fused_experts=True,
        fp8_attention=True,  # @3564acf
    ),
    Recipe(model="OSS", devices=("B300",), fine=True, expert_overlap=True, fused_experts=True),
    Recipe(model="", devices=_BLACKWELL, fine=True, since=(26, 6, 0), fused_experts=True),
    Recipe(model=""),
)


def released(row: Mapping[str, str]) -> tuple[int, int, int] | None:
    """Return the release of NeMo's container that a row's note begins with, None if it does not."""
    match = _RELEASE.match(row.get("note", ""))
    return None if match is None else (int(match[1]), int(match[2]), int(match[3] or 0))


def recipe_of(row: Mapping[str, str]) -> Recipe | None:
    """Return the recipe that a row of a mixture ran, spelled as it is read; None for any other row."""
    release = released(row)
    if release is None or not row["moe"] or "Megatron-Bridge" not in row["source"]:
        return None
    model = row.get("model", "") + row["note"]
    return next(one for one in RECIPES if one.of(model, row, release))


def recipe_fields(row: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of a plan that the recipe of a row of Megatron-Bridge sets; {}: nothing is known of it.

    Args:
        row: A row whose note begins with the release, spelled as it is read.
    """
    if found := recipe_of(row):
        return found.fields
    release, model = released(row) or _FIRST, row.get("model", "") + row["note"]
    small = "8B" in model and row["device"] in _BLACKWELL and "SFT" not in row["note"]
    return {"graphs": Graphs.FULL} if small and release >= (25, 11, 0) else {}
