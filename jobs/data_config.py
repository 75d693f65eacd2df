"""The sections of a configuration that decide the data: documents, writer, data set, and how many machines make it."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from jobs.endpoint_secrets import check_address
from jobs.language import known_languages
from jobs.licence_names import unknown_name
from jobs.section import Section

OPEN_LICENCES = (
    *("CC0-1.0", "CC-BY-2.0", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0"),
    *("Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Unlicense", "ODC-By-1.0", "public-domain"),
)
NOT_IN_TEXT = "not_in_text"  # the kind of a question that its passage does not answer
KINDS = ("fact", "method", "comparison", "limitation", "number", NOT_IN_TEXT)
Kind = Literal["fact", "method", "comparison", "limitation", "number", "not_in_text"]


class Documents(Section):
    """Which documents are read, which licences and languages are taken, and what passages are cut to (in characters).

    Licences go by SPDX's names. `unstated` tells which documents may be used that name none: files of one's own alone
    (local), those of the net and the Hub too (all), or no document (none).
    """

    paths: tuple[str, ...] = ()
    arxiv: tuple[str, ...] = ()  # ids such as 2106.09685 or 2106.09685v2, and files with one a line
    urls: tuple[str, ...] = ()  # addresses of pages, and files with one a line
    hub: tuple[str, ...] = ()  # data sets of papers: OWNER/NAME or OWNER/NAME:CONFIG
    licence: str = ""  # of documents that name none themselves
    licences: tuple[str, ...] = Field(OPEN_LICENCES, min_length=1)
    unstated: Literal["local", "all", "none"] = "local"
    languages: tuple[str, ...] = ("en",)  # ISO 639-1; empty: any
    contact: str = ""  # an e-mail address, told to every server that is asked
    cache: str = ""  # folder of what was fetched; empty: footnote/documents below the user's cache folder
    pdf: Literal["pdfium", "docling"] = "pdfium"
    passage_min_chars: int = Field(120, ge=1)
    passage_max_chars: int = Field(1200, ge=200)

    @field_validator("licences")
    @classmethod
    def _known_licences(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if reason := unknown_name(name):
                raise ValueError(reason)
        return value

    @field_validator("languages")
    @classmethod
    def _known_languages(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for code in set(value) - {"en"}:  # the list of the others takes a second to load
            if code not in known_languages():
                raise ValueError(f"{code!r} is no language that can be told; write a code of ISO 639-1, such as en")
        return value

    @field_validator("contact")
    @classmethod
    def _mail_address(cls, value: str) -> str:
        if value and not re.fullmatch(r"[!-?A-~]+@[!-?A-~]+", value):
            raise ValueError(f"{value!r} is no e-mail address; write one such as me@example.org")
        return value

    @model_validator(mode="after")
    def _lengths_in_order(self) -> Self:
        if self.passage_min_chars > self.passage_max_chars:
            raise ValueError(f"passage_min_chars {self.passage_min_chars} is over the maximum {self.passage_max_chars}")
        return self

    @property
    def fetched(self) -> tuple[str, ...]:
        """What is named beyond this machine's files."""
        return (*self.arxiv, *self.urls, *self.hub)

    @property
    def named(self) -> bool:
        """Whether any document is named at all."""
        return bool(self.paths or self.fetched)


class Budget(Section):
    """Where asking stops: tokens read and written, or their price in US dollars. Prices are for a million tokens."""

    tokens: int | None = Field(None, ge=1)
    dollars: float | None = Field(None, gt=0)
    input_price: float = Field(0.0, ge=0)
    output_price: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _dollars_need_prices(self) -> Self:
        if self.dollars and not (self.input_price or self.output_price):
            raise ValueError("a budget in dollars needs input_price and output_price, for a million tokens")
        return self


class Reader(Section):
    """The model that answers each question with its passage and without: `writer` is the teacher itself."""

    kind: Literal["none", "writer", "openai", "transformers", "llama_cpp"] = "none"
    model: str = ""
    endpoint: str = ""
    agreement: float = Field(0.5, gt=0, le=1)  # token F1 with the answer on record from which two answers are the same

    @field_validator("endpoint")
    @classmethod
    def _holds_no_secret(cls, value: str) -> str:
        check_address(value, "writer.reader")
        return value


class Writer(Section):
    """Who writes the questions, and what is kept of them. `offline` needs no model; the others are teachers."""

    kind: Literal["offline", "openai", "transformers", "llama_cpp"] = "offline"
    model: str = ""  # a name at the endpoint, a Hub id or folder, or a GGUF file
    endpoint: str = ""  # of an OpenAI-compatible server; its key is read from OPENAI_API_KEY
    kinds: tuple[Kind, ...] = Field(KINDS, min_length=1)
    pairs_per_passage: int = Field(3, ge=1, le=20)
    max_passages: int | None = Field(None, ge=1)
    concurrency: int = Field(8, ge=1, le=256)  # requests under way at a server
    cache: str = ""  # folder of replies; empty: footnote/replies below the user's cache folder
    budget: Budget = Budget()
    reader: Reader = Reader()
    found_within: int = Field(10, ge=0)  # the question finds its passage among so many; 0: not asked
    near_duplicate: float = Field(0.8, gt=0, le=1)  # Jaccard similarity of words from which two questions are one

    @field_validator("endpoint")
    @classmethod
    def _holds_no_secret(cls, value: str) -> str:
        check_address(value, "writer")
        return value


class Reading(Section):
    """Training rows with passages before the question, in RAFT's form (arXiv:2403.10131)."""

    share: float = Field(0.3, ge=0, le=1)  # of our own open questions that are asked with passages too
    distractors: int = Field(4, ge=1, le=9)
    withheld: float = Field(0.2, ge=0, le=1)  # share of these rows without an answer to find, kind not_in_text included
    max_chars: int = Field(400, ge=100)  # of each passage, in whole sentences


class Decontamination(Section):
    """What makes a training row a copy of a test item; `against` names test sets beside those that are evaluated."""

    against: tuple[str, ...] = ()  # tasks as evaluation names them: mmlu:machine_learning, arc_challenge
    ngram: int = Field(8, ge=2)  # words
    coverage: float = Field(0.5, gt=0, le=1)  # share of a test item's n-grams in one training row
    similarity: float = Field(0.5, gt=0, le=1)  # Jaccard similarity of shingles, estimated by MinHash, then exact


class Dataset(Section):
    """ARC with its official splits beside our own questions, split by groups of documents with a salted hash."""

    arc: str = ""  # repository of ARC's schema; empty: none
    arc_configs: tuple[str, ...] = Field(("ARC-Challenge", "ARC-Easy"), min_length=1)
    fractions: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (
        0.8,
        0.1,
        0.1,
    )
    salt: str = "footnote"
    cutoff: date = date(2024, 9, 30)  # end of the base model's training; test documents dated after it: test_recent
    max_length: int = Field(512, ge=32)  # tokens of prompt and completion; longer rows are dropped and counted
    reading: Reading = Reading()
    decontamination: Decontamination = Decontamination()

    @model_validator(mode="after")
    def _fractions_are_all(self) -> Self:
        if abs(sum(self.fractions) - 1) > 1e-6:
            raise ValueError(f"fractions {list(self.fractions)} add up to {sum(self.fractions):g}, not 1")
        return self


class Slurm(Section):
    """What a shard asks of a Slurm cluster."""

    partition: str = ""
    time: str = Field("04:00:00", pattern=r"^(\d+-)?\d{1,2}:\d{2}:\d{2}$")
    memory_gb: int = Field(4, ge=1)
    environment: str = ""  # commands before the shard, such as `source .venv/bin/activate`


class Scale(Section):
    """Who does the work that is done shard by shard. The rows are the same whatever stands here."""

    executor: Literal["local", "slurm", "ray"] = "local"
    workers: int = Field(1, ge=1)  # at once
    slurm: Slurm = Slurm()
