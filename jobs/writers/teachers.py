"""Teachers: models that write pairs from a passage, behind an OpenAI-compatible endpoint or in transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.chat_endpoint import ChatEndpoint
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


class OpenAITeacher(ChatEndpoint):
    """A teacher at a chat-completions endpoint."""

    section, layout, reply_tokens = "writer", ("pairs", SCHEMA), REPLY_TOKENS


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
