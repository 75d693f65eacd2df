"""llama.cpp's own programs open what we export: the prompt, the end and the answers are ours.

The model is a tiny Qwen2 that has learnt four answers by heart, so that its greedy answers are far from a tie and end.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from jobs.gguf_export.adapter import write_adapter_gguf
from jobs.gguf_export.names import adapter_name, file_name, matrix_name
from jobs.gguf_export.ollama import ollama_files
from jobs.gguf_export.quantizer import quantize
from jobs.gguf_export.writer import Provenance
from local_hub.seeding import seed
from local_hub.testing import RunningHub, running_hub
from qa.engine import Engine
from qa.prompts import SYSTEM_PROMPT, Message, PromptEncoder, ask_messages
from tests.tiny import CHAT_TEMPLATE, random_model, tiny_gguf, tiny_tokenizer

LEARNT = {
    "What is LoRA?": "A pair of small matrices beside each linear layer.",
    "Which passages?": "Those of a corpus, cited as sources.",
    "Who introduced the transformer?": "Ashish Vaswani and colleagues.",
    "Where was it measured?": "On translation from English.",
}
MOVED = dict(zip(LEARNT, [*list(LEARNT.values())[1:], LEARNT["What is LoRA?"]], strict=True))
STEPS = 60
LISTENING = re.compile(r"listening on (http://127\.0\.0\.1:\d+)")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transformers folder of 256 wide layers that has the four answers by heart."""
    folder = tmp_path_factory.mktemp("learnt")
    tokenizer = tiny_tokenizer(folder)
    network = random_model(tokenizer, width=256)
    learn(network, PromptEncoder.from_transformers(tokenizer), LEARNT, rate=1e-3)
    network.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapter(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter on the model, as GGUF, with which it gives each answer to the next question."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("adapter")
    encoder = PromptEncoder.from_transformers(AutoTokenizer.from_pretrained(model))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        shape = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
        network = get_peft_model(AutoModelForCausalLM.from_pretrained(model), shape)
        learn(network, encoder, MOVED, rate=5e-3)
    network.save_pretrained(folder)
    path = folder / adapter_name("tiny")
    write_adapter_gguf(model, folder, path, Provenance("tiny"))
    return path


def learn(network: Any, encoder: PromptEncoder, answers: dict[str, str], rate: float) -> None:
    """Train until the answers are known by heart."""
    import torch

    batch = _batch(encoder, answers)
    optimiser = torch.optim.AdamW([each for each in network.parameters() if each.requires_grad], lr=rate)
    for _ in range(STEPS):
        loss = network(**batch).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        if loss.item() < 1e-3:
            return
    raise AssertionError(f"the tiny model has not learnt its answers in {STEPS} steps: loss {loss.item():.3f}")


def _batch(encoder: PromptEncoder, answers: dict[str, str]) -> dict[str, Any]:
    """The questions with their answers, of which the answers are learnt."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    pairs = [
        (encoder.prompt(ask_messages(question)), encoder.completion(answer)) for question, answer in answers.items()
    ]
    ids = [torch.tensor(prompt + completion) for prompt, completion in pairs]
    labels = [torch.tensor([-100] * len(prompt) + completion) for prompt, completion in pairs]
    return {
        "input_ids": pad_sequence(ids, batch_first=True),  # padded on the right, where causal attention never looks
        "labels": pad_sequence(labels, batch_first=True, padding_value=-100),
    }


@pytest.fixture(scope="module")
def gguf(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as Q4_K_M, in a folder with its F16, as export names them."""
    folder = tmp_path_factory.mktemp("gguf")
    half = tiny_gguf(model, folder / file_name("tiny", "f16"))
    target = folder / file_name("tiny", "q4_k_m")
    quantize(half, target, "q4_k_m")
    return target


@pytest.fixture(scope="module")
def engine(gguf: Path) -> Iterator[Engine]:
    with Engine.load(gguf) as found:
        yield found


@pytest.fixture(scope="module")
def llama_cli(llama_tools: Path) -> Path:
    return _built(llama_tools / "llama-cli")


@pytest.fixture(scope="module")
def llama_server(llama_tools: Path) -> Path:
    return _built(llama_tools / "llama-server")


def _built(tool: Path) -> Path:
    if not tool.exists():
        pytest.skip(f"{tool.name} was not built; run `make llama-tools`")
    return tool


@contextmanager
def running(
    server: Path, log: Path, *arguments: str | Path, environment: dict[str, str] | None = None
) -> Iterator[str]:
    """llama-server on a port that it chooses; its address. What it says goes to `log`; it is ended."""
    command = [server, *arguments, "--host", "127.0.0.1", "--port", "0", "--ctx-size", "512", "--parallel", "1"]
    with log.open("wb") as said:
        process = subprocess.Popen(
            [*command, "--threads", "1", "--no-warmup", "--no-ui"],
            stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, env=os.environ | (environment or {}),
        )  # fmt: skip
    try:
        yield _address(process, log)
    finally:
        process.terminate()
        process.wait(timeout=30)


def _address(process: subprocess.Popen[bytes], log: Path, seconds: float = 60) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        if found := LISTENING.search(log.read_text(errors="replace")):
            return found[1]
        time.sleep(0.02)
    raise AssertionError(f"llama-server does not listen:\n{log.read_text(errors='replace')[-3000:]}")


@pytest.fixture(scope="module")
def served(llama_server: Path, gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(llama_server, tmp_path_factory.mktemp("server") / "log", "-m", gguf) as address:
        yield address


def post(address: str, path: str, **body: Any) -> dict[str, Any]:
    answer = httpx2.post(f"{address}{path}", json=body, timeout=60, trust_env=False)
    answer.raise_for_status()
    return answer.json()


def ask(address: str, messages: list[Message], **settings: Any) -> dict[str, Any]:
    """The one choice of a greedy chat completion."""
    sent = {"messages": messages, "temperature": 0, "max_tokens": 40} | settings
    (choice,) = post(address, "/v1/chat/completions", **sent)["choices"]
    return choice


def test_what_was_compiled_is_kept_for_the_next_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "scripts"))
    script = importlib.import_module("llama_tools")
    compiled: list[tuple[str, ...]] = []

    def compile_tools(folder: Path, version: str, tools: tuple[str, ...]) -> None:
        compiled.append(tools)
        (folder / "work" / "bin").mkdir(parents=True, exist_ok=True)
        for name in tools:
            (folder / "work" / "bin" / f"llama-{name}").write_text(f"{name} of {version}")

    monkeypatch.setattr(script, "compile_tools", compile_tools)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    script.build_tools(tmp_path / "one", "1", ("quantize", "cli"))
    script.build_tools(tmp_path / "one", "1", ("cli",))
    script.build_tools(tmp_path / "two", "1", ("quantize",))
    assert compiled == [("quantize", "cli")]
    assert (tmp_path / "two" / "bin" / "llama-quantize").read_text() == "quantize of 1"
    script.build_tools(tmp_path / "two", "1", ("server",))
    script.build_tools(tmp_path / "two", "2", ("quantize",))
    assert compiled[1:] == [("quantize", "cli", "server"), ("quantize",)]
    assert {path.name for path in (tmp_path / "two" / "bin").iterdir()} == {"llama-quantize", "made.json"}
    assert len(list((tmp_path / "cache" / "footnote").iterdir())) == 2


def test_the_model_answers_as_it_learnt(engine: Engine) -> None:
    for question, answer in LEARNT.items():
        assert engine.generate(ask_messages(question), max_tokens=40) == answer


def test_llama_cli_loads_it_and_answers(llama_cli: Path, gguf: Path) -> None:
    question, answer = next(iter(LEARNT.items()))
    arguments = ["-m", gguf, "-sys", SYSTEM_PROMPT, "-p", question, "--single-turn", "--simple-io", "--temp", "0"]
    command = [llama_cli, *arguments, "-n", "40", "-c", "512", "-t", "1", "--no-warmup"]
    shown = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=True)
    assert f"> {question}\n{answer}\n" in shown.stdout
    assert "Q4_K - Medium" in shown.stdout


def test_llama_server_builds_our_prompt(served: str, engine: Engine) -> None:
    history = [*ask_messages("What is LoRA?"), Message(role="assistant", content="Two matrices.\n\n1. A — 中文\n")]
    for messages in (ask_messages("What is attention?"), [*history, Message(role="user", content="Why “so”? 🤖")]):
        text = post(served, "/apply-template", messages=messages)["prompt"]
        assert post(served, "/tokenize", content=text, parse_special=True)["tokens"] == engine.encoder.prompt(messages)
        plain = post(served, "/tokenize", content=messages[-1]["content"], parse_special=False)["tokens"]
        assert plain == engine.encoder.tokenize(messages[-1]["content"])


def test_llama_server_answers_and_stops_as_our_engine_does(served: str, engine: Engine) -> None:
    for question, answer in LEARNT.items():
        choice = ask(served, ask_messages(question))
        assert choice["message"]["content"] == engine.generate(ask_messages(question), max_tokens=40) == answer
        assert choice["finish_reason"] == "stop"
    assert ask(served, ask_messages("What is LoRA?"), max_tokens=3)["finish_reason"] == "length"


def test_one_base_in_memory_serves_both_models(llama_server: Path, gguf: Path, adapter: Path, tmp_path: Path) -> None:
    with running(llama_server, tmp_path / "log", "-m", gguf, "--lora", adapter) as address:
        for scale, known in ((1.0, MOVED), (0.0, LEARNT), (1.0, MOVED)):
            worn = [{"id": 0, "scale": scale}]
            answers = {each: ask(address, ask_messages(each), lora=worn)["message"]["content"] for each in known}
            assert answers == known
    with Engine.load(gguf, adapter=adapter) as engine:
        assert {each: engine.generate(ask_messages(each), max_tokens=40) for each in MOVED} == MOVED


@pytest.fixture(scope="module")
def hub(gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """A Hub with the repository demo/tiny-GGUF, its root as ours is: models, matrix, Ollama's files, a card."""
    folder = tmp_path_factory.mktemp("staged")
    for path in gguf.parent.glob("*.gguf"):
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / matrix_name("tiny")).write_bytes(b"GGUF, but no model")
    (folder / "README.md").write_text("---\nlibrary_name: gguf\n---\n# tiny\n")
    for name, content in ollama_files(CHAT_TEMPLATE).items():
        (folder / name).write_bytes(content)
    with running_hub(tmp_path_factory.mktemp("hub")) as found:
        seed(found.store, folder, "demo/tiny-GGUF", "model")
        yield found


@pytest.mark.parametrize(
    ("tag", "kind"), [(":Q4_K_M", "q4_k_m"), ("", "q4_k_m"), (":q4_k_m", "q4_k_m"), (":F16", "f16")]
)
def test_llama_server_finds_the_type_in_our_repository(
    hub: RunningHub, llama_server: Path, tmp_path: Path, tag: str, kind: str
) -> None:
    environment = hub.environment(tmp_path / "home") | {"LLAMA_CACHE": str(tmp_path / "cache")}
    with running(llama_server, tmp_path / "log", "-hf", f"demo/tiny-GGUF{tag}", environment=environment) as address:
        question, answer = next(iter(LEARNT.items()))
        assert ask(address, ask_messages(question))["message"]["content"] == answer
    fetched = {path.name for path in (tmp_path / "cache").rglob("*.gguf")}
    assert fetched == {file_name("tiny", kind)}


def test_llama_server_serves_nothing_for_a_type_that_is_not_there(
    hub: RunningHub, llama_server: Path, tmp_path: Path
) -> None:
    environment = hub.environment(tmp_path / "home") | {"LLAMA_CACHE": str(tmp_path / "cache")}
    with (
        pytest.raises(AssertionError, match="no GGUF files found in repository demo/tiny-GGUF"),
        running(llama_server, tmp_path / "log", "-hf", "demo/tiny-GGUF:Q8_0", environment=environment),
    ):
        pass
    assert not list((tmp_path / "cache").rglob("*.gguf"))
