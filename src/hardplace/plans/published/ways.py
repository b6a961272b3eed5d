"""How a published run was run: software, exchange of experts, graphs and overlap, from its columns, words and
recipe.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hardplace.cost.layers.low_precision import Fp8Recipe
from hardplace.cost.layers.software import (
    ON_ARRAYS,
    SOFTWARE,
    TORCHTITAN,
    TORCHTITAN_EAGER,
    Dispatcher,
    Graphs,
)
from hardplace.errors import BadInput
from hardplace.plans.plan import MODULES, ContextExchange, PipelineSchedule
from hardplace.plans.published.recipes import recipe_fields, recipe_of, released
from hardplace.plans.published.releases import TITANS, attention_of, year_of
from hardplace.plans.published.remat import inputs_offloaded, modules_of_policy
from hardplace.plans.published.spellings import EXCHANGES, squashed, truth

_ON_ARRAYS = {"TPU": ON_ARRAYS, "Trainium": "neuron", "Gaudi": "gaudi"}
ARRAYS = tuple(_ON_ARRAYS)
OLD = ("V100", "A100", "A800", "MI250X")  # no distributed optimizer, no cuDNN attention by default
# What a source, a model or a note names: the software, first match.
_SOFTWARE = (
    (re.compile(r"mosaicml|llm-foundry"), "fsdp-eager"),
    (re.compile(r"torchtitan"), TORCHTITAN),
    (re.compile(r"InternEvo"), "internevo"),
    (re.compile(r"Paddle", re.IGNORECASE), "paddle"),
    (re.compile(r"OneFlow \d"), "oneflow"),
    (re.compile(r"atorch"), "atorch"),
    (re.compile(r"fms-fsdp|torch\.?compile"), "fsdp-compiled"),
    (re.compile(r"maxtext|tpu-recipes|\bJAX\b", re.IGNORECASE), "xla"),
    (re.compile(r"AutoModel", re.IGNORECASE), "automodel"),
    (
        re.compile(
            r"Megatron[- ]?Core|Megatron-Bridge|Megatron-MoE|NeMo|dgxc|training_results_v[45]|SimuMax|Primus",
            re.IGNORECASE,
        ),
        "megatron-core",
    ),
    (re.compile(r"bigscience"), "megatron-deepspeed"),
    (re.compile(r"^github.com/NVIDIA/Megatron-LM git history"), "megatron-2020"),
    (re.compile(r"Megatron-LM|vTrain|2104\.04473|2201\.11990|BloombergGPT|NeoX|\bOPT\b|GLM"), "megatron-2021"),
    (re.compile(r"Megatron-DeepSpeed"), "megatron-2021"),
    (
        re.compile(
            r"\bFSDP[12]?\b|\bDDP\b|DistributedDataParallel|DeepSpeed|\baccelerate\b|hugging ?face|\btransformers\b|"
            r"\bHF trainer\b|optimizer and (?:weights|parameters) offloaded",  # ZeRO-Infinity: DeepSpeed's alone
            re.IGNORECASE,
        ),
        "fsdp-eager",
    ),
)
# What the column of the software alone may say: modules that are a kernel an operator, as those are.
_PLAIN = re.compile(r"PyTorch|Lightning|Colossal", re.IGNORECASE)
_SAYS: tuple[tuple[str, re.Pattern[str], object], ...] = (
    ("dispatcher", re.compile(r"HybridEP", re.IGNORECASE), Dispatcher.HYBRIDEP),
    ("dispatcher", re.compile(r"DeepEP", re.IGNORECASE), Dispatcher.DEEPEP),
    ("dispatcher", re.compile(r"all-?to-?all dispatcher", re.IGNORECASE), Dispatcher.ALL_TO_ALL),
    ("expert_overlap", re.compile(r"no overlap|overlap OFF", re.IGNORECASE), False),
    ("expert_overlap", re.compile(r"all-to-all overlap|overlap ON\b", re.IGNORECASE), True),
    ("graphs", re.compile(r"CUDA graph of the layer stack|full[- ]iteration graph", re.IGNORECASE), Graphs.FULL),
    ("graphs", re.compile(r"partial CUDA graphs|CUDA graphs|\bgraphs\b", re.IGNORECASE), Graphs.PARTIAL),
    ("tensor_overlap", re.compile(r"overlap of TP[^;]* disabled|no TP overlap", re.IGNORECASE), False),
    ("fused_loss", re.compile(r"fused[^;]*cross[- ]entropy", re.IGNORECASE), True),
)
# Optimizer states in host memory (DeepSpeed's ZeRO-Offload).
_HOSTED = re.compile(
    r"optimizer(?: states?)?(?: and (?:weights|parameters))?(?: are| is|_memory_host)?[ _]offload|"
    r"offload(?:ed|ing|s)? (?:the )?optimizer|^[123] \(offload\)",
    re.IGNORECASE,
)
_EAGER_LOSS_UNTIL = 2024  # torchtitan compiles its loss since 2025
# Modules that are not compiled, where a software compiles them unless told.
_EAGER = re.compile(r"without torch\.?compile|\bno torch\.?compile|torch\.?compile off|\beager\b", re.IGNORECASE)
_FUSED = re.compile(r"fused[^;]*(?:norm|swiglu|rotary)", re.IGNORECASE)
_COLUMNS = {
    "tp_overlap": "tensor_overlap",
    "ep_overlap": "expert_overlap",
    "dp_overlap": "overlap",
    "fp8_gather": "fp8_gather",
}


def software_of(row: Mapping[str, str]) -> str:
    """Return the software that a row says it ran, else the one its source is known to run; "" if neither says."""
    if row["device"].startswith(ARRAYS):
        return next(name for start, name in _ON_ARRAYS.items() if row["device"].startswith(start))
    said = row.get("software", "").strip()
    divided = any(float(row.get(name, "") or 1) > 1 for name in ("tp", "pp"))
    if said and said.lower() in SOFTWARE and (divided or said.lower() != "deepspeed"):
        return _compiled_or_not(said.lower(), row)
    found = _named(said, re.IGNORECASE) or _named(
        " ".join([said, *(row.get(name, "") for name in ("source", "model", "note"))])
    )
    if not found and _PLAIN.search(said):
        found = "fsdp-eager"
    if found.startswith(("megatron-2", "megatron-d")) and not row["device"].startswith(OLD):
        return "megatron-core"  # no GPU runs software older than itself
    if found in ("fsdp-eager", "atorch") and divided:
        return "deepspeed"  # its own tensor and pipeline parallelism: neither FSDP nor Megatron-LM
    if found == "fsdp-eager" and _FUSED.search(row.get("note", "")):
        return "fsdp-compiled"  # the kernels that a compiler would fuse
    return _compiled_or_not(found, row)


def _compiled_or_not(software: str, row: Mapping[str, str]) -> str:
    """Return torchtitan as a row says that it ran: its modules compiled unless told."""
    said = " ".join(row.get(name, "") for name in ("software", "note"))
    return TORCHTITAN_EAGER if software == TORCHTITAN and _EAGER.search(said) else software


def _named(text: str, flags: re.RegexFlag = re.NOFLAG) -> str:
    """Return the software that a text names, first match; "" for none."""
    return next((name for pattern, name in _SOFTWARE if re.search(pattern.pattern, text, pattern.flags | flags)), "")


def ways_of(row: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of a plan that say how a row was run, as far as its columns, its note or its recipe do."""
    text = " ".join(row.get(name, "") for name in ("note", "source"))
    software = software_of(row)
    found: dict[str, Any] = {"software": software, "context_exchange": _exchange_of(row, software)}
    if "llm-foundry" in row["source"]:
        # scripts/train/benchmarking/submit_benchmarks.py, attn_impl; loss_fn fused_crossentropy
        found |= {"backend": "triton", "fused_loss": True}
    elif kernels := attention_of(row, software):
        found["backend"] = kernels
    if software in TITANS and 0 < year_of(row) <= _EAGER_LOSS_UNTIL:
        found["fused_loss"] = False
    if "SimuMax" in row["source"]:
        # nothing overlaps (docs/b200/b200_real_repro_guide.md, 3.3); no --overlap-grad-reduce in run_pretrain_llama3.sh
        found["overlap"] = False
    primus = found["software"] == "megatron-core" and "Primus" in f"{row['source']} {row.get('software', '')}"
    if primus or "Megatron-Bridge" in row["source"]:
        found["fused_loss"] = True  # cross_entropy_fusion_impl te (Primus: examples/megatron/configs)
    if "Megatron-Bridge" in row["source"] and released(row):
        found |= recipe_fields(row)
    found |= _low_precision(row, software)
    if row["precision"].startswith("nvfp4") and software == "megatron-core":
        found["tensor_overlap"] = False  # MLPerf's config_common_fp4.sh, Megatron-Bridge's recipes
    if (
        "activations offloaded to the host" in text
        or "CPU activation offload" in text
        or "405B" in row.get("model", "")
        or inputs_offloaded(row)
    ):
        found["offload_layers"] = _offloaded(row)
    if _HOSTED.search(f"{row['zero_stage/fsdp']}; {row.get('note', '')}"):
        found["offload"] = True
    for name, pattern, value in _SAYS:
        if name not in found and pattern.search(text):
            found[name] = value
    return found | _stated(row)


# Words of a note, first match.
_SCALING = (
    (re.compile(r"delayed[- ]scal|fp8,? delayed", re.IGNORECASE), Fp8Recipe.DELAYED),
    (re.compile(r"current[- ]scaling|tensor[- ]?wise", re.IGNORECASE), Fp8Recipe.TENSORWISE),
    (re.compile(r"block[- ]?wise|sub-?channel", re.IGNORECASE), Fp8Recipe.BLOCKWISE),
    (re.compile(r"mxfp8", re.IGNORECASE), Fp8Recipe.MXFP8),
)
_NEMO_2 = re.compile(r"(?:nemo-framework/|NeMo )(?:24\.(?:09|1)|2[5-9]\.)")  # releases whose recipes are NeMo 2's
_KEPT_IN_FP8 = re.compile(r"fp8[-_ ]param|(?:float|fp)8 all-gather", re.IGNORECASE)
_COMPOSER = re.compile(r"llm-foundry|composer", re.IGNORECASE)  # its amp_fp8 is Transformer Engine's DelayedScaling
_OLMO = re.compile(r"olmo-core", re.IGNORECASE)


def _low_precision(row: Mapping[str, str], software: str) -> dict[str, Any]:
    """Return how a row in fp8 scales its tensors, and whether its weights are kept in fp8, where its note or its source
    says: Megatron-Bridge's recipes scale by the tensor unless a table says otherwise, others of Megatron Core by
    earlier steps (its default, NeMo's and MLPerf's). NeMo 2 and Megatron-Bridge keep weights in fp8
    (fp8_param_gather of their mixed_precision.py), but NeMo's in mxfp8 and those in blocks of 128; torchtitan gathers
    them in fp8 by every line of its docs/float8.md, OLMo-core by default (enable_fsdp_float8_all_gather)."""
    if not row["precision"].startswith("fp8"):
        return {}
    note, says = row.get("note", ""), f"{row.get('software', '')} {row['source']}"
    bridge = "Megatron-Bridge" in says
    recipe: str | None = row.get("fp8_recipe", "").strip() or None
    recipe = recipe or next((one for pattern, one in _SCALING if pattern.search(note)), None)
    if recipe is None and _COMPOSER.search(says):
        recipe = Fp8Recipe.DELAYED
    if recipe is None and software == "megatron-core":
        recipe = Fp8Recipe.TENSORWISE if bridge else Fp8Recipe.DELAYED
    found: dict[str, Any] = {} if recipe is None else {"fp8_recipe": recipe}
    kept = bridge or software in TITANS or _OLMO.search(says) or (_NEMO_2.search(says) and recipe != Fp8Recipe.MXFP8)
    if _KEPT_IN_FP8.search(note) or (kept and recipe != Fp8Recipe.BLOCKWISE):
        found["fp8_gather"] = True
    return found


# Layers whose activations Megatron-Bridge's recipes with FSDP offload (scripts/performance/configs/llama,
# cpu_offloading_num_layers): by size, device and whether products are in 16 bit.
_OFFLOADED = {
    ("70B", "GB300", True): 30,
    ("70B", "GB300", False): 20,
    ("70B", "GB200", True): 20,
    ("70B", "GB200", False): 40,
    ("70B", "B200", False): 5,
    ("405B", "GB300", True): 40,
    ("405B", "GB300", False): 10,
    ("405B", "GB200", False): 92,
}


def _offloaded(row: Mapping[str, str]) -> int:
    """Return the layers of a stage whose activations a row offloads: a recipe's; all of a stage's but the last where it
    says no number; 0 where it is no recipe with FSDP."""
    if "activations offloaded to the host" in row.get("note", "") or inputs_offloaded(row):
        return max(1, int(float(row["layers"])) // int(float(row["pp"] or 1)) - 1)
    size = next((one for one in ("405B", "70B") if one in row.get("model", "")), "")
    fsdp = row["zero_stage/fsdp"].startswith("FSDP") and "Megatron-Bridge" in row["source"]
    return _OFFLOADED.get((size, row["device"], row["precision"] == "bf16"), 0) if fsdp else 0


_GATHERING = (*TITANS, "xla", ON_ARRAYS)  # software whose context-parallel ranks gather keys
# Megatron Core's words.
_EXCHANGE = re.compile(r"cp[-_]comm[-_]type[ =:]*(p2p|a2a|all_gather)\b(?!\+)")


def _exchange_of(row: Mapping[str, str], software: str) -> ContextExchange:
    """Return how a row's context-parallel ranks see the whole sequence, as its note or its source says: torchtitan and
    MaxText (base.yml, context_parallel_strategy) gather keys, SimuMax's runs exchange heads
    (docs/b200/b200_real_repro_guide.md of its repository, section 7), others pass keys around a ring."""
    note = row.get("note", "")
    if said := _EXCHANGE.search(note):
        return ContextExchange(EXCHANGES[squashed(said[1])])
    if "keys and values gathered" in note:  # Llama 3's report, and what `hardplace run` writes
        return ContextExchange.ALL_GATHER
    if "SimuMax" in row["source"] and float(row.get("cp", "") or 1) > 1:
        return ContextExchange.ALL_TO_ALL
    return ContextExchange.ALL_GATHER if software in _GATHERING else ContextExchange.RING


def modules_of(row: Mapping[str, str], software: str) -> tuple[str, ...]:
    """Return the modules that a row's software recomputes: those the row names, those of Megatron-Bridge's DeepSeek
    recipes, of a policy of MaxText, or torchtitan's usual ones."""
    if stated := row.get("recompute_modules", "").strip():
        return tuple(one.strip() for one in re.split("[ ,;]+", stated))
    said = re.match(r"selective\(([^:)]*)\)", row["recompute"].strip())
    names = [one.strip() for one in (said[1].split(",") if said else [])]
    if software in TITANS and (not names or names == ["op"]):
        return ("op",)  # selective_ac_option op, its default
    on_xla = software in ("xla", ON_ARRAYS) and set(names).isdisjoint(MODULES)
    if on_xla and (policy := modules_of_policy(row)) is not None:
        return policy
    if "recompute modules per recipe" in row.get("note", "") and not names and (recipe := recipe_of(row)):
        return recipe.modules
    return tuple(one for one in names if one in MODULES)


def _stated(row: Mapping[str, str]) -> dict[str, Any]:
    """Return what a row's own columns state; BadInput for a value that is none of theirs."""
    found: dict[str, Any] = {}
    kinds = {"dispatcher": Dispatcher, "graphs": Graphs, "context_exchange": ContextExchange}
    for column, kind in (kinds | {"schedule": PipelineSchedule, "fp8_recipe": Fp8Recipe}).items():
        text = row.get(column, "").strip().lower()
        if text and text != "not stated":
            try:
                found[column] = kind(text)
            except ValueError:
                raise BadInput(f"{column}: {text!r}: expected {', '.join(kind)} or an empty cell") from None
    for column, name in _COLUMNS.items():
        text = row.get(column, "").strip().lower()
        if text and text != "not stated":
            found[name] = truth(text)
            if found[name] is None:
                raise BadInput(f"{column}: {text!r}: expected 1, 0 or an empty cell")
    if backend := row.get("backend", "").strip():
        found["backend"] = backend
    if layers := row.get("offload_layers", "").strip():
        found["offload_layers"] = int(float(layers))
    return found
