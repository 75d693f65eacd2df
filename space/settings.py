"""What a duplicated Space changes: environment variables, typed and validated before anything starts."""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from qa.artifacts import BASE_VARIABLE, DATA_VARIABLE, MODEL_VARIABLE, ArtifactError, Reference, parse_reference

DEFAULT_MODEL = "footnote-ai/footnote-qwen2.5-3b-GGUF"
DEFAULT_BASE = "Qwen/Qwen2.5-3B-Instruct-GGUF"
DEFAULT_DATA = "footnote-ai/footnote-qwen2.5-3b-qa"
DEFAULT_PORT = 7860


class SettingsError(ValueError):
    """One line that names the environment variable and what it should hold."""


@dataclass(frozen=True)
class Settings:
    """What the page serves, and where.

    | variable | default | meaning |
    |---|---|---|
    | FOOTNOTE_MODEL | footnote-ai/footnote-qwen2.5-3b-GGUF | the fine-tuned model: `NAMESPACE/NAME[:file.gguf]` |
    | FOOTNOTE_MODEL_REVISION | main | its branch, tag or commit |
    | FOOTNOTE_BASE | Qwen/Qwen2.5-3B-Instruct-GGUF | the model it was made from |
    | FOOTNOTE_BASE_REVISION | main | |
    | FOOTNOTE_DATA | footnote-ai/footnote-qwen2.5-3b-qa | data set with the test questions |
    | FOOTNOTE_DATA_REVISION | main | |
    | FOOTNOTE_HOST | 127.0.0.1; 0.0.0.0 inside a Space (SPACE_ID is set) | address to listen on |
    | FOOTNOTE_PORT | 7860 | port to listen on |

    An empty variable counts as absent: a Space's settings page leaves empty ones behind.
    """

    model: Reference
    base: Reference
    data: Reference
    host: str
    port: int

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """Read the variables. Raises `SettingsError` for the first one that cannot be used."""
        return cls(
            model=_reference(environment, MODEL_VARIABLE, DEFAULT_MODEL),
            base=_reference(environment, BASE_VARIABLE, DEFAULT_BASE),
            data=_reference(environment, DATA_VARIABLE, DEFAULT_DATA),
            host=_value(environment, "FOOTNOTE_HOST", "0.0.0.0" if environment.get("SPACE_ID") else "127.0.0.1"),  # noqa: S104
            port=_port(_value(environment, "FOOTNOTE_PORT", str(DEFAULT_PORT))),
        )


def check_address(host: str, port: int) -> None:
    """See whether the page can listen there, before anything is built. Raises `SettingsError`."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port just left counts as free
            probe.bind(address)
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            raise SettingsError(f"FOOTNOTE_HOST={host!r} is no address of this machine ({error.strerror})") from None
        raise SettingsError(f"FOOTNOTE_PORT={port} cannot be had on {host} ({error.strerror}); set another") from None


def _value(environment: Mapping[str, str], name: str, default: str) -> str:
    return environment.get(name, "").strip() or default


def _reference(environment: Mapping[str, str], name: str, default: str) -> Reference:
    try:
        reference = parse_reference(_value(environment, name, default), variable=name)
    except ArtifactError as error:
        raise SettingsError(str(error)) from None
    revision = _value(environment, f"{name}_REVISION", reference.revision)
    return Reference(reference.repository, revision, reference.filename)


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise SettingsError(f"FOOTNOTE_PORT={text!r} is not a port; set it to a number from 1 to 65535")
    return int(text)
