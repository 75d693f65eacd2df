"""What an evaluation asks of a model, whatever it is stored as: Hub repository, folder, peft adapter or GGUF file."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from jobs.errors import UserError
from jobs.evaluation.likelihood import NOT_FINITE, TransformersBackend, sample_item
from jobs.evaluation.sources import Source, local_files, split_revision
from jobs.transformers_model import LOADING_ERRORS, load_model, reason_of
from qa.choices import Item
from qa.prompts import PromptEncoder

if TYPE_CHECKING:
    from qa.engine import Engine


GGUF_WINDOW = 4096  # tokens: 25 solved examples of ARC's length in the chat template take some 2,200


class Backend(Protocol):
    """A model that scores options and answers greedily. One call is one batch; the caller plans batches."""

    encoder: PromptEncoder
    window: int  # tokens of prompt and answer

    def option_logprobs(self, items: Sequence[Item]) -> list[list[float]]:
        """Summed natural-log probability of each option of each item."""

    def generate(self, prompts: Sequence[list[int]], max_tokens: int, until: Sequence[str] = ()) -> list[str]:
        """Greedy answers to prompts of token ids, ended by the end of the turn or before the first of `until`."""

    def close(self) -> None:
        """Free the weights."""


def open_backend(name: str, source: Source, *, dtype: str = "float32", device: str | None = None) -> Backend:
    """Load a model; `dtype` (float32, bfloat16) and `device` are of transformers, by default its GPU if there is one.

    Raises `UserError` where it cannot be loaded, and where its scores could not be trusted.
    """
    if source.kind == "gguf":
        return GgufBackend(name, local_files(name, source))
    tokenizer, model = _load(name, source.base or source.location, dtype, device)
    if source.kind == "adapter":
        model = _with_adapter(name, model, source)
    try:
        return TransformersBackend(model, tokenizer)
    except ValueError as error:
        raise UserError(f"model {name}: {source.location}: {error}") from None


class GgufBackend:
    """A GGUF model in llama.cpp, one question at a time."""

    def __init__(self, name: str, path: Path) -> None:
        from qa.engine import Engine, ModelFileError

        try:
            self._engine: Engine = Engine.load(path, n_ctx=GGUF_WINDOW)
        except ModelFileError as error:
            raise UserError(f"model {name}: {error}") from None
        self.encoder, self.window = self._engine.encoder, self._engine.n_ctx
        if not all(map(math.isfinite, self.option_logprobs([sample_item(self.encoder)])[0])):
            self.close()
            raise UserError(f"model {name}: {path}: {NOT_FINITE}")

    def option_logprobs(self, items: Sequence[Item]) -> list[list[float]]:
        """Summed natural-log probability of each option of each item."""
        return [self._engine.option_logprobs(item.prompt, item.options, head=item.head) for item in items]

    def generate(self, prompts: Sequence[list[int]], max_tokens: int, until: Sequence[str] = ()) -> list[str]:
        """Greedy answers, each cut before the first of `until`."""
        return [self._engine.complete(prompt, max_tokens=max_tokens, until=until) for prompt in prompts]

    def close(self) -> None:
        """Free the weights."""
        self._engine.close()


def _load(name: str, location: str, dtype: str, device: str | None) -> tuple[Any, Any]:
    from transformers import AutoTokenizer

    place, revision = split_revision(location)
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, revision=revision)
        model = load_model(place, dtype=dtype, revision=revision, device=device)
    except UserError as error:
        raise UserError(f"model {name}: {error}") from None
    except LOADING_ERRORS as error:
        raise UserError(f"model {name}: {place}: cannot be loaded as a model ({reason_of(error)})") from None
    rows = model.get_input_embeddings().num_embeddings
    if rows < len(tokenizer):
        raise UserError(f"model {name}: {place}: {rows} rows of embedding for a tokenizer of {len(tokenizer)} entries")
    return tokenizer, model


def _with_adapter(name: str, model: Any, source: Source) -> Any:
    from peft import PeftModel

    folder = local_files(name, source)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Found missing adapter keys")  # peft makes them up as zeros
            return PeftModel.from_pretrained(model, folder)
    except (*LOADING_ERRORS, UserWarning) as error:
        fault = f"does not fit {source.base}, or is damaged ({reason_of(error)})"
        raise UserError(f"model {name}: the adapter {source.location} {fault}") from None
