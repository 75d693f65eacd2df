"""The three files in a GGUF repository's root that Ollama reads: `template`, `system` and `params`.

The Hub makes a manifest of them for `ollama run hf.co/USER/REPO:TAG` (huggingface.co/docs/hub/ollama). Without them it
takes a Go template from a list, by the first 128 characters of the file's Jinja template or by the set of its special
tokens (huggingface.js, packages/ollama-utils), and Ollama's own sampling. For Qwen2.5-Instruct that template leaves out
the system turn which the model's own one puts where none is given, takes a system turn out of its place, goes on with
an assistant's last turn instead of closing it, and comes without stop tokens; Ollama draws at temperature 0.8 from 40
tokens (ollama, docs/modelfile.mdx).
"""

from __future__ import annotations

import json

from jobs.errors import UserError
from qa.ask_settings import AskSettings
from qa.prompts import END_OF_TEXT, IM_END, IM_START, SYSTEM_PROMPT, Message

# As the page answers, with twice its room: who runs it alone shares it with nobody. The stop tokens are Qwen2.5's own
# two; a file names one of them as its end of sequence.
ASK = AskSettings()
PARAMS = {
    "temperature": ASK.temperature,
    "top_p": ASK.top_p,
    "top_k": ASK.top_k,
    "repeat_penalty": ASK.repeat_penalty,
    "num_ctx": 2048,
    "stop": [IM_END, END_OF_TEXT],
}
# Ollama gives `.Messages` with the system turns among them, for a chat and for a single prompt (template/template.go).
TURNS = """{{- range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
"""
UNOPENED = '{{- if .Messages }}{{ if ne (index .Messages 0).Role "system" }}{{ %s }}{{ end }}{{ end }}\n'
PROBE = [
    Message(role="user", content=" What? "),
    Message(role="assistant", content="That."),
    Message(role="user", content="Why?"),
]


def ollama_files(chat_template: str) -> dict[str, bytes]:
    """Name → bytes for a GGUF whose `tokenizer.chat_template` is given; the Go template renders as that one does.

    Raises `UserError` where the model's template is not ChatML: no Go template of ours would do.
    """
    params = json.dumps(PARAMS, indent=2) + "\n"
    return {
        "template": go_template(chat_template).encode(),
        "system": SYSTEM_PROMPT.encode(),
        "params": params.encode(),
    }


def go_template(chat_template: str) -> str:
    """The Go template of a ChatML model; what its Jinja template puts before a chat without a system turn stays."""
    system = Message(role="system", content=SYSTEM_PROMPT)
    bare, whole = _rendered(chat_template, PROBE), _rendered(chat_template, [system, *PROBE])
    turns = chatml(PROBE)
    if whole != chatml([system, *PROBE]) or not bare.endswith(turns):
        raise UserError("tokenizer.chat_template: it does not write ChatML turns, so Ollama cannot be given its like")
    opening = bare.removesuffix(turns)
    return (UNOPENED % json.dumps(opening, ensure_ascii=False) if opening else "") + TURNS


def chatml(messages: list[Message]) -> str:
    """The text of the turns, followed by the opening of the assistant's."""
    turns = "".join(f"{IM_START}{turn['role']}\n{turn['content']}{IM_END}\n" for turn in messages)
    return f"{turns}{IM_START}assistant\n"


def _rendered(chat_template: str, messages: list[Message]) -> str:
    from jinja2 import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        return render_jinja_template([messages], chat_template=chat_template, add_generation_prompt=True)[0][0]
    except TemplateError as error:
        raise UserError(f"tokenizer.chat_template: it refuses a chat of system, user and assistant ({error})") from None
