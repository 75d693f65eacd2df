"""A language model behind an OpenAI-compatible endpoint: what is asked, and the errors that a user can mend."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from json import JSONDecodeError
from typing import TYPE_CHECKING, Any, Self

from jobs.errors import UserError
from qa.prompts import Message

if TYPE_CHECKING:
    import openai

Layout = tuple[str, dict[str, Any]]  # name and JSON schema of a reply
# How servers are told of a schema: OpenAI, vLLM, llama-server and Hugging Face's providers take the first; the server
# of llama-cpp-python, which answers it with 500, the second; the last leaves it to the prompt.
DIALECTS = ("json_schema", "json_object", "")
PATIENCE = 20  # requests in a row that a server leaves unanswered before it is asked no more
ITS_OWN = (400, 413, 422)  # statuses that one request earns and another need not: too long, not allowed


@dataclass(frozen=True)
class Completion:
    """A model's reply with its counts of tokens, or the `problem` that there is none.

    `estimated`: the counts are a quarter of the characters, for want of better.
    """

    text: str
    input_tokens: int = 0
    output_tokens: int = 0
    estimated: bool = False
    problem: str = ""

    def checked(self) -> Self:
        """Itself. Raises ValueError where a field is of another type, as in a file that was tampered with."""
        types = (str, int, int, bool, str)
        values = (self.text, self.input_tokens, self.output_tokens, self.estimated, self.problem)
        if any(type(value) is not kind for value, kind in zip(values, types, strict=True)):
            raise ValueError(f"not a completion: {values}")
        return self


def estimate_tokens(messages: Sequence[Message]) -> int:
    """A quarter of the characters."""
    return sum(len(message["content"]) for message in messages) // 4


@dataclass
class ChatEndpoint:
    """Greedy chat completions. Failed requests are tried again with growing pauses by the client itself.

    The key comes from OPENAI_API_KEY alone, and goes nowhere but into the request: a server that repeats it is not
    repeated. Safe for many threads.
    """

    model: str
    endpoint: str
    section: str  # of the configuration, for errors
    retries: int = 4
    timeout: float = 180.0  # seconds a request may take
    dialect: str | None = field(default=None, init=False)  # of DIALECTS; None until a request told
    _unanswered: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        from openai import OpenAI

        self._key = os.environ.get("OPENAI_API_KEY", "")
        key = self._key or "none"  # local servers want some key, whichever
        self.client = OpenAI(base_url=self.endpoint, api_key=key, max_retries=self.retries, timeout=self.timeout)
        self._finding, self._counting = threading.Lock(), threading.Lock()

    @property
    def identity(self) -> str:
        """The model's name. Not the address, which changes when a machine is rented anew."""
        return self.model

    def answer(self, messages: Sequence[Message], layout: Layout | None, max_tokens: int) -> Completion:
        """The reply. Raises `UserError` naming the endpoint where it is down, refuses all requests or is none.

        A `problem` is what this one request met with; the next may fare better.
        """
        import openai

        request = {"model": self.model, "messages": list(messages), "temperature": 0, "max_tokens": max_tokens}
        try:
            reply = self._create(request, layout)
        except openai.APITimeoutError:
            return self._problem(f"did not answer within {self.timeout:g} seconds")
        except openai.APIConnectionError as error:
            mend = f"start it, or check {self.section}.endpoint"
            raise UserError(f"{self.endpoint}: does not answer ({error}); {mend}") from None
        except openai.APIStatusError as error:
            return self._refusal(error)
        self._unanswered = 0
        return self._completion(reply, messages)

    def _refusal(self, error: openai.APIStatusError) -> Completion:
        status = error.status_code
        told = " ".join(self._without_key(error.message).removeprefix(f"Error code: {status} - ").split())
        said = f"answered {status} ({told[:200]})"
        if status in (401, 403):
            raise UserError(f"{self.endpoint}: refused the key; set OPENAI_API_KEY to one with rights") from None
        if status == 404:
            raise UserError(f"{self.endpoint}: has no model {self.model!r}; check {self.section}.model") from None
        if status == 429:
            mend = "start again later, what was answered is kept"
            raise UserError(f"{self.endpoint}: rate limit, {said}; {mend}") from None
        if status in ITS_OWN or status >= 500:
            return self._problem(said)
        raise UserError(f"{self.endpoint}: {said}") from None

    def _problem(self, said: str) -> Completion:
        with self._counting:
            self._unanswered += 1
        if self._unanswered >= PATIENCE:
            mend = "look after it and start again, what was answered is kept"
            raise UserError(f"{self.endpoint}: {said}, as to {PATIENCE} requests in a row; {mend}") from None
        return Completion("", problem=said)

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text

    def _create(self, request: dict[str, Any], layout: Layout | None) -> Any:
        if layout is None:
            return self._send(self.client, request)
        if self.dialect is None:
            with self._finding:
                if self.dialect is None:
                    return self._find_dialect(request, layout)
        return self._send(self.client, request | _format(self.dialect, layout))

    def _find_dialect(self, request: dict[str, Any], layout: Layout) -> Any:
        """Ask in each dialect until one is understood, which is remembered; if none is, it was not the dialect."""
        import openai

        once = self.client.with_options(max_retries=0)
        for dialect in DIALECTS:
            full = request | _format(dialect, layout)
            try:
                reply = self._send(once, full)
            except (openai.BadRequestError, openai.UnprocessableEntityError):
                if not dialect:
                    raise
                continue
            except (openai.InternalServerError, openai.RateLimitError, openai.APIConnectionError) as error:
                if dialect and "response_format" in str(error):
                    continue
                reply = self._send(self.client, full)
            self.dialect = dialect
            return reply
        return None

    def _send(self, client: openai.OpenAI, request: dict[str, Any]) -> Any:
        try:
            return client.chat.completions.create(**request)
        except JSONDecodeError:
            return None

    def _completion(self, reply: Any, messages: Sequence[Message]) -> Completion:
        """The client makes something of any reply: of a web page its text, of any JSON an object of missing parts."""
        choices = getattr(reply, "choices", None)
        if not isinstance(choices, list) or not all(getattr(choice, "message", None) for choice in choices):
            mend = f"its address often ends in /v1: check {self.section}.endpoint"
            raise UserError(f"{self.endpoint}: is not a chat-completions endpoint; {mend}")
        message = choices[0].message if choices else None
        text = self._without_key(getattr(message, "content", None) or getattr(message, "refusal", None) or "")
        counts = getattr(reply, "usage", None)
        read, written = (getattr(counts, name, None) for name in ("prompt_tokens", "completion_tokens"))
        if isinstance(read, int) and isinstance(written, int):
            return Completion(text, read, written)
        return Completion(text, estimate_tokens(messages), len(text) // 4, estimated=True)


def _format(dialect: str | None, layout: Layout) -> dict[str, Any]:
    name, schema = layout
    if dialect == "json_schema":
        return {"response_format": {"type": dialect, "json_schema": {"name": name, "schema": schema, "strict": True}}}
    return {"response_format": {"type": dialect, "schema": schema}} if dialect else {}
