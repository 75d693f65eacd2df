"""The dense Qwen2 and Qwen3 as their config.json states them: which tensors there must be, of what shape and name.

What llama.cpp would compute otherwise than transformers does (another activation, stretched positions, a sliding
window) is refused by name here, before a byte is written.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.errors import UserError

ARCHITECTURES = {"Qwen2ForCausalLM": "qwen2", "Qwen3ForCausalLM": "qwen3"}  # transformers' class → llama.cpp's name
INTEGERS = {
    "layers": "num_hidden_layers",
    "hidden": "hidden_size",
    "feed_forward": "intermediate_size",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "vocabulary": "vocab_size",
    "context": "max_position_embeddings",
}
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
# transformers' name → llama.cpp's, and the shape in the words of `Architecture.extents`; both families
OUTER = {
    EMBEDDING: ("token_embd.weight", ("vocabulary", "hidden")),
    "model.norm.weight": ("output_norm.weight", ("hidden",)),
}
LAYER = {
    "input_layernorm.weight": ("attn_norm.weight", ("hidden",)),
    "self_attn.q_proj.weight": ("attn_q.weight", ("queries", "hidden")),
    "self_attn.k_proj.weight": ("attn_k.weight", ("keys", "hidden")),
    "self_attn.v_proj.weight": ("attn_v.weight", ("keys", "hidden")),
    "self_attn.o_proj.weight": ("attn_output.weight", ("hidden", "queries")),
    "post_attention_layernorm.weight": ("ffn_norm.weight", ("hidden",)),
    "mlp.gate_proj.weight": ("ffn_gate.weight", ("feed_forward", "hidden")),
    "mlp.up_proj.weight": ("ffn_up.weight", ("feed_forward", "hidden")),
    "mlp.down_proj.weight": ("ffn_down.weight", ("hidden", "feed_forward")),
}
OWN = {
    "qwen2": {
        "self_attn.q_proj.bias": ("attn_q.bias", ("queries",)),
        "self_attn.k_proj.bias": ("attn_k.bias", ("keys",)),
        "self_attn.v_proj.bias": ("attn_v.bias", ("keys",)),
    },
    "qwen3": {
        "self_attn.q_norm.weight": ("attn_q_norm.weight", ("head",)),
        "self_attn.k_norm.weight": ("attn_k_norm.weight", ("head",)),
    },
}


@dataclass(frozen=True)
class Slot:
    """A tensor that the model must have."""

    name: str  # llama.cpp's
    shape: tuple[int, ...]  # as in transformers: (outputs, inputs)


@dataclass(frozen=True)
class Architecture:
    """The shape of a model. `head_dim` is None where the configuration leaves it to hidden / heads."""

    name: str
    layers: int
    hidden: int
    feed_forward: int
    heads: int
    kv_heads: int
    vocabulary: int
    context: int
    head_dim: int | None
    rope_base: float
    epsilon: float
    tied: bool

    @property
    def extents(self) -> dict[str, int]:
        """The words that the tables of tensors give shapes in."""
        head = self.head_dim or self.hidden // self.heads
        named = {"vocabulary": self.vocabulary, "hidden": self.hidden, "feed_forward": self.feed_forward, "head": head}
        return named | {"queries": self.heads * head, "keys": self.kv_heads * head}

    def slots(self) -> dict[str, Slot]:
        """Every tensor of the model by transformers' name, in llama.cpp's order."""
        extents = self.extents
        table = dict(OUTER)
        if not self.tied:
            table[HEAD] = ("output.weight", ("vocabulary", "hidden"))
        for layer in range(self.layers):
            for source, (name, shape) in {**LAYER, **OWN[self.name]}.items():
                table[f"model.layers.{layer}.{source}"] = (f"blk.{layer}.{name}", shape)
        return {source: Slot(name, tuple(extents[word] for word in shape)) for source, (name, shape) in table.items()}


def read_architecture(model: Path) -> Architecture:
    """Read and check `model/config.json`. Raises `UserError` naming the key that stands against an export."""
    place = f"{model}/config.json"
    try:
        config = json.loads((model / "config.json").read_text(encoding="utf-8"))
        named = (config.get("architectures") or ["none named"])[0]
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{place}: cannot be read ({error}); expected a transformers model") from None
    if named not in ARCHITECTURES:
        raise UserError(f"{model}: {named} cannot be exported; supported: {', '.join(ARCHITECTURES)}")
    _check_supported(config, place)
    integers = {field: _number(config, key, place) for field, key in INTEGERS.items()}
    head = config.get("head_dim")
    if head is None and named == "Qwen3ForCausalLM":
        raise UserError(f"{place}: head_dim is missing; take the config.json of the model's own repository")
    base = _rope(config).get("rope_theta", config.get("rope_theta"))
    return Architecture(
        ARCHITECTURES[named],
        **integers,
        head_dim=head,
        rope_base=_number({"rope_theta": base}, "rope_theta", place, float),
        epsilon=_number(config, "rms_norm_eps", place, float),
        tied=bool(config.get("tie_word_embeddings", False)),
    )


def _check_supported(config: dict[str, Any], place: str) -> None:
    rope = _rope(config)
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default" or rope.get("partial_rotary_factor", 1) != 1:
        raise UserError(f"{place}: rope type {kind!r} {rope} cannot be exported, only 'default'")
    if config.get("use_sliding_window") or "sliding_attention" in (config.get("layer_types") or ()):
        raise UserError(f"{place}: use_sliding_window is on; llama.cpp computes full attention for this architecture")
    if config.get("quantization_config"):
        raise UserError(f"{place}: the weights are quantised (quantization_config); export the bf16 or f16 model")
    for key, supported in (("hidden_act", "silu"), ("is_causal", True), ("attention_bias", False)):
        if config.get(key, supported) != supported:
            raise UserError(f"{place}: {key} is {config[key]!r}; llama.cpp's model has {supported!r}")


def _rope(config: dict[str, Any]) -> dict[str, Any]:
    """transformers 5 writes `rope_parameters`, transformers 4 `rope_scaling` (null where there is none)."""
    return {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}


def _number(config: dict[str, Any], key: str, place: str, kind: type = int) -> Any:
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, int | kind) or value <= 0:
        raise UserError(f"{place}: {key} is {value!r}, not a positive number; take the model's own config.json")
    return kind(value)
