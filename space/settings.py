"""What a duplicated Space changes: environment variables, typed and validated before anything starts."""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self, cast

from qa.artifacts import (
    BASE_VARIABLE,
    DATA_VARIABLE,
    INDEX_VARIABLE,
    MODEL_VARIABLE,
    ArtifactError,
    Reference,
    parse_reference,
)
from space.secrecy import redact

MOST_PARALLEL = 4  # answers written at once: a batch of 8 was measured slower in all than one of 4
Repack = Literal["auto", "on", "off"]


class SettingsError(ValueError):
    """One line that names the environment variable and what it should hold."""


class Variable(NamedTuple):
    """An environment variable, what it is where it is not set, and what it means."""

    name: str
    default: str
    meaning: str


VARIABLES = (
    Variable(
        MODEL_VARIABLE,
        "footnote-ai/footnote-qwen2.5-3b-GGUF",
        "the fine-tuned model: `NAMESPACE/NAME[@revision][:file.gguf]`",
    ),
    Variable(f"{MODEL_VARIABLE}_REVISION", "main", "its branch, tag or commit"),
    Variable(BASE_VARIABLE, "Qwen/Qwen2.5-3B-Instruct-GGUF", "the model it was made from"),
    Variable(f"{BASE_VARIABLE}_REVISION", "main", "its branch, tag or commit"),
    Variable(DATA_VARIABLE, "footnote-ai/footnote-qwen2.5-3b-qa", "data set with the test questions"),
    Variable(f"{DATA_VARIABLE}_REVISION", "main", "its branch, tag or commit"),
    Variable(INDEX_VARIABLE, "footnote-ai/footnote-qwen2.5-3b-index", "data set with the index of the papers"),
    Variable(f"{INDEX_VARIABLE}_REVISION", "main", "its branch, tag or commit"),
    Variable(
        "FOOTNOTE_FEEDBACK", "", "private data set for votes and thumbs, `NAMESPACE/NAME`; empty: nothing is stored"
    ),
    Variable("FOOTNOTE_TITLE", "Footnote", "the page's title, up to 60 characters"),
    Variable("FOOTNOTE_SUBJECT", "AI research", "what the questions are about, up to 60 characters"),
    Variable("FOOTNOTE_PARALLEL", "4", f"answers that one model writes at once, 1 to {MOST_PARALLEL}"),
    Variable("FOOTNOTE_REPACK", "auto", "repack the weights: `on`, `off`, or `auto` for what a short measurement says"),
    Variable("FOOTNOTE_THREADS", "all", "threads of a computation; all: every core this process may use"),
    Variable("FOOTNOTE_RATE", "60", "questions of one address in 10 minutes"),
    Variable("FOOTNOTE_HOST", "127.0.0.1", "address to listen on; inside a Space (SPACE_ID is set) 0.0.0.0"),
    Variable("FOOTNOTE_PORT", "7860", "port to listen on"),
)
DEFAULTS = {variable.name: variable.default for variable in VARIABLES}
DEFAULT_MODEL, DEFAULT_PORT = DEFAULTS[MODEL_VARIABLE], int(DEFAULTS["FOOTNOTE_PORT"])
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Settings:
    """What the page serves, and where: the variables of `VARIABLES`, read.

    An empty variable counts as absent: a Space's settings page leaves empty ones behind.
    """

    model: Reference
    base: Reference
    data: Reference
    index: Reference
    feedback: str
    title: str
    subject: str
    parallel: int
    repack: Repack
    threads: int | None  # None: as the engine chooses for a file, every core but for a tiny one
    rate: int
    host: str
    port: int

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """Read the variables. Raises `SettingsError` for the first one that cannot be used."""
        values = {name: environment.get(name, "").strip() or default for name, default in DEFAULTS.items()}
        host = "0.0.0.0" if environment.get("SPACE_ID") else DEFAULTS["FOOTNOTE_HOST"]  # noqa: S104
        return cls(
            model=_reference(values, environment, MODEL_VARIABLE),
            base=_reference(values, environment, BASE_VARIABLE),
            data=_reference(values, environment, DATA_VARIABLE),
            index=_reference(values, environment, INDEX_VARIABLE),
            feedback=_repository(values, "FOOTNOTE_FEEDBACK"),
            title=_line(values, "FOOTNOTE_TITLE"),
            subject=_line(values, "FOOTNOTE_SUBJECT"),
            parallel=_number(values, "FOOTNOTE_PARALLEL", MOST_PARALLEL),
            repack=_repack(values, "FOOTNOTE_REPACK"),
            threads=_threads(values, "FOOTNOTE_THREADS"),
            rate=_number(values, "FOOTNOTE_RATE", 100_000),
            host=environment.get("FOOTNOTE_HOST", "").strip() or host,
            port=_number(values, "FOOTNOTE_PORT", 65535),
        )

    def table(self) -> list[tuple[Variable, str]]:
        """Every variable with what this copy has in its place; none of them is a secret."""
        references = {
            MODEL_VARIABLE: self.model,
            BASE_VARIABLE: self.base,
            DATA_VARIABLE: self.data,
            INDEX_VARIABLE: self.index,
        }
        now: dict[str, object] = {}
        for name, reference in references.items():
            now[name] = reference.repository + (f":{reference.filename}" if reference.filename else "")
            now[f"{name}_REVISION"] = reference.revision
        rest = ("feedback", "title", "subject", "parallel", "repack", "rate", "host", "port")
        now |= {f"FOOTNOTE_{name.upper()}": getattr(self, name) for name in rest}
        now["FOOTNOTE_THREADS"] = self.threads or "all"
        return [(variable, str(now[variable.name])) for variable in VARIABLES]


def check_address(host: str, port: int) -> None:
    """See whether the page can listen there, before anything is built. Raises `SettingsError`."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port just left counts as free
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        raise cannot_listen(host, port, error) from None


def cannot_listen(host: str, port: int, error: OSError | UnicodeError) -> SettingsError:
    """Why the page cannot listen there."""
    if isinstance(error, UnicodeError | socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        reason = getattr(error, "strerror", None) or "not a name of one"
        return SettingsError(redact(f"FOOTNOTE_HOST={host!r} is no address of this machine ({reason})"))
    reason = error.strerror or "taken just now"  # Gradio's own error gives no reason
    return SettingsError(f"FOOTNOTE_PORT={port} cannot be had on {host} ({reason}); set another")


def _wrong(name: str, value: str, wanted: str) -> SettingsError:
    return SettingsError(redact(f"{name}={value!r} is not {wanted}"))


def _reference(values: Mapping[str, str], environment: Mapping[str, str], name: str) -> Reference:
    try:
        reference = parse_reference(values[name], variable=name)
    except ArtifactError as error:
        raise SettingsError(redact(str(error))) from None
    revision = environment.get(f"{name}_REVISION", "").strip() or reference.revision
    if not re.fullmatch(r"(?!.*(\.\.|//))\w([\w./-]{0,98}\w)?", revision):
        raise _wrong(f"{name}_REVISION", revision, "a revision; set it to a branch, tag or commit")
    return Reference(reference.repository, revision, reference.filename)


def _repository(values: Mapping[str, str], name: str) -> str:
    if values[name] and not _REPOSITORY.fullmatch(values[name]):
        raise _wrong(name, values[name], "NAMESPACE/NAME; set it to a data set of yours, or to nothing")
    return values[name]


def _line(values: Mapping[str, str], name: str) -> str:
    if len(values[name]) > 60 or not values[name].isprintable():
        raise _wrong(name, values[name][:80], "one line of up to 60 characters; set it to one")
    return values[name]


def _number(values: Mapping[str, str], name: str, most: int) -> int:
    text, what = values[name], "a port" if name == "FOOTNOTE_PORT" else "a whole number in its range"
    if not (text.isascii() and text.isdecimal()) or len(text) > 9 or not 1 <= int(text) <= most:
        raise _wrong(name, text, f"{what}; set it to a number from 1 to {most}")
    return int(text)


def _repack(values: Mapping[str, str], name: str) -> Repack:
    if values[name] not in ("auto", "on", "off"):
        raise _wrong(name, values[name], "auto, on or off; set it to one of them")
    return cast("Repack", values[name])


def _threads(values: Mapping[str, str], name: str) -> int | None:
    text = values[name]
    if text != "all" and not (text.isascii() and text.isdecimal() and len(text) < 4 and 1 <= int(text) <= 256):
        raise _wrong(name, text, "a number of threads; set it to all, or to a number from 1 to 256")
    return None if text == "all" else int(text)
