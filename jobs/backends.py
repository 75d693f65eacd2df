"""What an evaluation asks of a model, whatever it is stored as: Hub repository, folder, peft adapter or GGUF file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from jobs.adapters import base_of, check_base_of
from jobs.errors import UserError, first_line
from jobs.likelihood import Item, Tick, TransformersBackend
from qa.prompts import Message, PromptEncoder

if TYPE_CHECKING:
    from qa.engine import Engine

Kind = Literal["transformers", "adapter", "gguf"]
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")


class Backend(Protocol):
    """A model that scores options and answers greedily."""

    encoder: PromptEncoder
    window: int  # tokens of prompt and answer

    def option_logprobs(self, items: Sequence[Item], tick: Tick) -> list[list[float]]: ...
    def generate(self, questions: Sequence[list[Message]], max_tokens: int, tick: Tick) -> list[str]: ...
    def close(self) -> None: ...


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


def open_backend(name: str, source: Source, *, batch_tokens: int) -> Backend:
    """Load a model, in float32 where transformers runs it, so that all artefacts are compared alike."""
    if source.kind == "gguf":
        return GgufBackend(name, Path(source.location))
    tokenizer, model = _load(name, source.base or source.location)
    if source.kind == "adapter":
        model = _with_adapter(name, model, source)
    return TransformersBackend(model, tokenizer, batch_tokens=batch_tokens)


class GgufBackend:
    """A GGUF model in llama.cpp, one question at a time."""

    def __init__(self, name: str, path: Path) -> None:
        from qa.engine import Engine, ModelFileError

        try:
            self._engine: Engine = Engine.load(path)
        except ModelFileError as error:
            raise UserError(f"model {name}: {error}") from None
        self.encoder, self.window = self._engine.encoder, self._engine.n_ctx

    def option_logprobs(self, items: Sequence[Item], tick: Tick) -> list[list[float]]:
        """Summed natural-log probability of each option of each item."""
        scores = []
        for prompt, options in items:
            scores.append(self._engine.option_logprobs(prompt, options))
            tick(1)
        return scores

    def generate(self, questions: Sequence[list[Message]], max_tokens: int, tick: Tick) -> list[str]:
        """Greedy answers."""
        answers = []
        for messages in questions:
            answers.append(self._engine.generate(messages, max_tokens=max_tokens))
            tick(1)
        return answers

    def close(self) -> None:
        """Free the weights."""
        self._engine.close()


def _load(name: str, location: str) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from jobs.quiet import quieten

    quieten()
    place, revision = split_revision(location)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, revision=revision)
        model = AutoModelForCausalLM.from_pretrained(place, revision=revision, dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise UserError(
            f"model {name}: {place}: neither a model's folder nor one on the Hub ({first_line(error)})"
        ) from None
    rows = model.get_input_embeddings().num_embeddings
    if rows < len(tokenizer):
        raise UserError(f"model {name}: {place}: {rows} rows of embedding for a tokenizer of {len(tokenizer)} entries")
    return tokenizer, model.to(device)


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
