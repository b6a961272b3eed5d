"""How tables of runs spell devices, formats, sharding, recompute and kernels, as the one word that is read on.

A spelling that is not known stays as it is: `runs.run_of` then says which cell it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from hardplace.plans.plan import MODULES

# Words of a device's name that do not tell it from another one.
_BESIDE = re.compile(
    r"\b(?:nvidia|amd|intel|habana|google|cloud|aws|instinct|radeon|geforce|tesla|tensor|core|gpus?|chips?|nvl72|"
    r"gddr\d\w?|blackwell|server edition)\b|sxm\d?|\boam\b|\bhgx\b|\bdgx\b|hbm\d?e?"
)
# Names in common use that are not those of DEVICES, squashed; without a memory size the one that is sold most.
_ALSO = {
    "h100": "H100-80GB",
    "a100": "A100-80GB",
    "v100": "V100-32GB",
    "a800": "A800-80GB",
    "h800": "H800",
    "trillium": "TPUv6e",
    "ironwood": "TPU7x",
    "tpuv7": "TPU7x",
    "tpuv7x": "TPU7x",
    "tpu7": "TPU7x",
    "tpuv5lite": "TPUv5e",
    "trn1": "Trainium1-chip",
    "trainium1": "Trainium1-chip",
    "trainium": "Trainium1-chip",
    "trn2": "Trainium2-chip",
    "trainium2": "Trainium2-chip",
}
_MEMORY = re.compile(r"(?:^| )(\d+) ?g(?:i?b)?$")
_WITHIN = 0.1  # of a memory that a name says: vendors count GB, drivers GiB less what they keep
_FORMATS = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float32": "fp32", "tf32": "fp32", "fp4": "nvfp4"}
# Recipes of scaling in fp8, as trainers, tables and Transformer Engine call them.
_RECIPES = {
    **dict.fromkeys(("delayed", "ds", "delayedscaling", "fp8ds"), "delayed"),
    **dict.fromkeys(("tensorwise", "current", "cs", "currentscaling", "pertensor", "dynamic", "fp8cs"), "tensorwise"),
    **dict.fromkeys(("float8currentscaling", "tensor", "pertensorcurrentscaling", "tensorwisescaling"), "tensorwise"),
    **dict.fromkeys(
        ("blockwise", "sc", "ss", "subchannel", "blockscaling", "float8blockscaling", "fp8sc"), "blockwise"
    ),
    **dict.fromkeys(("block", "blockwisescaling", "subchannelscaling", "deepseek", "fp8ss"), "blockwise"),
    **dict.fromkeys(("mxfp8", "mx", "mxfp8blockscaling", "fp8mx"), "mxfp8"),
    **dict.fromkeys(("nvfp4", "nvfp4blockscaling"), "nvfp4"),
}
_SCALED = re.compile(r"(fp8|float8)[-_ (]*([a-z][a-z0-9_ -]*?)\)?$")  # a precision with its recipe
_NO = ("none", "no", "off", "0", "false", "n", "disabled", "without")
_YES = ("yes", "on", "1", "true", "y", "enabled")
_MODULE = {
    "attn": "core_attn",
    "attention": "core_attn",
    "coreattention": "core_attn",
    "coreattn": "core_attn",
    "norm": "layernorm",
    "norms": "layernorm",
    "rmsnorm": "layernorm",
    "act": "moe_act",
    "moeact": "moe_act",
    "mlauproj": "mla_up_proj",
}
# Remat policies of MaxText and Pax, which `ways.modules_of` reads.
_POLICY = re.compile(r"(?:remat[ _:]*)?((?:minimal|save_|dots?_|qkv_proj)\w*)$")
_WHOLE_LAYERS = (
    *("full", "uniform", "fulluniform", "fullblock", "fulllayer", "all", "activationcheckpointing", "checkpointing"),
    *("gradientcheckpointing", "fullactivationcheckpointing", "fullac", "rematfull", "fullrecompute"),
)
_SOME = re.compile(r"(?:full\s*\(?\s*)?(\d+)\s*/\s*(\d+)(?:\s*layers)?\s*\)?$")
_EVERY = re.compile(r"selective\s*\(?\s*(\d+)\s*\)?$|every (\d+)(?:st|nd|rd|th)? layers?$")
_INSIDE = re.compile(r"selective\(([^:)]*)\)$")
_ZERO = re.compile(r"(?:zero|stage|z|zero stage)[-_ ]*([0-3])(?:[-_ (]*(?:offload|deepspeed|fsdp)\)?)?$")
_HYBRID = re.compile(r"(?:hsdp|hybrid[_ ]shard)[ (,:]*(?:shard )?(\d+)\)?$")
_BACKENDS = {
    **dict.fromkeys(("cudnn", "te", "fused", "fusedattention", "transformerengine", "tefused"), "cudnn"),
    **dict.fromkeys(("fa2", "flash", "fa", "flashattention", "flashattention2", "flashattn", "flashattn2"), "fa2"),
    **dict.fromkeys(("flash2", "flash_attention_2"), "fa2"),
    **dict.fromkeys(("fa3", "flashattention3", "flashattn3", "flash3"), "fa3"),
    **dict.fromkeys(("default", "sdpa", "torch", "pytorch", "torchsdpa"), "default"),
    "triton": "triton",
    **dict.fromkeys(("aiter", "ck", "composablekernel"), "aiter"),
    "cudnnfp8": "cudnn-fp8",
}
_UNFUSED = ("math", "unfused", "eager", "none", "local")
_DISPATCHERS = {
    **dict.fromkeys(("alltoall", "a2a", "nccl", "ncclalltoall"), "all-to-all"),
    **dict.fromkeys(("deepep", "flexdeepep"), "deepep"),
    **dict.fromkeys(("hybridep", "flexhybridep"), "hybridep"),
}
_GRAPHS = {
    **dict.fromkeys(_NO, "none"),
    **dict.fromkeys(("full", "fulliteration", "wholeiteration", "whole"), "full"),
    **dict.fromkeys(("layer", "layers", "perlayer"), "layer"),
    **dict.fromkeys(("partial", "te", "tescoped", "attn"), "partial"),
}
EXCHANGES = {
    **dict.fromkeys(("ring", "p2p", "ringattention", "kvring"), "ring"),
    **dict.fromkeys(("alltoall", "a2a", "ulysses"), "all-to-all"),
    **dict.fromkeys(("allgather", "gather", "kvallgather"), "all-gather"),
}
_SCHEDULES = {
    **dict.fromkeys(("1f1b", "interleaved", "interleaved1f1b", "1f1binterleaved", "1f1bi"), "1f1b"),
    **dict.fromkeys(("zerobubble", "zbb", "zbh1", "zb1p"), "zero-bubble"),
    **dict.fromkeys(("zbv", "zbvzerobubble"), "zb-v"),
    "gpipe": "gpipe",
    "vhalf": "v-half",
    "vmin": "v-min",
    "dualpipev": "dualpipe-v",
}
_WORDS = (
    *(("dispatcher", _DISPATCHERS), ("graphs", _GRAPHS)),
    *(("context_exchange", EXCHANGES), ("schedule", _SCHEDULES)),
)


def truth(text: str) -> bool | None:
    """Return what a word for yes or no says; None for another word."""
    return True if squashed(text) in _YES else False if squashed(text) in _NO else None


def squashed(text: str) -> str:
    """Return a text in lower case, without what is no letter or digit."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


def device_spelled(text: str, known: Mapping[str, tuple[str, str]], memory_gib: Callable[[str], float]) -> str:
    """Return the name of a device in tables of runs, whatever its case, vendor, form factor or memory in words.

    Args:
        text: The device as a table has it.
        known: Names in tables of runs, with the device and the node of the catalogue.
        memory_gib: Memory of a device of the catalogue.

    Returns:
        The name, or the text itself where it is none of them or says another memory.
    """
    text = text.strip()
    if text in known:
        return text
    names = {squashed(name): name for name in known} | _ALSO
    names |= {_device(device): name for name, (device, _) in reversed(list(known.items()))}
    names |= {_device(name): name for name in known}
    plain = _plain(text)
    if (key := squashed(plain)) in names:
        return names[key]
    said = _MEMORY.search(plain)
    name = names.get(squashed(plain[: said.start()]), "") if said else ""
    if said and name in known and abs(int(said[1]) / memory_gib(known[name][0]) - 1.0) <= _WITHIN:
        return name
    return text


def _plain(text: str) -> str:
    words = _BESIDE.sub(" ", re.sub(r"[-_()]", " ", text.lower())).split()
    return " ".join(sorted(words, key=lambda word: word == "pcie"))  # "PCIe 80 GB" and "80 GB PCIe" alike


def _device(text: str) -> str:
    return squashed(_plain(text))


def canonical(row: Mapping[str, str]) -> dict[str, str]:
    """Return a row in whose cells precision, ZeRO, recompute, kernels, exchanges and schedules are spelled as they are
    read; doing it again changes nothing."""
    found = dict(row)
    found["precision"], scaled = _precision(row["precision"])
    if scaled := row.get("fp8_recipe", "").strip() or row.get("low_recipe", "").strip() or scaled:
        found["fp8_recipe"] = "" if squashed(scaled) in _NO else _RECIPES.get(squashed(scaled), scaled)
    found["zero_stage/fsdp"] = _sharding(row["zero_stage/fsdp"])
    found["recompute"] = _recompute(row)
    if row.get("recompute_modules", "").strip():
        found["recompute_modules"] = " ".join(_modules(row["recompute_modules"]))
    flash, backend = _attention(row)
    found |= {"flash_attention": flash, "moe": "" if squashed(row["moe"]) in (*_NO, "dense") else row["moe"]}
    for column, words in _WORDS:
        if text := row.get(column, "").strip():
            found[column] = words.get(squashed(text), text)
    return found | ({"backend": backend} if backend or "backend" in row else {})


def _precision(text: str) -> tuple[str, str]:
    """Return the format that a cell says, and the recipe of scaling that it says with it; "": none."""
    plain = re.sub(r"\s+", "", text.lower())
    for word, name in _FORMATS.items():
        if plain == word or (plain.startswith(word) and not plain[len(word)].isalnum()):
            return name + plain[len(word) :], "nvfp4" if name == "nvfp4" else ""
    scaled = _SCALED.match(plain)
    recipe = "mxfp8" if plain == "mxfp8" else _RECIPES.get(squashed(scaled[2]), "") if scaled else ""
    return ("fp8", recipe) if recipe else (plain, "nvfp4" if plain == "nvfp4" else "")


def _sharding(text: str) -> str:
    plain = re.sub(r"\s+", " ", text.strip().lower())
    stage, hybrid = _ZERO.match(plain), _HYBRID.match(plain)
    if plain in (*_NO, "ddp", "dp"):
        return "0"
    if stage:
        return f"{stage[1]} (offload)" if "offload" in plain else stage[1]
    if hybrid:
        return f"FSDP({hybrid[1]})"
    if plain in ("hsdp", "hybrid_shard", "hybrid shard"):
        return "HSDP(shard in node)"
    if squashed(plain) in ("fsdp", "fsdp1", "fsdp2", "pytorchfsdp", "megatronfsdp", "fullshard", "fullysharded"):
        return "FSDP"
    if squashed(plain) == "shardgradop":
        return "2"
    if squashed(plain) in ("distributedoptimizer", "distopt", "usedistributedoptimizer"):
        return "1"
    return text


def _recompute(row: Mapping[str, str]) -> str:
    text = row["recompute"].strip()
    plain, key = text.lower(), squashed(text)
    if not plain:
        return "selective" if row.get("recompute_modules", "").strip() else ""
    some, every = _SOME.match(plain), _EVERY.match(plain)
    if key in _NO:
        return "none"
    if key in _YES or key in _WHOLE_LAYERS:
        return "full"
    if some and int(some[2]) in _layers(row):
        return f"full({some[1]}/{some[2]} layers)"
    if every and (layers := _layers(row)[-1]):
        return f"full({max(1, layers // max(1, int(every[1] or every[2])))}/{layers} layers)"
    if key in ("op", "selectiveop", "sac", "selectiveacop"):
        return "selective(op)"
    if policy := _POLICY.match(plain):
        return f"selective({policy[1]})"
    inside = _INSIDE.match(plain)
    names = _modules(inside[1] if inside else plain)
    if names and set(names) <= set(MODULES):
        return f"selective({','.join(names)})"
    for word in ("selective", "full", "none"):
        if plain.startswith(word):
            return word + text[len(word) :]
    return text


def _layers(row: Mapping[str, str]) -> tuple[int, int]:
    """Return the layers of a row's model and of a stage of it; 0 where it does not say."""
    layers, stages = int(float(row["layers"].strip() or 0)), int(float(row["pp"].strip() or 1))
    return layers, layers // max(1, stages)


def _modules(text: str) -> list[str]:
    names = [one for one in re.split(r"[ ,;+|]+", re.sub(r"[\[\]'\"]", "", text.strip().lower())) if one]
    if squashed(text) in _MODULE:
        return [_MODULE[squashed(text)]]
    return [one if one in MODULES else _MODULE.get(squashed(one), one) for one in names]


def _attention(row: Mapping[str, str]) -> tuple[str, str]:
    """Return the cells flash_attention and backend."""
    flash, backend = row["flash_attention"].strip(), row.get("backend", "").strip()
    key = squashed(backend)
    if key in _UNFUSED:
        return ("0", "") if not flash or squashed(flash) in _NO else (flash, backend)
    backend = _BACKENDS.get(key, backend)
    key = squashed(flash)
    if key in _NO:
        return "0", backend
    if key in _YES:
        return "1", backend
    if key in _BACKENDS or key == "2":
        return "1", backend or _BACKENDS.get(key, "fa2")
    return flash, backend
