"""A GGUF's chat template is a stranger's program: it is rendered in bounds, and must write our prompt."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import gguf
import pytest

from qa import chat_template, template_renderer
from qa.chat_template import KEY, PROBE, TemplateError, check_template, rendered
from qa.prompts import PromptEncoder
from tests.tiny import CHAT_TEMPLATE

SHARED = Path(__file__).parents[2] / "shared"
TEXTS = [message["content"] for message in PROBE]
PROMPT = f"<|im_start|>system\n{TEXTS[0]}<|im_end|>\n<|im_start|>user\n{TEXTS[1]}<|im_end|>\n<|im_start|>assistant\n"
CONTROL = {"<|im_start|>": 1001, "<|im_end|>": 1002}
ENCODER = PromptEncoder(lambda text: list(text.encode()), *CONTROL.values())


def parse(text: str) -> list[int]:
    """Bytes, and the two control tokens."""
    ids: list[int] = []
    while text:
        token = next((token for token in CONTROL if text.startswith(token)), None)
        ids += [CONTROL[token]] if token else list(text[0].encode())
        text = text[len(token or text[0]) :]
    return ids


def file_with(template: str | None, path: Path) -> Path:
    """A whole GGUF file without a tensor, that has this chat template or none."""
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_float32("some.float", 0.5)
    if template is not None:
        writer.add_string(KEY, template)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    path.write_bytes(path.read_bytes() + bytes(32))  # the header ends at a multiple of 32
    return path


def refusal(template: str, tmp_path: Path) -> str:
    with pytest.raises(TemplateError) as caught:
        check_template(file_with(template, tmp_path / "x.gguf"), parse, ENCODER)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_template_of_chatml_passes_and_so_does_none(tmp_path: Path) -> None:
    assert rendered(CHAT_TEMPLATE) == PROMPT
    assert parse(PROMPT) == ENCODER.prompt(PROBE)
    check_template(file_with(CHAT_TEMPLATE, tmp_path / "a.gguf"), parse, ENCODER)
    check_template(file_with(None, tmp_path / "b.gguf"), parse, ENCODER)


def test_the_template_of_qwen_passes(tmp_path: Path) -> None:
    file = SHARED / "data/hub/Qwen/Qwen2.5-3B-Instruct/chat_template.jinja"
    if not file.exists():
        pytest.skip("Qwen's template, ../shared/data/hub/Qwen, is absent")
    template = file.read_text(encoding="utf-8")
    assert rendered(template) == PROMPT
    check_template(file_with(template, tmp_path / "a.gguf"), parse, ENCODER)


@pytest.mark.parametrize(
    "template",
    [
        CHAT_TEMPLATE.replace("\\n", " "),
        CHAT_TEMPLATE.replace("<|im_start|>", "<|start|>"),
        CHAT_TEMPLATE.replace("messages[0]['role'] != 'system'", "true"),
        CHAT_TEMPLATE.replace("add_generation_prompt", "false"),
        "nothing",
    ],
)
def test_a_template_that_writes_another_prompt_is_refused(template: str, tmp_path: Path) -> None:
    assert refusal(template, tmp_path) == "its chat template does not write the ChatML prompt of Qwen2.5-Instruct"


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ 'x' * 3000000000 }}", "it needs more than 1024 MB of memory"),
        ("{{ 'x' * 200000 }}", "it writes 200,000 characters"),
        ("{{ raise_exception('no\nsystem turn') }}", "ValueError: no system turn"),
        ("{% if", "TemplateSyntaxError"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{{ lipsum.__globals__['os'].environ }}", "SecurityError"),
        ("{{ messages.append(1) }}", "SecurityError"),
    ],
)
def test_a_template_that_fails_or_reaches_out_is_refused(template: str, reason: str, tmp_path: Path) -> None:
    assert refusal(template, tmp_path).startswith(f"its chat template fails: {reason}")


def test_a_template_without_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endless = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    with pytest.raises(TemplateError, match=r"^its chat template runs longer than 0.5 s$"):
        rendered(endless, seconds=0.5)
    monkeypatch.setattr(chat_template.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], -24, "", ""))
    assert refusal(endless, tmp_path) == "its chat template ended its process (code -24)"
    assert template_renderer.SECONDS == 5


def test_the_process_of_a_template_knows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, object] = {}
    run = subprocess.run

    def spy(command: list[str], **options: object) -> subprocess.CompletedProcess:
        seen.update(options, command=command)
        return run(command, **options)

    monkeypatch.setenv("HF_TOKEN", "a token")
    monkeypatch.setattr(chat_template.subprocess, "run", spy)
    assert rendered("{{ 1 + 1 }}") == "2"
    assert "HF_TOKEN" in os.environ
    assert seen["env"] == {}
    assert "-I" in seen["command"]
