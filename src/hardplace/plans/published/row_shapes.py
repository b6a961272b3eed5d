"""The shape of a decoder as a row of a table of runs gives it, and the cell that gives a mixture."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hardplace.cost.gpu.attention import ALIGNED
from hardplace.cost.layers.software import ON_ARRAYS
from hardplace.plans.published.rows import NotModelled, some_in, whole_in
from hardplace.plans.published.ways import software_of
from hardplace.workload.decoder import DecoderShape, Experts, Latent

# Software whose GPTs share the table of input and output (Megatron-LM unless --untie-embeddings-and-output-weights;
# MPT's configurations, tie_word_embeddings).
_TYING = ("megatron-2020", "megatron-2021", "megatron-deepspeed")
_CAPACITY = re.compile(r"capacity_factor[= ]([0-9]+(?:\.[0-9]+)?)")
_LATENT = {"query": "q_lora", "key_value": "kv_lora", "nope": "nope", "rope": "rope", "value": "v"}
_MIXTURE = ("experts", "topk", "expert_ffn", "shared_ffn", "first_dense_layers", "mtp", "swa_window", "capacity")
# Other names of the same sizes (Hugging Face's configurations, Megatron-LM's arguments).
_ALSO = {
    **dict.fromkeys(("num_experts", "n_experts", "num_local_experts", "n_routed_experts"), "experts"),
    **dict.fromkeys(("top_k", "k", "num_experts_per_tok", "moe_router_topk"), "topk"),
    **dict.fromkeys(("moe_ffn", "moe_intermediate_size", "expert_hidden", "moe_ffn_hidden_size"), "expert_ffn"),
    **dict.fromkeys(("shared_expert_ffn", "shared_expert_intermediate_size"), "shared_ffn"),
    **dict.fromkeys(("first_k_dense_replace", "dense_layers"), "first_dense_layers"),
    **dict.fromkeys(("capacity_factor", "moe_expert_capacity_factor"), "capacity"),
}


def shape_of_row(row: Mapping[str, str]) -> DecoderShape:
    """Return the shape of a row.

    Raises:
        NotModelled: For a size that is missing or none, and for heads that do not divide.
    """
    hidden, heads = some_in(row, "hidden"), some_in(row, "heads")
    kv_heads = some_in(row, "kv_heads", heads)
    if heads % kv_heads:
        raise NotModelled(f"kv_heads: {kv_heads}: expected a divisor of the {heads} heads")
    moe, found = row["moe"], mixture_of(row)
    experts = latent = None
    if moe:
        experts = _experts(row, found)
    if "mla:" in moe:
        if not set(_LATENT.values()) <= set(found):
            raise NotModelled(f"moe: {moe!r}: {', '.join(_LATENT.values())} of mla: not given")
        latent = Latent(**{field: _whole(moe, found[name]) for field, name in _LATENT.items()})
        if min(latent.key_value, latent.nope + latent.rope, latent.value) < 1:
            raise NotModelled(f"moe: {moe!r}: expected kv_lora, v and a head dimension (nope, rope) from 1")
    gated = bool(whole_in(row, "gated_mlp"))
    return DecoderShape(
        layers=some_in(row, "layers"),
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=some_in(row, "head_dim", _head_dim(hidden, heads)),
        ffn=whole_in(row, "ffn", 0 if experts and not experts.dense_layers else None),
        vocab=some_in(row, "vocab"),
        sequence=some_in(row, "seq"),
        gated=gated,
        positions=not gated,
        tied="tied table" in row.get("note", "")
        or (not gated and (software_of(row).startswith(_TYING) or "llm-foundry" in row["source"])),
        experts=experts,
        latent=latent,
        window=_whole(moe, found.get("swa_window", "0")),
        window_every=2 if "every_2" in moe else 1,
        predicted=_whole(moe, found.get("mtp", "0")),
        biased="InternEvo" in row["source"],  # InternLM-7B
    )


def _head_dim(hidden: int, heads: int) -> int:
    """Return the width of heads where a row says none; where they do not divide the hidden size, the nearest multiple
    of 8, which kernels take: no such model runs, so it is the reading that is off, not the alignment."""
    return hidden // heads if hidden % heads == 0 else max(ALIGNED, ALIGNED * round(hidden / heads / ALIGNED))


def mixture_of(row: Mapping[str, str]) -> dict[str, str]:
    """Return what the cell moe says, by name.

    Raises:
        NotModelled: For a name that is none of its own.
    """
    moe = row["moe"]
    parts = [part.strip() for part in moe.replace("mla:", "").replace(",", ";").split(";")]
    found = {}
    for name, _, value in (part.partition("=") for part in parts if "=" in part):
        known = _ALSO.get(name.strip(), name.strip())
        if known not in (*_MIXTURE, *_LATENT.values()):
            raise NotModelled(f"moe: {name.strip()}: expected some of {', '.join((*_MIXTURE, *_LATENT.values()))}")
        found[known] = value.strip()
    return found


def _experts(row: Mapping[str, str], found: Mapping[str, str]) -> Experts:
    moe = row["moe"]
    numbers = {name: _whole(moe, found.get(name, "0")) for name in _MIXTURE if name != "capacity"}
    if not numbers["expert_ffn"] and not numbers["first_dense_layers"]:
        numbers["expert_ffn"] = whole_in(row, "ffn", 0)  # of a mixture in every layer, as Mixtral's configurations say
    if not all(numbers[name] >= 1 for name in ("experts", "topk", "expert_ffn")):
        raise NotModelled(f"moe: {moe!r}: experts, topk or expert_ffn not given")
    if numbers["topk"] > numbers["experts"]:
        raise NotModelled(f"moe: topk: {numbers['topk']}: expected at most the {numbers['experts']} experts")
    return Experts(
        count=numbers["experts"],
        chosen=numbers["topk"],
        ffn=numbers["expert_ffn"],
        shared_ffn=numbers["shared_ffn"],
        dense_layers=numbers["first_dense_layers"],
        capacity=_capacity(row, found.get("capacity", "")),
    )


def _capacity(row: Mapping[str, str], cell: str) -> float:
    """Return the rows that MaxText gives an expert where it drops tokens (capacity_factor), as its cell or its note
    says; 0: none are dropped, or, of other software, as many rows as tokens on average."""
    said = _CAPACITY.fullmatch(f"capacity_factor={cell}") if cell else _CAPACITY.search(row.get("note", ""))
    if cell and said is None:
        raise NotModelled(f"moe: capacity: {cell}: expected a number")
    if said and software_of(row) in ("xla", ON_ARRAYS):
        return float(said[1])
    if cell and float(cell) != 1.0:
        raise NotModelled(f"moe: capacity: {cell}: expected 1 but with XLA: experts padded beyond it are not priced")
    return 0.0


def _whole(moe: str, text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text):
        raise NotModelled(f"moe: {moe!r}: {text!r}: expected a whole number")
    return int(text)


def mixture_told(shape: DecoderShape) -> str:
    """Return the cell moe of a shape: what `shape_of_row` reads of it."""
    experts, latent = shape.experts, shape.latent
    sizes: dict[str, int] = {}
    if experts is not None:
        sizes = {"experts": experts.count, "topk": experts.chosen, "expert_ffn": experts.ffn}
        sizes |= {"shared_ffn": experts.shared_ffn, "first_dense_layers": experts.dense_layers}
    sizes |= {"mtp": shape.predicted, "swa_window": shape.window}
    parts = [f"{name}={value}" for name, value in sizes.items() if value]
    parts += [f"capacity={experts.capacity:g}"] if experts is not None and experts.capacity else []
    if latent is not None:
        parts.append("mla:" + ",".join(f"{name}={getattr(latent, field)}" for field, name in _LATENT.items()))
    return ";".join(parts) + (",every_2" if shape.window and shape.window_every == 2 else "")
