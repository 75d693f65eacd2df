"""Reads a run's configuration: one YAML file, of which any value can be set on the command line.

Unknown keys and wrong types are errors that name the file and the key, with the nearest known key as a hint.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from jobs.config import RunConfig, Section
from jobs.errors import UserError

CONFIGS = Path(__file__).parent / "configs"


def load_config(path: Path, overrides: Sequence[str] = (), values: Mapping[str, Any] | None = None) -> RunConfig:
    """Read a YAML file, apply `section.key=value` overrides (in YAML), then `values` by dotted key, as they are.

    Raises `UserError` naming the file and the key.
    """
    known = _read(path)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise UserError(f"--set {override}: expected section.key=value, for example train.learning_rate=1e-4")
        _set(known, key.strip(), _value(text, override))
    for key, value in (values or {}).items():
        _set(known, key, value)
    try:
        return RunConfig.model_validate(known)
    except ValidationError as error:
        raise UserError(f"{path}: {_explain(error)}") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        known = ", ".join(sorted(str(file.relative_to(CONFIGS.parent.parent)) for file in CONFIGS.glob("*.yaml")))
        raise UserError(f"{path}: cannot be read ({error.strerror}); configurations here: {known}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected a mapping of sections such as `train:`, found {type(values).__name__}")
    return values


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    target = values
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise UserError(f"--set {key}: {section!r} is not a section")
    target[last] = value


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
        reason = fault["msg"].removeprefix("Value error, ")
        if not key or (fault["type"] == "value_error" and isinstance(fault["input"], dict)):
            return f"section {key!r}: {reason}"
        return f"key {key!r}: {reason[0].lower()}{reason[1:]}, got {fault['input']!r}"
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
