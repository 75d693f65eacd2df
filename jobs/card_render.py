"""From a template and figures to a card. What a document or a model wrote is escaped here: it shows as it was written.

Folders of this machine do not go into a card: the working folder is cut off, of others the last name is left. Nor do
addresses in a command, of servers and of people: they are nobody's business, and one may carry a password.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import CardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from jobs.card_facts import Run
from jobs.card_siblings import siblings
from jobs.evaluation.result_table import flatten
from jobs.step import StepRecord

ROOT = Path(__file__).parents[1]
TEMPLATES = ROOT / "data_cards"
TAG = "footnote"  # in the front matter of every card: how a repository of ours is known
ELSEWHERE = {  # figures that have a place of their own in a card, or in the data set's
    "verified", "funnel", "usage", "decontamination", "reading", "recent", "rows_by_kind", "rows_by_licence",
    "documents_by_source", "documents_by_licence", "documents_per_split", "groups_per_split", "rejected_by_stage",
}  # fmt: skip
KEPT_AT = ("train.checkpoints_to=", "train.trackio_space=")  # settings that change nothing in what is made
LONGEST = 600  # characters of a figure in one line
_ABSOLUTE = re.compile(r"(?<![\w:/.~-])/(?:[^\s/'\"]+/)*([^\s/'\"]+)")
_ABSOLUTE_WORD = re.compile(r"(?<![\w:/.~-])/(?:[^/'\",\[\]]+/)*([^/'\",\[\]]+)")  # a word of a command may hold spaces
_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)  # a password may hold any sign
_MAIL = re.compile(r"(?<![\w./+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+")  # in a command
_LINK = re.compile(r":(?=//)|\bwww(?=\.)|(?<!\w)@(?=\w)|@(?=[\w-]+\.)", re.IGNORECASE)  # what the Hub makes links of
_PLAIN_ADDRESS = re.compile(r"https?://[\w-]+(?:\.[\w-]+)+(?::\d+)?(?:/[\w./~%+=&?,:;-]*)?", re.ASCII)
_MARKDOWN = re.compile(r"([\\`*_\[\]|~$])")


def render(template: str, run: Run, header: CardData, **values: Any) -> str:
    """The README: front matter from `header`, then the template `data_cards/<template>.md`."""
    return render_text(template, run=run, front_matter=header.to_yaml(), **values)


def render_text(template: str, **values: Any) -> str:
    """The template `data_cards/<template>.md` with these values."""
    text = _environment().get_template(f"{template}.md").render(**values)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701 - Markdown, not HTML: `cell` and `code` escape what others wrote
    )
    environment.filters |= {
        "cell": cell,
        "short": short,
        "address": address,
        "code": code,
        "percent": lambda share: "–" if share is None else f"{100 * share:.1f} %",  # None: asked of nobody
        "p": lambda value: "< 0.001" if value < 0.001 else f"= {value:.3f}",
        "megabytes": lambda size: f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB",
        "dash": lambda number: "–" if number is None else str(number),
        "literal": lambda text: json.dumps(text, ensure_ascii=False),
        "flatten": lambda figures: [(key, without_paths(value)) for key, value in flatten(figures)],
        "without_paths": without_paths,
        "grouped": grouped,
        "command": command,
        "commands": commands,
        "hardware": hardware,
        "siblings": siblings,
    }
    return environment


def cell(text: object) -> str:
    """Text as it was written, in one line, inside a paragraph or a table.

    Addresses and names of users do not become links: a space of no width breaks them, which holds in every dialect of
    Markdown, while a character written as an entity is linked by some of them.
    """
    line = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\1", _LINK.sub(r"\g<0>&#8203;", line))


def short(text: object, longest: int) -> str:
    """Text in one line of at most so many characters, with a mark where it was cut."""
    line = " ".join(str(text).split())
    return line if len(line) <= longest else f"{line[: longest - 1].rstrip()}…"


def address(text: str, longest: int) -> str:
    """A document's address as a link, for its attribution, where it is one and nothing but one; else as text."""
    return f"<{text}>" if len(text) <= longest and _PLAIN_ADDRESS.fullmatch(text) else cell(short(text, longest))


def grouped(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Figures by their own name, those inside one in one line; not those that are shown elsewhere."""
    found = []
    for key, value in figures.items():
        if key in ELSEWHERE:
            continue
        inner = list(flatten({key: value}))
        parts = [f"{name.removeprefix(f'{key}.')} {text}" for name, text in inner if name != key]
        text = "; ".join(parts) or "".join(text for _, text in inner)
        found.append((key, short(without_paths(text), LONGEST)))
    return [(key.replace("_", " "), text) for key, text in found if text]


def code(text: object) -> str:
    """Text in a code span, also inside a table; a longer fence where it holds backticks."""
    line = " ".join(str(text).split()).replace("|", "\\|")
    fence = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    return f"{fence} {line} {fence}" if "`" in line else f"{fence}{line}{fence}"


def commands(steps: Mapping[str, StepRecord]) -> str:
    """The commands that made the steps, each once, in a block of their own."""
    lines = dict.fromkeys(command(step.command) for step in steps.values() if step.command)
    text = "\n".join(lines)
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text)), 3)
    return f"{fence}bash\n{text}\n{fence}"


def command(text: str) -> str:
    """A command as it can be typed again, without folders of this machine, addresses of servers and of people.

    Where the run was kept and shown is left out too.
    """
    shown = []
    for given in _public(shlex.split(text)):
        word = _ABSOLUTE_WORD.sub(r"…/\1", _MAIL.sub("…", _ADDRESS.sub("…", given.replace(f"{Path.cwd()}/", ""))))
        plain = word.replace("…", "x")
        shown.append(word if plain == shlex.quote(plain) else shlex.quote(word))
    return " ".join(shown)


def _public(words: list[str]) -> list[str]:
    private = {at for at, word in enumerate(words) if word.removeprefix("--set=").startswith(KEPT_AT)}
    private |= {at - 1 for at in private if words[at - 1] == "--set"}
    return [word for at, word in enumerate(words) if at not in private]


def hardware(found: Mapping[str, Any]) -> str:
    """One line: GPUs where there were some, else the processor."""
    memory = f"{found['memory_bytes'] / 2**30:.0f} GiB of memory"
    gpus = f", {len(found['gpus'])} GPU: {', '.join(found['gpus'])}" if found.get("gpus") else ", no GPU"
    return f"{found['cores']} cores ({found['machine']}), {memory}{gpus}"


def without_paths(text: str) -> str:
    """The same text without the folders of whoever made the run: paths below the working folder become relative."""
    return _ABSOLUTE.sub(r"…/\1", text.replace(f"{Path.cwd()}/", ""))
