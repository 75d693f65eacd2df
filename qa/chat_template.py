"""Does a GGUF's own chat template give the prompt that `qa.prompts` builds? A model was trained on its own one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from qa import template_renderer
from qa.gguf_file import check_gguf
from qa.prompts import PromptEncoder, ask_messages

KEY = "tokenizer.chat_template"
PROBE = ask_messages("What does LoRA train?\nAnswer in one sentence.")


class TemplateError(ValueError):
    """One line: what is wrong with the template."""


def check_template(path: Path, parse: Callable[[str], list[int]], encoder: PromptEncoder) -> None:
    """Render the file's template on a system and a user turn, and compare ids; a file without one passes.

    `parse` gives the ids of a rendered prompt, control tokens included. Raises `TemplateError`.
    """
    template = check_gguf(path).metadata.get(KEY)
    if template is None:
        return
    if not isinstance(template, str):
        raise TemplateError("its chat template is no text")
    if parse(rendered(template)) != encoder.prompt(PROBE):
        raise TemplateError("its chat template does not write the ChatML prompt of Qwen2.5-Instruct")


def rendered(template: str, seconds: float = template_renderer.SECONDS) -> str:
    """The template's prompt for `PROBE`, rendered in a process of its own. Raises `TemplateError`."""
    command = [sys.executable, "-I", template_renderer.__file__]  # -I: neither the folder nor the environment matters
    asked = json.dumps({"template": template, "messages": PROBE})
    try:
        done = subprocess.run(command, input=asked, capture_output=True, text=True, env={}, timeout=seconds)
        answer = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise TemplateError(f"its chat template runs longer than {seconds:g} s") from None
    except ValueError:  # it was ended: by the bound on processor time, or for want of memory
        raise TemplateError(f"its chat template ended its process (code {done.returncode})") from None
    if "error" in answer:
        raise TemplateError(f"its chat template fails: {' '.join(answer['error'].split())}")
    return answer["text"]
