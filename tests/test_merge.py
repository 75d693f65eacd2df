"""The merged folder: complete, in files of the size asked for, strictly loadable, the same after any kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from jobs.merge import merge
from jobs.model_folder import INDEX
from jobs.step import read_step
from tests.merging import changed_base, make_adapter, make_base
from tests.tiny import tiny_adapter, tiny_model

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tiny_model(folder).to(torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_adapter(base, tmp_path_factory.mktemp("adapter"))


@pytest.fixture(scope="module")
def merged(base: Path, adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("merged") / "merged"
    merge(str(base), adapter, folder)
    return folder


def load(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for path in folder.glob("*.safetensors") for name, tensor in load_file(path).items()}


def load_strictly(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    model, told = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(told[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), told
    return model


def test_merged_is_base_plus_update(base: Path, adapter: Path, merged: Path) -> None:
    weights, updates = load(base), load_file(adapter / "adapter_model.safetensors")
    for name in [name for name in updates if ".lora_A." in name]:
        target = name.removeprefix("base_model.model.").replace(".lora_A.", ".")
        update = updates[name.replace("lora_A", "lora_B")].double() @ updates[name].double()
        weights[target] = (weights[target].double() + 8 / 4 * update).float().bfloat16()
    ours, original = load(merged), load(base)
    touched = [name for name in ours if not torch.equal(ours[name], original[name])]
    assert len(touched) == 6  # q_proj, v_proj and down_proj of two layers
    for name, exact in weights.items():
        # float32 and exact arithmetic may fall on two sides of a bf16 rounding edge, hardly ever and by one step only
        assert (ours[name] != exact).float().mean() < 1e-3, name
        assert torch.allclose(ours[name].float(), exact.float(), rtol=2**-7, atol=0), name


def test_merged_answers_as_base_and_adapter_do(base: Path, adapter: Path, merged: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    ids = torch.tensor([[5, 6, 7, 8, 9]])
    with torch.no_grad():
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        before = model(ids).logits.clone()
        together = PeftModel.from_pretrained(model, adapter)(ids).logits
        ours = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32)(ids).logits
    assert (ours - together).abs().max() < 0.15 * (ours - before).abs().max()


def test_the_merged_folder_is_complete(base: Path, merged: Path) -> None:
    from transformers import AutoTokenizer

    for name in ("config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja"):
        assert (merged / name).read_bytes() == (base / name).read_bytes()
    assert AutoTokenizer.from_pretrained(merged).chat_template
    load_strictly(merged)
    size = sum(tensor.nbytes for tensor in load(merged).values())
    expected = {"tensors": 26, "merged_tensors": 6, "shards": 1, "bytes": size, "kind": "lora"}
    assert read_step(merged).figures == expected
    assert not (merged / "model.safetensors.index.json").exists()


@pytest.mark.parametrize("sharded_base", [False, True])
def test_files_of_at_most_so_many_bytes_with_their_index(
    base: Path, adapter: Path, merged: Path, tmp_path: Path, sharded_base: bool
) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    model.save_pretrained(tmp_path / "theirs", max_shard_size="60KB")
    if sharded_base:
        base, adapter = changed_base(tmp_path / "theirs", adapter, tmp_path / "sharded")
        assert len(list(base.glob("*.safetensors"))) > 3
    merge(str(base), adapter, tmp_path / "merged", max_shard=60_000)
    files = sorted(path.name for path in (tmp_path / "merged").glob("*.safetensors"))
    count = read_step(tmp_path / "merged").figures["shards"]
    assert files == [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]
    index, theirs = (json.loads((tmp_path / name / INDEX).read_text()) for name in ("merged", "theirs"))
    assert index["metadata"] == theirs["metadata"]
    assert index["weight_map"].keys() == theirs["weight_map"].keys()
    for file in files:
        held = load_file(tmp_path / "merged" / file)
        assert {index["weight_map"][name] for name in held} == {file}
        assert len(held) == 1 or sum(tensor.nbytes for tensor in held.values()) <= 60_000
    expected, ours = load(merged), load_strictly(tmp_path / "merged").state_dict()
    assert all(torch.equal(ours[name], tensor) for name, tensor in expected.items())


@pytest.mark.filterwarnings("ignore")
def test_an_adapter_of_the_output_layer_merges_from_files_in_another_order(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", "qwen3", tied=False)
    adapter = make_adapter(base, tmp_path / "adapter", target_modules=["lm_head", "o_proj"], use_dora=True)
    merge(str(base), adapter, tmp_path / "one")
    merge(str(base), adapter, tmp_path / "many", max_shard=1)
    one, many = load(tmp_path / "one"), load(tmp_path / "many")
    assert one.keys() == many.keys()
    assert all(torch.equal(one[name], many[name]) for name in one)
    assert read_step(tmp_path / "many").figures["shards"] == len(one)
    load_strictly(tmp_path / "many")


def test_the_model_is_never_in_memory(tmp_path: Path) -> None:
    """50 MB of weights go through less than 24 MB beyond what the libraries take."""
    base, adapter = large(tmp_path)
    script = (
        "import sys, resource; from pathlib import Path; import torch, safetensors, huggingface_hub\n"
        "from jobs import merge, lora, model_folder, disk\n"
        "torch.mm(torch.ones(64, 64), torch.ones(64, 64)).mul_(2.0)\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak(); merge.merge(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])); print(peak() - before)"
    )
    command = [sys.executable, "-c", script, str(base), str(adapter), str(tmp_path / "merged")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert sum(path.stat().st_size for path in (tmp_path / "merged").glob("*.safetensors")) > 50_000_000
    assert int(done.stdout) < 24 * 1024


KILLED = """
import json, os, shutil, signal, sys
from pathlib import Path
import torch
from jobs import disk, lora, model_folder, safetensors_stream, step
from jobs.merge import merge
from jobs.model_folder import INDEX

base, adapter, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
write = os.write

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def dying_after(left):
    def dying(descriptor, data):
        nonlocal left
        if len(data) > left:
            write(descriptor, data[:left])
            die()
        left -= len(data)
        return write(descriptor, data)
    return dying

def forked(out, arm):
    if (child := os.fork()) == 0:
        arm()
        merge(base, adapter, out, max_shard=12_000_000)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def bytes_written(count):
    return lambda: setattr(os, "write", dying_after(count))

moments = {f"{count} bytes": bytes_written(count) for count in map(int, sys.argv[4].split(","))}
moments |= {
    "a file flushed": lambda: setattr(os, "fsync", die),
    "tokenizer carried": lambda: setattr(shutil, "copy", die),
    "record sealed": lambda: setattr(step, "_seal", die),
    "before its place": lambda: setattr(Path, "rename", die),
    "undisturbed": lambda: None,
}
for name, arm in moments.items():
    out = folder / name.replace(" ", "-")
    first, there = forked(out, arm), out.exists()
    again = forked(out, lambda: None)
    print(json.dumps([name, first, there, again, json.loads((out / "step.json").read_text())["outputs"]]))
"""


def large(folder: Path) -> tuple[Path, Path]:
    """A base of 52 MB in bf16 and its adapter."""
    base = make_base(folder / "base", vocab_size=16_000, hidden_size=480, intermediate_size=4_200, num_hidden_layers=3)
    return base, make_adapter(base, folder / "adapter", target_modules=["down_proj", "q_proj"])


def test_a_kill_at_any_moment_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    """SIGKILL, also in the middle of a write: no folder, and the next start gives what an undisturbed one gives."""
    base, adapter = large(tmp_path)
    counts = "0,1000,10000000,12345678,40000001,50000000"
    command = [sys.executable, "-c", KILLED, str(base), str(adapter), str(tmp_path), counts]
    calm = os.environ | {"OMP_NUM_THREADS": "1"}  # twenty merges: threads would wait for one another's turn
    done = subprocess.run(command, cwd=ROOT, env=calm, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *killed, (name, code, _, _, expected) = (json.loads(line) for line in done.stdout.splitlines())
    assert (name, code) == ("undisturbed", 0)
    assert len(killed) == 10
    assert len(expected) > 5  # four files of weights or more, their index, config.json
    for name, code, there, again, outputs in killed:
        assert (code, there, again) == (-9, False, 0), name
        assert outputs == expected, name


def test_done_is_done_and_another_size_of_files_is_other_work(base: Path, adapter: Path, merged: Path) -> None:
    assert not merge(str(base), adapter, merged)[1]
    assert merge(str(base), adapter, merged.with_name("other"), max_shard=10**6)[1]
