"""A view of the page as an address and back: `?tab=ask&q=…&seed=…&temperature=…&length=…`, and `&blind=1`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args
from urllib.parse import urlencode

from qa.ask_settings import QUESTION_CHARACTERS, AskSettings

Tab = Literal["ask", "compare", "evaluate", "about"]


@dataclass(frozen=True)
class View:
    """What an address asks to see. The question is stripped, and at most as long as one that can be asked."""

    tab: Tab = "ask"
    question: str = ""
    settings: AskSettings = field(default_factory=AskSettings)
    blind: bool = False


def address(tab: Tab, question: str = "", settings: AskSettings | None = None, *, blind: bool = False) -> str:
    """The query of a view, from `?` on; without a question, the tab alone."""
    fields: dict[str, object] = {"tab": tab}
    if question.strip():
        chosen = settings or AskSettings()
        fields["q"] = question.strip()[:QUESTION_CHARACTERS]
        fields |= {"seed": chosen.seed, "temperature": chosen.temperature, "length": chosen.max_tokens}
        fields |= {"blind": 1} if blind else {}
    return "?" + urlencode(fields)


def parse(query: Mapping[str, str], default: AskSettings | None = None) -> View:
    """The view of an address that anybody may have written: what is missing, unknown or no number is the default."""
    usual = default or AskSettings()
    tab = query.get("tab", "ask")
    settings = AskSettings.clamped(
        **{
            **usual.as_dict(),
            "seed": _number(query.get("seed"), usual.seed),
            "temperature": _number(query.get("temperature"), usual.temperature),
            "max_tokens": _number(query.get("length"), usual.max_tokens),
        }
    )
    question = query.get("q", "").replace("\0", "").strip()[:QUESTION_CHARACTERS].strip()
    return View(tab if tab in get_args(Tab) else "ask", question, settings, query.get("blind") == "1")


def _number(text: str | None, default: float) -> float:
    try:
        return float(text) if text else default
    except ValueError:
        return default
