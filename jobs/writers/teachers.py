"""Teachers in this process: a ChatML model in transformers, or a GGUF file under llama.cpp.

No passage ever yields a control token: text becomes ids through `qa.prompts` alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.chat_endpoint import Completion, Layout
from jobs.errors import UserError, first_line
from jobs.step import fingerprint
from qa.prompts import END_OF_TEXT, Message, PromptEncoder

if TYPE_CHECKING:
    from qa.engine import Engine

CONTEXT = 4096  # tokens of a request and its reply; a passage has some 300


@dataclass
class TransformersModel:
    """A ChatML model in transformers, greedy, on a GPU if there is one. Its replies are not held to a schema."""

    identity: str
    model: Any
    tokenizer: Any
    encoder: PromptEncoder

    @classmethod
    def load(cls, name: str, section: str) -> TransformersModel:
        """From a Hub id or a folder. Raises `UserError` where it is missing or no ChatML model."""
        from transformers import AutoTokenizer

        from jobs.transformers_model import load_model

        try:
            tokenizer = AutoTokenizer.from_pretrained(name)
            encoder = PromptEncoder.from_transformers(tokenizer)
        except (OSError, ValueError) as error:
            reason = f"cannot be a teacher ({first_line(error)}); give {section}.model a ChatML model such as Qwen2.5"
            raise UserError(f"{name}: {reason}") from None
        model = load_model(name)
        commit = fingerprint(Path(name)) if Path(name).exists() else model.config._commit_hash
        return cls(f"{name}@{commit}", model, tokenizer, encoder)

    def answer(self, messages: Sequence[Message], layout: Layout | None, max_tokens: int) -> Completion:
        """The reply; a request that does not fit the model's context has the problem."""
        import torch

        from jobs.transformers_model import few_threads

        prompt = self.encoder.prompt(messages)
        room = self.model.config.max_position_embeddings - len(prompt)
        if room < 1:
            return Completion("", problem=f"{len(prompt)} tokens, more than the model's context")
        ids = torch.tensor([prompt], device=self.model.device)
        stops = [self.encoder.im_end, self.tokenizer.convert_tokens_to_ids(END_OF_TEXT)]
        with torch.inference_mode(), few_threads(self.model):
            made = self.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=min(max_tokens, room),
                do_sample=False,
                eos_token_id=stops,
                pad_token_id=stops[-1],
            )[0, len(prompt) :]
        return Completion(self.tokenizer.decode(made, skip_special_tokens=True), len(prompt), len(made))


@dataclass
class LlamaModel:
    """A GGUF file of a ChatML model under llama.cpp, greedy, on the CPU. A layout is held by a grammar."""

    identity: str
    engine: Engine

    @classmethod
    def load(cls, name: str, section: str) -> LlamaModel:
        """From a file. Raises `UserError` where it is missing or no ChatML model."""
        from qa.engine import Engine, ModelFileError

        path = Path(name)
        if not path.is_file():
            raise UserError(f"{name}: no such file; give {section}.model the path of a GGUF file")
        try:
            engine = Engine.load(path, n_ctx=CONTEXT)
        except ModelFileError as error:
            raise UserError(str(error)) from None
        return cls(f"{path.name}@{fingerprint(path)}", engine)

    def answer(self, messages: Sequence[Message], layout: Layout | None, max_tokens: int) -> Completion:
        """The reply; a request that does not fit the context has the problem."""
        from qa.engine import PromptTooLong

        grammar = _grammar(json.dumps(layout[1])) if layout else ""
        try:
            chunks = list(self.engine.stream(messages, max_tokens=max_tokens, grammar=grammar, reuse=False))
        except PromptTooLong as error:
            return Completion("", problem=str(error))
        last = chunks[-1]
        return Completion("".join(chunk.text for chunk in chunks), last.prompt_tokens, last.tokens)


def load_local(kind: str, name: str, section: str) -> TransformersModel | LlamaModel:
    """The model of a configuration's `section` in this process: kind is transformers or llama_cpp."""
    return {"transformers": TransformersModel, "llama_cpp": LlamaModel}[kind].load(name, section)


@cache
def _grammar(schema: str) -> str:
    """The schema in llama.cpp's notation for grammars."""
    from llama_cpp.llama_grammar import json_schema_to_gbnf

    return json_schema_to_gbnf(schema)
