"""The streaming merge beside peft's load, merge_and_unload and save, on a random Qwen2 of 0.25 billion weights."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.paired import compare, measure

MAKE = """
import sys, torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen2Config, Qwen2ForCausalLM
shape = Qwen2Config(vocab_size=32000, hidden_size=1024, intermediate_size=4096, num_hidden_layers=16,
                    num_attention_heads=16, num_key_value_heads=2, tie_word_embeddings=True)
Qwen2ForCausalLM(shape).to(torch.bfloat16).save_pretrained(sys.argv[1])
model = Qwen2ForCausalLM.from_pretrained(sys.argv[1], dtype=torch.bfloat16)  # so that the adapter names its base
linear = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
lora = LoraConfig(r=16, lora_alpha=32, target_modules=linear, init_lora_weights=False, task_type="CAUSAL_LM")
get_peft_model(model, lora).save_pretrained(sys.argv[2])
"""
OURS = """
import sys, shutil
from pathlib import Path
from jobs.merge import merge
shutil.rmtree(sys.argv[3], ignore_errors=True)
merge(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
"""
PEFT = """
import sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.bfloat16)
PeftModel.from_pretrained(model, sys.argv[2]).merge_and_unload().save_pretrained(sys.argv[3])
"""


def main() -> None:
    """Make the model once, then merge it both ways in turn. Ours also hashes what it read and wrote."""
    with tempfile.TemporaryDirectory() as folder:
        base, adapter = str(Path(folder) / "base"), str(Path(folder) / "adapter")
        measure(MAKE, base, adapter)
        ours = (OURS, [base, adapter, str(Path(folder) / "ours")])
        peft = (PEFT, [base, adapter, str(Path(folder) / "peft")])
        compare("merge: ours against peft's merge_and_unload", ours, peft)
