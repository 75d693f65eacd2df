"""What an evaluation asks of a model, whatever it is stored as: Hub repository, folder, peft adapter or GGUF file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from jobs.adapters import base_of, check_base_of
from jobs.errors import UserError, first_line
from jobs.evaluation.likelihood import TransformersBackend
from qa.choices import Item
from qa.prompts import PromptEncoder

if TYPE_CHECKING:
    from qa.engine import Engine

Kind = Literal["transformers", "adapter", "gguf"]
GGUF_WINDOW = 4096  # tokens: 25 solved examples of ARC's length in the chat template take some 2,200
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")


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


@dataclass(frozen=True)
class Source:
    """Where a model is. A repository may carry `@revision`; `base` is that of an adapter."""

    kind: Kind
    location: str
    base: str = ""

    @property
    def path(self) -> Path | None:
        """The file or folder, None for a repository."""
        path = Path(self.location)
        return path if path.exists() else None


def find_source(name: str, location: Path | str, base: Path | str | None) -> Source:
    """Tell what kind of model stands at a place. Raises `UserError` where there is none."""
    path = Path(location)
    if path.suffix == ".gguf":
        if not path.is_file():
            raise UserError(f"model {name}: {path}: no such file")
        return Source("gguf", str(path))
    if (path / "adapter_config.json").is_file():
        return Source("adapter", str(path), _base_of(path, base))
    if (path / "config.json").is_file():
        return Source("transformers", str(path))
    if path.exists():
        raise UserError(
            f"model {name}: {path} holds neither config.json nor adapter_config.json; name the .gguf itself"
        )
    if not _REPOSITORY.fullmatch(str(location)):
        raise UserError(f"model {name}: {location} is neither a file or folder here nor a repository's name")
    return Source("transformers", str(location))


def open_backend(name: str, source: Source, *, dtype: str = "float32", device: str | None = None) -> Backend:
    """Load a model; `dtype` (float32, bfloat16) and `device` are of transformers, by default its GPU if there is one.

    Raises `UserError` where it cannot be loaded, and where its scores could not be trusted.
    """
    if source.kind == "gguf":
        return GgufBackend(name, Path(source.location))
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
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from jobs.quiet import quieten

    quieten()
    place, revision = split_revision(location)
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, revision=revision)
        model = AutoModelForCausalLM.from_pretrained(place, revision=revision, dtype=getattr(torch, dtype))
    except (OSError, ValueError) as error:
        raise UserError(
            f"model {name}: {place}: neither a model's folder nor one on the Hub ({first_line(error)})"
        ) from None
    rows = model.get_input_embeddings().num_embeddings
    if rows < len(tokenizer):
        raise UserError(f"model {name}: {place}: {rows} rows of embedding for a tokenizer of {len(tokenizer)} entries")
    return tokenizer, model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def _with_adapter(name: str, model: Any, source: Source) -> Any:
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, source.location)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"model {name}: the adapter {source.location} does not fit {source.base} ({reason})") from None


def _base_of(adapter: Path, base: Path | str | None) -> str:
    """The base to put an adapter on: the one given, if it is the one it was trained on, else that."""
    trained_on, at = base_of(adapter)
    place, revision = (trained_on, at) if base is None else split_revision(str(base))
    check_base_of(adapter, place, revision)
    return place if Path(place).exists() else f"{place}@{revision}"


def split_revision(location: str) -> tuple[str, str]:
    """A repository and its revision from `NAMESPACE/NAME@revision`; a folder is itself, whatever its name."""
    if Path(location).exists():
        return location, "main"
    place, _, revision = location.partition("@")
    return place, revision or "main"
