"""Teachers: models that write pairs from a passage, behind an OpenAI-compatible endpoint or in transformers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs.config import Writer
from jobs.errors import UserError, first_line
from jobs.writers.pairs import SCHEMA
from qa.prompts import END_OF_TEXT, Message, PromptEncoder

Teacher = Callable[[Sequence[Message]], str]
REPLY_TOKENS = 1536


def open_teacher(writer: Writer) -> Teacher:
    """The teacher of a configuration. Raises `UserError` where it is not fully named or cannot be had."""
    if not writer.model:
        raise UserError(f"writer.model: the {writer.kind} writer needs the name of a model (--model NAME)")
    if writer.kind == "openai":
        if not writer.endpoint:
            raise UserError("writer.endpoint: the openai writer needs --endpoint, such as http://127.0.0.1:8000/v1")
        return OpenAITeacher(writer.model, writer.endpoint)
    return TransformersTeacher.load(writer.model)


@dataclass
class OpenAITeacher:
    """A chat-completions endpoint. Failed requests are tried again with growing pauses by the client itself."""

    model: str
    endpoint: str
    retries: int = 4
    timeout: float = 180.0  # seconds a request may take
    schema: bool = field(default=True, init=False)  # whether the server takes `response_format`

    def __post_init__(self) -> None:
        from openai import OpenAI

        key = os.environ.get("OPENAI_API_KEY") or "none"  # local servers want some key, whichever
        self.client = OpenAI(base_url=self.endpoint, api_key=key, max_retries=self.retries, timeout=self.timeout)

    def __call__(self, messages: Sequence[Message]) -> str:
        """The reply's text. Raises `UserError` naming the endpoint where it is down or refuses."""
        import openai

        try:
            return self._ask(messages)
        except openai.APIConnectionError as error:
            raise UserError(f"{self.endpoint}: does not answer ({error}); start it, or check writer.endpoint") from None
        except (openai.AuthenticationError, openai.PermissionDeniedError):
            raise UserError(f"{self.endpoint}: refused the key; set OPENAI_API_KEY to one with rights") from None
        except openai.NotFoundError:
            raise UserError(f"{self.endpoint}: has no model {self.model!r}; check writer.model") from None
        except openai.APIStatusError as error:
            raise UserError(f"{self.endpoint}: answered {error.status_code} ({error.message[:200]})") from None

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
            layout = {"name": "pairs", "schema": SCHEMA, "strict": True}
            extra["response_format"] = {"type": "json_schema", "json_schema": layout}
        reply = self.client.chat.completions.create(
            model=self.model, messages=list(messages), temperature=0, max_tokens=REPLY_TOKENS, **extra
        )
        return (reply.choices[0].message.content or "") if reply.choices else ""


@dataclass
class TransformersTeacher:
    """A ChatML model in transformers, greedy, on a GPU if there is one. No passage ever yields a control token."""

    model: Any
    tokenizer: Any
    encoder: PromptEncoder

    @classmethod
    def load(cls, name: str) -> TransformersTeacher:
        """From a Hub id or a folder. Raises `UserError` where it is missing or no ChatML model."""
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            tokenizer = AutoTokenizer.from_pretrained(name)
            model = AutoModelForCausalLM.from_pretrained(name, dtype="auto").to(device).eval()
            return cls(model, tokenizer, PromptEncoder.from_transformers(tokenizer))
        except (OSError, ValueError) as error:
            reason = f"cannot be a teacher ({first_line(error)}); give a ChatML model such as Qwen2.5"
            raise UserError(f"{name}: {reason}") from None

    def __call__(self, messages: Sequence[Message]) -> str:
        """The reply's text."""
        import torch

        ids = torch.tensor([self.encoder.prompt(messages)], device=self.model.device)
        stops = [self.encoder.im_end, self.tokenizer.convert_tokens_to_ids(END_OF_TEXT)]
        with torch.inference_mode():
            made = self.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=REPLY_TOKENS,
                do_sample=False,
                eos_token_id=stops,
                pad_token_id=stops[-1],
            )
        return self.tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)
