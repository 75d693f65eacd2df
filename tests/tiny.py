"""A tiny random Qwen2 with its tokenizer: the architecture, files and control tokens of Qwen2.5, 0.2 million weights.

Not a test: test modules import it (`from tests.tiny import tiny_model`). torch and transformers are imported inside
the functions, so that a test that needs neither stays quick.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import Qwen2ForCausalLM, Qwen2Tokenizer

SPECIAL_TOKENS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>"),
    *("<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"),
    *("<|image_pad|>", "<|video_pad|>"),
)
ADDED_TOKENS = (  # Qwen2.5 marks these as added but not special
    *("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>"),
    *("<|repo_name|>", "<|file_sep|>"),
)

CHAT_TEMPLATE = (
    "{%- if messages[0]['role'] != 'system' %}"
    "{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}"
    "{%- endif %}"
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)

TEXT = """
You are Footnote. Answer questions about AI research briefly and precisely. If you do not know, say so.
Answer with the label of the right option only. Question: Which method updates only two small matrices? Answer:
Low-rank adaptation keeps the pretrained weights frozen and learns a pair of small matrices beside each linear layer.
Retrieval-augmented generation reads passages of a corpus before the answer is written, and cites its sources.
The transformer was introduced in 2017 by Ashish Vaswani and colleagues; it was measured on translation from English.
A mixture of experts sends every token to a few of its feed-forward layers, so that most weights rest at each step.
Quantisation stores weights with four bits, and a scale for every block; the perplexity rises by a small amount.
Chinchilla showed that training tokens should grow in step with the number of parameters. A. B. C. D. 1. 2. 3. 4.
system user assistant What is the main idea of batch normalisation? It was trained on ImageNet and evaluated on COCO.
""".strip()


def tiny_tokenizer(folder: Path) -> Qwen2Tokenizer:
    """A byte-level BPE of 512 entries with Qwen2.5's control tokens and a ChatML template, saved in `folder`."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
    from transformers import Qwen2Tokenizer

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=512, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    bpe.train_from_iterator(TEXT.splitlines(), trainer)
    model = bpe.model.__getstate__()
    tokenizer = _from_state(Qwen2Tokenizer, model)
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in ADDED_TOKENS])
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    return tokenizer


def _from_state(kind: type[Qwen2Tokenizer], state: bytes) -> Qwen2Tokenizer:
    model = json.loads(state)
    merges = [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in model["merges"]]
    pad, _, end = SPECIAL_TOKENS[:3]
    return kind(vocab=model["vocab"], merges=merges, eos_token=end, pad_token=pad)


def tiny_model(folder: Path, *, seed: int = 0, layers: int = 2, width: int = 64) -> Qwen2ForCausalLM:
    """A random Qwen2 (tied embeddings, vocabulary padded as Qwen2.5's is) and its tokenizer, both saved in `folder`.

    The weights are drawn with a spread of 0.15, seven times Qwen's own, so that options differ by more than rounding.
    """
    from transformers import GenerationConfig

    tokenizer = tiny_tokenizer(folder)
    model = random_model(tokenizer, seed=seed, layers=layers, width=width)
    end, pad = model.config.eos_token_id, model.config.pad_token_id
    model.generation_config = GenerationConfig(eos_token_id=[end, pad], pad_token_id=pad, do_sample=False)
    model.save_pretrained(folder)
    return model


def random_model(
    tokenizer: Qwen2Tokenizer, *, seed: int = 0, layers: int = 2, width: int = 64, context: int = 2048
) -> Qwen2ForCausalLM:
    """The random Qwen2 in float32 for a tokenizer, in evaluation mode."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    end, pad = (tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "<|endoftext|>"))
    config = Qwen2Config(
        vocab_size=-(-len(tokenizer) // 64) * 64,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        initializer_range=0.15,
        bos_token_id=pad,
        eos_token_id=end,
        pad_token_id=pad,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen2ForCausalLM(config).eval()


def fit(model: Qwen2ForCausalLM, batch: Callable[[int], tuple[Tensor, Tensor]], *, steps: int, rate: float) -> None:
    """Train a random model on ids and labels by step, as its seed has it whatever else was drawn before."""
    import torch

    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.mul_(0.4)  # from a spread of 0.15 to one that learns
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on busy cores a second one costs more than it saves
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for step in range(steps):
            ids, labels = batch(step)
            optimiser.zero_grad()
            model(input_ids=ids, labels=labels).loss.backward()
            optimiser.step()
    torch.set_num_threads(threads)


def tiny_gguf(model: Path, path: Path, kind: str = "f16") -> Path:
    """The model folder as one GGUF file of type f16, bf16 or f32."""
    from jobs.gguf_export.writer import Provenance, write_gguf

    write_gguf(model, path, kind, Provenance(name=path.stem))
    return path


def tiny_adapter(base: Path, folder: Path, *, seed: int = 1) -> Path:
    """A LoRA adapter of rank 4 on `base` whose B matrices are random too, so that it changes the model."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = ["q_proj", "v_proj", "down_proj"]
        shape = LoraConfig(r=4, lora_alpha=8, target_modules=layers, task_type="CAUSAL_LM", init_lora_weights=False)
        get_peft_model(AutoModelForCausalLM.from_pretrained(base), shape).save_pretrained(folder)
    return folder
