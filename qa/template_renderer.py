"""Renders a chat template in a process of its own, which `qa.chat_template` starts: it imports nothing of the project.

A template is a program that came with a model file. It runs in Jinja's sandbox, within bounds of time and memory, in a
process that knows no secret of the parent's environment.
"""

from __future__ import annotations

import json
import resource
import sys
from typing import Any, NoReturn

SECONDS, BYTES, CHARACTERS = 5, 1 << 30, 100_000


def main() -> None:
    """Read {"template", "messages"} as JSON from the standard input, and write {"text"} or {"error"}."""
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    asked = json.load(sys.stdin)
    try:
        text = render(asked["template"], asked["messages"])
        answer = {"text": text} if len(text) <= CHARACTERS else {"error": f"it writes {len(text):,} characters"}
    except MemoryError:
        answer = {"error": f"it needs more than {BYTES >> 20} MB of memory"}
    except Exception as error:  # a template can raise whatever its author likes
        answer = {"error": f"{type(error).__name__}: {error}"[:200]}
    json.dump(answer, sys.stdout)


def render(template: str, messages: list[dict[str, str]]) -> str:
    """The prompt before an answer, by the environment that transformers gives its templates."""
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.globals |= {"raise_exception": _refuse, "strftime_now": lambda _form: ""}
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    return environment.from_string(template).render(messages=messages, add_generation_prompt=True)


def _refuse(message: Any) -> NoReturn:
    raise ValueError(str(message))


if __name__ == "__main__":
    main()
