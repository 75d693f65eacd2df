"""The configuration of a run: one YAML file, read into a typed object; any value can be set on the command line.

Unknown keys and wrong types are errors that name the file and the key, with the nearest known key as a hint.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jobs.errors import UserError

CONFIGS = Path(__file__).parent / "configs"


class Section(BaseModel):
    """Base of all sections: immutable, closed against unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Documents(Section):
    """Where documents come from, and what passages are cut to (in characters)."""

    paths: tuple[str, ...] = ()
    licence: str = ""  # of documents that name none themselves
    passage_min_chars: int = Field(120, ge=1)
    passage_max_chars: int = Field(1200, ge=200)


class Writer(Section):
    """Who writes the questions. `offline` needs no model; the others are teachers."""

    kind: Literal["offline", "openai", "transformers"] = "offline"
    model: str = ""
    endpoint: str = ""  # of an OpenAI-compatible server; its key is read from OPENAI_API_KEY
    pairs_per_passage: int = Field(3, ge=1, le=20)
    max_passages: int | None = Field(None, ge=1)


class Dataset(Section):
    """ARC with its official splits beside our own questions, split by document with a salted hash."""

    arc: str = ""  # repository of ARC's schema; empty: none
    arc_configs: tuple[str, ...] = ("ARC-Challenge", "ARC-Easy")
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    salt: str = "footnote"
    max_length: int = Field(512, ge=32)  # tokens of prompt and completion; longer rows are dropped and counted


class Pretrain(Section):
    """A tiny base model of the same architecture, trained from nothing on the documents. Widths in units, not bytes."""

    vocabulary: int = Field(2048, ge=320)
    layers: int = Field(4, ge=1)
    width: int = Field(128, ge=16)
    heads: int = Field(4, ge=1)
    kv_heads: int = Field(2, ge=1)
    context: int = Field(512, ge=64)
    steps: int = Field(600, ge=1)
    batch: int = Field(16, ge=1)
    length: int = Field(128, ge=16)
    muon_learning_rate: float = Field(0.02, gt=0)
    adam_learning_rate: float = Field(3e-3, gt=0)
    facts: str = ""  # table of facts rendered in many wordings beside the documents
    wordings: str = ""


class Base(Section):
    """The model that is fine-tuned: a Hub id or folder, or one that the run trains itself."""

    model: str = "Qwen/Qwen2.5-3B-Instruct"
    revision: str = "main"
    pretrain: Pretrain | None = None


class Lora(Section):
    """The adapter's shape, in peft's terms."""

    r: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.05, ge=0, lt=1)
    target_modules: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class Train(Section):
    """LoRA fine-tuning in transformers' terms; `batch_size` is rows per optimiser step on each device."""

    learning_rate: float = Field(5e-5, gt=0)
    batch_size: int = Field(4, ge=1)
    gradient_accumulation: int = Field(1, ge=1)
    epochs: float = Field(3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup_ratio: float = Field(0.0, ge=0, lt=1)
    scheduler: str = "linear"
    max_steps: int = -1
    quantize: Literal["none", "4bit"] = "none"
    gradient_checkpointing: bool = True
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    checkpoints_per_epoch: int = Field(4, ge=1)
    report_to: Literal["trackio", "none"] = "trackio"
    lora: Lora = Lora()


class Export(Section):
    """Which GGUF files are made, in llama.cpp's names."""

    types: tuple[str, ...] = ("f16", "q4_k_m")


class Evaluation(Section):
    """What is asked, and how. The first formulation is the headline."""

    tasks: tuple[str, ...] = ("research", "arc_challenge", "arc_easy")
    formulations: tuple[Literal["letter", "cloze"], ...] = ("letter", "cloze")
    template: Literal["chat", "plain"] = "chat"
    limit: int | None = Field(None, ge=1)  # rows of each task
    batch_tokens: int = Field(4096, ge=128)


class Publish(Section):
    """Names on the Hub: NAMESPACE/NAME-lora, -merged, -GGUF, -qa."""

    namespace: str = ""
    name: str = "footnote"
    private: bool = False


class RunConfig(Section):
    """One run: everything that decides its result."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: int = 17
    documents: Documents = Documents()
    writer: Writer = Writer()
    dataset: Dataset = Dataset()
    base: Base = Base()
    train: Train = Train()
    export: Export = Export()
    evaluation: Evaluation = Evaluation()
    publish: Publish = Publish()


def load_config(path: Path, overrides: list[str] | tuple[str, ...] = ()) -> RunConfig:
    """Read a YAML file and apply `section.key=value` overrides (values in YAML). Raises `UserError` naming the key."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        known = ", ".join(sorted(str(file.relative_to(CONFIGS.parent.parent)) for file in CONFIGS.glob("*.yaml")))
        raise UserError(f"{path}: cannot be read ({error.strerror}); configurations here: {known}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected a mapping of sections such as `train:`, found {type(values).__name__}")
    for override in overrides:
        _apply(values, override)
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{path}: {_explain(error)}") from None


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise UserError(f"--set {override}: expected section.key=value, for example train.learning_rate=1e-4")
    *sections, last = key.strip().split(".")
    target = values
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise UserError(f"--set {override}: {section!r} is not a section")
    target[last] = _value(text, override)


def _value(text: str, override: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"--set {override}: {text!r} is not valid YAML") from None
    if isinstance(value, str):
        try:
            return float(value)  # YAML 1.1 reads 5e-5 as text
        except ValueError:
            return value
    return value


def _explain(error: ValidationError) -> str:
    fault = error.errors()[0]
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] != "extra_forbidden":
        return f"key {key!r}: {fault['msg'].lower()}, got {fault['input']!r}"
    near = difflib.get_close_matches(str(fault["loc"][-1]), _keys(fault["loc"][:-1]), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; known here: {', '.join(_keys(fault['loc'][:-1]))}"
    return f"unknown key {key!r}{hint}"


def _keys(location: tuple[Any, ...]) -> list[str]:
    """Names of the keys of the section at a location of the configuration."""
    section: Any = RunConfig
    for part in location:
        annotation = section.model_fields[part].annotation
        members = [annotation, *getattr(annotation, "__args__", ())]
        section = next(kind for kind in members if isinstance(kind, type) and issubclass(kind, Section))
    return list(section.model_fields)
