"""Named endpoints for programs (`gradio_client`, `curl`), three of which are tools for assistants over MCP.

They go through the page's own scheduler, with its rates and bounds. Whatever is wrong is an error of one line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, TypeVar, cast

import gradio as gr

from qa.ask_settings import AskSettings
from qa.choices import Formulation
from qa.scheduler import Refused
from space.answering import Answer
from space.api_results import Both, Passage, both, condition, evaluation, passage
from space.ask import ask as stream_answer
from space.compare import compare as stream_answers
from space.evaluate import DEFAULT_QUESTIONS
from space.evaluate import evaluate as stream_evaluation
from space.library import DEFAULT_HITS, SearchError
from space.listeners import is_listening
from space.published import live_formulation
from space.state import AppState
from space.stopping import Cancel
from space.text import escape
from space.visitors import visitor_of
from space.widgets import ASK, EVALUATE

TOOLS = ("/ask", "/compare", "/search_papers")
SEARCH = {"concurrency_id": "search", "concurrency_limit": 8}
DEFAULT, GREEDY = AskSettings(), AskSettings.greedy()

T = TypeVar("T")


def add(page: gr.Blocks, state: AppState) -> None:
    """Add the endpoints to the page that is being built."""
    endpoints = Endpoints(page, state)
    described: list[tuple[Callable[..., Any], object, dict[str, Any]]] = [
        (endpoints.ask, str, ASK),
        (endpoints.compare, Both, ASK),
        (endpoints.search_papers, list[Passage], SEARCH),
        (endpoints.evaluate, dict, EVALUATE),
        (endpoints.state, dict, {"queue": False}),
    ]
    for function, result, options in described:
        function.__func__.__annotations__["return"] = result  # type: ignore[attr-defined]  # of one frame: Gradio's way
        gr.api(function, api_name=function.__name__, **options)


def offer_tools(page: gr.Blocks) -> None:
    """Keep all but TOOLS out of MCP, which takes every documented endpoint; to be called once the page is launched."""
    server = page.mcp_server_obj
    assert server is not None, page.mcp_error  # Gradio goes on without MCP where it cannot be set up
    offered = {tool: endpoint for tool, endpoint in server.tool_to_endpoint.items() if endpoint in TOOLS}
    server.tool_to_endpoint = offered


class Endpoints:
    """The functions behind the endpoints. Names and docstrings are what a program, or an assistant, is told."""

    def __init__(self, page: gr.Blocks, state: AppState) -> None:
        self._page, self._state = page, state

    def ask(
        self,
        question: str,
        request: gr.Request,
        history: list[list[str]] | None = None,
        temperature: float = DEFAULT.temperature,
        seed: int = DEFAULT.seed,
        length: int = DEFAULT.max_tokens,
    ) -> Iterator[str]:
        """Ask a small model that was fine-tuned on papers. It may be wrong: check what it says with search_papers.

        Args:
            question: what to ask, at most 600 characters
            history: earlier questions of the conversation with their answers, oldest first: [["question", "answer"]]
            temperature: 0 always takes the likeliest word, up to 1.5 for more variety; 0.3 where it is left out
            seed: the same question, settings and seed give the same answer; 0 where it is left out
            length: the most tokens to write, 16 to 300
        Returns:
            the answer so far, as Markdown with LaTeX; the last one is whole
        """
        settings = AskSettings.clamped(temperature=temperature, seed=seed, max_tokens=length)
        asked = stream_answer(self._state, visitor_of(request), _turns(history), question, settings, Cancel())
        for answer in self._heard(asked, request):
            _tell(_checked(answer), settings.max_tokens)
            yield answer.text

    def compare(
        self,
        question: str,
        request: gr.Request,
        temperature: float = GREEDY.temperature,
        seed: int = GREEDY.seed,
        length: int = GREEDY.max_tokens,
    ) -> Iterator[Both]:
        """Put one question to a fine-tuned model and to the base model it was made from, both under the same settings.

        Args:
            question: what to ask, at most 600 characters
            temperature: 0 always takes the likeliest word, up to 1.5 for more variety; 0 where it is left out
            seed: the same question, settings and seed give the same answers; 0 where it is left out
            length: the most tokens that each writes, 16 to 300
        Returns:
            under `base` and `tuned`: text (Markdown), state, status, tokens and seconds so far
        """
        chosen = {"temperature": temperature, "seed": seed, "max_tokens": length}
        settings = AskSettings.clamped(**GREEDY.as_dict() | chosen)
        pairs = stream_answers(self._state, visitor_of(request), question, settings, Cancel())
        for pair in self._heard(pairs, request):
            _tell(_checked(pair.base), settings.max_tokens)
            _checked(pair.tuned)
            yield _for_caller(both(pair), request)

    def search_papers(self, query: str, request: gr.Request, k: int = DEFAULT_HITS) -> list[Passage]:
        """Find passages of papers that share words with a query, best first, each with its title, source and licence.

        Args:
            query: words to look for, or a question; at most 600 characters
            k: how many passages, 1 to 20
        Returns:
            the passages: id, title, document, section, source, licence, text and score (BM25)
        """
        try:
            self._state.visitors.check(visitor_of(request))
            found = self._state.library.search(query, k)
        except (Refused, SearchError) as error:
            raise gr.Error(escape(error), print_exception=False) from None
        return _for_caller([passage(hit) for hit in found], request)

    def evaluate(
        self, request: gr.Request, number: int = DEFAULT_QUESTIONS, formulation: str = "", sample: int = 0
    ) -> Iterator[dict]:
        """Put questions of the published test set to both models, one after another.

        Args:
            number: how many questions, 1 to 25
            formulation: "letter" (options are shown) or "cloze" (options are weighed); empty for the headline's
            sample: which questions; the same number draws the same ones
        Returns:
            state, the prompt's name, accuracy of both models with 95 % intervals, and a row for each question so far
        """
        prompt = cast("Formulation", formulation or live_formulation(self._state.models.published) or "letter")
        runs = stream_evaluation(self._state, visitor_of(request), number, prompt, sample, Cancel())
        for run in self._heard(runs, request):
            if run.state == "failed":
                raise gr.Error(escape(run.problem), print_exception=False)
            yield evaluation(run)

    def state(self) -> dict:
        """What is loaded at which revision, and how many answers are under way and wait.

        Returns:
            running, waiting, evaluations, expected_seconds of a turn, the parts with their phases, and the papers
        """
        return condition(self._state)

    def _heard(self, states: Iterator[T], request: gr.Request) -> Iterator[T]:
        """The states while their caller takes them; a stream that nobody listens to gives its turn away."""
        with closing(cast("Any", states)):
            for state in states:
                if not is_listening(self._page, str(request.session_hash)):
                    return
                yield state


def _turns(history: list[list[str]] | None) -> list[tuple[str, str]]:
    return cast("list[tuple[str, str]]", history or [])  # whatever a program sends is looked at where it is asked


def _checked(answer: Answer) -> Answer:
    if answer.state == "failed":
        raise gr.Error(escape(answer.status), print_exception=False)
    return answer


def _tell(answer: Answer, most: int) -> None:
    """The status as Gradio's progress: an assistant is told nothing else until the answer is whole."""
    gr.Progress()((answer.tokens, most), desc=answer.status)


def _for_caller(result: T, request: gr.Request) -> T:
    """The result; for an assistant as JSON text, where Gradio would write Python's notation."""
    if request.headers.get("x-gradio-user") != "mcp":
        return result
    return cast("T", json.dumps(result, ensure_ascii=False, indent=1))
