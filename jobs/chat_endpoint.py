"""A language model behind an OpenAI-compatible endpoint: what is asked, and the errors that a user can mend."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from json import JSONDecodeError
from typing import TYPE_CHECKING, Any, Self, TypeGuard

from jobs.documents import collapse, printable
from jobs.endpoint_secrets import check_address, endpoint_key
from jobs.errors import UserError
from qa.prompts import Message

if TYPE_CHECKING:
    import openai

Layout = tuple[str, dict[str, Any]]  # name and JSON schema of a reply
# How servers are told of a schema: OpenAI, vLLM, llama-server and Hugging Face's providers take the first; the server
# of llama-cpp-python, which answers it with 500, the second; the last leaves it to the prompt.
DIALECTS = ("json_schema", "json_object", "")
KEPT = "what was answered is kept"
PATIENCE = 20  # requests in a row that a server leaves unanswered before it is asked no more
SILENCE = 3  # times the timeout that a server may give no reply at all
PAUSE = 0.5  # seconds before a second attempt, doubled before each further one, unless the server names a time
LONGEST_PAUSE = 60.0
ITS_OWN = (400, 413, 422)  # statuses that one request earns and another need not: too long, not allowed
PASSING = (408, 409, 429)  # statuses that may be gone at the next attempt, as those from 500
SECRET = 16  # characters of a key that is one; local servers take any, such as `none`, which are words of replies too


@dataclass(frozen=True)
class Completion:
    """A model's reply with its counts of tokens, or the `problem` that there is none.

    `estimated`: the counts are a quarter of the characters, for want of better; of a request that was broken off, the
    most that it may have cost.
    """

    text: str
    input_tokens: int = 0
    output_tokens: int = 0
    estimated: bool = False
    problem: str = ""
    attempts: int = 1

    def checked(self) -> Self:
        """Itself. Raises ValueError where a field is of another type, as in a file that was tampered with."""
        types = (str, int, int, bool, str, int)
        values = astuple(self)
        if any(type(value) is not kind for value, kind in zip(values, types, strict=True)):
            raise ValueError(f"not a completion: {values}")
        return self


def estimate_tokens(messages: Sequence[Message]) -> int:
    """A quarter of the characters."""
    return sum(len(message["content"]) for message in messages) // 4


@dataclass
class _Call:
    """What is sent for one reply, and how often it was."""

    request: dict[str, Any]
    layout: Layout | None
    begun: float = field(default_factory=time.monotonic)
    attempts: int = 0

    @property
    def expected(self) -> int:
        """Estimated tokens of the prompt."""
        return estimate_tokens(self.request["messages"])


@dataclass
class ChatEndpoint:
    """Greedy chat completions. Requests that a server is too busy for are tried again with growing pauses.

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
    _silent_since: float | None = field(default=None, init=False)
    _probed: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        from openai import OpenAI

        check_address(self.endpoint, self.section)
        self._key = endpoint_key()
        key = self._key or "none"  # local servers want some key, whichever
        self.client = OpenAI(base_url=self.endpoint, api_key=key, max_retries=0, timeout=self.timeout)
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
        call = _Call(request, layout)
        try:
            made = self._completion(self._create(call), call)
        except openai.APITimeoutError:
            made = self._timed_out(call)
        except openai.APIConnectionError as error:
            mend = f"start it, or check {self.section}.endpoint"
            raise UserError(f"{self.endpoint}: does not answer ({error}); {mend}") from None
        except openai.APIStatusError as error:
            made = self._refusal(error)
        except (ValueError, RecursionError) as error:  # numbers of too many digits, nesting, half a sign in a request
            made = self._problem(f"answered with JSON that cannot be read ({type(error).__name__})")
        if not made.problem:
            self._unanswered, self._silent_since = 0, None
        return replace(made, attempts=call.attempts)

    def _timed_out(self, call: _Call) -> Completion:
        """No attempt follows: the server would work at both. It is reckoned at the most that it may have cost."""
        with self._counting:
            self._silent_since = min(call.begun, self._silent_since or call.begun)
            silent = time.monotonic() - self._silent_since
        if silent >= SILENCE * self.timeout:
            mend = f"look after it, or ask less at once (concurrency); {KEPT}"
            raise UserError(f"{self.endpoint}: gave no reply for {silent:,.0f} seconds; {mend}") from None
        problem = self._problem(f"did not answer within {self.timeout:g} seconds").problem
        return Completion("", call.expected, call.request["max_tokens"], estimated=True, problem=problem)

    def _refusal(self, error: openai.APIStatusError) -> Completion:
        status = error.status_code
        told = collapse(self._clean(error.message).removeprefix(f"Error code: {status} - "))
        said = f"answered {status} ({told[:200]})"
        if status in (401, 403):
            raise UserError(f"{self.endpoint}: refused the key; set OPENAI_API_KEY to one with rights") from None
        if status == 404:
            raise UserError(f"{self.endpoint}: has no model {self.model!r}; check {self.section}.model") from None
        if status == 429:
            raise UserError(f"{self.endpoint}: rate limit, {said}; start again later, {KEPT}") from None
        if status in ITS_OWN or status >= 500:
            return self._problem(said)
        raise UserError(f"{self.endpoint}: {said}") from None

    def _problem(self, said: str) -> Completion:
        with self._counting:
            self._unanswered += 1
        if self._unanswered >= PATIENCE:
            mend = f"look after it and start again, {KEPT}"
            raise UserError(f"{self.endpoint}: {said}, as to {PATIENCE} requests in a row; {mend}") from None
        return Completion("", problem=said)

    def _clean(self, text: str) -> str:
        """Without the key, and without halves of signs, which cannot be written."""
        return printable(text.replace(self._key, "***") if len(self._key) >= SECRET else text)

    def _create(self, call: _Call) -> Any:
        if call.layout is None:
            return self._send(call)
        if not self._probed:
            with self._finding:  # the others wait for the first alone: a server that hangs would hold each in turn
                if not self._probed:
                    try:
                        return self._find_dialect(call, call.layout)
                    finally:
                        self._probed = True
        if self.dialect is None:
            return self._find_dialect(call, call.layout)
        return self._send(call, _format(self.dialect, call.layout))

    def _find_dialect(self, call: _Call, layout: Layout) -> Any:
        """Ask in each dialect until one is understood, which is remembered; if none is, it was not the dialect."""
        import openai

        for dialect in DIALECTS:
            try:
                reply = self._send(call, _format(dialect, layout), unless="response_format" if dialect else "")
            except (openai.BadRequestError, openai.UnprocessableEntityError):
                if not dialect:
                    raise
                continue
            except openai.InternalServerError as error:
                if dialect and "response_format" in str(error):
                    continue
                raise
            self.dialect = dialect
            return reply
        return None

    def _send(self, call: _Call, layout: Mapping[str, Any] | None = None, *, unless: str = "") -> Any:
        """The client's reply, None where it is no JSON; tried again where a server is busy, `unless` it says so."""
        import openai

        for tried in itertools.count():
            call.attempts += 1
            try:
                return self.client.chat.completions.create(**call.request, **(layout or {}))
            except JSONDecodeError:
                return None
            except openai.APITimeoutError:
                raise
            except (openai.APIConnectionError, openai.APIStatusError) as error:
                status = getattr(error, "status_code", 500)
                passing = status in PASSING or status >= 500
                if tried >= self.retries or not passing or (unless and unless in str(error)):
                    raise
                time.sleep(_pause(error, tried))

    def _completion(self, reply: Any, call: _Call) -> Completion:
        """The client makes something of any reply: of a web page its text, of any JSON an object of missing parts."""
        choices = getattr(reply, "choices", None)
        if not isinstance(choices, list) or not all(getattr(choice, "message", None) for choice in choices):
            mend = f"its address often ends in /v1: check {self.section}.endpoint"
            raise UserError(f"{self.endpoint}: is not a chat-completions endpoint; {mend}")
        message = choices[0].message if choices else None
        text = getattr(message, "content", None) or getattr(message, "refusal", None) or ""
        problem = "" if isinstance(text, str) else self._problem("answered with content that is no text").problem
        text = "" if problem else self._clean(text)
        counts = getattr(reply, "usage", None)
        read, written = (getattr(counts, name, None) for name in ("prompt_tokens", "completion_tokens"))
        if _is_count(read) and _is_count(written):
            return Completion(text, read, written, problem=problem)
        return Completion(text, call.expected, len(text) // 4, estimated=True, problem=problem)


def _is_count(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < 10**9


def _pause(error: Exception, tried: int) -> float:
    """Seconds until the next attempt: what the server asks for, in reason, or twice as long each time."""
    named = getattr(getattr(error, "response", None), "headers", {}).get("retry-after", "")
    return min(float(named) if named.isdecimal() else PAUSE * 2**tried, LONGEST_PAUSE)


def _format(dialect: str | None, layout: Layout) -> dict[str, Any]:
    name, schema = layout
    if dialect == "json_schema":
        return {"response_format": {"type": dialect, "json_schema": {"name": name, "schema": schema, "strict": True}}}
    return {"response_format": {"type": dialect, "schema": schema}} if dialect else {}
