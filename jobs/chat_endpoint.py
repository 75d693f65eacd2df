"""A language model behind an OpenAI-compatible endpoint: what is asked, and the errors that a user can mend."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from json import JSONDecodeError
from typing import Any, ClassVar

from jobs.errors import UserError
from qa.prompts import Message


@dataclass
class ChatEndpoint:
    """Greedy chat completions in JSON. Failed requests are tried again with growing pauses by the client itself.

    A subclass says what its reply looks like. The key comes from OPENAI_API_KEY alone, and goes nowhere but into the
    request: a server that repeats it is not repeated.
    """

    section: ClassVar[str]  # of the configuration, for errors
    layout: ClassVar[tuple[str, dict[str, Any]]]  # name and JSON schema of a reply
    reply_tokens: ClassVar[int]

    model: str
    endpoint: str
    retries: int = 4
    timeout: float = 180.0  # seconds a request may take
    schema: bool = field(default=True, init=False)  # whether the server takes `response_format`

    def __post_init__(self) -> None:
        from openai import OpenAI

        self._key = os.environ.get("OPENAI_API_KEY", "")
        key = self._key or "none"  # local servers want some key, whichever
        self.client = OpenAI(base_url=self.endpoint, api_key=key, max_retries=self.retries, timeout=self.timeout)

    def __call__(self, messages: Sequence[Message]) -> str:
        """The reply's text. Raises `UserError` naming the endpoint where it is down, refuses or is none."""
        import openai

        try:
            return self._without_key(self._ask(messages))
        except openai.APIConnectionError as error:
            mend = f"start it, or check {self.section}.endpoint"
            raise UserError(f"{self.endpoint}: does not answer ({error}); {mend}") from None
        except (openai.AuthenticationError, openai.PermissionDeniedError):
            raise UserError(f"{self.endpoint}: refused the key; set OPENAI_API_KEY to one with rights") from None
        except openai.NotFoundError:
            raise UserError(f"{self.endpoint}: has no model {self.model!r}; check {self.section}.model") from None
        except openai.APIStatusError as error:
            said = self._without_key(error.message)[:200]
            raise UserError(f"{self.endpoint}: answered {error.status_code} ({said})") from None

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text

    def _ask(self, messages: Sequence[Message]) -> str:
        import openai

        schema = self.schema
        try:
            return self._complete(messages, schema)
        except (openai.BadRequestError, openai.UnprocessableEntityError):
            if not schema:
                raise
            self.schema = False  # a server without structured output: the prompt alone asks for JSON
            return self._complete(messages, False)

    def _complete(self, messages: Sequence[Message], schema: bool) -> str:
        extra: dict[str, Any] = {}
        if schema:
            name, content = self.layout
            layout = {"name": name, "schema": content, "strict": True}
            extra["response_format"] = {"type": "json_schema", "json_schema": layout}
        try:
            reply = self.client.chat.completions.create(
                model=self.model, messages=list(messages), temperature=0, max_tokens=self.reply_tokens, **extra
            )
        except JSONDecodeError:
            reply = None
        return self._text(reply)

    def _text(self, reply: Any) -> str:
        """The client makes something of any reply: of a web page its text, of any JSON an object of missing parts."""
        choices = getattr(reply, "choices", None)
        if not isinstance(choices, list) or not all(getattr(choice, "message", None) for choice in choices):
            mend = f"its address often ends in /v1: check {self.section}.endpoint"
            raise UserError(f"{self.endpoint}: is not a chat-completions endpoint; {mend}")
        return (choices[0].message.content or "") if choices else ""
