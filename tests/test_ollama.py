"""What Ollama is given: Go's own text/template renders it, as Ollama does, and the prompt is the one we ask by."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import UserError
from jobs.gguf_export.ollama import PARAMS, chatml, go_template, ollama_files
from qa.ask_settings import AskSettings
from qa.prompts import SYSTEM_PROMPT, Message, PromptEncoder, ask_messages
from space.loading import N_CTX
from tests.tiny import CHAT_TEMPLATE, tiny_tokenizer

# Ollama's way (template/template.go): consecutive turns of one role are joined, the system turns stay among the
# messages and are given once more as one text, and missing keys are empty.
RENDER = """
package main

import (
	"encoding/json"
	"os"
	"strings"
	"text/template"
)

type Message struct{ Role, Content string }

func main() {
	var asked struct {
		Template string
		Chats    [][]Message
	}
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		panic(err)
	}
	parsed := template.Must(template.New("").Option("missingkey=zero").Parse(asked.Template))
	rendered := []string{}
	for _, chat := range asked.Chats {
		var system []string
		var messages []*Message
		for place := range chat {
			turn := &chat[place]
			if turn.Role == "system" {
				system = append(system, turn.Content)
			}
			if last := len(messages) - 1; last >= 0 && messages[last].Role == turn.Role {
				messages[last].Content += "\\n\\n" + turn.Content
			} else {
				messages = append(messages, turn)
			}
		}
		var text strings.Builder
		values := map[string]any{"System": strings.Join(system, "\\n\\n"), "Messages": messages, "Response": ""}
		if err := parsed.Execute(&text, values); err != nil {
			panic(err)
		}
		rendered = append(rendered, text.String())
	}
	json.NewEncoder(os.Stdout).Encode(rendered)
}
"""
HISTORY = [
    Message(role="user", content="What is LoRA?"),
    Message(role="assistant", content="Two small matrices.\n\nNo more — {{ .System }} \\n"),
    Message(role="user", content="  Why?\n"),
]
CHATS = {
    "as the page asks": ask_messages("What is attention?"),
    "with history": [*ask_messages("Hello")[:1], *HISTORY],
    "without a system turn": HISTORY[:1],
    "history without a system turn": HISTORY,
    "a system turn in the middle": [*HISTORY[:2], Message(role="system", content="Be brief."), HISTORY[2]],
    "an answer at the end": HISTORY[:2],
    "Unicode and quotation marks": ask_messages("“Naïve” 🤖 <b>&amp;</b> \"q\" 'q' `q`"),
}
Render = Callable[[str, list[list[Message]]], list[str]]


@pytest.fixture(scope="module")
def render(tmp_path_factory: pytest.TempPathFactory) -> Render:
    """Chats through a Go template, by a program of Go's standard library alone, built once."""
    if not shutil.which("go"):
        pytest.skip("Go is not installed (Debian: golang-go)")
    folder = tmp_path_factory.mktemp("go")
    (folder / "main.go").write_text(RENDER)
    environment = {"PATH": "/usr/local/go/bin:/usr/bin:/bin", "HOME": str(folder), "GO111MODULE": "off", "GOFLAGS": ""}
    command = [shutil.which("go"), "build", "-o", "render", "main.go"]
    subprocess.run(command, cwd=folder, env=environment | {"GOCACHE": str(folder / "cache")}, check=True)

    def rendered(template: str, chats: list[list[Message]]) -> list[str]:
        asked = json.dumps({"Template": template, "Chats": chats})
        done = subprocess.run([folder / "render"], input=asked, capture_output=True, check=True, encoding="utf-8")
        return json.loads(done.stdout)

    return rendered


def model_renders(template: str, chat: list[Message]) -> str:
    """The text by the model's own Jinja template, as transformers renders it."""
    from transformers.utils.chat_template_utils import render_jinja_template

    return render_jinja_template([chat], chat_template=template, add_generation_prompt=True)[0][0]


@pytest.fixture(params=["tiny", "Qwen2.5"])
def template(request: pytest.FixtureRequest) -> str:
    """The tests' own chat template, and Qwen2.5's where the folder of real data is there."""
    if request.param == "tiny":
        return CHAT_TEMPLATE
    data: Path = request.getfixturevalue("shared_data")
    return (data / "hub" / "Qwen" / "Qwen2.5-3B-Instruct" / "chat_template.jinja").read_text(encoding="utf-8")


def test_go_renders_what_the_models_own_template_does(render: Render, template: str) -> None:
    rendered = render(go_template(template), list(CHATS.values()))
    for (name, chat), text in zip(CHATS.items(), rendered, strict=True):
        assert text == model_renders(template, chat), name
    assert rendered[0].startswith(f"<|im_start|>system\n{SYSTEM_PROMPT}<|im_end|>\n")
    assert rendered[2].startswith("<|im_start|>system\nYou are ")  # what the template puts there itself


def test_the_prompt_has_the_ids_that_we_ask_by(render: Render, tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(tmp_path)
    encoder = PromptEncoder.from_transformers(tokenizer)
    chats = [CHATS["as the page asks"], CHATS["with history"]]
    for chat, text in zip(chats, render(go_template(CHAT_TEMPLATE), chats), strict=True):
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == encoder.prompt(chat)


def test_a_template_that_opens_with_nothing_gets_no_opening(render: Render) -> None:
    bare = "".join(
        "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- endfor %}"
        "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
    )
    assert render(go_template(bare), [HISTORY, []]) == [chatml(HISTORY), "<|im_start|>assistant\n"]


def test_an_opening_is_text_for_go_whatever_it_says(render: Render) -> None:
    opening = 'Say "{{ no }}" \\ `no` and {% no %}\t— “nein” 🤖'
    template = CHAT_TEMPLATE.replace("You are a helpful assistant.", "{{ opening }}")
    template = template.replace("\\n{{ opening }}<", "\\n' + " + json.dumps(opening, ensure_ascii=False) + " + '<")
    (text,) = render(go_template(template), [HISTORY])
    assert text == f"<|im_start|>system\n{opening}<|im_end|>\n{chatml(HISTORY)}"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ messages[0].content }}", "does not write ChatML turns"),
        (CHAT_TEMPLATE.replace("message['content']", "message['content'] | trim"), "does not write ChatML turns"),
        (CHAT_TEMPLATE.replace(">assistant\\n'", ">assistant\\n<think>\\n'"), "does not write ChatML turns"),
        ("{{ raise_exception('no system turns') }}", r"refuses a chat of .* \(no system turns\)"),
        ("{% for m in messages %}", "refuses a chat"),
    ],
)
def test_another_template_is_refused(template: str, said: str) -> None:
    with pytest.raises(UserError, match=rf"tokenizer\.chat_template: it {said}"):
        go_template(template)


def test_the_files_say_how_the_page_answers() -> None:
    files = ollama_files(CHAT_TEMPLATE)
    assert set(files) == {"template", "system", "params"}
    assert files["system"].decode() == SYSTEM_PROMPT
    assert files["template"].decode() == go_template(CHAT_TEMPLATE)
    params: dict[str, Any] = json.loads(files["params"])
    assert params == PARAMS
    page = AskSettings().as_dict()
    assert {name: params[name] for name in ("temperature", "top_p", "top_k", "repeat_penalty")}.items() <= page.items()
    assert params["num_ctx"] >= N_CTX
    assert params["stop"] == ["<|im_end|>", "<|endoftext|>"]
