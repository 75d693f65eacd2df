"""HTML of the About tab: what runs here, how a program uses it, and what a copy of it would set."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from qa.artifacts import MODEL_VARIABLE
from space.library import Library
from space.settings import Settings, Variable
from space.state import AppState
from space.text import escape, safe_markdown

UNKNOWN_ADDRESS = "https://NAMESPACE-SPACE.hf.space"
HEADING = "## About this model"
NO_ABOUT = (
    f"{HEADING}\n\nThe model's repository says nothing of it to visitors: it has no `space/about.md`. "
    "Its card is linked at the foot of this page."
)
_HOST = re.compile(r"([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:\d{1,5})?")
_LINK = re.compile(r"(?<!!)\[([^\[\]()\n<>`]{1,200})\]\((https?://[^\s()<>\"'\\`]{1,500})\)")
_HELD = re.compile("\ue000(\\d+)\ue001")


def about(state: AppState) -> str:
    """What the model's repository says of it, or why there is nothing; empty while it is being fetched."""
    models = state.models
    if models.about:
        return linked_markdown(models.about)
    if not models.settled:
        return ""
    problem = models.unsaid or next(part.problem for part in models.parts() if part.variable == MODEL_VARIABLE)
    return f"{HEADING}\n\n{safe_markdown(problem)}" if problem else NO_ABOUT


def linked_markdown(text: str) -> str:
    """Markdown with its links to web pages; images and raw HTML are text."""
    links: list[str] = []

    def hold(found: re.Match[str]) -> str:
        links.append(found[0])
        return f"\ue000{len(links) - 1}\ue001"

    held = _LINK.sub(hold, text.replace("\ue000", "").replace("\ue001", ""))
    return _HELD.sub(lambda found: links[int(found[1])], safe_markdown(held))


def facts(state: AppState) -> str:
    """What this copy runs, as a list of names and values."""
    lines = [*state.models.facts(), ("Papers", _papers(state.library)), ("Feedback", _feedback(state))]
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in lines)
    return f'<section class="fn-about"><h2>What runs here</h2><dl class="fn-facts">{rows}</dl></section>'


def _papers(library: Library) -> str:
    if library.phase == "failed":
        return library.problem
    if library.index is None:
        return f"{library.reference} · {library.phase}"
    manifest = library.index.manifest
    return f"{manifest.passages:,} passages of {manifest.documents:,} documents · {library.reference}"


def _feedback(state: AppState) -> str:
    store = state.models.settings.feedback
    if not store:
        return "Not kept: FOOTNOTE_FEEDBACK is not set"
    kept = f"With a visitor's consent to the private data set {store}"
    return f"{kept}. {state.feedback.problem}" if state.feedback.problem else kept


def address_of(headers: Mapping[str, str], scheme: str) -> str:
    """Where the visitor reached this copy, behind a proxy as well; a stand-in where the headers are not sound."""
    host = headers.get("x-forwarded-host", headers.get("host", "")).split(",")[0].strip()
    proto = headers.get("x-forwarded-proto", scheme).split(",")[0].strip()
    return f"{proto}://{host}" if _HOST.fullmatch(host) and proto in ("http", "https") else UNKNOWN_ADDRESS


def programs(address: str, title: str) -> str:
    """How to use this copy from Python, the command line and an assistant."""
    name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "footnote"
    servers = {"mcpServers": {name: {"url": f"{address}/gradio_api/mcp/"}}}
    return (
        '<section class="fn-about"><h2>Use it from a program</h2>'
        "<p>The endpoints <code>/ask</code>, <code>/compare</code>, <code>/search_papers</code>, "
        "<code>/evaluate</code> and <code>/state</code> go through the same queue as this page, with its bounds.</p>"
        + _code("Python, with gradio_client", _python(address))
        + _code("Command line, with curl", _curl(address))
        + "<p>An assistant that speaks the Model Context Protocol has the tools <code>ask</code>, <code>compare</code> "
        "and <code>search_papers</code>.</p>" + _code("MCP configuration", json.dumps(servers, indent=2)) + "</section>"
    )


def _python(address: str) -> str:
    return (
        "from gradio_client import Client\n\n"
        f'client = Client("{address}")\n'
        'for answer in client.submit("What does LoRA train?", api_name="/ask"):\n'
        "    print(answer)\n"
        'print(client.predict("low-rank adaptation", k=3, api_name="/search_papers"))'
    )


def _curl(address: str) -> str:
    call = f"{address}/gradio_api/call"
    return (
        f"EVENT=$(curl -s {call}/v2/ask -H 'Content-Type: application/json' \\\n"
        '  -d \'{"question": "What does LoRA train?"}\' | cut -d\'"\' -f4)\n'
        f"curl -sN {call}/ask/$EVENT"
    )


def _code(name: str, text: str) -> str:
    return f'<figure class="fn-code"><figcaption>{name}</figcaption><pre tabindex="0">{escape(text)}</pre></figure>'


def variables(settings: Settings) -> str:
    """Every variable that a copy may set, with its default and what it is here."""
    rows = "".join(_variable(variable, value) for variable, value in settings.table())
    return (
        '<section class="fn-about"><h2>Duplicate this Space</h2><p>A copy needs no change of code: what it would '
        "change is an environment variable. Private repositories need the secret <code>HF_TOKEN</code> as well.</p>"
        '<table class="fn-table fn-variables"><thead><tr><th scope="col">Variable</th><th scope="col">Meaning</th>'
        f'<th scope="col">Default</th><th scope="col">Here</th></tr></thead><tbody>{rows}</tbody></table></section>'
    )


def _variable(variable: Variable, value: str) -> str:
    meaning = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(variable.meaning))
    same = ' class="fn-same"' if value == variable.default else ""
    return (
        f'<tr><th scope="row"><code>{escape(variable.name)}</code></th><td>{meaning}</td>'
        f'<td data-title="Default">{escape(variable.default) or "empty"}</td>'
        f'<td data-title="Here"{same}>{escape(value) or "empty"}</td></tr>'
    )
