"""The dense Qwen2 and Qwen3 as their config.json states them: which tensors there must be, of what shape and name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.errors import UserError
from jobs.json_object import expect, number

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
MOST_LAYERS = 512  # llama.cpp's LLAMA_MAX_LAYERS
ADVICE = "take the model's own config.json"
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


def read_architecture(config: Mapping[str, Any], place: str) -> Architecture:
    """What a config.json, read from `place`, states. `UserError` names the key that is missing or unsupported."""
    named = _class_of(config, place)
    integers = {field: _positive(config, key, place) for field, key in INTEGERS.items()}
    if integers["layers"] > MOST_LAYERS:
        raise UserError(f"{place}: num_hidden_layers is {integers['layers']}, {MOST_LAYERS} at most; {ADVICE}")
    head = config.get("head_dim")
    if head is not None or named == "Qwen3ForCausalLM":
        head = _positive(config, "head_dim", place)
    base = rope_of(config, place).get("rope_theta", config.get("rope_theta"))
    return Architecture(
        ARCHITECTURES[named],
        **integers,
        head_dim=head,
        rope_base=_positive({"rope_theta": base}, "rope_theta", place, float),
        epsilon=_positive(config, "rms_norm_eps", place, float),
        tied=expect(config.get("tie_word_embeddings", False), bool, f"{place}: tie_word_embeddings"),
    )


def _class_of(config: Mapping[str, Any], place: str) -> str:
    """transformers' class, one of `ARCHITECTURES`, with weights as the tables have them."""
    classes = config.get("architectures")
    named = classes[0] if isinstance(classes, list) and classes else "no class"
    if not isinstance(named, str) or named not in ARCHITECTURES:
        raise UserError(f"{place}: architectures names {named}; supported: {', '.join(ARCHITECTURES)}")
    if config.get("quantization_config"):
        raise UserError(f"{place}: the weights are quantised (quantization_config); use the bf16 or f16 model")
    if config.get("attention_bias"):
        raise UserError(f"{place}: attention_bias is {config['attention_bias']!r}, which is not supported")
    return named


def check_exportable(config: Mapping[str, Any], place: str) -> None:
    """Raise `UserError` naming what llama.cpp would compute otherwise than transformers does."""
    rope = rope_of(config, place)
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default" or rope.get("partial_rotary_factor", 1) != 1:
        raise UserError(f"{place}: rope type {kind!r} {rope} cannot be exported, only 'default'")
    layers = expect(config.get("layer_types") or [], list, f"{place}: layer_types")
    if config.get("use_sliding_window") or "sliding_attention" in layers:
        raise UserError(f"{place}: use_sliding_window is on; llama.cpp computes full attention for this architecture")
    for key, supported in (("hidden_act", "silu"), ("is_causal", True)):
        if config.get(key, supported) != supported:
            raise UserError(f"{place}: {key} is {config[key]!r}; llama.cpp's model has {supported!r}")


def rope_of(config: Mapping[str, Any], place: str) -> dict[str, Any]:
    """transformers 5 writes `rope_parameters`, transformers 4 `rope_scaling` (null where there is none)."""
    found: dict[str, Any] = {}
    for key in ("rope_scaling", "rope_parameters"):
        found |= expect(config.get(key) or {}, dict, f"{place}: {key}")
    return found


def _positive(config: Mapping[str, Any], key: str, place: str, kind: type = int) -> Any:
    try:
        return number(config.get(key), kind, f"{place}: {key}", positive=True)
    except UserError as error:
        raise UserError(f"{error}; {ADVICE}") from None
