"""The configuration of a run as a typed, validated object: everything that decides its result."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from jobs.data_config import Dataset, Documents, Reading, Scale, Writer
from jobs.endpoint_secrets import check_address
from jobs.section import Section
from qa.ask_settings import EXAMPLES, QUESTION_CHARACTERS

__all__ = ["Dataset", "Documents", "Reading", "RunConfig", "Scale", "Section", "Writer"]

PlainType = Literal["f16", "bf16", "f32"]
QuantisedType = Literal["q4_k_m", "q4_0", "iq4_xs", "q5_k_m", "q6_k", "q8_0"]
GgufType = Literal[PlainType, QuantisedType]
Scheduler = Literal["linear", "cosine", "constant", "constant_with_warmup", "polynomial"]
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"
REPOSITORY = rf"{NAME[:-1]}/{NAME[1:]}"


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

    @model_validator(mode="after")
    def _facts_have_wordings(self) -> Self:
        if bool(self.facts) != bool(self.wordings):
            raise ValueError("facts and wordings go together: give both files or none")
        return self


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
    """LoRA fine-tuning in transformers' terms; `batch_size` is rows per micro-step over all processes together."""

    learning_rate: float = Field(5e-5, gt=0)
    batch_size: int = Field(4, ge=1)
    gradient_accumulation: int = Field(1, ge=1)
    epochs: float = Field(3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup_ratio: float = Field(0.0, ge=0, lt=1)
    scheduler: Scheduler = "linear"
    max_steps: int = Field(-1, ge=-1)  # -1: as many as the epochs have
    quantize: Literal["none", "4bit"] = "none"
    gradient_checkpointing: bool | None = None  # none: only where a step's activations would not fit
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    checkpoints_per_epoch: int = Field(4, ge=1)
    checkpoints_to: str = ""  # OWNER/NAME of a private repository that keeps the newest checkpoint
    packing: bool = False  # rows are packs of whole ones: a step has up to `batch_size` × `max_length` tokens
    accuracy_questions: int = Field(100, ge=0)  # validation questions of multiple choice asked after each epoch
    report_to: Literal["trackio", "none"] = "trackio"
    trackio_space: str = ""  # OWNER/NAME of a Space that shows the curves while they grow
    lora: Lora = Lora()

    @field_validator("max_steps")
    @classmethod
    def _takes_a_step(cls, value: int) -> int:
        if value == 0:
            raise ValueError("no step would be trained; give -1 for as many as the epochs have")
        return value

    @field_validator("checkpoints_to", "trackio_space")
    @classmethod
    def _names_a_repository(cls, value: str) -> str:
        if value and not re.fullmatch(REPOSITORY, value):
            raise ValueError(f"{value!r} is no repository's name: OWNER/NAME")
        return value

    @model_validator(mode="after")
    def _has_curves_to_show(self) -> Train:
        if self.trackio_space and self.report_to == "none":
            raise ValueError("trackio_space shows the curves of Trackio; it needs report_to: trackio")
        return self


class Export(Section):
    """Which GGUF files are made, in llama.cpp's names. Q4_K_M is evaluated and served, or else the first."""

    types: tuple[GgufType, ...] = Field(("f16", "q4_k_m"), min_length=1)
    imatrix_tokens: int = Field(100_000, ge=0)  # of training rows that the importance matrix is made from; 0: none

    @property
    def served(self) -> str:
        return "q4_k_m" if "q4_k_m" in self.types else self.types[0]


class Ladder(Section):
    """Which types are measured against the F16 file, with and without importance matrix, and on how much."""

    types: tuple[QuantisedType, ...] = ("q4_k_m", "q4_0", "iq4_xs", "q5_k_m", "q6_k", "q8_0")  # empty: no ladder
    tokens: int = Field(8192, ge=512)  # of held-out text
    questions: int = Field(200, ge=1)  # of multiple choice, of the test split


class Examples(Section):
    """Questions that the published file answers beforehand, so that the page shows those answers at once."""

    questions: tuple[Annotated[str, Field(min_length=1, max_length=QUESTION_CHARACTERS)], ...] = Field(
        EXAMPLES, max_length=8
    )  # none: no examples

    @field_validator("questions")
    @classmethod
    def _asked_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        asked = tuple(" ".join(question.split()) for question in value)
        if not all(asked):
            raise ValueError("a question is blank")
        if len(set(asked)) < len(asked):
            raise ValueError("a question is asked twice")
        return asked


class Judge(Section):
    """A language model that compares open answers, at an OpenAI-compatible endpoint; none by default."""

    endpoint: str = ""
    model: str = ""
    limit: int = Field(100, ge=1)  # open questions judged

    @field_validator("endpoint")
    @classmethod
    def _holds_no_secret(cls, value: str) -> str:
        check_address(value, "evaluation.judge")
        return value

    @model_validator(mode="after")
    def _endpoint_and_model(self) -> Self:
        if bool(self.endpoint) != bool(self.model):
            raise ValueError("a judge needs both an endpoint and a model")
        return self


class Evaluation(Section):
    """What is asked, and how. The first formulation is the headline."""

    tasks: tuple[str, ...] = Field(("research", "arc_challenge", "arc_easy"), min_length=1)
    formulations: tuple[Literal["letter", "cloze", "chat"], ...] = Field(("letter", "cloze"), min_length=1)
    template: Literal["chat", "plain"] | None = None  # each formulation's own: letter chat, cloze plain as in lm-eval
    shots: int = Field(0, ge=0, le=25)  # solved examples from the training split, drawn with the seed
    limit: int | None = Field(None, ge=1)  # rows of each task, of multiple choice and of open apart
    rotations: int = Field(0, ge=0)  # rows of each task of which every rotation of the options is asked by letter
    sources: int = Field(0, ge=0, le=10)  # passages shown with open questions, for citations and abstention
    judge: Judge = Judge()
    batch_tokens: int = Field(4096, ge=128)
    dtype: Literal["float32", "bfloat16"] = "float32"  # of the weights in transformers; scores are float32 in any case

    @field_validator("formulations")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("a formulation is named twice, which would count its answers twice")
        return value


class Publish(Section):
    """Names on the Hub: NAMESPACE/NAME-lora, -merged, -GGUF, -qa, -index."""

    namespace: str = Field("", pattern=rf"^$|{NAME}")
    name: str = Field("footnote", pattern=NAME)
    private: bool = False
    space: bool = False  # deploy the page too, as NAMESPACE/NAME, with a wheel of llama.cpp's binding built for it

    @model_validator(mode="after")
    def _space_reads_what_is_public(self) -> Self:
        if self.space and self.private:
            raise ValueError("a Space's build reads no private repository: leave out space or private")
        return self


class RunConfig(Section):
    """One run: everything that decides its result."""

    name: str = Field(pattern=NAME)
    seed: int = 17
    scale: Scale = Scale()
    documents: Documents = Documents()
    writer: Writer = Writer()
    dataset: Dataset = Dataset()
    base: Base = Base()
    train: Train = Train()
    export: Export = Export()
    ladder: Ladder = Ladder()
    examples: Examples = Examples()
    evaluation: Evaluation = Evaluation()
    publish: Publish = Publish()
