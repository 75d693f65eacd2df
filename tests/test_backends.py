"""Models wherever they are: on the Hub at a commit, in a folder, as a file; and those that cannot be evaluated."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import UserError
from jobs.evaluation.backends import open_backend
from jobs.evaluation.hidden_states import window_of
from jobs.evaluation.sources import Source, find_source
from local_hub.seeding import seed
from local_hub.testing import running_hub
from qa.choices import Item
from tests.publishing import api, command, refused
from tests.tiny import tiny_adapter, tiny_gguf, tiny_model

SHAPE = {"vocab_size": 576, "hidden_size": 32, "num_hidden_layers": 2, "initializer_range": 0.3}
HEADS = {"intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}
CARD = "---\nlicense: mit\n---\n# Tiny\n"
FROM_THE_HUB = """
import json, sys
from jobs.errors import run_main
from jobs.evaluation.backends import open_backend
from jobs.evaluation.sources import find_source
from qa.choices import Item

def main():
    said = []
    for word in sys.argv[1:]:
        place, _, base = word.partition("=")
        source = find_source("it", place, base or None)
        backend = open_backend("it", source)
        scores = backend.option_logprobs([Item(list(range(40, 60)), [[70, 71], [72]])])[0]
        said.append([source.kind, source.location, source.shown, source.base, source.path is None, scores])
    print(json.dumps(said))

run_main(main)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backends") / "model"
    tiny_model(folder)
    return folder


@pytest.fixture(scope="module")
def adapter(folder: Path) -> Path:
    return tiny_adapter(folder, folder.parent / "adapter")


def copy(folder: Path, out: Path) -> Path:
    return Path(shutil.copytree(folder, out))


def spoil(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Rewrite a safetensors file with its tensors changed."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def saved(model: Any, folder: Path, out: Path) -> Source:
    """A model of any kind with the tiny tokenizer."""
    from transformers import AutoTokenizer

    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(folder).save_pretrained(out)
    return Source("transformers", str(out))


def test_models_on_the_hub_are_taken_at_their_commit(folder: Path, adapter: Path, tmp_path: Path) -> None:
    """A model, an adapter as it is published (its base by its repository's name) and a GGUF file; then offline."""
    places = {name: tmp_path / "repositories" / name for name in ("base", "lora", "GGUF")}
    copy(folder, places["base"])
    copy(adapter, places["lora"])
    config = json.loads((adapter / "adapter_config.json").read_text()) | {"base_model_name_or_path": "demo/base"}
    (places["lora"] / "adapter_config.json").write_text(json.dumps(config))
    places["GGUF"].mkdir()
    tiny_gguf(folder, places["GGUF"] / "tiny-f32.gguf", "f32")
    wanted = ("demo/base", "demo/lora@main", "demo/GGUF/tiny-f32.gguf")
    with running_hub(tmp_path / "hub") as hub:
        for name, place in places.items():
            (place / "README.md").write_text(CARD)
            seed(hub.store, place, f"demo/{name}", "model")
        commits = {name: api(hub).model_info(f"demo/{name}").sha for name in places}
        done = command(hub, tmp_path / "home", "-c", FROM_THE_HUB, *wanted)
        refused(command(hub, tmp_path / "home", "-c", FROM_THE_HUB, "demo/GGUF/b.gguf"), "demo/GGUF holds no b.gguf")
        refused(command(hub, tmp_path / "home", "-c", FROM_THE_HUB, "demo/none"), "model it: demo/none", "404")
    assert done.returncode == 0, done.stderr
    base, tuned, gguf = json.loads(done.stdout.splitlines()[-1])
    pinned = f"demo/base@{commits['base']}"
    assert base[:5] == ["transformers", pinned, pinned, "", True]
    assert tuned[:5] == ["adapter", f"demo/lora@{commits['lora']}", f"demo/lora@{commits['lora']}", pinned, True]
    file = f"demo/GGUF/tiny-f32.gguf@{commits['GGUF']}"
    assert gguf[:5] == ["gguf", file, file, "", True]
    item = Item(list(range(40, 60)), [[70, 71], [72]])
    for source, told in ((Source("transformers", str(folder)), base), (find_source("a", adapter, folder), tuned)):
        assert open_backend("here", source).option_logprobs([item])[0] == pytest.approx(told[-1], abs=1e-4)
    assert gguf[-1] == pytest.approx(base[-1], abs=0.1)
    assert tuned[-1] != pytest.approx(base[-1], abs=0.1)
    offline = "import os; os.environ['HF_HUB_OFFLINE'] = '1'\n" + FROM_THE_HUB
    named = (pinned, f"{tuned[1]}={pinned}", gguf[1])
    again = command(hub, tmp_path / "home", "-c", offline, *named)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout.splitlines()[-1]) == [base, tuned, gguf]


def test_reports_name_no_place_on_this_machine(folder: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_source("base", folder, None).shown == "model"
    assert find_source("adapter", adapter, None).shown == "adapter"
    monkeypatch.chdir(folder)
    assert find_source("base", ".", None).shown == "model"


def test_what_is_no_model_is_named(folder: Path, adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither a file or folder here nor a repository"):
        find_source("base", "no/such/folder", None)
    with pytest.raises(UserError, match=r"absent.gguf: no such file"):
        find_source("gguf", tmp_path / "absent.gguf", None)
    with pytest.raises(UserError, match=r"holds neither config.json nor adapter_config.json"):
        find_source("base", tmp_path, None)
    with pytest.raises(UserError, match=r"was trained on .*model, not on Qwen/Other"):
        find_source("adapter", adapter, "Qwen/Other")
    (tmp_path / "page.gguf").write_text("<html>")
    with pytest.raises(UserError, match=r"model gguf: .*not a GGUF file"):
        open_backend("gguf", find_source("gguf", tmp_path / "page.gguf", None))


def test_a_repository_that_cannot_be_had_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # else the client tries again for 46 s
    with pytest.raises(
        UserError, match=r"model base: nobody/nothing is not a folder here, .*is not asked while HF_HUB_OFFLINE is set"
    ):
        find_source("base", "nobody/nothing@main", None)
    with pytest.raises(UserError, match=r"model base: nobody/nothing: cannot be loaded as a model"):
        open_backend("base", find_source("base", f"nobody/nothing@{'0' * 40}", None))


def test_an_adapter_of_another_shape_does_not_fit(adapter: Path, tmp_path: Path) -> None:
    tiny_model(tmp_path / "model", width=32)
    with pytest.raises(UserError, match="does not fit"):
        open_backend("adapter", Source("adapter", str(adapter), str(tmp_path / "model")))


def test_a_model_with_too_small_a_vocabulary_is_refused(folder: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    shutil.copytree(folder, tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(520)
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(UserError, match="520 rows of embedding for a tokenizer of 534 entries"):
        open_backend("small", find_source("small", tmp_path / "model", None))


def test_a_model_that_rows_would_misjudge_is_refused(folder: Path, tmp_path: Path) -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM, MambaConfig, MambaForCausalLM

    capped = Gemma2Config(**SHAPE, **HEADS, final_logit_softcapping=0.5)
    models = {
        "it scores options .* one by one and .* in one row": Gemma2ForCausalLM(capped),
        "models of type mamba carry a state from token to token": MambaForCausalLM(MambaConfig(**SHAPE, state_size=4)),
    }
    for number, (reason, model) in enumerate(models.items()):
        with pytest.raises(UserError, match=reason):
            open_backend("odd", saved(model, folder, tmp_path / str(number)))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("missing", r"1 weights are not in its files, such as model.layers.1.mlp.up_proj.weight"),
        ("truncated", r"cannot be loaded as a model \(.*"),
        ("shape", r"cannot be loaded as a model \(.*"),
        ("gptq", r"cannot be loaded as a model \(.*"),
    ],
)
def test_weights_that_cannot_be_loaded_are_one_line(folder: Path, tmp_path: Path, fault: str, words: str) -> None:
    place = copy(folder, tmp_path / "model")
    weights, key = place / "model.safetensors", "model.layers.1.mlp.up_proj.weight"
    if fault == "missing":
        spoil(weights, lambda tensors: tensors.pop(key))
    elif fault == "truncated":
        weights.write_bytes(weights.read_bytes()[:100_000])
    elif fault == "shape":
        spoil(weights, lambda tensors: tensors.update({key: tensors[key][:5].clone()}))
    else:
        config = json.loads((place / "config.json").read_text())
        config["quantization_config"] = {"quant_method": "gptq", "bits": 4, "group_size": 128}
        (place / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=rf"model base: {place}: {words}") as error:
        open_backend("base", find_source("base", place, None))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("fault", ["missing", "truncated"])
def test_an_adapter_that_is_damaged_is_one_line(folder: Path, adapter: Path, tmp_path: Path, fault: str) -> None:
    place = copy(adapter, tmp_path / "adapter")
    weights = place / "adapter_model.safetensors"
    if fault == "missing":
        spoil(weights, lambda tensors: tensors.pop(sorted(tensors)[0]))
    else:
        weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(UserError, match=rf"model tuned: the adapter {place} does not fit .*, or is damaged") as error:
        open_backend("tuned", find_source("tuned", place, folder))
    assert "\n" not in str(error.value)


def test_weights_that_are_not_numbers_are_found_before_anything_is_asked(folder: Path, tmp_path: Path) -> None:
    from gguf import GGUFReader

    place = copy(folder, tmp_path / "model")
    spoil(place / "model.safetensors", lambda tensors: tensors["model.norm.weight"].fill_(float("nan")))
    file = GGUFReader(tiny_gguf(folder, tmp_path / "tiny.gguf", "f32"), "r+")
    next(tensor for tensor in file.tensors if tensor.name == "output_norm.weight").data[:] = float("nan")
    file.data.flush()
    for path in (place, tmp_path / "tiny.gguf"):
        with pytest.raises(UserError, match=rf"model base: {path}: it gives scores that are not finite: its weights"):
            open_backend("base", find_source("base", path, None))


def test_an_output_layer_that_is_more_than_a_matrix_is_named(folder: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, PhiConfig, PhiForCausalLM

    biased = PhiForCausalLM(PhiConfig(**SHAPE, intermediate_size=64, num_attention_heads=2))
    with pytest.raises(UserError, match=r"its output layer lm_head is a torch\S+Linear with a bias"):
        open_backend("odd", saved(biased, folder, tmp_path / "biased"))
    shape = LoraConfig(r=2, target_modules=["q_proj", "lm_head"], task_type="CAUSAL_LM", init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(folder), shape).save_pretrained(tmp_path / "adapter")
    with pytest.raises(UserError, match=r"its output layer lm_head is a peft\S+Linear; .* merge"):
        open_backend("odd", find_source("odd", tmp_path / "adapter", folder))


def test_experts_that_return_more_than_states_are_scored(folder: Path, tmp_path: Path) -> None:
    """gpt_oss: its `mlp` returns a pair, and its window slides in every other layer."""
    from transformers import GptOssConfig, GptOssForCausalLM

    from tests.test_likelihood import furthest, naive

    config = GptOssConfig(**SHAPE, **HEADS, num_local_experts=4, num_experts_per_tok=2, sliding_window=64)
    model = GptOssForCausalLM(config).eval()
    backend = open_backend("experts", saved(model, folder, tmp_path / "model"))
    assert backend.window == 64
    items = [Item(list(range(40, 90 + more)), [[70, 71, 72], [73]], head) for more in (0, 5) for head in (0, 30)]
    assert furthest(backend.option_logprobs(items), naive(model, items)) < 1e-4


def test_the_window_is_no_longer_than_a_sliding_one(folder: Path) -> None:
    from transformers import Gemma2Config, MistralConfig, Qwen2Config

    slides = {"use_sliding_window": True, "max_window_layers": 1}
    assert window_of(Qwen2Config(max_position_embeddings=32768, sliding_window=4096)) == 32768
    assert window_of(Qwen2Config(max_position_embeddings=32768, sliding_window=4096, **slides)) == 4096
    assert window_of(MistralConfig(max_position_embeddings=32768, sliding_window=4096)) == 4096
    assert window_of(MistralConfig(max_position_embeddings=32768, sliding_window=None)) == 32768
    assert window_of(Gemma2Config(max_position_embeddings=2048, sliding_window=4096)) == 2048
